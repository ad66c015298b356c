"""Mathematics of prox_repro.generalization.grokking: arithmetic of the softmax, StableMax, projected gradients, and bad input."""
import copy
import math
import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.nets import MLP, seeded, stack, unstack
from prox_repro.generalization.grokking import (
    PRECISIONS, UNIT_ROUNDOFF, GrokMLP, PerpGrad, collapse_gap, first_step_above, log_stablemax, log_steps, make_network, modular_task,
    nlm_alignment, perp_grad_, softmax_collapse_fraction, softmax_cross_entropy, sparse_parity, stablemax, stablemax_collapse_fraction,
    stablemax_cross_entropy, stable_exp, stack_tasks, train_grokking,
)

seeds = st.integers(0, 100_000)
gen = lambda seed: torch.Generator().manual_seed(seed)
DOUBLE = torch.float64


def example(seed=0, *shape, classes=5, dtype=DOUBLE):
    shape = shape or (20,)
    return 3 * torch.randn(*shape, classes, generator=gen(seed), dtype=dtype), torch.randint(classes, shape, generator=gen(seed + 1))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


# softmax in a format

@pytest.mark.parametrize("shape", [(1,), (20,), (2, 3, 7)])
def test_double_precision_is_the_librarys_cross_entropy(shape):
    z, y = example(1, *shape)
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    ours = softmax_cross_entropy(a, y, "fp64")
    theirs = F.cross_entropy(b.flatten(0, -2), y.flatten(), reduction="none").view(shape).mean(-1)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    ours.sum().backward()
    theirs.sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(softmax_cross_entropy(z, y, "fp64", fused=True), theirs.detach(), rtol=1e-12, atol=0)


@settings(deadline=None, max_examples=30)
@given(seeds, st.sampled_from(list(PRECISIONS)), st.integers(2, 40))
def test_error_of_a_format_is_of_the_order_of_its_roundoff(seed, precision, classes):
    z, y = example(seed, 12, classes=classes)
    z = z.to(PRECISIONS[precision]).double()  # so that only the operations are rounded
    u = UNIT_ROUNDOFF[precision]
    reference = F.cross_entropy(z, y)
    assert abs(softmax_cross_entropy(z, y, precision) - reference) <= 60 * u * (1 + z.abs().max())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("classes", [2, 3, 16, 113])
def test_collapse_lies_between_the_bounds(precision, classes):
    u, q = UNIT_ROUNDOFF[precision], collapse_gap(classes, precision)
    spacing = 0.05 if precision == "bf16" else 0.01  # bfloat16 numbers near 8 lie 1/16 apart
    assert math.log(1 / u) - spacing <= q <= math.log((classes - 1) / u) + spacing
    if classes == 2:
        assert abs(q - math.log(1 / u)) < spacing


@pytest.mark.parametrize("precision", PRECISIONS)
def test_above_the_threshold_loss_and_true_gradient_are_exactly_zero(precision):
    for classes in (2, 41):
        q, y = collapse_gap(classes, precision), torch.zeros(1, dtype=torch.int64)
        for lead, dead in ((q + 0.5, True), (q - 0.5, False)):
            z = torch.zeros(1, classes, dtype=DOUBLE)
            z[0, 0] = lead
            loss = softmax_cross_entropy(z.requires_grad_(), y, precision)
            loss.backward()
            assert (loss == 0) == dead and (z.grad[0, 0] == 0) == dead and (z.grad[0, 1:] > 0).all()
            assert softmax_collapse_fraction(z.detach(), y, precision) == float(dead)


def test_rounding_of_one_plus_a_half_spacing():
    for name, dtype in PRECISIONS.items():
        one, u = torch.ones((), dtype=dtype), torch.tensor(UNIT_ROUNDOFF[name], dtype=dtype)
        assert one + u == 1 and one + u * 1.5 != 1


