"""Mathematics of prox_repro.bilevel.lv_hba: identities, limits, invariances, brute force, and bad input."""
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from prox_repro.bilevel.lv_hba import (
    ConstrainedBilevel, LVHBAConfig, LVHBAState, constraint_scale, counting, coupled_quadratic, eta_limit, implicit_gradient, lower_answer,
    lv_hba, lv_hba_step, margin_loss, project_multipliers, project_soft_margin, prox_lagrangian_grad, prox_lagrangian_value, saddle_field,
    signed_samples, svm_hyper_problem, svm_implicit_gradient, svm_solve, toy_merely_convex, toy_scalar, toy_strongly_convex,
)
from prox_repro.core.kkt import solve_kkt
from prox_repro.core.problems import finite_differences

seeds = st.integers(0, 100_000)


def unconstrained(Q, q):
    "Lower objective y'Qy/2 + q'y without constraints; no upper one."
    return ConstrainedBilevel(lambda x, y: 0 * x[..., 0], lambda x, y: (y * (y @ Q / 2 + q)).sum(-1),
                              grads={"F": lambda x, y: (0 * x, 0 * y), "f": lambda x, y: (0 * x, y @ Q + q)})


def quadratic_parts(problem, x, m):
    "Hessian, linear term, constraint matrix and offset of the follower of `coupled_quadratic` at x."
    zero = np.zeros(m)
    B = np.array([problem.grads["g"](x, zero, unit)[1] for unit in np.eye(problem.n_constraints)])
    return problem.second["L_yy"](x, zero, None), problem.grads["f"](x, zero)[1], B, problem.g(x, zero)


# the value function

@settings(deadline=None, max_examples=20)
@given(seeds, st.floats(0.1, 10))
def test_without_constraints_it_is_the_moreau_envelope(seed, gamma):
    rng = np.random.default_rng(seed)
    M, q, y = rng.standard_normal((3, 3)), rng.standard_normal(3), rng.standard_normal(3)
    Q = M @ M.T / 3
    theta = np.linalg.solve(Q + np.eye(3) / gamma, y / gamma - q)
    envelope = theta @ Q @ theta / 2 + q @ theta + (theta - y) @ (theta - y) / (2 * gamma)
    found = prox_lagrangian_value(unconstrained(Q, q), np.zeros(1), y, np.zeros(0), (gamma, 1.0))
    assert found.value == pytest.approx(envelope, abs=1e-10)
    np.testing.assert_allclose(found.theta, theta, atol=1e-8)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_with_equalities_the_saddle_point_solves_a_linear_system(seed):
    rng = np.random.default_rng(seed)
    gamma = (0.7, 1.6)
    problem = coupled_quadratic(3, 4, 2, rng=rng, equality=True)
    x, y, z = rng.standard_normal(3), rng.standard_normal(4), rng.standard_normal(2)
    Q, q, B, b = quadratic_parts(problem, x, 4)
    T = np.block([[Q + np.eye(4) / gamma[0], B.T], [-B, np.eye(2) / gamma[1]]])
    pair = np.linalg.solve(T, np.concatenate([y / gamma[0] - q, b + z / gamma[1]]))
    found = prox_lagrangian_value(problem, x, y, z, gamma, radius=1e6, tol=1e-12)
    np.testing.assert_allclose(np.concatenate([found.theta, found.lam]), pair, atol=1e-9)


