"""Seconds of a training step on addition modulo 113: look-up against one-hot products, seeds in a stack, and projected gradients.

`target` is the largest accepted ratio time(ours) / time(peer); one thread each. The peer of the projection is OrthoGrad of
`pytorch-optimizer`, which is skipped where it is not installed.

What the look-up can save is counted in products of matrices: with n examples, width w and modulus p, both networks take
3 n w (w + p) multiplications in the two dense layers (forward, and backward for weights and inputs), and one-hot inputs
4 n w p more (forward, and backward for the weights). At p = 113 and w = 200 that is a ratio of 0.675, reached only if all
else were free. In a stack of networks the products are the same as one by one, and only the calls become fewer.
"""
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from one_thread import one_thread  # noqa: F401

from prox_repro.core.nets import MLP, seeded, stack
from prox_repro.generalization.grokking import (
    GrokMLP, PerpGrad, modular_task, perp_grad_, softmax_cross_entropy, stack_tasks,
)

P, WIDTH, SMALL = 113, 200, 23
STEP = f"grokking: one AdamW step, p={P}, width {WIDTH}, 40 % of the pairs"
STACK = f"grokking: one AdamW step for 8 seeds, p={SMALL}, width 64"
PERP = f"grokking: projection of the gradients, p={P}, width {WIDTH}"
adamw = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.0)
fused_loss = partial(softmax_cross_entropy, fused=True)  # the same loss as the peer's


@pytest.fixture(autouse=True, scope="module")
def keep_freed_memory():
    """Let the allocator keep what is freed.

    A step frees some twenty megabytes. Unless the C library has seen a large block being freed, it returns them to the
    system and gets them back page by page in the next step: milliseconds that depend on what ran before a benchmark."""
    torch.empty(31 << 18).fill_(0)


def stepper(net, x, y, loss, optimizer):
    "A function that takes one training step."
    def step():
        optimizer.zero_grad()
        loss(net(x), y).sum().backward()
        optimizer.step()
    return step


def ours():
    task, net = modular_task(P, "add", 0.4, 0), seeded(0, GrokMLP, P, WIDTH)
    return stepper(net, task.x_train, task.y_train, fused_loss, PerpGrad(net.parameters(), lr=0.01, fused=True))


def ours_without_projection():
    task, net = modular_task(P, "add", 0.4, 0), seeded(0, GrokMLP, P, WIDTH)
    return stepper(net, task.x_train, task.y_train, fused_loss, adamw(net.parameters(), fused=True))


def dense(project):
    "One-hot inputs, the library's loss and optimizer, projection in a loop over tensors: the usual way."
    task, net = modular_task(P, "add", 0.4, 0), seeded(0, MLP, 2 * P, [WIDTH] * 2, P, bias=False)
    x, optimizer = F.one_hot(task.x_train, P).flatten(1).float(), adamw(net.parameters())

    def step():
        optimizer.zero_grad()
        F.cross_entropy(net(x), task.y_train).backward()
        if project:
            plain_projection(net.parameters())
        optimizer.step()

    return step


@torch.no_grad()
def plain_projection(params):
    for w in params:
        g, v = w.grad.flatten(), w.flatten()
        part = g - (v @ g) / (v @ v + 1e-30) * v
        w.grad.copy_((part * (g.norm() / (part.norm() + 1e-30))).view_as(w))


@pytest.mark.parametrize("make, method, target", [
    (ours, "look-up, PerpGrad on fused AdamW (ours)", None),
    (lambda: dense(True), "one-hot products, projection in a loop, AdamW", 0.67),
    (ours_without_projection, "look-up, fused AdamW, without projection", 1.1),
    (lambda: dense(False), "one-hot products, AdamW, no projection", None),
])
def test_step(benchmark, make, method, target):
    benchmark.group = STEP
    benchmark.extra_info.update(method=method, **({"ours": True} if make is ours else {} if target is None else {"target": target}))
    benchmark.pedantic(make(), rounds=25, warmup_rounds=8)


def stacked():
    tasks = stack_tasks([modular_task(SMALL, "add", 0.9, s) for s in range(8)])
    net = stack([seeded(s, GrokMLP, SMALL, 64) for s in range(8)])
    return stepper(net, tasks.x_train, tasks.y_train, softmax_cross_entropy, adamw(net.parameters(), fused=True))


def one_by_one():
    steps = []
    for s in range(8):
        task, net = modular_task(SMALL, "add", 0.9, s), seeded(s, GrokMLP, SMALL, 64)
        steps.append(stepper(net, task.x_train, task.y_train, softmax_cross_entropy, adamw(net.parameters(), fused=True)))
    return lambda: [step() for step in steps]


@pytest.mark.parametrize("make, method, target", [
    (stacked, "one stack (ours)", None), (one_by_one, "one network after the other", 0.5),
])
def test_stack(benchmark, make, method, target):
    benchmark.group = STACK
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    benchmark.pedantic(make(), rounds=20, warmup_rounds=5)


def with_gradients():
    net = seeded(0, GrokMLP, P, WIDTH)
    generator = torch.Generator().manual_seed(0)
    for w in net.parameters():
        w.grad = torch.randn(w.shape, generator=generator)
    return list(net.parameters())


def library(params):
    optimizers = pytest.importorskip("pytorch_optimizer")
    wrapped = optimizers.OrthoGrad(torch.optim.SGD(params, lr=0.0))
    return wrapped.step


@pytest.mark.parametrize("make, method, target", [
    (lambda params: lambda: perp_grad_(params), "perp_grad_ (ours)", None),
    (lambda params: lambda: plain_projection(params), "projection in a loop, without checks and options", 1.3),
    (library, "pytorch-optimizer OrthoGrad on SGD with lr 0", 1.0),
])
def test_projection(benchmark, make, method, target):
    benchmark.group = PERP
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    params = with_gradients()
    step = make(params)
    reference = with_gradients()
    plain_projection(reference)
    step()
    for w, v in zip(params, reference):
        assert torch.allclose(w.grad, v.grad, rtol=1e-3, atol=1e-5)
    benchmark.pedantic(step, rounds=50, iterations=5, warmup_rounds=3)
