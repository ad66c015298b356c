"""Seconds of block coordinate descent against scikit-learn on L1, and of message passing against sparse and dense direct solvers.

`target` is the largest accepted ratio time(ours) / time(peer); every method reaches the same accuracy, one thread each.
"""
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import pytest
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import spsolve
from one_thread import one_thread  # noqa: F401

from prox_repro.core.problems import LeastSquares
from prox_repro.core.solvers import cg
from prox_repro.optimization.block_descent import (
    BCDSolver, ForestSolver, NonnegL1, greedy_forest, label_propagation, lattice_graph, regression_data, tree_partition,
)

M, N, SIDE, GAP = 200, 2000, 50, 1e-8
L1, LATTICE = "block_descent: L1, {}% of the largest penalty, " + f"{M} x {N}, duality gap {GAP:g}", "block_descent: {}"


# non-negative L1 least squares

def make_l1(share):
    A, y = regression_data(M, N, rng=np.random.default_rng(1))
    return A, y, share * abs(A.T @ y).max()


def duality_gap(A, y, reg, x):
    "Relative to the value at zero: the residual, scaled into the dual feasible set, is a dual point."
    r = y - A @ x
    r_dual = r * min(1.0, reg / max((A.T @ r).max(), 1e-300))
    return (0.5 * r @ r + reg * x.sum() - (0.5 * y @ y - 0.5 * (y - r_dual) @ (y - r_dual))) / (0.5 * y @ y)


def solve_ours(A, y, reg, update="pn"):
    "Blocks that hold the support: 23 variables at the larger penalty, 87 at the smaller."
    size = 50 if reg > 0.1 * abs(A.T @ y).max() else 150
    return BCDSolver(LeastSquares(A, y), term=NonnegL1(reg), selection="gs-q", update=update, block_size=size, max_iter=5000,
                     tol=1e-7 * reg).fit().x


def solve_sklearn(A, y, reg):
    linear_model = pytest.importorskip("sklearn.linear_model")
    return linear_model.ElasticNet(alpha=reg / len(y), l1_ratio=1.0, positive=True, fit_intercept=False, tol=GAP / 2,
                                   max_iter=100_000).fit(A, y).coef_


def solve_celer(A, y, reg):
    celer = pytest.importorskip("celer")
    return celer.Lasso(alpha=reg / len(y), positive=True, fit_intercept=False, tol=GAP / 2, max_iter=1000).fit(A, y).coef_


def solve_skglm(A, y, reg):
    skglm = pytest.importorskip("skglm")
    return skglm.Lasso(alpha=reg / len(y), positive=True, fit_intercept=False, tol=1e-8, max_iter=1000).fit(A, y).coef_


METHODS = {
    "PN, variable blocks (ours)": (solve_ours, dict(ours=True)),
    "TMP, variable blocks (ours)": (lambda *data: solve_ours(*data, "tmp"), {}),
    "scikit-learn ElasticNet": (solve_sklearn, dict(target=3.0)),
    "celer Lasso": (solve_celer, {}),
    "skglm Lasso": (solve_skglm, {}),
}


@pytest.mark.parametrize("share", [0.2, 0.05])
@pytest.mark.parametrize("method", METHODS)
def test_l1(benchmark, method, share):
    data = make_l1(share)
    solve, info = METHODS[method]
    benchmark.group = L1.format(f"{100 * share:g}")
    benchmark.extra_info.update(method=method, **info)
    gap = float(duality_gap(*data, solve(*data)))
    benchmark.extra_info["duality_gap"] = gap
    assert gap < GAP, f"{method} stopped at a duality gap of {gap:.1e}"
    benchmark.pedantic(solve, args=data, rounds=5, warmup_rounds=1)


# label propagation on the lattice

def make_lattice():
    rng = np.random.default_rng(1)
    labelled = rng.choice(SIDE**2, 100, replace=False)
    problem, _ = label_propagation(1e5 * lattice_graph(SIDE), labelled, 10 * rng.standard_normal(100))
    return problem, spsolve(problem.Q.tocsc(), problem.c)