def test_saddle_inequalities():
    rng = np.random.default_rng(0)
    problem = coupled_quadratic(2, 3, 2, rng=rng)
    x, y, z = rng.standard_normal(2), rng.standard_normal(3), rng.random(2)
    value, theta, lam = prox_lagrangian_value(problem, x, y, z)
    lagrangian = lambda t, l: (problem.f(x, t) + (l * problem.g(x, t)).sum(-1) + ((t - y) ** 2).sum(-1) / 2 - ((l - z) ** 2).sum(-1) / 2)
    for _ in range(50):
        assert lagrangian(theta, np.abs(lam + 0.3 * rng.standard_normal(2))) <= value + 1e-9
        assert lagrangian(theta + 0.3 * rng.standard_normal(3), lam) >= value - 1e-9


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_gradient_against_finite_differences(seed):
    rng = np.random.default_rng(seed)
    problem, gamma = coupled_quadratic(2, 3, 2, rng=rng), (0.5, 2.0)
    w = np.concatenate([rng.standard_normal(5), 2 * rng.random(2)])
    split = lambda w: (w[:2], w[2:5], w[5:])
    saddle = prox_lagrangian_value(problem, *split(w), gamma)
    exact = np.concatenate(prox_lagrangian_grad(problem, *split(w), saddle.theta, saddle.lam, gamma))
    rough = finite_differences(lambda w: prox_lagrangian_value(problem, *split(w), gamma).value, w)
    np.testing.assert_allclose(rough, exact, atol=1e-6 * max(1, np.abs(exact).max()))


def test_small_gamma_gives_the_lagrangian_at_first_order():
    rng = np.random.default_rng(1)
    problem = coupled_quadratic(2, 3, 2, rng=rng)
    x, y, z = rng.standard_normal(2), rng.standard_normal(3), 1 + rng.random(2)
    limit = problem.f(x, y) + z @ problem.g(x, y)
    errors = [abs(prox_lagrangian_value(problem, x, y, z, (gamma, gamma), tol=1e-12).value - limit) for gamma in (2e-3, 1e-3, 5e-4)]
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.02) and errors[2] / errors[1] == pytest.approx(0.5, abs=0.02)


def test_a_term_of_the_leader_shifts_the_value_and_leaves_the_direction():
    rng = np.random.default_rng(2)
    problem, h = coupled_quadratic(2, 3, rng=rng), lambda x: np.sin(x).sum(-1)
    grads = problem.grads | {"f": lambda x, y: (problem.grads["f"](x, y)[0] + np.cos(x), problem.grads["f"](x, y)[1])}
    shifted = ConstrainedBilevel(problem.F, lambda x, y: problem.f(x, y) + h(x), problem.g, problem.proj_C, n_ineq=1, grads=grads)
    x, y, z = rng.standard_normal(2), rng.standard_normal(3), rng.random(1)
    x, y = problem.proj_C(x, y)
    assert prox_lagrangian_value(shifted, x, y, z).value == pytest.approx(prox_lagrangian_value(problem, x, y, z).value + h(x), abs=1e-9)
    state = LVHBAState(x, y, z, y, z)
    for a, b in zip(lv_hba_step(problem, state, 0, LVHBAConfig()), lv_hba_step(shifted, state, 0, LVHBAConfig())):
        np.testing.assert_allclose(a, b, atol=1e-12)


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_gap_is_nonnegative_and_zero_only_at_answers(seed):
    rng = np.random.default_rng(seed)
    problem = coupled_quadratic(2, 3, 1, rng=rng)
    x, y = problem.proj_C(rng.standard_normal((10, 2)), rng.standard_normal((10, 3)))
    z = 2 * rng.random((10, 1))
    gap = problem.f(x, y) - prox_lagrangian_value(problem, x, y, z).value
    answer, lam = lower_answer(problem, x, y)
    assert gap.min() >= -1e-9
    assert np.abs(problem.f(x, answer) - prox_lagrangian_value(problem, x, answer, lam).value).max() <= 1e-7
    far = np.linalg.norm(y - answer, axis=-1) >= 0.1
    assert (gap[far] > 1e-4).all()


def test_lower_answer_is_the_best_active_set():
    rng = np.random.default_rng(3)
    problem = coupled_quadratic(2, 3, 2, rng=rng)
    for x in 2 * rng.standard_normal((6, 2)):
        Q, q, B, b = quadratic_parts(problem, x, 3)
        best = None
        for active in ([], [0], [1], [0, 1]):
            y, lam = solve_kkt(Q, B[active], -q, -b[active])
            if (lam >= 0).all() and (B @ y + b <= 1e-10).all():
                best = y
        np.testing.assert_allclose(lower_answer(problem, x, np.zeros(3))[0], best, atol=1e-8)


