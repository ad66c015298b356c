"""Mathematics of prox_repro.compression.wgsef: the envelope, its prox, the root searches, training, shrinking, bad input."""
import copy
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prox_repro.compression.wgsef import (
    WGSEF, ByCopy, GroupLasso, GroupSpec, ProxSGD, Support, _select, active_units, attach, conv_net, cost, fit_sparse,
    group_kind, groups_from_index, groups_from_lists, groups_of_layers, keep_largest, latency, layers_of, linear_search,
    prox_wgsef, shrink_model, wgsef_conjugate, wgsef_multipliers, wgsef_value,
)
from prox_repro.core.nets import MLP, seeded, stack, unstack
from prox_repro.core.prox import prox_ksupport_sq

seeds = st.integers(0, 100_000)
many = settings(deadline=None, max_examples=40)


def draw(seed, m=None, weights=True):
    g = torch.Generator().manual_seed(seed)
    m = m or int(torch.randint(2, 9, (1,), generator=g))
    v = torch.randn(m, generator=g, dtype=torch.float64).abs()
    if seed % 3 == 0:
        v = v.round()
    d = 0.2 + 3 * torch.rand(m, generator=g, dtype=torch.float64) if weights else None
    k = int(torch.randint(1, m + 1, (1,), generator=g))
    return v, k, 10 ** (4 * float(torch.rand(1, generator=g)) - 2), d, g


def entries(m):
    return group_kind("unstructured", (m,))


def patterns(m, k):
    """Every way to put multipliers at 0, inside, or at 1 that leaves a budget for the inner ones."""
    for pattern in product((0, 1, 2), repeat=m):
        pattern = np.array(pattern)
        if (pattern == 2).sum() + (pattern == 1).any() <= k:
            yield pattern == 1, pattern == 2


def brute_value(z, k):
    """Minimum of (3) over all patterns: inner multipliers are proportional to z."""
    best = np.inf
    for inner, full in patterns(len(z), k):
        u = full.astype(float)
        if inner.any() and z[inner].sum() > 0:
            u[inner] = (k - full.sum()) * z[inner] / z[inner].sum()
        if (u <= 1 + 1e-12).all() and (u[z > 0] > 0).all():
            best = min(best, sum(a * a / b for a, b in zip(z, u) if a > 0) / 2)
    return best


def brute_prox(v, w, k):
    """Minimum of (5) over all patterns."""
    best = np.inf
    for inner, full in patterns(len(v), k):
        u = full.astype(float)
        a = np.sqrt(w) * v
        if inner.any():
            if a[inner].sum() == 0:
                continue
            u[inner] = (k - full.sum() + w[inner].sum()) / a[inner].sum() * a[inner] - w[inner]
        if (u >= -1e-12).all() and (u <= 1 + 1e-12).all():
            best = min(best, (w * v**2 / (u.clip(0, 1) + w)).sum() / 2)
    return best


# value, conjugate

@many
@given(seeds)
def test_value_is_the_minimum_over_all_patterns_of_multipliers(seed):
    v, k, _, d, _ = draw(seed, m=5)
    value = float(wgsef_value(v, k, d))
    assert value == pytest.approx(brute_value((d.sqrt() * v).numpy(), k), rel=1e-9, abs=1e-12)


@many
@given(seeds)
def test_conjugate_is_the_maximum_over_all_supports(seed):
    v, k, _, d, _ = draw(seed)
    best = max(float((v[list(s)] ** 2 / d[list(s)]).sum()) / 2 for s in combinations(range(len(v)), k))
    assert float(wgsef_conjugate(v, k, d)) == pytest.approx(best)


@many
@given(seeds)
def test_value_lies_below_the_constrained_quadratic_and_falls_with_k(seed):
    v, _, _, d, _ = draw(seed)
    values = [float(wgsef_value(v, k, d)) for k in range(1, len(v) + 1)]
    assert all(a >= b - 1e-12 for a, b in zip(values, values[1:]))
    quadratic = float((d * v**2).sum() / 2)
    assert values[-1] == pytest.approx(quadratic) and values[0] == pytest.approx(float((d.sqrt() * v).sum() ** 2 / 2))
    active = int((v > 0).sum())
    if active:
        assert values[active - 1] == pytest.approx(quadratic)


