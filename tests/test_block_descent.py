"""Mathematics of prox_repro.optimization.block_descent: exactness, bounds, guarantees, identification, and bad input."""
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solveh_banded
from scipy.optimize import lsq_linear
from scipy.sparse import csr_array, diags_array

from prox_repro.core.problems import LeastSquares, Logistic, Quadratic, Softmax, finite_differences
from prox_repro.optimization.block_descent import (
    BOUNDED_UPDATES, FORESTS, NON_GREEDY, PARTITIONS, UPDATES, BCDSolver, Curvature, FixedBlocks, ForestSolver, NonnegL1, State,
    _block_gradient, active_set_complexity, block_scores, coordinate_scores, dependency_graph, forest_solve, greedy_forest,
    identification_bound, is_forest, label_propagation, lattice_graph, make_partition, moons_graph, nnls_qp, red_black,
    regression_data, select_block, tree_partition, update_block,
)

seeds = st.integers(0, 100_000)


def least_squares(seed=0, m=15, n=24):
    rng = np.random.default_rng(seed)
    return LeastSquares(rng.standard_normal((m, n)) * rng.uniform(0.2, 5, n), rng.standard_normal(m))


def logistic(seed=0, m=25, n=10, reg=0.1):
    rng = np.random.default_rng(seed)
    return Logistic(rng.standard_normal((m, n)) * rng.uniform(0.2, 3, n), np.sign(rng.standard_normal(m)), reg=reg)


def softmax(seed=0, m=25, n=5, k=4, reg=0.1):
    rng = np.random.default_rng(seed)
    return Softmax(rng.standard_normal((m, n)), rng.integers(0, k, m), n_classes=k, reg=reg)


def quadratic(seed=0, n=9):
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((n + 3, n)) * rng.uniform(0.3, 3, n)
    return Quadratic(B.T @ B, rng.standard_normal(n))


FAMILIES = {"least squares": least_squares, "logistic": logistic, "softmax": softmax, "quadratic": quadratic}


def state_of(problem, x, size=3, partition=None, term=None):
    fixed = None if partition is None else FixedBlocks(problem, partition)
    shift = 0.0 if term is None else term.reg
    state = State(problem, Curvature(problem), size, x, problem.linear(x), fixed, term, grad=problem.grad(x) + shift)
    state.value = problem.value(x) + shift * x.sum()
    return state


def random_graph(rng, n, degree=3.0):
    "A diagonally dominant matrix on a random graph."
    i, j = rng.integers(0, n, (2, int(degree * n / 2)))
    W = csr_array((rng.standard_normal(len(i)), (i, j)), shape=(n, n)) if len(i) else csr_array((n, n))
    W = csr_array(W + W.T)
    W.setdiag(0)
    W.eliminate_zeros()
    return csr_array(W + diags_array(np.asarray(abs(W).sum(axis=1)).ravel() + 0.5))


def random_forest(rng, n, share):
    child = np.arange(1, n)[rng.random(n - 1) < share]
    parent = (rng.random(len(child)) * child).astype(int)
    w = rng.choice([-1, 1], len(child)) * (0.1 + rng.random(len(child)))
    D = np.bincount(child, abs(w), n) + np.bincount(parent, abs(w), n) + 0.1
    W = csr_array((w, (child, parent)), shape=(n, n))
    order = rng.permutation(n)  # labels that say nothing about the shape
    return csr_array(W + W.T + diags_array(D))[order][:, order]


# message passing

@settings(deadline=None, max_examples=50)
@given(seeds, st.integers(1, 60), st.floats(0, 1))
def test_forest_solve_is_the_dense_solution(seed, n, share):
    rng = np.random.default_rng(seed)
    A, h = random_forest(rng, n, share), rng.standard_normal(n)
    np.testing.assert_allclose(forest_solve(A, h), np.linalg.solve(A.toarray(), h), rtol=1e-9, atol=1e-11)


def test_a_solver_is_reused_and_the_right_hand_side_is_left_alone():
    rng = np.random.default_rng(0)
    A, h = random_forest(rng, 40, 0.9), rng.standard_normal(40)
    solver, kept = ForestSolver(A), h.copy()
    first, second = solver.solve(h), solver.solve(h)
    assert np.array_equal(first, second) and np.array_equal(h, kept)
    np.testing.assert_allclose(solver.solve(3 * h), 3 * first, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 100_000])
