"""Proximal operators against brute force, and the properties that define them."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import LinearConstraint, linprog, minimize

from prox_repro.core.prox import (
    group_soft_threshold, hard_threshold, ksupport_sq, moreau_envelope, project_affine, project_ball_mahalanobis,
    project_box, project_halfspace, project_l1_ball, project_l2_ball, project_simplex, project_sparse,
    project_sparse_simplex, prox_conjugate, prox_ksupport_sq, prox_l1_nonneg, prox_magnitude, prox_nuclear, prox_tv,
    prox_tv2d, soft_threshold, total_variation,
)

vectors = arrays(np.float64, (3, 6), elements=st.floats(-10, 10, width=32))
A = np.random.default_rng(0).normal(size=(2, 6))
H = A.T @ A + np.diag(np.linspace(0.2, 2, 6))
labels = np.array([0, 1, 0, 2, 2, 2])

CONVEX = {
    "soft": lambda x: soft_threshold(x, 0.7),
    "nonneg": lambda x: prox_l1_nonneg(x, 0.7),
    "group": lambda x: group_soft_threshold(x, 0.7, groups=labels),
    "nuclear": lambda x: prox_nuclear(x, 0.7),
    "tv": lambda x: prox_tv(x, 0.7, ndim=1, tol=1e-5, max_iter=2000),
    "box": lambda x: project_box(x, -1.0, 2.0),
    "affine": lambda x: project_affine(x, A, np.array([1.0, -2.0])),
    "halfspace": lambda x: project_halfspace(x, A[0], 0.5),
    "l2 ball": lambda x: project_l2_ball(x, 2.0, center=0.5),
    "simplex": lambda x: project_simplex(x, 1.5),
    "l1 ball": lambda x: project_l1_ball(x, 2.0),
    "k-support": lambda x: prox_ksupport_sq(x, 0.7, 2),
}
PROJECTIONS = {
    **{name: CONVEX[name] for name in ("box", "affine", "halfspace", "l2 ball", "simplex", "l1 ball")},
    "sparse": lambda x: project_sparse(x, 2),
    "sparse simplex": lambda x: project_sparse_simplex(x, 2),
    "mahalanobis": lambda x: project_ball_mahalanobis(x, H, 1.3),
}


@pytest.mark.parametrize("name", CONVEX)
@given(x=vectors, y=vectors)
@settings(max_examples=15, deadline=None)
def test_firmly_nonexpansive(name, x, y):
    px, py = CONVEX[name](x), CONVEX[name](y)
    assert ((px - py) ** 2).sum() <= ((px - py) * (x - y)).sum() + 1e-6


@pytest.mark.parametrize("name", PROJECTIONS)
@given(x=vectors)
@settings(max_examples=15, deadline=None)
def test_projections_are_idempotent(name, x):
    once = PROJECTIONS[name](x)
    np.testing.assert_allclose(PROJECTIONS[name](once), once, atol=1e-9)


@pytest.mark.parametrize("name", {**CONVEX, **PROJECTIONS})
def test_torch_agrees_with_numpy_and_keeps_dtype(name):
    function = {**CONVEX, **PROJECTIONS}[name]
    x = np.random.default_rng(1).normal(size=(3, 6)) * 2
    from_numpy = function(x)
    from_torch = function(torch.as_tensor(x)) if name not in ("affine", "halfspace", "mahalanobis") else None
    if from_torch is not None:
        assert isinstance(from_torch, torch.Tensor) and from_torch.dtype == torch.float64
        np.testing.assert_allclose(from_torch.numpy(), from_numpy, atol=1e-8)
    assert function(x.astype(np.float32)).dtype == np.float32
    assert function(x[0] if name != "nuclear" else x).shape == from_numpy[0].shape or name == "nuclear"


@pytest.mark.parametrize("function", [
    lambda x: project_affine(x, torch.as_tensor(A), torch.tensor([1.0, -2.0], dtype=torch.float64)),
    lambda x: project_halfspace(x, torch.as_tensor(A[0]), 0.5),
    lambda x: project_ball_mahalanobis(x, torch.as_tensor(H), 1.3),
    lambda x: soft_threshold(x, 0.7),
    lambda x: group_soft_threshold(x, 0.7, groups=labels),
    lambda x: project_simplex(x), lambda x: project_l1_ball(x, 2.0), lambda x: project_l2_ball(x, 2.0),
    lambda x: prox_ksupport_sq(x, 0.7, 2), lambda x: project_sparse_simplex(x, 3), lambda x: ksupport_sq(x, 2),
    lambda x: prox_nuclear(x, 0.7),
])
def test_gradients(function):
    x = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 2
    assert torch.autograd.gradcheck(function, x.requires_grad_())


def test_zero_vectors_have_finite_gradients():
    x = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    (group_soft_threshold(x, 1.0).sum() + project_l2_ball(x, 1.0).sum() + project_l1_ball(x, 1.0).sum()).backward()
    assert torch.isfinite(x.grad).all()


def brute(objective, x, starts=()):
    best = min((minimize(objective, start, method="Nelder-Mead", options=dict(xatol=1e-9, fatol=1e-13, maxiter=4000))
                for start in (x, 0 * x + 0.1, *starts)), key=lambda r: r.fun)
    return best.x


@pytest.mark.parametrize("prox, penalty", [
    (lambda x: soft_threshold(x, 0.6), lambda u: 0.6 * np.abs(u).sum()),
    (lambda x: group_soft_threshold(x, 0.6, groups=np.array([0, 0, 1])),
     lambda u: 0.6 * (np.hypot(u[0], u[1]) + abs(u[2]))),
    (lambda x: prox_tv(x, 0.6, ndim=1, tol=1e-10, max_iter=9999), lambda u: 0.6 * np.abs(np.diff(u)).sum()),
    (lambda x: prox_ksupport_sq(x, 0.6, 2), lambda u: 0.3 * ksupport_sq(u, 2)),
])
def test_against_brute_force(prox, penalty):
    for x in np.random.default_rng(5).normal(size=(4, 3)) * 1.5:
        np.testing.assert_allclose(prox(x), brute(lambda u: 0.5 * ((u - x) ** 2).sum() + penalty(u), x), atol=2e-5)


def test_complex_soft_threshold_against_brute_force():
    for z in np.random.default_rng(6).normal(size=(4, 2)):
        objective = lambda u: 0.5 * ((u - z) ** 2).sum() + 0.5 * np.hypot(*u)
        np.testing.assert_allclose(soft_threshold(z[0] + 1j * z[1], 0.5), complex(*brute(objective, z)), atol=1e-6)


@given(x=vectors, phase=st.floats(-3, 3))
@settings(max_examples=30, deadline=None)
def test_magnitude_prox_commutes_with_phase(x, phase):
    z = x[0] + 1j * x[1]
    shrink = lambda m: soft_threshold(m, 0.4)
    turn = np.exp(1j * phase)
    np.testing.assert_allclose(prox_magnitude(z * turn, shrink), turn * prox_magnitude(z, shrink), atol=1e-10)
    np.testing.assert_allclose(prox_magnitude(z, lambda m: m), z, atol=1e-12)


def test_negative_magnitudes_are_clamped_or_refused():
    assert prox_magnitude(np.array([1 + 1j]), lambda m: m - 5) == 0
    with pytest.raises(ValueError, match="nonneg='clamp'"):
        prox_magnitude(np.array([1 + 1j]), lambda m: m - 5, nonneg="raise")


@pytest.mark.parametrize("reg", [0.1, 0.5, 2.0])
def test_hard_threshold_and_sparse_projection_by_enumeration(reg):
    x = np.random.default_rng(7).normal(size=5)
    supports = [np.array(s) for s in itertools.product([0, 1], repeat=5)]
    cost = [0.5 * (x**2 * (1 - s)).sum() + reg * s.sum() for s in supports]
    np.testing.assert_array_equal(hard_threshold(x, reg), x * supports[int(np.argmin(cost))])
    two = [s for s in supports if s.sum() == 2]
    np.testing.assert_array_equal(project_sparse(x, 2), x * min(two, key=lambda s: (x**2 * (1 - s)).sum()))


def test_nuclear_is_the_l1_norm_on_diagonals_and_commutes_with_rotations():
    rng = np.random.default_rng(8)
    d = rng.normal(size=4)
    np.testing.assert_allclose(prox_nuclear(np.diag(d), 0.5), np.diag(soft_threshold(d, 0.5)), atol=1e-12)
    X, Q = rng.normal(size=(3, 5, 4)), np.linalg.qr(rng.normal(size=(5, 5)))[0]
    np.testing.assert_allclose(prox_nuclear(Q @ X, 0.5), Q @ prox_nuclear(X, 0.5), atol=1e-12)
    np.testing.assert_allclose(prox_nuclear(X, [0.1, 0.5, 9.0])[2], 0)


signs = np.array(list(itertools.product([-1, 1], repeat=4)))


@pytest.mark.parametrize("project, constraints", [
    (lambda x: project_simplex(x, 1.5),
     [LinearConstraint(np.ones(4), 1.5, 1.5), LinearConstraint(np.eye(4), 0, np.inf)]),
    (lambda x: project_l1_ball(x, 1.5), [LinearConstraint(signs, -np.inf, 1.5)]),
    (lambda x: project_halfspace(x, np.array([1.0, -2, 0, 1]), -1), [LinearConstraint([1.0, -2, 0, 1], -np.inf, -1)]),
    (lambda x: project_affine(x, np.array([[1.0, 1, 0, 2]]), [3.0]), [LinearConstraint([1.0, 1, 0, 2], 3, 3)]),
])
def test_projections_are_closest(project, constraints):
    for x in np.random.default_rng(9).normal(size=(4, 4)) * 1.5:
        reference = minimize(lambda u: 0.5 * ((u - x) ** 2).sum(), np.full(4, 0.2), jac=lambda u: u - x, method="SLSQP",
                             constraints=constraints, options=dict(ftol=1e-14, maxiter=500)).x
        np.testing.assert_allclose(project(x), reference, atol=1e-5)


@given(v=arrays(np.float64, 5, elements=st.floats(-5, 5, width=32)), k=st.integers(1, 5), mass=st.floats(0.1, 3))
@settings(max_examples=40, deadline=None)
def test_sparse_simplex_by_enumeration(v, k, mass):
    p = project_sparse_simplex(v, k, mass)
    assert (p >= 0).all() and np.isclose(p.sum(), mass) and (p > 0).sum() <= k
    best = min(((project_simplex(v[list(s)], mass) - v[list(s)]) ** 2).sum() + (np.delete(v, list(s)) ** 2).sum()
               for s in itertools.combinations(range(5), k))
    assert ((p - v) ** 2).sum() <= best + 1e-9


def test_simplex_shift_scale_axis_and_mass():
    rng = np.random.default_rng(10)
    v = rng.normal(size=(5, 7))
    np.testing.assert_allclose(project_simplex(v + 1e6), project_simplex(v), atol=1e-9)
    np.testing.assert_allclose(project_simplex(3 * v, 3.0), 3 * project_simplex(v), atol=1e-12)
    np.testing.assert_allclose(project_simplex(v.T, axis=0), project_simplex(v).T)
    mass = rng.random(7) + 0.1
    np.testing.assert_allclose(project_simplex(v, mass, axis=0).sum(0), mass)
    assert abs(project_simplex(rng.normal(size=50) * 1e6).sum() - 1) < 1e-12
    np.testing.assert_allclose(project_sparse_simplex(v, 7), project_simplex(v), atol=1e-14)


def test_l2_ball_over_several_axes_and_complex():
    z = np.random.default_rng(11).normal(size=(2, 3, 4)) * (1 + 2j)
    p = project_l2_ball(z, [1.0, 1e9], axis=(1, 2))
    assert np.isclose(np.linalg.norm(p[0]), 1) and (p[1] == z[1]).all()
    assert not project_l2_ball(z, 0.0).any()


def test_mahalanobis_ball_is_euclidean_for_the_identity_and_optimal():
    y = np.random.default_rng(12).normal(size=(6, 6)) * 2
    np.testing.assert_allclose(project_ball_mahalanobis(y, 3 * np.eye(6), 1.3), project_l2_ball(y, 1.3), atol=1e-12)
    x = project_ball_mahalanobis(y, H, 1.3)
    residual, mu = (y - x) @ H, np.sum(((y - x) @ H) * x, -1) / 1.3**2
    np.testing.assert_allclose(residual, mu[:, None] * x, atol=1e-10)  # (H + mu I) x = H y
    assert (mu >= -1e-12).all() and (np.linalg.norm(x, axis=-1) <= 1.3 + 1e-12).all()


@pytest.mark.parametrize("isotropic", [True, False])
def test_tv_promise_certificate_and_limits(isotropic):
    x = np.random.default_rng(13).normal(size=(3, 7, 6))
    precise = dict(isotropic=isotropic, tol=1e-8, max_iter=20_000)
    exact = prox_tv2d(x, 0.5, **precise)
    for tol in (1e-1, 1e-2, 1e-4):
        error = prox_tv2d(x, 0.5, isotropic=isotropic, tol=tol, max_iter=50_000) - exact
        assert np.sqrt((error**2).mean((1, 2))).max() <= tol
    np.testing.assert_allclose(prox_tv2d(x, 0.0, isotropic=isotropic), x)
    flat = prox_tv2d(x, 20.0, isotropic=isotropic, tol=1e-5, max_iter=20_000)
    np.testing.assert_allclose(flat, np.broadcast_to(x.mean((1, 2), keepdims=True), x.shape), atol=1e-3)
    np.testing.assert_allclose(exact.mean((1, 2)), x.mean((1, 2)))  # brightness is kept
    np.testing.assert_allclose(prox_tv2d(x[1], 0.5, **precise), exact[1], atol=1e-7)
    per_image = prox_tv2d(x, [0.0, 0.5, 1.0], **precise)
    np.testing.assert_allclose(per_image[1], exact[1], atol=1e-7)


def test_tv_warm_start_keeps_the_answer_and_dual_is_feasible():
    x = np.random.default_rng(14).normal(size=(12, 12))
    exact, dual = prox_tv2d(x, 0.4, tol=1e-8, max_iter=50_000, return_dual=True)
    assert np.sqrt((dual**2).sum(0)).max() <= 0.4 + 1e-12
    warm = prox_tv2d(x, 0.4, tol=1e-6, max_iter=10, dual=dual)
    assert np.sqrt(np.mean((warm - exact) ** 2)) <= 1e-6


def test_tv_in_three_dimensions():
    """A volume that is constant along one axis is denoised like its slice; a permutation of axes changes nothing."""
    x = np.random.default_rng(18).normal(size=(4, 5))
    volume = np.broadcast_to(x[..., None], (4, 5, 3))
    denoised = prox_tv(volume, 0.4, ndim=3, tol=1e-7, max_iter=20_000)
    np.testing.assert_allclose(denoised[..., 1], prox_tv2d(x, 0.4, tol=1e-7, max_iter=20_000), atol=1e-5)
    y = np.random.default_rng(19).normal(size=(3, 4, 2))
    straight, turned = (prox_tv(v, 0.4, ndim=3, tol=1e-7, max_iter=20_000) for v in (y, y.transpose(2, 0, 1)))
    np.testing.assert_allclose(turned.transpose(1, 2, 0), straight, atol=1e-5)
    assert np.isclose(total_variation(denoised, ndim=3), 3 * total_variation(denoised[..., 0]))


def test_one_dimensional_tv_against_linear_programming_duality():
    x = np.random.default_rng(15).normal(size=8)
    u, w = prox_tv(x, 0.5, ndim=1, tol=1e-8, max_iter=20_000, return_dual=True)
    assert np.isclose(0.5 * np.abs(np.diff(u)).sum(), (w[0, :-1] * np.diff(u)).sum(), atol=1e-8)
    assert np.isclose(total_variation(u, ndim=1), np.abs(np.diff(u)).sum())


@given(t=vectors, k=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_ksupport_norm_bounds_limits_and_fenchel_young(t, k):
    value = ksupport_sq(t, k)
    l1, l2 = np.abs(t).sum(-1) ** 2, (t**2).sum(-1)
    assert (value >= l2 - 1e-9).all() and (value <= l1 + 1e-6).all() and (value >= l1 / k - 1e-6).all()
    np.testing.assert_allclose(ksupport_sq(t, 1), l1, atol=1e-9)
    np.testing.assert_allclose(ksupport_sq(t, 6), l2, atol=1e-9)
    sparse = project_sparse(t, k)
    np.testing.assert_allclose(ksupport_sq(sparse, k), (sparse**2).sum(-1), atol=1e-6)
    y = t[::-1]
    conjugate = 0.5 * (project_sparse(y, k) ** 2).sum(-1)
    assert (0.5 * value + conjugate >= (t * y).sum(-1) - 1e-9).all()


def test_ksupport_norm_by_linear_programming():
    """Psi_k is a minimum over shares; a fine piecewise linear model of 1/u makes it a linear programme."""
    t, k = np.array([2.0, -1.0, 0.5, 0.25]), 2
    u = np.linspace(0.02, 1, 400)
    cost = (t[:, None] ** 2 / u).ravel()
    rows = np.kron(np.eye(4), np.ones(len(u)))
    result = linprog(cost, A_eq=np.vstack([rows, np.tile(u, 4)]), b_eq=[1, 1, 1, 1, k])
    assert np.isclose(result.fun, ksupport_sq(t, k), rtol=1e-3)


def test_ksupport_prox_shares_with_ties_zeros_and_extreme_scales():
    for x in (np.array([1.0, 1, 1, 0, 0]), np.array([1e-300, 1e-8, 1.0, 1e8, 0]), np.zeros(5), np.full(5, 1e-320)):
        for reg, k in itertools.product((1e-3, 1.0, 1e3), (1, 3, 5)):
            p = prox_ksupport_sq(x, reg, k)
            assert np.isfinite(p).all() and (np.abs(p) <= np.abs(x) / (1 + reg) + 1e-12 * np.abs(x)).all()
    x = np.random.default_rng(16).normal(size=1000)
    assert (np.abs(prox_ksupport_sq(x, 1e4, 40)) > 1e-12).sum() == 40
    np.testing.assert_allclose(prox_ksupport_sq(x, 0.5, 1000), x / 1.5)


@given(x=vectors, step=st.floats(0.1, 5))
@settings(max_examples=30, deadline=None)
def test_moreau_identity_and_envelope(x, step):
    l1, l2 = (lambda u: np.abs(u).sum(-1)), (lambda v, t: group_soft_threshold(v, t))
    np.testing.assert_allclose(prox_conjugate(soft_threshold)(x, step), project_box(x, -1, 1), atol=1e-9)
    np.testing.assert_allclose(prox_conjugate(l2)(x, step), project_l2_ball(x, 1.0), atol=1e-9)
    envelope = moreau_envelope(x, l1, soft_threshold, step)
    assert (envelope <= l1(x) + 1e-12).all() and (envelope >= 0).all()
    h = 1e-6
    slope = (moreau_envelope(x + h * np.eye(6)[0], l1, soft_threshold, step)
             - moreau_envelope(x - h * np.eye(6)[0], l1, soft_threshold, step)) / (2 * h)
    np.testing.assert_allclose(slope, ((x - soft_threshold(x, step)) / step)[:, 0], atol=1e-4)


def test_group_forms_agree_and_weights_per_group():
    x = np.random.default_rng(17).normal(size=(4, 3, 5))
    by_axis = group_soft_threshold(x, 0.8)
    by_label = group_soft_threshold(x.reshape(4, 15), 0.8, groups=np.repeat(np.arange(3), 5)).reshape(4, 3, 5)
    np.testing.assert_allclose(by_axis, by_label)
    weights = np.array([0.0, 0.5, 100.0])
    weighted = group_soft_threshold(x, weights)
    np.testing.assert_allclose(weighted[:, 0], x[:, 0])
    assert not weighted[:, 2].any()


def test_integers_become_floats_and_nan_propagates():
    assert soft_threshold([3, -1, 0], 2).tolist() == [1.0, 0.0, 0.0]
    assert soft_threshold(torch.tensor([3, -1]), 2).dtype == torch.get_default_dtype()
    assert np.isnan(soft_threshold(np.array([np.nan, 1.0]), 0.5)[0])


@pytest.mark.parametrize("call, word", [
    (lambda: soft_threshold(np.ones(3), -1), "reg"),
    (lambda: soft_threshold(np.ones(3), np.nan), "reg"),
    (lambda: soft_threshold(np.array(["a"]), 1), "numeric"),
    (lambda: group_soft_threshold(np.ones(3), 1, groups=[0, 1]), "groups"),
    (lambda: project_sparse(np.ones(3), 0), "k: must lie in 1..3"),
    (lambda: project_sparse_simplex(np.ones(3), 4), "1..3"),
    (lambda: prox_nuclear(np.ones(3), 1), "matrix"),
    (lambda: prox_nuclear(np.full((2, 2), np.nan), 1), "finite"),
    (lambda: project_box(np.ones(3), 2, 1), "lower"),
    (lambda: project_affine(np.ones(3), np.ones((1, 2)), [1.0]), "A, b"),
    (lambda: project_halfspace(np.ones(3), np.zeros(3), 1), "normal"),
    (lambda: project_l2_ball(np.ones(3), -1), "radius"),
    (lambda: project_l2_ball(np.ones(3), np.ones((2, 2))), "radius"),
    (lambda: project_simplex(np.ones(3), 0), "mass"),
    (lambda: project_simplex(np.array([np.inf, 1.0])), "finite"),
    (lambda: project_ball_mahalanobis(np.ones(2), -np.eye(2)), "positive definite"),
    (lambda: prox_tv2d(np.ones(3), 1), "ndim"),
    (lambda: prox_tv2d(np.ones((3, 3)), 1, tol=0), "tol"),
    (lambda: prox_tv2d(np.ones((3, 3)), 1, dual=np.ones((2, 2, 2))), "dual"),
    (lambda: ksupport_sq(np.ones(3), 4), "1..3"),
    (lambda: prox_ksupport_sq(np.ones(3), 0, 1), "reg"),
    (lambda: moreau_envelope(np.ones(3), np.sum, soft_threshold, 0), "reg"),
])
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()


@pytest.mark.parametrize("module", ["prox", "solvers", "metrics"])
def test_import_is_light(module):
    code = f"import sys, prox_repro.core.{module}; print({{'torch', 'skimage', 'sklearn'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