def test_batches_are_single_runs_side_by_side():
    rng = np.random.default_rng(4)
    problem = coupled_quadratic(2, 3, rng=rng)
    x, y = problem.proj_C(rng.standard_normal((3, 2)), rng.standard_normal((3, 3)))
    together = prox_lagrangian_value(problem, x, y, np.zeros((3, 1))).value
    alone = [prox_lagrangian_value(problem, a, b, np.zeros(1)).value for a, b in zip(x, y)]
    np.testing.assert_allclose(together, alone, atol=1e-9)
    c = np.array([0.5, 1.0, 4.0])
    runs = lv_hba(problem, x, y, config=LVHBAConfig(c=c, max_iter=60))
    for i in range(3):
        one = lv_hba(problem, x[i], y[i], config=LVHBAConfig(c=c[i], max_iter=60))
        np.testing.assert_allclose(runs.y[i], one.y, atol=1e-12)
        np.testing.assert_allclose(runs.history["gap"][:, i], one.history["gap"], atol=1e-12)


# the algorithm

def test_symmetric_toy_stays_symmetric():
    toy = toy_merely_convex(7)
    result = lv_hba(toy, np.full(7, -0.2), np.repeat([0.3, -0.1], 7), config=LVHBAConfig(max_iter=200))
    for part in (result.x, result.y[:7], result.y[7:], result.theta[:7], result.theta[7:]):
        assert np.ptp(part) < 1e-12


def test_merely_convex_toy_converges_and_scales_the_multiplier_back():
    rng = np.random.default_rng(5)
    w = rng.standard_normal(60)
    w -= w.mean()
    result = lv_hba(toy_merely_convex(20), w[:20], w[20:], config=LVHBAConfig(gamma=(2.0, 2.0), p=0.49, max_iter=4000))
    assert np.abs(result.x + 0.3).max() < 0.01 and np.abs(result.y - np.repeat([0.7, -0.4], 20)).max() < 0.01
    assert result.scale == pytest.approx(np.sqrt(60)) and result.multipliers[0] == pytest.approx(-1, abs=0.01)


def test_strongly_convex_toy_follows_the_exact_answer():
    toy = toy_strongly_convex(10, 4, 0)
    x, y = toy.proj_C(*np.random.default_rng(6).standard_normal((2, 10)))
    result = lv_hba(toy, x, y, config=LVHBAConfig(p=0.49, max_iter=4000))
    assert np.linalg.norm(result.y - lower_answer(toy, result.x, result.y)[0]) < 0.05 * np.linalg.norm(result.y)
    assert result.history["gap"][-1] < result.history["gap"][0] / 10


@settings(deadline=None, max_examples=10)
@given(seeds, st.floats(0.05, 5.0))
def test_iterates_stay_feasible(seed, radius):
    rng = np.random.default_rng(seed)
    for equality in (False, True):
        problem = coupled_quadratic(2, 3, rng=rng, equality=equality)
        x, y = problem.proj_C(rng.standard_normal(2), rng.standard_normal(3))
        low = -radius if equality else 0.0

        def check(k, state):
            g = problem.g(state.x, state.y)
            assert (np.abs(g) if equality else g).max() <= 1e-9
            for lam in (state.z, state.lam):
                assert lam.min() >= low and lam.max() <= radius

        lv_hba(problem, x, y, config=LVHBAConfig(radius=radius, max_iter=40), callback=check)


