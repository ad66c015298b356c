"""Mathematics of prox_repro.bilevel.penalty_bilevel: definitions, limits, invariances, the algorithms, and bad input."""
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.bilevel.penalty_bilevel import (
    CleaningOracle, PenaltyConfig, QuadraticBilevel, bilinear_jump, box_quadratic, curved_bilevel, estimate_mu, hypergradient_pinv,
    implicit_loop, penalty_double_loop, penalty_single_loop, penalty_value, prox_error_bound, psi_sigma_grad, singular_quadratic,
)
from prox_repro.core.bilevel import BilevelOracle, cleaning_task, implicit_hypergradient
from prox_repro.core.problems import finite_differences

seeds = st.integers(0, 10_000)
KINDS = {
    "singular": lambda s: singular_quadratic(3, 6, 3, seed=s),
    "indifferent": lambda s: singular_quadratic(3, 6, 3, seed=s, flat=True),
    "regular": lambda s: singular_quadratic(3, 6, 6, seed=s), "box": lambda s: box_quadratic(3, 6, 3, seed=s)
}


def point(seed, dx=3, size=0.5):
    return size * np.random.default_rng(seed + 77).standard_normal(dx)


# the penalised problem

@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from(sorted(KINDS)))
def test_penalised_value_is_below_and_decreases_in_sigma(seed, kind):
    problem, x = KINDS[kind](seed), point(seed)
    values = [problem.psi_sigma(x, s) for s in (3.0, 1.0, 0.3, 0.1, 0.01)]
    assert (np.diff(values) >= -1e-10).all() and values[-1] <= problem.psi(x) + 1e-10


@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from(sorted(KINDS)), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_sigma_times_penalised_value_is_concave(seed, kind, s, t):
    problem, x = KINDS[kind](seed), point(seed)
    chord = lambda r: r * problem.psi_sigma(x, r)
    assert chord((s + t) / 2) >= (chord(s) + chord(t)) / 2 - 1e-10


@settings(deadline=None, max_examples=20)
@given(seeds, st.sampled_from(sorted(KINDS)), st.sampled_from([1.0, 0.1, 0.01]))
def test_solution_minimises_the_penalised_lower_objective(seed, kind, sigma):
    problem, x = KINDS[kind](seed), point(seed)
    y, rng = problem.solve(x, sigma), np.random.default_rng(seed)
    h = lambda y: sigma * problem.f(x, y) + problem.g(x, y)
    others = problem.project_y(y + rng.standard_normal((200, 6)) * np.geomspace(1e-4, 3, 200)[:, None])
    assert np.array_equal(y, problem.project_y(y)) and (h(others) >= h(y) - 1e-10).all()


@settings(deadline=None, max_examples=20)
@given(seeds, st.sampled_from(["singular", "regular", "box"]))
def test_selected_point_minimises_the_upper_objective_over_the_solutions(seed, kind):
    problem, x = KINDS[kind](seed), point(seed)
    y = problem.solve(x)
    null = problem.V[:, problem.values == 0]
    moved = y + np.random.default_rng(seed).standard_normal((100, null.shape[1])) @ null.T * 0.1
    inside = moved[(moved == problem.project_y(moved)).all(axis=1)]
    assert (problem.f(x, inside) >= problem.f(x, y) - 1e-10).all()
    np.testing.assert_allclose(problem.g(x, inside), problem.g(x, y), atol=1e-10)
    np.testing.assert_allclose(problem.solve(x, 1e-6), y, atol=1e-3)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("sigma", [1.0, 0.1, 0.01])
def test_gradient_by_danskin(kind, sigma):
    for seed in range(3):
        problem, x = KINDS[kind](seed), point(seed)
        np.testing.assert_allclose(problem.grad_psi_sigma(x, sigma), finite_differences(lambda v: problem.psi_sigma(v, sigma),
                                                                                        x), atol=1e-6)


