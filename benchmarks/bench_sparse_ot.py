"""Seconds of the semi-dual solver and of the router against POT, one thread each.

Run with `pytest benchmarks/bench_sparse_ot.py`. A peer's `target` is the largest allowed ratio time(ours) / time(peer).
"""
import contextlib
import io
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from prox_repro.transport.sparse_ot import _Problem, route_tokens, sinkhorn_router, solve_semidual, topk_simplex_conjugate

torch.set_num_threads(1)
EVALUATIONS, GAMMA = 200, 1.0


def palettes(n=256, seed=0):
    "Two clouds of colours with random shares, squared distances divided by the largest."
    rng = np.random.default_rng(seed)
    x, y = rng.beta(2, 3, (n, 3)), rng.beta(3, 2, (n, 3))
    C = ((x[:, None] - y) ** 2).sum(-1)
    return rng.dirichlet(np.full(n, 3.0)), rng.dirichlet(np.full(n, 3.0)), C / C.max()


def path(count=EVALUATIONS, k=4):
    "Potentials on the way of a solver, the same for all methods."
    a, b, C = palettes()
    alphas, problem = [], _Problem(a, b, np.ascontiguousarray(C.T), k, GAMMA)

    def negative(alpha):
        alphas.append(alpha.copy())
        value, grad = problem.semidual(alpha)
        return -value, -grad

    minimize(negative, np.zeros(len(a)), jac=True, method="L-BFGS-B", options=dict(maxfun=count, maxiter=count, ftol=0, gtol=0))
    return [alphas[i % len(alphas)] for i in range(count)]


ALPHAS = {k: path(k=k) for k in (4, 32, 256)}


def ours(k):
    a, b, C = palettes()
    problem = _Problem(a, b, np.ascontiguousarray(C.T), k, GAMMA)
    return np.array([problem.semidual(alpha)[0] for alpha in ALPHAS[k]])


def pot(k):
    "POT's evaluation; it prints a shape at each call, which is kept off the screen."
    smooth = pytest.importorskip("ot.smooth")
    a, b, C = palettes()
    regulariser = smooth.SparsityConstrained(max_nz=k, gamma=GAMMA)
    with contextlib.redirect_stdout(io.StringIO()):
        return np.array([smooth.semi_dual_obj_grad(alpha, a, b, C, regulariser)[0] for alpha in ALPHAS[k]])


def pot_quadratic(k):
    "POT's evaluation without a cap: the same problem at k = n."
    smooth = pytest.importorskip("ot.smooth")
    a, b, C = palettes()
    return np.array([smooth.semi_dual_obj_grad(alpha, a, b, C, smooth.SquaredL2(gamma=GAMMA))[0] for alpha in ALPHAS[k]])


PEERS = [(4, "POT SparsityConstrained", pot, 0.667), (32, "POT SparsityConstrained", pot, 1.0), (256, "POT SquaredL2", pot_quadratic, 1.5)]


@pytest.mark.parametrize("k", [4, 32, 256])
def test_evaluations(benchmark, k):
    benchmark.group = f"sparse_ot: {EVALUATIONS} semi-dual evaluations, 256 x 256, k={k}"
    benchmark.extra_info.update(method="semi-dual (ours)", ours=True)
    benchmark.pedantic(ours, args=(k,), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("k, peer, evaluate, target", PEERS)
def test_evaluations_peer(benchmark, k, peer, evaluate, target):
    benchmark.group = f"sparse_ot: {EVALUATIONS} semi-dual evaluations, 256 x 256, k={k}"
    benchmark.extra_info.update(method=peer, target=target)
    assert np.abs(evaluate(k) - ours(k)).max() < 1e-6  # the same values, evaluation by evaluation
    benchmark.pedantic(evaluate, args=(k,), rounds=3)


@pytest.mark.parametrize("method", ["ours", "POT smooth_ot_semi_dual"])
def test_whole_solve(benchmark, method):
    "Both with SciPy's L-BFGS-B, to the same accuracy; k = 64 lies beyond the support of the quadratic plan, so both converge."
    a, b, C = palettes(128)
    benchmark.group = "sparse_ot: whole solve, 128 x 128, k=64"
    smooth = pytest.importorskip("ot.smooth")

    def peer():
        with contextlib.redirect_stdout(io.StringIO()):
            return smooth.smooth_ot_semi_dual(a, b, C, GAMMA, reg_type="sparsity_constrained", max_nz=64, stopThr=1e-12, numItermax=500)

    plan = peer()
    result = solve_semidual(a, b, C, 64, GAMMA, tol=1e-7)
    assert np.abs(plan - result.plan).max() < 1e-5 and max(result.row_error, np.abs(plan.sum(1) - a).sum()) < 1e-4
    if method == "ours":
        benchmark.extra_info.update(method="solve_semidual (ours)", ours=True)
        benchmark.pedantic(lambda: solve_semidual(a, b, C, 64, GAMMA, tol=1e-7), rounds=5, warmup_rounds=1)
    else:
        benchmark.extra_info.update(method=method, target=1.0)
        benchmark.pedantic(peer, rounds=3)


@pytest.mark.parametrize("method", ["ours, 20 steps", "Sinkhorn, 20 steps"])
def test_router(benchmark, method):
    "Time per batch: 32 groups of 196 tokens, 8 experts, no room to spare."
    logits = torch.randn(32, 196, 8, generator=torch.Generator().manual_seed(0))
    benchmark.group = "sparse_ot: routing 32 groups of 196 tokens to 8 experts"
    route = route_tokens if method.startswith("ours") else sinkhorn_router
    benchmark.extra_info.update(method=method, **({"ours": True} if method.startswith("ours") else {}))
    weights = benchmark.pedantic(route, args=(logits, 25), rounds=10, warmup_rounds=2)
    assert ((weights > 0).sum(-2) <= 25).all()


def test_conjugate_agrees_with_pot():
    smooth = pytest.importorskip("ot.smooth")
    a, b, C = palettes(64)
    S = np.zeros((64, 1)) - C
    with contextlib.redirect_stdout(io.StringIO()):
        _, G = smooth.SparsityConstrained(max_nz=5, gamma=GAMMA).max_Omega(S.copy(), b)
    assert np.allclose(G * b, topk_simplex_conjugate(S, b, 5, GAMMA).plan, atol=1e-12)