def test_start_at_an_answer_without_leader_does_not_move():
    rng = np.random.default_rng(7)
    problem = coupled_quadratic(3, 3, 1, rng=rng)
    silent = ConstrainedBilevel(lambda x, y: 0 * x[..., 0], problem.f, problem.g, problem.proj_C, n_ineq=1,
                                grads=problem.grads | {"F": lambda x, y: (0 * x, 0 * y)})
    x = rng.standard_normal(3)
    Q, q, B, b = quadratic_parts(problem, x, 3)
    y, lam = solve_kkt(Q, B, -q, -b)
    if lam[0] < 0:
        y, lam = np.linalg.solve(Q, -q), np.zeros(1)
    scale = constraint_scale(problem, x, y)
    result = lv_hba(silent, x, y, lam * scale, LVHBAConfig(max_iter=100, tol=1e-9))
    assert np.abs(np.concatenate([result.x - x, result.y - y, result.z / scale - lam])).max() < 1e-12
    assert result.converged and result.n_iter == 1


def test_scaling_a_constraint_of_unit_norm_changes_nothing():
    toy = toy_scalar()
    unit = toy.scaled(np.sqrt(2.0))
    assert constraint_scale(unit, np.zeros(1), np.zeros(1)) == pytest.approx(1, abs=1e-15)
    runs = [lv_hba(unit, np.zeros(1), -np.ones(1), config=LVHBAConfig(max_iter=300, scale_constraints=scaling)) for scaling in (False, True)]
    np.testing.assert_allclose(runs[0].y, runs[1].y, atol=1e-12)
    other = lv_hba(toy, np.zeros(1), -np.ones(1), config=LVHBAConfig(max_iter=300))
    np.testing.assert_allclose(other.lam, runs[0].lam, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seeds, st.floats(0.2, 5.0), st.floats(0.2, 5.0))
def test_eta_limit_separates_contraction_from_divergence(seed, gamma_1, gamma_2):
    rng = np.random.default_rng(seed)
    problem, gamma = coupled_quadratic(2, 4, 2, rng=rng, equality=True), (gamma_1, gamma_2)
    x, y, z = rng.standard_normal(2), rng.standard_normal(4), rng.standard_normal(2)
    Q, _, B, _ = quadratic_parts(problem, x, 4)
    limit = eta_limit(Q, B, gamma)
    saddle = prox_lagrangian_value(problem, x, y, z, gamma, 1e9)
    for share in (0.9, 1.1):
        theta, lam = saddle.theta + 1e-3 * rng.standard_normal(4), saddle.lam + 1e-3 * rng.standard_normal(2)
        distance = lambda: np.sqrt(((theta - saddle.theta) ** 2).sum() + ((lam - saddle.lam) ** 2).sum())
        first = distance()
        for _ in range(400):
            d = saddle_field(problem, x, y, z, theta, lam, gamma)
            theta, lam = theta - share * limit * d[0], lam - share * limit * d[1]
            if distance() > 1e6:
                break
        assert (distance() > first) == (share > 1)


def test_eta_limit_of_one_pair():
    a, b, sigma = 1 + 1 / 3.0, 1 / 0.5, 4.0
    assert eta_limit([[1.0]], [[sigma]], (3.0, 0.5)) == pytest.approx((a + b) / (a * b + sigma**2))
    assert eta_limit([[1.0]], [[0.0]], (3.0, 0.5)) == pytest.approx(2 / max(a, b))


def test_automatic_differentiation_gives_the_same_run():
    closed = toy_scalar()
    auto = ConstrainedBilevel(lambda x, y: ((x - 2) ** 2 + y**2).sum(-1) / 2, lambda x, y: ((y - 2) ** 2).sum(-1) / 2, lambda x, y: y - x,
                              closed.proj_C, n_ineq=1)
    start, config = (np.array([[0.0], [3.0]]), np.array([[-1.0], [-1.0]])), LVHBAConfig(max_iter=30)
    a, b = lv_hba(closed, *start, config=config), lv_hba(auto, *start, config=config)
    for name in ("x", "y", "z", "theta", "lam"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-12)
    assert a.history["gap"] == pytest.approx(b.history["gap"])


