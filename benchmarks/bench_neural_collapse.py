"""Seconds of the perturbation map against the Hessian by automatic differentiation, and of the solver against L-BFGS.

`target` is the largest accepted ratio time(ours) / time(peer); both reach the same answer, one thread each.
"""
import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from one_thread import one_thread  # noqa: F401

from prox_repro.generalization.neural_collapse import (
    PerturbationMap, class_targets, orthogonal_collapse, perturbation_map, solve_features, ufm_loss,
)

LAM_W, LAM_H, BETA = 0.5, 0.1, 10.0
SMALL, LARGE = (4, 10, 10), (10, 64, 50)  # classes, dimension, samples of each class
DENSE = "neural_collapse: response to one perturbation, K={} d={} n={}".format(*SMALL)
APPLY = "neural_collapse: the map times a vector, K={} d={} n={}".format(*LARGE)
SOLVE = "neural_collapse: minimise to a gradient of 1e-8, K={} d={} n={}"


def make(K, d, n):
    return class_targets(K, n), np.random.default_rng(0).standard_normal((d, K * n))


@pytest.fixture(scope="module")
def collapse():
    K, d, n = SMALL
    return *orthogonal_collapse(K, n, d, LAM_W, LAM_H, rng=np.random.default_rng(0)), class_targets(K, n)


def autograd_map(W, H, Y, vectorize):
    "The theorem as written: Hessian of f by automatic differentiation, dense inverse."
    (K, d), total = W.shape, H.shape[1]
    y, n = torch.from_numpy(Y), total // K

    def loss(w, h):
        W, H = w.reshape(K, d), h.reshape(total, d).T
        return (((W @ H - y)**2).sum() + n * LAM_W * (W**2).sum() + (LAM_H + BETA) * (H**2).sum()) / 2

    (ww, wh), (hw, hh) = torch.autograd.functional.hessian(loss, (torch.from_numpy(W.ravel()), torch.from_numpy(H.T.ravel())),
                                                           vectorize=vectorize)
    return BETA * torch.linalg.inv(hh - hw @ torch.linalg.solve(ww, wh)).numpy()


KICK = np.random.default_rng(1).standard_normal((SMALL[1], SMALL[0] * SMALL[2]))
stacked = lambda F: (F @ KICK.T.ravel()).reshape(KICK.T.shape).T


@pytest.mark.parametrize("run, method, target", [
    (lambda W, H, Y: apply_ours(W, H, Y, KICK), "PerturbationMap times a vector (ours)", None),
    (lambda W, H, Y: stacked(perturbation_map(W, H, Y, LAM_W, LAM_H, BETA)), "perturbation_map, dense (ours)", 1.0),
    (lambda W, H, Y: stacked(autograd_map(W, H, Y, False)), "torch autograd Hessian, dense inverse", 0.05),
    (lambda W, H, Y: stacked(autograd_map(W, H, Y, True)), "the same, Hessian vectorised", 0.05),
])
def test_small(benchmark, collapse, run, method, target):
    benchmark.group = DENSE
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    assert np.allclose(run(*collapse), apply_ours(*collapse, KICK), atol=1e-10)
    benchmark.pedantic(run, args=collapse, rounds=10, warmup_rounds=1)


@pytest.fixture(scope="module")
def large():
    Y, H0 = make(*LARGE)
    W, H, *_ = solve_features(H0, Y, LAM_W, LAM_H, BETA)
    return W, H, Y, np.random.default_rng(1).standard_normal(H0.shape)


def apply_ours(W, H, Y, kick):
    return PerturbationMap(W, H, Y, LAM_W, LAM_H, BETA).apply(kick)


def apply_cg(W, H, Y, kick):
    "The usual matrix-free way: conjugate gradients with Hessian products from automatic differentiation."
    from scipy.sparse.linalg import LinearOperator, cg
    y, n = torch.from_numpy(Y), Y.shape[1] // Y.shape[0]
    eye, point = torch.eye(len(H), dtype=torch.float64), torch.from_numpy(H)

    def loss(h):
        W = torch.linalg.solve(h @ h.T + n * LAM_W * eye, h @ y.T).T
        return (((W @ h - y)**2).sum() + n * LAM_W * (W**2).sum() + (LAM_H + BETA) * (h**2).sum()) / 2

    product = lambda v: torch.autograd.functional.vhp(loss, point, torch.from_numpy(v.reshape(H.shape)))[1].numpy().ravel()
    solution, info = cg(LinearOperator((H.size, H.size), matvec=product), BETA * kick.ravel(), rtol=1e-12)
    assert info == 0
    return solution.reshape(H.shape)


@pytest.mark.parametrize("run, method, target", [
    (apply_ours, "PerturbationMap, forming the small system included (ours)", None),
    (apply_cg, "conjugate gradients on torch Hessian products", 1.0),
])
def test_apply(benchmark, large, run, method, target):
    benchmark.group = APPLY
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    assert np.allclose(run(*large), apply_ours(*large), atol=1e-8)
    benchmark.pedantic(run, args=large, rounds=5, warmup_rounds=1)


def stationarity(W, H, H0, Y):
    n, E = Y.shape[1] // Y.shape[0], W @ H - Y
    return max(np.abs(E @ H.T + n * LAM_W * W).max(), np.abs(W.T @ E + LAM_H * H + BETA * (H - H0)).max())


def solve_ours(Y, H0):
    W, H, *_ = solve_features(H0, Y, LAM_W, LAM_H, BETA, tol=1e-10)
    return W, H


def solve_lbfgs(Y, H0):
    "L-BFGS on (W, H) together, from W = 0 and H = H0, on the objective times K n."
    K, (d, total) = len(Y), H0.shape
    n = total // K

    def value_and_gradient(x):
        W, H = x[:K * d].reshape(K, d), x[K * d:].reshape(d, total)
        E = W @ H - Y
        value = (E**2).sum() + n * LAM_W * (W**2).sum() + LAM_H * (H**2).sum() + BETA * ((H - H0)**2).sum()
        return value / 2, np.concatenate([(E @ H.T + n * LAM_W * W).ravel(), (W.T @ E + LAM_H * H + BETA * (H - H0)).ravel()])

    x = minimize(value_and_gradient, np.concatenate([np.zeros(K * d), H0.ravel()]), jac=True, method="L-BFGS-B",
                 options=dict(gtol=1e-8, ftol=0, maxiter=20_000, maxfun=40_000, maxcor=30)).x
    return x[:K * d].reshape(K, d), x[K * d:].reshape(d, total)


@pytest.mark.parametrize("size", [SMALL, LARGE, (10, 64, 500)], ids=["small", "large", "many samples"])
@pytest.mark.parametrize("run, method, target", [
    (solve_ours, "solve_features (ours)", None), (solve_lbfgs, "scipy L-BFGS-B on (W, H)", 0.2),
])
def test_solve(benchmark, size, run, method, target):
    Y, H0 = make(*size)
    benchmark.group = SOLVE.format(*size)
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    W, H = run(Y, H0)
    reached = stationarity(W, H, H0, Y)
    benchmark.extra_info["gradient"] = reached
    assert reached < 1e-6, f"{method} stopped at a gradient of {reached:.1e}"
    best = solve_ours(Y, H0)
    assert np.isclose(ufm_loss(W, H, Y, LAM_W, LAM_H, BETA, H0), ufm_loss(*best, Y, LAM_W, LAM_H, BETA, H0), rtol=1e-9)
    benchmark.pedantic(run, args=(Y, H0), rounds=3)
