"""Mathematics of prox_repro.science.probconserv: conditioning, projections, exact solutions, networks, and bad input."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import isotonic_regression, minimize

from prox_repro.core.kkt import solve_kkt
from prox_repro.core.nets import seeded, stack
from prox_repro.science.probconserv import (
    Advection, AttentiveNP, BurgersRiemann, HeatGPME, PorousMedium, Stefan, condition_linear, conservation_error, constrained_loglik,
    gaussian_loglik, mixture_moments, predict, project_hard, project_monotone, project_nonneg, right_endpoint_weights, sample_conditioned,
    sample_contexts, scale_points, second_difference_constraint, shock_position, soft_constraint_loss, train_neural_processes,
    trapezoid_weights,
)

seeds = st.integers(0, 100_000)


def problem(seed, n=9, k=1, batch=()):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((*batch, n, n))
    return rng.standard_normal((*batch, n)), root @ root.mT + 0.1 * np.eye(n), rng.standard_normal((k, n)), rng.standard_normal((*batch, k)), rng


def dense(mean, cov, G, b, noise):
    S = G @ cov @ G.T + noise * np.eye(len(G))
    K = cov @ G.T @ np.linalg.inv(S)
    return mean - K @ (G @ mean - b), cov - K @ G @ cov


# the update

@settings(deadline=None, max_examples=40)
@given(seeds, st.sampled_from([1, 3]), st.sampled_from([0.0, 0.2]))
def test_update_is_dense_conditioning(seed, k, noise):
    mean, cov, G, b, _ = problem(seed, k=k)
    expected = dense(mean, cov, G, b, noise)
    new, full = condition_linear(mean, cov, G, b, noise, return_cov="full")
    np.testing.assert_allclose(new, expected[0], atol=1e-8)
    np.testing.assert_allclose(full, expected[1], atol=1e-8)
    diag = np.diag(cov).copy()
    expected = dense(mean, np.diag(diag), G, b, noise)
    new, var = condition_linear(mean, diag, G, b, noise)
    np.testing.assert_allclose(new, expected[0], atol=1e-9)
    np.testing.assert_allclose(var, np.diag(expected[1]), atol=1e-9)
    np.testing.assert_allclose(condition_linear(mean, diag, G, b, noise, return_cov="full")[1], expected[1], atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 4))
def test_exact_limit_conserves_and_repeats_nothing(seed, k):
    mean, cov, G, b, _ = problem(seed, k=k)
    new, full = condition_linear(mean, cov, G, b, return_cov="full")
    np.testing.assert_allclose(G @ new, b, atol=1e-9)
    np.testing.assert_allclose(full @ G.T, 0, atol=1e-8)
    var = np.diag(cov)
    once = condition_linear(mean, var, G, b)[0]
    np.testing.assert_allclose(condition_linear(once, var, G, b)[0], once, atol=1e-9)
    np.testing.assert_allclose(condition_linear(mean, 7.3 * var, G, b)[0], once, atol=1e-9)  # only the shape of the variance counts


@settings(deadline=None, max_examples=30)
@given(seeds, st.floats(1e-6, 1e6))
def test_contraction_of_the_error_in_mass(seed, noise):
    mean, cov, G, b, _ = problem(seed)
    gap, s = G @ mean - b, float((G @ cov @ G.T)[0, 0])
    new, full = condition_linear(mean, cov, G, b, noise, return_cov="full")
    np.testing.assert_allclose(G @ new - b, noise / (noise + s) * gap, rtol=1e-6, atol=1e-9)
    assert np.linalg.eigvalsh(cov - full)[0] > -1e-8  # the covariance shrinks in every direction


@settings(deadline=None, max_examples=30)
@given(seeds, st.floats(1e-3, 1e3), st.integers(1, 3))
def test_equal_variances_give_the_euclidean_projection(seed, c, k):
    mean, _, G, b, _ = problem(seed, k=k)
    np.testing.assert_allclose(condition_linear(mean, np.full(9, c), G, b)[0], project_hard(mean, G, b), atol=1e-9)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_consistent_dependent_rows_are_projected(kind):
    mean, _, G, _, _ = problem(6, k=1)
    G, b = np.vstack([G, 2 * G, 0 * G]), np.array([0.4, 0.8, 0.0])
    new = project_hard(kind(mean), kind(G), kind(b))
    np.testing.assert_allclose(new, project_hard(mean, G[:1], b[:1]), atol=1e-12)


def test_full_covariance_of_a_diagonal_one_is_the_same_in_torch():
    rng = np.random.default_rng(7)
    mean, var, g = rng.standard_normal((2, 5)), rng.random((2, 5)), rng.random(5)
    ours = condition_linear(mean, var, g, 0.3, 0.1, return_cov="full")
    theirs = condition_linear(*map(torch.tensor, (mean, var, g)), 0.3 * torch.ones((), dtype=torch.float64), 0.1, return_cov="full")
    for a, c in zip(ours, theirs):
        np.testing.assert_allclose(c.numpy(), a, atol=1e-13)
    np.testing.assert_allclose(np.einsum("...ii->...i", ours[1]), condition_linear(mean, var, g, 0.3, 0.1)[1], atol=1e-13)


def test_update_solves_the_weighted_quadratic_programme():
    mean, cov, G, b, _ = problem(3, k=2)
    step, _ = solve_kkt(np.linalg.inv(cov), G, np.zeros(9), b - G @ mean)
    np.testing.assert_allclose(condition_linear(mean, cov, G, b)[0], mean + step, atol=1e-8)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_order_of_two_updates_does_not_matter(seed):
    mean, cov, G, b, rng = problem(seed, k=2)
    H, c = rng.standard_normal((1, 9)), rng.standard_normal(1)
    one = condition_linear(*condition_linear(mean, cov, G, b, 0.1, return_cov="full"), H, c, return_cov="full")
    two = condition_linear(*condition_linear(mean, cov, H, c, return_cov="full"), G, b, 0.1, return_cov="full")
    both = condition_linear(mean, cov, np.vstack([G, H]), np.r_[b, c], np.array([0.1, 0.1, 0.0]), return_cov="full")
    for other in (two, both):
        np.testing.assert_allclose(one[0], other[0], atol=1e-7)
        np.testing.assert_allclose(one[1], other[1], atol=1e-7)


def test_batches_rows_and_torch_agree():
    mean, cov, G, b, _ = problem(5, k=2, batch=(3, 4))
    noise = np.array([0.1, 0.0])
    new, full = condition_linear(mean, cov, G, b, noise, return_cov="full")
    for i in np.ndindex(3, 4):
        np.testing.assert_allclose(condition_linear(mean[i], cov[i], G, b[i], noise)[0], new[i], atol=1e-10)
    t_new, t_full = condition_linear(*map(torch.tensor, (mean, cov, G, b, noise)), return_cov="full")
    assert t_new.dtype == torch.float64
    np.testing.assert_allclose(t_new.numpy(), new, atol=1e-10)
    np.testing.assert_allclose(t_full.numpy(), full, atol=1e-10)
    var, g = np.einsum("...ii->...i", cov), G[0]
    row = condition_linear(mean, var, g, b[..., 0])
    matrix = condition_linear(mean, var, g[None], b[..., :1])
    tensor = condition_linear(torch.tensor(mean), torch.tensor(var), torch.tensor(g), torch.tensor(b[..., 0]))
    for a, c, d in zip(row, matrix, tensor):
        assert np.array_equal(a, c)
        np.testing.assert_allclose(d.numpy(), a, atol=1e-13)
    single = condition_linear(mean.astype(np.float32), var.astype(np.float32), g, b[..., 0])[0]
    assert single.dtype == np.float64 and np.abs(single @ g - b[..., 0]).max() < 1e-12  # exact even from single precision


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_error_identity_and_alignment(seed):
    rng = np.random.default_rng(seed)
    truth, mean, var, g = rng.standard_normal(7), rng.standard_normal(7), rng.random(7) + 0.01, rng.random(7) + 0.1
    new = condition_linear(mean, var, g, g @ truth)[0]
    hard = project_hard(mean, g, g @ truth)
    e, k = mean - truth, var * g / (var @ g**2)
    change = np.sum((new - truth) ** 2) - np.sum(e**2)
    np.testing.assert_allclose(change, (g @ e) ** 2 * (k @ k) - 2 * (k @ e) * (g @ e), atol=1e-8)
    np.testing.assert_allclose(np.sum((hard - truth) ** 2) - e @ e, -((g @ e) ** 2) / (g @ g), atol=1e-8)
    assert np.sum((new - truth) ** 2 / var) <= np.sum(e**2 / var) + 1e-9  # Pythagoras in the learned metric


def test_mixture_moments_are_those_of_the_mixture():
    rng = np.random.default_rng(0)
    m, v = rng.standard_normal((3, 4)), rng.random((3, 4))
    draws = m[:, None] + np.sqrt(v)[:, None] * rng.standard_normal((3, 200_000, 4))
    mean, var = mixture_moments(m, v)
    np.testing.assert_allclose(mean, draws.mean((0, 1)), atol=0.02)
    np.testing.assert_allclose(var, draws.var((0, 1)), atol=0.03)
    g = np.ones(4)
    each = condition_linear(m, v, g, 2.0)
    assert abs(mixture_moments(*each)[0] @ g - 2.0) < 1e-12


def test_samples_have_the_conditioned_law():
    rng = np.random.default_rng(0)
    mean, var, g = rng.standard_normal(4), rng.random(4) + 0.2, np.array([0.5, 1, 1, 0.5])
    for noise in (0.0, 0.3):
        y = sample_conditioned(mean, var, g, 1.0, 200_000, rng=rng, noise_var=noise)
        new, full = condition_linear(mean, var, g, 1.0, noise, return_cov="full")
        np.testing.assert_allclose(y.mean(0), new, atol=0.01)
        np.testing.assert_allclose(np.cov(y.T), full, atol=0.02)
        if not noise:
            np.testing.assert_allclose(y @ g, 1.0, atol=1e-12)
    free = sample_conditioned(mean, var, g, 1.0, 200_000, rng=rng, noise_var=np.inf)
    np.testing.assert_allclose(free.var(0), var, atol=0.02)


# further constraints

def test_second_differences_ignore_straight_lines():
    line = 0.3 + 0.5 * np.arange(8.0)
    G, b, noise = second_difference_constraint(np.full(8, 0.04))
    assert np.allclose(G @ line, b) and noise.shape == (6,)
    np.testing.assert_allclose(noise, 0.04 * (6 - 8 * 0.9 + 2 * 0.81))
    np.testing.assert_allclose(condition_linear(line, np.full(8, 0.04), G, b, noise)[0], line, atol=1e-12)
    s = np.sqrt(np.random.default_rng(0).random(8))  # variance of the second difference when neighbours have correlation alpha^distance
    corr = 0.9 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    np.testing.assert_allclose(second_difference_constraint(s**2).noise_var, np.diag(G @ (s[:, None] * corr * s) @ G.T), atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_monotone_projection_is_isotonic_regression(seed):
    rng = np.random.default_rng(seed)
    mean, var = rng.standard_normal(8), rng.random(8) + 0.1
    falling = isotonic_regression(mean, weights=1 / var, increasing=False).x
    np.testing.assert_allclose(project_monotone(mean, var), np.maximum(falling, 0), atol=1e-8)
    rising = isotonic_regression(mean, weights=1 / var).x
    np.testing.assert_allclose(project_monotone(mean, var, decreasing=False), np.maximum(rising, 0), atol=1e-8)
    np.testing.assert_allclose(project_nonneg(mean, var), np.maximum(mean, 0), atol=1e-10)


def test_nonneg_projection_with_correlations_is_optimal():
    mean, cov, *_ = problem(4, n=5)
    P = np.linalg.inv(cov)
    y = project_nonneg(mean, cov)
    found = minimize(lambda u: (u - mean) @ P @ (u - mean), np.ones(5), jac=lambda u: 2 * P @ (u - mean), bounds=[(0, None)] * 5, tol=1e-14)
    np.testing.assert_allclose(y, found.x, atol=1e-5)
    grad = P @ (y - mean)
    assert (grad > -1e-8).all() and np.abs(grad * y).max() < 1e-8


def test_training_through_the_constraint_is_the_conditioned_density():
    mean, cov, G, b, rng = problem(8)
    var, u, g = np.diag(cov).copy(), rng.standard_normal(9), G[0]
    m, S = condition_linear(mean, var, g, b[0], 0.2, return_cov="full")
    expected = torch.distributions.MultivariateNormal(torch.tensor(m), torch.tensor(S)).log_prob(torch.tensor(u))
    t = [torch.tensor(a, requires_grad=True) for a in (u, mean, var)]
    ours = constrained_loglik(*t, torch.tensor(g), torch.tensor(b[0]), 0.2)
    assert ours.item() == pytest.approx(float(expected), abs=1e-8)
    check = lambda u, m, v: constrained_loglik(u, m, v, torch.tensor(g), torch.tensor(b[0]), 0.2)
    assert torch.autograd.gradcheck(check, t)


def test_shock_position():
    x = np.linspace(0, 1, 5)
    assert np.array_equal(shock_position(np.array([[1, 1, 0, 1, -1], [1.0] * 5, [-1.0] * 5]), x), [0.5, 1.0, 0.0])
    assert shock_position(np.array([1, 0.6, 0.4, 0, 0]), x, level=0.5) == 0.5


# quadrature and exact solutions

@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8), st.floats(-2, 2), st.floats(-2, 2))
def test_trapezoid_is_exact_for_lines(steps, a, c):
    x = np.cumsum([0.3, *steps])
    np.testing.assert_allclose(trapezoid_weights(x) @ (a + c * x), a * (x[-1] - x[0]) + c * (x[-1]**2 - x[0]**2) / 2, atol=1e-9)
    np.testing.assert_allclose(right_endpoint_weights(x).sum(), x[-1] - x[0])


CASES = [(HeatGPME(2.0), 0.5, 1e-6), (PorousMedium(1.0), 0.4, 1e-6), (PorousMedium(3.0), 0.4, 1e-4), (Stefan(0.6), 0.05, 1e-4),
         (Stefan(0.5), 0.02, 1e-4), (Advection(3.0), 0.1, 1e-4), (BurgersRiemann(2.0), 0.3, 1e-3), (BurgersRiemann(2.0), 0.9, 1e-3)]


@pytest.mark.parametrize("pde, t, tol", CASES)
def test_mass_is_the_integral_of_the_solution(pde, t, tol):
    x = np.linspace(*pde.x_range, 10_001)
    assert trapezoid_weights(x) @ pde.solution(t, x) == pytest.approx(pde.mass(t), abs=tol)


@pytest.mark.parametrize("pde, t", [(PorousMedium(1.5), 0.5), (PorousMedium(4.0), 0.5), (Stefan(0.6), 0.05), (Stefan(0.7), 0.01)])
def test_mass_is_the_inflow(pde, t):
    "d b / dt is the flux -k(u) u_x at the left end: initial and boundary data only."
    h = 1e-5 * t
    inflow = pde.diffusivity(pde.solution(t, 0.0)) * (pde.solution(t, 0.0) - pde.solution(t, h)) / h
    assert (pde.mass(t + h) - pde.mass(t - h)) / (2 * h) == pytest.approx(inflow, rel=1e-3)
    assert quad(lambda s: (pde.mass(s + 1e-7) - pde.mass(s)) / 1e-7, 1e-6, t)[0] == pytest.approx(pde.mass(t) - pde.mass(1e-6), rel=1e-2)


@pytest.mark.parametrize("pde, t, xs", [(HeatGPME(1.7), 0.4, [0.5, 2.0]), (PorousMedium(2.0), 0.6, [0.1, 0.5]), (Stefan(0.6), 0.05, [0.05, 0.2])])
def test_solutions_satisfy_the_differential_form(pde, t, xs):
    x, h = np.array(xs), 1e-4
    flux = lambda s: pde.diffusivity((pde.solution(t, s + h) + pde.solution(t, s)) / 2) * (pde.solution(t, s + h) - pde.solution(t, s)) / h
    ut = (pde.solution(t + h * t, x) - pde.solution(t - h * t, x)) / (2 * h * t)
    np.testing.assert_allclose(ut, (flux(x) - flux(x - h)) / h, rtol=1e-3, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.2, 0.9), st.floats(1e-3, 0.1))
def test_stefan_front(u_star, t):
    pde, d = Stefan(u_star), 1e-7
    front = pde.front(t)
    assert pde.solution(t, front * (1 - d)) == pytest.approx(u_star, abs=1e-4) and pde.solution(t, front * (1 + d)) == 0
    slope = (pde.solution(t, front * (1 - 2e-5)) - pde.solution(t, front * (1 - 1e-5))) / (1e-5 * front)
    assert u_star * front / (2 * t) == pytest.approx(slope, rel=1e-2)  # Rankine-Hugoniot: jump times speed = flux
    if u_star == 0.6:
        assert front == pytest.approx(0.23509 * np.sqrt(t / 0.05), rel=1e-4)


def test_stefan_constants_of_the_paper():
    pde = Stefan(0.6)
    assert pde.front(0.05) == pytest.approx(0.23509, abs=1e-5) and pde.mass(0.05) == pytest.approx(0.185946, abs=1e-6)
    x = np.linspace(0, 1, 201)
    assert conservation_error(pde.solution(0.05, x), trapezoid_weights(x), pde.mass(0.05)) == pytest.approx(1.45e-3, abs=2e-5)


def test_burgers_is_continuous_in_time_and_leaves():
    pde, x = BurgersRiemann(2.0), np.linspace(-1, 1, 4001)
    w = trapezoid_weights(x)
    assert w @ np.abs(pde.solution(0.4999, x) - pde.solution(0.5001, x)) < 1e-2
    assert pde.front(0.3) == 0 and pde.front(1.0) == 0.5 and pde.front(9.0) == 1 and pde.mass(9.0) == 4.0


# networks

SMALL = dict(hidden=8, heads=2, width=8, n_self=1, n_cross=2, dropout=0.0)


def test_neural_process_does_not_see_the_order_of_contexts():
    model = seeded(0, AttentiveNP, **SMALL).eval()
    rng = torch.Generator().manual_seed(0)
    x, u, q = torch.rand(2, 6, 2, generator=rng), torch.rand(2, 6, generator=rng), torch.rand(2, 4, 2, generator=rng)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    for a, b in ((model.latent_law(x, u), model.latent_law(x[:, order], u[:, order])),
                 ((model.attend(model.memory(x, u), q),), (model.attend(model.memory(x[:, order], u[:, order]), q),))):
        for p, r in zip(a, b):
            torch.testing.assert_close(p, r, atol=1e-5, rtol=1e-4)
    mean, std = model.decode(model.attend(model.memory(x, u), q), model.latent_law(x, u)[0], q)
    assert mean.shape == (2, 4) and (std > 1e-3).all()


def test_a_stack_is_its_copies():
    models = [seeded(s, AttentiveNP, **SMALL).eval() for s in (0, 1)]
    both = stack(models).eval()
    rng = torch.Generator().manual_seed(0)
    x, u, q = (torch.rand(2, 3, *s, generator=rng) for s in ((6, 2), (6,), (4, 2)))
    z = torch.rand(2, 3, 8, generator=rng)
    out = both.decode(both.attend(both.memory(x, u), q), z, q)[0]
    for i, m in enumerate(models):
        torch.testing.assert_close(m.decode(m.attend(m.memory(x[i], u[i]), q[i]), z[i], q[i])[0], out[i], atol=1e-5, rtol=1e-4)


def test_training_is_deterministic_and_finite():
    kw = dict(n_functions=20, targets=(5, 2), batch_size=4, n_steps=6, penalties=0.1, **SMALL)
    pde, x = Stefan(0.6), np.linspace(0, 1, 11)
    contexts = tuple(a[None] for a in sample_contexts(pde, 4, 4, np.random.default_rng(0), 2))
    alone = predict(train_neural_processes(Stefan, 0.55, 0.7, [3], **kw)[0], pde, contexts, 0.05, x, 2)
    again = predict(train_neural_processes(Stefan, 0.55, 0.7, [3], **kw)[0], pde, contexts, 0.05, x, 2)
    assert np.array_equal(alone, again) and alone[0].shape == (2, 1, 2, 11)
    for law, low, high in ((PorousMedium, 1, 6), (HeatGPME, 1, 5)):
        model, history = train_neural_processes(law, low, high, [3, 4], **{**kw, "penalties": [0.0, 1.0], "dropout": 0.1})
        assert history.loss.shape == (6, 2) and all(torch.isfinite(q).all() for q in model.parameters()) and not model.training


def test_soft_penalty_vanishes_on_solutions():
    t = torch.linspace(-0.5, 0.9, 7, dtype=torch.float64)
    points = torch.stack([t, torch.linspace(-0.9, 0.2, 7, dtype=torch.float64)], -1).requires_grad_()
    scale = (2.0, 1 / np.pi)  # heat: t in [0, 1], x in [0, 2 pi]
    time, x = (points[..., 0] + 1) / 2, (points[..., 1] + 1) * np.pi
    law = HeatGPME(1.3)
    exact = torch.exp(-1.3 * time) * torch.sin(x)
    assert soft_constraint_loss(exact, points, law.diffusivity, scale).max() < 1e-20
    wrong = soft_constraint_loss(torch.exp(-time) * torch.sin(x), points, law.diffusivity, scale)
    np.testing.assert_allclose(wrong.detach(), ((0.3 * torch.exp(-time) * torch.sin(x)) ** 2).detach(), rtol=1e-8)
    pme = PorousMedium(2.0)
    points = torch.tensor([[0.6, -0.8], [0.2, -0.4]], dtype=torch.float64, requires_grad=True)
    time, x = (points[..., 0] + 1) / 2, (points[..., 1] + 1) / 2
    assert soft_constraint_loss((2.0 * (time - x)) ** 0.5, points, pme.diffusivity, (2.0, 2.0)).max() < 1e-20


def test_contexts_are_stratified_and_on_the_solution():
    pde = Stefan(np.array([[0.56], [0.69]]))
    t, x, u = sample_contexts(pde, 10, 3, np.random.default_rng(0), 2)
    assert t.shape == x.shape == u.shape == (2, 30) and np.array_equal(u, pde.solution(t, x))
    assert np.array_equal(np.floor(t[:, ::3] * 100 + 1e-9), np.tile(np.arange(10), (2, 1)))
    scaled = scale_points(pde, t, x)
    assert scaled.shape == (2, 30, 2) and scaled.abs().max() <= 1


def test_loglik_is_the_normal_density():
    rng = np.random.default_rng(0)
    u, m, v = rng.standard_normal(5), rng.standard_normal(5), rng.random(5) + 0.1
    expected = torch.distributions.Normal(torch.tensor(m), torch.tensor(v) ** 0.5).log_prob(torch.tensor(u)).mean()
    assert gaussian_loglik(u, m, v) == pytest.approx(float(expected))
    assert np.isfinite(gaussian_loglik(u, u, 0 * v))


# bad input

ONE = np.ones(4)


@pytest.mark.parametrize("call, message", [
    (lambda: trapezoid_weights([0.0, 2.0, 1.0]), "x: .*increasing"),
    (lambda: trapezoid_weights(np.ones((2, 2))), "x: .*grid"),
    (lambda: condition_linear(ONE, ONE, np.ones(3), 1.0), "G: needs shape"),
    (lambda: condition_linear(ONE, np.ones(3), ONE, 1.0), "cov: needs the shape"),
    (lambda: condition_linear(np.ones((2, 4)), np.ones((2, 4)), ONE, np.ones(3)), "b: .*batch shape"),
    (lambda: condition_linear(ONE, ONE, np.ones((2, 4)), np.ones(3)), "b: one|b: needs one"),
    (lambda: condition_linear(ONE, ONE, ONE, 1.0, -1.0), "noise_var: .*>= 0"),
    (lambda: condition_linear(ONE, -ONE, ONE, 1.0), "cov: .*variances >= 0"),
    (lambda: condition_linear(ONE * np.nan, ONE, ONE, 1.0), "mean: .*NaN"),
    (lambda: condition_linear(ONE, 0 * ONE, ONE, 1.0), "unreachable"),
    (lambda: condition_linear(ONE, np.triu(np.ones((4, 4))), ONE, 1.0), "cov: .*symmetric"),
    (lambda: condition_linear(ONE, -np.eye(4), ONE, 1.0), "cov: not positive"),
    (lambda: condition_linear(ONE, np.eye(4) - np.ones((4, 4)) * 0.9, ONE, 1.0), "cov: not positive"),
    (lambda: condition_linear(ONE, ONE, np.ones((2, 4)), np.ones(2)), "singular"),
    (lambda: condition_linear(ONE, ONE, ONE, 1.0, return_cov="both"), "return_cov"),
    (lambda: mixture_moments(np.ones((2, 3)), np.ones(3)), "variances: needs the shape"),
    (lambda: second_difference_constraint(np.ones(2)), "var: "),
    (lambda: second_difference_constraint(np.ones(5), 1.5), "alpha"),
    (lambda: project_monotone(ONE, np.ones((4, 4))), "cov: not positive definite"),
    (lambda: project_nonneg(ONE, np.ones(3)), "mean, cov"),
    (lambda: constrained_loglik(*(torch.ones(4),) * 4, torch.tensor(1.0), 0.0), "noise_var"),
    (lambda: Stefan(1.0), "u_star"), (lambda: Stefan(np.array([[0.6], [np.nan]])), "u_star"), (lambda: PorousMedium(0.5), "m: "),
    (lambda: HeatGPME(0.0), "k: "), (lambda: Advection(-1.0), "a: "), (lambda: BurgersRiemann(0.0), "a: "),
    (lambda: Stefan(0.6).solution(0.0, 0.1), "t: .*> 0"), (lambda: PorousMedium(2.0).solution(-0.1, 0.1), "t: "),
    (lambda: PorousMedium(2.0).mass(1.5), "t: .*left"), (lambda: Stefan(0.6).mass(2.0), "t: .*inside the domain"),
    (lambda: Stefan(np.array([[0.4], [0.6]])).mass(np.array([0.1, 0.9])), "t: .*inside the domain"),
    (lambda: condition_linear(ONE, np.array([[1.0, 3, 0, 0], [3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), ONE, 1.0), "cov: not positive"),
    (lambda: condition_linear(torch.ones(2), torch.tensor([[1.0, 3], [3, 1]]), torch.ones(2), torch.tensor(1.0)), "cov: not positive"),
    (lambda: project_hard(ONE, np.ones((2, 4)), np.array([1.0, 2.0])), "no vector satisfies"),
    (lambda: project_hard(ONE, 0 * ONE, 1.0), "no vector satisfies"),
    (lambda: sample_conditioned(ONE, ONE, ONE, 1.0, 5, rng=np.random.default_rng(0), noise_var=-1), "noise_var"),
    (lambda: sample_conditioned(ONE, -ONE, ONE, 1.0, 5, rng=np.random.default_rng(0)), "var: "),
    (lambda: sample_conditioned(ONE, ONE, np.ones((2, 4)), np.ones(2), 5, rng=np.random.default_rng(0)), "g: needs one row"),
    (lambda: train_neural_processes(Stefan, 0.55, 0.7, [0], penalties=[1.0, 2.0]), "penalties: "),
    (lambda: train_neural_processes(Stefan, 0.55, 0.7, []), "seeds: "),
    (lambda: conservation_error(ONE, np.ones(3), 1.0), "G: needs shape"),
    (lambda: conservation_error(ONE, ONE, np.ones(3)), "b: needs a shape"),
    (lambda: gaussian_loglik(ONE, ONE, -ONE), "var: "), (lambda: gaussian_loglik(np.ones(3), ONE, ONE), "truth: "),
    (lambda: sample_contexts(Stefan(0.6), 0, 3, np.random.default_rng(0)), "nt, nx"),
    (lambda: shock_position(np.ones(3), np.linspace(0, 1, 4)), "samples"),
    (lambda: sample_conditioned(ONE, ONE, ONE, 1.0, 0, rng=np.random.default_rng(0)), "n_samples"),
    (lambda: AttentiveNP(hidden=10, heads=4), "heads"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