@pytest.mark.parametrize("sigma", [0.3, 0.03, 0.0])
def test_gradient_of_the_curved_problem(sigma):
    problem = curved_bilevel(3, 6, 2, seed=[1, 2])
    x = np.stack([point(1, size=0.3), point(2, size=0.3)])
    for i in range(2):
        one = curved_bilevel(3, 6, 2, seed=i + 1)
        expected = finite_differences(lambda v: one.psi_sigma(v, sigma), x[i])
        np.testing.assert_allclose(problem.grad_psi_sigma(x, sigma)[i], expected, atol=1e-6)
        y = problem.solve(x, sigma)
        np.testing.assert_allclose((sigma * problem.f_grad(x, y)[1] + problem.g_grad(x, y)[1])[i], 0, atol=1e-10)
        if sigma:
            direct = penalty_value(one.f, one.g, x[i], sigma, one.solve, one.solve)
            np.testing.assert_allclose(one.psi_sigma(x[i], sigma), direct, atol=1e-10)


def test_full_gradients_are_the_derivatives_and_the_mean_of_samples():
    problem, rng = singular_quadratic(3, 6, 3, seed=[5, 6]), np.random.default_rng(0)
    x, y, z = rng.standard_normal((2, 3)), rng.standard_normal((2, 6)), rng.standard_normal((2, 6))
    one = problem.take(1)
    for value, grad in ((one.f, one.f_grad), (one.g, one.g_grad)):
        np.testing.assert_allclose(grad(x[1], y[1])[0], finite_differences(lambda v: value(v, y[1]), x[1]), atol=1e-7)
        np.testing.assert_allclose(grad(x[1], y[1])[1], finite_differences(lambda v: value(x[1], v), y[1]), atol=1e-7)
    idx = np.broadcast_to(np.arange(problem.n), (2, problem.n))
    for full, sampled in zip(problem.grad(x, y, z, 0.3), problem.grad(x, y, z, 0.3, idx)):
        np.testing.assert_allclose(sampled, full, atol=1e-12)
    np.testing.assert_allclose(problem.g_samples(x, y, idx)[0], problem.g_grad(x, y)[0], atol=1e-12)
    each = problem.grad(x, y, z, 0.3, np.broadcast_to(np.arange(problem.n)[:, None, None], (problem.n, 2, 1)))
    np.testing.assert_allclose(each[1].mean(0), problem.grad(x, y, z, 0.3)[1], atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seeds, st.floats(0.1, 10.0))
def test_scaling_and_shift_of_the_lower_objective(seed, a):
    problem, x, s = KINDS["singular"](seed), point(seed), 0.2
    y, z = problem.solve(x, s), problem.solve(x)
    # a g with a sigma: same minimisers, same values and gradients
    scaled = BilevelOracle(problem.f_grad, lambda x, y: tuple(a * part for part in problem.g_grad(x, y)))
    np.testing.assert_allclose(psi_sigma_grad(scaled, x, y, z, a * s), problem.grad_psi_sigma(x, s), atol=1e-10)
    value = penalty_value(problem.f, lambda x, y: a * problem.g(x, y), x, a * s, lambda x, r: problem.solve(x, r / a),
                          problem.solve)
    np.testing.assert_allclose(value, problem.psi_sigma(x, s), atol=1e-10)
    # c(x) added to g
    shifted = BilevelOracle(problem.f_grad, lambda x, y: (problem.g_grad(x, y)[0] + np.cos(x), problem.g_grad(x, y)[1]))
    np.testing.assert_allclose(psi_sigma_grad(shifted, x, y, z, s), problem.grad_psi_sigma(x, s), atol=1e-10)
    value = penalty_value(problem.f, lambda x, y: problem.g(x, y) + np.sin(x).sum(), x, s, problem.solve, problem.solve)
    np.testing.assert_allclose(value, problem.psi_sigma(x, s), atol=1e-10)


def test_any_lower_solution_serves_as_z():
    problem, x = singular_quadratic(3, 6, 3, seed=4), point(4)
    other = problem.solve(x) + problem.V[:, problem.values == 0] @ np.array([3.0, -2.0, 5.0])
    np.testing.assert_allclose(psi_sigma_grad(problem, x, problem.solve(x, 0.1), other, 0.1), problem.grad_psi_sigma(x, 0.1),
                               atol=1e-10)


