"""Mathematics of prox_repro.optimization.sketched_sqp: projections, descent, invariances, limits, and bad input."""
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from prox_repro.core.kkt import kkt_matrix, solve_kkt
from prox_repro.core.problems import finite_differences
from prox_repro.optimization.sketched_sqp import (
    SingularConstraintError, SketchSolver, ada_sketch_newton, augmented_lagrangian_newton, constrained_logistic,
    contraction_bound, exact_augmented_lagrangian, from_torch, hock_schittkowski, hs6, hs7, hs28, hs40, hs42, hs77, hs79,
    inexact_l1_sqp, poisson_control, polynomial, scipy_solver, sketch_solve, smooth_problem,
)

seeds = st.integers(0, 100_000)
KINDS = [("rk", 1), ("gv", 1), ("block_rk", 3), ("block_gv", 3)]


def generator(seed=0):
    return np.random.default_rng(seed)


def system(seed=0, d=7):
    rng = generator(seed)
    A = rng.standard_normal((d, d))
    A, x = A + A.T + 0.5 * np.eye(d), rng.standard_normal(d)
    return A, A @ x, x


def logistic(seed=0, N=80, n=8, p=3):
    rng = generator(seed)
    X = rng.standard_normal((N, n))
    return constrained_logistic(X, np.where(X[:, 0] + rng.logistic(size=N) > 0, 1.0, -1.0), p, seed)


# problems

