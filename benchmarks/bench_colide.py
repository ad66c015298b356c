"""Time per iteration of CoLiDE against the PyPI package `dagma`, and of its scores against each other (one thread).

`target` is the largest accepted ratio time(ours) / time(peer); the number of iterations is the same for both.
"""
import contextlib
import io

import pytest
from one_thread import one_thread  # noqa: F401

from prox_repro.recovery.colide import CoLiDE, DagmaLS, simulate_linear_sem

dagma = pytest.importorskip("dagma.linear")  # before the threads are limited: the limit reaches loaded libraries only
N_ITER, LR = 200, 1e-3
GROUP = f"colide: d=100, n=1000, {N_ITER} iterations"
GROUP_COST = f"colide: cost of the noise estimate, d=100, {N_ITER} iterations"
SETTINGS = dict(stages=1, s=(1.0,), lr=LR, max_iter=N_ITER, checkpoint=N_ITER)
OURS = {
    "LS": DagmaLS(**SETTINGS), "CoLiDE-EV": CoLiDE(**SETTINGS), "CoLiDE-NV": CoLiDE(**SETTINGS, equal_variance=False),
}


@pytest.fixture(scope="module")
def data():
    return simulate_linear_sem(100, 400, 1000, variances="unequal", random_state=0).X


def run_dagma(X):
    model = dagma.DagmaLinear("l2")
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        model.fit(X.copy(), lambda1=0.05, w_threshold=0.3, T=1, s=[1.0], warm_iter=N_ITER, max_iter=N_ITER, lr=LR, checkpoint=N_ITER)


@pytest.mark.parametrize("method", ["CoLiDE-EV", "CoLiDE-NV"])
def test_ours(benchmark, data, method):
    benchmark.group = GROUP
    benchmark.extra_info.update(method=method, ours=True)
    benchmark.pedantic(OURS[method].fit, args=(data,), rounds=12, warmup_rounds=1)


def test_dagma(benchmark, data):
    benchmark.group = GROUP
    benchmark.extra_info.update(method="dagma 1.1 (DagmaLinear)", target=1.0)
    benchmark.pedantic(run_dagma, args=(data,), rounds=12, warmup_rounds=1)


@pytest.mark.parametrize("method", ["CoLiDE-EV", "CoLiDE-NV"])
def test_cost_of_the_noise_estimate(benchmark, data, method):
    benchmark.group = GROUP_COST
    benchmark.extra_info.update(method=method, ours=True)
    benchmark.pedantic(OURS[method].fit, args=(data,), rounds=12, warmup_rounds=1)


def test_cost_without_noise_estimate(benchmark, data):
    benchmark.group = GROUP_COST
    benchmark.extra_info.update(method="LS (DagmaLS, same loop)", target=1.3)
    benchmark.pedantic(OURS["LS"].fit, args=(data,), rounds=12, warmup_rounds=1)
