"""Seconds of the conservation update against dense conditioning, as one would write it from the textbook formula.

`target` is the largest accepted ratio time(ours) / time(peer). All methods give means and variances of the same Gaussians.
"""
import numpy as np
import pytest
import torch
from one_thread import one_thread  # noqa: F401

from prox_repro.science.probconserv import condition_linear, second_difference_constraint, trapezoid_weights

SAMPLES, TIMES, N = 20, 201, 201
GROUP = f"probconserv: one row, {SAMPLES} samples x {TIMES} times, n={N}"
ROWS = "probconserv: smoothness constraint, k={} rows, n={}"


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    mean, var = rng.standard_normal((SAMPLES, TIMES, N)), rng.random((SAMPLES, TIMES, N)) + 1e-3
    return mean, var, trapezoid_weights(np.linspace(0, 1, N)), rng.standard_normal(TIMES)


def ours(data):
    mean, var, g, b = data
    return condition_linear(mean, var, g, b)


def ours_torch(data):
    mean, var, g, b = (torch.from_numpy(a) for a in data)
    return tuple(a.numpy() for a in condition_linear(mean, var, g, b))


def dense_solve(data):
    "The formula with matrices, batched over times (all samples at once would need gigabytes)."
    found = []
    G, b = torch.from_numpy(data[2])[None], torch.from_numpy(data[3])[:, None]
    for mean, var in zip(map(torch.from_numpy, data[0]), map(torch.from_numpy, data[1])):
        cov = torch.diag_embed(var)
        gain = torch.linalg.solve(G @ cov @ G.T, G @ cov).mT
        new = mean - (gain @ (mean @ G.T - b)[..., None])[..., 0]
        found.append(torch.stack([new, torch.diagonal(cov - gain @ (G @ cov), dim1=-2, dim2=-1)]))
    return tuple(torch.stack(found, 1).numpy())


def loop(data):
    "The O(n) formula, one Gaussian after the other in Python."
    mean, var, g, b = data
    new, new_var = np.empty_like(mean), np.empty_like(var)
    for s in range(SAMPLES):
        for t in range(TIMES):
            gain = var[s, t] * g / (g @ (var[s, t] * g))
            new[s, t] = mean[s, t] - gain * (g @ mean[s, t] - b[t])
            new_var[s, t] = var[s, t] * (1 - gain * g)
    return new, new_var


def test_ours(benchmark, data):
    benchmark.group = GROUP
    benchmark.extra_info.update(method="condition_linear, NumPy (ours)", ours=True)
    assert np.abs(ours(data)[0] @ data[2] - data[3]).max() < 1e-10
    benchmark.pedantic(ours, args=(data,), rounds=10, warmup_rounds=2)


@pytest.mark.parametrize("run, method, target, rounds", [
    (dense_solve, "torch.linalg.solve, dense covariances", 0.02, 2),
    (loop, "NumPy, a loop over Gaussians", 1.0, 3),
    (ours_torch, "condition_linear, torch (ours)", 1.5, 10),
])
def test_peer(benchmark, data, run, method, target, rounds):
    benchmark.group = GROUP
    benchmark.extra_info.update(method=method, target=target)
    for mine, theirs in zip(ours(data), run(data)):
        assert np.abs(mine - theirs).max() < 1e-10, f"{method} gives other numbers; a time would not be comparable"
    benchmark.pedantic(run, args=(data,), rounds=rounds)


def joint(mean, var, constraint):
    "Condition through torch's dense multivariate tools: covariance of (u, b) built and inverted."
    cov, G = torch.diag_embed(torch.from_numpy(var)), torch.from_numpy(constraint.G)
    S = G @ cov @ G.T + torch.diag_embed(torch.from_numpy(constraint.noise_var))
    gain = cov @ G.T @ torch.linalg.inv(S)
    new = torch.from_numpy(mean) - (gain @ (torch.from_numpy(mean) @ G.T)[..., None])[..., 0]
    return new.numpy(), torch.diagonal(cov - gain @ G @ cov, dim1=-2, dim2=-1).numpy()


@pytest.mark.parametrize("solver", ["ours", "dense"])
def test_many_rows(benchmark, data, solver):
    mean, var = data[0][0, :20], data[1][0, :20]
    constraint = second_difference_constraint(var)
    benchmark.group = ROWS.format(N - 2, N)
    run = {"ours": lambda: condition_linear(mean, var, *constraint), "dense": lambda: joint(mean, var, constraint)}[solver]
    benchmark.extra_info.update({"ours": dict(method="condition_linear (ours)", ours=True),
                                 "dense": dict(method="torch, dense inverse", target=1.0)}[solver])
    new, _ = run()
    assert np.allclose(new, condition_linear(mean, var, *constraint)[0], atol=1e-8)
    benchmark.pedantic(run, rounds=3)
