"""Mathematics of prox_repro.generalization.neural_collapse: optimality, invariances, closed forms, limits, and bad input."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.linalg import random_orthonormal
from prox_repro.core.problems import finite_differences
from prox_repro.generalization.neural_collapse import (
    PerturbationMap, block, central_path_flow, class_targets, compress_samples, nc1_tilde_rate, nc_metrics, optimal_classifier,
    orthogonal_collapse, perturbation_map, predicted_spectrum, prox_reduced_loss, proximal_layers, reduced_loss_and_grad,
    singular_values, solve_features, sort_by_class, ufm_loss,
)

seeds = st.integers(0, 100_000)
K, N, D = 3, 5, 6
Y, LABELS = class_targets(K, N), np.repeat(np.arange(K), N)
LAM_W, LAM_H = 0.5, 0.2
weights = st.tuples(st.floats(0.05, 2.0), st.floats(0.01, 0.4))  # their product stays below 1


def features(seed=0, *batch):
    return np.random.default_rng(seed).standard_normal((*batch, D, K * N))


def gradients(W, H, H0, lam_w, lam_h, beta):
    "Gradients of f times K n in both variables, written out."
    E = W @ H - Y
    return E @ H.mT + N * lam_w * W, W.mT @ E + lam_h * H + beta * (H - H0)


# the model

@settings(deadline=None, max_examples=25)
@given(seeds, weights, st.integers(3, 7), st.floats(0.1, 100))
def test_collapse_is_stationary_with_and_without_the_given_features(seed, lam, d, beta):
    W, H = orthogonal_collapse(K, N, d, *lam, rng=np.random.default_rng(seed))
    for g in gradients(W, H, H, *lam, beta):
        assert np.abs(g).max() < 1e-13 * (1 + np.abs(H).max())
    np.testing.assert_allclose(optimal_classifier(H, Y, lam[0]), W, atol=1e-12)


def test_collapse_is_the_global_minimum_of_free_features():
    W, H = orthogonal_collapse(K, N, D, LAM_W, LAM_H, rng=np.random.default_rng(0))
    lowest = ufm_loss(W, H, Y, LAM_W, LAM_H)
    found = solve_features(features(1, 20), Y, LAM_W, LAM_H, 0.0)
    np.testing.assert_allclose(ufm_loss(found.W, found.H, Y, LAM_W, LAM_H), lowest, atol=1e-12)
    rng = np.random.default_rng(2)
    for size in (1e-3, 0.1, 1.0):
        others = ufm_loss(W + size * rng.standard_normal((50, K, D)), H + size * rng.standard_normal((50, D, K * N)), Y, LAM_W, LAM_H)
        assert (others >= lowest - 1e-15).all()


def test_strong_regularisation_makes_the_minimum_zero():
    found = solve_features(features(), Y, 4.0, 0.5, 0.0)  # the product of the weights is 2
    assert np.abs(found.H).max() < 1e-10 and np.abs(found.W).max() < 1e-10


def test_solution_is_stationary_and_below_random_restarts():
    H0, beta = features(3), 10.0
    found = solve_features(H0, Y, LAM_W, LAM_H, beta)
    assert found.converged and all(np.abs(g).max() < 1e-12 for g in gradients(found.W, found.H, H0, LAM_W, LAM_H, beta))
    value = ufm_loss(found.W, found.H, Y, LAM_W, LAM_H, beta, H0)
    H = H0 + features(4, 20)
    for _ in range(500):  # the alternation on all columns, from elsewhere
        W = np.linalg.solve(H @ H.mT + N * LAM_W * np.eye(D), H @ Y.T).mT
        H = np.linalg.solve(W.mT @ W + (LAM_H + beta) * np.eye(D), W.mT @ Y + beta * H0)
    assert (ufm_loss(W, H, Y, LAM_W, LAM_H, beta, H0) >= value - 1e-14).all()


@settings(deadline=None, max_examples=20)
@given(seeds, weights)
def test_envelope_gradient(seed, lam):
    H = features(seed)
    numeric = finite_differences(lambda h: reduced_loss_and_grad(h.reshape(H.shape), Y, *lam)[0], H.ravel())
    np.testing.assert_allclose(reduced_loss_and_grad(H, Y, *lam)[1].ravel(), numeric, atol=1e-6)


def test_envelope_gradient_is_that_of_automatic_differentiation():
    import torch
    H = torch.tensor(features(5), requires_grad=True)
    y = torch.tensor(Y)
    W = torch.linalg.solve(H @ H.T + N * LAM_W * torch.eye(D, dtype=H.dtype), H @ y.T).T
    value = 0.5 * ((W @ H - y)**2).sum() + N * LAM_W / 2 * (W**2).sum() + LAM_H / 2 * (H**2).sum()
    value.backward()
    loss, gradient = reduced_loss_and_grad(H.detach().numpy(), Y, LAM_W, LAM_H)
    np.testing.assert_allclose(loss, value.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient, H.grad.numpy(), atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seeds, st.floats(0.5, 100))
def test_prox_equation_and_optimality_against_other_points(seed, beta):
    H0 = features(seed)
    H = prox_reduced_loss(H0, Y, LAM_W, LAM_H, 1 / beta)
    np.testing.assert_allclose(H, H0 - reduced_loss_and_grad(H, Y, LAM_W, LAM_H)[1] / beta, atol=1e-10)
    objective = lambda X: reduced_loss_and_grad(X, Y, LAM_W, LAM_H)[0] + beta / 2 * ((X - H0)**2).sum((-2, -1))
    assert (objective(H + 0.1 * features(seed + 1, 10)) >= objective(H)).all()


def test_limits_of_beta():
    H0, sizes = features(6), []
    for beta in (1e2, 1e4, 1e6):
        sizes.append(beta * np.linalg.norm(solve_features(H0, Y, LAM_W, LAM_H, beta).H - H0))
    gradient = np.linalg.norm(reduced_loss_and_grad(H0, Y, LAM_W, LAM_H)[1])
    np.testing.assert_allclose(sizes, gradient, rtol=0.02)
    np.testing.assert_allclose(sizes[-1], gradient, rtol=1e-5)


def test_zero_features_are_free_features_with_more_regularisation():
    start, beta = features(7), 0.3
    W, H = orthogonal_collapse(K, N, D, LAM_W, LAM_H + beta, rng=np.random.default_rng(0))
    joint = ufm_loss(W, H, Y, LAM_W, LAM_H, beta, np.zeros_like(H))
    np.testing.assert_allclose(joint, ufm_loss(W, H, Y, LAM_W, LAM_H + beta), atol=1e-15)
    assert all(np.abs(g).max() < 1e-13 for g in gradients(W, H, np.zeros_like(H), LAM_W, LAM_H, beta))
    assert ufm_loss(optimal_classifier(start, Y, LAM_W), start, Y, LAM_W, LAM_H, beta, np.zeros_like(H)) > joint


# what the model can see

@settings(deadline=None, max_examples=25)
@given(seeds)
def test_equivariance(seed):
    rng = np.random.default_rng(seed)
    H0, U = features(seed), random_orthonormal(D, D, rng=rng)
    H = solve_features(H0, Y, LAM_W, LAM_H, 5.0).H
    np.testing.assert_allclose(solve_features(U @ H0, Y, LAM_W, LAM_H, 5.0).H, U @ H, atol=1e-11)
    order = np.concatenate([k * N + rng.permutation(N) for k in range(K)])
    np.testing.assert_allclose(solve_features(H0[:, order], Y, LAM_W, LAM_H, 5.0).H, H[:, order], atol=1e-11)
    a, b = nc_metrics(H.T, LABELS), nc_metrics((U @ H[:, order]).T, LABELS[order])
    np.testing.assert_allclose(a[:3], b[:3], rtol=1e-9)
    shuffled = rng.permutation(K)  # renaming classes
    moved = solve_features(H0.reshape(D, K, N)[:, shuffled].reshape(D, -1), Y, LAM_W, LAM_H, 5.0).H
    np.testing.assert_allclose(moved, H.reshape(D, K, N)[:, shuffled].reshape(D, -1), atol=1e-11)


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(1, 12))
def test_compression_changes_nothing(seed, n):
    targets, H = class_targets(K, n), np.random.default_rng(seed).standard_normal((2, D, K * n))
    small, y, basis = compress_samples(H, targets)
    if n >= 3:  # deviations span all directions
        np.testing.assert_allclose(basis.mT @ basis, np.broadcast_to(np.eye(K + D), (2, K + D, K + D)), atol=1e-9)
        np.testing.assert_allclose(targets @ basis, np.broadcast_to(y, (2, *y.shape)), atol=1e-9)
    np.testing.assert_allclose(small @ basis.mT, H, atol=1e-11)
    np.testing.assert_allclose(small @ small.mT, H @ H.mT, atol=1e-10)
    np.testing.assert_allclose(small @ y.T, H @ targets.T, atol=1e-11)
    assert small.shape[-1] == K + min(D, K * n)


def test_any_rotation_of_the_samples_that_keeps_the_targets_commutes():
    rng = np.random.default_rng(8)
    basis = np.linalg.svd(Y)[2]  # rows: K that span the targets, then their complement
    turn = random_orthonormal(K * N - K, K * N - K, rng=rng)
    Q = basis.T @ np.block([[np.eye(K), np.zeros((K, K * N - K))], [np.zeros((K * N - K, K)), turn]]) @ basis
    H0 = features(9)
    np.testing.assert_allclose(Y @ Q, Y, atol=1e-13)
    np.testing.assert_allclose(solve_features(H0 @ Q, Y, LAM_W, LAM_H, 3.0).H, solve_features(H0, Y, LAM_W, LAM_H, 3.0).H @ Q, atol=1e-11)


def test_batches_are_independent_problems():
    H0 = features(10, 2, 3)
    together = solve_features(H0, Y, LAM_W, LAM_H, 5.0)
    for i in range(2):
        for j in range(3):
            np.testing.assert_allclose(together.H[i, j], solve_features(H0[i, j], Y, LAM_W, LAM_H, 5.0).H, atol=1e-11)


def test_sorting_brings_labels_into_the_layout():
    rng = np.random.default_rng(11)
    labels, points = rng.permutation(np.repeat([7, 2, 5], 4)), rng.standard_normal((12, 4))
    H, targets, order = sort_by_class(points, labels)
    assert np.array_equal(targets, class_targets(3, 4)) and np.array_equal(labels[order], np.repeat([2, 5, 7], 4))
    assert np.array_equal(H.T, points[order])


# metrics

def test_metrics_from_their_definition():
    rng = np.random.default_rng(12)
    H, W = features(12), rng.standard_normal((K, D))
    means = H.reshape(D, K, N).mean(2)
    M, dev = means - means.mean(1, keepdims=True), H - np.repeat(means, N, axis=1)
    within, between = dev @ dev.T / (K * N), M @ M.T / K
    found = nc_metrics(H.T, LABELS, W)
    np.testing.assert_allclose(found.nc1, np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / K, rtol=1e-10)
    np.testing.assert_allclose(found.nc1_tilde, np.trace(within) / np.trace(between), rtol=1e-12)
    np.testing.assert_allclose(found.nc3, np.linalg.norm(W.T / np.linalg.norm(W) - M / np.linalg.norm(M)), rtol=1e-12)
    stacked = nc_metrics(np.stack([H.T, 2 * H.T]), LABELS)
    np.testing.assert_allclose(stacked.nc1, found.nc1, rtol=1e-10)  # no scale


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_what_leaves_nc1_alone(seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), (3, 6, 4))
    points = rng.standard_normal((13, K - 1)) + 2 * np.eye(K)[labels, :K - 1]
    mix = random_orthonormal(K - 1, K - 1, rng=rng) @ np.diag([0.5, 3.0]) @ random_orthonormal(K - 1, K - 1, rng=rng)
    a, b = nc_metrics(points, labels), nc_metrics(points @ mix + 1.0, labels)
    np.testing.assert_allclose(a.nc1, b.nc1, rtol=1e-7)
    order = rng.permutation(13)
    np.testing.assert_allclose(nc_metrics(points[order], labels[order])[:3], a[:3], rtol=1e-9)
    across = np.concatenate([points, 10 * rng.standard_normal((13, 4))], axis=1)  # noise across the span of the means ...
    across[:, K - 1:] -= (np.eye(K)[labels] @ np.linalg.pinv(np.eye(K)[labels])) @ across[:, K - 1:]  # ... without means
    c = nc_metrics(across, labels)
    np.testing.assert_allclose(c.nc1, a.nc1, rtol=1e-7)
    assert c.nc1_tilde > a.nc1_tilde


def test_nc2_vanishes_for_a_simplex_and_for_an_orthogonal_frame():
    frame = random_orthonormal(7, 5, rng=np.random.default_rng(13)).T
    for means in (frame, frame - frame.mean(0), 3 * frame + 1):
        assert nc_metrics(np.repeat(means, 2, axis=0), np.repeat(np.arange(5), 2)).nc2 < 1e-13
    assert nc_metrics(np.repeat(frame * np.array([[1.0], [1], [1], [1], [3]]), 2, axis=0), np.repeat(np.arange(5), 2)).nc2 > 0.1


def test_collapsed_solution_has_metrics_zero():
    W, H = orthogonal_collapse(K, N, D, LAM_W, LAM_H, rng=np.random.default_rng(14))
    found = nc_metrics(H.T, LABELS, W - W.mean(0))
    assert max(found) < 1e-13


# the flow

@settings(deadline=None, max_examples=12)
@given(seeds, st.sampled_from([(1.0, 0.1), (0.1, 0.0), (4.0, 0.5), (0.3, 0.2)]))
def test_flow_is_monotone(seed, lam):
    path = central_path_flow(features(seed), Y, *lam, 3.0, dt=0.02)
    growth = np.exp(2 * lam[1] * path.times)
    assert (np.diff(path.nc1_tilde) < 0).all()
    assert (np.diff(growth * path.trace_within) < 1e-12).all() and (np.diff(growth * path.trace_between) > -1e-12).all()


def test_flow_converges_with_fourth_order_and_reaches_the_collapse():
    H0 = features(15)
    fine = central_path_flow(H0, Y, LAM_W, LAM_H, 1.0, dt=0.01).H
    errors = [np.linalg.norm(central_path_flow(H0, Y, LAM_W, LAM_H, 1.0, dt=dt).H - fine) for dt in (0.2, 0.1)]
    assert errors[0] / errors[1] > 12
    end = central_path_flow(H0, Y, LAM_W, LAM_H, 200.0, dt=0.1).H
    assert nc_metrics(end.T, LABELS).nc1_tilde < 1e-20
    np.testing.assert_allclose(reduced_loss_and_grad(end, Y, LAM_W, LAM_H)[1], 0, atol=1e-10)


def test_many_short_proximal_steps_follow_the_flow():
    H0 = features(16)
    errors = [np.linalg.norm(proximal_layers(H0, Y, LAM_W, LAM_H, steps, steps)[-1] - central_path_flow(H0, Y, LAM_W, LAM_H, 1.0).H)
              for steps in (20, 40)]
    np.testing.assert_allclose(errors[0] / errors[1], 2, rtol=0.1)


def test_rate_is_the_derivative_and_decay_is_the_solvers():
    H0 = features(17, 4)
    path = central_path_flow(H0, Y, LAM_W, LAM_H, 1e-4, dt=1e-4)
    np.testing.assert_allclose(np.log(path.nc1_tilde[-1] / path.nc1_tilde[0]) / 1e-4, nc1_tilde_rate(H0, Y, LAM_W), rtol=1e-3)
    ratio = nc_metrics(solve_features(H0, Y, LAM_W, LAM_H, 1e5).H.mT, LABELS).nc1_tilde / nc_metrics(H0.mT, LABELS).nc1_tilde
    np.testing.assert_allclose(1e5 * (ratio - 1), nc1_tilde_rate(H0, Y, LAM_W), rtol=1e-3)
    for beta in (0.5, 5.0):  # holds for every beta, not only for large ones
        moved = solve_features(H0, Y, LAM_W, LAM_H, beta).H
        spread = [((x - x.reshape(4, D, K, N).mean(-1).repeat(N, axis=-1))**2).sum((1, 2)) for x in (H0, moved)]
        assert ((1 + LAM_H / beta)**2 * spread[1] <= spread[0]).all()


# the perturbation map

def dense_by_autograd(W, H, lam_w, lam_h, beta):
    "Equation (10) with the Hessian of f times K n from automatic differentiation; columns of H stacked."
    import torch
    y, d = torch.tensor(Y), H.shape[0]

    def value(w, h):
        W, H = w.reshape(K, d), h.reshape(-1, d).T
        return 0.5 * ((W @ H - y)**2).sum() + N * lam_w / 2 * (W**2).sum() + (lam_h + beta) / 2 * (H**2).sum()

    (ww, wh), (hw, hh) = torch.autograd.functional.hessian(value, (torch.tensor(W.ravel()), torch.tensor(H.T.ravel())))
    curvature = hh - hw @ torch.linalg.solve(ww, wh)
    return beta * np.linalg.inv(curvature.numpy()), (-torch.linalg.solve(ww, wh)).numpy(), (hh - hw @ torch.linalg.solve(ww, wh)).numpy()


@pytest.mark.parametrize("beta", [1.0, 20.0])
@pytest.mark.parametrize("collapsed", [True, False])
def test_map_is_the_formula_of_the_theorem(beta, collapsed):
    start = orthogonal_collapse(K, N, D, LAM_W, LAM_H, rng=np.random.default_rng(0))[1] if collapsed else features(18)
    W, H, *_ = solve_features(start, Y, LAM_W, LAM_H, beta)
    expected, response, curvature = dense_by_autograd(W, H, LAM_W, LAM_H, beta)
    np.testing.assert_allclose(perturbation_map(W, H, Y, LAM_W, LAM_H, beta), expected, atol=1e-11)
    large = np.eye(D * K * N) - (curvature - beta * np.eye(D * K * N)) / beta
    np.testing.assert_allclose(perturbation_map(W, H, Y, LAM_W, LAM_H, beta, "large_beta"), large, atol=1e-11)
    kick = features(19)
    moved = (response @ expected @ kick.T.ravel()).reshape(K, D)
    np.testing.assert_allclose(PerturbationMap(W, H, Y, LAM_W, LAM_H, beta).classifier(kick), moved, atol=1e-11)


@settings(deadline=None, max_examples=15)
@given(seeds, weights, st.floats(0.5, 200))
def test_map_is_symmetric_with_eigenvalues_up_to_one_at_collapse(seed, lam, beta):
    W, H = orthogonal_collapse(K, N, 5, *lam, rng=np.random.default_rng(seed))
    full = perturbation_map(W, H, Y, *lam, beta)
    np.testing.assert_allclose(full, full.T, atol=1e-11)
    values = np.linalg.eigvalsh(full)
    assert values[0] > 0 and values[-1] < 1 + 1e-10
    spectrum = predicted_spectrum(K, N, 5, *lam, beta, "exact")
    np.testing.assert_allclose(values[::-1], singular_values(spectrum.full), atol=1e-10)
    np.testing.assert_allclose(np.linalg.svd(block(full, 0, 0, K), compute_uv=False), singular_values(spectrum.diagonal), atol=1e-10)
    np.testing.assert_allclose(np.linalg.svd(block(full, 2, 1, K), compute_uv=False), singular_values(spectrum.cross), atol=1e-10)


@settings(deadline=None, max_examples=15)
@given(seeds, weights, st.floats(20, 1000))
def test_theorem_for_the_blocks(seed, lam, beta):
    W, H = orthogonal_collapse(4, 3, 6, *lam, rng=np.random.default_rng(seed))
    large, (c, s) = perturbation_map(W, H, class_targets(4, 3), *lam, beta, "large_beta"), (np.sqrt(lam[0] * lam[1]), np.sqrt(lam[1] / lam[0]))
    own, cross = (np.linalg.svd(block(large, k, l, 4), compute_uv=False) for k, l in ((1, 1), (3, 0)))
    np.testing.assert_allclose([own[0], own[-1], cross[0]], [1, 1 - s / beta, 2 * lam[1] * (1 - c) / beta], atol=1e-10)
    assert cross[1] < 1e-12 and own[-1] > 0
    spectrum = predicted_spectrum(4, 3, 6, *lam, beta)
    np.testing.assert_allclose(own, singular_values(spectrum.diagonal), atol=1e-10)
    np.testing.assert_allclose(np.linalg.svd(large, compute_uv=False), singular_values(spectrum.full), atol=1e-10)


def test_rotations_of_the_collapse_are_what_the_map_leaves_alone():
    rng = np.random.default_rng(20)
    W, H = orthogonal_collapse(K, N, D, LAM_W, LAM_H, rng=rng)
    A = rng.standard_normal((D, D))
    full = PerturbationMap(W, H, Y, LAM_W, LAM_H, 2.0)
    np.testing.assert_allclose(full.apply((A - A.T) @ H), (A - A.T) @ H, atol=1e-12)
    within = features(21) - features(21).reshape(D, K, N).mean(-1).repeat(N, axis=-1)
    inside = W.T @ W / np.linalg.norm(W[0])**2
    s = np.sqrt(LAM_H / LAM_W)
    np.testing.assert_allclose(full.apply(within), 2 / (2 + s) * inside @ within + 2 / (2 + LAM_H) * (within - inside @ within), atol=1e-12)


def test_multiplicities_add_up_and_merge():
    for k, n, d in ((4, 10, 10), (3, 7, 5), (2, 1, 3)):
        spectrum = predicted_spectrum(k, n, d, 0.4, 0.3, 50.0)
        assert [sum(part.values()) for part in spectrum] == [d * n * k, d * n, d * n]
    merged = predicted_spectrum(3, 4, 5, 1.0, 0.5625, 10.0)  # c = 3/4: two steps coincide
    assert sum(merged.full.values()) == 60 and len(merged.full) == 3


def test_map_without_forming_it_at_a_size_where_it_could_not_be():
    rng = np.random.default_rng(22)
    targets, H0 = class_targets(10, 50), rng.standard_normal((64, 500))
    W, H, *_ = solve_features(H0, targets, 0.3, 0.1, 20.0)
    kick = rng.standard_normal(H0.shape)
    moved = [solve_features(H0 + h * kick, targets, 0.3, 0.1, 20.0).H for h in (1e-3, -1e-3)]
    np.testing.assert_allclose(PerturbationMap(W, H, targets, 0.3, 0.1, 20.0).apply(kick), (moved[0] - moved[1]) / 2e-3, atol=1e-7)


# bad input

W_OK, H_OK = orthogonal_collapse(K, N, D, LAM_W, LAM_H, rng=np.random.default_rng(0))


def test_a_prox_that_does_not_converge_says_so():
    with pytest.warns(UserWarning, match="no convergence in 5000 alternations"):
        prox_reduced_loss(H_OK, Y, 1.0, 0.0, 1e6)


@pytest.mark.parametrize("call, words", [
    (lambda: solve_features(H_OK, Y[:, ::-1], 0.5, 0.1, 1.0), "Y: needs one-hot"),
    (lambda: solve_features(H_OK, Y[:, :-1], 0.5, 0.1, 1.0), "Y: needs one-hot"),
    (lambda: solve_features(H_OK[:, :-1], Y, 0.5, 0.1, 1.0), "H: needs 15 columns"),
    (lambda: solve_features(H_OK[:2], Y, 0.5, 0.1, 1.0), "at least as many rows"),
    (lambda: solve_features(H_OK * np.nan, Y, 0.5, 0.1, 1.0), "NaN"),
    (lambda: solve_features(H_OK.astype(complex), Y, 0.5, 0.1, 1.0), "real array"),
    (lambda: solve_features(H_OK, Y, 0.0, 0.1, 1.0), "lam_w"),
    (lambda: solve_features(H_OK, Y, 0.5, -0.1, 1.0), "lam_h"),
    (lambda: solve_features(H_OK, Y, 0.5, 0.1, -1.0), "beta"),
    (lambda: solve_features(H_OK, Y, 0.5, 0.0, 0.0), "at least one must be positive"),
    (lambda: prox_reduced_loss(H_OK, Y, 0.5, 0.1, 0.0), "step_size"),
    (lambda: proximal_layers(H_OK, Y, 0.5, 0.1, 1.0, 0), "n_layers"),
    (lambda: optimal_classifier(H_OK, Y, -1.0), "lam_w"),
    (lambda: central_path_flow(H_OK, Y, 0.5, 0.1, 1.0, dt=2.0), "dt"),
    (lambda: central_path_flow(H_OK, Y, 0.5, 0.1, 1.0, record_every=0), "record_every"),
    (lambda: class_targets(1, 5), "n_classes"),
    (lambda: orthogonal_collapse(3, 5, 2, 0.5, 0.1, rng=np.random.default_rng(0)), "n_classes <= dim"),
    (lambda: orthogonal_collapse(3, 5, 6, 2.0, 0.5, rng=np.random.default_rng(0)), "collapse is trivial"),
    (lambda: orthogonal_collapse(3, 5, 6, 2.0, 0.0, rng=np.random.default_rng(0)), "collapse is trivial"),
    (lambda: predicted_spectrum(3, 5, 3, 0.5, 0.1, 10.0), "dim > n_classes"),
    (lambda: predicted_spectrum(3, 5, 6, 0.5, 0.1, 0.0), "beta > 0"),
    (lambda: predicted_spectrum(3, 5, 6, 0.5, 0.1, 1.0, "first"), "order"),
    (lambda: PerturbationMap(W_OK.T, H_OK, Y, 0.5, 0.2, 1.0), "W, H: need shapes"),
    (lambda: PerturbationMap(W_OK, H_OK, Y, 0.5, 0.2, 0.0), "beta > 0"),
    (lambda: perturbation_map(W_OK, H_OK, Y, 0.5, 0.2, 1.0, "second"), "order"),
    (lambda: block(np.eye(90), 3, 0, 3), "k, l"),
    (lambda: PerturbationMap(W_OK, H_OK, Y, 0.5, 0.2, 1.0).apply(H_OK.T), "dH0: needs shape"),
    (lambda: ufm_loss(W_OK, H_OK, Y, 0.5, 0.2, 1.0), "H0: needs the shape of H"),
    (lambda: ufm_loss(W_OK.T, H_OK, Y, 0.5, 0.2), "W: needs shape"),
    (lambda: nc_metrics(H_OK.T, LABELS, W_OK.T), "W: needs shape"),
    (lambda: solve_features(H_OK, Y, 0.5, 0.1, 1.0, max_iter=0), "max_iter"),
    (lambda: proximal_layers(H_OK, Y, 0.5, 0.1, 0.0, 2), "n_layers, beta"),
    (lambda: nc1_tilde_rate(orthogonal_collapse(3, 5, 6, 0.5, 0.1, rng=np.random.default_rng(0))[1], Y, 0.5), "collapsed"),
    (lambda: sort_by_class(H_OK.T, np.arange(15) // 4), "equally many"),
    (lambda: nc_metrics(H_OK.T, LABELS[:-1]), "labels: needs shape"),
    (lambda: nc_metrics(H_OK.T, np.arange(15)), "at least 2 samples"),
    (lambda: nc_metrics(H_OK.T, np.zeros(15)), "at least 2 classes"),
    (lambda: nc_metrics(np.ones((15, 4)), LABELS), "class means coincide"),
    (lambda: nc_metrics(np.random.default_rng(0).standard_normal((15, 1)), LABELS), "K - 1 directions"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        call()
