"""Seconds of the batched penalty loops against automatic differentiation, of hypergradients against the library hypergrad, and of cleaning steps.

`target` is the largest accepted ratio time(ours) / time(peer); the number of steps is the same, one thread each.
"""
import numpy as np
import pytest
import torch
from one_thread import one_thread  # noqa: F401

from prox_repro.bilevel.penalty_bilevel import (
    CleaningOracle, PenaltyConfig, hypergradient_pinv, implicit_loop, penalty_single_loop, singular_quadratic,
)
from prox_repro.core.bilevel import cleaning_task, implicit_hypergradient

SEEDS, STEPS, BATCH, SIGMA, ALPHA, GAMMA = [0, 1, 2, 3, 4], 500, 4, 0.1, 0.003, 0.05
GROUP = f"penalty_bilevel: single loop with momentum, {len(SEEDS)} seeds, {STEPS} steps, batch {BATCH}"
HYPER = "penalty_bilevel: one hypergradient, 4 upper and {} lower variables"
CLEAN = "penalty_bilevel: 30 cleaning steps, 2000 x 784 samples, 10 classes"


def config(seed, **more):
    return PenaltyConfig(sigma=SIGMA, alpha=ALPHA, gamma=GAMMA, batch=BATCH, momentum=True, max_iter=STEPS, record=STEPS,
                         seed=seed, **more)


def stacked():
    return penalty_single_loop(PROBLEM, np.ones((len(SEEDS), 4)), np.zeros((len(SEEDS), 10)), config(SEEDS)).x


def one_by_one():
    return np.stack([penalty_single_loop(one, np.ones(4), np.zeros(10), config(seed)).x for seed, one in zip(SEEDS, SINGLES)])


PROBLEM, SINGLES = singular_quadratic(seed=SEEDS), [singular_quadratic(seed=seed) for seed in SEEDS]


def torch_samples(problem):
    "The arrays of (5), one instance or a stack, as tensors."
    return tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in
                 (problem._samples[..., :10], problem._samples[..., 10:14], problem._samples[..., 14], problem.D, problem.c,
                  problem._samples[..., 15:25], problem._samples[..., 25:]))


def autograd_blocks(data, x, y, z, idx):
    "The three blocks (7), by automatic differentiation of sampled objectives."
    A, B, e, D, c, xi, zeta = data
    pick = lambda t: torch.gather(t, -2, idx[..., None].expand(*idx.shape, t.shape[-1]))
    A, B, e, xi, zeta = pick(A), pick(B), torch.gather(e, -1, idx), pick(xi), pick(zeta)
    lower = lambda x, y: 0.5 * (((A @ y[..., None])[..., 0] - (B @ x[..., None])[..., 0] - e) ** 2).mean(-1)
    def upper(x, y):
        own = 0.5 * (x**2).sum(-1) - 0.75 * torch.cos(2 * x).sum(-1) + (x * (D @ y[..., None])[..., 0]).sum(-1) + 0.5 * (
            (y - c)**2).sum(-1)
        return own + (xi.mean(-2) * y).sum(-1) + (zeta.mean(-2) * x).sum(-1)
    x, y, z = (v.detach().requires_grad_() for v in (x, y, z))
    at_z = lower(x, z)
    Gx, Gy = torch.autograd.grad((SIGMA * upper(x, y) + lower(x, y)).sum(), (x, y))
    gx, Gz = torch.autograd.grad(at_z.sum(), (x, z))
    return Gx - gx, Gy, Gz


def autograd_run(problem, seeds, stack):
    data, u = torch_samples(problem), [
        torch.ones(*stack, 4, dtype=torch.float64),
        torch.zeros(*stack, 10, dtype=torch.float64),
        torch.zeros(*stack, 10, dtype=torch.float64)
    ]
    draws = np.stack(
        [np.random.default_rng(seed).integers(0, 200, 4096)[:STEPS * BATCH].reshape(STEPS, BATCH) for seed in seeds], axis=1)
    draws, m, before = torch.from_numpy(draws if stack else draws[:, 0]), None, None
    for k in range(STEPS):
        G = autograd_blocks(data, *u, draws[k])
        if m is None:
            m = G
        else:
            old, eta = autograd_blocks(data, *before, draws[k]), min(1.0, (k + 1) ** (-2 / 3))
            m = [new + (1 - eta) * (average - past) for new, average, past in zip(G, m, old)]
        before = u
        u = [u[0] - ALPHA / SIGMA * m[0], u[1] - GAMMA * m[1], u[2] - GAMMA * m[2]]
    return u[0].numpy()


def autograd_stacked():
    return autograd_run(PROBLEM, SEEDS, (len(SEEDS),))


def autograd_one_by_one():
    return np.stack([autograd_run(one, [seed], ()) for seed, one in zip(SEEDS, SINGLES)])


def test_ours(benchmark):
    benchmark.group = GROUP
    benchmark.extra_info.update(method="penalty_single_loop, seeds stacked (ours)", ours=True)
    benchmark.pedantic(stacked, rounds=10, warmup_rounds=2)