def test_collapse_fraction_of_bounded_and_of_huge_logits():
    z, y = example(2, 3, 50)
    assert (softmax_collapse_fraction(z.clamp(-2, 2), y, "fp32") == 0).all()
    right = z.argmax(-1)
    assert (softmax_collapse_fraction(1000 * z, right, "fp64") >= 0.98).all()
    assert (softmax_collapse_fraction(1000 * z, (right + 1) % 5, "fp64") == 0).all()  # wrong examples keep their gradient


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_collapse_is_monotone_in_the_format_and_in_the_scale(seed):
    z, y = example(seed, 40)
    share = [softmax_collapse_fraction(8 * z, y, name) for name in ("bf16", "fp16", "fp32", "fp64")]
    assert share == sorted(share, reverse=True)
    grown = [softmax_collapse_fraction(c * z, y) for c in (1.0, 4.0, 16.0)]
    assert grown == sorted(grown)


def test_zeroed_true_gradient_touches_right_examples_only():
    z, y = example(3, 30)
    right = z.argmax(-1) == y
    assert right.any() and (~right).any()
    grads = []
    for zero in (False, True):
        x = z.clone().requires_grad_()
        softmax_cross_entropy(x, y, "fp64", zero_true=zero).backward()
        grads.append(x.grad)
    true = F.one_hot(y, 5).bool()
    assert (grads[1][true & right[:, None]] == 0).all()
    keep = ~(true & right[:, None])
    assert torch.equal(grads[0][keep], grads[1][keep])


# StableMax

@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(2, 30), st.floats(0.01, 1e6))
def test_stablemax_is_a_softmax_of_squashed_logits(seed, classes, scale):
    z = scale * torch.randn(6, classes, generator=gen(seed), dtype=DOUBLE)
    p = stablemax(z)
    torch.testing.assert_close(p, (z.sign() * z.abs().log1p()).softmax(-1), rtol=1e-12, atol=0)
    torch.testing.assert_close(p.sum(-1), torch.ones(6, dtype=DOUBLE), rtol=1e-14, atol=0)
    assert (p > 0).all() and torch.equal(p.argmax(-1), z.argmax(-1))
    order = z.argsort(-1)
    assert (p.gather(-1, order).diff(dim=-1) >= 0).all()
    torch.testing.assert_close(log_stablemax(z), p.log())
    torch.testing.assert_close(stablemax(z.T, 0), p.T)


def test_stablemax_gradients():
    z = torch.tensor([[-3.0, -0.5, 0.0, 0.7, 40.0], [0.0, 0.0, 0.0, 0.0, 0.0]], dtype=DOUBLE, requires_grad=True)
    y = torch.tensor([2, 4])
    assert torch.autograd.gradcheck(lambda x: stablemax_cross_entropy(x, y), z, eps=1e-7, atol=1e-6)
    value = stablemax_cross_entropy(z, y)
    slow = -log_stablemax(z).gather(-1, y[:, None]).mean()  # automatic differentiation, through the branches
    torch.testing.assert_close(value, slow)
    torch.testing.assert_close(*(torch.autograd.grad(v, z, retain_graph=True)[0] for v in (value, slow)), rtol=1e-12, atol=1e-16)
    x = torch.tensor([-1e-9, 0.0, 1e-9], dtype=DOUBLE, requires_grad=True)  # s is once differentiable at 0
    torch.testing.assert_close(torch.autograd.grad(stable_exp(x).sum(), x)[0], torch.ones(3, dtype=DOUBLE))


def test_stablemax_gradients_in_single_precision_have_no_nan():
    z = torch.tensor([[1.0, -1.0, 0.0, 5e8]], requires_grad=True)  # 1 is where the unused branch is singular
    for loss in (lambda z: -log_stablemax(z)[0, 0], lambda z: stablemax_cross_entropy(z, torch.tensor([0]), torch.float32)):
        assert torch.isfinite(torch.autograd.grad(loss(z), z)[0]).all()


@pytest.mark.parametrize("lead, slope", [(10, -0.083), (40, -0.018), (1e3, -1.0e-4), (1e6, -1.1e-10)])
def test_stablemax_never_lets_go(lead, slope):
    z = torch.zeros(1, 113, dtype=DOUBLE)
    z[0, 0] = lead
    z.requires_grad_()
    y = torch.zeros(1, dtype=torch.int64)
    g = torch.autograd.grad(stablemax_cross_entropy(z, y), z)[0][0, 0].item()
    q = lead
    assert abs(g - slope) <= 0.06 * abs(slope) and g == pytest.approx(-112 / (q + 113) / (1 + q), rel=1e-8)
    assert stablemax_collapse_fraction(z.detach(), y) == 0