@many
@given(seeds, st.floats(0, 1))
def test_value_is_convex_and_2_homogeneous(seed, share):
    _, k, _, d, g = draw(seed)
    m = len(d)
    groups = groups_from_index(torch.arange(m).repeat_interleave(2), m)
    x, y = torch.randn(2, 2 * m, generator=g, dtype=torch.float64)
    value = lambda x: float(wgsef_value(groups.norms(x), k, d))
    assert value(share * x + (1 - share) * y) <= share * value(x) + (1 - share) * value(y) + 1e-10
    assert value(3 * x) == pytest.approx(9 * value(x))


@many
@given(seeds)
def test_fenchel_young(seed):
    v, k, _, d, g = draw(seed)
    y = torch.randn(len(v), generator=g, dtype=torch.float64)
    assert float(wgsef_value(v, k, d) + wgsef_conjugate(y.abs(), k, d) - v @ y) >= -1e-12
    u, _ = wgsef_multipliers(v, k, 1e-14, d)  # multipliers of the value
    y = torch.where(u > 0, d * v / u.clamp(min=1e-300), 0.0)
    assert float(wgsef_value(v, k, d) + wgsef_conjugate(y, k, d)) == pytest.approx(float(v @ y), rel=1e-9, abs=1e-10)


# prox

@many
@given(seeds)
def test_prox_is_the_minimum_over_all_patterns(seed):
    v, k, lam, d, _ = draw(seed, m=5)
    x = prox_wgsef(v, entries(5), k, lam, d)
    objective = float((x - v).square().sum() / 2 + lam * wgsef_value(x, k, d))
    assert objective == pytest.approx(brute_prox(v.numpy(), lam * d.numpy(), k), rel=1e-9, abs=1e-12)


@many
@given(seeds)
def test_searches_agree_and_use_the_whole_budget(seed):
    v, k, lam, d, g = draw(seed, m=1 + seed % 60 if seed % 3 else 190 + seed % 90)  # Newton's method begins at 182
    if seed % 2:
        v = v * 10 ** (30 * torch.rand(len(v), generator=g, dtype=torch.float64) - 28)  # as met in training
    k = min(k, len(v))
    (u, eta), *others = (wgsef_multipliers(v, k, lam, d, method=method) for method in ("newton", "sorted", "linear"))
    for u2, eta2 in others:
        assert torch.allclose(u, u2, atol=1e-10) and torch.equal(u > 0, u2 > 0)
        assert torch.isclose(eta, eta2, rtol=1e-10, atol=0)
    assert float(u.sum()) == pytest.approx(min(k, int((v > 0).sum())), abs=1e-9)
    assert torch.equal(u[v.argsort()] > 0, (u > 0)[v.argsort()]) and bool(((u >= 0) & (u <= 1)).all())


@many
@given(seeds)
def test_newton_on_many_rows_finds_the_roots_of_each(seed):
    g = torch.Generator().manual_seed(seed)
    v = torch.rand(5, 240, generator=g, dtype=torch.float64)
    v[1] = v[1].mul(4).round()  # ties and zeros
    v[2] = 10 ** (-15 * v[2])
    v[3, 7:] = 0  # fewer nonzero groups than k
    v[4] = 0
    k, lam = torch.randint(8, 241, (5,), generator=g), 10 ** (8 * torch.rand(5, generator=g, dtype=torch.float64) - 5)
    u, eta = wgsef_multipliers(v, k, lam)
    for i in range(5):
        one, eta_one = wgsef_multipliers(v[i], int(k[i]), float(lam[i]), method="sorted")
        assert torch.allclose(u[i], one, atol=1e-10) and torch.equal(u[i] > 0, one > 0)
        assert torch.isclose(eta[i], eta_one, rtol=1e-10, atol=0)
    assert torch.allclose(u.sum(-1), k.minimum((v > 0).sum(-1)).double(), atol=1e-9)


def test_norms_over_fifteen_decades_do_not_leak_budget():
    v = torch.cat([torch.linspace(0.1, 0.7, 32), torch.logspace(-16, -10, 90)]).double()
    for tail in (v, torch.cat([v, torch.logspace(-18, -11, 200).double()])):  # sorted, Newton
        u, _ = wgsef_multipliers(tail, 32, 0.066)
        assert torch.equal(u, (torch.arange(len(tail)) < 32).double())


