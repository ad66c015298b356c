"""CoLiDE: scores, acyclicity, the solver and its limits, checked as mathematics."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.graphs import dag_metrics, is_dag, random_dag, random_weights, shd
from prox_repro.recovery.colide import (
    CoLiDE, DagmaLS, PathSchedule, central_path, concomitant_score, fit_many, in_m_matrix_domain, least_squares_score,
    logdet_acyclicity, optimal_sigma, profile_score, residual_variances, sample_covariance, simulate_linear_sem, sort_n_regress,
    threshold_to_dag, varsortability)

seeds = st.integers(0, 100_000)
QUICK = PathSchedule(lr=1e-2, warm_iter=400, max_iter=800, checkpoint=100)
QUICK_CLASS = dict(lr=1e-2, warm_iter=400, max_iter=800, checkpoint=100)


def random_problem(seed, d=5, n=40):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(d, d)), sample_covariance(rng.normal(size=(n, d)) @ rng.normal(size=(d, d))), rng


def finite_differences(f, W, step=1e-6):
    grad = np.empty_like(W)
    for index in np.ndindex(W.shape):
        shift = np.zeros_like(W)
        shift[index] = step
        grad[index] = (f(W + shift) - f(W - shift)) / (2 * step)
    return grad


# acyclicity

@settings(deadline=None, max_examples=50)
@given(st.integers(2, 10), st.floats(0, 1), st.sampled_from([0.5, 0.9, 1.0, 2.0]), seeds)
def test_acyclicity_vanishes_on_dags(d, share, s, seed):
    A = random_dag(d, round(share * d * (d - 1) / 2), random_state=seed)
    W = random_weights(A, random_state=seed)
    assert in_m_matrix_domain(W, s)
    assert abs(logdet_acyclicity(W, s)[0]) < 1e-10


@settings(deadline=None)
@given(st.floats(0.05, 0.95), st.floats(-0.95, -0.05), st.sampled_from([1.0, 0.95]))
def test_acyclicity_of_a_two_cycle(a, b, s):
    W = np.array([[0, a], [b, 0]])
    value, grad = logdet_acyclicity(W, s)
    assert value > 0
    np.testing.assert_allclose(value, -np.log(1 - (a * b / s) ** 2), rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(grad, finite_differences(lambda V: logdet_acyclicity(V, s)[0], W), rtol=1e-5, atol=1e-6)


def test_acyclicity_adds_up_closed_walks():
    W = np.random.default_rng(0).uniform(-0.3, 0.3, (6, 6))
    B, power, series = W * W, np.eye(6), 0.0
    for k in range(1, 60):
        power = power @ B
        series += np.trace(power) / k
    np.testing.assert_allclose(logdet_acyclicity(W)[0], series, rtol=1e-10)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_acyclicity_gradient(seed):
    W = np.random.default_rng(seed).uniform(-0.35, 0.35, (5, 5))
    np.testing.assert_allclose(logdet_acyclicity(W)[1], finite_differences(lambda V: logdet_acyclicity(V)[0], W), atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(seeds, st.floats(0.3, 1.5))
def test_the_domain_is_spectral_radius_below_s(seed, size):
    W = np.random.default_rng(seed).uniform(-size, size, (5, 5))
    radius = np.abs(np.linalg.eigvals(W * W)).max()
    if abs(radius - 1) > 1e-3:
        assert in_m_matrix_domain(W, 1.0) == (radius < 1)
    value, grad = logdet_acyclicity(W)
    assert (value >= -1e-12) if in_m_matrix_domain(W) else (value == np.inf and np.isnan(grad).all())


def test_a_singular_matrix_is_outside_the_domain():
    assert not in_m_matrix_domain(np.array([[0.0, 1.0], [1.0, 0.0]]), 1.0)


# scores

@settings(deadline=None, max_examples=25)
@given(seeds)
def test_score_gradients(seed):
    W, cov, rng = random_problem(seed)
    sigma = rng.uniform(0.3, 3, 5)
    for score in (lambda V: least_squares_score(V, cov, 0.1), lambda V: concomitant_score(V, cov, 0.8, 0.1),
                  lambda V: concomitant_score(V, cov, sigma, 0.1), lambda V: profile_score(V, cov, 0.1, True),
                  lambda V: profile_score(V, cov, 0.1, False)):
        numeric, exact = finite_differences(lambda V: score(V)[0], W), score(W)[1]
        np.testing.assert_allclose(exact, numeric, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_residual_variances_are_those_of_the_samples(seed):
    rng = np.random.default_rng(seed)
    X, W = rng.normal(size=(30, 4)), rng.normal(size=(4, 4))
    centred = X - X.mean(0)
    np.testing.assert_allclose(residual_variances(W, sample_covariance(X)), (centred - centred @ W).var(0), rtol=1e-10)


@settings(deadline=None, max_examples=25)
@given(seeds, st.floats(0.1, 10))
def test_scaling_the_data(seed, c):
    W, cov, rng = random_problem(seed)
    sigma = rng.uniform(0.3, 3, 5)
    for scale in (0.7, sigma):
        np.testing.assert_allclose(concomitant_score(W, c**2 * cov, c * scale, 0.0)[0], c * concomitant_score(W, cov, scale, 0.0)[0])
    np.testing.assert_allclose(least_squares_score(W, c**2 * cov, 0.0)[0], c**2 * least_squares_score(W, cov, 0.0)[0])
    np.testing.assert_allclose(optimal_sigma(W, c**2 * cov), c * optimal_sigma(W, cov))


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_limits_of_the_scores(seed):
    W, cov, _ = random_problem(seed)
    value, grad = concomitant_score(W, cov, 1.0, 0.1)
    plain, plain_grad = least_squares_score(W, cov, 0.1)
    np.testing.assert_allclose(value, plain + 5 / 2)
    np.testing.assert_allclose(grad, plain_grad)
    tied, tied_grad = concomitant_score(W, cov, np.full(5, 1.7), 0.1)
    scalar, scalar_grad = concomitant_score(W, cov, 1.7, 0.1)
    assert tied == scalar and np.array_equal(tied_grad, scalar_grad)


@settings(deadline=None, max_examples=50)
@given(seeds, st.booleans())
def test_the_closed_form_scale_is_the_minimum(seed, equal):
    W, cov, rng = random_problem(seed)
    best = optimal_sigma(W, cov, equal)
    minimum = concomitant_score(W, cov, best, 0.1)[0]
    np.testing.assert_allclose(minimum, profile_score(W, cov, 0.1, equal)[0])
    for _ in range(20):
        other = best * np.exp(rng.normal(scale=0.5, size=np.shape(best)))
        assert concomitant_score(W, cov, other, 0.1)[0] >= minimum
    variances = residual_variances(W, cov)
    closed = np.sqrt(5 * variances.sum()) if equal else np.sqrt(variances).sum()
    np.testing.assert_allclose(minimum, closed + 0.1 * np.abs(W).sum())


@settings(deadline=None, max_examples=50)
@given(seeds, st.booleans(), st.floats(0, 1))
def test_joint_convexity(seed, equal, share):
    W1, cov, rng = random_problem(seed)
    W2, size = rng.normal(size=W1.shape), 1 if equal else 5
    s1, s2 = rng.uniform(0.05, 5, (2, size))
    score = lambda W, s: concomitant_score(W, cov, s, 0.1)[0]
    between = score(share * W1 + (1 - share) * W2, share * s1 + (1 - share) * s2)
    chord = share * score(W1, s1) + (1 - share) * score(W2, s2)
    assert between <= chord * (1 + 1e-12) + 1e-10


@pytest.mark.parametrize("variances, equal", [("equal", True), ("equal", False), ("unequal", False)])
def test_the_truth_is_stationary_in_the_population(variances, equal):
    data = simulate_linear_sem(8, 14, 2, variances=variances, random_state=5)
    inverse = np.linalg.inv(np.eye(8) - data.W)
    cov = inverse.T @ np.diag(data.sigma2) @ inverse
    np.testing.assert_allclose(residual_variances(data.W, cov), data.sigma2, rtol=1e-10)
    grad = profile_score(data.W, cov, 0.0, equal)[1]
    np.testing.assert_allclose(grad[data.W != 0], 0, atol=1e-10)


# data

@pytest.mark.parametrize("noise", ["gaussian", "exponential", "laplace", "gumbel"])
def test_simulated_noise_has_the_promised_variance(noise):
    data = simulate_linear_sem(5, 8, 200_000, noise=noise, variances="unequal", random_state=1)
    Z = data.X - data.X @ data.W
    np.testing.assert_allclose(Z.var(0), data.sigma2, rtol=0.03)
    correlation = np.corrcoef(Z.T)
    assert np.abs(correlation - np.eye(5)).max() < 0.02
    assert is_dag(data.W)


def test_one_seed_gives_multiples_of_the_same_data():
    a, b = (simulate_linear_sem(6, 9, 50, variance=v, random_state=3) for v in (1.0, 9.0))
    assert np.array_equal(a.W, b.W)
    np.testing.assert_allclose(b.X, 3 * a.X)


# solver

@pytest.fixture(scope="module")
def small():
    return simulate_linear_sem(7, 9, 400, variances="unequal", random_state=11)


@pytest.mark.parametrize("n_stages", [2])
def test_a_stack_is_its_problems_one_by_one(n_stages):
    schedule = PathSchedule(s=(1.0, 0.9)[:n_stages], lr=0.02, warm_iter=150, max_iter=200, checkpoint=50)
    covs = np.stack([sample_covariance(simulate_linear_sem(6, 9, 100, random_state=s).X) for s in range(5)])
    scores, lams = ["ls", "ev", "nv", "ev", "nv"], [0.05, 0.05, 0.1, 0.0, 0.3]
    stack = central_path(covs, scores, lams, schedule)
    for b in range(5):
        alone = central_path(covs[b : b + 1], scores[b], lams[b], schedule)
        assert np.array_equal(alone.W[0], stack.W[b])
        assert np.array_equal(alone.sigma[0], stack.sigma[b])
        assert np.array_equal(alone.n_iter[0], stack.n_iter[b])


@pytest.mark.parametrize("lr, s", [(0.3, (1.0, 0.9)), (0.9, (1.0,)), (0.5, (0.8, 0.7))])
def test_steps_out_of_the_domain_are_repaired_per_problem(lr, s):
    schedule = PathSchedule(s=s, lr=lr, warm_iter=60, max_iter=60, checkpoint=20)
    covs = np.stack([sample_covariance(simulate_linear_sem(6, 12, 100, variance=v, random_state=s).X) for s, v in enumerate((0.1, 10.0, 3.0))])
    stack = central_path(covs, ["nv", "ls", "ev"], 0.05, schedule)
    assert np.isfinite(stack.W).all() and np.isfinite(stack.sigma).all()
    for b, score in enumerate(["nv", "ls", "ev"]):
        assert np.array_equal(central_path(covs[b : b + 1], score, 0.05, schedule).W[0], stack.W[b])


@pytest.mark.parametrize("score", ["ls", "ev", "nv"])
def test_permuting_the_nodes_permutes_the_fit(small, score):
    order = np.random.default_rng(0).permutation(7)
    schedule = PathSchedule(s=(1.0,), lr=1e-2, max_iter=100, checkpoint=100)  # short: rounding errors grow along the path
    a, b = (fit_many([X], score, 0.05, schedule)[0] for X in (small.X, small.X[:, order]))
    np.testing.assert_allclose(b.W_raw, a.W_raw[np.ix_(order, order)], atol=1e-8)
    np.testing.assert_allclose(b.sigma, a.sigma[order], atol=1e-8)


@pytest.mark.parametrize("score", ["ls", "ev", "nv"])
def test_a_fit_ends_acyclic_and_without_self_loops(small, score):
    (fit,) = fit_many([small.X], score, 0.05, QUICK)
    assert np.abs(np.diag(fit.W_raw)).max() < 0.05
    assert is_dag(fit.W)
    assert logdet_acyclicity(fit.W_raw, 0.9)[0] < 0.05
    variances = residual_variances(fit.W_raw, sample_covariance(small.X))
    np.testing.assert_allclose(fit.sigma, np.sqrt(np.broadcast_to(variances.mean(), 7) if score == "ev" else variances), rtol=1e-10)


def test_history_is_the_objective(small):
    (fit,) = fit_many([small.X], "nv", 0.05, QUICK, record_every=50)
    mu = 0.1 ** np.array([record.stage for record in fit.history])
    np.testing.assert_allclose([r.objective for r in fit.history], [m * r.score + r.h for m, r in zip(mu, fit.history)])
    last, s = fit.history[-1], QUICK.s[-1]
    cov = sample_covariance(small.X)
    np.testing.assert_allclose(last.score, concomitant_score(fit.W_raw, cov, fit.sigma, 0.05)[0])
    np.testing.assert_allclose(last.h, logdet_acyclicity(fit.W_raw, s)[0], rtol=1e-6, atol=1e-9)
    assert [r.iteration for r in fit.history] == sorted(r.iteration for r in fit.history)
    assert last.iteration == fit.n_iter.sum()


def test_one_adam_step_follows_the_written_gradient(small):
    cov = sample_covariance(small.X)
    schedule = PathSchedule(s=(1.0,), lr=1e-3, max_iter=2, checkpoint=5)
    path = central_path(cov[None], "nv", 0.05, schedule)
    W, m, v, sigma = np.zeros((7, 7)), 0.0, 0.0, np.sqrt(np.diag(cov))
    for t in (1, 2):
        G = concomitant_score(W, cov, sigma, 0.05)[1] + logdet_acyclicity(W, 1.0)[1]
        m, v = 0.99 * m + 0.01 * G, 0.999 * v + 0.001 * G**2
        W = W - 1e-3 * (m / (1 - 0.99**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        sigma = optimal_sigma(W, cov, equal=False)
    np.testing.assert_allclose(path.W[0], W, atol=1e-12)
    np.testing.assert_allclose(path.sigma[0], sigma, rtol=1e-12)


def test_rescaling_data_and_weight_together_rescales_the_stationary_points():
    data = simulate_linear_sem(5, 6, 300, random_state=2)
    cov, c = sample_covariance(data.X), 3.0
    W = np.random.default_rng(0).normal(size=(5, 5))
    for equal in (True, False):
        np.testing.assert_allclose(profile_score(W, c**2 * cov, c * 0.05, equal)[1], c * profile_score(W, cov, 0.05, equal)[1])
    np.testing.assert_allclose(least_squares_score(W, c**2 * cov, c**2 * 0.05)[1], c**2 * least_squares_score(W, cov, 0.05)[1])


def test_a_large_weight_gives_the_empty_graph(small):
    (fit,) = fit_many([small.X], "ev", 1e3, QUICK)
    assert np.abs(fit.W_raw).max() < 0.05 and not fit.W.any()


def test_one_node():
    X = np.random.default_rng(0).normal(scale=3, size=(50, 1))
    for model in (DagmaLS(), CoLiDE(), CoLiDE(equal_variance=False)):
        model.fit(X)
        assert model.W_.tolist() == [[0.0]]
        np.testing.assert_allclose(model.sigma_, X.std(0))


def test_classes_recover_an_easy_graph_and_leave_the_data_alone():
    data = simulate_linear_sem(6, 6, 2000, variance=2.0, random_state=4)
    X = data.X + 100.0
    before = X.copy()
    model = CoLiDE(**QUICK_CLASS).fit(X)
    assert np.array_equal(X, before)
    assert shd(data.W, model.W_) == 0
    assert np.ptp(model.sigma_) == 0 and abs(model.sigma_[0] ** 2 - 2) < 0.2
    assert model.n_iter_.shape == (4,) and len(model.history_) > 0
    np.testing.assert_allclose(model.W_raw_, CoLiDE(**QUICK_CLASS).fit(data.X).W_raw_, atol=1e-6)


def test_least_squares_is_dagma():
    dagma = pytest.importorskip("dagma.linear")
    data = simulate_linear_sem(8, 12, 300, random_state=6)
    ours = DagmaLS(lr=3e-3, warm_iter=300, max_iter=600, checkpoint=100).fit(data.X)
    theirs = dagma.DagmaLinear("l2").fit(data.X.copy(), lambda1=0.05, w_threshold=0.0, T=4, s=[1.0, 0.9, 0.8, 0.7], warm_iter=300,
                                         max_iter=600, lr=3e-3, checkpoint=100)
    # the two programs round differently in the last bits, which grows along the path
    np.testing.assert_allclose(ours.W_raw_, theirs, atol=5e-3)


# post-processing and baselines

@settings(deadline=None, max_examples=50)
@given(st.integers(2, 7), seeds, st.floats(0, 1.5))
def test_thresholding(d, seed, threshold):
    W = np.random.default_rng(seed).normal(size=(d, d))
    estimate = threshold_to_dag(W, threshold)
    kept = estimate != 0
    assert is_dag(estimate)
    assert np.array_equal(estimate[kept], W[kept]) and np.all(np.abs(W[kept]) > threshold)
    removed = (np.abs(W) > threshold) & ~kept
    if removed.any():
        # greedy: everything removed is smaller than everything kept, and putting the last one back closes a cycle
        assert np.abs(W[removed]).max() <= np.abs(W[kept]).min() if kept.any() else True
        last = np.where(np.abs(W) >= np.abs(W[removed]).max(), W, 0.0)
        assert not is_dag(last)


def test_metrics_of_a_thresholded_truth():
    data = simulate_linear_sem(10, 20, 10, random_state=0)
    assert dag_metrics(data.W, threshold_to_dag(data.W, 0.3))["shd"] == 0


def test_sort_n_regress_finds_the_truth_when_variances_give_the_order():
    data = simulate_linear_sem(6, 8, 5000, random_state=8)
    if varsortability(data.X, data.W) == 1.0:
        assert shd(data.W, threshold_to_dag(sort_n_regress(data.X, 0.05))) <= 1
    W = sort_n_regress(data.X, 0.0)
    assert is_dag(W) and (W != 0).sum() == 15  # least squares on all predecessors
    order = np.argsort(data.X.var(0))
    X = data.X[:, order] - data.X[:, order].mean(0)
    coef = np.linalg.lstsq(X[:, :5], X[:, 5], rcond=None)[0]
    np.testing.assert_allclose(W[order[:5], order[5]], coef, atol=1e-8)


def test_varsortability():
    X = np.random.default_rng(0).normal(size=(100, 3)) * [1.0, 2.0, 3.0]
    forward = np.triu(np.ones((3, 3)), 1)
    assert varsortability(X, forward) == 1.0 and varsortability(X, forward.T) == 0.0
    assert varsortability(X / X.std(0), forward) == 0.5


def test_sorting_equal_variances_keeps_the_order_of_the_columns():
    X = simulate_linear_sem(5, 8, 100, random_state=0).X
    assert not np.tril(sort_n_regress(X / X.std(0), 0.01)).any()


# bad input

X = np.random.default_rng(0).normal(size=(20, 3))
WITH_NAN, CONSTANT = X.copy(), X.copy()
WITH_NAN[3, 1], CONSTANT[:, 2] = np.nan, 5.0


@pytest.mark.parametrize("call, name", [
    (lambda: CoLiDE().fit(X[0]), "X"),
    (lambda: CoLiDE().fit(X[:1]), "X"),
    (lambda: CoLiDE().fit(WITH_NAN), "X"),
    (lambda: CoLiDE().fit(np.where(np.isnan(WITH_NAN), np.inf, X)), "X"),
    (lambda: CoLiDE().fit(CONSTANT), "constant"),
    (lambda: CoLiDE(lambda1=-0.1).fit(X), "lambda1"),
    (lambda: CoLiDE(s=(1.0, 0.0), stages=2).fit(X), "s is"),
    (lambda: CoLiDE(s=(1.0, 0.9)).fit(X), "stages"),
    (lambda: CoLiDE(threshold=-1.0).fit(X), "threshold"),
    (lambda: DagmaLS(lr=0.0).fit(X), "lr"),
    (lambda: fit_many([], "ev"), "datasets"),
    (lambda: fit_many([X, X[:, :2]], "ev"), "datasets"),
    (lambda: fit_many([X], "mle"), "score"),
    (lambda: central_path(np.eye(3), "ev"), "cov"),
    (lambda: logdet_acyclicity(np.zeros((2, 2)), 0.0), "s is"),
    (lambda: concomitant_score(np.zeros((2, 2)), np.eye(2), 0.0, 0.1), "sigma"),
    (lambda: threshold_to_dag(np.zeros((2, 2)), -0.1), "threshold"),
    (lambda: sort_n_regress(CONSTANT, 0.1), "constant"),
    (lambda: sort_n_regress(X, -0.1), "lambda1"),
    (lambda: varsortability(X, np.zeros((3, 3))), "W"),
    (lambda: simulate_linear_sem(4, 7, 10, random_state=0), "n_edges"),
    (lambda: simulate_linear_sem(4, 3, 10, weight_range=(0.0, 1.0), random_state=0), "weight_range"),
    (lambda: simulate_linear_sem(4, 3, 10, weight_range=(2.0, 0.5), random_state=0), "weight_range"),
    (lambda: simulate_linear_sem(4, 3, 0, random_state=0), "n_samples"),
    (lambda: simulate_linear_sem(4, 3, 10, noise="cauchy", random_state=0), "noise"),
    (lambda: simulate_linear_sem(4, 3, 10, variances="many", random_state=0), "variances"),
    (lambda: simulate_linear_sem(4, 3, 10, variance=0.0, random_state=0), "variance"),
])
def test_bad_input_names_the_argument(call, name):
    with pytest.raises(ValueError, match=name):
        call()