def test_stablemax_depends_on_shifts_and_softmax_does_not():
    z, _ = example(4)
    assert torch.allclose((z + 3).softmax(-1), z.softmax(-1)) and not torch.allclose(stablemax(z + 3), stablemax(z), atol=1e-3)


def test_stablemax_collapses_only_at_leads_beyond_the_reciprocal_of_the_roundoff():
    y = torch.zeros(1, dtype=torch.int64)
    for precision in ("fp32", "fp64"):
        for factor, collapsed in ((0.05, 0), (4.0, 1)):
            z = torch.tensor([[factor / UNIT_ROUNDOFF[precision], 0.0]], dtype=DOUBLE)
            assert stablemax_collapse_fraction(z, y, PRECISIONS[precision]) == collapsed


# inflation

def gradients(net, x, y):
    net.zero_grad()
    softmax_cross_entropy(net(x), y, "fp64").sum().backward()
    return net


@settings(deadline=None, max_examples=15)
@given(seeds, st.integers(1, 3), st.floats(0.1, 30))
def test_euler_identity(seed, depth, scale):
    net = seeded(seed, MLP, 6, [8] * depth, 4, bias=False).double()
    with torch.no_grad():
        net.layers[-1].weight.mul_(scale)
    x, y = torch.randn(15, 6, generator=gen(seed), dtype=DOUBLE), torch.randint(4, (15,), generator=gen(seed + 1))
    z = gradients(net, x, y)(x)
    expected = ((F.one_hot(y, 4) - z.softmax(1)) * z).sum(1).mean()
    lead = (z.softmax(1) * (z.gather(1, y[:, None]) - z)).sum(1).mean()
    torch.testing.assert_close(expected, lead, rtol=1e-9, atol=1e-12)
    for w in net.parameters():
        torch.testing.assert_close(-(w * w.grad).sum(), expected, rtol=1e-9, atol=1e-12)
    cosines = nlm_alignment(net.named_parameters())
    flat = [torch.cat([t.flatten() for t in ts]) for ts in ([w.detach() for w in net.parameters()], [w.grad for w in net.parameters()])]
    torch.testing.assert_close(cosines["global"], -F.cosine_similarity(*flat, dim=0), rtol=1e-9, atol=1e-12)


def test_alignment_is_the_derivative_along_the_scale():
    net, x = seeded(1, MLP, 5, [7], 3, bias=False).double(), torch.randn(9, 5, generator=gen(2), dtype=DOUBLE)
    y = torch.arange(9) % 3
    loss = lambda c: softmax_cross_entropy(c * net(x), y, "fp64").item()
    gradients(net, x, y)
    w = net.layers[0].weight
    numeric = (loss(1 + 1e-6) - loss(1 - 1e-6)) / 2e-6
    assert numeric == pytest.approx((w * w.grad).sum().item(), rel=1e-6)


# projected gradients

def leaf(*shape, seed=0, dtype=DOUBLE):
    w = torch.nn.Parameter(torch.randn(*shape, generator=gen(seed), dtype=dtype))
    w.grad = torch.randn(*shape, generator=gen(seed + 1), dtype=dtype)
    return w


@settings(deadline=None, max_examples=30)
@given(seeds, st.sampled_from(["tensor", "global"]), st.booleans())
def test_projection(seed, scope, renormalize):
    params = [leaf(4, 3, seed=seed), leaf(5, seed=seed + 7), leaf(2, 2, 2, seed=seed + 9)]
    flat = lambda get: [torch.cat([get(w).detach().flatten() for w in params])] if scope == "global" else [
        get(w).detach().flatten() for w in params]
    before = [g.clone() for g in flat(lambda w: w.grad)]
    perp_grad_(params, scope, renormalize)
    for w, g, new in zip(flat(lambda w: w), before, flat(lambda w: w.grad)):
        assert abs(w @ new) <= 1e-12 * w.norm() * new.norm()
        part = g - (w @ g) / (w @ w) * w
        torch.testing.assert_close(new, part * (g.norm() / part.norm() if renormalize else 1), rtol=1e-9, atol=1e-12)
        if not renormalize:  # a projection, and a descent direction
            torch.testing.assert_close(g @ new, new @ new)