@many
@given(seeds)
def test_prox_agrees_with_the_k_support_norm_of_core(seed):
    v, k, lam, _, g = draw(seed, weights=False)
    x = v * torch.where(torch.rand(len(v), generator=g) < 0.5, -1.0, 1.0)
    assert torch.allclose(prox_wgsef(x, entries(len(v)), k, lam), prox_ksupport_sq(x, lam, k), atol=1e-10)


@many
@given(seeds)
def test_moreau_identity(seed):
    v, k, lam, d, _ = draw(seed)
    groups = entries(len(v))
    x = prox_wgsef(v, groups, k, lam, d)
    y = v - x  # prox of the conjugate of lam GS_k, that is lam gs_k^*(. / lam): check its optimality against all supports
    objective = lambda y: float((y - v).square().sum() / 2 + lam * wgsef_conjugate(y.abs() / lam, k, d))
    generator = torch.Generator().manual_seed(seed)
    for size in (1e-1, 1e-3):
        for _ in range(10):
            assert objective(y) <= objective(y + size * torch.randn(len(v), generator=generator, dtype=torch.float64)) + 1e-12


@many
@given(seeds)
def test_prox_is_firmly_nonexpansive(seed):
    _, k, lam, d, g = draw(seed)
    m = len(d)
    groups = groups_from_index(torch.arange(m).repeat_interleave(3), m)
    x, y = torch.randn(2, 3 * m, generator=g, dtype=torch.float64)
    px, py = prox_wgsef(torch.stack([x, y]), groups, k, lam, d)
    assert float((px - py) @ (x - y)) >= float((px - py).square().sum()) - 1e-12


def test_active_groups_fall_to_k_and_stay():
    v = torch.randn(50, generator=torch.Generator().manual_seed(0)).abs()
    counts = [int((wgsef_multipliers(v, 5, lam)[0] > 0).sum()) for lam in np.geomspace(1e-3, 1e4, 30)]
    assert counts == sorted(counts, reverse=True) and counts[0] == 50 and counts[-1] == 5
    ordered = v.double().sort(descending=True).values
    threshold = float(ordered[5] / (ordered[4] - ordered[5]))
    assert int((wgsef_multipliers(v, 5, 0.999 * threshold)[0] > 0).sum()) == 6
    assert int((wgsef_multipliers(v, 5, 1.001 * threshold)[0] > 0).sum()) == 5
    hard = torch.where(v >= ordered[4].float(), v, 0.0)
    assert torch.allclose((1 + 1e4) * prox_wgsef(v, entries(50), 5, 1e4), hard, rtol=1e-5)


@many
@given(seeds)
def test_equivariance(seed):
    _, k, lam, d, g = draw(seed)
    m = len(d)
    x = torch.randn(m, 3, generator=g, dtype=torch.float64)
    groups = GroupSpec((m, 3), axes=[0])
    out = prox_wgsef(x, groups, k, lam, d)
    order = torch.randperm(m, generator=g)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64)).Q
    assert torch.allclose(prox_wgsef(x[order], groups, k, lam, d[order]), out[order], atol=1e-10)
    assert torch.allclose(prox_wgsef(x @ rotation, groups, k, lam, d), out @ rotation, atol=1e-10)
    assert torch.allclose(prox_wgsef(-7 * x, groups, k, lam, d), -7 * out, atol=1e-10)


def test_batches_of_k_and_lam_are_rows():
    x = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(1))
    groups, k, lam = group_kind("neurons", (6, 5)), torch.tensor([1, 2, 3, 6]), torch.tensor([0.1, 3.0, 0.5, 1.0], dtype=torch.float64)
    rows = torch.stack([prox_wgsef(x[i], groups, int(k[i]), float(lam[i])) for i in range(4)])
    assert torch.allclose(prox_wgsef(x, groups, k, lam), rows, atol=1e-6)


def test_zero_and_dtype():
    zero = torch.zeros(3, 4)
    assert torch.equal(prox_wgsef(zero, group_kind("neurons", (3, 4)), 2, 1.0), zero)
    assert prox_wgsef(zero.double(), group_kind("neurons", (3, 4)), 2, 1.0).dtype == torch.float64
    assert torch.allclose(prox_wgsef(torch.ones(4), entries(4), 4, 1.0), torch.full((4,), 0.5))


# selection in linear time