@settings(deadline=None, max_examples=25)
@given(seeds)
def test_polynomials_have_the_derivatives_of_their_text(seed):
    x = generator(seed).uniform(-2, 2, 3)
    p = polynomial("3 x1^2 x2 - (x1 - 2x3 + 1)^3 x2 + 4 - x3 (x2 + 0.5)^2", 3)
    a, b, c = x
    assert p.value(x) == pytest.approx(3 * a**2 * b - (a - 2 * c + 1) ** 3 * b + 4 - c * (b + 0.5) ** 2)
    np.testing.assert_allclose(p.grad(x), finite_differences(p.value, x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(p.hess(x), finite_differences(p.grad, x), rtol=1e-6, atol=1e-6)


def test_sums_and_compositions():
    x = np.array([0.3, -1.1])
    u = polynomial("x1 x2 + x2^2", 2)
    f = u.then(np.exp, np.exp, np.exp) + polynomial("x1", 2)
    assert f.value(x) == pytest.approx(np.exp(x[0] * x[1] + x[1] ** 2) + x[0])
    np.testing.assert_allclose(f.grad(x), finite_differences(f.value, x), rtol=1e-7)
    np.testing.assert_allclose(f.hess(x), finite_differences(f.grad, x), rtol=1e-7)


@pytest.mark.parametrize("P", hock_schittkowski(), ids=lambda P: P.name)
def test_optima_are_the_known_ones_and_scipy_finds_nothing_better(P):
    result = ada_sketch_newton(P, "exact", tol=1e-7, max_iter=60)
    assert result.converged and P.f(result.x) == pytest.approx(P.optimum, abs=2e-6)
    for seed in range(3):
        start = result.x + 0.3 * generator(seed).standard_normal(len(P.x0))
        other = minimize(P.f, start, jac=P.grad, method="SLSQP", constraints=[{"type": "eq", "fun": P.c, "jac": P.jac}],
                         options={"ftol": 1e-14, "maxiter": 300})
        if other.success and np.abs(P.c(other.x)).max() < 1e-7 and np.linalg.norm(other.x - result.x) < 0.5:
            assert other.fun > P.optimum - 1e-5


def test_poisson_control_is_solved_by_its_kkt_system_and_converges_on_fine_grids():
    P = poisson_control(4, 0.3)
    w, lam = solve_kkt(P.hess(P.x0), P.jac(P.x0), -P.grad(0 * P.x0))
    result = ada_sketch_newton(P, "exact", tol=1e-9)
    np.testing.assert_allclose(result.x, w, atol=1e-9)
    np.testing.assert_allclose(result.lam, lam, atol=1e-9)
    N, h = 7, 2 / 8  # the stencil on sin(pi (s + 1) / 2) sin(pi (t + 1) / 2), an eigenvector of the discrete Laplacian
    s = np.arange(1, N + 1) * h - 1
    v = np.outer(np.sin(np.pi * (s + 1) / 2), np.sin(np.pi * (s + 1) / 2)).ravel()
    L = poisson_control(N).jac(np.zeros(2 * N * N))[:, :N * N]
    np.testing.assert_allclose(L @ v, 4 / h**2 * (np.cos(np.pi * h / 2) - 1) * v, atol=1e-10)


def test_logistic_problem_is_feasible_and_solved_the_same_by_all():
    P = logistic()
    results = [ada_sketch_newton(P, "exact", tol=1e-8), inexact_l1_sqp(P, True, tol=1e-8), scipy_solver(P, tol=1e-7)]
    for result in results:
        assert result.converged and np.abs(P.c(result.x)).max() < 1e-6
        np.testing.assert_allclose(result.x, results[0].x, atol=1e-5)


def test_torch_problem_agrees_with_the_derivatives_by_hand():
    P = hs79()
    Q = from_torch(lambda x: (x[0] - 1) ** 2 + (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 2 + (x[2] - x[3]) ** 4 + (x[3] - x[4]) ** 4,
                   lambda x: __import__("torch").stack([x[0] + x[1] ** 2 + x[2] ** 3 - 2 - 3 * 2**0.5,
                                                        x[1] - x[2] ** 2 + x[3] + 2 - 2 * 2**0.5, x[0] * x[4] - 2]), P.x0)
    x, lam = P.x0 + 0.1 * np.arange(5), np.array([0.3, -1.0, 2.0])
    for name in ("f", "grad", "hess", "c", "jac"):
        np.testing.assert_allclose(getattr(P, name)(x), getattr(Q, name)(x), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(P.hess_lagrangian(x, lam), Q.hess_lagrangian(x, lam), rtol=1e-10, atol=1e-10)
    assert ada_sketch_newton(Q, "exact").n_iter == ada_sketch_newton(P, "exact").n_iter


# sketch and project

@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from(KINDS))
def test_a_step_projects_the_error_never_grows(seed, kind):
    A, b, x_true = system(seed)
    x = generator(seed).standard_normal(7)
    for _ in range(5):
        new = sketch_solve(A, b, *kind, tol=0, max_iter=1, x0=x, rng=generator(seed)).x
        step = new - x
        # a projection: the step is orthogonal to what is left of the error
        assert abs(step @ (new - x_true)) < 1e-8 * (1 + np.linalg.norm(x - x_true) ** 2)
        assert np.linalg.norm(new - x_true) <= np.linalg.norm(x - x_true) * (1 + 1e-12)
        x, seed = new, seed + 1


def test_the_sketched_equations_hold_after_a_step():
    A, b, _ = system()
    S = generator(3).standard_normal((2, 7))
    x = sketch_solve(A, b, "block_gv", 2, tol=0, max_iter=1, rng=generator(3)).x
    np.testing.assert_allclose(S @ (A @ x - b), 0, atol=1e-9)
    rows = generator(4).permutation(7)[:3]
    x = sketch_solve(A, b, "block_rk", 3, tol=0, max_iter=1, rng=generator(4)).x
    np.testing.assert_allclose((A @ x - b)[rows], 0, atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(1, 40), st.sampled_from(["rk", "gv"]))
def test_batches_are_invisible(seed, chunk, kind):
    A, b, _ = system(seed)
    if kind == "gv":  # S is drawn row by row, so that the stream does not depend on the batch either
        few, many = (sketch_solve(A, b, kind, tol=0, max_iter=40, rng=generator(seed), check_every=q) for q in (1, chunk))
    else:
        few, many = (sketch_solve(A, b, kind, tol=0, max_iter=40, rng=generator(seed), **how)
                     for how in ({"gram": False}, {"check_every": chunk}))
    np.testing.assert_allclose(few.x, many.x, atol=1e-8)


def test_stops_at_the_first_step_that_meets_the_tolerance():
    A, b, _ = system()
    for kind in ("rk", "gv"):
        found = sketch_solve(A, b, kind, tol=1e-3, rng=generator(1))
        assert found.converged and np.linalg.norm(A @ found.x - b) == pytest.approx(found.residual)
        if kind == "rk":
            stepwise = sketch_solve(A, b, kind, tol=1e-3, rng=generator(1), check_every=1)
            assert abs(stepwise.iterations - found.iterations) <= 128 and stepwise.iterations <= found.iterations


def test_full_sketch_solves_in_one_step_and_orthogonal_rows_in_a_sweep():
    A, b, x = system(2)
    for kind in ("block_rk", "block_gv"):
        found = sketch_solve(A, b, kind, 7, tol=1e-9, max_iter=3, rng=generator())
        np.testing.assert_allclose(found.x, x, atol=1e-7)
    Q = np.linalg.qr(A)[0] * np.arange(1, 8)[:, None]
    picks = generator(5).integers(7, size=400)
    needed = max(int(np.argmax(picks == i)) for i in range(7)) + 1
    found = sketch_solve(Q, Q @ x, "rk", tol=0, max_iter=needed, rng=generator(5))
    np.testing.assert_allclose(found.x, x, atol=1e-12)
    assert np.linalg.norm(sketch_solve(Q, Q @ x, "rk", tol=0, max_iter=needed - 1, rng=generator(5)).x - x) > 1e-8


@settings(deadline=None, max_examples=20)
@given(seeds, st.floats(1e-3, 1e3))
def test_kaczmarz_does_not_see_the_scale_of_rows(seed, scale):
    A, b, _ = system(seed)
    D = np.where(np.arange(7) % 2, scale, 1.0)
    for block in (("rk", 1), ("block_rk", 3)):
        plain, scaled = (sketch_solve(M, v, *block, tol=0, max_iter=50, rng=generator(seed)).x
                         for M, v in ((A, b), (D[:, None] * A, D * b)))
        np.testing.assert_allclose(plain, scaled, atol=1e-7)


@pytest.mark.parametrize("kind, block", KINDS)
def test_mean_progress_of_one_step_obeys_the_bound(kind, block):
    A, b, x_true = system(3, 5)
    rho = contraction_bound(A, kind, block, rng=generator(0), draws=4000)
    solver = SketchSolver(A, kind, block, rng=generator(1))
    x = x_true + np.linalg.svd(A)[2][-1]  # the worst direction of the matrix
    after = [np.linalg.norm(solver.solve(b, 0.0, 1, x).x - x_true) ** 2 for _ in range(3000)]
    assert 0 < rho < 1 and np.mean(after) <= rho + 3 * np.std(after) / np.sqrt(3000) + 0.01
    if kind == "rk":  # exact: 1 - mean of the squared cosines with the rows
        rows = A / np.linalg.norm(A, axis=1, keepdims=True)
        assert np.mean(after) == pytest.approx(1 - ((rows @ (x - x_true)) ** 2).mean(), abs=0.01)


def test_gram_form_does_not_drift():
    P = poisson_control(3)
    A = kkt_matrix(P.hess(P.x0), P.jac(P.x0))
    b = A @ generator().standard_normal(27)
    found = sketch_solve(A, b, "rk", tol=1e-12, max_iter=2_000_000, rng=generator())
    assert found.converged and np.linalg.norm(A @ found.x - b) <= 1e-12 * np.linalg.norm(b)


def test_flops_of_a_classical_step_are_linear():
    counts = []
    for d in (50, 100, 200):
        A, b, _ = system(0, d)
        r = sketch_solve(A, b, tol=0, max_iter=2 * d, rng=generator(), gram=False)
        counts.append(r.flops / r.iterations / d)
    assert max(counts) < 8 and max(counts) / min(counts) < 1.1


# merit function

@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from([hs6, hs7, hs40, hs77, hs79]))
def test_merit_gradient_is_the_derivative(seed, make):
    P, rng = make(), generator(seed)
    x, lam = P.x0 + 0.2 * rng.standard_normal(P.x0.shape), rng.standard_normal(P.lam0.shape)
    eta1, eta2, n = *rng.uniform(0.01, 3, 2), len(P.x0)
    _, gx, glam = exact_augmented_lagrangian(P, x, lam, eta1, eta2)
    merit = lambda z: exact_augmented_lagrangian(P, z[:n], z[n:], eta1, eta2)[0]
    numeric = finite_differences(merit, np.append(x, lam))
    np.testing.assert_allclose(np.append(gx, glam), numeric, rtol=1e-6, atol=1e-6 * (1 + np.abs(numeric).max()))


def test_without_penalties_the_merit_is_the_lagrangian():
    P, x, lam = hs40(), np.full(4, 0.7), np.array([1.0, -2.0, 0.5])
    value, gx, glam = exact_augmented_lagrangian(P, x, lam, 0, 0)
    assert value == pytest.approx(P.f(x) + lam @ P.c(x))
    np.testing.assert_allclose(gx, P.grad(x) + P.jac(x).T @ lam)
    np.testing.assert_allclose(glam, P.c(x))


# the method

@pytest.mark.parametrize("kind, block", [*KINDS, ("exact", 1)])
def test_history_is_monotone_and_every_step_is_safe(kind, block):
    for P in (hs7(), hs40(), hs42()):
        block_ = min(block, len(P.x0) + len(P.lam0) - 1)
        h = ada_sketch_newton(P, kind, block=block_, accuracy="practical", delta=0.5, rng=generator(1)).history
        assert (np.diff(h["eta1"]) >= 0).all() and (np.diff(h["eta2"]) <= 0).all() and (np.diff(h["delta"]) <= 0).all()
        assert (h["slope"] <= h["bound"]).all() and (h["step"] > 0).all() and len(h["residual"]) == len(h["step"]) + 1
        # with fixed penalties, Armijo: the merit function falls by beta times the promised slope
        steady = np.flatnonzero(np.diff(h["eta1"]) == 0) + 1
        before, after = h["merit"][steady - 1], h["merit"][steady]
        assert (after <= before + 0.1 * h["step"][steady] * h["slope"][steady] + 1e-12 * (1 + np.abs(before))).all()


def test_quadratic_with_linear_constraints_takes_one_exact_step():
    for P in (hs28(), poisson_control(3)):
        assert ada_sketch_newton(P, "exact", tol=1e-9).n_iter == 1


@settings(deadline=None, max_examples=15)
@given(seeds, st.sampled_from([0.5, 0.1, 0.02]), st.sampled_from([1.0, 0.3]))
def test_residual_of_a_quadratic_falls_by_theta_delta(seed, delta, theta):
    result = ada_sketch_newton(hs28(), "gv", accuracy="practical", delta=delta, theta=lambda k, r: theta, tol=1e-8, rng=generator(seed))
    residual = result.history["residual"]
    full = result.history["step"] == 1
    assert result.converged and ((residual[1:] / residual[:-1])[full] <= theta * result.history["delta"][full] * (1 + 1e-6)).all()


def test_safe_rule_follows_the_exact_path():
    for make in (hs6, hs7, hs40, hs79):
        exact, sketched = ada_sketch_newton(make(), "exact"), ada_sketch_newton(make(), "rk", rng=generator(), inner_cap=10**6)
        assert exact.n_iter == sketched.n_iter
        np.testing.assert_allclose(exact.history["path"], sketched.history["path"], atol=1e-6)


def test_permuted_constraints_permute_the_multipliers():
    P, order = hs40(), np.array([2, 0, 1])
    Q = replace(P, c=lambda x: P.c(x)[order], jac=lambda x: P.jac(x)[order],
                hess_lagrangian=lambda x, lam: P.hess_lagrangian(x, lam[np.argsort(order)]))
    a, b = ada_sketch_newton(P, "exact"), ada_sketch_newton(Q, "exact")
    np.testing.assert_allclose(a.history["path"], b.history["path"], atol=1e-10)
    np.testing.assert_allclose(a.lam[order], b.lam, atol=1e-10)


def test_same_random_stream_same_history():
    a, b = (ada_sketch_newton(hs40(), "gv", accuracy="practical", rng=generator(4)) for _ in range(2))
    assert all(np.array_equal(a.history[name], b.history[name]) for name in a.history)


def test_evaluations_are_counted_as_called():
    P, calls = hs7(), []
    Q = replace(P, f=lambda x: calls.append(1) or P.f(x))
    calls.clear()
    result = ada_sketch_newton(Q, "exact")
    assert result.evaluations["f"] == len(calls) == result.evaluations["jac"]
    tries = np.log2(1 / result.history["step"]) + 1  # one evaluation for each step size tried, one at the start
    assert len(calls) == 1 + int(tries.sum())


def test_indefinite_curvature_is_shifted_and_a_minimum_is_found():
    "A maximum along the constraint: Newton alone would go there."
    P = smooth_problem("saddle", "x2", ["x1^2 + x2^2 - 1"], (0.1, 0.99))
    result = ada_sketch_newton(P, "exact")
    np.testing.assert_allclose(result.x, [0, -1], atol=1e-3)


@pytest.mark.parametrize("solver", [inexact_l1_sqp, lambda P, **o: inexact_l1_sqp(P, True, **o), augmented_lagrangian_newton,
                                    scipy_solver, lambda P, **o: scipy_solver(P, "SLSQP", **o)])
def test_baselines_reach_the_same_points(solver):
    for P in (hs6(), hs7(), hs28(), hs77(), hs79(), poisson_control(3)):
        found, ours = solver(P), ada_sketch_newton(P, "exact")
        assert found.converged and P.f(found.x) == pytest.approx(P.f(ours.x), abs=1e-3)


# bad input

def test_singular_constraints_are_an_error_with_the_result_so_far():
    P = smooth_problem("cusp", "x1 + x2^2", ["x1^3 - x2^2"], (1.0, 1.0))
    with pytest.raises(SingularConstraintError, match="almost dependent") as caught:
        ada_sketch_newton(P, "exact")
    assert caught.value.result.status == "singular" and caught.value.result.n_iter > 0


def test_inner_cap_is_flagged_and_warned_about_once():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = ada_sketch_newton(hs6(), "rk", accuracy="safe", inner_cap=20, max_iter=5, rng=generator())
    assert not result.inner_converged and not result.history["met"].all()
    assert len(seen) == 1 and "inner_cap" in str(seen[0].message)


@pytest.mark.parametrize("options, name", [
    ({"beta": 0.5}, "beta"), ({"beta": 0.0}, "beta"), ({"nu": 1.0}, "nu"), ({"delta": 0.0}, "delta"), ({"delta": 1.5}, "delta"),
    ({"eta1": 0.0}, "eta1"), ({"eta2": -1.0}, "eta2"), ({"xi_B": 0.0}, "xi_B"), ({"kind": "cg"}, "kind"), ({"accuracy": "loose"}, "accuracy"),
    ({"merit_hessian": "none"}, "merit_hessian"), ({"kind": "block_rk", "block": 0}, "block"), ({"kind": "block_rk", "block": 99}, "block"),
    ({"kind": "block_gv", "block": 1.5}, "block"), ({"tol": -1.0}, "tol"), ({"rng": None}, "rng"), ({"delta": float("nan")}, "delta"),
])
def test_bad_options(options, name):
    with pytest.raises(ValueError, match=name):
        ada_sketch_newton(hs6(), **({"rng": generator()} | options))


@pytest.mark.parametrize("change, name", [
    ({"jac": lambda x: np.ones((2, 2))}, "jac"), ({"grad": lambda x: np.ones(3)}, "grad"), ({"hess": lambda x: np.eye(3)}, "hess"),
    ({"c": lambda x: np.ones(3)}, "c:"), ({"c": lambda x: np.ones((1, 1))}, "c:"), ({"x0": np.array([np.nan, 1.0])}, "x0"),
    ({"f": lambda x: np.inf}, "f:"), ({"lam0": np.ones(2)}, "lam0"), ({"hess_lagrangian": lambda x, lam: np.eye(3)}, "hess_lagrangian"),
])
def test_bad_problems(change, name):
    with pytest.raises(ValueError, match=name):
        replace(hs6(), **change)


@pytest.mark.parametrize("arguments, name", [
    ((np.array([[1.0, np.nan], [0, 1]]), np.ones(2)), "A"), ((np.eye(2), np.ones(3)), "b"), ((np.eye(2), np.array([1, np.inf])), "b"),
    ((np.diag([1.0, 0.0]), np.ones(2)), "row of zeros"), ((np.eye(2), np.ones(2), "cg"), "kind"), ((np.eye(2), np.ones(2), "block_rk", 3), "block"),
    ((np.eye(2), np.ones(2), "rk", 1, -1.0), "tol"), ((np.eye(2), np.ones(2), "rk", 1, 1e-3, -1), "max_iter"), ((np.ones(3), np.ones(3)), "A"),
])
def test_bad_systems(arguments, name):
    with pytest.raises(ValueError, match=name):
        sketch_solve(*arguments, rng=generator())


def test_other_bad_input():
    for call in (lambda: poisson_control(0), lambda: poisson_control(3, 0.0), lambda: constrained_logistic(np.eye(3), np.ones(3), 3),
                 lambda: exact_augmented_lagrangian(hs6(), np.zeros(2), np.zeros(1), -1, 0), lambda: scipy_solver(hs6(), "newton"),
                 lambda: augmented_lagrangian_newton(hs6(), mu=0), lambda: inexact_l1_sqp(hs6(), nu=0.5)):
        with pytest.raises(ValueError):
            call()