def test_first_order_calls_only():
    toy = toy_scalar()
    lv_hba(toy, np.zeros(1), np.zeros(1), config=LVHBAConfig(max_iter=20, scale_constraints=False), record=20)
    assert toy.calls["grad f"] == 60 and toy.calls["grad g"] == 40 and toy.calls["grad F"] == 20
    assert set(toy.calls) == {"grad f", "grad g", "grad F", "g"}


# the soft-margin machine

def random_margin(seed, n, d, runs=()):
    rng = np.random.default_rng(seed)
    return 2 * rng.standard_normal((*runs, d)), rng.standard_normal((*runs, n)), rng.standard_normal((*runs, n, d)), rng


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(1, 60), st.integers(1, 6))
def test_projection_is_feasible_and_optimal(seed, n, d):
    u0, xi0, A, _ = random_margin(seed, n, d)
    u, xi = project_soft_margin(u0, xi0, A)
    pull = xi - xi0
    assert (A @ u + xi >= 1 - 1e-10).all() and pull.min() >= 0
    assert np.abs(u - u0 - A.T @ pull).max() <= 1e-8 * (1 + np.abs(A).max() * np.abs(pull).max())
    assert np.abs(pull * (A @ u + xi - 1)).max() <= 1e-8


def test_projection_against_slsqp():
    u0, xi0, A, _ = random_margin(8, 5, 2)
    w0 = np.concatenate([u0, xi0])
    found = minimize(lambda w: ((w - w0) ** 2).sum() / 2, w0, jac=lambda w: w - w0, method="SLSQP", options={"ftol": 1e-14},
                     constraints={"type": "ineq", "fun": lambda w: A @ w[:2] + w[2:] - 1, "jac": lambda w: np.hstack([A, np.eye(5)])})
    np.testing.assert_allclose(np.concatenate(project_soft_margin(u0, xi0, A)), found.x, atol=1e-6)


def test_projection_fixes_feasible_points_and_is_nonexpansive():
    u0, xi0, A, rng = random_margin(9, 30, 4)
    u, xi = project_soft_margin(u0, xi0, A)
    again = project_soft_margin(u, xi + 1e-12, A)
    np.testing.assert_allclose(again[0], u, atol=1e-10)
    other = u0 + rng.standard_normal(4), xi0 + rng.standard_normal(30)
    apart = np.linalg.norm(np.concatenate([other[0] - u0, other[1] - xi0]))
    v, eta = project_soft_margin(*other, A)
    assert np.linalg.norm(np.concatenate([v - u, eta - xi])) <= apart + 1e-10


def test_projection_memory_start_and_batch_change_nothing():
    u0, xi0, A, rng = random_margin(10, 40, 5, runs=(3,))
    memory = {}
    for _ in range(6):
        u0, xi0 = u0 + 0.1 * rng.standard_normal(u0.shape), xi0 + 0.1 * rng.standard_normal(xi0.shape)
        u, xi = project_soft_margin(u0, xi0, A, u0 - 1.0, memory)
        for i in range(3):
            alone = project_soft_margin(u0[i], xi0[i], A[i])
            np.testing.assert_allclose(u[i], alone[0], atol=1e-10)
            np.testing.assert_allclose(xi[i], alone[1], atol=1e-10)


def random_svm(seed, n=25, d=3):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((2 * n, d)), rng.choice([-1, 1], 2 * n)
    return X[:n], y[:n], X[n:], y[n:], rng


def test_svm_solve_is_the_minimum():
    X, y, _, _, rng = random_svm(11)
    A, costs = signed_samples(X, y), rng.uniform(-5, 5, 25)
    value = lambda u: ((u[:-1] ** 2).sum() + (np.exp(costs) * (1 - A @ u).clip(0) ** 2).sum()) / 2
    u = svm_solve(A, costs)
    assert np.abs(finite_differences(value, u)).max() < 1e-6 * max(1, value(u))
    assert all(value(u + 0.01 * rng.standard_normal(4)) >= value(u) for _ in range(50))


