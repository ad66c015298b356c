"""Solvers against closed forms, against each other and against well-kept libraries."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.prox import project_box, prox_tv2d, soft_threshold
from prox_repro.core.solvers import _model_minimum, admm, armijo, cg, fista, proximal_gradient


def lasso(seed=0, m=30, n=50, reg=0.3):
    rng = np.random.default_rng(seed)
    A, b = rng.normal(size=(m, n)), rng.normal(size=m) * 3
    return dict(A=A, b=b, reg=reg, L=np.linalg.norm(A, 2) ** 2, grad=lambda x: A.T @ (A @ x - b),
                prox=lambda v, t: soft_threshold(v, reg * t),
                objective=lambda x: 0.5 * np.sum((A @ x - b) ** 2) + reg * np.abs(x).sum())


def spd(n, condition, seed=0):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    return (Q * np.logspace(0, math.log10(condition), n)) @ Q.T, rng.normal(size=n)


# --- proximal gradient and FISTA ------------------------------------------------------------------------------------

def test_proximal_gradient_descends_and_ends_at_a_fixed_point():
    p = lasso()
    run = proximal_gradient(p["grad"], p["prox"], np.zeros(50), 1 / p["L"], max_iter=20_000, tol=1e-12,
                            objective=p["objective"], lipschitz=p["L"])
    assert run.converged and run.n_iter == len(run.history["change"]) == len(run.history["objective"])
    assert (np.diff(run.history["objective"]) <= 1e-10).all()
    gradient = p["grad"](run.x)
    assert np.abs(gradient).max() <= p["reg"] + 1e-8  # optimality: -gradient is a subgradient of reg * ||x||_1
    np.testing.assert_allclose(gradient[run.x != 0], -p["reg"] * np.sign(run.x[run.x != 0]), atol=1e-8)


def test_proximal_gradient_error_bound():
    """F(x_k) - F* <= ||x_0 - x*||^2 / (2 eta k); FISTA: 2 ||x_0 - x*||^2 / (eta (k+1)^2)."""
    p = lasso(1)
    best = fista(p["grad"], p["prox"], np.zeros(50), 1 / p["L"], restart=True, max_iter=50_000, tol=1e-14)
    optimum, distance = p["objective"](best.x), np.sum(best.x**2)
    common = dict(max_iter=300, tol=0, objective=p["objective"])
    k = np.arange(1, 301)
    slow = proximal_gradient(p["grad"], p["prox"], np.zeros(50), 1 / p["L"], **common).history["objective"] - optimum
    fast = fista(p["grad"], p["prox"], np.zeros(50), 1 / p["L"], **common).history["objective"] - optimum
    assert (slow <= p["L"] * distance / (2 * k) + 1e-10).all()
    assert (fast <= 2 * p["L"] * distance / (k + 1) ** 2 + 1e-10).all()
    assert fast[-1] < slow[-1]


def test_restart_gives_a_linear_rate_on_a_quadratic():
    H, b = spd(20, 1e3)
    solution = np.linalg.solve(H, b)
    run = fista(lambda x: H @ x - b, None, np.zeros(20), 1e-3, restart=True, max_iter=600, tol=0)
    plain = fista(lambda x: H @ x - b, None, np.zeros(20), 1e-3, max_iter=600, tol=0)
    assert np.linalg.norm(run.x - solution) < 1e-6 * np.linalg.norm(solution)
    longer = fista(lambda x: H @ x - b, None, np.zeros(20), 1e-3, restart=True, max_iter=1200, tol=0)
    assert np.linalg.norm(longer.x - solution) < 1e-12 * np.linalg.norm(solution)
    assert np.linalg.norm(run.x - solution) < np.linalg.norm(plain.x - solution)


@pytest.mark.parametrize("seed", [0, 1])
def test_lasso_agrees_with_scikit_learn(seed):
    from sklearn.linear_model import Lasso
    p = lasso(seed)
    reference = Lasso(alpha=p["reg"] / 30, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(p["A"], p["b"]).coef_
    run = fista(p["grad"], p["prox"], np.zeros(50), 1 / p["L"], restart=True, max_iter=50_000, tol=1e-13)
    np.testing.assert_allclose(run.x, reference, atol=1e-6)


def test_one_step_solves_an_isotropic_quadratic():
    target = np.array([3.0, -1.0])
    for solver in (proximal_gradient, fista):
        run = solver(lambda x: 2 * (x - target), None, np.zeros(2), 0.5, tol=1e-12)
        np.testing.assert_allclose(run.x, target)
        assert run.n_iter == 2 and run.converged  # the second step sees no change


def test_torch_and_numpy_take_the_same_path():
    p = lasso(2)
    A, b = torch.as_tensor(p["A"]), torch.as_tensor(p["b"])
    ours = fista(p["grad"], p["prox"], np.zeros(50), 1 / p["L"], restart=True, max_iter=50, tol=0)
    start = torch.zeros(50, dtype=torch.float64)
    theirs = fista(lambda x: A.T @ (A @ x - b), p["prox"], start, 1 / p["L"], restart=True, max_iter=50, tol=0)
    np.testing.assert_allclose(theirs.x.numpy(), ours.x, atol=1e-10)
    np.testing.assert_allclose(theirs.history["change"], ours.history["change"], atol=1e-10)


def test_gradients_flow_through_unrolled_steps():
    target = torch.tensor([2.0, -0.2], dtype=torch.float64)

    def unrolled(reg):
        shrink = lambda v, t: soft_threshold(v, reg * t)
        return proximal_gradient(lambda x: x - target, shrink, torch.zeros_like(target), 0.5, max_iter=60, tol=0).x

    reg = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    unrolled(reg).sum().backward()
    assert math.isclose(reg.grad.item(), -1, abs_tol=1e-12)  # the solution is (2 - reg, 0)


def test_callback_sees_every_iteration_and_stops():
    seen = []
    run = proximal_gradient(lambda x: x, None, np.ones(3), 0.1, callback=lambda k, x: seen.append(k) or k == 4)
    assert seen == [1, 2, 3, 4] and run.n_iter == 4 and not run.converged
    run = admm(lambda v, t: v / (1 + t), lambda v, t: v, np.ones(3), tol=0, callback=lambda k, x: k == 3)
    assert run.n_iter == 3


def test_divergence_is_not_called_convergence():
    with np.errstate(over="ignore", invalid="ignore"):
        run = proximal_gradient(lambda x: x, None, np.ones(2), 1e200, max_iter=50)
    assert not run.converged and run.n_iter < 50


def test_zero_iterations_return_the_start():
    run = proximal_gradient(lambda x: x, None, np.ones(2), 0.1, max_iter=0)
    assert run.n_iter == 0 and not run.converged and run.history == {} and (run.x == 1).all()


# --- ADMM -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("rho, relaxation", [(0.5, 1.0), (5.0, 1.0), (5.0, 1.6)])
def test_admm_agrees_with_fista(rho, relaxation):
    p = lasso(3)
    solve = np.linalg.inv(p["A"].T @ p["A"] + rho * np.eye(50))
    run = admm(lambda v, t: solve @ (p["A"].T @ p["b"] + v / t), p["prox"], np.zeros(50), rho, relaxation=relaxation,
               max_iter=20_000, tol=1e-11)
    reference = fista(p["grad"], p["prox"], np.zeros(50), 1 / p["L"], restart=True, max_iter=50_000, tol=1e-13)
    assert run.converged
    np.testing.assert_allclose(run.x, reference.x, atol=1e-7)
    np.testing.assert_allclose(-rho * run.dual, p["grad"](run.x), atol=1e-6)  # the dual is the gradient at the optimum


def test_admm_warm_start_stops_at_once():
    fit = lambda v, t: (v + t * np.array([3.0, -4, 0.5])) / (1 + t)
    first = admm(fit, lambda v, t: project_box(v, -1, 1), np.zeros(3), tol=1e-12)
    np.testing.assert_allclose(first.x, [1, -1, 0.5], atol=1e-10)
    again = admm(fit, lambda v, t: project_box(v, -1, 1), first.x, dual0=first.dual, tol=1e-10)
    assert again.n_iter == 1 and again.converged


def test_admm_and_fista_agree_on_total_variation():
    y = np.random.default_rng(4).normal(size=(6, 6))
    mask = np.random.default_rng(5).random((6, 6)) < 0.7
    tv = lambda v, t: prox_tv2d(v, 0.2 * t, tol=1e-6)
    one = admm(lambda v, t: np.where(mask, (v + t * y) / (1 + t), v), tv, 0 * y, 1.0, tol=1e-5)
    two = fista(lambda x: mask * (x - y), tv, 0 * y, 1.0, tol=1e-6, restart=True)
    np.testing.assert_allclose(one.x, two.x, atol=1e-3)


# --- conjugate gradients --------------------------------------------------------------------------------------------

@given(n=st.integers(1, 12), seed=st.integers(0, 99), jacobi=st.booleans())
@settings(max_examples=40, deadline=None)
def test_cg_equals_the_dense_solve_within_n_steps(n, seed, jacobi):
    A, b = spd(n, 50, seed)
    run = cg(A, b, preconditioner="jacobi" if jacobi else None, tol=1e-10)
    assert run.converged and run.status == "converged" and run.n_iter <= n + 2
    np.testing.assert_allclose(run.x, np.linalg.solve(A, b), rtol=1e-7, atol=1e-8)
    assert len(run.residual_norms) == run.n_iter + 1


def test_cg_finishes_in_the_number_of_distinct_eigenvalues():
    Q = np.linalg.qr(np.random.default_rng(1).normal(size=(40, 40)))[0]
    A = (Q * np.repeat([1.0, 4.0, 9.0, 20.0], 10)) @ Q.T
    assert cg(A, Q @ np.ones(40), tol=1e-10).n_iter == 4


def test_energy_error_falls_and_matches_scipy():
    from scipy.sparse.linalg import cg as scipy_cg
    A, b = spd(30, 1e4)
    exact, energies, steps = np.linalg.solve(A, b), [], []
    run = cg(A, b, tol=1e-10, callback=lambda k, x: energies.append((x - exact) @ A @ (x - exact)))
    scipy_cg(A, b, rtol=1e-10, callback=lambda x: steps.append(x.copy()))
    assert (np.diff(energies) <= 1e-12).all()
    tenth = cg(A, b, tol=0, max_iter=10)
    np.testing.assert_allclose(tenth.x, steps[9], rtol=1e-8)
    assert tenth.status == "max_iter" and not tenth.converged and run.converged


@pytest.mark.parametrize("form", ["dense", "sparse", "callable", "operator", "torch", "torch callable"])
def test_cg_accepts_every_form_of_matrix(form):
    A, b = spd(15, 100)
    matrix = {"dense": A, "sparse": sp.csr_array(A), "callable": lambda x: A @ x,
              "operator": sp.linalg.aslinearoperator(A), "torch": torch.as_tensor(A),
              "torch callable": lambda x: torch.as_tensor(A) @ x}[form]
    run = cg(matrix, torch.as_tensor(b) if "torch" in form else b, tol=1e-12)
    assert isinstance(run.x, torch.Tensor) == ("torch" in form)
    np.testing.assert_allclose(np.asarray(run.x), np.linalg.solve(A, b), rtol=1e-8)


def test_jacobi_repairs_bad_scaling_and_equals_a_callable_preconditioner():
    A, b = spd(40, 10)
    scale = np.logspace(-3, 3, 40)
    A = scale[:, None] * A * scale
    jacobi = cg(A, b, preconditioner="jacobi", tol=1e-8, max_iter=400)
    by_hand = cg(A, b, preconditioner=lambda r: r / np.diag(A), tol=1e-8, max_iter=400)
    assert jacobi.converged and not cg(A, b, tol=1e-8, max_iter=jacobi.n_iter).converged
    np.testing.assert_allclose(jacobi.x, by_hand.x, rtol=1e-6)
    exact = cg(A, b, preconditioner=lambda r: np.linalg.solve(A, r), tol=1e-6)
    assert exact.n_iter == 1


@pytest.mark.parametrize("module", ["numpy", "torch"])
def test_batch_equals_one_by_one(module):
    A, _ = spd(12, 200)
    B = np.random.default_rng(2).normal(size=(2, 3, 12))
    B[0, 1] = 0
    B[1, 2] = A @ np.ones(12)
    convert = np.asarray if module == "numpy" else torch.as_tensor
    run = cg(convert(A), convert(B), tol=1e-11, preconditioner="jacobi")
    assert run.converged and run.residual_norms.shape == (run.n_iter + 1, 2, 3)
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(np.asarray(run.x)[i], cg(A, B[i], tol=1e-11, preconditioner="jacobi").x, atol=1e-9)
    assert not np.asarray(run.x)[0, 1].any()


def test_batch_of_images_with_a_function():
    weight = torch.rand(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    b = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    run = cg(lambda x: weight * x, b, ndim=2, tol=1e-12)
    torch.testing.assert_close(run.x, b / weight)


def test_batch_isolates_a_broken_system():
    b = np.stack([np.ones(3), np.array([1.0, 3.0, 1.0]), np.zeros(3)])
    for bad in (-1.0, np.nan, np.inf):
        factor = np.stack([np.array([1.0, 2.0, 4.0]), np.array([1.0, bad, 1.0]), np.ones(3)])
        with np.errstate(invalid="ignore"):
            run = cg(lambda x: factor * x, b)
        assert run.status == "breakdown" and not run.converged and np.isfinite(run.x).all()
        np.testing.assert_allclose(run.x[[0, 2]], (b / factor)[[0, 2]])


def test_gradients_flow_through_cg():
    b = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    A = torch.as_tensor(spd(4, 10)[0])
    assert torch.autograd.gradcheck(lambda b: cg(A, b, tol=1e-13, max_iter=6).x, b, atol=1e-5)
    assert torch.autograd.gradcheck(lambda b: cg(A, b[0], tol=1e-13, max_iter=6).x, b, atol=1e-5)
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    cg(lambda x: scale * x, torch.ones(3, dtype=torch.float64)).x.sum().backward()
    torch.testing.assert_close(scale.grad, torch.tensor(-0.75, dtype=torch.float64))  # d(3/s)/ds


def test_zero_right_hand_side_takes_no_iterations():
    for b in (np.zeros(4), np.zeros((2, 4)), torch.zeros(4), torch.zeros(2, 4)):
        run = cg(lambda x: x, b, x0=b + 1)
        assert run.n_iter == 0 and run.converged and not bool(run.x.any())


def test_good_start_takes_no_iterations_and_the_start_is_not_overwritten():
    A, b = spd(6, 10)
    x0 = np.linalg.solve(A, b)
    kept = x0.copy()
    assert cg(A, b, x0=x0, tol=1e-8).n_iter == 0
    start = np.ones(6)
    np.testing.assert_allclose(cg(A, b, x0=start, tol=1e-12).x, kept)
    assert (start == 1).all() and (x0 == kept).all()


def test_complex_hermitian():
    rng = np.random.default_rng(3)
    M = rng.normal(size=(8, 8)) + 1j * rng.normal(size=(8, 8))
    A, b = M @ M.conj().T + np.eye(8), rng.normal(size=8) + 1j * rng.normal(size=8)
    np.testing.assert_allclose(cg(A, b, tol=1e-12).x, np.linalg.solve(A, b), rtol=1e-8)
    np.testing.assert_allclose(cg(A, np.stack([b, 2 * b]), tol=1e-12).x[1], np.linalg.solve(A, 2 * b), rtol=1e-8)


def test_singular_consistent_system_gives_the_solution_of_smallest_norm():
    A = np.diag([0.0, 1.0, 2.0]) @ np.eye(3)
    run = cg(A, np.array([0.0, 3.0, 4.0]))
    np.testing.assert_allclose(run.x, [0, 3, 2], atol=1e-10)
    inconsistent = cg(A, np.array([1.0, 0.0, 0.0]))
    assert inconsistent.status == "breakdown" and np.isfinite(inconsistent.x).all()


@pytest.mark.parametrize("A", [-np.eye(3), np.diag([1.0, -2.0, 3.0]), np.full((3, 3), np.nan)])
def test_breakdown_is_reported(A):
    run = cg(A, np.array([1.0, 2.0, 3.0]))
    assert run.status == "breakdown" and not run.converged and np.isfinite(run.x).all()


def test_float32_stays_float32():
    A, b = spd(10, 10)
    assert cg(A.astype(np.float32), b.astype(np.float32), tol=1e-4).x.dtype == np.float32


# --- Armijo ---------------------------------------------------------------------------------------------------------

@given(x=st.floats(0.05, 20), c1=st.floats(1e-4, 0.4), step0=st.floats(0.1, 100))
@settings(max_examples=60, deadline=None)
def test_armijo_condition_holds_next_to_a_barrier(x, c1, step0):
    f, slope_at = (lambda u: u - math.log(u) if u > 0 else math.nan), 1 - 1 / x
    if abs(slope_at) < 1e-6:
        return
    found = armijo(f, x, -slope_at, slope=-slope_at**2, step0=step0, c1=c1)
    assert found.success and found.x > 0 and found.value == f(found.x)
    assert found.value <= f(x) - c1 * found.step * slope_at**2
    if found.step < step0:  # the step before was rejected for a reason
        longer = f(x - 2 * found.step * slope_at)
        assert not (math.isfinite(longer) and longer <= f(x) - c1 * 2 * found.step * slope_at**2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_never_accepted(bad):
    found = armijo(lambda x: bad if x > 0.3 else -x, 0.0, 1.0, slope=-1.0)
    assert found.success and found.step == 0.25 and found.n_evaluations == 4  # start, 1, 0.5, 0.25


def test_armijo_counts_and_reports_failure():
    found = armijo(lambda x: abs(x), 0.0, 1.0, slope=-1.0, value=0.0, max_evaluations=7)  # a wrong slope
    assert not found.success and found.step == 0 and found.x == 0.0 and found.n_evaluations == 7
    exact = armijo(lambda x: float(((x - 1) ** 2).sum()), np.zeros(3), np.ones(3), slope=-6.0, value=3.0)
    assert exact.step == 1.0 and exact.n_evaluations == 1 and exact.value == 0


def test_slack_absorbs_rounding():
    noisy = lambda x: 1.0 + 1e-15 * (x > 0)
    assert not armijo(noisy, 0.0, 1.0, slope=-1e-17).success
    assert armijo(noisy, 0.0, 1.0, slope=-1e-17, slack=1e-14).step == 1.0


def test_armijo_with_tensors():
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    found = armijo(lambda u: (u**2).sum(), x, -2 * x, slope=-20.0)
    assert found.step == 0.5 and not found.x.any()


# --- bad input ------------------------------------------------------------------------------------------------------

identity = np.eye(3)


@pytest.mark.parametrize("call, word", [
    (lambda: proximal_gradient(lambda x: x, None, np.ones(2), 0), "step_size"),
    (lambda: proximal_gradient(lambda x: x, None, np.ones(2), math.nan), "step_size"),
    (lambda: proximal_gradient(lambda x: x, None, np.ones(2), 2.0, lipschitz=1.0), "2 / lipschitz"),
    (lambda: fista(lambda x: x, None, np.ones(2), 1.5, lipschitz=1.0), "1 / lipschitz"),
    (lambda: fista(lambda x: x, None, np.ones(2), 1.0, tol=-1), "tol"),
    (lambda: admm(lambda v, t: v, lambda v, t: v, np.ones(2), 0), "rho"),
    (lambda: admm(lambda v, t: v, lambda v, t: v, np.ones(2), relaxation=2), "relaxation"),
    (lambda: cg(np.ones((2, 3)), np.ones(3)), "A: needs shape"),
    (lambda: cg(identity, np.ones(2)), "A: needs shape"),
    (lambda: cg(identity, np.ones(3), x0=np.ones(2)), "x0"),
    (lambda: cg(identity, np.array([1, np.nan, 0])), "b: contains"),
    (lambda: cg(identity, np.array([1e200, 0, 0])), "overflows"),
    (lambda: cg(identity, np.ones(3), preconditioner="ilu"), "preconditioner"),
    (lambda: cg(lambda x: x, np.ones(3), preconditioner="jacobi"), "matrix"),
    (lambda: cg(-identity, np.ones(3), preconditioner="jacobi"), "positive diagonal"),
    (lambda: cg(identity, np.ones(3), ndim=2), "ndim"),
    (lambda: cg(identity, np.ones(3), tol=-1), "tol"),
    (lambda: armijo(lambda x: x, 0.0, 1.0, slope=0.0), "slope"),
    (lambda: armijo(lambda x: x, 0.0, 1.0, slope=math.nan), "slope"),
    (lambda: armijo(lambda x: x, 0.0, 1.0, slope=-1.0, shrink=1.0), "shrink"),
    (lambda: armijo(lambda x: math.nan, 0.0, 1.0, slope=-1.0), "finite at the start"),
])
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()


@settings(deadline=None)
@given(st.floats(0.01, 100), st.floats(1.01, 50))
def test_interpolation_finds_the_minimum_of_a_quadratic_at_the_second_try(curvature, overshoot):
    "Unless the minimum is further away than the safeguard lets a step shrink."
    f = lambda x: 0.5 * curvature * x**2
    step0 = 2 * overshoot / curvature  # at twice the minimiser's step the value is back at the start
    found = armijo(f, 1.0, -curvature, slope=-curvature**2, step0=step0, interpolate=True)
    assert found.success and found.value < f(1.0)
    if 2 * overshoot <= 10:
        assert found.n_evaluations == 3 and abs(found.x) < 1e-9
    halved = armijo(f, 1.0, -curvature, slope=-curvature**2, step0=step0)
    assert found.n_evaluations <= halved.n_evaluations


@settings(deadline=None)
@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 2), st.floats(0.1, 0.9))
def test_cubic_model_is_exact_for_a_cubic(scale, minimum, last, ratio):
    "Two values, the start and its slope determine a cubic: its minimum does not depend on where it was tried."
    f = lambda x: scale * (x**3 - 3 * minimum**2 * x)
    tries = [(t, f(t)) for t in (last * minimum * ratio, last * minimum)]
    assert _model_minimum(0.0, -3 * scale * minimum**2, tries) == pytest.approx(minimum, rel=1e-5)


def test_interpolation_survives_values_that_are_not_finite():
    f = lambda x: x - np.log(x) if x > 0 else np.inf
    found = armijo(f, 3.0, -1.0, slope=-2 / 3, step0=64.0, interpolate=True)
    assert found.success and found.x > 0 and found.value < f(3.0)