@many
@given(seeds, st.integers(1, 3000))
def test_select_is_the_order_statistic(seed, n):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 50, n).astype(float) if seed % 2 else rng.standard_normal(n)
    r = int(rng.integers(n))
    value, count = _select(x, r)
    assert value == np.sort(x)[r] and count <= 34 * n + 6 * 40


@pytest.mark.parametrize("make", [
    lambda m, rng: rng.random(m) + 0.01, lambda m, rng: np.ones(m), lambda m, rng: np.sort(rng.random(m) + 0.01)[::-1].copy(),
    lambda m, rng: 10 ** rng.uniform(-12, 0, m), lambda m, rng: 1.0 / np.arange(1, m + 1),
])
def test_operations_stay_below_the_proved_bound(make):
    for m in (1000, 20_000):
        for k in (1, m // 2, m - 1):
            found = linear_search(make(m, np.random.default_rng(0)), np.ones(m), k)
            assert found.operations <= 151 * m + 5000 and found.passes <= np.log2(2 * m) + 3


# groups

KINDS = {"filters": (4, 3, 2, 2), "channels": (4, 3, 2, 2), "filter_shapes": (4, 3, 2, 2), "neurons": (5, 6), "unstructured": (3, 4)}


@pytest.mark.parametrize("kind", KINDS)
def test_groups_by_axes_are_groups_by_index(kind):
    shape = KINDS[kind]
    groups, x = group_kind(kind, shape), torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    axes = groups.axes
    labels = torch.arange(groups.m).reshape([shape[a] if a in axes else 1 for a in range(len(shape))]).expand(shape)
    plain = groups_from_index(labels.flatten(), groups.m)
    assert torch.equal(groups.sizes, plain.sizes) and int(groups.sizes.sum()) == x[0].numel()
    assert torch.allclose(groups.norms(x), plain.norms(x.flatten(1)))
    factor = torch.rand(2, groups.m)
    assert torch.allclose(groups.scale(x, factor).flatten(1), plain.scale(x.flatten(1), factor))
    assert torch.allclose(prox_wgsef(x, groups, 2, 0.3).flatten(1), prox_wgsef(x.flatten(1), plain, 2, 0.3), atol=1e-6)


def test_lists_and_layers():
    groups = groups_from_lists([[0, 3], [2, 1], [4]], 5)
    assert groups.index.tolist() == [0, 1, 1, 0, 2]
    layers = groups_of_layers([torch.zeros(2, 3), torch.zeros(4)])
    assert layers.m == 2 and layers.sizes.tolist() == [6, 4]


# training

def test_a_closure_is_evaluated_and_a_key_that_is_not_optimised_is_refused():
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = ProxSGD([weight], 0.1, 0.0)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum() / 2
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 12.5
    assert torch.allclose(weight.detach(), torch.tensor([2.7, 3.6]))
    other = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="not among params"):
        ProxSGD([weight], 0.1, penalties={other: WGSEF(entries(2), 1, 1.0)})


def test_no_penalty_is_sgd():
    a, b = (seeded(0, MLP, 4, [3], 2) for _ in range(2))
    ours, torchs = ProxSGD(a.parameters(), 0.1, 0.8), torch.optim.SGD(b.parameters(), 0.1, 0.8)
    x = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        for net, opt in ((a, ours), (b, torchs)):
            opt.zero_grad()
            net(x).square().sum().backward()
            opt.step()
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(a.parameters(), b.parameters()))


def test_penalties_by_copy_are_the_penalties_one_by_one():
    groups = group_kind("neurons", (5, 4))
    x = torch.randn(4, 5, 4, generator=torch.Generator().manual_seed(0))
    both = ByCopy([(slice(0, 2), WGSEF(groups, torch.tensor([2, 3]), torch.tensor([1.0, 5.0]))),
                   (slice(2, 3), GroupLasso(groups, torch.tensor([0.5])))])
    out = both.prox_(x.clone(), 0.3)
    assert torch.allclose(out[1], WGSEF(groups, 3, 5.0).prox_(x[1].clone(), 0.3), atol=1e-6)
    shrunk = x[2] * (1 - 0.15 / x[2].norm(dim=1, keepdim=True)).clamp(min=0)
    assert torch.allclose(out[2], shrunk, atol=1e-6) and torch.equal(out[3], x[3])
    assert torch.allclose(WGSEF(groups, 2, 2.0).value(x), 2 * wgsef_value(groups.norms(x), 2))