def test_projection_of_a_stack_is_that_of_its_members():
    nets = [seeded(s, MLP, 4, [6], 3) for s in range(3)]
    together = stack(nets)
    x, y = torch.randn(3, 8, 4, generator=gen(0)), torch.randint(3, (3, 8), generator=gen(1))
    for scope in ("tensor", "global"):
        gradients(together, x, y)
        perp_grad_(together.parameters(), scope, batch_dims=1)
        cosines = nlm_alignment(together.named_parameters(), 1)
        for i, net in enumerate(nets):
            gradients(net, x[i], y[i])
            perp_grad_(net.parameters(), scope)
            for (name, w), v in zip(net.named_parameters(), together.parameters()):
                torch.testing.assert_close(w.grad, v.grad[i], rtol=1e-4, atol=1e-6)
            assert abs(nlm_alignment(net.named_parameters())["global"] - cosines["global"][i]) < 1e-5


@settings(deadline=None, max_examples=20)
@given(seeds, st.floats(1e-3, 10))
def test_pythagoras_for_gradient_descent(seed, lr):
    w = leaf(6, 4, seed=seed)
    before, g = w.detach().clone(), w.grad.clone()
    PerpGrad([w], base=torch.optim.SGD, lr=lr, renormalize=False).step()
    part = g - (before * g).sum() / (before * before).sum() * before
    assert w.detach().square().sum().item() == pytest.approx((before.square().sum() + lr**2 * part.square().sum()).item(), rel=1e-10)


def test_loss_without_scale_has_nothing_to_project():
    w = torch.nn.Parameter(torch.randn(7, generator=gen(3), dtype=DOUBLE))
    target = torch.randn(7, generator=gen(4), dtype=DOUBLE)
    F.cosine_similarity(w, target, dim=0).backward()
    before = w.grad.clone()
    perp_grad_([w])
    torch.testing.assert_close(w.grad, before, rtol=1e-12, atol=1e-14)


def test_zero_parameters_keep_their_gradient_and_warn():
    w = torch.nn.Parameter(torch.zeros(3))
    w.grad = torch.tensor([1.0, 2.0, 3.0])
    with pytest.warns(UserWarning, match="has no direction"):
        perp_grad_([w], renormalize=False)
    assert torch.equal(w.grad, torch.tensor([1.0, 2.0, 3.0]))
    empty = torch.nn.Parameter(torch.zeros(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        perp_grad_([empty])  # no gradient: skipped
        perp_grad_([], "global")


@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE, torch.float16])
@settings(deadline=None, max_examples=15)
@given(seed=seeds, scale=st.floats(-50, 50).filter(lambda c: abs(c) > 1e-2))
def test_parallel_gradients_become_zero_and_not_noise_of_full_norm(scope, dtype, seed, scale):
    w = leaf(7, 5, seed=seed, dtype=dtype)
    w.grad = (scale * w).detach()
    perp_grad_([w], scope)
    assert (w.grad == 0).all()
    one = leaf(1, seed=seed, dtype=dtype)  # in one dimension every gradient is parallel
    perp_grad_([one], scope)
    assert one.grad == 0


