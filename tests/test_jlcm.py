"""Mathematics of prox_repro.compression.jlcm: k-means on the line, uniform grids, gradients, refits, storage, bad input."""
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prox_repro.compression.jlcm import (
    KERNELS, RULES, CodebookLinear, Coded, as_stored, codebook_quantiser, compress_model, fake_quantize, fit_codebook,
    fit_uniform, footprint_bits, group_neurons, kernel_table, kmeans_1d, kmeans_1d_exact, layer_inputs, learn_best,
    learn_codes, learn_jlcm, learn_uniform, llama_footprint, mapping_gradient, nearest_code, output_error, permute_pair,
    refit_codebook, second_moments, uniform_bits, uniform_quantize, uniform_quantiser, unpack,
)
from prox_repro.core.nets import MLP, ConvClassifier, seeded, stack, unstack

few = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 100_000)


def problem(seed=0, n_out=12, n_in=8, copies=()):
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(*copies, n_out, n_in, generator=g, dtype=torch.float64)
    W = W * torch.exp(0.5 * torch.randn(*copies, n_out, 1, generator=g, dtype=torch.float64))
    return W, second_moments(torch.randn(*copies, 60, n_in, generator=g, dtype=torch.float64))


# k-means on the line

@few
@given(seeds, st.integers(1, 4))
def test_dynamic_programming_is_the_best_over_all_partitions(seed, K):
    x = np.sort(np.random.default_rng(seed).standard_normal(8))
    best = min(sum(((x[a:b] - x[a:b].mean())**2).sum() for a, b in zip((0, *cut), (*cut, 8)))
               for cut in itertools.combinations(range(1, 8), K - 1))
    codes, sse = kmeans_1d_exact(x, K)
    assert np.isclose(sse, best, atol=1e-12)
    assert np.isclose(((x[:, None] - codes)**2).min(1).sum(), best, atol=1e-12)


@few
@given(seeds, st.integers(2, 6))
def test_lloyd_is_never_better_than_the_optimum_and_its_error_never_grows(seed, K):
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal(40))
    sse = []
    for sweeps in range(12):
        codes, index = kmeans_1d(x, K, sweeps)
        sse.append(float((codes[index] - x).square().sum()))
    assert (np.diff(sse) <= 1e-12).all() and sse[-1] >= kmeans_1d_exact(x.numpy(), K)[1] - 1e-10


def test_lloyd_is_the_optimum_on_separated_clusters():
    x = torch.cat([c + 0.01 * torch.randn(10, generator=torch.Generator().manual_seed(c)) for c in (-5, 0, 4, 9)]).double()
    codes, index = kmeans_1d(x, 4)
    sse = float((codes[index] - x).square().sum())
    assert np.isclose(sse, kmeans_1d_exact(x.numpy(), 4)[1])


@few
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30), st.integers(11, 16))
def test_enough_codes_give_no_error(values, K):
    x = torch.tensor(values, dtype=torch.float64)
    codes, index = kmeans_1d(x, K)
    assert torch.equal(codes[index], x) and bool((codes.diff() >= 0).all())


def test_one_code_is_the_mean_and_padding_is_ignored():
    x = torch.tensor([1.0, 2.0, 6.0, torch.inf, torch.inf])
    assert torch.isclose(kmeans_1d(x, 1)[0][0], torch.tensor(3.0))
    a, b = kmeans_1d(torch.randn(50, generator=torch.Generator().manual_seed(0)), 4)
    padded = torch.cat([torch.randn(50, generator=torch.Generator().manual_seed(0)), torch.full((9,), torch.inf)])
    assert torch.equal(kmeans_1d(padded, 4)[0], a)


@few
@given(seeds)
def test_nearest_code_is_nearest(seed):
    rng = np.random.default_rng(seed)
    codes, x = torch.from_numpy(np.sort(rng.standard_normal(5))), torch.from_numpy(rng.standard_normal(30))
    assert torch.equal(nearest_code(x, codes), (x[:, None] - codes).abs().argmin(1))


