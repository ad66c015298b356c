"""Seconds of the alternating least squares against Adam in PyTorch, of the Lasso against scikit-learn, of the linear programme against CVXPY.

`target` is the largest accepted ratio time(ours) / time(peer); both reach the same answer, one thread each.
"""
import numpy as np
import pytest
from one_thread import one_thread  # noqa: F401

from prox_repro.core.linalg import random_orthonormal
from prox_repro.transfer.active_multitask import (
    fit_representation, gaussian_source, relevance_l1, relevance_lasso, task_statistics,
)

M, D, K = 80, 40, 10
FIT = f"active_multitask: shared representation, M={M} d={D} K={K}"
LASSO = "active_multitask: 96 Lasso problems of 4 x 61"
LP = "active_multitask: least l1 norm, K=8 M=200"


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    draw = gaussian_source(random_orthonormal(D, K, rng=rng), rng.standard_normal((K, M)), 1.0, 0)
    return [np.stack(part) for part in zip(*(draw(m, 100) for m in range(M)))]


def fit_ours(X, y):
    return float(fit_representation(task_statistics(X, y), K).loss)


def adam(loss_of):
    "Adam on both factors, best of four learning rates, from a random start until the loss is that of ours within 1e-6."
    import torch
    torch.set_num_threads(1)
    goal = loss_of.goal * (1 + 1e-6)
    generator = torch.Generator().manual_seed(0)
    B = (torch.randn(D, K, generator=generator, dtype=torch.float64) / D**0.5).requires_grad_()
    W = (0.1 * torch.randn(K, M, generator=generator, dtype=torch.float64)).requires_grad_()
    optimiser = torch.optim.Adam([B, W], lr=0.05)
    for _ in range(20_000):
        loss = loss_of((B @ W).T[..., None])
        if loss.item() < goal:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item()


def adam_on_samples(X, y):
    "What one writes first: all residuals in each step."
    import torch
    inputs, outputs = torch.from_numpy(X), torch.from_numpy(y)[..., None]
    value = lambda beta: ((inputs @ beta - outputs)**2).sum()
    value.goal = GOAL[0]
    return adam(value)


def adam_on_grams(X, y):
    "The same on the sufficient statistics that ours uses."
    import torch
    stats = task_statistics(X, y)
    gram, cross, energy = torch.from_numpy(stats.gram), torch.from_numpy(stats.cross)[..., None], float(stats.energy.sum())
    value = lambda beta: energy + (beta * (gram @ beta - 2 * cross)).sum()
    value.goal = GOAL[0]
    return adam(value)


GOAL = []  # loss of ours, so that no peer has to compute it while it is timed


@pytest.mark.parametrize("run, method, target", [
    (fit_ours, "task_statistics and fit_representation (ours)", None),
    (adam_on_samples, "torch Adam on the samples", 0.1), (adam_on_grams, "torch Adam on Gram matrices", 0.1),
])
def test_fit(benchmark, samples, run, method, target):
    pytest.importorskip("torch")
    GOAL[:] = [fit_ours(*samples)]
    benchmark.group = FIT
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    assert np.isclose(run(*samples), GOAL[0], rtol=2e-6)
    benchmark.pedantic(run, args=samples, rounds=5, warmup_rounds=1)


@pytest.fixture(scope="module")
def lassos():
    rng = np.random.default_rng(1)
    return rng.standard_normal((96, 4, 61)), rng.standard_normal((96, 4))


def lasso_ours(W, w):
    return relevance_lasso(W, w, kappa=0.1, tol=1e-8)


def lasso_sklearn(W, w):
    from sklearn.linear_model import Lasso
    lams = 0.1 * np.abs(np.einsum("rkm,rk->rm", W, w)).max(1)
    return np.stack([Lasso(alpha=lam / 4, fit_intercept=False, tol=1e-8, max_iter=100_000).fit(A, b).coef_ for A, b, lam in zip(W, w, lams)])


@pytest.mark.parametrize("run, method, target", [
    (lasso_ours, "relevance_lasso, one batch (ours)", None), (lasso_sklearn, "scikit-learn Lasso, one by one", 0.3),
])
def test_lasso(benchmark, lassos, run, method, target):
    pytest.importorskip("sklearn")
    benchmark.group = LASSO
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    assert np.allclose(run(*lassos), lasso_ours(*lassos), atol=1e-3)
    benchmark.pedantic(run, args=lassos, rounds=5, warmup_rounds=1)


def lp_cvxpy(W, w):
    cp = pytest.importorskip("cvxpy")
    nu = cp.Variable(W.shape[1])
    cp.Problem(cp.Minimize(cp.norm1(nu)), [W @ nu == w]).solve()
    return nu.value


@pytest.mark.parametrize("run, method, target", [(relevance_l1, "relevance_l1 (ours, HiGHS)", None), (lp_cvxpy, "CVXPY", 1.0)])
def test_linear_programme(benchmark, run, method, target):
    rng = np.random.default_rng(2)
    W, w = rng.standard_normal((8, 200)), rng.standard_normal(8)
    benchmark.group = LP
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    assert np.isclose(np.abs(run(W, w)).sum(), np.abs(relevance_l1(W, w)).sum(), rtol=1e-5)
    benchmark.pedantic(run, args=(W, w), rounds=10, warmup_rounds=1)