def test_indifferent_leader_has_the_same_error_as_a_selecting_one():
    # along the null space the penalised and the plain solution agree, whatever f prefers there
    problem = singular_quadratic(3, 6, 3, seed=4)
    H, x, s = problem.H, point(4), 0.1
    gap = problem.solve(x, s) - problem.solve(x)
    np.testing.assert_allclose(gap, np.linalg.pinv(H) @ H @ gap, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.3, 0.03])
def test_bilinear_jump_by_brute_force(sigma):
    problem, ys = bilinear_jump(), np.linspace(-1, 1, 20_001)
    for x in (-0.7, -0.01, 0.02, 0.5):
        brute = ((ys - 0.5) ** 2 + (x * ys + abs(x)) / sigma).min()
        np.testing.assert_allclose(problem.psi_sigma(np.array([x]), sigma), brute, atol=1e-6)
        np.testing.assert_allclose(problem.grad_psi_sigma(np.array([x]), sigma),
                                   finite_differences(lambda v: problem.psi_sigma(v, sigma), np.array([x]), 1e-6), atol=1e-5)
    assert problem.psi(np.array([-1e-9])) == 0.25 and problem.psi(np.array([0.0])) == 0 and problem.psi(np.array([1e-9])) == 2.25


def test_order_one_in_sigma_with_the_predicted_constant():
    problem, x, s = singular_quadratic(3, 6, 3, seed=8), point(8), 1e-5
    fy = problem.f_grad(x, problem.solve(x))[1]
    np.testing.assert_allclose((problem.psi(x) - problem.psi_sigma(x, s)) / s,
                               0.5 * fy @ np.linalg.pinv(problem.H, rcond=1e-10) @ fy, rtol=1e-3)


# the hypergradient

@settings(deadline=None, max_examples=15)
@given(seeds)
def test_pinv_formula_is_the_implicit_gradient_when_strongly_convex(seed):
    problem, x = KINDS["regular"](seed), point(seed)
    y = problem.solve(x)
    expected = implicit_hypergradient(problem.oracle(), x, y, tol=1e-14).grad
    np.testing.assert_allclose(hypergradient_pinv(problem.oracle(), x, y), expected, atol=1e-8)
    np.testing.assert_allclose(problem.grad_psi(x), expected, atol=1e-8)


@pytest.mark.parametrize("kind", ["singular", "indifferent", "box"])
def test_pinv_formula_against_differences_and_the_limit(kind):
    for seed in range(4):
        problem, x = KINDS[kind](seed), point(seed)
        y = problem.solve(x)
        active = np.zeros(6, dtype=bool) if problem.box is None else np.abs(y) >= problem.box[1]
        found = hypergradient_pinv(problem.oracle(), x, y, active=active)
        np.testing.assert_allclose(found, finite_differences(problem.psi, x), atol=1e-7)
        np.testing.assert_allclose(found, hypergradient_pinv(problem.oracle(), x, y, constraint_normals=np.eye(6)[active]),
                                   atol=1e-12)
        np.testing.assert_allclose(found, problem.grad_psi_sigma(x, 1e-6), atol=1e-2)
        np.testing.assert_allclose(found, problem.grad_psi(x), atol=1e-9)


def test_pinv_formula_on_a_curved_surface_of_solutions():
    problem, x = curved_bilevel(3, 6, 2, seed=3), point(3, size=0.3)
    np.testing.assert_allclose(hypergradient_pinv(problem.oracle(), x, problem.solve(x)), problem.grad_psi(x), atol=1e-9)


def test_pinv_formula_with_a_curved_constraint():
    # lower: nearest point of the unit disc to (2 + x, 1); the constraint's Hessian times its multiplier enters
    center, wish = np.array([2.0, 1.0]), np.array([0.3, -0.4])
    goal = lambda x: center + np.array([x[0], 0.0])
    oracle = BilevelOracle(lambda x, y: (0 * x, y - wish), lambda x, y: (-(y - goal(x))[:1], y - goal(x)), lambda x, y, v: v,
                           lambda x, y, v: -v[:1])
    psi = lambda x: 0.5 * ((goal(x) / np.linalg.norm(goal(x)) - wish) ** 2).sum()
    x = np.array([0.2])
    y = goal(x) / np.linalg.norm(goal(x))
    multiplier = np.linalg.norm(goal(x)) - 1                     # of (|y|^2 - 1) / 2
    found = hypergradient_pinv(oracle, x, y, constraint_normals=y[None], constraint_curvature=multiplier * np.eye(2))
    np.testing.assert_allclose(found, finite_differences(psi, x), atol=1e-8)


