"""Seconds of the envelope's proximal step, of a training step with it, and of inference with the shrunk network.

`target` is the largest accepted ratio time(ours) / time(peer); one thread each.
"""
import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from one_thread import one_thread  # noqa: F401

from prox_repro.compression.wgsef import (
    WGSEF, ProxSGD, attach, conv_net, group_kind, keep_largest, layers_of, prox_wgsef, shrink_model, wgsef_multipliers,
)
from prox_repro.core.nets import MLP, seeded
from prox_repro.core.prox import group_soft_threshold, prox_ksupport_sq

M = 1_000_000
SEARCH = f"wgsef: prox of {M:,} single weights, k = m / 10"
PRUNE = "wgsef: one step on 2,000 neurons of 500 weights"
STEP = "wgsef: training step of a LeNet-style network, batch 100"
INFER = "wgsef: inference of the perceptron, k/m = 0.1, batch 256"


@pytest.fixture(scope="module")
def norms():
    return torch.randn(M, generator=torch.Generator().manual_seed(0), dtype=torch.float64).abs()


def test_search_ours(benchmark, norms):
    benchmark.group = SEARCH
    benchmark.extra_info.update(method="prox_wgsef, Newton (ours)", ours=True, limit_s=0.25)
    groups = group_kind("unstructured", (M,))
    benchmark.pedantic(prox_wgsef, args=(norms, groups, M // 10, 1.0), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("method, run, target", [
    ("torch.sort of 2m floats", lambda v: torch.cat([v, 2 * v]).sort(), 3.0),
    ("wgsef_multipliers, linear (ours)", lambda v: wgsef_multipliers(v, M // 10, 1.0, method="linear"), None),
    ("core.prox_ksupport_sq (ours)", lambda v: prox_ksupport_sq(v, 1.0, M // 10), None),
])
def test_search_peer(benchmark, norms, method, run, target):
    benchmark.group = SEARCH
    benchmark.extra_info.update(method=method, **({} if target is None else {"target": target}))
    if "sort of" not in method:
        u, _ = wgsef_multipliers(norms, M // 10, 1.0)
        found = run(norms)
        assert torch.allclose(found[0] if isinstance(found, tuple) else found, u if isinstance(found, tuple) else norms * u / (u + 1), atol=1e-8)
    benchmark.pedantic(run, args=(norms,), rounds=5)


def prune_ours(weight):
    return prox_wgsef(weight, group_kind("neurons", weight.shape), len(weight) // 4, 1.0)


def prune_lasso(weight):
    return group_soft_threshold(weight, 1.0)


def prune_torch(weight):
    from torch.nn.utils import prune
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight
    return prune.ln_structured(layer, "weight", 0.75, n=2, dim=0).weight


def prune_skglm(weight):
    skglm = pytest.importorskip("skglm.utils.prox_funcs")
    rows = weight.double().numpy()
    return np.stack([skglm.BST(row, 1.0) for row in rows])


@pytest.mark.parametrize("method, run, target", [
    ("prox_wgsef (ours)", prune_ours, None), ("group_soft_threshold of core (group lasso)", prune_lasso, 4.0),
    ("torch.nn.utils.prune.ln_structured (magnitude)", prune_torch, 4.0), ("skglm BST, a row at a time (group lasso)", prune_skglm, 1.0),
])
def test_prune(benchmark, method, run, target):
    weight = torch.randn(2000, 500, generator=torch.Generator().manual_seed(0))
    run(weight)
    benchmark.group = PRUNE
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    benchmark.pedantic(run, args=(weight,), rounds=20, warmup_rounds=2)


@pytest.mark.parametrize("method, target", [("ProxSGD with the envelope on filters (ours)", None), ("torch.optim.SGD", 1.2)])
def test_training_step(benchmark, method, target):
    # LeNet-5's own sizes
    net = seeded(0, conv_net, 1, 28, 10, [6, "M", 16, "M"], [120, 84], 5)
    x, y = torch.randn(100, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(100) % 10
    penalties, companions = attach(net, "filters", lambda groups: WGSEF(groups, max(1, groups.m // 4), 0.3))
    optimizer = (ProxSGD(net.parameters(), 0.01, 0.9, penalties, companions) if target is None
                 else torch.optim.SGD(net.parameters(), 0.01, 0.9))

    def step():
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    benchmark.group = STEP
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    benchmark.pedantic(step, rounds=40, warmup_rounds=5)


@pytest.fixture(scope="module")
def networks():
    net = seeded(0, MLP, 196, [128, 64], 10)
    masked = copy.deepcopy(net)
    kept = keep_largest(net, [13, 6])
    with torch.no_grad():
        for (layer, _), index in zip(layers_of(masked), kept):
            gone = torch.ones(len(layer.weight), dtype=torch.bool).index_fill(0, index, False)
            layer.weight[gone], layer.bias[gone] = 0, 0
    return shrink_model(masked), masked


@pytest.mark.parametrize("which, method, target", [(0, "shrunk network (ours)", None), (1, "the same network with zeros", 0.67)])
def test_inference(benchmark, networks, which, method, target):
    x = torch.randn(256, 196, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(networks[0](x), networks[1](x), atol=1e-5)
    benchmark.group = INFER
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    with torch.inference_mode():
        benchmark.pedantic(networks[which], args=(x,), rounds=200, warmup_rounds=20)