def test_a_path_of_any_length(n):
    rng = np.random.default_rng(1)
    w, h = -rng.random(n - 1), rng.standard_normal(n)
    d = np.append(-w, 0) + np.append(0, -w) + 0.1 + rng.random(n)
    A = diags_array([w, d, w], offsets=[-1, 0, 1], format="csr") if n > 1 else csr_array([[d[0]]])
    solver = ForestSolver(A)
    exact = solveh_banded(np.stack([np.append(0, w), d]), h) if n > 1 else h / d
    np.testing.assert_allclose(solver.solve(h), exact, rtol=1e-9, atol=1e-12)
    assert len(solver.rounds) <= 4 * np.log2(n + 2) and solver.operations <= 11 * n
    assert sorted(np.concatenate([r.node for r in solver.rounds]).tolist()) == list(range(n))


def test_a_star_sends_all_messages_to_one_node():
    n, rng = 200, np.random.default_rng(2)
    A = np.diag(np.full(n, 2.0))
    A[0, 1:] = A[1:, 0] = rng.uniform(-1, 1, n - 1)
    A[0, 0] = n
    h = rng.standard_normal(n)
    np.testing.assert_allclose(forest_solve(A, h), np.linalg.solve(A, h), rtol=1e-10)


def test_the_block_gradient_vanishes_after_an_exact_step():
    rng = np.random.default_rng(3)
    W, labelled = lattice_graph(12), rng.choice(144, 12, replace=False)
    problem, free = label_propagation(W, labelled, rng.standard_normal(12))
    state = state_of(problem, rng.standard_normal(len(free)))
    state.graph = dependency_graph(problem)
    block, _ = select_block("forest-gs", state)
    state.x[block] += update_block("forest", state, block)
    assert abs(problem.grad(state.x)[block]).max() < 1e-13 and len(block) > len(free) / 2


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(1, 40), st.floats(0.5, 5))
def test_greedy_forests_are_maximal_forests(seed, n, degree):
    rng = np.random.default_rng(seed)
    A, score = random_graph(rng, n, degree), rng.random(n)
    block = greedy_forest(score, A)
    assert is_forest(A, block) and int(np.argmax(score)) in block
    for u in np.setdiff1d(np.arange(n), block):
        assert not is_forest(A, np.append(block, u))


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 40), st.floats(0.5, 5))
def test_builders_partition_the_nodes(seed, n, degree):
    rng = np.random.default_rng(seed)
    A = random_graph(rng, n, degree)
    for blocks in (tree_partition(A), tree_partition(A, rng.permutation(n)), red_black(A)):
        assert sorted(np.concatenate(blocks).tolist()) == list(range(n))
        assert all(is_forest(A, b) for b in blocks)
    for b in red_black(A):
        sub = A[b][:, b].toarray()
        assert np.array_equal(sub, np.diag(np.diag(sub)))


def test_a_lattice_has_two_colours_and_two_trees():
    A = csr_array(lattice_graph(9) + diags_array(np.full(81, 5.0)))
    assert [len(b) for b in red_black(A)] == [41, 40] and len(tree_partition(A)) == 2
    assert not is_forest(A) and is_forest(A, np.arange(9))


def test_forest_newton_on_a_sparse_logistic_problem():
    "Samples that touch two neighbours on a path: the Hessian is tridiagonal, and one block is everything."
    rng = np.random.default_rng(4)
    A = np.zeros((60, 12))
    for row, i in enumerate(rng.integers(0, 11, 60)):
        A[row, i:i + 2] = rng.standard_normal(2)
    problem = Logistic(A, np.sign(rng.standard_normal(60)), reg=0.05)
    assert is_forest(dependency_graph(problem))
    trees = BCDSolver(problem, selection="forest-gs", update="forest", tol=1e-10).fit()
    dense = BCDSolver(problem, selection="gs", update="newton", block_size=12, tol=1e-10).fit()
    assert trees.converged and trees.n_iter < 12
    np.testing.assert_allclose(trees.x, dense.x, atol=1e-8)


# partitions and selection

@given(st.integers(1, 50), st.data(), seeds)
def test_partitions_are_permutations(n, data, seed):
    size, L = data.draw(st.integers(1, n)), np.random.default_rng(seed).random(n)
    for kind in PARTITIONS:
        blocks = make_partition(kind, n, size, L)
        assert sorted(np.concatenate(blocks).tolist()) == list(range(n)) and {len(b) for b in blocks[:-1]} <= {size}
    assert (np.diff(L[np.concatenate(make_partition("sort", n, size, L))]) >= 0).all()