def test_stack_of_boxes_matches_single_problems():
    problem = box_quadratic(3, 6, 3, seed=[1, 2, 3])
    x = np.stack([point(s) for s in (1, 2, 3)])
    for i in range(3):
        one = box_quadratic(3, 6, 3, seed=i + 1)
        np.testing.assert_allclose(problem.solve(x, 0.1)[i], one.solve(x[i], 0.1), atol=1e-10)
        np.testing.assert_allclose(problem.grad_psi(x)[i], one.grad_psi(x[i]), atol=1e-8)
        np.testing.assert_allclose(problem.psi_sigma(x, 0.1)[i], one.psi_sigma(x[i], 0.1), atol=1e-10)


# the error bound

@settings(deadline=None, max_examples=15)
@given(seeds, st.floats(0.2, 3.0))
def test_error_bound_of_quadratics(seed, rho):
    problem, x, rng = KINDS["indifferent"](seed), point(seed), np.random.default_rng(seed)
    z, span = problem.solve(x), problem.V[:, problem.values > 0]
    grad = lambda y: problem.g_grad(x, y)[1]
    residual, moved = prox_error_bound(grad, z[None], rho)
    np.testing.assert_allclose(residual, 0, atol=1e-9)
    np.testing.assert_allclose(moved, z[None], atol=1e-9)
    distance = lambda y: np.linalg.norm((y - z) @ span, axis=-1)
    smallest = problem.values[problem.values > 0][0]
    cloud = z + rng.standard_normal((30, 6))
    mu = estimate_mu(grad, cloud, distance, rho)
    assert mu >= smallest / (1 + rho * smallest) - 1e-6
    along = z + problem.V.T[problem.values > 0][:1]
    np.testing.assert_allclose(estimate_mu(grad, along, distance, rho), smallest / (1 + rho * smallest), rtol=1e-6)
    assert estimate_mu(grad, cloud, distance, rho, delta=0.0) == np.inf


def test_error_bound_residual_with_bounds():
    problem = bilinear_jump()
    x, y = np.array([0.4]), np.array([[-1.0], [0.9], [-0.9]])
    residual, moved = prox_error_bound(lambda y: x + 0 * y, y, 1.0, problem.project_y)
    np.testing.assert_allclose(moved, [[-1.0], [0.5], [-1.0]], atol=1e-9)
    np.testing.assert_allclose(residual, [0.0, 0.4, 0.1], atol=1e-9)


# the algorithms

@pytest.mark.parametrize("rho, beta", [(np.inf, 1.0), (2.0, 1.0), (2.0, 0.5)])
def test_double_loop_variants_find_a_stationary_point(rho, beta):
    problem = singular_quadratic(seed=[0, 1])
    config = PenaltyConfig(sigma=0.2, alpha=0.08, gamma=0.6, rho=rho, beta=beta, max_iter=1500, tol=1e-6, record=1500)
    result = penalty_double_loop(problem, np.ones((2, 4)), np.zeros((2, 10)), config)
    assert result.converged and np.abs(problem.grad_psi_sigma(result.x, 0.2)).max() < 1e-5
    np.testing.assert_allclose(result.y, problem.solve(result.x, 0.2), atol=1e-5)


def test_deterministic_momentum_is_the_plain_method():
    # with full gradients the estimate is the gradient itself, whatever eta
    problem, config = singular_quadratic(seed=[0, 1]), dict(sigma=0.2, alpha=0.01, gamma=0.5, max_iter=60)
    runs = [
        penalty_single_loop(problem, np.ones((2, 4)), np.zeros((2, 10)), PenaltyConfig(momentum=m, **config))
        for m in (False, True)
    ]
    np.testing.assert_allclose(runs[0].x, runs[1].x, atol=1e-10)