@pytest.mark.parametrize("K, dtype", [(K, dtype) for K in (2, 8, 60) for dtype in (torch.float32, torch.float64)]
                         + [(2, torch.bfloat16), (8, torch.bfloat16)])  # with 60 codes its coarse values tie with midpoints
def test_kmeans_is_lloyd_with_plain_distances(K, dtype):
    x = torch.randn(400, generator=torch.Generator().manual_seed(K)).to(dtype)
    v = x.double()
    start = (2 * torch.arange(K) + 1) * 400 // (2 * K)
    codes = v.sort().values[start]
    for _ in range(6):
        nearest = (v[:, None] - codes).abs().argmin(1)
        codes = torch.stack([v[nearest == k].mean() if bool((nearest == k).any()) else codes[k] for k in range(K)])
    ours, index = kmeans_1d(x, K, 6)
    assert torch.allclose(ours.double(), codes, atol=1e-6 if dtype == torch.float32 else 1e-10 if dtype == torch.float64 else 1e-2)
    assert torch.equal(index, (x[:, None] - ours).abs().argmin(1)) or dtype == torch.bfloat16


@few
@given(seeds, st.floats(0.1, 10))
def test_scaling_the_weights_scales_the_codes_and_keeps_the_mapping(seed, factor):
    W, H = problem(seed)
    group = group_neurons(W, 3)
    for make in (lambda W: fit_codebook(W, group, 4), lambda W: fit_codebook(W, group, 4, scales=True),
                 lambda W: learn_codes(W, H, fit_codebook(W, group, 4), steps=5).coded):
        a, b = make(W), make(factor * W)
        assert torch.equal(a.index, b.index)
        assert torch.allclose(factor * a.weight(), b.weight(), rtol=2e-3, atol=1e-5 * factor)  # float16 in the last case


# uniform quantisation

def test_uniform_quantisation_is_idempotent_and_the_nearest_level():
    w, scale, offset = torch.linspace(-3, 3, 101).double(), torch.tensor(0.7), torch.tensor(-1.1)
    q, number = uniform_quantize(w, scale, offset, 2)
    levels = offset + scale * torch.arange(4)
    assert torch.allclose((q - w).abs(), (w[:, None] - levels).abs().min(1).values) and torch.equal(uniform_quantize(q, scale, offset, 2)[0], q)
    assert torch.allclose(fake_quantize(w, scale, offset, 2), q)


def test_straight_through_derivatives():
    w = torch.tensor([-5.0, 0.2, 1.4, 9.0], dtype=torch.float64, requires_grad=True)
    scale, offset = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.0, -1.0))
    fake_quantize(w, scale, offset, 2).sum().backward()
    assert w.grad.tolist() == [0, 1, 1, 0] and offset.grad == 2                # clipped entries move with the grid only
    number = uniform_quantize(w.detach(), 1.0, -1.0, 2)[1]
    inside = (w.detach() + 1) * torch.tensor([0, 1, 1, 0])
    assert torch.isclose(scale.grad, (number - inside).sum())


def test_range_search_is_the_best_of_its_grid_and_helps_outputs():
    W, H = problem(3)
    shrink = [0.4, 0.7, 1.0]
    s, o = fit_uniform(W, 2, shrink=shrink)
    err = [(uniform_quantize(W, *fit_uniform(W, 2, shrink=[f]), 2)[0] - W).square().sum(1) for f in shrink]
    assert torch.allclose((uniform_quantize(W, s, o, 2)[0] - W).square().sum(1), torch.stack(err).min(0).values)
    outputs = [output_error(uniform_quantize(W, *fit_uniform(W, 2, gram=g), 2)[0], W, H) for g in (None, H)]
    assert outputs[1] <= outputs[0]


def test_learned_uniform_grid_improves_and_uses_few_levels():
    W, H = problem(4)
    s, o = fit_uniform(W, 2, gram=H)
    Q, rate = learn_uniform(W, H, s, o, 2, rates=(0.003, 0.03), steps=60)
    assert output_error(Q, W, H) < output_error(uniform_quantize(W, s, o, 2)[0], W, H)
    assert max(len(row.unique()) for row in Q) <= 4 and rate.ndim == 0