@pytest.mark.parametrize("run, method, target, rounds", [
    (autograd_one_by_one, "torch autograd, a loop over the seeds", 0.2, 3),
    (autograd_stacked, "torch autograd, seeds stacked", 0.83, 5),
    (one_by_one, "penalty_single_loop, one seed after the other (ours)", 0.5, 5),
])
def test_peer(benchmark, run, method, target, rounds):
    benchmark.group = GROUP
    benchmark.extra_info.update(method=method, target=target)
    assert np.allclose(run(), stacked(), atol=1e-9), f"{method} went elsewhere; a time would not be comparable"
    benchmark.pedantic(run, rounds=rounds)


# one hypergradient of a strongly convex lower problem: pseudo-inverse, conjugate gradients, and the peer

@pytest.mark.parametrize("dy", [10, 50])
@pytest.mark.parametrize("method", ["pinv", "cg", "hypergrad"])
def test_hypergradient(benchmark, dy, method):
    problem, x = singular_quadratic(4, dy, dy, seed=0), np.full(4, 0.3)
    y, oracle, exact = problem.solve(x), problem.oracle(), problem.grad_psi(x)

    def peer():
        H, P, q, D, c = (torch.from_numpy(v) for v in (problem.H, problem.P, problem.q0, problem.D, problem.c))
        outer = lambda ys, xs: 0.5 * (xs[0]**2).sum() - 0.75 * torch.cos(2 * xs[0]).sum() + xs[0] @ D @ ys[0] + 0.5 * (
            (ys[0] - c)**2).sum()
        point = torch.from_numpy(x).requires_grad_()
        step = lambda ys, xs: [ys[0] - (H @ ys[0] - P @ xs[0] - q)]
        return hypergrad.CG([torch.from_numpy(y).requires_grad_()], [point], 10 * dy, step, outer, tol=1e-10,
                            set_grad=False)[0].numpy()

    hypergrad = pytest.importorskip("hypergrad") if method == "hypergrad" else None
    solve = {
        "pinv": lambda: hypergradient_pinv(oracle, x, y), "cg": lambda: implicit_hypergradient(oracle, x, y, tol=1e-10).grad,
        "hypergrad": peer
    }[method]
    benchmark.group = HYPER.format(dy)
    benchmark.extra_info.update({
        "pinv": dict(method="hypergradient_pinv (ours)", ours=True), "cg": dict(method="implicit_hypergradient, CG (ours)"),
        "hypergrad": dict(method="hypergrad.CG", target=1.0)
    }[method])
    assert np.allclose(solve(), exact, atol=1e-6)
    benchmark.pedantic(solve, rounds=20, warmup_rounds=2)


# cleaning at the size of the card

@pytest.fixture(scope="module")
def cleaning():
    rng = np.random.default_rng(0)
    x, y = rng.random((3100, 784)), rng.integers(0, 10, 3100)
    return CleaningOracle(cleaning_task(x, y, 2000, 1000, 0.3, rng=rng, standardise=False), 10)


def penalty_steps(cleaning):
    return penalty_single_loop(cleaning, np.ones(2000), np.zeros(7840),
                               PenaltyConfig(sigma=1.0, alpha=30.0, gamma=0.01, max_iter=30, record=30),
                               lambda x: x.clip(0, 1)).x


def implicit_steps(cleaning):
    cleaning.passes, cost = 0.0, 1 + 5 + 2 + cleaning.val_share
    return implicit_loop(cleaning, np.ones(2000), np.zeros(7840), alpha=30.0, gamma=0.01, cg_steps=5, max_passes=30.01 * cost,
                         proj_x=lambda x: x.clip(0, 1))[0]


def autograd_steps(cleaning):
    "Three calls of automatic differentiation per step, in the same precision."
    A, labels = torch.from_numpy(cleaning.train.A), torch.from_numpy(cleaning.train.y)
    A_val, labels_val = torch.from_numpy(cleaning.val.A), torch.from_numpy(cleaning.val.y)
    losses = lambda A, labels, y: torch.nn.functional.cross_entropy(A @ y.T, labels, reduction="none")
    lower = lambda x, y: (x * losses(A, labels, y)).mean() + 0.5 * cleaning.train.reg * (y**2).sum()
    x, y, z = torch.ones(2000, dtype=torch.float64), torch.zeros(10, 784,
                                                                 dtype=torch.float64), torch.zeros(10, 784, dtype=torch.float64)
    for _ in range(30):
        x, y, z = (v.detach().requires_grad_() for v in (x, y, z))
        fy, = torch.autograd.grad(losses(A_val, labels_val, y).mean(), y)
        gx_y, gy_y = torch.autograd.grad(lower(x, y), (x, y))
        gx_z, gy_z = torch.autograd.grad(lower(x, z), (x, z))
        with torch.no_grad():
            x, y, z = (x - 30.0 * (gx_y - gx_z)).clip(0, 1), y - 0.01 * (fy + gy_y), z - 0.01 * gy_z
    return x.numpy()


@pytest.mark.parametrize("run, info", [
    (penalty_steps, dict(method="penalty_single_loop (ours)", ours=True)),
    (autograd_steps, dict(method="torch autograd, three calls per step", target=1.2)),
    (implicit_steps, dict(method="implicit_loop, 5 Hessian products per step (ours)", target=1.0)),
])
def test_cleaning(benchmark, cleaning, run, info):
    benchmark.group = CLEAN
    benchmark.extra_info.update(info)
    if run is autograd_steps:
        assert np.allclose(run(cleaning), penalty_steps(cleaning), atol=1e-8)
    benchmark.pedantic(run, args=(cleaning,), rounds=3, warmup_rounds=1)
