"""Seconds of one-dimensional k-means against scikit-learn, and of a calibration step against automatic differentiation.

`target` is the largest accepted ratio time(ours) / time(peer); one thread each.
"""
import numpy as np
import pytest
import torch
from one_thread import one_thread  # noqa: F401

from prox_repro.compression.jlcm import fit_codebook, group_neurons, kmeans_1d, learn_codes, second_moments

N, K, SWEEPS = 200_000, 16, 30
FIT = f"jlcm: k-means of {N} weights, K={K}, {SWEEPS} sweeps"
LEARN = "jlcm: 20 joint steps, 256 x 256, N=1024, K=4"


def fit_ours(x):
    return kmeans_1d(torch.from_numpy(x), K, SWEEPS)[0].numpy()


def fit_sklearn(x):
    cluster = pytest.importorskip("sklearn.cluster")
    start = np.sort(x)[((2 * np.arange(K) + 1) / (2 * K) * N).astype(int)]
    model = cluster.KMeans(K, init=start[:, None], n_init=1, max_iter=SWEEPS, tol=0, algorithm="lloyd")
    return np.sort(model.fit(x[:, None]).cluster_centers_[:, 0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("run, method, target", [
    (fit_ours, "kmeans_1d, sorted with prefix sums (ours)", None), (fit_sklearn, "scikit-learn KMeans, same start", 0.05),
])
def test_fit(benchmark, run, method, target):
    benchmark.group = FIT
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    x = np.random.default_rng(0).standard_normal(N)
    assert np.allclose(run(x), fit_ours(x), atol=2e-2)
    benchmark.pedantic(run, args=(x,), rounds=3)


def learn_ours(W, X, start):
    return learn_codes(W, second_moments(X), start, rule="default", steps=20, refit=False).coded.weight()


def learn_autograd(W, X, start):
    "The usual way: outputs on all inputs, a softmax over codes with a straight-through choice, torch optimisers."
    codes = start.codes.clone().requires_grad_()
    logits = torch.nn.functional.one_hot(start.index, start.codes.shape[-1]).float().requires_grad_()
    adam = torch.optim.Adam([codes], lr=0.02)
    energy, target = (X @ W.T).square().mean(0), X @ W.T
    for step in range(20):
        table = codes[start.group][:, None]
        soft = logits.softmax(-1)
        hard = torch.nn.functional.one_hot(logits.argmax(-1), codes.shape[-1]).float()
        weight = ((hard + soft - soft.detach()) * table).sum(-1)
        loss = ((X @ weight.T - target).square().mean(0) / energy).mean()
        adam.zero_grad()
        logits.grad = None
        loss.backward()
        adam.step()
        with torch.no_grad():
            logits -= 0.05 * 0.3 * (1 - step / 20) * logits.grad / logits.grad.abs().mean()
    return weight.detach()


@pytest.mark.parametrize("run, method, target", [
    (learn_ours, "learn_codes, Gram matrix and closed-form gradient (ours)", None),
    (learn_autograd, "torch autograd through outputs and softmax", 1.0),
])
def test_learn(benchmark, run, method, target):
    g = torch.Generator().manual_seed(0)
    W, X = torch.randn(256, 256, generator=g), torch.relu(torch.randn(1024, 256, generator=g))
    start = fit_codebook(W, group_neurons(W, 4), 4)
    benchmark.group = LEARN
    benchmark.extra_info.update(method=method, **({"ours": True} if target is None else {"target": target}))
    assert run(W, X, start).shape == W.shape
    benchmark.pedantic(run, args=(W, X, start), rounds=3)