@given(seeds)
@settings(deadline=None, max_examples=25)
def test_single_coordinates_gsl_is_the_lipschitz_rule(seed):
    problem = least_squares(seed)
    state = state_of(problem, np.random.default_rng(seed).standard_normal(problem.size), 1, make_partition("order", problem.size, 1))
    rule = np.argmax(abs(state.grad) / np.sqrt(problem.coord_lipschitz()))
    assert select_block("gsl", state)[1] == rule == select_block("gsd", state)[1] == select_block("gsq", state)[1]


def test_equal_constants_make_gsd_the_gauss_southwell_rule():
    rng = np.random.default_rng(5)
    A = rng.standard_normal((15, 24))
    problem = LeastSquares(A / np.linalg.norm(A, axis=0), rng.standard_normal(15))
    state = state_of(problem, rng.standard_normal(24), 6)
    assert np.array_equal(select_block("gsd", state)[0], select_block("gs", state)[0])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("score, update", [("gsl", "gradient"), ("gsq", "matrix")])
def test_the_best_score_is_the_best_guarantee_and_the_guarantee_holds(family, score, update):
    problem = FAMILIES[family]()
    partition, rng = make_partition("sort", problem.size, 4, problem.coord_lipschitz()), np.random.default_rng(6)
    for _ in range(20):
        state = state_of(problem, rng.standard_normal(problem.size), 4, partition)
        values = block_scores(score, state)
        for rule in ("gs", "gsd", "gsd-h"):
            assert values.max() >= values[select_block(rule, state)[1]] * (1 - 1e-12)
        for j, block in enumerate(partition):
            x = state.x.copy()
            x[block] += update_block(update, state, block, j)
            assert problem.value(x) <= state.value - 0.5 * values[j] + 1e-10 * (1 + abs(state.value))


@pytest.mark.parametrize("family", FAMILIES)
def test_diagonal_bounds_are_valid_bounds(family):
    "tau diag(H) and the row sums of |H| lie above H on every block."
    problem, rng = FAMILIES[family](), np.random.default_rng(7)
    curvature = Curvature(problem)
    for _ in range(20):
        block = rng.choice(problem.size, 4, replace=False)
        H = problem.block_hessian_bound(block)
        for D in (4 * curvature.coord[block], curvature.row_sums[block]):
            assert np.linalg.eigvalsh(np.diag(D) - H)[0] >= -1e-10 * np.trace(H)


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_and_products_of_the_bound(family):
    problem, rng = FAMILIES[family](), np.random.default_rng(8)
    H, curvature, v = problem.block_hessian_bound(np.arange(problem.size)), Curvature(problem), rng.standard_normal(problem.size)
    np.testing.assert_allclose(curvature.product(v), H @ v, rtol=1e-10, atol=1e-10)
    assert curvature.norm == pytest.approx(np.linalg.eigvalsh(H)[-1], rel=1e-8)
    scaled = H / np.sqrt(np.outer(curvature.coord, curvature.coord))
    assert curvature.scaled_norm == pytest.approx(np.linalg.eigvalsh(scaled)[-1], rel=1e-8)


def test_exact_gsq_on_few_variables_beats_every_other_block():
    problem = quadratic(9, n=7)
    solver = BCDSolver(problem, selection="gsq", block_size=3, max_iter=1, tol=0.0)
    best = solver.fit().value
    for seed in range(40):
        assert best <= BCDSolver(problem, selection="random", block_size=3, max_iter=1, tol=0.0, seed=seed).fit().value + 1e-12


@pytest.mark.parametrize("approx", ["iht", "iht-scaled"])
def test_hard_thresholding_is_exact_where_the_bound_is_diagonal(approx):
    rng = np.random.default_rng(10)
    problem = Quadratic(np.diag(np.ones(30) if approx == "iht" else rng.uniform(0.1, 5, 30)), rng.standard_normal(30))
    result = BCDSolver(problem, selection="gsq", approx=approx, block_size=4, max_iter=1, tol=0.0).fit()
    expected = np.argsort(problem.c**2 / problem.Q.diagonal())[-4:]
    assert set(result.blocks[0].tolist()) == set(expected.tolist())