@settings(deadline=None, max_examples=15)
@given(seeds)
def test_nearly_parallel_gradients_keep_their_direction(seed):
    w = leaf(30, seed=seed)
    side = w.grad - (w.grad @ w) / (w @ w) * w.detach()
    w.grad = (w + 1e-6 * side).detach()
    norm = w.grad.norm()
    perp_grad_([w])
    torch.testing.assert_close(w.grad, (side * norm / side.norm()).detach(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("renormalize", [True, False])
def test_zero_and_tiny_parameters_in_any_format(dtype, renormalize):
    zero, tiny = leaf(4, dtype=dtype), leaf(4, seed=5, dtype=dtype)
    with torch.no_grad():
        zero.zero_()
        tiny.mul_(1e-4)  # whose squares underflow in float16
    before, raw = zero.grad.clone(), tiny.grad.double()
    with pytest.warns(UserWarning, match="has no direction"):
        perp_grad_([zero, tiny], renormalize=renormalize)
    torch.testing.assert_close(zero.grad, before)
    assert torch.isfinite(tiny.grad).all()
    w = tiny.detach().double()
    part = raw - (w @ raw) / (w @ w) * w
    expected = part * (raw.norm() / part.norm() if renormalize else 1)
    torch.testing.assert_close(tiny.grad.double(), expected, rtol=0.05, atol=8 * torch.finfo(dtype).eps * float(raw.norm()))


@pytest.mark.parametrize("base, options", [(torch.optim.AdamW, {"lr": 0.01}), (torch.optim.AdamW, {"lr": 0.01, "fused": True}),
                                           (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9})])
def test_state_dict_round_trip(base, options):
    net = seeded(0, MLP, 4, [6], 3, bias=False)
    x, y = torch.randn(10, 4, generator=gen(0)), torch.arange(10) % 3
    opt = PerpGrad(net.parameters(), base=base, **options)

    def advance(net, opt, n):
        for _ in range(n):
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()

    advance(net, opt, 3)
    twin = copy.deepcopy(net)
    other = PerpGrad(twin.parameters(), base=base, **{**options, "lr": 7.0})
    other.load_state_dict(copy.deepcopy(opt.state_dict()))  # torch shares tensors otherwise
    assert other.param_groups[0]["lr"] == options["lr"] and len(other.state) == 2
    advance(net, opt, 3)
    advance(twin, other, 3)
    for a, b in zip(net.parameters(), twin.parameters()):
        assert torch.equal(a, b)


def test_optimizer_interface():
    w = leaf(3, 3)
    opt = PerpGrad([{"params": [w], "lr": 0.5}], base=torch.optim.SGD, lr=1.0)
    assert opt.param_groups is opt.base.param_groups and opt.param_groups[0]["lr"] == 0.5
    schedule = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.1)
    opt.step()
    schedule.step()
    assert opt.base.param_groups[0]["lr"] == pytest.approx(0.05)
    extra = leaf(2)
    opt.add_param_group({"params": [extra]})
    assert len(opt.base.param_groups) == 2
    assert opt.step(lambda: (w.grad.zero_(), torch.tensor(4.0))[1]) == 4.0
    opt.zero_grad()
    assert w.grad is None


@pytest.mark.parametrize("base", [torch.optim.Rprop, torch.optim.Adagrad, torch.optim.RMSprop])
def test_other_bases(base):
    w = leaf(4)
    before = w.detach().clone()
    PerpGrad([w], base=base, lr=0.01).step()
    assert torch.isfinite(w).all() and not torch.equal(w, before)


def test_copies_are_complete():
    w = leaf(3, 2)
    opt = PerpGrad([w], base=torch.optim.SGD, lr=0.1, momentum=0.9, scope="global", renormalize=False)
    opt.step()
    for twin in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        assert twin.how == opt.how and twin.param_groups is twin.base.param_groups and twin.state is twin.base.state
        v, = twin.param_groups[0]["params"]
        assert v is not w and torch.equal(v, w) and len(twin.state) == 1
        v.grad = w.grad.clone()
        twin.step()
        assert not torch.equal(v, w)


def test_no_weight_decay_unless_asked():
    assert PerpGrad([leaf(2)], lr=0.1).param_groups[0]["weight_decay"] == 0
    assert PerpGrad([leaf(2)], lr=0.1, weight_decay=0.3).param_groups[0]["weight_decay"] == 0.3
    w = leaf(5)
    before = w.detach().clone()
    w.grad.zero_()
    PerpGrad([w], lr=0.1).step()
    assert torch.equal(w, before)
    w.grad = torch.zeros(5, dtype=DOUBLE)
    torch.optim.AdamW([w], lr=0.1).step()  # its default decays
    assert (w.abs() < before.abs()).all()


# tasks, networks, training