def test_svm_solve_against_scikit_learn():
    LinearSVC = pytest.importorskip("sklearn.svm").LinearSVC
    X, y, _, _, _ = random_svm(12)
    scale = 1e3  # a large constant feature stands for a bias without penalty
    peer = LinearSVC(C=0.35, dual=False, tol=1e-12, max_iter=100_000, intercept_scaling=scale).fit(X, y)
    u = svm_solve(signed_samples(X, y), np.full(25, np.log(0.7)))  # their C counts without the half
    np.testing.assert_allclose(u, np.append(peer.coef_[0], peer.intercept_[0]), atol=1e-4)


def test_machine_is_a_fixed_point_of_the_saddle_map():
    X, y, X_val, y_val, rng = random_svm(13, n=6, d=2)
    problem, A, costs = svm_hyper_problem(X, y, X_val, y_val), signed_samples(X, y), rng.uniform(-2, 0, 6)
    u = svm_solve(A, costs)
    slack = (1 - A @ u).clip(0)
    point, lam = np.concatenate([u, slack]), np.exp(costs) * slack
    d_theta, d_lam = saddle_field(problem, costs, point, lam, point, lam, (1.0, 1.0))
    assert np.abs(d_theta).max() < 1e-7 and d_lam.min() >= -1e-9 and np.abs(d_lam[slack > 0]).max() < 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_margin_loss_gradient_and_scale(seed):
    _, _, X_val, y_val, rng = random_svm(seed)
    V, u = signed_samples(X_val, y_val), rng.standard_normal(4)
    np.testing.assert_allclose(margin_loss(u, V)[1], finite_differences(lambda u: margin_loss(u, V)[0], u), atol=1e-7)
    assert margin_loss(3 * u, V)[0] == pytest.approx(margin_loss(u, V)[0])  # normalised margins
    t = V @ u / np.linalg.norm(u[:-1])
    s = 2 / (1 + np.exp(5 * t)) - 1
    assert margin_loss(u, V)[0] == pytest.approx(np.where(s > 0, s, 0.01 * s).mean())


def test_svm_gradients_against_finite_differences():
    X, y, X_val, y_val, rng = random_svm(14, n=8, d=2)
    problem, x, w, lam = svm_hyper_problem(X, y, X_val, y_val), rng.uniform(-2, 1, 8), rng.standard_normal(11), rng.random(8)
    for name, value in (("F", problem.F), ("f", problem.f), ("g", lambda x, y: (lam * problem.g(x, y)).sum())):
        found = problem.grad(name, x, w, *([lam] if name == "g" else []))
        np.testing.assert_allclose(found[0], finite_differences(lambda a: value(a, w), x), atol=1e-6)
        np.testing.assert_allclose(found[1], finite_differences(lambda b: value(x, b), w), atol=1e-6)


def test_implicit_gradients_agree():
    X, y, X_val, y_val, rng = random_svm(15)
    problem, A, V, costs = svm_hyper_problem(X, y, X_val, y_val), signed_samples(X, y), signed_samples(X_val, y_val), rng.uniform(-3, 0, 25)
    u = svm_solve(A, costs)
    slack = (1 - A @ u).clip(0)
    full = implicit_gradient(problem, costs, np.concatenate([u, slack]), np.exp(costs) * slack)
    np.testing.assert_allclose(full, svm_implicit_gradient(A, V, costs, u)[1], atol=1e-10)
    np.testing.assert_allclose(full, finite_differences(lambda c: margin_loss(svm_solve(A, c), V)[0], costs), atol=1e-7)
    assert problem.calls["second L_yy"] == 1


def test_implicit_gradient_of_an_equality_quadratic():
    rng = np.random.default_rng(16)
    problem = coupled_quadratic(3, 4, 2, rng=rng, equality=True)
    x = rng.standard_normal(3)

    def answer(x):
        Q, q, B, b = quadratic_parts(problem, x, 4)
        return solve_kkt(Q, B, -q, -b)

    exact = implicit_gradient(problem, x, *answer(x))
    np.testing.assert_allclose(exact, finite_differences(lambda x: problem.F(x, answer(x)[0]), x), atol=1e-7)


