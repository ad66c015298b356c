"""Learned proximal networks: exactness for any weights, priors of hand-made potentials, losses against quadrature."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from prox_repro.core.linops import CompressedSensing, GaussianBlur, Inpainting
from prox_repro.core.nets import ICNN, ConvexPotential, ConvICNN, seeded, stack, unstack
from prox_repro.core.prox import soft_threshold
from prox_repro.inverse.lpn import LearnedProximalNetwork, Stage, exact_denoisers_1d, gamma_schedule, pnp_admm, pnp_pgd
from prox_repro.inverse.lpn import posterior_1d, proximal_matching_loss, train_lpn, train_lpn_population_1d


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(seed=0, shape=(3, 2), hidden=(8, 6), **options):
    return LearnedProximalNetwork(seeded(seed, ICNN, shape, hidden, **options)).double()


class HandMade(ConvexPotential):
    "A potential given by a function."

    def __init__(self, n, function):
        super().__init__()
        self.event_shape, self.function = (n,), function

    def potential(self, y):
        return self.function(y)


def laplace(x):
    return -x.abs()


# 1 and 2: monotone map, convex potential
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.floats(1e-3, 0.5), beta=st.floats(1, 30))
def test_map_is_strongly_monotone_and_potential_convex(seed, alpha, beta):
    net = network(seed, strong_convexity=alpha, beta=beta)
    a, b = random(10, 3, 2, seed=seed), 2 * random(10, 3, 2, seed=seed + 1)
    with torch.no_grad():
        gap = net.inner(net(a) - net(b), a - b) - 2 * alpha * net.inner(a - b, a - b)
        assert (gap >= -1e-9).all()
        assert (2 * net.potential((a + b) / 2) <= net.potential(a) + net.potential(b) + 1e-9).all()


@pytest.mark.parametrize("build", [lambda: ICNN((4, 4), (8, 8)), lambda: ConvICNN((4, 4), 3)])
def test_jacobian_is_symmetric_positive_and_right(build):
    nets = stack([LearnedProximalNetwork(seeded(s, build)).double() for s in range(2)])
    y = random(2, 3, 4, 4)
    jac = nets.jacobian(y)
    assert jac.shape == (2, 3, 16, 16) and (jac - jac.mT).abs().max() < 1e-12
    assert torch.linalg.eigvalsh(jac).min() >= 0.02 - 1e-9
    h, direction = 1e-5, random(2, 3, 4, 4, seed=1)
    with torch.no_grad():
        slope = (nets(y + h * direction) - nets(y - h * direction)) / (2 * h)
    assert torch.allclose((jac @ direction.flatten(-2)[..., None])[..., 0], slope.flatten(-2), atol=1e-6)


# 3: weights stay nonnegative in training
@pytest.mark.parametrize("build", [lambda: ICNN((4, 4), (6, 5)), lambda: ConvICNN((4, 4), 3)])
def test_training_keeps_the_network_proximal_and_copies_apart(build):
    schedule = [Stage("l2", 3, 0.05), Stage("l1", 3, 0.05, 0.01), Stage("pm", 4, 0.05, 0.01, gamma=5.0)]
    sample = lambda g: torch.rand(6, 4, 4, generator=g, dtype=torch.float64)
    make = lambda s: LearnedProximalNetwork(seeded(s, build)).double()
    nets = stack([make(0), make(1)])
    history = train_lpn(nets, sample, 0.1, schedule, seed=[5, 6])
    assert history.loss.shape == (10, 2)
    assert all((w >= 0).all() for w in nets.convex_potential.nonnegative())
    alone = make(1)
    assert np.allclose(train_lpn(alone, sample, 0.1, schedule, seed=6).loss, history.loss[:, 1], rtol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(alone.parameters(), unstack(nets)[1].parameters()))


# 4: gradient of the potential
def test_map_is_the_gradient_of_the_potential():
    net, y, h = network(3), random(4, 3, 2), 1e-5
    for i in range(6):
        e = torch.eye(6, dtype=torch.float64)[i].reshape(3, 2)
        with torch.no_grad():
            slope = (net.potential(y + h * e) - net.potential(y - h * e)) / (2 * h)
            assert torch.allclose(net(y).flatten(1)[:, i], slope, atol=1e-6)


# 5 and 6: hand-made potentials
def test_identity_has_no_prior():
    net = LearnedProximalNetwork(HandMade(4, lambda y: 0.5 * y.square().sum(-1)))
    x = random(5, 4)
    assert torch.allclose(net(x), x) and torch.allclose(net.prior(x).value, torch.zeros(5, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("reg", [0.3, 1.0])
def test_soft_threshold_has_the_l1_prior(reg):
    net = LearnedProximalNetwork(HandMade(4, lambda y: 0.5 * (y.abs() - reg).clamp(min=0).square().sum(-1)))
    x = 2 * random(6, 4)
    assert torch.allclose(net(x), soft_threshold(x, reg))
    assert torch.allclose(net.prior(x).value, reg * x.abs().sum(-1), atol=1e-7)


def test_quadratic_potential_has_the_quadratic_prior():
    c = 0.4  # f(y) = c y is the prox of (1 / c - 1) x^2 / 2
    net = LearnedProximalNetwork(HandMade(1, lambda y: 0.5 * c * y.square().sum(-1)))
    x = random(7, 1)
    for method in ("lbfgs", "bisection"):
        assert torch.allclose(net.prior(x, method).value, 0.5 * (1 / c - 1) * x[:, 0] ** 2, atol=1e-10)


# 7: Fenchel-Young, and what the prior means
def test_fenchel_young_with_equality_at_the_inverse_image():
    net, x = network(1, strong_convexity=0.1), 0.3 * random(5, 3, 2)
    found = net.prior(x, tol=1e-7)
    conjugate = found.value + 0.5 * net.inner(x, x)
    with torch.no_grad():
        assert torch.allclose(conjugate + net.potential(found.y), net.inner(x, found.y), atol=1e-9)
        for seed in range(20):
            y = 3 * random(5, 3, 2, seed=seed)
            assert (conjugate + net.potential(y) >= net.inner(x, y) - 1e-12).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.5, 3))
def test_brute_force_prox_of_the_prior_is_the_network(seed, scale):
    net = network(seed, 1, (6, 6), strong_convexity=0.05)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(scale)
    y = torch.linspace(-2, 2, 17, dtype=torch.float64)
    out = net(y[:, None])[:, 0].detach()
    grid = torch.linspace(float(out.min()) - 0.2, float(out.max()) + 0.2, 1001, dtype=torch.float64)
    values = net.prior(grid[:, None], "bisection").value
    best = grid[(0.5 * (grid - y[:, None]) ** 2 + values).argmin(1)]
    assert (best - out).abs().max() < 2 * (grid[1] - grid[0])
    assert values.diff(n=2).min() >= -((grid[1] - grid[0]) ** 2) * (1 + 1e-6) - 1e-11  # weakly convex with modulus 1


def test_prior_agrees_between_methods_copies_and_the_shortcut():
    nets = stack([network(s, 1, (6, 6)) for s in range(3)])
    y = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None].expand(3, 9, 1)
    x, value = nets.prox_and_prior(y)
    by_bisection, by_lbfgs = nets.prior(x, "bisection"), nets.prior(x, tol=1e-8)
    assert torch.allclose(by_bisection.value, value, atol=1e-10) and torch.allclose(by_lbfgs.value, value, atol=1e-10)
    assert torch.allclose(by_bisection.y, y, atol=1e-9) and by_lbfgs.residual.max() <= 1e-8
    one = unstack(nets)[1].prior(x[1], "bisection")
    assert torch.allclose(one.value, by_bisection.value[1], atol=1e-12)


# 8: the loss
@settings(max_examples=50, deadline=None)
@given(gamma=st.floats(0.01, 100), seed=st.integers(0, 1000))
def test_matching_loss_lies_in_the_unit_interval(gamma, seed):
    a, b = random(4, 3, 2, seed=seed), random(4, 3, 2, seed=seed + 1)
    assert 0 <= proximal_matching_loss(a, b, gamma) <= 1 and proximal_matching_loss(a, a, gamma) == 0
    assert proximal_matching_loss(a, b, gamma) > 0
    squares = (a - b).square().flatten(1).sum(1)
    assert torch.allclose(proximal_matching_loss(a, b, gamma), (1 - torch.exp(-squares / gamma**2)).mean(), atol=1e-12)
    wide = 1e5
    assert torch.allclose(wide**2 * proximal_matching_loss(a, b, wide), squares.mean(), rtol=1e-6)
    with_copies = proximal_matching_loss(a[None], b[None], gamma, batch_axis=1)
    assert torch.allclose(with_copies, proximal_matching_loss(a, b, gamma)[None])


# 9: constants that minimise it are modes of a kernel density estimate
def test_best_constant_is_the_mode_of_a_kernel_density_estimate():
    gamma, samples = 0.6, torch.cat([random(60, seed=1) * 0.3 - 1, random(90, seed=2) * 0.4 + 1])
    u = torch.linspace(-3, 3, 1201, dtype=torch.float64)
    loss = torch.stack([proximal_matching_loss(v.expand(150, 1), samples[:, None], gamma) for v in u])
    bandwidth = gamma / 2**0.5
    density = torch.exp(-0.5 * ((u[:, None] - samples) / bandwidth).square()).sum(1)
    assert loss.argmin() == density.argmax()


# references on the line
def test_exact_denoisers_of_a_gaussian_prior_coincide():
    s, sigma, y = 0.8, 0.5, torch.linspace(-2, 2, 9, dtype=torch.float64)
    exact = exact_denoisers_1d(lambda x: -x.square() / (2 * s**2), sigma, y, gammas=[0.1, 1.0])
    truth = s**2 / (s**2 + sigma**2) * y
    for answer in (exact["mean"], exact["median"], exact["map"], *exact["gamma"].values()):
        assert torch.allclose(answer, truth, atol=1e-4)


def test_exact_denoisers_of_a_laplace_prior():
    y = torch.linspace(-3, 3, 25, dtype=torch.float64)
    exact = exact_denoisers_1d(laplace, 1.0, y, gammas=[0.4, 0.2, 0.1])
    assert torch.allclose(exact["map"], soft_threshold(y, 1.0), atol=2e-4)
    h = 1e-3  # Tweedie: mean = y + d/dy log p(y)
    nodes = torch.linspace(-12, 12, 24001, dtype=torch.float64)
    log_p = lambda y: torch.logsumexp(laplace(nodes) - (y[:, None] - nodes).square() / 2, 1)
    assert torch.allclose(exact["mean"], y + (log_p(y + h) - log_p(y - h)) / (2 * h), atol=1e-3)
    weights, evidence = posterior_1d(laplace, 1.0, y, nodes)
    assert torch.allclose(weights.sum(1), torch.ones(25, dtype=torch.float64)) and abs(evidence.sum() - 1) < 1e-12
    below = (weights * (nodes <= exact["median"][:, None])).sum(1)
    assert (below - 0.5).abs().max() < 0.01
    distance = [(f - soft_threshold(y, 1.0)).square().mean() for f in exact["gamma"].values()]
    assert distance[0] > distance[1] > distance[2]  # narrower is nearer to the mode


def test_population_training_reaches_the_exact_minimiser():
    nets = stack([LearnedProximalNetwork(seeded(s, ICNN, 1, (16, 16))) for s in (7, 8)])
    schedule = [Stage("l1", 150, 1e-2), Stage("pm", 200, 1e-2, 1e-3, gamma=0.5)]
    history = train_lpn_population_1d(nets, laplace, 1.0, schedule, torch.linspace(-5, 5, 81), torch.linspace(-8, 8, 241))
    y = torch.linspace(-2, 2, 21)
    with torch.no_grad():
        error = nets(y[:, None])[..., 0] - exact_denoisers_1d(laplace, 1.0, y, gammas=[0.5])["gamma"][0.5]
    assert history.loss.shape == (350, 2) and error.square().mean().sqrt() < 0.03


def test_schedule_halves_down_to_the_smallest_width():
    widths = gamma_schedule(64)
    assert np.allclose(widths, 8 * np.array([0.64, 0.32, 0.16, 0.08]))


# plug and play
OPERATORS = [CompressedSensing((4, 4), 8, seed=0), GaussianBlur((4, 4), 0.8),
             Inpainting(torch.arange(16).reshape(4, 4) % 3 > 0)]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda op: type(op).__name__)
def test_gradient_method_descends_to_a_critical_point(operator):
    nets = stack([network(s, (4, 4), (12, 12), strong_convexity=0.1) for s in range(2)])
    y = operator.A(random(3, 4, 4))
    x0 = operator.A_adjoint(y).expand(2, 3, 4, 4)
    result = pnp_pgd(nets, operator, y, x0=x0, max_iter=400)
    assert result.x.shape == (2, 3, 4, 4) and result.objective.shape == (400, 2, 3)
    assert (result.objective.diff(dim=0) <= 1e-10).all()
    assert (result.step_norms[-1] < 1e-6 * result.step_norms[0]).all()
    eta = 0.99 / operator.norm() ** 2
    gradient = operator.A_adjoint(operator.A(result.x) - y)
    with torch.no_grad():
        assert torch.allclose(nets(result.x - eta * gradient), result.x, atol=1e-5)
    last = 0.5 * eta * (operator.A(result.x) - y).flatten(2).square().sum(-1) + nets.prior(result.x).value
    assert torch.allclose(last, result.objective[-1], atol=1e-7)  # the recorded objective is eta h + R


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda op: type(op).__name__)
def test_admm_solves_the_gaussian_case_in_closed_form(operator):
    c = 0.5  # prox of x^2 / 2, so with penalty rho the objective is h + rho ||x||^2 / 2
    y, rho = operator.A(random(3, 4, 4)), 0.7
    found = pnp_admm(lambda v: c * v, operator, y, rho, max_iter=300).x
    matrix = operator.dense()
    exact = torch.linalg.solve(matrix.T @ matrix + rho * torch.eye(16, dtype=torch.float64), matrix.T @ y.flatten(1).T).T
    assert torch.allclose(found.flatten(1), exact, atol=1e-8)


def test_a_plain_denoiser_has_no_objective():
    operator = OPERATORS[0]
    result = pnp_pgd(lambda v: 0.9 * v, operator, operator.A(random(2, 4, 4)), max_iter=5)
    assert result.objective is None and result.step_norms.shape == (5, 2)


# bad input
def sample(generator):
    return torch.rand(2, 3, 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("call, error, words", [
    (lambda: proximal_matching_loss(torch.zeros(1, 1), torch.zeros(1, 1), 0.0), ValueError, "gamma must be positive"),
    (lambda: exact_denoisers_1d(laplace, 1.0, torch.zeros(1), gammas=[-1.0]), ValueError, "gammas must be positive"),
    (lambda: exact_denoisers_1d(laplace, 0.0, torch.zeros(1)), ValueError, "sigma must be positive"),
    (lambda: gamma_schedule(64, gamma_min=0.0), ValueError, "gamma_min"),
    (lambda: train_lpn(network(), sample, -0.1, [Stage("l1", 1, 0.1)], seed=0), ValueError, "sigma must be positive"),
    (lambda: train_lpn(network(), sample, 0.1, [], seed=0), ValueError, "schedule is empty"),
    (lambda: train_lpn(network(), sample, 0.1, [Stage("huber", 1, 0.1)], seed=0), ValueError, "loss of a Stage"),
    (lambda: train_lpn(network(), sample, 0.1, [Stage("pm", 1, 0.1)], seed=0), ValueError, "gamma of a 'pm' Stage"),
    (lambda: train_lpn(network(), sample, 0.1, [Stage("pm", 1, 0.1, gamma=1e-4)], seed=0), ValueError, "gamma is too small"),
    (lambda: LearnedProximalNetwork(ConvICNN((8, 8), 2))(torch.zeros(2, 8, 12)), ValueError, "accepted is"),
    (lambda: network()(torch.zeros(2, 6)), ValueError, "accepted is"),
    (lambda: network().prior(torch.full((1, 3, 2), float("nan"))), ValueError, "NaN"),
    (lambda: network().prior(random(1, 3, 2), "newton"), ValueError, "method must be one of"),
    (lambda: network().prior(random(1, 3, 2), "bisection"), ValueError, "one entry"),
    (lambda: network().prior(random(1, 3, 2), tol=0.0), ValueError, "tol"),
    (lambda: network().prior(100 * random(1, 3, 2), max_iter=1), RuntimeError, "residual .* outside the range"),
    (lambda: pnp_pgd(lambda v: v, OPERATORS[0], torch.zeros(1, 8), step_size=1.0), ValueError, r"\(0, 1\)"),
    (lambda: pnp_pgd(lambda v: v, OPERATORS[0], torch.zeros(1, 8), step_size=-0.1), ValueError, "step_size must lie"),
])
def test_bad_input_names_the_argument(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_range_of_a_network_without_strong_convexity_is_bounded():
    net = LearnedProximalNetwork(HandMade(1, lambda y: torch.nn.functional.softplus(y).sum(-1)))  # f maps to (0, 1)
    assert net.prior(torch.tensor([[0.25]], dtype=torch.float64)).residual < 1e-6
    with pytest.raises(RuntimeError, match="outside the range"):
        net.prior(torch.tensor([[1.5]], dtype=torch.float64))


def test_the_step_guard_can_be_lifted():
    operator = OPERATORS[0]
    y = torch.zeros(1, 8, dtype=torch.float64)
    assert pnp_pgd(lambda v: 0 * v, operator, y, step_size=1.5, safe=False, max_iter=2).x.abs().max() == 0