@pytest.mark.parametrize("op", ["add", "sub", "mul"])
def test_modular_task_is_a_partition_with_right_classes(op):
    task = modular_task(7, op, 0.6, 3)
    x, y = torch.cat([task.x_train, task.x_test]), torch.cat([task.y_train, task.y_test])
    assert len(task.x_train) == round(0.6 * 49) and len({tuple(r) for r in x.tolist()}) == 49
    a, b = x.numpy().T
    assert np.array_equal(y.numpy(), {"add": a + b, "sub": a - b, "mul": a * b}[op] % 7)
    again = modular_task(7, op, 0.6, 3)
    assert torch.equal(task.x_train, again.x_train) and not torch.equal(task.x_train, modular_task(7, op, 0.6, 4).x_train)


def test_parity():
    task = sparse_parity(3, 5, 200, 0.5, 1)
    assert task.x_train.shape == (100, 8) and set(task.x_train.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal((task.x_train[:, :3] > 0).sum(1) % 2, task.y_train)


@settings(deadline=None, max_examples=15)
@given(seeds, st.integers(2, 9), st.integers(1, 3))
def test_lookup_is_the_dense_network_with_the_same_weights(seed, p, depth):
    net, dense = seeded(seed, GrokMLP, p, 6, depth).double(), seeded(seed, MLP, 2 * p, [6] * depth, p, bias=False).double()
    x = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    a, b = net(x), dense(F.one_hot(x, p).flatten(1).double())
    torch.testing.assert_close(a, b)
    F.cross_entropy(a, x.sum(1) % p).backward()
    F.cross_entropy(b, x.sum(1) % p).backward()
    torch.testing.assert_close(net.table.grad.T, dense.layers[0].weight.grad)


def test_a_stack_trains_like_its_members():
    tasks = [modular_task(5, "add", 0.7, s) for s in (0, 1)]
    options = {"lr": 0.01, "n_steps": 20, "record": [10, 20]}
    together = train_grokking(stack_tasks(tasks), softmax_cross_entropy, partial(PerpGrad, base=torch.optim.SGD, batch_dims=1),
                              model=make_network(stack_tasks(tasks), 16, (0, 1)), **options)
    for i in (0, 1):
        alone = train_grokking(stack_tasks([tasks[i]]), softmax_cross_entropy, partial(PerpGrad, base=torch.optim.SGD, batch_dims=1),
                               model=make_network(stack_tasks([tasks[i]]), 16, (i,)), **options)
        for w, v in zip(unstack(together.model)[i].parameters(), unstack(alone.model)[0].parameters()):
            torch.testing.assert_close(w, v, rtol=1e-4, atol=1e-6)
    assert together.steps.tolist() == [0, 10, 20] and together.weight_decay == 0


def test_intervention_takes_effect_at_its_step():
    task = stack_tasks([modular_task(5, "add", 0.7, 0)])
    silent = lambda z, y: 0.0 * z.sum((-2, -1))
    h = train_grokking(task, softmax_cross_entropy, partial(torch.optim.SGD, weight_decay=0.0), model=make_network(task, 8, (0,)), lr=0.5,
                       n_steps=6, record=[1, 2, 3, 4, 5, 6], intervene=(3, silent))
    assert len(set(h.norm[:4, 0])) == 4 and len(set(h.norm[3:, 0])) == 1


def test_first_step_above():
    steps, values = np.array([0, 10, 20, 40]), np.array([[0.0, 0.9, 0.0], [0.5, 0.9, 0.1], [1.0, 0.9, 0.2], [1.0, 0.9, 0.3]])
    assert first_step_above(steps, values, 0.75).tolist() == [15.0, 0.0, np.inf]
    grid = log_steps(1000)
    assert grid[0] == 1 and grid[-1] == 1000 and (np.diff(grid) > 0).all() and log_steps(1).tolist() == [1]


def test_collapsed_network_is_frozen_and_stablemax_moves_it():
    task = stack_tasks([modular_task(7, "add", 0.8, 0)])
    model = make_network(task, 48, (0,))
    train_grokking(task, softmax_cross_entropy, partial(torch.optim.AdamW, weight_decay=0.0), model=model, lr=0.01, n_steps=150, record=[150])
    with torch.no_grad():
        z = model(task.x_train)
        assert torch.equal(z.argmax(-1), task.y_train)
        true = z.gather(-1, task.y_train[..., None])
        lead = (true - z.scatter(-1, task.y_train[..., None], -torch.inf).amax(-1, keepdim=True)).min()
        model.layers[-1].weight.mul_(30 / lead)
    assert softmax_collapse_fraction(model(task.x_train), task.y_train) == 1
    sgd = partial(torch.optim.SGD, weight_decay=0.0)
    moved = []
    for loss in (softmax_cross_entropy, stablemax_cross_entropy):
        twin = copy.deepcopy(model)
        train_grokking(task, loss, sgd, model=twin, lr=0.1, n_steps=20, record=[20])
        moved.append(max((a - b).abs().max().item() for a, b in zip(model.parameters(), twin.parameters())))
    assert moved[0] == 0 and moved[1] > 1e-4


# bad input

Z, Y = example(9)
W = leaf(3)
SPARSE = torch.nn.Parameter(torch.ones(4, 2))
SPARSE.grad = torch.sparse_coo_tensor([[0]], torch.ones(1, 2), (4, 2), check_invariants=True)
COMPLEX = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
COMPLEX.grad = torch.ones(2, dtype=torch.complex64)


@pytest.mark.parametrize("call, words", [
    (lambda: stablemax(torch.arange(4)), "logits"),
    (lambda: log_stablemax(torch.ones(3, dtype=torch.complex64)), "logits"),
    (lambda: stablemax([0.0, 1.0]), "logits"),
    (lambda: softmax_cross_entropy(Z.long(), Y), "logits"),
    (lambda: softmax_cross_entropy(Z, Y, "fp8"), "precision: 'fp8' is unknown"),
    (lambda: softmax_cross_entropy(Z, Y + 5), "target: needs at least one class, each in 0..4"),
    (lambda: softmax_cross_entropy(Z, Y - 1 - Y.min()), "target"),
    (lambda: softmax_cross_entropy(Z, Y[:-1]), "target: needs int64 classes of shape"),
    (lambda: softmax_cross_entropy(Z, Y.float()), "target"),
    (lambda: softmax_cross_entropy(Z, Y.tolist()), "target"),
    (lambda: softmax_cross_entropy(Z, Y, fused=True, zero_true=True), "zero_true"),
    (lambda: softmax_cross_entropy(Z[:0], Y[:0]), "target"),
    (lambda: stablemax_cross_entropy(Z, Y + 5), "target"),
    (lambda: softmax_collapse_fraction(Z, Y, "double"), "precision"),
    (lambda: stablemax_collapse_fraction(Z, Y + 9), "target"),
    (lambda: collapse_gap(1), "n_classes"),
    (lambda: collapse_gap(2, "fp80"), "precision"),
    (lambda: nlm_alignment([]), "params: is empty"),
    (lambda: nlm_alignment([("w", torch.nn.Parameter(torch.ones(2)))]), "'w' has no gradient"),
    (lambda: perp_grad_([W], "layer"), "scope"),
    (lambda: perp_grad_([SPARSE]), "dense gradients"),
    (lambda: perp_grad_([COMPLEX]), "real parameters"),
    (lambda: PerpGrad([W], scope="layer", lr=0.1), "scope"),
    (lambda: PerpGrad([COMPLEX], lr=0.1), "complex"),
    (lambda: PerpGrad([W], base=torch.optim.LBFGS), "base: LBFGS evaluates the closure itself"),
    (lambda: modular_task(1), "p: the modulus"),
    (lambda: modular_task(5, "div"), "op: 'div'"),
    (lambda: modular_task(5, frac=0.0), "frac"),
    (lambda: modular_task(5, frac=1.0), "frac"),
    (lambda: modular_task(5, frac=float("nan")), "frac"),
    (lambda: sparse_parity(0), "relevant"),
    (lambda: sparse_parity(frac=1.5), "frac"),
    (lambda: stack_tasks([]), "tasks"),
    (lambda: stack_tasks([modular_task(5), modular_task(7)]), "tasks"),
    (lambda: GrokMLP(1), "p, width, depth"),
    (lambda: GrokMLP(5, depth=0), "p, width, depth"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