def test_scale_variant_with_a_group_per_row_is_uniform_quantisation_per_row():
    W, _ = problem(5)
    top = W.abs().amax(1)
    grid = torch.linspace(-1, 1, 8, dtype=torch.float64)
    coded = Coded(grid[None], nearest_code(W / top[:, None], grid.expand(12, 8)), torch.arange(12), top)
    scale = 2 * top[:, None] / 7
    assert torch.allclose(coded.weight(), uniform_quantize(W, scale, -top[:, None], 3)[0])


# groups and permutations

@pytest.mark.parametrize("rule", ["std", "quantile", "random", "none"])
def test_groups_are_a_partition_and_one_group_is_all(rule):
    W, _ = problem(1, copies=(2,))
    group = group_neurons(W, 4, rule)
    assert group.shape == (2, 12) and int(group.min()) == 0 and int(group.max()) <= 3
    assert bool((group_neurons(W, 1, rule) == 0).all())
    if rule != "quantile":
        assert torch.equal(group.sort(-1).values[0], torch.arange(4).repeat_interleave(3))


def test_sorted_groups_follow_the_standard_deviation_and_ignore_the_order_of_rows():
    W, _ = problem(2)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    group = group_neurons(W, 3)
    assert torch.equal(group_neurons(W[order], 3), group[order])
    spread = W.std(1, correction=0)
    assert all(spread[group == g].max() <= spread[group == g + 1].min() for g in (0, 1))


def test_kmeans_per_group_equals_kmeans_on_each_group():
    W, _ = problem(6, n_out=10)
    group = group_neurons(W, 3)
    coded = fit_codebook(W, group, 4)
    for g in range(3):
        codes, index = kmeans_1d(W[group == g].flatten(), 4)
        assert torch.allclose(coded.codes[g], codes) and torch.equal(coded.index[group == g].flatten(), index)


def test_permuted_networks_compute_the_same_function():
    net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 8), nn.ReLU(),
                        nn.Linear(8, 3)).eval()
    net[1].running_mean.normal_(), net[1].running_var.uniform_(0.5, 2)
    x = torch.randn(5, 2, 6, 6)
    before = net(x)
    permute_pair(net[0], net[5], torch.randperm(6), norm=net[1])
    permute_pair(net[5], net[7], torch.randperm(8))
    assert torch.allclose(net(x), before, atol=1e-5)


# gradients

@few
@given(seeds)
def test_softmax_rule_is_the_derivative_of_the_relaxation(seed):
    g = torch.Generator().manual_seed(seed)
    codes, gamma = torch.randn(3, 5, generator=g).double(), torch.randn(3, 4, generator=g).double()
    logits = torch.randn(3, 4, 5, generator=g).double().requires_grad_()
    ((logits.softmax(-1) * codes[:, None]).sum(-1) * gamma).sum().backward()
    assert torch.allclose(logits.grad, mapping_gradient(gamma, codes, logits.argmax(-1), logits.detach(), "softmax"), atol=1e-12)


@pytest.mark.parametrize("rule", ["default", *KERNELS])
def test_rules_vanish_at_the_current_code_and_point_along_minus_gamma(rule):
    W, _ = problem(7)
    coded = fit_codebook(W, group_neurons(W, 2), 5)
    gamma, logits = torch.randn_like(W), torch.randn(*W.shape, 5).double()
    push = mapping_gradient(gamma, coded.row_tables(), coded.index, logits, rule)
    assert bool((push.gather(-1, coded.index[..., None]) == 0).all())
    D = coded.row_tables()[:, None] - coded.weight()[..., None]
    assert bool((push * gamma[..., None] * D >= 0).all())


def test_kernels_fall_with_distance_the_default_rises_and_neighbours_are_antisymmetric():
    codes = torch.linspace(-2, 2, 5).double()
    assert bool((kernel_table(codes, "default")[2].abs().diff()[2:] > 0).all())
    for rule in KERNELS:
        table = kernel_table(codes, rule)
        assert torch.allclose(table[2], -table[2].flip(0)) and bool((table[0, 1:].diff() <= 0).all()) and table[0, 1] > table[0, 4]
        assert torch.allclose(kernel_table(7 * codes, rule), table)