def test_random_rules_draw_from_their_laws():
    problem = least_squares(11, n=6)
    L, counts = problem.coord_lipschitz(), np.zeros(6)
    state = state_of(problem, np.zeros(6), 1)
    state.rng = np.random.default_rng(0)
    for _ in range(6000):
        counts[select_block("lipschitz", state)[0]] += 1
    np.testing.assert_allclose(counts / 6000, L / L.sum(), atol=0.025)
    state.size = 4
    assert all(len(np.unique(select_block(rule, state)[0])) == 4 for rule in ("random", "lipschitz") for _ in range(50))


def test_a_cycle_visits_every_variable():
    blocks = BCDSolver(least_squares(), selection="cyclic", block_size=5, max_iter=24, tol=0.0).fit().blocks
    assert (np.bincount(np.concatenate(blocks), minlength=24) == 5).all()


# smooth descent

@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("partition, selection", [
    *product(["variable"], ["random", "cyclic", "lipschitz", "gs", "gsd", "gsd-h"]),
    *product(["sort", "order", "avg"], ["random", "cyclic", "lipschitz", "gs", "gsl", "gsd", "gsd-h", "gsq"])])
def test_no_rule_ever_increases_the_objective(family, partition, selection):
    for update in ("gradient", "matrix", "newton", "backtrack"):
        values = BCDSolver(FAMILIES[family](), partition=partition, selection=selection, update=update, block_size=4, max_iter=40,
                           tol=0.0).fit().history["value"]
        assert np.diff(values).max() <= 1e-12 * (1 + abs(values).max()) and values[-1] < values[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_update_reaches_the_same_minimum(family):
    problem = FAMILIES[family]() if family != "least squares" else least_squares(m=40, n=12)
    ends = [BCDSolver(problem, partition="sort", selection="gsd", update=u, block_size=4, max_iter=20_000, tol=1e-6).fit() for u in
            ("gradient", "matrix", "newton", "backtrack")]
    assert all(e.converged for e in ends)
    for end in ends:
        np.testing.assert_allclose(end.x, ends[0].x, atol=1e-4)


def test_one_matrix_step_on_everything_solves_a_quadratic():
    problem = quadratic()
    for update in ("matrix", "newton"):
        result = BCDSolver(problem, selection="cyclic", update=update, block_size=9, max_iter=1, tol=0.0).fit(np.ones(9))
        np.testing.assert_allclose(result.x, np.linalg.solve(problem.Q, problem.c), rtol=1e-8)


def test_more_columns_than_rank_use_the_pseudo_inverse():
    problem = least_squares(12, m=5, n=20)
    for partition in ("variable", "sort"):
        result = BCDSolver(problem, partition=partition, selection="gsd", block_size=10, max_iter=3, tol=0.0).fit()
        assert np.isfinite(result.x).all() and result.value < 1e-16 * problem.value(np.zeros(20)) + 1e-20


def test_empty_columns_do_not_move():
    A, y = regression_data(20, 60, rng=np.random.default_rng(13))
    A[:, 7] = 0
    problem = LeastSquares(A, y)
    for selection, update in product(("gsd", "gsd-h", "gs", "lipschitz", "random"), ("gradient", "matrix")):
        assert BCDSolver(problem, selection=selection, update=update, block_size=6, max_iter=50, tol=0.0).fit().x[7] == pytest.approx(0, abs=1e-12)


def test_the_kept_state_does_not_drift():
    problem = least_squares(14)
    result = BCDSolver(problem, selection="cyclic", update="gradient", block_size=3, max_iter=2500, tol=0.0).fit()
    assert result.value == pytest.approx(problem.value(result.x), rel=1e-6, abs=1e-18)


@pytest.mark.parametrize("family", FAMILIES)
def test_block_gradients_are_parts_of_the_gradient(family):
    problem, rng = FAMILIES[family](), np.random.default_rng(15)
    x, term = rng.random(problem.size), NonnegL1(0.7)
    state = state_of(problem, x, term=term)
    block = rng.permutation(problem.size)[:5]
    np.testing.assert_allclose(_block_gradient(state, block), problem.grad(x)[block] + 0.7, rtol=1e-10, atol=1e-12)


def test_runs_repeat_and_seeds_differ():
    options = dict(selection="random", block_size=3, max_iter=30, tol=0.0)
    a, b, c = (BCDSolver(least_squares(), seed=s, **options).fit() for s in (1, 1, 2))
    assert np.array_equal(a.x, b.x) and not np.array_equal(a.x, c.x)


def test_work_is_counted():
    problem = least_squares()
    unit = problem.A.size
    for selection, low, high in (("gsd", 1.0, 2.0), ("cyclic", 0.2, 1.0)):
        work = BCDSolver(problem, selection=selection, block_size=3, max_iter=10, tol=0.0).fit().history["work"]
        assert work[0] == 0 and (np.diff(work) > low * unit).all() and (np.diff(work) < high * unit).all()
    capped = BCDSolver(problem, selection="gsd", max_work=5.5 * unit, max_iter=1000, tol=0.0, block_size=1).fit()
    assert capped.history["work"][-2] < 5.5 * unit <= capped.history["work"][-1]


def test_a_callback_can_stop_the_run():
    seen = []
    result = BCDSolver(least_squares(), tol=0.0).fit(callback=lambda k, x: bool(seen.append(k) or k == 4))
    assert result.n_iter == 4 and seen == [0, 1, 2, 3, 4] and not result.converged
    assert BCDSolver(least_squares(), max_iter=0).fit().n_iter == 0


# curvature of the problems, as this page uses them

@pytest.mark.parametrize("family", ["logistic", "softmax"])
def test_bounds_lie_above_the_hessian(family):
    problem, rng = FAMILIES[family](), np.random.default_rng(16)
    for _ in range(100):
        block = rng.choice(problem.size, 4, replace=False)
        gap = problem.block_hessian_bound(block) - problem.block_hessian(3 * rng.standard_normal(problem.size), block)
        assert np.linalg.eigvalsh(gap)[0] >= -1e-10


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_and_hessians_by_finite_differences(family):
    problem = FAMILIES[family]()
    x = np.random.default_rng(17).standard_normal(problem.size)
    block = np.array([3, 0, 5])
    np.testing.assert_allclose(problem.grad(x), finite_differences(problem.value, x), atol=2e-5, rtol=1e-5)
    jacobian = finite_differences(problem.grad, x)
    np.testing.assert_allclose(problem.block_hessian(x, block), jacobian[np.ix_(block, block)], atol=2e-5, rtol=1e-5)


# bounds and penalties

def brute_force_qp(H, g, lower, upper):
    "The best of all combinations of bounds."
    best, where = np.inf, None
    for kind in product((0, 1, 2) if np.isfinite(upper).all() else (0, 1), repeat=len(g)):
        kind = np.array(kind)
        d = np.where(kind == 1, lower, np.where(kind == 2, upper, 0.0))
        free = kind == 0
        d[free] = np.linalg.solve(H[np.ix_(free, free)], -g[free] - H[np.ix_(free, ~free)] @ d[~free])
        value = g @ d + 0.5 * d @ H @ d
        if (d >= lower - 1e-12).all() and (d <= upper + 1e-12).all() and value < best:
            best, where = value, d
    return where


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 5), st.booleans())
def test_projected_newton_solves_its_quadratic_programme(seed, n, box):
    rng = np.random.default_rng(seed)
    B, g = rng.standard_normal((n + 2, n)), 2 * rng.standard_normal(n)
    lower = -rng.random(n)
    upper = rng.random(n) if box else np.full(n, np.inf)
    np.testing.assert_allclose(nnls_qp(B.T @ B, g, lower, upper), brute_force_qp(B.T @ B, g, lower, upper), atol=1e-7)