def test_one_penalty_over_layers_and_companions():
    net = seeded(0, MLP, 4, [6, 6], 2)
    weights = tuple(layer.weight for layer in net.layers)
    optimizer = ProxSGD(net.parameters(), 0.1, penalties={weights: WGSEF(groups_of_layers(weights), 2, 1e4)})
    net(torch.ones(3, 4)).sum().backward()
    optimizer.step()
    assert sum(bool(w.abs().sum() > 0) for w in weights) == 2
    net = seeded(0, MLP, 4, [6], 2)
    penalties, companions = attach(net, "neurons", lambda groups: WGSEF(groups, 2, 1e4))
    optimizer = ProxSGD(net.parameters(), 0.1, penalties=penalties, companions=companions)
    net(torch.ones(3, 4)).sum().backward()
    optimizer.step()
    dead = net.layers[0].weight.norm(dim=1) == 0
    assert int(dead.sum()) == 4 and torch.equal(net.layers[0].bias == 0, dead)


def test_stacked_training_is_training_one_by_one():
    x, y = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3

    def train(nets, ks):
        net = stack(nets)
        loss = lambda net, _: nn.functional.cross_entropy(
            net(x).flatten(0, 1), y.repeat(len(nets)), reduction="none").view(len(nets), -1).mean(1)
        penalties, companions = attach(net, "neurons", lambda groups: WGSEF(groups, torch.tensor(ks), torch.full((len(ks),), 0.5)))
        history = fit_sparse(net, loss, iter(range(99)), penalties, companions, n_steps=30, lr=0.1, record=10)
        return unstack(net), history

    nets = [seeded(i, MLP, 5, [8], 3) for i in range(2)]
    together, history = train(nets, [2, 4])
    alone = [train([net], [k])[0][0] for net, k in zip(nets, [2, 4])]
    for a, b in zip(together, alone):
        assert all(torch.allclose(p, q, atol=1e-4) for p, q in zip(a.parameters(), b.parameters()))
    assert history.logs["active 0"][1].shape == (3, 2) and (history.logs["active 0"][1] >= [2, 4]).all()


# shrinking

@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("hidden", [[], [6]])
def test_shrunk_network_is_the_same_function(norm, hidden):
    net = seeded(1, conv_net, 2, 8, 3, [5, "M", 7, "M"], hidden, batch_norm=norm).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer, bn in layers_of(net)[:-1]:
            if bn is not None:
                bn.running_mean.normal_(generator=generator)
                bn.running_var.uniform_(0.5, 2, generator=generator)
                bn.bias.normal_(generator=generator)
            gone = torch.randperm(len(layer.weight), generator=generator)[:3]
            for param in (layer.weight, layer.bias, *(() if bn is None else (bn.weight, bn.bias))):
                param[gone] = 0
    x = torch.randn(4, 2, 8, 8, generator=generator)
    small = shrink_model(net)
    assert torch.allclose(small(x), net(x), atol=1e-5)
    assert [len(index) for index in active_units(net)] == [2, 4, *(h - 3 for h in hidden)]
    assert cost(small, x).multiply_adds < cost(net, x).multiply_adds


def test_units_that_nobody_reads_go_too():
    net = seeded(0, MLP, 3, [4, 4], 2)
    with torch.no_grad():
        net.layers[1].weight[:, 1] = 0
        net.layers[2].weight[:, [0, 2]] = 0
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    small = shrink_model(net)
    assert [layer.out_features for layer in small.layers] == [3, 2, 2] and torch.allclose(small(x), net(x), atol=1e-6)


def test_shrink_keeps_a_unit_of_a_dead_layer_and_does_not_touch_the_original():
    net = seeded(0, MLP, 3, [4], 2)
    with torch.no_grad():
        net.layers[0].weight.zero_(), net.layers[0].bias.zero_()
    before = copy.deepcopy(net.state_dict())
    small = shrink_model(net)
    assert small.layers[0].out_features == 1
    assert torch.allclose(small(torch.ones(1, 3)), net(torch.ones(1, 3)))
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())