def test_descent_moves_to_neighbours_with_the_proximal_rule():
    W, H = problem(8)
    start = fit_codebook(W, group_neurons(W, 2), 8)
    jumps = {rule: learn_codes(W, H, start, rule=rule, steps=20, lr_map=0.3).jumps for rule in ("default", "adjacent")}
    assert int(jumps["adjacent"][2:].sum()) == 0 < int(jumps["adjacent"][1]) and int(jumps["default"][2:].sum()) > 0


def test_loss_gradient_in_the_codes_by_finite_differences():
    W, H = problem(9)
    coded = fit_codebook(W, group_neurons(W, 2), 3)
    energy = (W @ H * W).sum(-1)
    gamma = 2 * (coded.weight() - W) @ H / energy[:, None] / len(W)
    for g, k in itertools.product(range(2), range(3)):
        exact = float(gamma[(coded.group == g)[:, None] & (coded.index == k)].sum())
        move = torch.zeros_like(coded.codes)
        move[g, k] = 1e-5
        up, down = (output_error(coded._replace(codes=coded.codes + sign * move).weight(), W, H) for sign in (1, -1))
        assert np.isclose(exact, float(up - down) / 2e-5, rtol=1e-6, atol=1e-9)


# refit and learning

@few
@given(seeds, st.booleans())
def test_refit_never_raises_the_loss_and_repeats_itself(seed, scales):
    W, H = problem(seed)
    start = fit_codebook(W, group_neurons(W, 3), 4, scales)
    once = refit_codebook(start, W, H)
    assert output_error(once.weight(), W, H) <= output_error(start.weight(), W, H) + 1e-10
    if not scales:
        assert torch.allclose(refit_codebook(once, W, H).codes, once.codes, atol=1e-6)


def test_refit_is_least_squares():
    W, H = problem(10, n_out=4)
    start = fit_codebook(W, torch.zeros(4, dtype=torch.int64), 3)
    codes = refit_codebook(start, W, H).codes[0]
    root = torch.linalg.cholesky(H).T
    Z, energy = F.one_hot(start.index, 3).double(), (W @ H * W).sum(-1).sqrt()
    A, b = torch.cat([root @ z / e for z, e in zip(Z, energy)]), torch.cat([root @ w / e for w, e in zip(W, energy)])
    assert torch.allclose(codes, torch.linalg.lstsq(A, b).solution, atol=1e-6)


def test_unused_codes_keep_their_value():
    W, H = problem(11)
    start = fit_codebook(W, group_neurons(W, 1), 4)
    wide = Coded(F.pad(start.codes, (0, 1), value=99.0), start.index, start.group)
    assert torch.isclose(refit_codebook(wide, W, H).codes[0, 4], torch.tensor(99.0).double())


def test_white_inputs_make_kmeans_of_one_row_a_fixed_point_of_the_refit():
    W, _ = problem(12, n_out=1, n_in=40)
    coded = fit_codebook(W, torch.zeros(1, dtype=torch.int64), 4)
    assert torch.allclose(refit_codebook(coded, W, torch.eye(40).double()).codes, coded.codes, atol=1e-7)


@pytest.mark.parametrize("rule", RULES)
def test_learning_decodes_to_what_it_reports_and_copies_are_independent(rule):
    W, H = problem(13, copies=(2,))
    start = fit_codebook(W, group_neurons(W, 2), 4)
    both = learn_codes(W, H, start, rule=rule, steps=15, lr_map=torch.tensor([0.1, 1.0]).double())
    assert torch.allclose(both.loss[-1], output_error(both.coded.weight(), W, H))
    assert bool((both.coded.codes.diff(dim=-1) >= 0).all())
    for i, rate in enumerate((0.1, 1.0)):
        one = learn_codes(W[i], H[i], Coded(*(None if q is None else q[i] for q in start)), rule=rule, steps=15, lr_map=rate)
        assert torch.equal(one.coded.index, both.coded.index[i]) and torch.equal(one.jumps, both.jumps[i])