TERMS = {"l1": NonnegL1(1.5), "box": NonnegL1(0.0, 0.05)}


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("update", BOUNDED_UPDATES)
@pytest.mark.parametrize("partition, selection", [*product(["variable", "sort"], ["gs-q", "random", "cyclic"])])
def test_bounded_descent_ends_at_a_kkt_point(term, update, partition, selection):
    problem, box = least_squares(18, m=40, n=16), TERMS[term]
    result = BCDSolver(problem, term=box, partition=partition, selection=selection, update=update, block_size=4, max_iter=20_000,
                       tol=1e-9).fit()
    x, g = result.x, problem.grad(result.x) + box.reg
    assert result.converged and (x >= 0).all() and (x <= box.upper).all()
    inside = (x > 0) & (x < box.upper)
    assert abs(g[inside]).max() < 1e-8 and g[x == 0].min(initial=0.0) > -1e-8 and g[x == box.upper].max(initial=0.0) < 1e-8
    assert np.diff(result.history["value"]).max() <= 1e-12 * result.history["value"][0]
    if term == "box":
        np.testing.assert_allclose(x, lsq_linear(problem.A, problem.y, (0, 0.05), method="bvls", tol=1e-14).x, atol=1e-7)
    assert {"l1": (x == 0).any(), "box": (x == box.upper).any()}[term]