def test_momentum_with_eta_one_is_plain_and_calls_are_counted():
    problem, config = singular_quadratic(seed=0), dict(sigma=0.2, alpha=0.01, gamma=0.1, batch=3, max_iter=40, seed=5)
    plain = penalty_single_loop(problem, np.ones(4), np.zeros(10), PenaltyConfig(**config))
    same = penalty_single_loop(problem, np.ones(4), np.zeros(10), PenaltyConfig(momentum=True, eta_power=0.0, **config))
    np.testing.assert_array_equal(plain.x, same.x)
    assert plain.history["calls"][-1] == 3 * 40 and same.history["calls"][-1] == 3 * (2 * 40 - 1)
    double = penalty_double_loop(problem, np.ones(4), np.zeros(10),
                                 PenaltyConfig(**config | dict(max_iter=5), inner_steps=7, x_batch=2, x_batch_power=1.0))
    assert double.history["calls"][-1] == 5 * 7 * 3 + 2 * (1 + 2 + 3 + 4 + 5)
    full = penalty_double_loop(problem, np.ones(4), np.zeros(10), PenaltyConfig(sigma=0.1, max_iter=2))
    assert full.history["calls"][-1] == 2 * (33 + 1) * problem.n


class Noisy:
    "Gradient of a quadratic plus noise that does not depend on the point."
    n, replayable = 50, True

    def __init__(self):
        self.noise = np.random.default_rng(0).standard_normal((50, 2))

    def grad(self, x, y, z, sigma, idx=None):
        noise = 0 if idx is None else self.noise[idx].mean(-2)
        return sigma * (x + noise), y, z


def test_momentum_with_averaging_weights_is_the_running_mean_of_the_noise():
    oracle, steps = Noisy(), 30
    config = dict(sigma=1.0, alpha=0.1, gamma=0.1, batch=1, seed=3, eta_power=1.0, momentum=True)
    x = [penalty_single_loop(oracle, np.ones(2), np.zeros(1), PenaltyConfig(max_iter=k, **config)).x for k in range(1, steps + 1)]
    drawn = oracle.noise[np.random.default_rng(3).integers(0, 50, 4096)[:steps]]
    x_k = np.ones(2)
    for k in range(steps):
        x_k = x_k - 0.1 * (x_k + drawn[:k + 1].mean(0))
        np.testing.assert_allclose(x[k], x_k, atol=1e-12)


def test_a_run_does_not_depend_on_its_company():
    stack = singular_quadratic(seed=[7, 8]).take([0, 1, 0])
    common = dict(gamma=0.1, batch=2, max_iter=30, momentum=True)
    together = penalty_single_loop(
        stack, np.ones((3, 4)), np.zeros((3, 10)),
        PenaltyConfig(sigma=np.array([0.1, 0.2, 0.3]), alpha=np.array([0.01, 0.02, 0.03]), seed=[4, 5, 6], **common))
    for i, seed in enumerate((7, 8, 7)):
        alone = penalty_single_loop(singular_quadratic(seed=seed), np.ones(4), np.zeros(10),
                                    PenaltyConfig(sigma=0.1 * (i + 1), alpha=0.01 * (i + 1), seed=4 + i, **common))
        np.testing.assert_allclose(together.x[i], alone.x, atol=1e-12)


@pytest.mark.parametrize("loop", [penalty_single_loop, penalty_double_loop])
def test_iterates_stay_in_their_sets(loop):
    problem, seen = box_quadratic(3, 6, 3, seed=1), []
    watch = lambda y: seen.append(problem.project_y(y)) or seen[-1]
    result = loop(problem, np.full(3, 5.0), np.full(6, 9.0), PenaltyConfig(sigma=0.3, alpha=0.05, gamma=0.5, batch=2,
                                                                           max_iter=30), proj_x=lambda x: x.clip(-0.1, 0.1),
                  proj_y=watch)
    assert np.abs(result.history["x"]).max() <= 0.1 and all(np.abs(y).max() <= problem.box[1] for y in seen)


def test_double_loop_with_a_box_finds_a_stationary_point():
    problem = box_quadratic(3, 6, 3, seed=1)
    result = penalty_double_loop(problem, np.full(3, 0.2), np.zeros(6),
                                 PenaltyConfig(sigma=0.1, alpha=0.05, gamma=0.9, max_iter=600, record=600))
    np.testing.assert_allclose(problem.grad_psi_sigma(result.x, 0.1), 0, atol=1e-5)