def test_best_rate_is_the_best_and_zero_rates_freeze():
    W, H = problem(14, copies=(3,))
    start = fit_codebook(W, group_neurons(W, 2), 4)
    best, rate = learn_best(W, H, start, [0.1, 1.0], steps=20)
    alone = torch.stack([learn_codes(W, H, start, lr_map=r, steps=20).loss[-1] for r in (0.1, 1.0)])
    assert torch.allclose(best.loss[-1], alone.min(0).values)
    assert torch.equal(rate, torch.tensor([0.1, 1.0], dtype=torch.float64)[alone.argmin(0)])
    frozen = learn_codes(W, H, start, lr_map=0.0, lr_codes=0.0, refit=False, steps=3).coded
    assert torch.equal(frozen.index, as_stored(start).index) and torch.equal(frozen.codes, as_stored(start).codes)


# networks

def test_a_network_compressed_with_many_codes_is_unchanged_and_stacks_equal_single_networks():
    nets, x = [seeded(s, MLP, 6, [8], 3) for s in (0, 1)], torch.randn(2, 50, 6, generator=torch.Generator().manual_seed(0))
    same = compress_model(nets[0], x[0], codebook_quantiser(64, 1))
    assert torch.allclose(same.model(x[0]), nets[0](x[0]), atol=5e-3)
    quantise = codebook_quantiser(4, 2, learn="joint", rates=(0.1, 1.0), steps=10)
    together = compress_model(stack(nets), x, quantise)
    for net, inputs, copy in zip(nets, x, unstack(together.model)):
        alone = compress_model(net, inputs, quantise)
        assert alone.bits == together.bits and torch.allclose(alone.model(inputs), copy(inputs), atol=1e-4)


def test_convolutions_are_matrices_of_patches():
    net, x = seeded(0, ConvClassifier, 1, 4, (3, 5)), torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    conv = net.convs[0]
    rows = layer_inputs(conv, x) @ conv.weight.flatten(1).T + conv.bias
    assert torch.allclose(rows.reshape(6, 8, 8, 3).movedim(-1, 1), conv(x), atol=1e-5)
    result = compress_model(net, x, uniform_quantiser(8))
    assert torch.allclose(result.model(x), net(x), atol=2e-2)
    assert result.bits == sum(uniform_bits(r.weight.shape[0], r.weight.shape[1], 8) for r in result.layers) + 16 * 12


# storage

