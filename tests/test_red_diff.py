"""RED-diff: identities, closed forms for Gaussians, limits and invariances of the method, exact mixtures, samplers, bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from prox_repro.core.linops import Downsampling, GaussianBlur, Inpainting, MatrixOperator
from prox_repro.core.nets import seeded
from prox_repro.inverse.red_diff import (
    WEIGHTS, GaussianMixture, PreconditionedEps, ResidualMLP, SmallUNet, VPSchedule, data_gradient, ddim_sample, ddim_step, ddrm,
    diffpir, dps, gaussian_fixed_point, gaussian_mixture_eps, pigdm, predict_x0, red_diff, reddiff_gradient, snr_weight,
    train_eps_model,
)

SCHEDULE = VPSchedule()
SHORT = VPSchedule(50, (1e-3, 0.3))
MIXTURE = GaussianMixture([[2.0, 2.0], [2.0, -2.0], [-2.0, 1.0]], [0.15, 0.3, 0.2], [0.5, 0.3, 0.2])
seeds = st.integers(0, 10_000)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def correlated(seed=0, n=3, K=2):
    root = random(K, n, n, seed=seed)
    return GaussianMixture(random(K, n, seed=seed + 1), root @ root.mT + 0.1 * torch.eye(n), [0.3, 0.7])


def gaussian_eps(mean, s2, schedule):
    return gaussian_mixture_eps(GaussianMixture(torch.as_tensor(mean, dtype=torch.float64)[None], s2), schedule)


# the diffusion
@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "cosine"])
def test_schedule_preserves_variance_and_loses_the_signal(kind):
    schedule = VPSchedule(kind=kind)
    t = torch.arange(schedule.T)
    assert torch.allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, torch.ones(1000, dtype=torch.float64), atol=1e-14)
    assert torch.allclose(schedule.alpha(t) ** 2, (1 - schedule.betas()).cumprod(0), rtol=1e-10)
    assert (schedule.noise_level(t).diff() > 0).all() and torch.allclose(schedule.snr(t), schedule.alpha(t) / schedule.sigma(t))
    assert schedule.alpha(0) > 0.99 and schedule.alpha(999) < 0.1
    assert schedule.scales(7) == (float(schedule.alpha(7)), float(schedule.sigma(7))) and schedule.scales(-1) == (1.0, 0.0)


@given(T=st.integers(2, 1000), share=st.floats(0, 1))
def test_chosen_steps_are_descending_distinct_and_spread(T, share):
    n = 1 + int(share * (T - 1))
    ts = VPSchedule(T).steps(n)
    assert len(ts) == n and ts[0] == T - 1 and ts[-1] >= 0
    if n > 1:
        gaps = -ts.diff()
        assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1
    if n == T:
        assert torch.equal(ts, torch.arange(T - 1, -1, -1))


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(0, 999))
def test_score_is_the_gradient_of_the_log_density(seed, t):
    mixture, x = correlated(seed), 2 * random(4, 3, seed=seed + 2)
    alpha, sigma = SCHEDULE.scales(t)
    x.requires_grad_()
    slope, = torch.autograd.grad(mixture.log_prob(x, alpha, sigma).sum(), x)
    eps = gaussian_mixture_eps(mixture, SCHEDULE)(x.detach(), torch.full((4,), t))
    assert torch.allclose(eps, -sigma * slope, rtol=1e-6, atol=1e-8)


def test_score_is_the_finite_difference_of_the_log_density():
    mixture, x, h = correlated(5), random(4, 3, seed=6), 1e-6
    for axis, e in enumerate(torch.eye(3, dtype=torch.float64)):
        slope = (mixture.log_prob(x + h * e, 0.8, 0.6) - mixture.log_prob(x - h * e, 0.8, 0.6)) / (2 * h)
        assert torch.allclose(mixture.score(x, 0.8, 0.6)[:, axis], slope, atol=1e-6)


def test_density_integrates_to_one_and_samples_have_its_moments():
    line = torch.linspace(-8, 8, 321, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    assert abs(MIXTURE.log_prob(grid).exp().sum() * 0.05**2 - 1) < 1e-6
    mixture = correlated(3)
    x = mixture.sample(40_000, generator())
    mean = mixture.weights @ mixture.means
    spread = (mixture.weights[:, None, None] * (mixture.covs + (mixture.means - mean)[:, :, None] * (mixture.means - mean)[:, None])).sum(0)
    assert torch.allclose(x.mean(0), mean, atol=0.05) and torch.allclose(x.T.cov(), spread, rtol=0.05, atol=0.1)


@settings(max_examples=20, deadline=None)
@given(seeds, st.floats(0.05, 3))
def test_posterior_is_bayes_rule(seed, noise):
    mixture, H, y = correlated(seed), random(2, 3, seed=seed + 3), random(2, seed=seed + 4)
    x = random(6, 3, seed=seed + 5)
    log = mixture.log_prob(x) - 0.5 * ((x @ H.T - y) / noise).square().sum(1) - mixture.posterior(H, y, noise).log_prob(x)
    assert torch.allclose(log, log[0].expand(6), atol=1e-6 * (1 + float(log.abs().max())))


def test_a_mixture_of_one_is_the_gaussian_closed_form():
    x, t = random(5, 2), torch.tensor([0, 10, 300, 700, 999])
    mean, s2 = torch.tensor([0.5, -1.0], dtype=torch.float64), 0.4
    alpha, sigma = SCHEDULE.alpha(t)[:, None], SCHEDULE.sigma(t)[:, None]
    expected = sigma * (x - alpha * mean) / (alpha**2 * s2 + sigma**2)
    assert torch.allclose(gaussian_eps(mean, s2, SCHEDULE)(x, t), expected, atol=1e-12)


def test_deterministic_sampler_transports_a_gaussian():
    mean, s2 = torch.tensor([1.0], dtype=torch.float64), 0.25
    for eta in (0.0, 1.0):
        x = ddim_sample(gaussian_eps(mean, s2, SCHEDULE), SCHEDULE, (8000, 1), steps=250, eta=eta, generator=generator(1), dtype=torch.float64)
        assert abs(x.mean() - 1) < 0.03 and abs(x.std() - 0.5) < 0.03


def test_sampler_step_keeps_the_marginal():
    # x0 and eps independent and exact: variance alpha_s^2 var(x0) + sigma_s^2 for every eta
    x0, eps = random(200_000, 1), random(200_000, 1, seed=1)
    for eta in (0.0, 0.5, 1.0):
        x = ddim_step(x0, eps, SCHEDULE, 600, 400, eta, generator(2))
        assert abs(x.var() - 1) < 0.02
    assert torch.equal(ddim_step(x0, eps, SCHEDULE, 600, -1, 1.0), x0)


# the gradient
@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(0, 999), st.sampled_from(sorted(WEIGHTS)))
def test_residual_is_denoising_in_image_units(seed, t, weight):
    mu, eps, ts = random(3, 2, seed=seed), random(3, 2, seed=seed + 1), torch.full((3,), t)
    model = gaussian_mixture_eps(MIXTURE, SCHEDULE)
    gradient, _ = reddiff_gradient(mu, ts, eps, model, SCHEDULE, weight=weight)
    alpha, sigma = SCHEDULE.scales(t)
    x_t = alpha * mu + sigma * eps
    x0 = predict_x0(x_t, model(x_t, ts), alpha, sigma)
    assert torch.allclose(gradient, snr_weight(weight, SCHEDULE, t) * alpha / sigma * (mu - x0), rtol=1e-6, atol=1e-8)
    if weight == "linear":
        assert torch.allclose(gradient, mu - x0, rtol=1e-6, atol=1e-7)  # RED


def test_weights():
    t = torch.arange(1000)
    u = SCHEDULE.sigma(t) / SCHEDULE.alpha(t)
    assert torch.equal(snr_weight("const", SCHEDULE, t), torch.ones(1000, dtype=torch.float64))
    for name, f in {"linear": lambda u: u, "sqrt": np.sqrt, "square": np.square, "log": np.log1p, "power2over3": np.cbrt,
                    "trunc_linear": lambda u: np.minimum(u, 1)}.items():
        expected = torch.as_tensor(f(u.numpy())) ** (2 if name == "power2over3" else 1)
        assert torch.allclose(snr_weight(name, SCHEDULE, t), expected, rtol=1e-9)


def test_gradient_is_that_of_the_blurred_log_prior():
    # with pairs of opposite noises the mean of eps is zero, so the mean residual is an exact derivative
    half = random(50, 2, seed=3)
    eps, t, h = torch.cat([half, -half]), 250, 1e-5
    alpha, sigma = SCHEDULE.scales(t)
    value = lambda mu: -MIXTURE.log_prob(alpha * mu + sigma * eps, alpha, sigma).mean()
    mu = torch.tensor([[0.7, -0.4]], dtype=torch.float64)
    model = gaussian_mixture_eps(MIXTURE, SCHEDULE)
    gradient, _ = reddiff_gradient(mu.expand(100, 2), torch.full((100,), t), eps, model, SCHEDULE, weight="const")
    for axis, e in enumerate(torch.eye(2, dtype=torch.float64)):
        slope = (value(mu + h * e) - value(mu - h * e)) / (2 * h)
        assert abs(alpha / sigma * gradient.mean(0)[axis] - slope) < 1e-7


@pytest.mark.parametrize("t", [50, 300, 800])
def test_gaussian_gradients_in_both_parameters(t):
    n, s2, width, draws = 2, 0.4, 0.3, 40_000
    mean, eps = torch.tensor([0.5, -0.5], dtype=torch.float64), random(40_000, 2, seed=t)
    mu = torch.tensor([1.0, 0.0], dtype=torch.float64)
    alpha, sigma = SCHEDULE.scales(t)
    for dispersion in (0.0, width):
        found = reddiff_gradient(mu.expand(draws, n), torch.full((draws,), t), eps, gaussian_eps(mean, s2, SCHEDULE), SCHEDULE,
                                 weight="const", sigma=dispersion)
        error = found[0].std(0) / math.sqrt(draws)
        assert ((found[0].mean(0) - sigma * alpha * (mu - mean) / (alpha**2 * s2 + sigma**2)).abs() <= 4 * error).all()
        tau2 = alpha**2 * dispersion**2 + sigma**2  # derivative of KL(q_t || p_t) in sigma, times sigma_t / alpha_t
        slope = n * alpha * dispersion * sigma * (1 / (alpha**2 * s2 + sigma**2) - 1 / tau2)
        assert abs(found[1].mean() - slope) <= 4 * found[1].std() / math.sqrt(draws) + 1e-12


def test_loss_by_automatic_differentiation_and_no_gradient_in_the_model():
    net = PreconditionedEps(ResidualMLP((4,), 8, 1), SHORT, 0.0, 1.0).double()
    operator, y, lam, seen = MatrixOperator(random(3, 4)), random(2, 3, seed=1), 0.7, []
    start, t = random(2, 4, seed=2), 20
    red_diff(y, operator, net, SHORT, lam=lam, steps=1, order=[t], init=start, generator=generator(4), lr=1.0, optimizer=torch.optim.SGD,
             callback=lambda i, mu: seen.append(mu.clone()))
    mu = start.clone().requires_grad_()
    eps = torch.randn(1, 2, 4, generator=generator(4), dtype=torch.float64)[0]
    alpha, sigma = SHORT.scales(t)
    with torch.no_grad():
        residual = net(alpha * mu + sigma * eps, torch.full((2,), t)) - eps
    loss = 0.5 * (operator.A(mu) - y).square().mean(1) + lam * sigma / alpha * (residual * mu).mean(1)
    loss.sum().backward()
    assert torch.allclose(start - seen[0], mu.grad, atol=1e-12)
    assert all(q.grad is None for q in net.parameters())


@settings(max_examples=10, deadline=None)
@given(seeds, st.integers(2, 6))
def test_parallel_gradient_is_the_mean_of_single_ones(seed, k):
    model, mu, order, after = gaussian_mixture_eps(MIXTURE, SHORT), random(3, 2, seed=seed), torch.arange(k) * 7, []
    red_diff(mu, MatrixOperator(torch.eye(2, dtype=torch.float64)), model, SHORT, lam=1.0, steps=k, order=order, n_parallel=k, init=mu,
             data_weight=0.0, lr=1.0, optimizer=torch.optim.SGD, generator=generator(seed), callback=lambda i, x: after.append(x.clone()))
    eps = torch.randn(k, 3, 2, generator=generator(seed), dtype=torch.float64)
    single = [reddiff_gradient(mu, torch.full((3,), int(t)), e, model, SHORT)[0] / 2 for t, e in zip(order, eps)]
    assert torch.allclose(mu - after[0], torch.stack(single).mean(0), atol=1e-10)


# the algorithm
def test_stationary_point_for_a_gaussian_prior():
    H, y, mean, lam = random(4, 6), random(1, 4, seed=1), random(6, seed=2), 2.0
    for weight in ("linear", "const"):
        path, model = [], gaussian_eps(mean, 0.5, SHORT)
        for lr in (0.5, 0.5, 0.5, 0.5, 0.05):
            start, path = path[-1] if path else "pinv", []
            red_diff(y.expand(16, 4), MatrixOperator(H), model, SHORT, lam=lam, weight=weight, steps=50, n_parallel=50, lr=lr, init=start,
                     optimizer=torch.optim.SGD, generator=generator(5), callback=lambda i, mu: path.append(mu.clone()))
        exact = gaussian_fixed_point(H, y, mean, 0.5, lam, weight, SHORT)[0]
        assert (torch.stack(path[10:]).mean((0, 1)) - exact).norm() < 0.02 * exact.norm()


def test_learned_dispersion_balances_data_and_prior():
    H, mean, s2, lam = random(4, 6), torch.zeros(6), 0.5, 60.0
    t = torch.arange(50)
    alpha, sigma = SHORT.alpha(t), SHORT.sigma(t)

    def slope(width):  # derivative of the expected loss in the dispersion, divided by it
        prior = lam * sigma / alpha * alpha * sigma * (1 / (alpha**2 * s2 + sigma**2) - 1 / (alpha**2 * width**2 + sigma**2))
        return float(H.square().sum() / 4 + prior.mean())

    low, high = 1e-3, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    assert 0.05 < low < s2**0.5  # narrower than the prior
    width = 0.3
    for lr in (0.05, 0.05, 0.02, 0.01):
        result = red_diff(random(64, 4, seed=1), MatrixOperator(H), gaussian_eps(mean, s2, SHORT), SHORT, lam=lam, steps=50, n_parallel=50,
                          lr=lr, sigma_x0=width, learn_sigma=True, generator=generator(7))
        width = float(result.sigma.mean())
    assert abs(width - low) < 0.05 * low


def test_without_prior_the_data_are_fitted():
    y = random(3, 5)
    found = red_diff(y, MatrixOperator(torch.eye(5, dtype=torch.float64)), gaussian_eps(torch.zeros(5), 1.0, SCHEDULE), SCHEDULE, lam=0.0,
                     steps=600, init=torch.zeros(3, 5, dtype=torch.float64), generator=generator())
    assert torch.allclose(found.mu, y, atol=0.02) and found.misfit.shape == (600, 3)
    assert (found.misfit[-1] < 1e-3 * found.misfit[0]).all()
    assert torch.equal(found.sigma, torch.zeros(3, dtype=torch.float64))


def test_wide_prior_gives_least_squares_and_exact_strength_gives_the_mode():
    H, y, mean = random(3, 5), random(2, 3, seed=1), random(5, seed=2)
    wide = gaussian_fixed_point(H.T, random(2, 5, seed=3), torch.zeros(3), 1e9, 0.3, "trunc_linear", SCHEDULE)
    assert torch.allclose(wide, random(2, 5, seed=3) @ torch.linalg.pinv(H.T).T, atol=1e-4)
    t, s2, noise = torch.arange(1000), 0.6, 0.3
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
    for weight in WEIGHTS:
        unit = (snr_weight(weight, SCHEDULE, t) * sigma * alpha / (alpha**2 * s2 + sigma**2)).mean()
        lam = float(5 * noise**2 / (3 * s2 * unit))
        mode = torch.cat([GaussianMixture(mean[None], s2).posterior(H, row, noise).means for row in y])
        assert torch.allclose(gaussian_fixed_point(H, y, mean, s2, lam, weight, SCHEDULE), mode, atol=1e-9)


def test_same_generator_same_result_and_images_do_not_see_each_other():
    H, model = MatrixOperator(random(3, 4)), gaussian_eps(torch.zeros(4), 0.5, SHORT)
    y = random(6, 3, seed=1)
    run = lambda y, seed: red_diff(y, H, model, SHORT, steps=20, generator=generator(seed)).mu
    assert torch.equal(run(y, 3), run(y, 3)) and not torch.equal(run(y, 3), run(y, 4))
    net = PreconditionedEps(seeded(0, ResidualMLP, (4,), 8, 1), SHORT, 0.0, 1.0).double()
    mu, eps, t = random(6, 4), random(6, 4, seed=2), torch.arange(6) * 8
    whole = reddiff_gradient(mu, t, eps, net, SHORT, sigma=0.2)
    parts = [reddiff_gradient(*rows, net, SHORT, sigma=0.2) for rows in zip(mu.split(2), t.split(2), eps.split(2))]
    for a, b in zip(whole, zip(*parts)):
        assert torch.allclose(a, torch.cat(b), atol=1e-12)


def test_orders_use_each_step_once():
    class Watch:
        def __init__(self):
            self.seen = []

        def __call__(self, x, t):
            self.seen.append(int(t[0]))
            return torch.zeros_like(x)

    operator, y = MatrixOperator(torch.eye(2, dtype=torch.float64)), random(1, 2)
    for order in ("descending", "ascending", "random", list(range(50))):
        watch = Watch()
        red_diff(y, operator, watch, SHORT, steps=50, order=order, generator=generator(1))
        assert sorted(watch.seen) == list(range(50))
        if order == "descending":
            assert watch.seen == list(range(49, -1, -1))
        if order == "random":
            assert watch.seen != sorted(watch.seen)


def test_nonlinear_data_gradient_agrees_with_the_adjoint():
    linear, x = MatrixOperator(random(3, 4)), random(2, 4, seed=1)

    class Plain:
        A = staticmethod(linear.A)

    y = random(2, 3, seed=2)
    for a, b in zip(data_gradient(linear, x, y), data_gradient(Plain(), x, y)):
        assert torch.allclose(a, b, atol=1e-12)


# baselines
OPERATORS = [Inpainting(torch.arange(16).reshape(4, 4) % 3 > 0), Downsampling((4, 4), 2), GaussianBlur((4, 4), 0.7)]
PRIOR = GaussianMixture(torch.zeros(1, 16), 1.0)  # variance 1: here the r_t of the guided sampler is exact


def image_model(x, t):
    return gaussian_mixture_eps(PRIOR, SCHEDULE)(x.flatten(1), t).view_as(x)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda op: type(op).__name__)
def test_samplers_come_near_the_posterior_mean_of_a_gaussian(operator):
    y, noise = operator.A(random(1, 4, 4)), 0.2
    exact = PRIOR.posterior(operator.dense(), y.flatten(), noise).means[0]
    many, shared = y.expand(400, *y.shape[1:]), dict(noise=noise, steps=100, generator=generator(1))
    found = {"diffpir": diffpir(many, operator, image_model, SCHEDULE, **shared)}
    if isinstance(operator, Inpainting):  # where singular values differ from 1 these two are known to be biased
        found["pigdm"] = pigdm(many, operator, image_model, SCHEDULE, **shared)
        found["ddrm"] = ddrm(many, operator, image_model, SCHEDULE, **shared)
    for name, x in found.items():
        assert (x.flatten(1).mean(0) - exact).norm() < 0.15 * exact.norm(), name


def test_dps_reduces_the_residual_and_is_the_sampler_without_guidance():
    operator = OPERATORS[0]
    y = operator.A(random(4, 4, 4))
    free = dps(y, operator, image_model, SCHEDULE, zeta=0.0, steps=50, generator=generator(1))
    guided = dps(y, operator, image_model, SCHEDULE, zeta=1.0, steps=50, generator=generator(1))
    residual = lambda x: float((operator.A(x) - y).norm())
    assert residual(guided) < 0.3 * residual(free)
    start = SCHEDULE.scales(999)[0] * operator.pinv(y) + SCHEDULE.scales(999)[1] * torch.randn(4, 4, 4, generator=generator(1), dtype=torch.float64)
    eps = image_model(start, torch.full((4,), 999))
    one = dps(y, operator, image_model, SCHEDULE, zeta=0.0, steps=1, generator=generator(1))
    assert torch.allclose(one, predict_x0(start, eps, *SCHEDULE.scales(999)), atol=1e-9)


def test_noiseless_ddrm_keeps_what_was_measured():
    operator = OPERATORS[1]
    y = operator.A(random(3, 4, 4))
    x = ddrm(y, operator, image_model, SCHEDULE, noise=0.0, steps=200, generator=generator(1))
    assert (operator.A(x) - y).abs().max() < 0.05


# training
@pytest.mark.parametrize("backbone", [lambda: ResidualMLP((4, 4), 16, 2), lambda: SmallUNet(4, 1)])
def test_untrained_network_with_zero_output_is_the_gaussian_denoiser(backbone):
    net = PreconditionedEps(seeded(0, backbone), SCHEDULE, 0.3, 0.7).double()
    for q in net.backbone.last.parameters():
        q.data.zero_()
    x, t = random(5, 4, 4), torch.tensor([0, 50, 300, 700, 999])
    exact = gaussian_eps(torch.full((16,), 0.3), 0.49, SCHEDULE)(x.flatten(1), t).view_as(x)
    assert torch.allclose(net(x, t), exact, rtol=1e-5, atol=1e-5)
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
    assert torch.allclose(net.loss_weight(t).double(), (alpha**2 * 0.49 + sigma**2) / (alpha**2 * 0.49), rtol=1e-5)


def test_training_learns_two_bumps_and_is_reproducible():
    sample = lambda g: torch.where(torch.rand(64, 1, generator=g) < 0.5, -1.0, 1.0) + 0.1 * torch.randn(64, 1, generator=g)
    nets = []
    for _ in range(2):
        net = PreconditionedEps(seeded(1, ResidualMLP, (1,), 32, 2), SCHEDULE, 0.0, 1.0)
        history = train_eps_model(net, sample, SCHEDULE, n_steps=300, seed=2, lr=5e-3, ema_decay=0.9, loss_weight=net.loss_weight)
        nets.append(net)
    assert history.n_steps == 300 and np.isfinite(history.loss).all()
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters()))
    with torch.no_grad():
        x = ddim_sample(nets[0], SCHEDULE, (500, 1), steps=50, generator=generator(3))
    assert ((x.abs() - 1).abs() < 0.4).float().mean() > 0.7  # at the two bumps; of a standard normal 0.39 would be there


# bad input
IDENTITY, MODEL, Y = MatrixOperator(torch.eye(2, dtype=torch.float64)), gaussian_mixture_eps(MIXTURE, SHORT), torch.zeros(1, 2, dtype=torch.float64)
call = lambda y=Y, operator=IDENTITY, model=MODEL, **options: red_diff(y, operator, model, SHORT, **{"steps": 2, **options})


class NoInverse:
    def A(self, x):
        return x


@pytest.mark.parametrize("run, words", [
    (lambda: call(weight="cubic"), "weight: got 'cubic'"),
    (lambda: call(order="sideways"), "order: got 'sideways'"),
    (lambda: call(order=[1, 2, 3]), "length steps = 2"),
    (lambda: call(order=[1, 50]), r"integers in 0\.\.49"),
    (lambda: call(steps=51), r"steps: must lie in 1\.\.T = 50"),
    (lambda: call(steps=0), "steps"),
    (lambda: call(lam=-1.0), "lam: needs a finite number >= 0"), (lambda: call(lam=math.inf), "lam"),
    (lambda: call(data_weight=math.nan), "data_weight"),
    (lambda: call(lr=0.0), "lr: needs a number > 0"),
    (lambda: call(sigma_x0=-0.1), "sigma_x0: needs"),
    (lambda: call(learn_sigma=True), "learn_sigma"),
    (lambda: call(n_parallel=3), "n_parallel"),
    (lambda: call(y=torch.zeros(1, 3, dtype=torch.float64)), r"y: needs shape \(..., 2\)"),
    (lambda: call(y=torch.full((1, 2), math.nan, dtype=torch.float64)), "y: needs .* got NaN"),
    (lambda: call(y=torch.zeros(0, 2, dtype=torch.float64)), "y: needs at least one row"),
    (lambda: call(operator=object()), "operator: needs a method A"),
    (lambda: call(operator=NoInverse()), "without pinv"),
    (lambda: call(init="zeros"), "init: got 'zeros'"),
    (lambda: call(init=torch.zeros(3, 2, dtype=torch.float64)), "y: has shape"),
    (lambda: call(model=lambda x, t: x[:, :1]), r"eps_model: must return the shape of its input, \(1, 2\), got \(1, 1\)"),
    (lambda: ddim_sample(lambda x, t: x[:, :1], SHORT, (1, 2), steps=2), "eps_model: must return the shape"),
    (lambda: pigdm(Y, IDENTITY, MODEL, SHORT, noise=0.0, steps=2), "noise"), (lambda: diffpir(Y, IDENTITY, MODEL, SHORT, noise=0.0, steps=2), "noise"),
    (lambda: diffpir(Y, IDENTITY, MODEL, SHORT, noise=0.1, reg=0.0, steps=2), "reg"),
    (lambda: diffpir(Y, IDENTITY, MODEL, SHORT, noise=0.1, zeta=2.0, steps=2), "zeta"),
    (lambda: ddrm(Y, IDENTITY, MODEL, SHORT, noise=0.1, eta=2.0, steps=2), "eta"), (lambda: ddrm(Y, IDENTITY, MODEL, SHORT, noise=-1.0, steps=2), "noise"),
    (lambda: ddrm(Y * math.nan, IDENTITY, MODEL, SHORT, noise=0.1, steps=2), "y: contains NaN"),
    (lambda: pigdm(Y, NoInverse(), MODEL, SHORT, noise=0.1, steps=2), "operator: needs prox_l2"),
    (lambda: dps(Y, IDENTITY, MODEL, SHORT, eta=-1.0, steps=2), "eta"),
    (lambda: SHORT.alpha(50), r"t: needs integers in 0\.\.49"),
    (lambda: SHORT.sigma(-1), "t: needs integers"),
    (lambda: SHORT.snr(0.5), "t: needs integers"),
    (lambda: snr_weight("linear", SHORT, torch.tensor([3, 70])), "t: needs integers"),
    (lambda: VPSchedule(1), "need T >= 2"),
    (lambda: VPSchedule(10, (0.0, 0.1)), "beta"),
    (lambda: VPSchedule(10, kind="quadratic"), "kind: got 'quadratic'"),
    (lambda: GaussianMixture([1.0, 2.0], 1.0), r"means: needs shape \(K, n\)"),
    (lambda: GaussianMixture([[0.0]], -1.0), "positive definite"),
    (lambda: GaussianMixture([[0.0], [1.0]], 1.0, [1.0, 0.0]), "positive weights"),
    (lambda: MIXTURE.posterior([[1.0, 0.0]], [0.0], 0.0), "noise: must be positive"),
    (lambda: gaussian_fixed_point(torch.eye(2), Y, torch.zeros(2), 0.0, 1.0, "linear", SHORT), "s2 > 0"),
    (lambda: PreconditionedEps(ResidualMLP((2,), 4, 1), SHORT, 0.0, 0.0), "std: must be positive"),
])
def test_bad_input_names_the_argument(run, words):
    with pytest.raises(ValueError, match=words):
        run()