# cleaning

def blobs(seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 260)
    x = np.concatenate([np.eye(3)[y] * 2 + rng.standard_normal((260, 3)), np.ones((260, 1))], axis=1)
    return cleaning_task(x, y, 80, 60, 0.3, rng=rng, standardise=False)


def test_cleaning_gradients():
    cleaning, rng = CleaningOracle(blobs(), 3, reg=0.1), np.random.default_rng(1)
    x, y, z, v = rng.random(80), rng.standard_normal(12), rng.standard_normal(12), rng.standard_normal(12)
    g = lambda x, y: float(np.mean(x * cleaning.at(x).sample_losses(y)) + 0.05 * y @ y)
    Gx, Gy, Gz = cleaning.grad(x, y, z, 0.3)
    np.testing.assert_allclose(Gx, finite_differences(lambda u: g(u, y) - g(u, z), x), atol=1e-7)
    np.testing.assert_allclose(Gy, finite_differences(lambda u: 0.3 * cleaning.val.value(u) + g(x, u), y), atol=1e-7)
    np.testing.assert_allclose(Gz, finite_differences(lambda u: g(x, u), z), atol=1e-7)
    oracle = cleaning.bilevel_oracle()
    np.testing.assert_allclose(oracle.g_grad(x, y)[1], finite_differences(lambda u: g(x, u), y), atol=1e-7)
    np.testing.assert_allclose(oracle.g_xy(x, y, v), finite_differences(lambda u: oracle.g_grad(u, y)[1] @ v, x), atol=1e-7)
    np.testing.assert_allclose(oracle.g_yy(x, y, v), finite_differences(lambda u: oracle.g_grad(x, u)[1] @ v, y), atol=1e-6)


def test_penalty_and_implicit_gradients_of_the_weights_agree_for_small_sigma():
    cleaning = CleaningOracle(blobs(), 3, reg=0.1)
    x = np.random.default_rng(2).random(80)
    oracle = cleaning.bilevel_oracle()

    def solve(sigma):
        y, step = np.zeros(12), 1 / (cleaning.lipschitz_g + sigma * cleaning.lipschitz_f)
        for _ in range(3000):
            y = y - step * (cleaning.at(x).grad(y) + sigma * cleaning.val.grad(y))
        return y

    exact = implicit_hypergradient(oracle, x, solve(0.0)).grad
    errors = [np.linalg.norm(psi_sigma_grad(oracle, x, solve(s), solve(0.0), s) - exact) for s in (0.1, 0.01)]
    assert errors[1] < 0.05 * np.linalg.norm(exact) and 5 < errors[0] / errors[1] < 20


def test_both_methods_take_weight_from_wrong_labels_and_count_passes():
    task = blobs(3)
    cleaning = CleaningOracle(task, 3, reg=0.01)
    step = 1 / (cleaning.lipschitz_g + cleaning.lipschitz_f)
    box = lambda x: x.clip(0, 1)
    found = penalty_single_loop(cleaning, np.ones(80), np.zeros(12), PenaltyConfig(sigma=0.3, alpha=2.0, gamma=step,
                                                                                   max_iter=200), box)
    assert np.isclose(cleaning.passes, 201 * (2 + 60 / 80))        # one more: the shapes are checked at the start
    cleaning = CleaningOracle(task, 3, reg=0.01)
    x, _ = implicit_loop(cleaning, np.ones(80), np.zeros(12), alpha=2.0, gamma=step, max_passes=500, proj_x=box)
    for weights in (found.x, x):
        assert weights.min() >= 0 and weights.max() <= 1
        assert weights[task.flipped].mean() < weights[~task.flipped].mean() - 0.2


# bad input

@pytest.mark.parametrize("settings_, name", [
    (dict(sigma=0.0), "sigma"), (dict(sigma=-1.0), "sigma"), (dict(alpha=0.0), "alpha"), (dict(gamma=-0.1), "gamma"), (dict(gamma=np.nan), "gamma"),
    (dict(inner_steps=0), "inner_steps"), (dict(rho=0.0), "rho"), (dict(rho=-1.0), "rho"), (dict(beta=0.0), "beta"), (dict(beta=1.5), "beta"),
    (dict(batch=0), "batch"), (dict(max_iter=0), "max_iter"), (dict(decay=-1.0), "decay"), (dict(sigma=np.array([0.1, 0.0])), "sigma"),
])
def test_config_names_what_is_wrong(settings_, name):
    with pytest.raises(ValueError, match=name):
        PenaltyConfig(**settings_)


