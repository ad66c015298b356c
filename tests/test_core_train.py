"""Training loop: batches cover the data, steps are the optimiser's, stacks train as separate networks, hooks work."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from prox_repro.core.nets import MLP, seeded, stack, unstack
from prox_repro.core.train import WeightEMA, concatenate, decay_groups, every, fit, minibatches

X = torch.linspace(-1, 1, 24, dtype=torch.float64)[:, None]


def loss_fn(net, index):
    return (net(X[index]) - torch.cos(2 * X[index])).square().mean((-2, -1))


def network(seed=0):
    return seeded(seed, MLP, 1, (5,), 1, activation=torch.tanh).double()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), seed=st.integers(0, 1000), data=st.data())
def test_a_pass_draws_nobody_twice(n, seed, data):
    batch = data.draw(st.integers(1, n))
    batches = list(minibatches(n, batch, seed=seed, epochs=2))
    assert len(batches) == 2 * (n // batch) and all(len(b) == batch for b in batches)
    one_pass = torch.cat(batches[: n // batch])
    assert len(one_pass.unique()) == len(one_pass) and 0 <= one_pass.min() and one_pass.max() < n
    again = list(minibatches(n, batch, seed=seed, epochs=2))
    assert all(torch.equal(a, b) for a, b in zip(batches, again))


def test_batches_differ_by_seed_and_can_repeat_with_replacement():
    assert not torch.equal(next(minibatches(100, 50, seed=0)), next(minibatches(100, 50, seed=1)))
    drawn = torch.cat(list(minibatches(4, 4, seed=0, epochs=50, replace=True)))
    counts = torch.bincount(drawn, minlength=4)
    assert counts.sum() == 200 and (counts > 25).all()
    assert any(len(b.unique()) < 4 for b in drawn.split(4))


def test_plain_gradient_descent_is_the_textbook_step():
    net, reference = network(), network()
    fit(net, loss_fn, iter([torch.arange(24)] * 3), n_steps=3, lr=lambda t: 0.1 / (t + 1), optimizer=torch.optim.SGD)
    for t in range(3):
        grads = torch.autograd.grad(loss_fn(reference, torch.arange(24)), list(reference.parameters()))
        with torch.no_grad():
            for p, g in zip(reference.parameters(), grads):
                p -= 0.1 / (t + 1) * g
    assert all(torch.allclose(a, b, atol=1e-14) for a, b in zip(net.parameters(), reference.parameters()))


def test_a_stack_trains_as_its_copies_do_alone():
    nets = [network(s) for s in range(3)]
    together = stack(nets)
    joint = fit(together, loss_fn, minibatches(24, 8, seed=4), n_steps=50, lr=1e-2)
    alone = [fit(net, loss_fn, minibatches(24, 8, seed=4), n_steps=50, lr=1e-2) for net in nets]
    assert np.allclose(joint.loss, np.stack([h.loss for h in alone], 1), atol=1e-9)
    for copy, net in zip(unstack(together), nets):
        assert all(torch.allclose(a, b, atol=1e-8) for a, b in zip(copy.parameters(), net.parameters()))


def test_hooks_log_stop_and_follow_the_projection():
    net, seen = network(), []

    def project():
        with torch.no_grad():
            net.layers[0].weight.clamp_(min=0)

    def check(state):
        seen.append(net.layers[0].weight.min().item())
        state.log("loss", float(state.loss))
        state.stop = state.step == 7

    history = fit(net, loss_fn, minibatches(24, 8, seed=0), n_steps=20, post_step=project, hooks=[check])
    assert history.n_steps == 7 and len(seen) == 7 and min(seen) >= 0
    steps, values = history.logs["loss"]
    assert steps.tolist() == list(range(1, 8)) and np.allclose(values, history.loss)


def test_every_includes_the_last_step_and_histories_join():
    hook = every(4, lambda state: state.log("n", state.step))
    history = fit(network(), loss_fn, minibatches(24, 8, seed=0), n_steps=10, hooks=[hook])
    assert history.logs["n"][0].tolist() == [4, 8, 10]
    joined = concatenate([history, history])
    assert joined.n_steps == 20 and joined.logs["n"][0].tolist() == [4, 8, 10, 14, 18, 20]


def test_average_of_weights_follows_its_recursion():
    net, trace, average = network(), [], WeightEMA(0.8)
    fit(net, loss_fn, minibatches(24, 8, seed=0), n_steps=5, lr=0.1,
        hooks=[lambda s: trace.append(net.layers[0].weight.detach().clone()), average])
    expected = trace[0]
    for w in trace[1:]:
        expected = 0.8 * expected + 0.2 * w
    assert torch.allclose(average.copy_to(net).layers[0].weight, expected, atol=1e-12)


def test_clipping_bounds_the_step_and_groups_keep_their_scale():
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    groups = [{"params": [net.layers[0].weight], "lr_scale": 0.0}, {"params": [net.layers[1].weight]}]
    fit(net, loss_fn, minibatches(24, 24, seed=0), n_steps=1, lr=1.0, optimizer=torch.optim.SGD, parameters=groups,
        clip_norm=0.01)
    moved = [(p - q).norm().item() for p, q in zip(net.parameters(), before)]
    assert moved[0] == 0 and 0 < sum(moved) <= 0.01 + 1e-12


def test_decay_shrinks_weights_and_not_biases():
    net = network()
    groups = decay_groups(net, 0.5)
    before = [p.detach().clone() for p in net.parameters()]
    flat = lambda net, _: sum(p.sum() * 0 for p in net.parameters())
    fit(net, flat, iter([None]), n_steps=1, lr=0.1, optimizer=torch.optim.SGD, parameters=groups)
    for (name, p), q in zip(net.named_parameters(), before):
        assert torch.allclose(p, q if name.endswith("bias") else 0.95 * q)


@pytest.mark.parametrize("call, error, words", [
    (lambda: minibatches(5, 6, seed=0), ValueError, "batch_size"),
    (lambda: fit(network(), loss_fn, [], n_steps=0), ValueError, "n_steps"),
    (lambda: fit(network(), loss_fn, [], n_steps=1, lr=-1.0), ValueError, "lr"),
    (lambda: WeightEMA(1.0), ValueError, "decay"),
    (lambda: fit(network(), lambda net, b: net(X).mean() * float("nan"), iter([None]), n_steps=1),
     FloatingPointError, "step 1"),
])
def test_bad_input_names_the_argument(call, error, words):
    with pytest.raises(error, match=words):
        call()
