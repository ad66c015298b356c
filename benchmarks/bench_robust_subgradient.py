"""Seconds of the batched sub-gradient method against automatic differentiation, and against a modelling language for (12).

`target` is the largest accepted ratio time(ours) / time(peer); the number of iterations is the same, one thread each.
"""
import numpy as np
import pytest
import torch
from one_thread import one_thread  # noqa: F401

from prox_repro.core.linalg import low_rank_psd
from prox_repro.recovery.robust_subgradient import (
    Geometric, SymmetricSensing, corrupt, gaussian_measurements, nuclear_l1, spectral_sign_init, stack_starts, subgradient_method,
    subgradient_sweep,
)

D, RANK, M, N_ITER, ETA0, RHO = 20, 3, 1500, 200, 0.7, 0.98
CELLS = [(k, alpha) for k in (3, 10, 20) for alpha in (1.0, 1e-1, 1e-3, 1e-6)]
GROUP = f"robust_subgradient: d={D}, m={M}, {len(CELLS)} runs of {N_ITER} iterations"
CONVEX = "robust_subgradient: convex programme, d={}, m={}"


def make(d, m):
    rng = np.random.default_rng(0)
    X, A = low_rank_psd(d, RANK, rng=rng), gaussian_measurements(m, d, rng=rng)
    return X, A, corrupt(SymmetricSensing(A).forward(X), "outlier", 0.3, 10.0, rng=rng)[0]


@pytest.fixture(scope="module")
def data():
    X, A, y = make(D, M)
    sensing = SymmetricSensing(A)
    return X, A, sensing, y, [spectral_sign_init(sensing, y, k, alpha) for k, alpha in CELLS]


def ours(data):
    _, _, sensing, y, starts = data
    return subgradient_sweep(sensing, y, stack_starts(starts), step=Geometric(ETA0, RHO), n_iter=N_ITER, record=N_ITER).X


def ours_one_by_one(data):
    _, _, sensing, y, starts = data
    return np.stack([subgradient_method(sensing, y, U0.shape[1], alpha=1.0, U0=U0, step=Geometric(ETA0, RHO), n_iter=N_ITER, record=N_ITER).X
                     for U0 in starts])


def autograd_step(U, flat, y, t):
    "One step in the plain form: the loss, its gradient by automatic differentiation, ||Q||_F from the gradient in X."
    X = U @ U.mT
    X.retain_grad()
    torch.abs(X.flatten(-2) @ flat.T - y).mean(-1).sum().backward()
    with torch.no_grad():
        norm = torch.linalg.matrix_norm(X.grad)[..., None, None]
        U -= ETA0 * RHO**t / norm * U.grad / 2  # the gradient is 2 Q U
    U.grad = None


def autograd_loop(data):
    _, A, _, y, starts = data
    flat, y, found = torch.from_numpy(A).flatten(1), torch.from_numpy(y), []
    for U0 in starts:
        U = torch.from_numpy(U0.copy()).requires_grad_()
        for t in range(N_ITER):
            autograd_step(U, flat, y, t)
        found.append((U @ U.T).detach().numpy())
    return np.stack(found)


def autograd_batched(data):
    _, A, _, y, starts = data
    U = torch.from_numpy(stack_starts(starts)).requires_grad_()
    flat, y = torch.from_numpy(A).flatten(1), torch.from_numpy(y)
    for t in range(N_ITER):
        autograd_step(U, flat, y, t)
    return (U @ U.mT).detach().numpy()


def test_ours(benchmark, data):
    benchmark.group = GROUP
    benchmark.extra_info.update(method="subgradient_sweep (ours)", ours=True)
    benchmark.pedantic(ours, args=(data,), rounds=10, warmup_rounds=2)


@pytest.mark.parametrize("run, method, target, rounds", [
    (autograd_loop, "torch autograd, a loop over the runs", 0.2, 3),
    (autograd_batched, "torch autograd, runs stacked", 1.0, 5),
    (ours_one_by_one, "subgradient_method, one run after the other (ours)", 1.0, 5),
])
def test_peer(benchmark, data, run, method, target, rounds):
    benchmark.group = GROUP
    benchmark.extra_info.update(method=method, target=target)
    # same algorithm, other rounding: far above it the trajectories agree
    assert np.allclose(run(data)[:4], ours(data)[:4], atol=2e-2), f"{method} went elsewhere; a time would not be comparable"
    benchmark.pedantic(run, args=(data,), rounds=rounds)


def solve_cvxpy(A, y, reg):
    cvxpy = pytest.importorskip("cvxpy")
    m, d = A.shape[:2]
    X = cvxpy.Variable((d, d), PSD=True)
    objective = cvxpy.norm1(A.reshape(m, d * d) @ cvxpy.vec(X, order="C") - y) / m + reg * cvxpy.trace(X)
    cvxpy.Problem(cvxpy.Minimize(objective)).solve(solver="CLARABEL")
    return X.value


@pytest.mark.parametrize("d, m", [(10, 300), (15, 450)])
@pytest.mark.parametrize("solver", ["ours", "cvxpy"])
def test_convex(benchmark, d, m, solver):
    X, A, y = make(d, m)
    benchmark.group = CONVEX.format(d, m)
    solve = {"ours": lambda: nuclear_l1(A, y, 0.01, rho=10.0, tol=1e-9, max_iter=5000).X, "cvxpy": lambda: solve_cvxpy(A, y, 0.01)}[solver]
    benchmark.extra_info.update({"ours": dict(method="nuclear_l1, ADMM (ours)", ours=True), "cvxpy": dict(method="cvxpy, Clarabel", target=1.0)}[solver])
    error = float(np.linalg.norm(solve() - X) / np.linalg.norm(X))
    benchmark.extra_info["relative_error"] = error
    assert error < 1e-4, f"{solver} stopped at a relative error of {error:.1e}"
    benchmark.pedantic(solve, rounds=3)
