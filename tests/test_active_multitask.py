"""Mathematics of prox_repro.transfer.active_multitask: optimal design, duality, limits, invariances, recovery, and bad input."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.linalg import random_orthonormal
from prox_repro.transfer.active_multitask import (
    _lasso_fista, MultiTaskLinearRepresentation, TaskStatistics, active_mtrl, active_mtrl_runs, allocate, cheapest_support, corruption_maps, design_value,
    excess_risk, explore, fit_head, fit_representation, gaussian_source, hard_instance, leave_out, mnist_task_suite, opening_cost,
    predicted_excess_risk, relevance_l1, relevance_l2, relevance_lasso, representation_risk, sampling_weights, task_statistics,
)

seeds = st.integers(0, 100_000)


def heads(seed, k=4, M=12):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((k, M)), rng.standard_normal(k)


# relevance and design

@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(1, 6), st.integers(0, 20))
def test_relevances_are_feasible_and_least(seed, k, more):
    W, w_t = heads(seed, k, k + more)
    one, two = relevance_l1(W, w_t), relevance_l2(W, w_t)
    for nu in (one, two):
        np.testing.assert_allclose(W @ nu, w_t, atol=1e-9 * (1 + np.abs(nu).sum() * np.abs(W).max()))
    assert np.count_nonzero(one) <= k
    assert np.abs(one).sum() <= np.abs(two).sum() * (1 + 1e-9)
    assert np.linalg.norm(two) <= np.linalg.norm(one) * (1 + 1e-9)


@settings(deadline=None, max_examples=25)
@given(seeds, st.floats(10, 1e5))
def test_l1_allocation_is_the_optimal_design(seed, total):
    W, w_t = heads(seed)
    nu = relevance_l1(W, w_t)
    best = design_value(W, w_t, total * sampling_weights(nu))
    np.testing.assert_allclose(best, np.abs(nu).sum()**2 / total, rtol=1e-8)
    others = total * np.random.default_rng(seed).dirichlet(np.full(12, 0.3), 500)
    assert (design_value(W, w_t, others) >= best * (1 - 1e-9)).all()


@settings(deadline=None, max_examples=15)
@given(seeds)
def test_the_dual_certifies_elfving(seed):
    W, w_t = heads(seed)
    from scipy.optimize import linprog
    dual = linprog(-w_t, A_ub=np.vstack([W.T, -W.T]), b_ub=np.ones(24), bounds=(None, None)).x  # max <w_t, z>, |W^T z| <= 1
    nu = relevance_l1(W, w_t)
    np.testing.assert_allclose(w_t @ dual, np.abs(nu).sum(), rtol=1e-8)
    assert (np.abs(W.T @ dual)[nu != 0] > 1 - 1e-7).all()  # complementary slackness: supporting line of the hull


def test_variational_identity():
    W, w_t = heads(1)
    n = np.random.default_rng(2).uniform(1, 10, 12)
    nu = n * (W.T @ np.linalg.solve((W * n) @ W.T, w_t))
    np.testing.assert_allclose([(nu**2 / n).sum(), w_t @ np.linalg.solve((W * n) @ W.T, w_t)], design_value(W, w_t, n), rtol=1e-10)
    null = np.linalg.svd(W)[2][4:].T
    for step in np.random.default_rng(3).standard_normal((50, 8)):
        assert ((nu + null @ step)**2 / n).sum() > (nu**2 / n).sum()


def test_uniform_value_bound_of_l2_and_chain():
    for seed in range(10):
        W, w_t = heads(seed)
        one, two = relevance_l1(W, w_t), relevance_l2(W, w_t)
        np.testing.assert_allclose(design_value(W, w_t, np.full(12, 1 / 12)), 12 * two @ two, rtol=1e-10)
        assert np.abs(one).sum()**2 <= np.abs(two).sum()**2 <= 12 * two @ two
        share = sampling_weights(two, "l2")
        np.testing.assert_allclose((two**2 / share).sum(), 12 * two @ two)
        assert design_value(W, w_t, share) <= (two**2 / share).sum()


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_invariance_under_a_change_of_basis(seed):
    W, w_t = heads(seed)
    Q = np.random.default_rng(seed).standard_normal((4, 4)) + 3 * np.eye(4)
    np.testing.assert_allclose(relevance_l1(Q @ W, Q @ w_t), relevance_l1(W, w_t), atol=1e-6)
    np.testing.assert_allclose(relevance_l2(Q @ W, Q @ w_t), relevance_l2(W, w_t), atol=1e-7)
    n = np.random.default_rng(seed).uniform(1, 5, 12)
    np.testing.assert_allclose(design_value(Q @ W, Q @ w_t, n), design_value(W, w_t, n), rtol=1e-6)


def test_value_is_infinite_outside_the_span():
    W = np.array([[1.0, 0, 1], [0, 1, 1]])
    assert np.isinf(design_value(W, np.array([1.0, 0]), np.array([0, 5, 0])))
    np.testing.assert_allclose(design_value(W, np.array([1.0, 0]), np.array([4, 0, 0])), 0.25)


@pytest.mark.parametrize("M, eps, l2, uniform", [(201, 0.3, 7.25, 10.6), (801, 0.188, 14.6, 27.4)])
def test_hard_instance(M, eps, l2, uniform):
    W, w_t = hard_instance(5, M, eps, seed=1)
    one, two = relevance_l1(W, w_t), relevance_l2(W, w_t)
    np.testing.assert_allclose(one, np.eye(M)[0], atol=1e-12)
    np.testing.assert_allclose(two[1:] / two[0], eps, rtol=1e-9)
    value = design_value(W, w_t, sampling_weights(two, "l2"))
    np.testing.assert_allclose(value, (1 + (M - 1) * eps**2) / (1 + (M - 1) * eps**4), rtol=1e-9)
    np.testing.assert_allclose([value, design_value(W, w_t, np.full(M, 1 / M))], [l2, uniform], rtol=0.01)


# the Lasso

def test_lasso_satisfies_its_optimality_conditions_and_agrees_with_scikit_learn():
    from sklearn.linear_model import Lasso
    W, w_t = heads(5, 4, 30)
    for lam in (0.3, 0.05):
        nu = relevance_lasso(W, w_t, lam)
        slope = W.T @ (w_t - W @ nu)
        assert np.abs(slope).max() <= lam * (1 + 1e-6)
        np.testing.assert_allclose(slope[nu != 0], lam * np.sign(nu[nu != 0]), rtol=1e-5)
        gap = 0.5 * ((W @ nu - w_t)**2).sum() + lam * np.abs(nu).sum()
        dual = (w_t - W @ nu) * min(1, lam / np.abs(slope).max())
        assert gap - (0.5 * w_t @ w_t - 0.5 * ((w_t - dual)**2).sum()) < 1e-7
        peer = Lasso(alpha=lam / 4, fit_intercept=False, tol=1e-12, max_iter=200_000).fit(W, w_t).coef_
        np.testing.assert_allclose(nu, peer, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(1, 6), st.integers(1, 25), st.floats(1e-3, 0.95))
def test_the_path_ends_where_proximal_gradients_converge(seed, k, M, kappa):
    W, w_t = heads(seed, k, M)
    nu, lam = relevance_lasso(W, w_t, kappa=kappa), kappa * np.abs(W.T @ w_t).max()
    value = lambda v: 0.5 * ((W @ v - w_t)**2).sum() + lam * np.abs(v).sum()
    assert np.count_nonzero(nu) <= min(k, M)
    slope = W.T @ (w_t - W @ nu)
    assert np.abs(slope).max() <= lam * (1 + 1e-6)
    np.testing.assert_allclose(slope[nu != 0], lam * np.sign(nu[nu != 0]), atol=1e-7 * np.abs(W.T @ w_t).max())
    scale = np.linalg.norm(W, 2)
    slow = _lasso_fista((W / scale)[None], w_t[None], np.array([[lam / scale]]), 1e-10, 20_000)[0] / scale
    assert value(nu) <= value(slow) * (1 + 1e-9)


def test_lasso_with_tied_and_repeated_tasks_is_still_optimal():
    rng = np.random.default_rng(7)
    W, w_t = rng.integers(-1, 2, (40, 3, 12)).astype(float), rng.integers(-2, 3, (40, 3)).astype(float)  # ties abound
    nu = relevance_lasso(W, w_t, kappa=0.1)
    lam = 0.1 * np.abs(W.mT @ w_t[..., None]).max((-2, -1))
    slope = (W.mT @ (w_t[..., None] - W @ nu[..., None]))[..., 0]
    assert (np.abs(slope).max(-1) <= lam * (1 + 1e-4) + 1e-12).all()
    np.testing.assert_allclose((slope * nu).sum(-1), lam * np.abs(nu).sum(-1), rtol=1e-4)


@settings(deadline=None, max_examples=8)
@given(seeds)
def test_lasso_tends_to_the_linear_programme_and_dies_at_the_largest_penalty(seed):
    W, w_t = heads(seed, 3, 8)
    exact = relevance_l1(W, w_t)
    nu = relevance_lasso(W, w_t, kappa=1e-6, max_iter=100_000)
    assert abs(np.abs(nu).sum() - np.abs(exact).sum()) < 1e-2 * np.abs(exact).sum()
    np.testing.assert_allclose(W @ nu, w_t, atol=1e-3 * np.linalg.norm(w_t))
    assert not relevance_lasso(W, w_t, 1.0001 * np.abs(W.T @ w_t).max()).any()


def test_lasso_of_batches_scales_and_rotations():
    W, w_t = np.stack([heads(s)[0] for s in range(3)]), np.stack([heads(s)[1] for s in range(3)])
    kappas = np.array([0.02, 0.2])
    together = relevance_lasso(W[:, None], w_t[:, None], kappa=np.broadcast_to(kappas, (3, 2)))
    for i in range(3):
        for j in range(2):
            np.testing.assert_allclose(together[i, j], relevance_lasso(W[i], w_t[i], kappa=kappas[j]), atol=1e-6)
    Q = random_orthonormal(4, 4, rng=np.random.default_rng(0))
    np.testing.assert_allclose(relevance_lasso(3 * Q @ W[0], 6 * Q @ w_t[0], kappa=0.1), 2 * relevance_lasso(W[0], w_t[0], kappa=0.1), atol=1e-6)


def test_ridge_relevance_tends_to_the_least_norm():
    W, w_t = heads(6)
    np.testing.assert_allclose(relevance_l2(W, w_t, 1e-10), relevance_l2(W, w_t), atol=1e-7)
    norms = [np.linalg.norm(relevance_l2(W, w_t, kappa)) for kappa in (0.0, 0.01, 0.1, 1.0)]
    assert norms == sorted(norms, reverse=True)


# allocation and costs

@settings(deadline=None, max_examples=50)
@given(seeds, st.integers(1, 30), st.integers(0, 20), st.integers(0, 5000), st.sampled_from(["l1", "l2", "uniform"]))
def test_allocation_sums_exactly_and_keeps_the_minimum(seed, M, least, extra, strategy):
    nu = np.random.default_rng(seed).standard_normal(M) * np.random.default_rng(seed + 1).integers(0, 2, M)
    nu[0] = 1.0
    n = allocate(nu, M * least + extra + 1, strategy, least)
    assert n.dtype == np.int64 and n.sum() == M * least + extra + 1 and n.min() >= least
    q = sampling_weights(nu, strategy)
    free = n > least + 1  # those above the minimum share in proportion, up to rounding
    if free.sum() > 1:
        level = n[free] / q[free]
        assert (np.abs(level - np.median(level)) <= 2.01 / q[free] + 2.01 / q[free].min()).all()


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 8), st.floats(0, 5000))
def test_with_prices_less_than_one_sample_of_the_cheapest_useful_task_is_left(seed, M, extra):
    rng = np.random.default_rng(seed)
    prices, nu = 10.0**rng.uniform(0, 2, M), rng.standard_normal(M) * rng.integers(0, 2, M)
    nu[0] = 1.0
    total = 3 * prices.sum() + extra
    n = allocate(nu, total, "l1", 3, prices)
    left = total - n @ prices
    assert n.min() >= 3 and (n[nu == 0] == 3).all()
    assert -1e-9 * total <= left <= prices[nu != 0].min() * (1 + 1e-9)


def test_allocation_with_prices_spends_the_money_and_is_optimal():
    from scipy.optimize import minimize
    W, w_t = heads(7, 3, 6)
    prices = np.array([1.0, 4, 2, 1, 9, 3])
    nu = relevance_l1(W, w_t, weights=np.sqrt(prices))
    n = allocate(nu, 10_000, costs=prices)
    assert n @ prices <= 10_000 < n @ prices + prices.max()
    closed = (np.sqrt(prices) @ np.abs(nu))**2 / 10_000
    np.testing.assert_allclose(design_value(W, w_t, n), closed, rtol=2e-2)

    def value(z):  # money on each task, positive and summing to the budget
        money = np.exp(z - z.max())
        return float(np.log(design_value(W, w_t, 10_000 * money / money.sum() / prices)))
    found = min(minimize(value, start, method="Nelder-Mead", options=dict(maxiter=6000, maxfev=6000, xatol=1e-6, fatol=1e-9)).fun
                for start in np.random.default_rng(0).standard_normal((2, 6)))
    assert np.log(closed) <= found + 1e-9 and found < np.log(closed) + 0.05


def test_cheapest_support_against_all_rules_and_in_general_position():
    W, w_t = heads(8, 3, 10)
    nu = relevance_l1(W, w_t)
    for fee in (0.0, 10.0, 1e5):
        support, cost = cheapest_support(W, w_t, fee, 1e-3)
        assert support == tuple(np.flatnonzero(nu))  # general position: optimal at every fee
        np.testing.assert_allclose(cost, opening_cost(W, w_t, sampling_weights(nu), fee, 1e-3), rtol=1e-8)
    copy = np.hstack([W, 0.3 * w_t[:, None]])
    assert cheapest_support(copy, w_t, 1e6, 1e-3)[0] == (10,)


# the estimator

def test_noise_free_data_give_the_span_and_the_heads():
    rng = np.random.default_rng(9)
    B, W = random_orthonormal(12, 3, rng=rng), rng.standard_normal((3, 7))
    Xs = [rng.standard_normal((n, 12)) for n in (5, 8, 15, 20, 30, 40, 50)]
    model = MultiTaskLinearRepresentation(3, n_iter=500, tol=1e-15).fit(Xs, [X @ B @ w for X, w in zip(Xs, W.T)])
    assert np.linalg.norm(B - model.B_ @ (model.B_.T @ B)) < 1e-6
    X = rng.standard_normal((6, 12))
    np.testing.assert_allclose(model.B_ @ model.fit_head(X, X @ B @ W[:, 0]), B @ W[:, 0], atol=1e-5)


def test_isotropic_grams_make_the_first_stage_a_singular_value_decomposition():
    rng = np.random.default_rng(10)
    n, beta = rng.integers(5, 50, 8).astype(float), rng.standard_normal((8, 6))
    stats = TaskStatistics(n[:, None, None] * np.eye(6), n[:, None] * beta, n * (beta**2).sum(1), n)
    found = fit_representation(stats, 2, n_iter=200, tol=1e-15)
    U, s, _ = np.linalg.svd((np.sqrt(n)[:, None] * beta).T)
    np.testing.assert_allclose(found.B @ found.B.T, U[:, :2] @ U[:, :2].T, atol=1e-4)
    np.testing.assert_allclose(found.loss, (s[2:]**2).sum(), rtol=1e-6)


def test_full_dimension_is_least_squares_of_each_task():
    rng = np.random.default_rng(11)
    Xs, Ys = [rng.standard_normal((20, 4)) for _ in range(5)], list(rng.standard_normal((5, 20)))
    model = MultiTaskLinearRepresentation(4).fit(Xs, Ys)
    expected = np.stack([np.linalg.lstsq(X, y, rcond=None)[0] for X, y in zip(Xs, Ys)], axis=1)
    np.testing.assert_allclose(model.B_ @ model.W_, expected, atol=1e-6)


def test_sweeps_descend_runs_are_independent_and_rotations_commute():
    rng = np.random.default_rng(12)
    B, W = random_orthonormal(8, 2, rng=rng), rng.standard_normal((2, 6))
    stats = explore([gaussian_source(B, W, 1.0, s) for s in range(3)], 6, 12)
    losses = [fit_representation(stats, 2, n_iter=i, tol=0).loss for i in range(1, 8)]
    assert (np.diff(losses, axis=0) <= 1e-9 * losses[0]).all()
    together = fit_representation(stats, 2, n_iter=300, tol=1e-13)
    for r in range(3):
        alone = fit_representation(TaskStatistics(*(a[r] for a in stats)), 2, n_iter=300, tol=1e-13)
        np.testing.assert_allclose(alone.B @ alone.W, together.B[r] @ together.W[r], atol=1e-6)
    Q = random_orthonormal(8, 8, rng=rng)
    turned = fit_representation(TaskStatistics(Q @ stats.gram @ Q.T, stats.cross @ Q.T, stats.energy, stats.n), 2, n_iter=300, tol=1e-13)
    np.testing.assert_allclose(turned.loss, together.loss, rtol=1e-5)


def test_conjugate_gradients_give_what_the_direct_solver_gives(monkeypatch):
    from prox_repro.transfer import active_multitask as module
    rng = np.random.default_rng(15)
    B, W = random_orthonormal(40, 8, rng=rng), rng.standard_normal((8, 30))
    stats = explore([gaussian_source(B, W, 0.5, s) for s in range(2)], 30, 35)
    by_cg = fit_representation(stats, 8, n_iter=500, tol=1e-13)  # 320 unknowns
    monkeypatch.setattr(module, "_solve_cg", module._solve_direct)
    direct = fit_representation(stats, 8, n_iter=500, tol=1e-13)
    np.testing.assert_allclose(by_cg.B @ by_cg.W, direct.B @ direct.W, atol=1e-5)
    np.testing.assert_allclose(by_cg.loss, direct.loss, rtol=1e-9)


def test_statistics_merge_like_samples():
    rng = np.random.default_rng(13)
    X, y = rng.standard_normal((9, 3)), rng.standard_normal(9)
    merged = task_statistics([X[:4]], [y[:4]]).merge(task_statistics([X[4:]], [y[4:]]))
    for a, b in zip(merged, task_statistics([X], [y])):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_prediction_becomes_exact_for_large_samples():
    rng = np.random.default_rng(14)
    W, w_t = rng.standard_normal((2, 5)), rng.standard_normal(2)
    B, n, runs = random_orthonormal(10, 2, rng=rng), np.array([9000, 3000, 6000, 1000, 4000]), 150
    stats = explore([gaussian_source(B, W, 0.7, s) for s in range(runs)], 5, n)
    target = explore([gaussian_source(B, w_t[:, None], 0.7, [s, 1]) for s in range(runs)], 1, 3000)
    fit = fit_representation(stats, 2)
    risk = excess_risk(fit.B, fit_head(fit.B, target), B, w_t)
    assert abs(risk.mean() / predicted_excess_risk(W, w_t, n, 10, 3000, 0.7) - 1) < 5 * risk.std() / risk.mean() / np.sqrt(runs)
    part = representation_risk(fit.B, B, w_t)
    assert abs(part.mean() / (0.49 * 8 * design_value(W, w_t, n)) - 1) < 5 * part.std() / part.mean() / np.sqrt(runs)
    assert (part <= risk).all()


@pytest.mark.parametrize("strategy", ["l1", "l2", "uniform"])
def test_budget_holds_with_exploration_inside(strategy):
    W, w_t = hard_instance(3, 9, 0.3)
    B, bought = random_orthonormal(8, 3, rng=np.random.default_rng(0)), np.zeros(9, dtype=int)
    sampler = gaussian_source(B, W, 0.1, 0)

    def draw(m, n):
        bought[m] += n
        return sampler(m, n)
    found = active_mtrl(draw, gaussian_source(B, w_t[:, None], 0.1, 1)(0, 200), 2000, 3, strategy, 40, n_tasks=9)
    assert bought.sum() == 2000 == found.counts.sum() and np.array_equal(bought, found.counts)
    assert excess_risk(found.B, found.w, B, w_t) < 0.01
    if strategy == "l1":
        assert found.counts[0] > 1000


def test_a_fit_of_the_exploration_can_be_used_again():
    W, w_t = hard_instance(3, 9, 0.3)
    B = random_orthonormal(8, 3, rng=np.random.default_rng(0))
    target = explore([gaussian_source(B, w_t[:, None], 0.1, 1)], 1, 200)
    run = lambda strategy, **more: active_mtrl_runs([gaussian_source(B, W, 0.1, 0)], target, 900, 3, strategy, n_tasks=9,
                                                    n_explore=40, **more)
    first = run("l1").history["explored"]
    for strategy in ("l1", "l2"):
        again, other = run(strategy), run(strategy, first=first)
        np.testing.assert_array_equal(again.B, other.B)
        np.testing.assert_array_equal(again.counts, other.counts)
        assert again != other  # compared by identity: arrays have no truth value


def test_known_relevance_may_leave_tasks_unsampled():
    W, w_t = hard_instance(3, 9, 0.3)
    B = random_orthonormal(8, 3, rng=np.random.default_rng(0))
    target = explore([gaussian_source(B, w_t[:, None], 0.1, 1)], 1, 500)
    found = active_mtrl_runs([gaussian_source(B, W, 0.1, 0)], target, 4000, 3, relevance=relevance_l1(W, w_t), n_tasks=9)
    assert found.counts[0].tolist() == [4000] + [0] * 8
    assert excess_risk(found.B, found.w, B, w_t)[0] < 1e-3


# the digits

def test_corruptions_are_what_they_are_called():
    maps, x = corruption_maps(), np.random.default_rng(0).random((28, 28))
    apply = lambda name: (maps[name][0] @ x.ravel() + maps[name][1]).reshape(28, 28)
    np.testing.assert_allclose(apply("identity"), x, atol=1e-6)
    np.testing.assert_allclose(apply("invert"), 1 - x, atol=1e-6)
    down = (x[9:19, 9:19] + x[9:19, 10:20] + x[10:20, 9:19] + x[10:20, 10:20]) / 4
    np.testing.assert_allclose(apply("shift")[11:21, 11:21], down, atol=1e-6)
    np.testing.assert_allclose(apply("blur")[5:20, 5:20], np.mean([x[5:20, 5 + s:20 + s] for s in range(-2, 3)], axis=0), atol=1e-6)
    disc = ((np.indices((28, 28)) - 13.5)**2).sum(0) < 60
    turned = (maps["rotate"][0] @ disc.ravel()).reshape(28, 28)
    assert np.abs(turned.sum() / disc.sum() - 1) < 0.02


def test_suite_is_white_balanced_and_reproducible():
    suite = mnist_task_suite(("identity", "noise"), (3, 8), n_images=600, n_test=200, n_components=10)
    X = suite.features["train"][..., :-1].reshape(-1, 10).astype(float)
    np.testing.assert_allclose(X.T @ X / len(X), np.eye(10), atol=1e-3)
    a, b = suite.source(5), suite.source(5)
    X, y = a(1, 400)
    np.testing.assert_array_equal(np.concatenate([b(1, 100)[0], b(1, 300)[0]])[:100], suite.source(5)(1, 100)[0])
    assert 140 < (y > 0).sum() < 260 and (X[:, -1] == 1).all()
    mse, error = suite.evaluate(0, np.zeros((2, 11)))
    np.testing.assert_allclose(mse, 1, rtol=1e-6)
    np.testing.assert_allclose(error, 1, rtol=1e-6)
    left = leave_out(suite.source(5), 1)
    np.testing.assert_array_equal(left(1, 3)[0], suite.source(5)(2, 3)[0])


# bad input

W_OK, T_OK = heads(0)
DRAW = gaussian_source(np.eye(4), W_OK, 1.0, 0)
STATS = task_statistics([np.eye(4)], [np.ones(4)])


@pytest.mark.parametrize("call, words", [
    (lambda: relevance_l1(W_OK[:, :2], T_OK), "residual"),
    (lambda: relevance_l2(W_OK[:, :2], T_OK), "residual"),
    (lambda: relevance_l1(W_OK, T_OK[:-1]), "w_t: needs shape"),
    (lambda: relevance_l1(W_OK * np.nan, T_OK), "NaN"),
    (lambda: relevance_l1(W_OK, T_OK, np.zeros(12)), "weights"),
    (lambda: relevance_l2(W_OK, T_OK, -1.0), "kappa"),
    (lambda: relevance_lasso(W_OK, T_OK, -0.1), "lam"),
    (lambda: relevance_lasso(W_OK, T_OK, "cv"), "lam"),
    (lambda: relevance_lasso(W_OK, T_OK, kappa=1.5), "kappa"),
    (lambda: sampling_weights(np.ones(3), "l3"), "strategy"),
    (lambda: sampling_weights(np.zeros(3)), "nu: is zero"),
    (lambda: sampling_weights(np.ones(3), "l2", np.ones(3)), "costs"),
    (lambda: allocate(np.ones(3), 5, min_per_task=2), "total: needs .* min_per_task"),
    (lambda: allocate(np.ones(3), -5), "total: needs an integer"),
    (lambda: allocate(np.ones(3), 10.5), "total: needs an integer"),
    (lambda: allocate(np.ones(3), np.inf), "total: needs an integer"),
    (lambda: allocate(np.ones(3), 0, costs=np.ones(3)), "total: needs a positive"),
    (lambda: allocate(np.ones(3), 20, min_per_task=2.5), "min_per_task: needs an integer"),
    (lambda: allocate(np.ones(3), 5, min_per_task=-1), "min_per_task"),
    (lambda: allocate(np.ones(3), 5, costs=np.array([1.0, -1, 1])), "costs: needs positive numbers, got -1"),
    (lambda: allocate(np.ones(3), 5, costs=np.ones(2)), "costs: needs 3 numbers"),
    (lambda: design_value(W_OK, T_OK, -np.ones(12)), "n: needs 12"),
    (lambda: predicted_excess_risk(W_OK, T_OK, np.ones(12), 3, 10, 1.0), "d, n_target"),
    (lambda: opening_cost(W_OK, T_OK, np.ones(12) / 12, -1, 1.0), "fee"),
    (lambda: cheapest_support(np.ones((2, 16)), np.ones(2), 1, 1.0), "at most 15"),
    (lambda: cheapest_support(np.ones((2, 3)), np.array([1.0, 0]), 1, 1.0), "no combination"),
    (lambda: task_statistics([], []), "Xs, Ys"),
    (lambda: task_statistics([np.ones((2, 3))], [np.ones(3)]), "Xs, Ys: need shapes"),
    (lambda: task_statistics([np.ones((2, 3))], [np.array([np.nan, 1])]), "NaN"),
    (lambda: MultiTaskLinearRepresentation(2).fit([np.ones((0, 3)), np.ones((2, 3))], [np.ones(0), np.ones(2)]), "no samples"),
    (lambda: task_statistics([np.ones((2, 3)), np.ones((2, 4))], [np.ones(2)] * 2), "Xs: needs the same input dimension d"),
    (lambda: fit_representation(STATS, 2), "k: needs an integer in 1..1"),
    (lambda: fit_representation(task_statistics([np.eye(2)] * 3, [np.ones(2)] * 3), 3), "k: needs an integer in 1..2"),
    (lambda: fit_representation(STATS, 1.5), "k: needs an integer"),
    (lambda: fit_representation(task_statistics([np.ones((0, 3))], [np.ones(0)]), 1), "no samples at all"),
    (lambda: fit_head(np.eye(3)[:, :2], STATS), "target: needs samples with inputs of dimension 3"),
    (lambda: fit_head(np.eye(3)[:, :2], task_statistics([np.ones((0, 3))], [np.ones(0)])), "target: .* and 0 samples"),
    (lambda: active_mtrl(DRAW, (np.eye(4), np.ones(4)), 99.5, 2, "l1", 2, n_tasks=12), "budget: needs an integer"),
    (lambda: active_mtrl(DRAW, (np.eye(4), np.ones(4)), 99, 2, "l1", 2.5, n_tasks=12), "n_explore: needs an integer"),
    (lambda: active_mtrl(DRAW, (np.eye(5), np.ones(5)), 99, 2, "l1", 2, n_tasks=12), "inputs of dimension 4"),
    (lambda: active_mtrl(DRAW, (np.eye(4), np.ones(4)), 99, 2, relevance=np.ones(7), n_tasks=12), "relevance: needs shape"),
    (lambda: active_mtrl(DRAW, (np.eye(4), np.ones(4)), 100, 2, "l1", 20, n_tasks=12), "budget"),
    (lambda: active_mtrl(DRAW, (np.eye(4), np.ones(4)), 100, 2, "l1", n_tasks=12), "n_explore"),
    (lambda: active_mtrl(DRAW, (np.eye(4), np.ones(4)), 100, 2, "best", 2, n_tasks=12), "strategy"),
    (lambda: hard_instance(3, 8, 0.3), "odd M"),
    (lambda: mnist_task_suite(("fog",)), "corruptions, digits"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