def test_bad_arguments():
    problem, x = singular_quadratic(3, 6, 3, seed=0), point(0)
    y = problem.solve(x)
    for call, name in [
        (lambda: problem.psi_sigma(x, 0.0), "sigma"), (lambda: psi_sigma_grad(problem, x, y, y, -1.0), "sigma"),
        (lambda: prox_error_bound(lambda v: v, y, 0.0), "rho"), (lambda: prox_error_bound(lambda v: v, y, 1.0, lipschitz=0.0), "lipschitz"),
        (lambda: hypergradient_pinv(problem.oracle(), x, y, constraint_normals=np.ones((1, 5))), "constraint_normals"),
        (lambda: hypergradient_pinv(problem.oracle(), x, y, active=y > 0, constraint_normals=np.ones((1, 6))), "active"),
        (lambda: hypergradient_pinv(problem.oracle(), x, y, rcond=0.0), "rcond"),
        (lambda: singular_quadratic(3, 6, 7), "rank"), (lambda: singular_quadratic(mu=0.0), "mu"), (lambda: box_quadratic(width=0.0), "width"),
        (lambda: singular_quadratic(flat=True, box=(-1, 1)), "flat"), (lambda: curved_bilevel(3, 6, 6), "m:"),
        (lambda: CleaningOracle(blobs(), 3, reg=0.0), "reg"),
        (lambda: implicit_loop(CleaningOracle(blobs(), 3), np.ones(80), np.zeros(12), alpha=0.0, gamma=1.0), "alpha"),
    ]:
        with pytest.raises(ValueError, match=name):
            call()


@pytest.mark.parametrize("loop", [penalty_single_loop, penalty_double_loop])
def test_oracle_of_wrong_shape(loop):
    class Wrong(Noisy):
        def grad(self, x, y, z, sigma, idx=None):
            return x, y[..., :1], z

    with pytest.raises(ValueError, match="G_y"):
        loop(Wrong(), np.ones(2), np.zeros(3))


def test_momentum_needs_a_replayable_oracle():
    class Once(Noisy):
        replayable = False

    with pytest.raises(ValueError, match="momentum"):
        penalty_single_loop(Once(), np.ones(2), np.zeros(1), PenaltyConfig(momentum=True))
    assert penalty_single_loop(Once(), np.ones(2), np.zeros(1), PenaltyConfig(max_iter=3)).n_iter == 3


@pytest.mark.parametrize("loop", [penalty_single_loop, penalty_double_loop])
def test_divergence_is_an_error_that_says_what_to_do(loop):
    problem = singular_quadratic(seed=0)
    with pytest.raises(RuntimeError, match=r"step \d+.*gamma"):
        loop(problem, np.ones(4), np.ones(10), PenaltyConfig(gamma=100.0, max_iter=2000, inner_steps=300))
    stack = singular_quadratic(seed=[0, 0])
    kept = loop(stack, np.ones((2, 4)), np.ones((2, 10)),
                PenaltyConfig(gamma=np.array([0.1, 100.0]), max_iter=300, inner_steps=5, check=False))
    assert np.isfinite(kept.x[0]).all() and not np.isfinite(kept.x[1]).all()


def test_a_point_that_does_not_solve_the_lower_problem_gets_a_warning():
    problem, x = singular_quadratic(3, 6, 3, seed=0), point(0)
    with pytest.warns(UserWarning, match="no lower solution"):
        hypergradient_pinv(problem.oracle(), x, problem.solve(x) + 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hypergradient_pinv(problem.oracle(), x, problem.solve(x))


def test_single_instance_and_stack_of_one_agree():
    single, stack = singular_quadratic(seed=3), singular_quadratic(seed=[3])
    assert isinstance(single, QuadraticBilevel)
    x = point(3, 4)
    np.testing.assert_array_equal(single.solve(x, 0.1), stack.solve(x[None], 0.1)[0])
