"""Mathematics of prox_repro.core.ot: closed forms, limits, invariances, and bad input."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from prox_repro.core.ot import (
    assignment, centre_potentials, check_transport, cost_matrix, entropic_cost, entropy, grid_cost, grid_points, lyapunov,
    marginal_error, ot_exact, plan_from_potentials, sinkhorn_divergence, sinkhorn_log, sinkhorn_scaling, starting_potentials,
)

SOLVERS = [sinkhorn_log, sinkhorn_scaling]


def problem(n=6, m=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, m)), rng.dirichlet(np.full(n, 3.0)), rng.dirichlet(np.full(m, 3.0))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("eta", [0.1, 1.0, 7.0, 30.0])
def test_two_points_closed_form(solver, eta):
    half = np.full(2, 0.5)
    plan = solver(1 - np.eye(2), half, half, eta, tol=1e-14).plan
    assert plan[0, 0] == pytest.approx(0.5 * expit(eta), abs=1e-13)


@pytest.mark.parametrize("solver", SOLVERS)
def test_infinite_temperature_gives_the_product(solver):
    C, r, c = problem()
    assert np.allclose(solver(C, r, c, 1e-9, tol=1e-14).plan, np.outer(r, c), atol=1e-9)


def test_low_temperature_gives_the_exact_plan():
    C, r, c = problem()
    result = sinkhorn_scaling(C, r, c, 2000.0, n_iter=20_000, tol=1e-11)
    exact = ot_exact(C, r, c)
    assert result.converged
    assert np.allclose(result.plan, exact.plan, atol=1e-4)
    assert -1e-9 <= (C * result.plan).sum() - exact.cost <= -entropy(np.outer(r, c)) / 2000  # at most the range of H / eta


@pytest.mark.parametrize("absorb_every", [1, 7, 20])
def test_scaling_form_makes_the_same_iterates_as_the_log_form(absorb_every):
    C, r, c = problem(12, 9, 3)
    slow = sinkhorn_log(C, r, c, 3000.0, n_iter=150, tol=0.0)
    fast = sinkhorn_scaling(C, r, c, 3000.0, n_iter=150, tol=0.0, absorb_every=absorb_every)
    assert slow.n_iter == fast.n_iter == 150
    assert np.allclose(slow.x, fast.x, atol=1e-11) and np.allclose(slow.y, fast.y, atol=1e-11)
    assert np.allclose(slow.errors, fast.errors, rtol=1e-6, atol=1e-13)


def test_scaling_form_survives_a_start_that_overflows():
    C, r, c = problem(8, 8, 1)
    rng = np.random.default_rng(0)
    far = dict(x0=rng.normal(size=8) * 5, y0=rng.normal(size=8) * 5)  # exponents of several thousand, both signs
    result = sinkhorn_scaling(C, r, c, 500.0, n_iter=20_000, tol=1e-10, **far)
    assert result.converged
    assert np.allclose(result.plan, sinkhorn_log(C, r, c, 500.0, n_iter=20_000, tol=1e-10).plan, atol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
def test_reported_errors_and_result_are_those_of_the_plan(solver):
    C, r, c = problem()
    result = solver(C, r, c, 50.0, n_iter=25, tol=0.0)
    assert result.errors.shape == (26,)
    assert result.errors[-1] == pytest.approx(marginal_error(result.plan, r, c), abs=1e-14)
    x, y = starting_potentials(C)
    assert result.errors[0] == pytest.approx(marginal_error(plan_from_potentials(x, y, C, 50.0), r, c))
    assert np.allclose(result.plan, plan_from_potentials(result.x, result.y, C, 50.0))
    assert result.x.sum() == pytest.approx(result.y.sum(), abs=1e-12)
    assert not result.converged and solver(C, r, c, 50.0, tol=1e-6).converged


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_steps_return_the_start(solver):
    C, r, c = problem()
    result = solver(C, r, c, 50.0, n_iter=0)
    assert result.n_iter == 0 and not result.converged
    assert np.allclose(result.plan, plan_from_potentials(*starting_potentials(C), C, 50.0))


@given(st.integers(0, 10_000), st.floats(1.0, 400.0))
@settings(max_examples=25, deadline=None)
def test_potential_never_decreases_along_sinkhorn(seed, eta):
    C, r, c = problem(5, 7, seed)
    values = sinkhorn_scaling(C, r, c, eta, n_iter=60, tol=0.0, track=True).potentials
    assert np.all(np.diff(values) >= -1e-13 * np.abs(values).max())


def test_gradient_of_the_potential_by_finite_differences():
    C, r, c = problem(5, 5)
    rng = np.random.default_rng(1)
    z, eta, h = rng.normal(size=10) / 20, 6.0, 1e-6
    f = lambda z: lyapunov(z[:5], z[5:], C, r, c, eta)
    numeric = np.array([(f(z + h * e) - f(z - h * e)) / (2 * h) for e in np.eye(10)])
    P = plan_from_potentials(z[:5], z[5:], C, eta)
    assert np.allclose(numeric, np.concatenate([r - P.sum(1), c - P.sum(0)]), atol=1e-8)


@given(st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_shift_invariance_and_centring(shift):
    C, r, c = problem()
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=6), rng.normal(size=4)
    assert lyapunov(x + shift, y - shift, C, r, c, 2.0) == pytest.approx(lyapunov(x, y, C, r, c, 2.0))
    centred, same = centre_potentials(x, y), centre_potentials(x + shift, y - shift)
    assert np.allclose(centred[0], same[0]) and np.allclose(centred[1], same[1])


def test_plan_of_extreme_potentials():
    C = np.zeros((2, 2))
    P = plan_from_potentials(np.array([-np.inf, 0.0]), np.array([0.0, -10.0]), C, 100.0)
    assert P.tolist() == [[0.0, 0.0], [pytest.approx(np.exp(-1)), 0.0]]
    assert np.isinf(plan_from_potentials(np.full(2, 50.0), np.zeros(2), C, 100.0)).all()


def test_assignment_is_the_best_permutation():
    from itertools import permutations
    C = np.random.default_rng(3).random((6, 6))
    permutation, cost = assignment(C)
    assert cost == pytest.approx(min(C[np.arange(6), list(q)].mean() for q in permutations(range(6))))
    assert C[np.arange(6), permutation].mean() == pytest.approx(cost)
    exact = ot_exact(C, np.full(6, 1 / 6), np.full(6, 1 / 6))
    assert exact.cost == pytest.approx(cost) and np.allclose(exact.plan.sum(0), 1 / 6)


def test_exact_transport_on_the_line_is_the_area_between_distribution_functions():
    rng = np.random.default_rng(4)
    r, c = rng.dirichlet(np.ones(15)), rng.dirichlet(np.ones(15))
    points = np.arange(15.0)[:, None]
    exact = ot_exact(cost_matrix(points, metric="cityblock"), r, c)
    assert exact.cost == pytest.approx(np.abs(np.cumsum(r - c)).sum())
    assert marginal_error(exact.plan, r, c) < 1e-12 and (exact.plan > 0).sum() <= 29


def test_exact_transport_keeps_the_total_mass():
    C, r, c = problem()
    assert ot_exact(C, 3 * r, 3 * c).cost == pytest.approx(3 * ot_exact(C, r, c).cost)
    assert ot_exact(C[:4], np.full(4, 2.0), np.full(4, 2.0)).plan.sum() == pytest.approx(8.0)


def test_entropy_conventions_differ_by_a_constant():
    C, r, c = problem()
    P = sinkhorn_log(C, r, c, 20.0, tol=1e-13).plan
    kl = (P * np.log(P / np.outer(P.sum(1), P.sum(0)))).sum()
    assert entropic_cost(P, C, 20.0, convention="kl") == pytest.approx((C * P).sum() + kl / 20)
    assert entropic_cost(P, C, eps=0.05) == pytest.approx((C * P).sum() + (P * np.log(P)).sum() / 20)
    assert entropy(np.array([0.0, 1.0])) == 0.0


def test_strong_duality():
    C, r, c = problem()
    result = sinkhorn_log(C, r, c, 20.0, tol=1e-14)
    assert entropic_cost(result.plan, C, 20.0) == pytest.approx(lyapunov(result.x, result.y, C, r, c, 20.0), rel=1e-12)


def test_divergence_vanishes_on_equal_measures_and_measures_shifts():
    rng = np.random.default_rng(5)
    cloud, other = rng.normal(size=(20, 3)), rng.normal(size=(15, 3)) + 1
    assert sinkhorn_divergence(cloud, cloud, eps=0.5) == pytest.approx(0.0, abs=1e-8)
    assert sinkhorn_divergence(cloud, cloud + [0, 0.3, 0.4], eps=0.5) == pytest.approx(0.25, abs=1e-7)
    weights = rng.dirichlet(np.ones(15))
    value = sinkhorn_divergence(cloud, other, eta=2.0, c=weights)
    assert value > 0
    assert sinkhorn_divergence(other, cloud, eta=2.0, r=weights) == pytest.approx(value, abs=1e-7)


def test_costs():
    points = np.random.default_rng(6).normal(size=(4, 2))
    difference = points[:, None] - points[None]
    assert np.allclose(cost_matrix(points), (difference**2).sum(-1))
    assert np.allclose(cost_matrix(points, metric="cityblock"), np.abs(difference).sum(-1))
    assert np.allclose(cost_matrix(points, points[:2], "euclidean"), np.sqrt((difference**2).sum(-1))[:, :2])
    assert grid_points(3, 5).shape == (15, 2) and grid_points(3, 5)[-1].tolist() == [1.0, 1.0]
    assert grid_cost(3, 5).shape == (15, 15) and grid_cost(3, 5, "cityblock").max() == 2.0


C0, R0 = np.ones((2, 3)), np.full(2, 0.5)
K0 = np.full(3, 1 / 3)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("args, options, name", [
    ((C0, R0, K0, 0.0), {}, "eta"), ((C0, R0, K0, -1.0), {}, "eta"), ((C0, R0, K0, np.nan), {}, "eta"),
    ((C0, R0, K0), {}, "eta"), ((C0, R0, K0, 1.0), {"eps": 1.0}, "eta"), ((C0, R0, K0), {"eps": 0.0}, "eps"),
    ((C0, R0, R0, 1.0), {}, "c"), ((C0, K0, K0, 1.0), {}, "r"), ((C0[0], R0, K0, 1.0), {}, "C"),
    ((C0 * np.nan, R0, K0, 1.0), {}, "C"), ((C0, 2 * R0, K0, 1.0), {}, "r, c"),
    ((C0, np.array([1.5, -0.5]), K0, 1.0), {}, "r"), ((C0, np.array([1.0, 0.0]), K0, 1.0), {}, "r"),
    ((C0, R0, np.array([np.nan, 0.5, 0.5]), 1.0), {}, "c"), ((C0, R0, K0, 1.0), {"x0": np.zeros(3)}, "x0"),
    ((C0, R0, K0, 1.0), {"y0": np.full(3, np.inf)}, "y0"), ((np.ones((0, 3)), np.ones(0), K0, 1.0), {}, "C"),
])
def test_bad_input_names_the_argument(solver, args, options, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        solver(*args, **options)


def test_other_bad_input():
    with pytest.raises(ValueError, match="^absorb_every"):
        sinkhorn_scaling(C0, R0, K0, 1.0, absorb_every=0)
    with pytest.raises(ValueError, match="^metric"):
        cost_matrix(C0, metric="cosine")
    with pytest.raises(ValueError, match="^C"):
        assignment(C0)
    with pytest.raises(ValueError, match="^convention"):
        entropic_cost(C0, C0, 1.0, convention="shannon")
    with pytest.raises(ValueError, match="^r, c"):
        ot_exact(C0, R0, 2 * K0)


def test_checked_problem_is_float64_and_accepts_lists():
    checked = check_transport([[0, 1], [1, 0]], [0.5, 0.5], [0.5, 0.5], eps=0.5)
    assert checked.C.dtype == np.float64 and checked.eta == 2.0