@few
@given(st.integers(2, 20), st.integers(1, 5), st.booleans(), st.booleans(), st.booleans(), seeds)
def test_packing_is_exact_and_has_the_counted_length(K, G, scales, local, bias, seed):
    g = torch.Generator().manual_seed(seed)
    group = torch.arange(7) * G // 7
    group = group.flip(0) if local and G > 1 else group
    codes = torch.randn(1 if scales else G, K, generator=g).half().float()
    coded = Coded(codes, torch.randint(K, (7, 5), generator=g), group, torch.rand(G, generator=g).half().float() if scales else None)
    layer = CodebookLinear(coded, torch.randn(7, generator=g).half().float() if bias else None)
    data = layer.pack()
    assert len(data) == -(-layer.footprint_bits() // 8)
    back, x = unpack(data, 7, 5, K, G, scales=scales, local=layer.local, bias=bias), torch.randn(3, 5, generator=g)
    assert torch.equal(back.index, layer.index) and torch.equal(back.weight(), layer.weight()) and torch.equal(back(x), layer(x))


def test_footprints_by_hand():
    assert footprint_bits(4096, 4096, 4, 8) == 33_554_432 + 512 + 7 * 12
    assert footprint_bits(10, 3, 3, 2, scales=True, local=True) == 60 + 5 * 16 + 10
    assert uniform_bits(10, 3, 2) == 60 + 320 and uniform_bits(10, 3, 2, per_row=False) == 92
    llama = llama_footprint(16, 1, embedding_bits=16)
    assert np.isclose(llama["indices"] + llama["embedding and head"] + llama["normalisation"], 6_738_415_616 * 2e-9)


# bad input

W0, H0 = problem(0)
START = fit_codebook(W0, group_neurons(W0, 2), 4)
LAYER = CodebookLinear(START)


@pytest.mark.parametrize("call, name", [
    (lambda: fit_codebook(W0, START.group, 1), "n_codes: .*1"),
    (lambda: fit_codebook(W0, START.group, 257), "n_codes: .*257"),
    (lambda: kmeans_1d(torch.zeros(0), 4), "values"),
    (lambda: kmeans_1d(torch.tensor([1.0, torch.nan]), 4), "values"),
    (lambda: kmeans_1d(torch.tensor([1.0, -torch.inf]), 4), "values: .*-inf"),
    (lambda: kmeans_1d(torch.full((2, 3), torch.inf), 4), "values"),
    (lambda: group_neurons(W0, 0), "n_groups: .*0"),
    (lambda: group_neurons(W0, 13), "n_groups: .*13"),
    (lambda: group_neurons(W0, 2, "best"), "rule: .*best"),
    (lambda: group_neurons(W0 * torch.nan, 2), "W: .*NaN"),
    (lambda: fit_codebook(W0, START.group + 1, 4), "group"),
    (lambda: fit_codebook(W0, START.group[:5], 4), "group"),
    (lambda: CodebookLinear(START._replace(group=START.group + 7)), "coded"),
    (lambda: uniform_quantize(W0, 1.0, 0.0, 9), "bits: .*9"),
    (lambda: second_moments(torch.zeros(0, 8)), "X: .*at least one"),
    (lambda: learn_jlcm(LAYER, W0, torch.zeros(5, 7).double()), "X: .*8"),
    (lambda: learn_jlcm(LAYER, W0, torch.zeros(0, 8).double()), "X: .*at least one"),
    (lambda: learn_jlcm(LAYER, W0, torch.ones(5, 8).double(), lr_map=0.0), "lr_map: .*0"),
    (lambda: learn_jlcm(LAYER, W0, torch.ones(5, 8).double(), lr_codes=-1.0), "lr_codes: .*-1"),
    (lambda: learn_jlcm(LAYER, W0, torch.full((5, 8), torch.nan).double()), "X: .*NaN"),
    (lambda: learn_jlcm(LAYER, W0[:5], torch.ones(5, 8).double()), "W: .*12"),
    (lambda: learn_jlcm(LAYER, W0, torch.ones(5, 8).double(), batch=0), "batch: .*0"),
    (lambda: learn_codes(W0, H0, START, lr_map=-1.0), "lr_map: .*>= 0"),
    (lambda: compress_model(nn.Linear(8, 3), torch.full((5, 8), torch.nan), uniform_quantiser(2)), "x: .*NaN"),
    (lambda: compress_model(nn.Linear(8, 3), torch.zeros(0, 8), uniform_quantiser(2)), "x: .*at least one"),
    (lambda: compress_model(nn.Linear(8, 3), torch.zeros(5, 7), uniform_quantiser(2)), "x: .*8"),
    (lambda: mapping_gradient(W0, START.row_tables(), START.index, rule="default"), "logits: .*default"),
    (lambda: footprint_bits(10, 3, 4, 0), "n_groups: .*0"),
    (lambda: footprint_bits(0, 3, 4, 1), "n_out: .*0"),
    (lambda: llama_footprint(0), "bits: .*0"),
    (lambda: learn_codes(W0, H0, START, rule="magic"), "rule: .*magic"),
    (lambda: learn_codes(W0, H0, START, steps=0), "steps: .*0"),
    (lambda: learn_codes(W0, H0[:7, :7], START), "gram"),
    (lambda: kernel_table(START.codes, "magic"), "rule: .*magic"),
    (lambda: codebook_quantiser(4, learn="all"), "learn: .*all"),
    (lambda: permute_pair(nn.Linear(3, 4), nn.Linear(4, 2), torch.tensor([0, 0, 1, 2])), "order"),
    (lambda: permute_pair(nn.Linear(3, 4), nn.Linear(5, 2), torch.arange(4)), "next_layer"),
    (lambda: unpack(b"123", 7, 5, 4, 1), "data"),
])
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
