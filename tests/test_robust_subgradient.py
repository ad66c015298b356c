"""Mathematics of prox_repro.recovery.robust_subgradient: identities, invariances, limits, and bad input."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import linprog
from scipy.stats import cauchy, norm

from prox_repro.core.linalg import low_rank_psd, random_orthonormal
from prox_repro.core.linops import MatrixSensing
from prox_repro.recovery.robust_subgradient import (
    Constant, Geometric, InverseSqrt, Noise, PolyakLike, SymmetricSensing, corrupt, gaussian_measurements, l1_loss, nuclear_l1,
    orthonormal_init, phi, sign_rip_deviation, sign_subgradient, signal_and_residual, spectral_sign_init, stack_starts,
    subgradient_method, subgradient_sweep,
)

seeds = st.integers(0, 100_000)
GAUSS, SPIKES = Noise("gaussian", scale=0.9), Noise("outlier", 0.3, 10.0)


def problem(seed=0, m=200, d=6, rank=2, noise=Noise()):
    rng = np.random.default_rng(seed)
    X, A = low_rank_psd(d, rank, rng=rng), gaussian_measurements(m, d, rng=rng)
    y = SymmetricSensing(A).forward(X)
    return X, A, corrupt(y, *noise, rng=rng)[0], rng


# measurements

@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 7))
def test_sensing_is_the_direct_sum_and_its_adjoint(seed, d):
    rng = np.random.default_rng(seed)
    A, S = rng.standard_normal((9, d, d)), rng.standard_normal((4, d, d))
    X, v = S + S.mT, rng.standard_normal((4, 9))
    sensing = SymmetricSensing(A)
    np.testing.assert_allclose(sensing.forward(X), np.einsum("mij,kij->km", A, X), atol=1e-10)
    np.testing.assert_allclose(sensing.forward(X[0]), np.einsum("mij,ij->m", A, X[0]), atol=1e-10)
    np.testing.assert_allclose(sensing.adjoint(v), np.einsum("km,mij->kij", v, (A + A.mT) / 2), atol=1e-10)
    np.testing.assert_allclose((sensing.forward(X) * v).sum(), (X * sensing.adjoint(v)).sum(), rtol=1e-9, atol=1e-9)
    three = sensing.forward(np.stack([X, 2 * X]))
    np.testing.assert_allclose(three[1], 2 * sensing.forward(X), atol=1e-10)
    np.testing.assert_allclose(sensing.adjoint(np.stack([v, v]))[1], sensing.adjoint(v), atol=1e-10)


def test_sensing_agrees_with_the_dense_operator():
    X, A, y, _ = problem()
    operator = MatrixSensing(torch.from_numpy(A))
    np.testing.assert_allclose(SymmetricSensing(A).forward(X), operator.A(torch.from_numpy(X)).numpy(), atol=1e-12)
    np.testing.assert_allclose(SymmetricSensing(A).adjoint(y), operator.A_adjoint(torch.from_numpy(y)).numpy(), atol=1e-11)


def test_gaussian_measurements_have_the_law_of_symmetrised_normals():
    A = gaussian_measurements(40_000, 3, rng=np.random.default_rng(0))
    assert np.array_equal(A, A.mT)
    variance = A.var(axis=0)
    np.testing.assert_allclose(np.diag(variance), 1, atol=0.03)
    np.testing.assert_allclose(variance[np.triu_indices(3, 1)], 0.5, atol=0.02)


@pytest.mark.parametrize("distribution", ["gaussian", "cauchy", "constant"])
def test_corruption_leaves_the_rest_alone(distribution):
    y = np.random.default_rng(0).standard_normal(20_000)
    noisy, mask = corrupt(y, "outlier", 0.3, 7.0, distribution, rng=np.random.default_rng(1))
    assert np.array_equal(noisy[~mask], y[~mask]) and abs(mask.mean() - 0.3) < 0.02
    s = (noisy - y)[mask]
    if distribution == "constant":
        np.testing.assert_allclose(np.abs(s), 7.0)
        assert abs(np.sign(s).mean()) < 0.05
    else:
        law = {"gaussian": norm(scale=7.0), "cauchy": cauchy(scale=7.0)}[distribution]
        for level in (0.1, 0.5, 0.8):
            assert abs((s < law.ppf(level)).mean() - level) < 0.02


def test_corruption_limits():
    y = np.arange(5.0)
    for p, expected in ((0.0, False), (1.0, True)):
        assert np.all(corrupt(y, "outlier", p, 1.0, rng=np.random.default_rng(0))[1] == expected)
    assert corrupt(y, "gaussian", scale=2.0, rng=np.random.default_rng(0))[1].all()
    assert np.array_equal(corrupt(y, "gaussian", scale=0.0, rng=np.random.default_rng(0))[0], y)


# population identities

@pytest.mark.parametrize("noise", [Noise(), SPIKES, Noise("outlier", 0.6, 1.0, "cauchy"), Noise("outlier", 1.0, 1.3, "constant"), GAUSS])
def test_population_identity_by_monte_carlo(noise):
    rng = np.random.default_rng(0)
    E = rng.standard_normal((3, 3))
    E = 1.7 * (E + E.T) / np.linalg.norm(E + E.T)
    n, sums, squares = 0, 0.0, 0.0
    for _ in range(4):
        G = rng.standard_normal((100_000, 3, 3))
        s, _ = corrupt(np.zeros(100_000), *noise, rng=rng)
        terms = np.sign(np.einsum("mij,ij->m", G, E) - s)[:, None, None] * (G + G.mT) / 2
        n, sums, squares = n + len(G), sums + terms.sum(0), squares + (terms**2).sum(0)
    error = np.sqrt(squares / n - (sums / n) ** 2) / np.sqrt(n)
    # nine entries at once: 3.5 standard errors
    assert np.all(np.abs(sums / n - phi(1.7, noise) * E / 1.7) < 3.5 * error)


@pytest.mark.parametrize("tau", [0.05, 0.7, 4.0])
def test_phi_is_the_gaussian_integral(tau):
    laws = {"gaussian": norm(scale=0.8).pdf, "cauchy": cauchy(scale=0.8).pdf}
    for name, pdf in laws.items():
        value = 2 * quad(lambda s: pdf(s) * np.exp(-s**2 / (2 * tau**2)), 0, 40 * tau, limit=200)[0]
        assert phi(tau, Noise("outlier", 1.0, 0.8, name)) == pytest.approx(np.sqrt(2 / np.pi) * value, rel=1e-7)
    assert phi(tau, Noise("outlier", 1.0, 0.8, "constant")) == pytest.approx(np.sqrt(2 / np.pi) * np.exp(-0.32 / tau**2))


@given(st.floats(1e-6, 1e6), st.floats(0, 1), st.floats(0, 1e6), st.sampled_from(["gaussian", "cauchy", "constant"]))
def test_phi_bounds(tau, p, scale, distribution):
    value = phi(tau, Noise("outlier", p, scale, distribution))
    assert np.sqrt(2 / np.pi) * (1 - p) * (1 - 1e-12) <= value <= np.sqrt(2 / np.pi) * (1 + 1e-12)


def test_phi_limits():
    assert phi(1.0) == pytest.approx(np.sqrt(2 / np.pi))
    tau = np.array([1e-4, 1e-5])
    np.testing.assert_allclose(phi(tau, GAUSS), np.sqrt(2 / np.pi) * tau / 0.9, rtol=1e-6)  # fades linearly: an error floor
    assert phi(1e5, GAUSS) == pytest.approx(np.sqrt(2 / np.pi))


def test_sign_rip_falls_with_m_and_grows_with_rank():
    rng = np.random.default_rng(0)
    delta = {(m, k): sign_rip_deviation(gaussian_measurements(m, 10, rng=rng), np.zeros(m), k, 50, rng=rng).delta
             for m in (500, 8000) for k in (1, 3, 10)}
    assert delta[500, 1] < delta[500, 3] < delta[500, 10]
    for k in (1, 3, 10):
        assert 2.5 < delta[500, k] / delta[8000, k] < 6.5  # 4 = sqrt(16)


def test_sign_rip_deviation_bounds_every_direction():
    rng = np.random.default_rng(1)
    A, s = gaussian_measurements(80, 5, rng=rng), np.where(np.arange(80) < 20, 3.0, 0.0)
    result = sign_rip_deviation(A, s, 2, 1, rng=np.random.default_rng(7), size=0.5)
    frames = random_orthonormal(5, 2, rng=(again := np.random.default_rng(7)), batch=(1,))
    X = ((frames * again.standard_normal((1, 1, 2))) @ frames.mT)[0]
    X *= 0.5 / np.linalg.norm(X)
    scale = np.sqrt(2 / np.pi) * (0.75 + 0.25 * np.exp(-18.0))
    Q = np.einsum("m,mij->ij", np.sign(np.einsum("mij,ij->m", A, X) - s), A) / 80
    gap = Q - scale * X / 0.5
    best = 0.0
    for _ in range(3000):
        O = random_orthonormal(5, 2, rng=rng)
        Y = (O * rng.standard_normal(2)) @ O.T
        best = max(best, abs((gap * Y).sum()) / np.linalg.norm(Y) / scale)
    values, vectors = np.linalg.eigh(gap)
    top = np.argsort(-np.abs(values))[:2]
    Y = (vectors[:, top] * values[top]) @ vectors[:, top].T
    assert best <= result.delta * (1 + 1e-9)
    assert abs((gap * Y).sum()) / np.linalg.norm(Y) / scale == pytest.approx(result.delta)
    assert result.delta == result.deviations.max() and result.deviations.shape == (1,)


# loss and sub-differential

@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(1, 6))
def test_subgradient_is_the_autograd_gradient(seed, k):
    X, A, y, rng = problem(seed, 40, noise=SPIKES)
    U = rng.standard_normal((6, k))
    T = torch.tensor(U, requires_grad=True)
    residual = torch.einsum("mij,ij->m", torch.from_numpy(A), T @ T.T) - torch.from_numpy(y)
    residual.abs().mean().backward()
    np.testing.assert_allclose(2 * sign_subgradient(U, A, y) @ U, T.grad.numpy(), atol=1e-10)
    assert l1_loss(U, A, y) == pytest.approx(float(residual.abs().mean().detach()), rel=1e-12)


def test_least_squares_direction_is_the_autograd_gradient():
    X, A, y, rng = problem(3, 40)
    U = rng.standard_normal((6, 3))
    T = torch.tensor(U, requires_grad=True)
    ((torch.einsum("mij,ij->m", torch.from_numpy(A), T @ T.T) - torch.from_numpy(y)) ** 2).mean().div(2).backward()
    one = subgradient_sweep(A, y, U[None], step=Constant(0.5), n_iter=1, loss="l2").U[0]  # gradient is 2 G U, the step 0.5
    np.testing.assert_allclose(U - one, T.grad.numpy() / 4, atol=1e-12)


def test_truth_is_a_fixed_point():
    _, A, _, rng = problem()
    U = rng.standard_normal((6, 2))
    sensing = SymmetricSensing(A)
    y = sensing.forward(U @ U.T)
    assert not sign_subgradient(U, sensing, y).any() and l1_loss(U, sensing, y) == 0
    for step in (PolyakLike(1.0), Geometric(0.5, 0.9), Constant(0.3)):
        result = subgradient_sweep(sensing, sensing.forward((U @ U.T)[None]), U[None], step=step, n_iter=3, tol=0)
        assert np.array_equal(result.U[0], U)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_loss_does_not_see_a_rotation_of_the_columns(seed):
    _, A, y, rng = problem(seed, noise=SPIKES)
    U, R = rng.standard_normal((6, 4)), random_orthonormal(4, 4, rng=rng)
    assert l1_loss(U @ R, A, y) == pytest.approx(l1_loss(U, A, y), rel=1e-12)
    np.testing.assert_allclose(sign_subgradient(U @ R, A, y), sign_subgradient(U, A, y), atol=1e-12)


def test_bounded_influence():
    X, A, y, rng = problem()
    U = 0.2 * rng.standard_normal((6, 6))
    reach = np.abs(SymmetricSensing(A).forward(U @ U.T)).max()
    bad = np.arange(200) < 30
    Q = [sign_subgradient(U, A, np.where(bad, size * (1 + reach), y)) for size in (1.0, 5.0, 1e9)]
    assert np.array_equal(Q[0], Q[1]) and np.array_equal(Q[0], Q[2])


def test_scaling_the_measurements():
    X, A, y, rng = problem(noise=SPIKES)
    U = 0.1 * rng.standard_normal((6, 6))
    np.testing.assert_allclose(sign_subgradient(U, 3 * A, 3 * y), 3 * sign_subgradient(U, A, y), atol=1e-12)
    runs = [subgradient_method(c * A, c * y, 6, alpha=1.0, U0=U, step=Geometric(0.5, 0.95), n_iter=40).U for c in (1.0, 4.0)]
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-12)


# the trajectory

@pytest.mark.parametrize("step", [PolyakLike(0.7), Geometric(0.5, 0.95), Geometric(0.2, 0.97, normalize=False), Constant(0.1), InverseSqrt(0.3)])
def test_trajectory_is_right_equivariant(step):
    _, A, y, rng = problem(noise=SPIKES if not isinstance(step, PolyakLike) else Noise())
    U, R = 0.3 * rng.standard_normal((6, 4)), random_orthonormal(4, 4, rng=rng)
    twins = subgradient_sweep(A, y, np.stack([U, U @ R]), step=step, n_iter=25, keep_iterates=True, tol=0).history["U"]
    np.testing.assert_allclose(twins[:, 0] @ R, twins[:, 1], atol=1e-9)


def test_trajectory_is_left_equivariant():
    X, A, _, rng = problem()
    R, U = random_orthonormal(6, 6, rng=rng), 0.3 * rng.standard_normal((6, 4))
    y = SymmetricSensing(A).forward(X) + 0.3 * rng.standard_normal(200)
    one = subgradient_sweep(A, y, U[None], step=Geometric(0.5, 0.95), n_iter=25).U[0]
    two = subgradient_sweep(R @ A @ R.T, y, (R @ U)[None], step=Geometric(0.5, 0.95), n_iter=25).U[0]
    np.testing.assert_allclose(two, R @ one, atol=1e-10)


def test_a_zero_column_stays_zero_and_zero_is_fixed():
    _, A, y, rng = problem()
    U = 0.3 * rng.standard_normal((6, 4))
    U[:, 2] = 0
    result = subgradient_method(A, y, 4, alpha=1.0, U0=U, step=PolyakLike(0.5), n_iter=20)
    assert not result.U[:, 2].any() and np.abs(result.U[:, [0, 1, 3]]).min() > 0
    assert not subgradient_method(A, y, 4, alpha=1.0, U0=np.zeros((6, 4)), step=Constant(0.5), n_iter=5).U.any()


def test_scalar_case_follows_its_recursion():
    a, truth = 1.6, 0.64
    u, eta, history = 0.1, 0.8, []
    for _ in range(30):
        history.append(u)
        loss = a * abs(u**2 - truth)
        u -= eta * loss * np.sign(u**2 - truth) * a * u
    result = subgradient_method(np.full((1, 1, 1), a), np.array([a * truth]), 1, alpha=1.0, U0=np.array([[0.1]]),
                                step=PolyakLike(eta), n_iter=29, keep_iterates=True, tol=0)
    np.testing.assert_allclose(result.history["U"][:, 0, 0], history, atol=1e-13)


def test_sweep_equals_single_runs_with_their_own_data_and_steps():
    X, A, clean, rng = problem()
    ys = np.stack([clean, corrupt(clean, "outlier", 0.3, 5.0, rng=rng)[0]])
    starts = [spectral_sign_init(A, ys[0], 2, 1e-3), spectral_sign_init(A, ys[1], 6, 1e-2)]
    both = subgradient_sweep(A, ys, stack_starts(starts), step=Geometric(np.array([0.5, 0.3]), np.array([0.9, 0.95])), n_iter=40, X_true=X)
    for i, (k, eta0, rho) in enumerate(((2, 0.5, 0.9), (6, 0.3, 0.95))):
        one = subgradient_method(A, ys[i], k, alpha=1.0, U0=starts[i], step=Geometric(eta0, rho), n_iter=40, X_true=X)
        np.testing.assert_allclose(both.U[i][:, :k], one.U, atol=1e-9)
        np.testing.assert_allclose(both.history["error"][:, i], one.history["error"], atol=1e-9)
        assert not both.U[i][:, k:].any()


def test_history_records_what_it_says():
    X, A, y, _ = problem(m=300)
    result = subgradient_method(A, y, 6, alpha=1e-3, step=PolyakLike(1.0), n_iter=25, X_true=X, record=10, keep_iterates=True, tol=0)
    history = result.history
    assert history["iteration"].tolist() == [0, 10, 20, 25] and result.n_iter == 25
    for i, U in enumerate(history["U"]):
        assert history["loss"][i] == pytest.approx(l1_loss(U, A, y)) and history["step"][i] == pytest.approx(history["loss"][i])
        assert history["error"][i] == pytest.approx(np.linalg.norm(U @ U.T - X) / np.linalg.norm(X))
    np.testing.assert_array_equal(result.U, history["U"][-1])
    np.testing.assert_allclose(result.X, result.U @ result.U.T)
    listed = subgradient_method(A, y, 6, alpha=1e-3, step=PolyakLike(1.0), n_iter=25, record=[3, 7])
    assert listed.history["iteration"].tolist() == [3, 7, 25] and "error" not in listed.history


def test_signal_and_residual_split():
    rng = np.random.default_rng(0)
    O = random_orthonormal(5, 5, rng=rng)
    V, W = O[:, :2], O[:, 2:]
    X = (V * [2.0, 0.5]) @ V.T
    S, E = rng.standard_normal((2, 4)), rng.standard_normal((3, 4))
    signal, residual = signal_and_residual(V @ S + W @ E, X)
    assert signal == pytest.approx(np.linalg.eigvalsh(S @ S.T)[0])  # does not depend on the basis of the range
    assert residual == pytest.approx(np.linalg.eigvalsh(E @ E.T)[-1])
    assert signal_and_residual(V[:, :1], X)[0] == 0 and signal_and_residual(V, X)[1] < 1e-25


def test_steps_stop_when_they_no_longer_matter():
    X, A, y, _ = problem(m=400)
    result = subgradient_method(A, y, 2, alpha=1e-2, step=PolyakLike(1.0), n_iter=5000, X_true=X, tol=1e-8)
    assert result.n_iter < 400 and result.history["error"][-1] < 1e-7
    assert result.history["step"][-1] <= 1e-8 * result.history["step"][0]
    run = subgradient_method(A, y, 2, alpha=1e-2, step=Geometric(0.5, 0.9), n_iter=5000, tol=1e-6)
    assert run.n_iter <= np.ceil(np.log(1e-6) / np.log(0.9)) + 5


def test_step_rules():
    loss, norm_Q = np.array([2.0, 0.5]), np.array([4.0, 0.0])
    np.testing.assert_allclose(PolyakLike(3.0)(7, loss, norm_Q), [6.0, 1.5])
    np.testing.assert_allclose(Geometric(0.8, 0.5)(2, loss, norm_Q), [0.05, 0.0])  # no direction, no step
    assert Geometric(0.8, 0.5, normalize=False)(2, loss, norm_Q) == pytest.approx(0.2)
    assert Constant(0.3)(9, loss, norm_Q) == 0.3 and InverseSqrt(0.3)(8, loss, norm_Q) == pytest.approx(0.1)


def test_a_diverging_run_leaves_the_others_alone():
    X, A, y, _ = problem(m=300)
    U0 = np.stack([spectral_sign_init(A, y, 6, 1e-2)] * 2)
    result = subgradient_sweep(A, y, U0, step=Constant(np.array([0.05, 50.0])), n_iter=200, loss="l2", X_true=X, tol=0)
    alone = subgradient_sweep(A, y, U0[:1], step=Constant(0.05), n_iter=200, loss="l2", X_true=X, tol=0)
    assert np.isinf(result.history["error"][-1, 1])
    np.testing.assert_allclose(result.history["error"][:, 0], alone.history["error"][:, 0], rtol=1e-6, atol=1e-12)


# starts

def test_spectral_start():
    X, A, y, _ = problem(m=5000)
    U0 = spectral_sign_init(A, y, 6, 1e-3)
    assert np.array_equal(spectral_sign_init(A, y, 6, 2e-3), 2 * U0)
    # C tends to phi X / ||X||, equation (8)
    np.testing.assert_allclose(U0 @ U0.T / 1e-6, np.sqrt(2 / np.pi) * X / np.sqrt(2), atol=0.06)
    C = np.einsum("m,mij->ij", np.sign(y), A) / len(y)
    empty = np.linalg.norm(U0, axis=0) == 0
    assert empty.sum() == (np.linalg.eigvalsh(C) <= 0).sum()
    np.testing.assert_allclose(spectral_sign_init(A, y, 2, 1e-3), U0[:, :2])
    assert np.array_equal(spectral_sign_init(A, 100 * y, 2, 1e-3), spectral_sign_init(A, y, 2, 1e-3))


def test_first_subgradient_is_minus_the_spectral_matrix():
    _, A, y, _ = problem(noise=SPIKES)
    C = np.einsum("m,mij->ij", np.sign(y), A) / len(y)
    np.testing.assert_allclose(sign_subgradient(np.zeros((6, 3)), A, y), -C, atol=1e-12)


def test_orthonormal_start():
    U0 = orthonormal_init(6, 4, 1e-3, rng=np.random.default_rng(0))
    np.testing.assert_allclose(U0.T @ U0, 1e-6 * np.eye(4), atol=1e-20)


# recovery

@pytest.mark.parametrize("noise, step", [(Noise(), PolyakLike(1.0)), (SPIKES, Geometric(1.0, 0.975)),
                                         (Noise("outlier", 0.2, 10.0, "cauchy"), Geometric(1.0, 0.975))])
@pytest.mark.parametrize("init", ["spectral", "orthonormal"])
def test_recovery_does_not_depend_on_the_number_of_columns(noise, step, init):
    X, A, y, rng = problem(4, 700, 8, 2, noise)
    errors = [subgradient_method(A, y, k, alpha=1e-7, step=step, n_iter=700, init=init, X_true=X, record=700, rng=rng).history["error"][-1]
              for k in (2, 4, 8)]
    assert max(errors) < 1e-4


def test_error_shrinks_with_the_start():
    X, A, y, _ = problem(5, 500, 8, 2)
    U0 = np.stack([spectral_sign_init(A, y, 8, alpha) for alpha in (1e-1, 1e-3, 1e-5)])
    error = subgradient_sweep(A, y, U0, step=PolyakLike(1.0), n_iter=200, X_true=X, record=200).history["error"][-1]
    assert error[0] > 10 * error[1] > 100 * error[2]


def test_too_short_a_way_freezes_near_zero():
    X, A, y, _ = problem(6, 500, 8, 2, SPIKES)
    run = lambda rho: subgradient_method(A, y, 8, alpha=1e-6, step=Geometric(0.5, rho), n_iter=800, X_true=X, record=800).history["error"][-1]
    assert run(0.9) > 0.99 and run(0.988) < 1e-2


# the convex programme

def test_convex_programme_without_penalty_is_least_absolute_deviations():
    rng = np.random.default_rng(0)
    A = gaussian_measurements(40, 3, rng=rng)
    B = SymmetricSensing(A).packed
    truth = np.diag([3.0, 2.0, 2.5])  # far inside the cone, so that the constraint X >= 0 is idle
    y = SymmetricSensing(A).forward(truth) + 0.1 * rng.standard_normal(40)
    found = nuclear_l1(A, y, 0.0, rho=3.0, max_iter=20_000, tol=1e-11)
    assert found.converged and np.linalg.eigvalsh(found.X)[0] > 1
    p = B.shape[1]
    program = linprog(np.r_[np.zeros(p), np.ones(40)], A_ub=np.block([[B, -np.eye(40)], [-B, -np.eye(40)]]), b_ub=np.r_[y, -y],
                      bounds=[(None, None)] * p + [(0, None)] * 40)
    assert np.abs(SymmetricSensing(A).forward(found.X) - y).sum() == pytest.approx(program.fun, rel=1e-7)


def test_convex_programme_recovers_exactly_and_is_a_minimum():
    X, A, y, rng = problem(1, 150, 6, 2, Noise("outlier", 0.1, 10.0))
    found = nuclear_l1(A, y, 0.02, rho=10.0, X_true=X, tol=1e-11, max_iter=5000)
    assert found.errors[-1] < 1e-7 and len(found.errors) == found.n_iter
    value = lambda Z: np.abs(SymmetricSensing(A).forward(Z) - y).mean() + 0.02 * np.trace(Z)
    for _ in range(20):
        G = rng.standard_normal((6, 6)) / 10
        other = found.X + G @ G.T - 0.02 * found.X
        assert value(found.X) <= value((other + other.T) / 2) + 1e-9
    # a penalty above the largest slope of the fit gives zero
    assert np.abs(nuclear_l1(A, y, 100.0, rho=10.0, max_iter=3000).X).max() < 1e-6


def test_global_minimum_bounds_every_run():
    X, A, y, _ = problem(2, 120, 6, 2, Noise("gaussian", scale=0.5))
    best = nuclear_l1(A, y, 0.0, rho=10.0, max_iter=5000, tol=1e-10).X
    least = np.abs(SymmetricSensing(A).forward(best) - y).mean()
    for alpha in (1.0, 1e-5):
        run = subgradient_method(A, y, 6, alpha=alpha, step=Geometric(0.8, 0.985), n_iter=800)
        assert run.history["loss"].min() >= least - 1e-6
    assert least < l1_loss(np.linalg.cholesky(X + 1e-14 * np.eye(6)), A, y)  # the truth is not the minimum


# bad input

X, A, y, _ = problem(m=30)
STEP = PolyakLike(1.0)
good = dict(alpha=1e-3, step=STEP, n_iter=5)


@pytest.mark.parametrize("call, name", [
    (lambda: subgradient_method(A, y[:-1], 2, **good), "y"),
    (lambda: subgradient_method(A, np.where(np.arange(30) == 3, np.nan, y), 2, **good), "y"),
    (lambda: subgradient_method(A, y.astype(complex), 2, **good), "y"),
    (lambda: subgradient_method(A[:, :, :4], y, 2, **good), "A"),
    (lambda: subgradient_method(A[0], y, 2, **good), "A"),
    (lambda: subgradient_method(A * 1j, y, 2, **good), "A"),
    (lambda: subgradient_method(np.full_like(A, np.inf), y, 2, **good), "A"),
    (lambda: subgradient_method(np.array([["a"]]), y, 2, **good), "A"),
    (lambda: subgradient_method(A, y, 0, **good), "rank"),
    (lambda: subgradient_method(A, y, 7, **good), "rank"),
    (lambda: subgradient_method(A, y, 2.5, **good), "rank"),
    (lambda: subgradient_method(A, y, 2, alpha=0.0, step=STEP, n_iter=5), "alpha"),
    (lambda: subgradient_method(A, y, 2, alpha=-1.0, step=STEP, n_iter=5), "alpha"),
    (lambda: subgradient_method(A, y, 2, alpha=np.nan, step=STEP, n_iter=5), "alpha"),
    (lambda: subgradient_method(A, y, 2, alpha=1.0, step=STEP, n_iter=0), "n_iter"),
    (lambda: subgradient_method(A, y, 2, init="warm", **good), "init"),
    (lambda: subgradient_method(A, y, 2, init="orthonormal", **good), "init"),
    (lambda: subgradient_method(A, y, 2, U0=np.ones((6, 3)), **good), "U0"),
    (lambda: subgradient_method(A, y, 2, loss="huber", **good), "loss"),
    (lambda: subgradient_method(A, y, 2, record=0, **good), "record"),
    (lambda: subgradient_method(A, y, 2, tol=-1.0, **good), "tol"),
    (lambda: subgradient_sweep(A, y, np.ones((6, 2)), step=STEP, n_iter=5), "U0"),
    (lambda: subgradient_sweep(A, np.stack([y] * 3), np.ones((2, 6, 2)), step=STEP, n_iter=5), "y"),
    (lambda: sign_subgradient(np.ones((5, 2)), A, y), "U"),
    (lambda: l1_loss(np.full((6, 2), np.nan), A, y), "U"),
    (lambda: PolyakLike(0.0), "eta"),
    (lambda: Constant(np.inf), "eta"),
    (lambda: InverseSqrt(-1.0), "eta"),
    (lambda: Geometric(-0.5, 0.9), "eta0"),
    (lambda: Geometric(0.5, 0.0), "rho"),
    (lambda: Geometric(0.5, 1.1), "rho"),
    (lambda: Geometric(0.5, np.array([0.9, np.nan])), "rho"),
    (lambda: corrupt(y, "outlier", 1.2, rng=np.random.default_rng(0)), "p"),
    (lambda: corrupt(y, "outlier", -0.1, rng=np.random.default_rng(0)), "p"),
    (lambda: corrupt(y, "laplace", rng=np.random.default_rng(0)), "model"),
    (lambda: corrupt(y, "outlier", 0.1, 1.0, "uniform", rng=np.random.default_rng(0)), "distribution"),
    (lambda: corrupt(y, "gaussian", scale=-1.0, rng=np.random.default_rng(0)), "scale"),
    (lambda: phi(0.0), "error_norm"),
    (lambda: phi(1.0, Noise("outlier", 2.0)), "p"),
    (lambda: sign_rip_deviation(A, y, 9, 5, rng=np.random.default_rng(0)), "rank"),
    (lambda: sign_rip_deviation(A, y, 2, 0, rng=np.random.default_rng(0)), "n_dirs"),
    (lambda: sign_rip_deviation(A, y, 2, 5, rng=np.random.default_rng(0), size=0.0), "size"),
    (lambda: gaussian_measurements(0, 3, rng=np.random.default_rng(0)), "m"),
    (lambda: orthonormal_init(3, 4, 1.0, rng=np.random.default_rng(0)), "rank"),
    (lambda: spectral_sign_init(A, y, 2, 0.0), "alpha"),
    (lambda: nuclear_l1(A, y, -0.1), "reg"),
    (lambda: nuclear_l1(A, y, 0.1, rho=0.0), "rho"),
])
def test_bad_input_names_the_argument(call, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        call()
