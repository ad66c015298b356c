"Bilevel tools: hypergradients against closed forms and differences, counters, recursive momentum, the cleaning task."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.bilevel import (
    BilevelOracle, RecursiveMomentum, cleaning_auc, cleaning_task, flip_labels, implicit_hypergradient,
)
from prox_repro.core.problems import finite_differences


def quadratic(seed, dx=3, dy=4):
    "f = |y - t|^2 / 2 + x^3, g = y H y / 2 - y B x: the lower solution is y = H^-1 B x."
    rng = np.random.default_rng(seed)
    R, B, t = rng.standard_normal((dy, dy)), rng.standard_normal((dy, dx)), rng.standard_normal(dy)
    H = R @ R.T + np.eye(dy)
    oracle = BilevelOracle(
        lambda x, y: (3 * x**2, y - t), lambda x, y: (-B.T @ y, H @ y - B @ x), lambda x, y, v: H @ v, lambda x, y, v: -B.T @ v
    )
    solve = lambda x: np.linalg.solve(H, B @ x)
    psi = lambda x: 0.5 * ((solve(x) - t) ** 2).sum() + (x**3).sum()
    return oracle, solve, psi, (H, B, t)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_implicit_hypergradient_is_the_derivative(seed):
    oracle, solve, psi, _ = quadratic(seed)
    x = np.random.default_rng(seed + 1).standard_normal(3)
    found = implicit_hypergradient(oracle, x, solve(x), tol=1e-13)
    np.testing.assert_allclose(found.grad, finite_differences(psi, x), atol=1e-6)
    assert found.n_hvp == oracle.calls["g_yy"] == oracle.n_second - 1
    assert oracle.n_first == 1


def test_a_good_start_saves_products():
    oracle, solve, _, _ = quadratic(0)
    x = np.ones(3)
    first = implicit_hypergradient(oracle, x, solve(x))
    again = implicit_hypergradient(oracle, x, solve(x), w0=first.w)
    assert again.n_hvp <= 1 < first.n_hvp
    np.testing.assert_allclose(again.grad, first.grad, rtol=1e-8)


def test_automatic_differentiation_agrees_with_closed_forms():
    import torch

    oracle, _, _, (H, B, t) = quadratic(1)
    H_, B_, t_ = (torch.tensor(a) for a in (H, B, t))
    auto = BilevelOracle.from_torch(
        lambda x, y: 0.5 * ((y - t_) ** 2).sum() + (x**3).sum(), lambda x, y: 0.5 * y @ H_ @ y - y @ B_ @ x
    )
    x, y, v = np.arange(3.0), np.arange(4.0) - 1, np.ones(4)
    for name, arguments in (("f_grad", (x, y)), ("g_grad", (x, y)), ("g_yy", (x, y, v)), ("g_xy", (x, y, v))):
        exact, found = getattr(oracle, name)(*arguments), getattr(auto, name)(*arguments)
        for a, b in zip(np.atleast_1d(exact), np.atleast_1d(found)) if name.endswith("xy") or name.endswith("yy") else zip(exact, found):
            np.testing.assert_allclose(b, a, atol=1e-12)
    assert auto.calls == oracle.calls == {"f_grad": 1, "g_grad": 1, "g_yy": 1, "g_xy": 1}


def test_objectives_that_ignore_a_variable():
    oracle = BilevelOracle.from_torch(lambda x, y: (y**2).sum(), lambda x, y: y.sum())
    fx, fy = oracle.f_grad(np.ones(2), np.ones(3))
    assert np.array_equal(fx, np.zeros(2)) and np.array_equal(fy, 2 * np.ones(3))
    assert np.array_equal(oracle.g_yy(np.ones(2), np.ones(3), np.ones(3)), np.zeros(3))
    assert np.array_equal(oracle.g_xy(np.ones(2), np.ones(3), np.ones(3)), np.zeros(2))


def test_missing_second_derivatives_are_named():
    oracle = BilevelOracle(lambda x, y: (x, y), lambda x, y: (x, y))
    with pytest.raises(ValueError, match="^g_yy"):
        implicit_hypergradient(oracle, np.ones(2), np.ones(2))
    assert oracle.n_second == 0


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_recursive_momentum_averages_noise_that_does_not_depend_on_the_point(seed, n):
    rng = np.random.default_rng(seed)
    noise, points, storm = rng.standard_normal((n, 3)), rng.standard_normal((n + 1, 3)), RecursiveMomentum()
    for k in range(n):
        storm.update(np.sin(points[k + 1]) + noise[k], np.sin(points[k]) + noise[k], 1 / (k + 1))
    np.testing.assert_allclose(storm.value, np.sin(points[n]) + noise.mean(axis=0), atol=1e-12)


def test_recursive_momentum_with_eta_one_is_the_plain_gradient():
    storm, rng = RecursiveMomentum(), np.random.default_rng(0)
    for g, old in rng.standard_normal((5, 2, 4)):
        assert np.array_equal(storm.update(g, old, 1.0), g)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.99), st.integers(2, 5))
def test_flipped_labels(seed, fraction, k):
    y = np.resize(np.arange(k) * 3 - 1, 40)
    noisy, flipped = flip_labels(y, fraction, rng=np.random.default_rng(seed))
    assert flipped.sum() == round(40 * fraction)
    assert ((noisy != y) == flipped).all() and set(noisy) <= set(y)


def test_other_classes_are_equally_likely():
    noisy, flipped = flip_labels(np.arange(60_000) % 3, 0.5, rng=np.random.default_rng(0))
    counts = np.bincount((noisy - np.arange(60_000))[flipped] % 3, minlength=3)
    assert counts[0] == 0 and abs(counts[1] - counts[2]) < 5 * np.sqrt(30_000 / 4) * 2


def test_cleaning_task_keeps_its_parts_apart():
    rng = np.random.default_rng(0)
    x = np.arange(50.0)[:, None]
    y = (x[:, 0] > 20).astype(int)
    task = cleaning_task(x, y, 20, 10, 0.25, rng=rng, standardise=False)
    parts = np.concatenate([task.x_train, task.x_val, task.x_test])[:, 0]
    assert sorted(parts) == sorted(x[:, 0]) and task.flipped.sum() == 5
    assert (((task.x_train[:, 0] > 20) != task.y_train) == task.flipped).all()
    assert ((task.x_val[:, 0] > 20) == task.y_val).all() and ((task.x_test[:, 0] > 20) == task.y_test).all()
    scaled = cleaning_task(x, y, 20, 10, 0.25, rng=np.random.default_rng(0))
    assert abs(scaled.x_train.mean()) < 1e-12 and scaled.x_train.std() == pytest.approx(1)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), st.data())
def test_auc_counts_pairs(suspicion, data):
    flipped = np.array(data.draw(st.lists(st.booleans(), min_size=len(suspicion), max_size=len(suspicion))))
    if flipped.all() or not flipped.any():
        with pytest.raises(ValueError, match="^flipped"):
            cleaning_auc(suspicion, flipped)
        return
    s = np.array(suspicion)
    pairs = s[flipped][:, None] - s[~flipped]
    assert cleaning_auc(s, flipped) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: flip_labels(np.zeros(5), 0.2, rng=np.random.default_rng(0)), "y"),
        (lambda: flip_labels(np.arange(5), 1.0, rng=np.random.default_rng(0)), "fraction"),
        (lambda: cleaning_task(np.ones((5, 1)), np.arange(5), 3, 2, 0.2, rng=np.random.default_rng(0)), "n_train, n_val"),
        (lambda: RecursiveMomentum().update(np.ones(2), np.ones(2), 0.0), "eta"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        call()