def test_keep_largest_and_cost():
    net = seeded(0, MLP, 10, [8], 3)
    kept = keep_largest(net, [3])[0]
    norms = net.layers[0].weight.norm(dim=1)
    assert set(kept.tolist()) == set(norms.topk(3).indices.tolist())
    small, x = shrink_model(net, [kept]), torch.zeros(2, 10)
    assert cost(net, x) == (10 * 8 + 8 + 8 * 3 + 3, 4 * 115, 104) and cost(small, x).multiply_adds == 39
    conv = conv_net(1, 6, 2, [4, "M"], kernel=3)
    assert cost(conv, torch.zeros(1, 1, 6, 6)).multiply_adds == 36 * 4 * 9 + 36 * 2
    assert latency(net, x, 3) > 0


def test_support_keeps_zeros():
    groups = group_kind("filter_shapes", (3, 2, 2, 2))
    mask = torch.arange(8) % 2 == 0
    x = Support(groups, mask).prox_(torch.ones(3, 2, 2, 2), 0.1)
    assert torch.equal(groups.norms(x) > 0, mask) and float(x.sum()) == 12


# bad input

V = torch.tensor([3.0, 2.0, 1.0])


@pytest.mark.parametrize("call, name", [
    (lambda: wgsef_value(V, 0), "k"), (lambda: wgsef_value(V, 4), "k"), (lambda: wgsef_value(V, 1.5), "k"),
    (lambda: wgsef_conjugate(V, 7), "k"), (lambda: wgsef_multipliers(V, torch.tensor([1.0]), 1.0), "k"),
    (lambda: prox_wgsef(V, entries(3), 2, 0.0), "lam"), (lambda: prox_wgsef(V, entries(3), 2, float("nan")), "lam"),
    (lambda: prox_wgsef(V, entries(3), 2, float("inf")), "lam"), (lambda: WGSEF(entries(3), 2, -1.0), "lam"),
    (lambda: WGSEF(entries(3), 5, 1.0), "k"), (lambda: GroupLasso(entries(3), 0.0), "lam"),
    (lambda: prox_wgsef(V, entries(3), 2, 1.0, d=[1.0, 0.0, 1.0]), "d"), (lambda: prox_wgsef(V, entries(3), 2, 1.0, d=[1.0, 1.0]), "d"),
    (lambda: prox_wgsef(torch.tensor([1.0, float("nan"), 0]), entries(3), 2, 1.0), "theta"),
    (lambda: prox_wgsef(torch.tensor([1.0, float("inf"), 0]), entries(3), 2, 1.0), "theta"),
    (lambda: prox_wgsef(torch.ones(4), entries(3), 2, 1.0), "theta"),
    (lambda: wgsef_multipliers(V, 2, 1.0, method="quick"), "method"),
    (lambda: wgsef_multipliers(torch.ones(2, 3), 2, 1.0, method="linear"), "method"),
    (lambda: WGSEF(entries(3), 2, 1.0).prox_(V.clone(), 0.0), "step"), (lambda: GroupLasso(entries(3), 1.0).prox_(V.clone(), -1.0), "step"),
    (lambda: group_kind("blocks", (3, 4)), "kind"), (lambda: group_kind("channels", (3,)), "shape"),
    (lambda: groups_from_index([0, 2, 2], 3), "index"), (lambda: groups_from_index([0, 1, 3], 3), "index"),
    (lambda: GroupSpec((3,)), "axes, index"), (lambda: GroupSpec((4,), index=torch.tensor([0, 1])), "axes, index"),
    (lambda: GroupSpec((3, 2), axes=[5]), "axes"), (lambda: groups_from_lists([[0, 1], []], 2), "lists"),
    (lambda: linear_search(np.ones(3), np.ones(3), 4), "k"), (lambda: wgsef_value([1.0, float("nan")], 1), "norms"),
    (lambda: GroupLasso(entries(3), 1.0).prox_(torch.tensor([1.0, float("nan"), 0]), 1.0), "theta"),
    (lambda: groups_from_lists([[0, 1], [1, 2]], 3), "lists"), (lambda: groups_from_lists([[0], [2]], 3), "lists"),
    (lambda: ProxSGD([nn.Parameter(V)], 0.0), "lr"), (lambda: ProxSGD([nn.Parameter(V)], 0.1, 1.0), "momentum"),
    (lambda: keep_largest(MLP(2, [3], 2), [4]), "k"),
])
def test_bad_input_names_the_argument(call, name):
    with pytest.raises(ValueError, match=f"^{name}:"):
        call()