def solve_trees(problem, steps=260):
    return BCDSolver(problem, partition=tree_partition(problem.Q), selection="cyclic", update="forest", max_iter=steps, tol=0.0).fit().x


def solve_greedy(problem, steps=200):
    return BCDSolver(problem, selection="forest-gs", update="forest", max_iter=steps, tol=0.0).fit().x


GRAPH_METHODS = {
    "tree partition (ours)": (solve_trees, dict(ours=True), 5),
    "greedy forest (ours)": (solve_greedy, {}, 3),
    "scipy spsolve": (lambda problem: spsolve(problem.Q.tocsc(), problem.c), dict(target=20.0), 10),
    "conjugate gradients (core)": (lambda problem: cg(problem.Q, problem.c, tol=1e-4).x, {}, 10),
}


@pytest.mark.parametrize("method", GRAPH_METHODS)
def test_lattice(benchmark, method):
    problem, x_star = make_lattice()
    solve, info, rounds = GRAPH_METHODS[method]
    benchmark.group = LATTICE.format(f"lattice {SIDE} x {SIDE}, relative gap 1e-6")
    benchmark.extra_info.update(method=method, **info)
    gap = float((problem.value(solve(problem)) - problem.value(x_star)) / (problem.value(np.zeros(problem.size)) - problem.value(x_star)))
    benchmark.extra_info["gap"] = gap
    assert gap < 1e-6, f"{method} stopped at a gap of {gap:.1e}"
    benchmark.pedantic(solve, args=(problem,), rounds=rounds, warmup_rounds=1)


# one block: seconds by size, factor and solve together

def make_block(n):
    "A greedy forest on a lattice, about n nodes."
    side = int(np.ceil(np.sqrt(1.45 * n)))
    Q = csr_array(lattice_graph(side))
    Q = csr_array(diags_array(np.asarray(Q.sum(axis=1)).ravel() + 0.1) - Q)
    rng = np.random.default_rng(0)
    block = greedy_forest(rng.random(side * side), Q)
    return Q, block, rng.standard_normal(len(block))


def solve_dense(Q, block, h):
    return np.linalg.solve(Q[block][:, block].toarray(), h)


BLOCKS = {"message passing (ours)": (lambda Q, block, h: ForestSolver(Q, block).solve(h), dict(ours=True), 10**6),
          "numpy solve": (solve_dense, dict(target=1.0), 3000),
          "scipy spsolve": (lambda Q, block, h: spsolve(Q[block][:, block].tocsc(), h), {}, 10**6)}


@pytest.mark.parametrize("n", [1000, 3000, 30_000, 100_000])
@pytest.mark.parametrize("method", BLOCKS)
def test_block(benchmark, method, n):
    solve, info, largest = BLOCKS[method]
    if n > largest:
        pytest.skip("dense matrices of this size do not fit")
    data = make_block(n)
    benchmark.group = LATTICE.format(f"one forest block of about {n:,} nodes")
    benchmark.extra_info.update(method=method, **info)
    assert np.allclose(solve(*data), BLOCKS["scipy spsolve"][0](*data), atol=1e-9)
    benchmark.pedantic(solve, args=data, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("method", ["factor kept (ours)", "scipy splu, factor kept"])
def test_repeated_solves(benchmark, method):
    "What a fixed partition does at each step."
    from scipy.sparse.linalg import splu

    Q, block, h = make_block(30_000)
    benchmark.group = LATTICE.format("one forest block of about 30,000 nodes, factor kept")
    benchmark.extra_info.update(method=method, **({"ours": True} if "ours" in method else {}))
    solve = ForestSolver(Q, block).solve if "ours" in method else splu(Q[block][:, block].tocsc()).solve
    benchmark.pedantic(solve, args=(h,), rounds=10, warmup_rounds=1)
