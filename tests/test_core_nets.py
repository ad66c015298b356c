"""Networks: stacked copies act as separate networks, input-convex networks are convex, gradients are gradients."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from prox_repro.core.nets import ICNN, MLP, Conv2d, ConvClassifier, ConvDenoiser, ConvICNN, ConvexPotential, Linear
from prox_repro.core.nets import seeded, stack, unstack

NETWORKS = {
    "mlp": (lambda: MLP(6, (8, 5), 3), (4, 6)),
    "affine": (lambda: MLP(6, (), 2, bias=False), (4, 6)),
    "classifier": (lambda: ConvClassifier(2, 3, (4, 5)), (4, 2, 8, 8)),
    "denoiser": (lambda: ConvDenoiser(4, 3), (4, 8, 8)),
    "icnn": (lambda: ICNN((2, 3), (8, 5)), (4, 2, 3)),
    "conv icnn": (lambda: ConvICNN((8, 8), 3), (4, 8, 8)),
}


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stack_is_its_copies(name):
    build, shape = NETWORKS[name]
    nets = [seeded(s, build).double() for s in range(3)]
    x = random(3, *shape)
    together = stack(nets)
    separate = torch.stack([net(part) for net, part in zip(nets, x)])
    assert torch.allclose(together(x), separate, atol=1e-12)
    for net, copy in zip(nets, unstack(together)):
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), copy.parameters()))


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_a_stack_do_not_mix(name):
    build, shape = NETWORKS[name]
    nets = [seeded(s, build).double() for s in range(2)]
    x, together = random(2, *shape), stack(nets)
    together(x)[0].sum().backward()
    for p in together.parameters():
        assert p.grad is None or not p.grad[1].any()


def test_unstacked_copies_share_no_memory():
    nets = stack([seeded(s, MLP, 2, (3,), 1) for s in range(2)])
    copy = unstack(nets)[0]
    with torch.no_grad():
        next(copy.parameters()).add_(1)
    assert not torch.equal(next(nets.parameters())[0], next(copy.parameters()))


def test_seeded_depends_on_the_seed_alone_and_leaves_the_generator():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = seeded(7, MLP, 4, (5,), 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(10)
    again, other = seeded(7, MLP, 4, (5,), 2), seeded(8, MLP, 4, (5,), 2)
    assert torch.equal(first.layers[0].weight, again.layers[0].weight)
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)


@pytest.mark.parametrize("name", ["icnn", "conv icnn"])
def test_gradient_equals_finite_differences(name):
    build, shape = NETWORKS[name]
    psi, y = seeded(1, build).double(), random(*shape, seed=1)
    direction, h = random(*shape, seed=2), 1e-5
    slope = (psi.potential(y + h * direction) - psi.potential(y - h * direction)) / (2 * h)
    with torch.no_grad():
        value, gradient = psi.value_and_gradient(y)
    assert torch.allclose((gradient * direction).flatten(1).sum(1), slope, atol=1e-6)
    assert torch.equal(value, psi.potential(y)) and torch.allclose(gradient, psi.gradient(y), atol=1e-13)


def test_written_out_gradient_equals_automatic_also_in_the_weights():
    psi, y = seeded(2, ICNN, 4, (6, 5, 3), beta=3.0).double(), random(7, 4)
    grads = []
    for gradient in (psi.gradient, lambda y: ConvexPotential.gradient(psi, y)):
        psi.zero_grad()
        gradient(y).square().sum().backward()
        grads.append([p.grad.clone() for p in psi.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*grads))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), beta=st.floats(0.5, 50), alpha=st.floats(0, 1), scale=st.floats(0.1, 5))
def test_icnn_is_strongly_convex_for_any_weights(seed, beta, alpha, scale):
    psi = seeded(seed, ICNN, 3, (6, 5), beta=beta, strong_convexity=alpha).double()
    with torch.no_grad():
        for p in psi.parameters():
            p.mul_(scale)
        a, b = scale * random(20, 3, seed=seed), scale * random(20, 3, seed=seed + 1)
        t = torch.rand(20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        mix = psi.potential(t[:, None] * a + (1 - t)[:, None] * b)
        bound = t * psi.potential(a) + (1 - t) * psi.potential(b) - alpha * t * (1 - t) * (a - b).square().sum(-1)
        assert (mix <= bound + 1e-9 * (1 + bound.abs())).all()
        monotone = ((psi.gradient(a) - psi.gradient(b)) * (a - b)).sum(-1)
        assert (monotone >= 2 * alpha * (a - b).square().sum(-1) - 1e-9).all()


def test_conv_icnn_is_convex():
    psi = seeded(0, ConvICNN, (8, 8), 4).double()
    a, b = random(10, 8, 8, seed=3), random(10, 8, 8, seed=4)
    assert (2 * psi.potential((a + b) / 2) <= psi.potential(a) + psi.potential(b)).all()


@pytest.mark.parametrize(
    "build", [lambda: ICNN(3, (4, 4)), lambda: ConvICNN((4, 4), 2), lambda: ICNN(3, (4,), log_init=-2.0)])
def test_projection_clips_only_what_must_be_nonnegative(build):
    psi = stack([seeded(s, build) for s in range(2)])
    with torch.no_grad():
        for p in psi.parameters():
            p.sub_(1.0)
    free = [p.clone() for p in psi.parameters() if not any(p is w for w in psi.nonnegative())]
    psi.project_()
    assert all((w >= 0).all() for w in psi.nonnegative())
    left = [p for p in psi.parameters() if not any(p is w for w in psi.nonnegative())]
    assert all(torch.equal(a, b) for a, b in zip(free, left)) and any((p < 0).any() for p in left)


def test_layers_broadcast_one_input_to_all_copies():
    layer = stack([seeded(s, Linear, 3, 2) for s in range(4)])
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(layer(x), layer(x.expand(4, 5, 3)))
    conv = seeded(0, Conv2d, 1, 2, 3, padding=1)
    assert torch.equal(conv(x.reshape(1, 1, 5, 3)), torch.nn.Conv2d.forward(conv, x.reshape(1, 1, 5, 3)))


@pytest.mark.parametrize("call, words", [
    (lambda: ICNN(2, (4,), beta=0.0), "beta must be positive"),
    (lambda: ICNN(2, (4,), strong_convexity=-1.0), "strong_convexity"),
    (lambda: ICNN(2, ()), "hidden is empty"),
    (lambda: ICNN((2, 3), (4,))(torch.zeros(5, 6)), "accepted is"),
    (lambda: ConvICNN((10, 8)), "divisible by 4"),
    (lambda: ConvICNN((8, 8), beta=-1.0), "beta must be positive"),
    (lambda: ConvICNN((8, 8), 2)(torch.zeros(1, 8, 9)), "accepted is"),
    (lambda: ConvDenoiser(4, 1), "depth"),
    (lambda: MLP(2, (0,), 1), "width"),
    (lambda: stack([]), "models is empty"),
    (lambda: stack([MLP(2, (3,), 1), MLP(2, (4,), 1)]), "one architecture"),
])
def test_bad_input_names_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()
