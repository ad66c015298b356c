"""Seconds of the suite's conjugate gradients against SciPy's, of the classical preconditioners, and of one proposal of a network.

`target` is the largest accepted ratio time(ours) / time(peer). No target stands where we do not claim to be faster.
"""
import numpy as np
import pytest
import torch
from scipy.sparse.linalg import splu
from scipy.sparse.linalg import cg as scipy_cg
from one_thread import one_thread  # noqa: F401

from prox_repro.core.nets import seeded
from prox_repro.core.solvers import cg
from prox_repro.science.deep_conjugate import (
    AggregationMultigrid, DirectionNet, dcdm, ic0, network_direction, poisson_matrix, ritz_rhs, train_direction_net,
)

TOL, N = 1e-6, 256
PLAIN = f"deep_conjugate: conjugate gradients to {TOL:g}, {N} x {N} cells"
ALL = "deep_conjugate: one system to {:g}, {} x {} cells"


def system(n):
    mask = np.ones((n, n), bool)
    return mask, poisson_matrix(mask), np.random.default_rng(0).standard_normal(n * n)


def check(A, b, x, tol=TOL):
    reached = np.linalg.norm(b - A @ x) / np.linalg.norm(b)
    assert reached <= 1.01 * tol, f"stopped at a relative residual of {reached:.1e}"


@pytest.mark.parametrize("solve, method, target", [
    (lambda A, b: cg(A, b, tol=TOL).x, "core.solvers.cg (ours)", None),
    (lambda A, b: scipy_cg(A, b, rtol=TOL)[0], "scipy.sparse.linalg.cg", 1.2),
])
def test_plain(benchmark, solve, method, target):
    _, A, b = system(N)
    benchmark.group = PLAIN
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    check(A, b, solve(A, b))
    benchmark.pedantic(solve, args=(A, b), rounds=5)


@pytest.fixture(scope="module")
def net():
    "A short training: enough for the time of an iteration and for a fair number of them."
    torch.set_num_threads(1)
    data = [ritz_rhs(poisson_matrix(np.ones((n, n), bool)), m, 1000, m // 30, rng=np.random.default_rng(n)).reshape(1, 1000, n, n)
            for n, m in ((16, 120), (32, 300))]
    return train_direction_net([seeded(0, DirectionNet, tied=True, levels=None, passes="correction")], data, n_steps=300, batch_size=8,
                               lr=8e-3, clip_norm=0.5)[0]


def solve_pyamg(mask, A, b, net):
    pyamg = pytest.importorskip("pyamg")
    return pyamg.ruge_stuben_solver(A).solve(b, tol=1e-4, accel="cg")


SOLVERS = {
    "dcdm, m = 2 (ours)": lambda mask, A, b, net: dcdm(A, b, network_direction(net, mask), tol=1e-4, maxiter=500).x,
    "cg (ours)": lambda mask, A, b, net: cg(A, b, tol=1e-4).x,
    "cg, ic0 with its factorisation (ours)": lambda mask, A, b, net: cg(A, b, tol=1e-4, preconditioner=ic0(A)).x,
    "cg, AggregationMultigrid with its set-up (ours)":
        lambda mask, A, b, net: cg(A, b, tol=1e-4, preconditioner=AggregationMultigrid(A, mask)).x,
    "scipy.sparse.linalg.cg": lambda mask, A, b, net: scipy_cg(A, b, rtol=1e-4)[0],
    "scipy splu, sparse direct": lambda mask, A, b, net: splu(A.tocsc(), permc_spec="MMD_AT_PLUS_A").solve(b),
    "pyamg, Ruge-Stueben and CG": solve_pyamg,
}


@pytest.mark.parametrize("n", [64, 128])
@pytest.mark.parametrize("method", list(SOLVERS))
def test_all(benchmark, net, n, method):
    "Reported, not gated: at these sizes the network is not expected to win."
    mask, A, b = system(n)
    benchmark.group = ALL.format(1e-4, n, n)
    benchmark.extra_info.update(method=method, **({"ours": True} if method.startswith("dcdm") else {}))
    check(A, b, SOLVERS[method](mask, A, b, net), 1e-4)
    benchmark.pedantic(SOLVERS[method], args=(mask, A, b, net), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("batch", [1, 8])
def test_proposal(benchmark, net, batch):
    "Right-hand sides share a forward pass: the time for eight against eight times one."
    r = torch.randn(8, 64, 64, generator=torch.Generator().manual_seed(0))
    benchmark.group = "deep_conjugate: eight proposals, 64 x 64 cells"
    benchmark.extra_info.update(method="in one forward pass (ours)" if batch == 8 else "one after the other",
                                **({"ours": True} if batch == 8 else {"target": 1.2}))

    def run():
        with torch.no_grad():
            return [net(part) for part in r.split(batch)]

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
