"""Mathematics of prox_repro.transport.sinkhorn_newton: the invariants of the method, and bad input."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from prox_repro.core.ot import entropic_cost, lyapunov, marginal_error, ot_exact, plan_from_potentials, sinkhorn_log
from prox_repro.transport.sinkhorn_newton import (
    EXP_COST, cloud_transport, dense_newton, digit_transport, hessian_sparsity_profile, lbfgs_dual, mixture_transport,
    multiply_adds, newton_direction, newton_matrix, random_assignment, sinkhorn_multiply_adds, sns, sparsify_plan,
)


def problem(n=12, m=9, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, m)), rng.dirichlet(np.full(n, 3.0)), rng.dirichlet(np.full(m, 3.0))


def near(C, r, c, eta, n_iter=5):
    "A plan after a few Sinkhorn steps, with its gradient."
    result = sinkhorn_log(C, r, c, eta, n_iter=n_iter, tol=0.0)
    P = plan_from_potentials(result.x + 0.01 / eta, result.y, C, eta)
    return P, r - P.sum(1), c - P.sum(0)


def test_newton_matrix_is_minus_the_hessian():
    C, r, c = problem(5, 5)
    rng = np.random.default_rng(1)
    z, eta, h = rng.normal(size=10) / 20, 6.0, 1e-5

    def gradient(z):
        P = plan_from_potentials(z[:5], z[5:], C, eta)
        return np.concatenate([r - P.sum(1), c - P.sum(0)])

    numeric = np.array([(gradient(z + h * e) - gradient(z - h * e)) / (2 * h) for e in np.eye(10)])
    P = plan_from_potentials(z[:5], z[5:], C, eta)
    assert np.allclose(newton_matrix(P, sparsify_plan(P, 1.0), eta).toarray(), -numeric, rtol=1e-6, atol=1e-8)


def test_a_half_step_of_sinkhorn_zeroes_its_gradient_block():
    C, r, c = problem()
    rng = np.random.default_rng(2)
    x, y, eta = rng.normal(size=12) / 30, rng.normal(size=9) / 30, 25.0
    P = plan_from_potentials(x, y, C, eta)
    P = plan_from_potentials(x + (np.log(r) - np.log(P.sum(1))) / eta, y, C, eta)
    assert np.allclose(P.sum(1), r, atol=1e-15)


@given(st.integers(0, 10_000), st.sampled_from([5.0, 80.0, 1200.0]), st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=30, deadline=None)
def test_potential_never_decreases(seed, eta, density):
    C, r, c = problem(10, 14, seed)
    result = sns(C, r, c, eta, n_sinkhorn=3, density=density, tol=1e-12)
    gaps = np.array([row.gap for row in result.history])
    scale = 1 / eta + abs(lyapunov(result.x, result.y, C, r, c, eta))
    assert np.all(np.diff(gaps) <= 1e-12 * scale)


def test_full_density_gives_the_dense_newton_step():
    C, r, c = problem()
    P, gx, gy = near(C, r, c, 40.0)
    S = sparsify_plan(P, 1.0)
    d = newton_direction(S, P.sum(1), P.sum(0), gx, gy, 40.0, tol=1e-14)
    expected = np.linalg.lstsq(newton_matrix(P, S, 40.0).toarray(), np.concatenate([gx, gy]), rcond=1e-13)[0]
    difference = np.concatenate([d.dx, d.dy]) - expected
    kernel = np.concatenate([np.ones(12), -np.ones(9)])
    difference -= kernel * (difference @ kernel) / 21
    assert np.abs(difference).max() < 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("density", [0.1, 0.3, 0.7])
def test_elimination_solves_the_full_system(density, damping):
    C, r, c = problem(9, 13, 4)
    P, gx, gy = near(C, r, c, 60.0)
    S = sparsify_plan(P, density)
    d = newton_direction(S, P.sum(1), P.sum(0), gx, gy, 60.0, damping=damping, tol=1e-13)
    M = newton_matrix(P, S, 60.0).toarray()
    M = M + damping * np.diag(np.diag(M))
    assert np.allclose(M @ np.concatenate([d.dx, d.dy]), np.concatenate([gx, gy]), atol=1e-11)


@given(st.integers(0, 10_000), st.floats(0.01, 1.0), st.sampled_from([1.0, 50.0, 1200.0]))
@settings(max_examples=40, deadline=None)
def test_newton_matrix_is_positive_semidefinite_for_every_density(seed, density, eta):
    C, r, c = problem(8, 6, seed)
    P, gx, gy = near(C, r, c, eta, 2)
    M = newton_matrix(P, sparsify_plan(P, density), eta).toarray()
    assert np.linalg.eigvalsh(M).min() >= -1e-10 * np.abs(M).max()
    d = newton_direction(sparsify_plan(P, density), P.sum(1), P.sum(0), gx, gy, eta, max_iter=3)
    assert gx @ d.dx + gy @ d.dy >= 0  # an ascent direction even when CG stops early


def test_sparsify_keeps_the_largest_entries_exactly():
    P = np.random.default_rng(3).random((7, 11))
    for density in (0.01, 0.2, 0.5, 1.0):
        S = sparsify_plan(P, density).toarray()
        count = int(np.ceil(density * P.size))
        assert (S > 0).sum() == count
        assert S[S > 0].min() >= np.sort(P, axis=None)[-count] and np.all((S == 0) | (S == P))


def test_sparsify_with_ties_and_zeros():
    assert sparsify_plan(np.full((3, 3), 1 / 9), 5 / 9).toarray().ravel().tolist() == [1 / 9] * 5 + [0.0] * 4
    P = np.array([[1.0, 0.0], [1e-40, 0.5]])
    assert sparsify_plan(P, 1.0).nnz == 2
    tied = np.array([[0.2, 0.5, 0.2], [0.2, 0.0, 0.2]])
    assert sparsify_plan(tied, 0.5).toarray().tolist() == [[0.2, 0.5, 0.2], [0.0, 0.0, 0.0]]


def test_sparsity_profile():
    assert np.allclose(hessian_sparsity_profile(np.array([[0.1, 0.4], [0.2, 0.3]])), [0.4, 0.7, 0.9, 1.0])


@pytest.mark.parametrize("method", [sns, dense_newton])
def test_solution_does_not_depend_on_a_shift_of_the_start(method):
    C, r, c = problem()
    rng = np.random.default_rng(6)
    x0, y0 = rng.normal(size=12) / 50, rng.normal(size=9) / 50
    one = method(C, r, c, 100.0, x0=x0, y0=y0, tol=1e-12)
    two = method(C, r, c, 100.0, x0=x0 + 0.3, y0=y0 - 0.3, tol=1e-12)
    assert one.converged and np.allclose(one.plan, two.plan, atol=1e-11)
    assert np.allclose(one.x, two.x, atol=1e-9) and one.x.sum() == pytest.approx(one.y.sum(), abs=1e-10)


def test_transposition():
    C, r, c = problem()
    assert np.allclose(sns(C, r, c, 200.0, tol=1e-12).plan, sns(C.T, c, r, 200.0, tol=1e-12).plan.T, atol=1e-10)


@given(st.floats(0.1, 50.0))
@settings(max_examples=15, deadline=None)
def test_scaling_cost_against_temperature(scale):
    C, r, c = problem()
    one, two = sns(C, r, c, 150.0, tol=1e-12), sns(scale * C, r, c, 150.0 / scale, tol=1e-12)
    assert np.allclose(one.plan, two.plan, atol=1e-10) and np.allclose(scale * one.x, two.x, rtol=1e-6, atol=1e-8)


def test_strong_duality():
    C, r, c = problem()
    result = sns(C, r, c, 300.0, tol=1e-13)
    value = r @ result.x + c @ result.y - 1 / 300
    assert lyapunov(result.x, result.y, C, r, c, 300.0) == pytest.approx(value, abs=1e-13)
    assert entropic_cost(result.plan, C, 300.0) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("eta", [0.1, 1.0, 5.0, 30.0])
def test_two_points_closed_form(eta):
    half = np.full(2, 0.5)
    assert sns(1 - np.eye(2), half, half, eta, tol=1e-13).plan[0, 0] == pytest.approx(0.5 * expit(eta), abs=1e-12)


@pytest.mark.parametrize("eta", [10.0, 400.0, 1200.0])
def test_all_methods_agree(eta):
    C, r, c = problem(20, 20, 7)
    plan = sns(C, r, c, eta, tol=1e-11).plan
    assert np.allclose(plan, dense_newton(C, r, c, eta, tol=1e-11).plan, atol=1e-9)
    assert np.allclose(plan, sinkhorn_log(C, r, c, eta, n_iter=60_000, tol=1e-11).plan, atol=1e-7)


def test_quasi_newton_reaches_the_same_potential():
    C, r, c = problem()
    result, quasi = sns(C, r, c, 30.0), lbfgs_dual(C, r, c, 30.0)
    assert quasi.error < 1e-5 and quasi.n_evaluations >= quasi.n_iter
    assert lyapunov(quasi.x, quasi.y, C, r, c, 30.0) == pytest.approx(lyapunov(result.x, result.y, C, r, c, 30.0), abs=1e-9)


def test_uniform_cost_and_a_single_point():
    r, c = np.full(5, 0.2), np.full(3, 1 / 3)
    assert np.allclose(sns(np.ones((5, 3)), r, c, 700.0).plan, np.outer(r, c))
    assert np.allclose(sns(np.zeros((1, 3)), np.ones(1), c, 10.0).plan, c[None])


def test_low_temperature_gives_the_exact_cost():
    C, r, c = problem(15, 15, 8)
    result = sns(C, r, c, 20_000.0, n_sinkhorn=50, n_newton=300)
    assert result.converged
    assert (C * result.plan).sum() == pytest.approx(ot_exact(C, r, c).cost, abs=np.log(225) / 20_000)


@pytest.mark.parametrize("metric, n_sinkhorn", [("sqeuclidean", 20), ("cityblock", 20), ("cityblock", 200)])
def test_grid_problems_converge_from_an_early_switch(metric, n_sinkhorn):
    C, r, c, _ = mixture_transport(12, 3, metric)
    result = sns(C, r, c, 1200.0, n_sinkhorn=n_sinkhorn, n_newton=150, density=15 / 144)
    assert result.converged and marginal_error(result.plan, r, c) < 1.1e-10


def test_history_and_counting():
    C, r, c, _ = random_assignment(60, 0)
    seen = []
    result = sns(C, r, c, 400.0, callback=lambda step, plan: seen.append((step, plan.sum())))
    stages = [row.stage for row in result.history]
    assert stages == ["start"] + ["sinkhorn"] * result.n_sinkhorn + ["newton"] * result.n_newton
    assert [row.iteration for row in result.history] == list(range(result.n_iter + 1))
    assert len(seen) == result.n_newton and result.errors[-1] <= 1e-10 < result.errors[-2]
    assert result.n_cg == sum(row.cg_steps for row in result.history) > 0 and result.history[-1].gap == 0.0
    work = multiply_adds(result.history, C.shape)
    assert np.all(np.diff(work) > 0) and work[0] == (EXP_COST + 2) * 3600
    assert sinkhorn_multiply_adds(10, C.shape, 1) == (2 * EXP_COST + 20) * 3600


def test_no_newton_steps_is_plain_sinkhorn():
    C, r, c = problem()
    result, plain = sns(C, r, c, 50.0, n_newton=0, n_sinkhorn=30), sinkhorn_log(C, r, c, 50.0, n_iter=30, tol=1e-10)
    assert result.n_newton == 0 and np.allclose(result.plan, plain.plan, atol=1e-13)
    assert sns(C, r, c, 1.0, n_newton=0, n_sinkhorn=500).converged


def test_without_warm_up():
    C, r, c = problem()
    result = sns(C, r, c, 200.0, n_sinkhorn=0)
    assert result.converged and result.n_sinkhorn == 0


def test_zero_masses_are_refused_or_dropped():
    C, r, c = problem()
    r[3] = 0.0
    r /= r.sum()
    with pytest.raises(ValueError, match="^r: has 1 zero"):
        sns(C, r, c, 100.0)
    result = sns(C, r, c, 100.0, drop_zeros=True, x0=np.zeros(12))
    part = sns(np.delete(C, 3, 0), np.delete(r, 3), c, 100.0)
    assert np.isneginf(result.x[3]) and not result.plan[3].any()
    assert np.allclose(np.delete(result.plan, 3, 0), part.plan, atol=1e-10)
    assert marginal_error(result.plan, r, c) < 1e-9
    assert np.allclose(plan_from_potentials(result.x, result.y, C, 100.0), result.plan, atol=1e-12)


def test_masses_need_not_be_normalised():
    C, r, c = problem()
    assert np.allclose(sns(C, 50 * r, 50 * c, 100.0, tol=1e-9).plan, 50 * sns(C, r, c, 100.0, tol=1e-11).plan, atol=1e-7)


def test_generators():
    images = np.random.default_rng(0).integers(0, 255, (5, 28, 28))
    for made, n in ((random_assignment(8, 1), 8), (digit_transport(images, 1, "cityblock", 4), 49),
                    (mixture_transport(6, 1), 36), (cloud_transport(9, 1), 9)):
        C, r, c, _ = made
        assert C.shape == (n, n) and r.min() > 0 and r.sum() == pytest.approx(1.0) and c.sum() == pytest.approx(1.0)
    assert np.array_equal(random_assignment(8, 1).C, random_assignment(8, 1).C)
    assert not np.array_equal(random_assignment(8, 1).C, random_assignment(8, 2).C)


@pytest.mark.parametrize("options, name", [
    ({"eta": 0.0}, "eta"), ({"eta": -3.0}, "eta"), ({"eta": np.inf}, "eta"), ({"density": 0.0}, "density"),
    ({"density": 1.5}, "density"), ({"tol": 0.0}, "tol"), ({"n_newton": -1}, "n_newton"), ({"n_sinkhorn": 2.5}, "n_sinkhorn"),
    ({"damping": -1.0}, "damping"), ({"max_shift": 0.0}, "max_shift"), ({"x0": np.zeros(4)}, "x0"),
    ({"C": np.full((12, 9), np.nan)}, "C"), ({"C": np.ones((9, 12))}, "r"), ({"r": np.full(12, 1.0)}, "r, c"),
    ({"c": np.full(9, -1 / 9)}, "c"),
])
def test_bad_input_names_the_argument(options, name):
    C, r, c = problem()
    arguments = {"C": C, "r": r, "c": c, "eta": 10.0, **options}
    with pytest.raises(ValueError, match=f"^{name}"):
        sns(arguments.pop("C"), arguments.pop("r"), arguments.pop("c"), arguments.pop("eta"), **arguments)


def test_sparsify_refuses_a_bad_density():
    with pytest.raises(ValueError, match="^density"):
        sparsify_plan(np.ones((2, 2)), 0.0)