def test_lv_hba_lowers_the_validation_loss_and_finds_flipped_labels():
    rng = np.random.default_rng(17)
    X = rng.standard_normal((200, 3))
    y = np.where(X[:, 0] + 0.2 * rng.standard_normal(200) > 0, 1, -1)
    noisy = np.where(np.arange(100) < 25, -y[:100], y[:100])
    problem, A = svm_hyper_problem(X[:100], noisy, X[100:], y[100:], box=(-10.0, 0.0)), signed_samples(X[:100], noisy)
    start = np.concatenate(project_soft_margin(np.zeros(4), np.zeros(100), A))
    result = lv_hba(problem, np.full(100, -3.0), start, config=LVHBAConfig(alpha=0.1, eta=0.5, c=0.2, max_iter=300))
    equal_costs = margin_loss(svm_solve(A, np.full(100, -3.0)), signed_samples(X[100:], y[100:]))[0]
    assert result.history["F"][-1] < equal_costs - 0.005 and result.history["violation"].max() < 1e-9
    assert np.mean(result.x[:25, None] < result.x[None, 25:]) > 0.8


# counting

def test_counted_work():
    work = [0.0]
    A = counting(np.ones((5, 3)), work)
    B = np.concatenate([A, A], axis=-1) * 2.0
    assert work[0] == 0
    B.T @ B
    assert work[0] == 2 * 6 * 6 * 5
    work[0] = 0.0
    np.linalg.solve(counting(np.eye(4), work), np.ones((4, 1)))
    np.linalg.inv(counting(np.stack([np.eye(4)] * 2), work))
    assert work[0] == pytest.approx(2 / 3 * 64 + 2 * 2 * 64)
    np.testing.assert_array_equal(np.asarray(A @ np.ones(3)), 3.0)


# bad input

TOY = toy_scalar()
ONE = np.ones(1)
A0, LABELS = np.ones((4, 2)), np.array([1, -1, 1, -1])