@pytest.mark.parametrize("term", TERMS)
def test_one_pass_within_the_radius_restores_the_active_set(term):
    problem, box = least_squares(18, m=40, n=16), TERMS[term]
    x_star = BCDSolver(problem, term=box, selection="gs-q", update="pn", block_size=16, tol=1e-10).fit().x
    active = active_set_complexity(problem, x_star, box)
    assert active.delta > 0 and active.zeros.any() and active.radius == pytest.approx(active.delta / 2 / active.lipschitz)
    rng = np.random.default_rng(19)
    for _ in range(100):
        v = rng.standard_normal(16)
        x = box.project(x_star + 0.999 * active.radius * v / np.linalg.norm(v))
        for partition in (make_partition("order", 16, 16), make_partition("order", 16, 4)):
            state = state_of(problem, x.copy(), 4, partition, box)
            for j, block in enumerate(partition):
                moved = x[block] + update_block("pg", state, block, j)
                assert np.array_equal(box.project(moved)[active.zeros[block]], x_star[block][active.zeros[block]])


def test_identification_bound_is_the_formula():
    active = active_set_complexity(Quadratic(np.diag([2.0, 1.0]), np.array([2.0, -1.0])), np.array([1.0, 0.0]), NonnegL1())
    assert active.delta == pytest.approx(1.0) and active.lipschitz == pytest.approx(2.0) and active.zeros.tolist() == [False, True]
    assert identification_bound(active, 1.0, 0.25, 3) == pytest.approx(np.log(4) / np.log(2) + 3)
    assert identification_bound(active, 0.1, 0.25, 3) == 3
    degenerate = active_set_complexity(Quadratic(np.eye(2), np.array([1.0, 0.0])), np.array([1.0, 0.0]), NonnegL1())
    assert degenerate.delta == 0


@pytest.mark.parametrize("update, steps", [("pn", 6), ("tmp", 20)])
def test_the_method_stops_exactly_once_the_support_fits(update, steps):
    A, y = regression_data(60, 300, rng=np.random.default_rng(20))
    problem = LeastSquares(A, y)
    term = NonnegL1(0.3 * abs(A.T @ y).max())
    result = BCDSolver(problem, term=term, selection="gs-q", update=update, block_size=40, max_iter=steps, tol=1e-9 * term.reg).fit()
    assert result.converged and np.count_nonzero(result.x) < 40 and result.last_change <= result.n_iter


def test_variables_inside_their_bounds_win_ties():
    "At the solution all scores vanish; the chosen block still holds the support."
    problem = Quadratic(np.diag([1.0, 2.0, 1.0, 3.0]), np.array([-1.0, -2.0, 1.0, 3.0]))
    state = state_of(problem, np.array([0.0, 0.0, 1.0, 1.0]), 2, term=NonnegL1())
    assert select_block("gs-q", state)[0].tolist() == [2, 3]


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_composite_scores_are_decreases_of_the_model(seed):
    rng = np.random.default_rng(seed)
    problem, term = quadratic(seed, 5), NonnegL1(rng.random(), 0.5)
    state = state_of(problem, term.project(0.6 * rng.standard_normal(5)), 2, term=term)
    scores, L = coordinate_scores("gs-q", state), problem.coord_lipschitz()
    for i in range(5):
        d = np.linspace(-state.x[i], 0.5 - state.x[i], 2001)
        grid = -(state.grad[i] * d + 0.5 * L[i] * d * d).min()
        assert grid - 1e-12 <= scores[i] <= grid + L[i] * (d[1] - d[0]) ** 2 + 1e-12


# label propagation

def test_labels_are_continued_harmonically():
    rng = np.random.default_rng(21)
    W, labelled, values = lattice_graph(8), rng.choice(64, 6, replace=False), rng.standard_normal(6)
    problem, free = label_propagation(W, labelled, values)
    result = BCDSolver(problem, partition=tree_partition(problem.Q), selection="cyclic", update="forest", tol=1e-11).fit()
    x = np.zeros(64)
    x[free], x[labelled] = result.x, values
    means = (W @ x) / np.asarray(W.sum(axis=1)).ravel()
    np.testing.assert_allclose(x[free], means[free], atol=1e-9)
    assert result.converged and values.min() <= x.min() and x.max() <= values.max()


