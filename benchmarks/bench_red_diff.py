"""RED-diff on 60 digits: against bare forward passes of the network, our own DPS, and libraries where they are installed.

`target` is the largest accepted ratio time(ours) / time(peer); equal numbers of network evaluations, one thread.
"""

from importlib.util import find_spec
import pytest
import torch
from one_thread import one_thread  # noqa: F401
from prox_repro.core.data import digits
from prox_repro.core.linops import Inpainting
from prox_repro.core.nets import seeded
from prox_repro.inverse.red_diff import PreconditionedEps, ResidualMLP, VPSchedule, ddim_sample, dps, pigdm, red_diff

STEPS, NOISE, SCHEDULE = 100, 0.05, VPSchedule()
GROUP = f"red_diff: inpaint 60 digits, {STEPS} network evaluations"
needs = lambda package: pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")
SAMPLE = f"red_diff: draw 60 digits by DDIM, {STEPS} network evaluations"


@pytest.fixture(scope="module")
def problem():
    "Network of the page (its weights do not matter for its speed), mask, measurements."
    x = 2 * torch.tensor(digits().x_test[:60], dtype=torch.float32) - 1
    net = PreconditionedEps(seeded(0, ResidualMLP, (8, 8), 192, 4), SCHEDULE, -0.4, 0.75).requires_grad_(False)
    mask = torch.ones(8, 8, dtype=torch.bool)
    mask[2:6, 2:6] = False
    operator = Inpainting(mask)
    return net, operator, operator.A(x + NOISE * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))


@torch.no_grad()
def bare(y, operator, net):
    "The network alone."
    for t in SCHEDULE.steps(STEPS):
        net(y, t.expand(len(y)))
    return y


def ours(y, operator, net):
    return red_diff(y, operator, net, SCHEDULE, steps=STEPS, generator=torch.Generator().manual_seed(0)).mu


def with_backward(y, operator, net):
    "RED-diff with the derivative of the network, as one would get from differentiating the squared residual."
    mu = operator.pinv(y).clone().requires_grad_()
    opt, generator = torch.optim.Adam([mu], lr=0.1, betas=(0.9, 0.99), fused=True), torch.Generator().manual_seed(0)
    for t in SCHEDULE.steps(STEPS).tolist():
        (alpha, sigma), eps = SCHEDULE.scales(t), torch.randn(mu.shape, generator=generator)
        residual = net(alpha * mu + sigma * eps, torch.full((len(mu),), t)) - eps
        loss = 0.5 * (operator.A(mu) - y).square().mean((1, 2)) + 0.25 * sigma / alpha * residual.square().mean((1, 2))
        opt.zero_grad()
        loss.sum().backward()
        opt.step()
    return mu.detach()


def deepinv_dps(y, operator, net):
    "DPS of deepinv with our network as its denoiser."
    import deepinv
    levels = SCHEDULE.noise_level(torch.arange(SCHEDULE.T)).float()

    class Denoiser(torch.nn.Module):
        def forward(self, x, sigma, *args, **kwargs):
            t = int(torch.searchsorted(levels, torch.as_tensor(sigma).flatten()[0]).clamp(max=SCHEDULE.T - 1))
            alpha, scale = SCHEDULE.scales(t)
            image = x[:, 0]
            return (image - scale / alpha * net(alpha * image, torch.full((len(x),), t))).unsqueeze(1)

    physics = deepinv.physics.Inpainting((1, 8, 8), mask=operator.A(torch.ones(8, 8))[None], noise_model=deepinv.physics.GaussianNoise(NOISE))
    model = deepinv.sampling.DPS(Denoiser(), deepinv.optim.data_fidelity.L2(), max_iter=STEPS, verbose=False)
    return model(y.unsqueeze(1), physics)[:, 0]


@pytest.mark.parametrize("run, method, target", [
    (ours, "red_diff (ours)", None),
    (bare, "network forward passes alone", 1.1),
    (with_backward, "RED-diff with the network's derivative", 0.7),
    (lambda y, op, net: dps(y, op, net, SCHEDULE, steps=STEPS, generator=torch.Generator().manual_seed(0)), "dps (our baseline)", 0.5),
    (lambda y, op, net: pigdm(y, op, net, SCHEDULE, noise=NOISE, steps=STEPS, generator=torch.Generator().manual_seed(0)),
     "pigdm (our baseline)", 0.5),
    pytest.param(deepinv_dps, "deepinv DPS", 0.5, marks=needs("deepinv")),
])
def test_restore(benchmark, problem, run, method, target):
    net, operator, y = problem
    benchmark.group = GROUP
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    x = benchmark.pedantic(run, args=(y, operator, net), rounds=5, warmup_rounds=1)
    assert x.shape == y.shape and torch.isfinite(x).all()


def sample_ours(net):
    return ddim_sample(net, SCHEDULE, (60, 8, 8), steps=STEPS, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def sample_diffusers(net):
    "The DDIM scheduler of diffusers around the same network."
    import diffusers
    scheduler = diffusers.DDIMScheduler(beta_start=1e-4, beta_end=0.02, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(STEPS)
    x = torch.randn(60, 8, 8, generator=torch.Generator().manual_seed(0))
    for t in scheduler.timesteps:
        x = scheduler.step(net(x, t.expand(60)), t, x).prev_sample
    return x


@pytest.mark.parametrize("run, method, target", [
    (sample_ours, "ddim_sample (ours)", None),
    pytest.param(sample_diffusers, "diffusers DDIMScheduler", 1.0, marks=needs("diffusers")),
])
def test_sample(benchmark, problem, run, method, target):
    benchmark.group = SAMPLE
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    x = benchmark.pedantic(run, args=(problem[0],), rounds=5, warmup_rounds=1)
    assert x.shape == (60, 8, 8) and torch.isfinite(x).all()