@pytest.mark.parametrize("call, name", [
    (lambda: lv_hba(TOY, np.array([np.nan]), ONE), "x0"),
    (lambda: lv_hba(TOY, 1.0, ONE), "x0"),
    (lambda: lv_hba(TOY, ONE, np.array([np.inf])), "y0"),
    (lambda: lv_hba(TOY, ONE, ONE, np.array([np.nan])), "z0"),
    (lambda: lv_hba(TOY, ONE, ONE, np.ones(2)), "z0"),
    (lambda: lv_hba(TOY, ONE, ONE, lam0=np.ones(3)), "lam0"),
    (lambda: lv_hba(TOY, ONE, ONE, theta0=np.ones(3)), "theta0"),
    (lambda: lv_hba(toy_merely_convex(3), np.zeros(3), np.zeros(5)), "x0, y0"),
    (lambda: lv_hba(TOY, ONE, ONE, record=0), "record"),
    (lambda: LVHBAConfig(alpha=0.0), "alpha"),
    (lambda: LVHBAConfig(beta=-1.0), "beta"),
    (lambda: LVHBAConfig(eta=np.array([0.1, 0.0])), "eta"),
    (lambda: LVHBAConfig(eta=np.nan), "eta"),
    (lambda: LVHBAConfig(gamma=(0.0, 1.0)), "gamma_1"),
    (lambda: LVHBAConfig(gamma=(1.0, -1.0)), "gamma_2"),
    (lambda: LVHBAConfig(c=0.0), "c"),
    (lambda: LVHBAConfig(radius=0.0), "radius"),
    (lambda: LVHBAConfig(p=0.5), "p"),
    (lambda: LVHBAConfig(p=-0.1), "p"),
    (lambda: LVHBAConfig(max_iter=0), "max_iter"),
    (lambda: LVHBAConfig(tol=-1.0), "max_iter, tol"),
    (lambda: ConstrainedBilevel(TOY.F, TOY.f, TOY.g), "n_ineq"),
    (lambda: ConstrainedBilevel(TOY.F, TOY.f, n_eq=2), "n_ineq"),
    (lambda: ConstrainedBilevel(TOY.F, TOY.f, grads={"h": None}), "grads"),
    (lambda: lv_hba(ConstrainedBilevel(TOY.F, TOY.f, TOY.g, TOY.proj_C, n_ineq=2, grads=TOY.grads), ONE, ONE), "g"),
    (lambda: prox_lagrangian_value(TOY, ONE, ONE, np.array([np.nan])), "z"),
    (lambda: prox_lagrangian_value(TOY, ONE, ONE, ONE, (0.0, 1.0)), "gamma_1"),
    (lambda: prox_lagrangian_value(TOY, ONE, ONE, ONE, radius=-1.0), "radius"),
    (lambda: eta_limit(np.ones((2, 3)), np.ones((1, 2))), "H, J"),
    (lambda: eta_limit(np.eye(2), np.ones((1, 3))), "H, J"),
    (lambda: toy_merely_convex(0), "n"),
    (lambda: toy_strongly_convex(5, 5), "n, m"),
    (lambda: project_soft_margin(np.zeros(2), np.zeros(5), A0), "A"),
    (lambda: project_soft_margin(np.zeros(3), np.zeros(4), A0), "A"),
    (lambda: project_soft_margin(np.array([0.0, np.nan]), np.zeros(4), A0), "u0"),
    (lambda: signed_samples(A0, np.array([0, 1, 1, 0])), "y"),
    (lambda: signed_samples(A0, LABELS[:3]), "y"),
    (lambda: svm_hyper_problem(A0, 2 * LABELS, A0, LABELS), "y"),
    (lambda: svm_hyper_problem(A0, LABELS, np.ones((4, 3)), LABELS), "X_val"),
    (lambda: implicit_gradient(TOY, ONE, ONE, ONE), "problem"),
])
def test_bad_input_names_the_argument(call, name):
    with pytest.raises(ValueError, match=f"^({name})"):
        call()


def test_start_outside_is_projected_with_a_warning():
    with pytest.warns(UserWarning, match="outside C"):
        result = lv_hba(TOY, np.zeros(1), np.ones(1), config=LVHBAConfig(max_iter=1))
    assert TOY.g(result.x, result.y)[0] <= 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lv_hba(TOY, np.ones(1), np.ones(1), config=LVHBAConfig(max_iter=1))


def test_overflow_is_an_error_that_says_what_to_do():
    with pytest.raises(RuntimeError, match="scale_constraints"):
        lv_hba(toy_merely_convex(50), np.zeros(50), np.zeros(100), config=LVHBAConfig(eta=5.0, radius=1e300, alpha=1e3, scale_constraints=False))


def test_too_few_iterations_are_an_error():
    with pytest.raises(RuntimeError, match="saddle point"):
        prox_lagrangian_value(coupled_quadratic(2, 2, rng=np.random.default_rng(0)), np.ones(2), np.ones(2), np.ones(1), max_iter=2)
    with pytest.raises(RuntimeError, match="answer"):
        lower_answer(coupled_quadratic(2, 2, rng=np.random.default_rng(0)), np.ones(2), np.ones(2), gamma=(0.01, 0.01), max_iter=2)


def test_multipliers_of_both_kinds():
    problem = ConstrainedBilevel(TOY.F, TOY.f, lambda x, y: np.concatenate([y, x], axis=-1), n_ineq=1, n_eq=1, grads=TOY.grads)
    np.testing.assert_array_equal(project_multipliers(problem, np.array([-2.0, -9.0]), 3.0), [0.0, -3.0])
    np.testing.assert_array_equal(project_multipliers(problem, np.array([9.0, 9.0]), 3.0), [3.0, 3.0])