def test_graphs_are_symmetric():
    W, labels, points = moons_graph(80, rng=np.random.default_rng(0))
    assert abs(W - W.T).max() == 0 and points.shape == (80, 2) and set(labels) == {-1, 1}
    assert (np.asarray(W.sum(axis=1)).ravel() >= 5).all() and W.diagonal().max() == 0
    degrees = np.asarray(lattice_graph(5).sum(axis=1)).ravel()
    assert np.bincount(degrees.astype(int)).tolist() == [0, 0, 4, 12, 9]


# bad input

LS = least_squares()


@pytest.mark.parametrize("options, message", [
    (dict(block_size=0), "block_size: needs an integer in 1..24"), (dict(block_size=25), "block_size"), (dict(block_size=2.5), "block_size"),
    (dict(selection="best"), "selection: 'best' is unknown; valid are random"), (dict(update="magic"), "update: 'magic' is unknown"),
    (dict(partition="mixed"), "partition: 'mixed' is unknown"), (dict(selection="gsq"), "approx='iht'"),
    (dict(selection="gsq", approx="ist"), "approx"), (dict(selection="gsl"), "gsl"), (dict(update="pg"), "term"),
    (dict(selection="gs-q"), "term"), (dict(term=NonnegL1(1.0)), "term"), (dict(term=NonnegL1(), update="pg", selection="gs"), "term"),
    (dict(selection="forest-gs"), "forest"), (dict(update="forest"), "forest"), (dict(max_iter=-1), "max_iter"), (dict(tol=-1.0), "tol"),
    (dict(partition=[np.arange(5)]), "partition"), (dict(partition=[np.arange(24), np.arange(1)]), "partition"),
])
def test_solver_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        BCDSolver(LS, **options)


def test_other_bad_input():
    cycle = np.array([[3.0, 1, 1], [1, 3, 1], [1, 1, 3]])
    path, ones = np.diag([2.0, 2, 2]), np.ones(3)
    cases = [
        (lambda: forest_solve(cycle, ones), r"edge \(\d, \d\)"), (lambda: forest_solve(path, np.ones(2)), "rhs"),
        (lambda: forest_solve(path, ones * np.nan), "rhs"), (lambda: forest_solve(path, ones, np.array([0, 0, 1])), "block"),
        (lambda: forest_solve(path, ones, np.array([0, 1, 3])), "block"), (lambda: forest_solve(-path, ones), "positive definite"),
        (lambda: forest_solve(np.ones((2, 3)), ones), "square"), (lambda: greedy_forest(np.ones(2), path), "score"),
        (lambda: NonnegL1(-1.0), "reg"), (lambda: NonnegL1(1.0, 0.0), "upper"), (lambda: make_partition("odd", 4, 2), "valid are order, sort, avg"),
        (lambda: make_partition("sort", 4, 2), "lipschitz"), (lambda: make_partition("order", 4, 5), "block_size"),
        (lambda: BCDSolver(LS).fit(np.ones(3)), "x0"), (lambda: BCDSolver(LS).fit(np.full(24, np.nan)), "x0"),
        (lambda: BCDSolver(LS, term=NonnegL1(1.0), selection="gs-q", update="pg").fit(-np.ones(24)), "bounds"),
        (lambda: label_propagation(csr_array(np.kron(np.eye(2), np.ones((2, 2)) - np.eye(2))), [0], [1.0]), "component"),
        (lambda: Logistic(np.eye(3), np.array([0, 1, 1])), "y"), (lambda: Quadratic(np.array([[1.0, 2], [0, 1]]), np.ones(2)), "symmetric"),
        (lambda: Quadratic(np.diag([1.0, -1]), np.ones(2)), "negative eigenvalue"), (lambda: dependency_graph(softmax()), "softmax"),
        (lambda: identification_bound(active_set_complexity(quadratic(), np.zeros(9), NonnegL1()), 1.0, 1.0, 1), "rate"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_registries_are_complete():
    assert set(BOUNDED_UPDATES) < set(UPDATES) and set(NON_GREEDY).isdisjoint(FORESTS)
