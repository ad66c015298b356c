"""Mathematics of prox_repro.science.deep_conjugate: special cases of the solver, Lanczos, the loss, preconditioners, bad input."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, splu

from prox_repro.core.linalg import low_rank_psd, random_orthonormal
from prox_repro.core.nets import seeded, unstack
from prox_repro.core.solvers import cg
from prox_repro.science.deep_conjugate import (
    AggregationMultigrid, DirectionNet, apply_poisson, dcdm, deflated_cg, direction_loss, ic0, lanczos, network_direction,
    poisson_matrix, ritz_rhs, solution_loss, train_direction_net, work_per_iteration,
)

seeds = st.integers(0, 100_000)
OPEN = np.ones((12, 12), bool)
ROOM = OPEN.copy()
ROOM[3:6, 4:8] = False
ROOM[9, 2] = False
A = poisson_matrix(ROOM)
N = A.shape[0]
B = np.random.default_rng(0).standard_normal(N)
TRUTH = splu(A.tocsc()).solve(B)


def a_norm(e, M=A):
    return np.sqrt(e @ (M @ e))


def spd(seed, n, condition=100.0):
    "A dense symmetric positive definite matrix with spectrum in [1, condition]."
    Q = random_orthonormal(n, n, rng=np.random.default_rng(seed))
    M = (Q * np.geomspace(1, condition, n)) @ Q.T
    return (M + M.T) / 2


def wild(seed):
    "A proposal without any structure: nonlinear, not symmetric, random."
    rng = np.random.default_rng(seed)
    return lambda r: np.sin(40 * r) + rng.standard_normal(len(r)) * abs(r) + r**2


def path(direction, **options):
    xs = [np.zeros(N)]
    result = dcdm(A, B, direction, callback=lambda k, x: xs.append(x) and False, **options)
    return result, np.array(xs)


# special cases

@pytest.mark.parametrize("memory", [1, 2, None])
def test_identity_is_conjugate_gradients(memory):
    xs = []
    cg(A, B, tol=1e-14, max_iter=30, callback=lambda k, x: xs.append(x.copy()) and False)
    _, ours = path(lambda r: r, memory=memory, tol=1e-14, maxiter=30)
    np.testing.assert_allclose(ours[1:31], xs[:30], atol=1e-10 * np.abs(TRUTH).max())


def test_inverse_needs_one_iteration():
    for scale in (1.0, -2.5, 1e-6):
        result = dcdm(A, B, lambda r: scale * splu(A.tocsc()).solve(r), tol=1e-10)
        assert result.n_iter == 1 and result.converged
        np.testing.assert_allclose(result.x, TRUTH, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("make", [
    lambda: lambda r: r / (A.diagonal() + np.arange(N) % 3), lambda: ic0(A), lambda: ic0(A, modified=0.9),
    lambda: AggregationMultigrid(A, ROOM, n_smooth=1),
], ids=["diagonal", "IC", "MIC", "multigrid"])
def test_linear_symmetric_proposal_is_preconditioned_cg(make):
    M, xs = make(), []
    cg(A, B, preconditioner=M, tol=1e-12, max_iter=15, callback=lambda k, x: xs.append(x.copy()) and False)
    _, ours = path(M, memory=1, tol=1e-12, maxiter=len(xs))
    np.testing.assert_allclose(ours[1:], xs, atol=1e-9 * np.abs(TRUTH).max())


def test_memory_zero_with_identity_is_steepest_descent():
    x = np.zeros(N)
    for _ in range(7):
        r = B - A @ x
        x = x + (r @ r) / (r @ (A @ r)) * r
    np.testing.assert_allclose(dcdm(A, B, lambda r: r, memory=0, maxiter=7, tol=1e-12).x, x, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seeds, st.sampled_from([1e-3, 1e3, -1.0, -7.0]), st.sampled_from([0, 1, 2, None]))
def test_length_of_the_proposal_is_irrelevant(seed, c, memory):
    f = lambda r: np.tanh(30 * r) + 0.3 * np.roll(r, 1)
    one, other = path(f, memory=memory, maxiter=12)[1], path(lambda r: c * f(r), memory=memory, maxiter=12)[1]
    np.testing.assert_allclose(one, other, atol=1e-9 * np.abs(TRUTH).max())


@settings(deadline=None, max_examples=20)
@given(seeds, st.floats(1e-6, 1e6))
def test_solution_scales_with_the_right_hand_side(seed, c):
    b = np.random.default_rng(seed).standard_normal(N)
    f = lambda r: np.tanh(30 * r)
    one, other = dcdm(A, b, f, maxiter=10), dcdm(A, c * b, f, maxiter=10)
    np.testing.assert_allclose(other.x, c * one.x, rtol=1e-6, atol=1e-9 * c * np.abs(one.x).max())
    np.testing.assert_allclose(other.residuals, c * one.residuals, rtol=1e-6)


# geometry of one iteration

@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from([0, 1, 2, 3, None]))
def test_error_never_grows_and_decreases_by_formula(seed, memory):
    _, xs = path(wild(seed), memory=memory, maxiter=40, tol=1e-12)
    errors = np.array([a_norm(TRUTH - x) for x in xs])
    assert (np.diff(errors) <= 1e-12 * errors[0]).all()
    for x, new, before, after in zip(xs[:10], xs[1:], errors, errors[1:]):
        d, r = new - x, B - A @ x
        if np.linalg.norm(d) > 1e-8 * np.linalg.norm(x):
            np.testing.assert_allclose(after**2, before**2 - (r @ d)**2 / (d @ (A @ d)), rtol=1e-6)


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(1, 4))
def test_orthogonality(seed, memory):
    _, xs = path(wild(seed), memory=memory, maxiter=12, tol=1e-12)
    steps = np.diff(xs, axis=0)
    unit = steps / np.sqrt([[d @ (A @ d)] for d in steps])
    gram = unit @ (A @ unit.T)
    for k in range(len(unit)):
        for j in range(max(0, k - memory), k):
            assert abs(gram[k, j]) < 1e-7
        r = B - A @ xs[k + 1]
        assert abs(r @ unit[k]) < 1e-7 * np.linalg.norm(B) * np.linalg.norm(unit[k])


@settings(deadline=None, max_examples=15)
@given(seeds)
def test_keeping_all_directions_ends_after_n_iterations(seed):
    M, b = spd(seed, 25), np.random.default_rng(seed + 1).standard_normal(25)
    f = wild(seed)
    result = dcdm(M, b, f, memory=None, tol=1e-8, maxiter=26)
    assert result.converged and result.n_iter <= 25
    np.testing.assert_allclose(result.x, np.linalg.solve(M, b), atol=1e-6 * np.linalg.norm(b))


def test_two_directions_do_not_suffice_for_a_nonlinear_proposal():
    M, b = spd(0, 25), np.random.default_rng(1).standard_normal(25)
    f = lambda r: np.sign(r) * abs(r)**0.3 + np.roll(r, 1)
    assert dcdm(M, b, f, memory=None, tol=1e-8, maxiter=200).n_iter <= 25 < dcdm(M, b, f, memory=2, tol=1e-8, maxiter=200).n_iter


def test_residuals_are_true_and_the_start_is_used():
    result, xs = path(wild(3), maxiter=9)
    np.testing.assert_allclose(result.residuals, [np.linalg.norm(B - A @ x) for x in xs], rtol=1e-12)
    assert dcdm(A, B, lambda r: r, x0=TRUTH + 0.0, tol=0.5).n_iter <= 40
    restarted = dcdm(A, B, lambda r: r, x0=xs[4], maxiter=0)
    assert np.array_equal(restarted.x, xs[4]) and restarted.residuals[0] == pytest.approx(result.residuals[4])


def test_useless_proposals_fall_back_to_the_residual():
    for f in (lambda r: 0 * r, lambda r: r * 0 + 1e-300):
        result = dcdm(A, B, f, memory=2, maxiter=500, tol=1e-6)
        assert result.fallbacks == result.n_iter and result.converged
    orthogonal = lambda r: np.concatenate([-r[1:2], r[:1], np.zeros(N - 2)])  # r'd = 0
    assert dcdm(A, B, orthogonal, memory=0, maxiter=5).fallbacks == 5


def test_zero_right_hand_side():
    result = dcdm(A, np.zeros(N), lambda r: np.full(N, np.nan))
    assert result.n_iter == 0 and result.converged and not result.x.any()


def test_singular_neumann_system_with_a_consistent_right_hand_side():
    M = poisson_matrix(ROOM, "neumann", "neumann")
    b = B - B.mean()
    assert dcdm(M, b, lambda r: r, tol=1e-8, maxiter=500).converged
    assert dcdm(M, b, lambda r: r + 3.0, tol=1e-6, maxiter=2000).converged  # proposals with a part in the null space


def test_linear_operator_and_callback():
    operator = LinearOperator((N, N), matvec=lambda v: A @ v)
    np.testing.assert_allclose(dcdm(operator, B, lambda r: r, tol=1e-8, maxiter=300).x, TRUTH, atol=1e-5)
    assert dcdm(A, B, lambda r: r, tol=1e-8, callback=lambda k, x: k == 3).n_iter == 3


# systems

@pytest.mark.parametrize("shape", [(5, 7), (6, 6), (3, 4, 5)])
def test_spectrum_of_the_empty_box(shape):
    modes = [2 - 2 * np.cos(np.arange(1, s + 1) * np.pi / (s + 1)) for s in shape]
    expected = sum(np.meshgrid(*modes, indexing="ij")).ravel()
    np.testing.assert_allclose(np.linalg.eigvalsh(poisson_matrix(np.ones(shape, bool)).toarray()), np.sort(expected), atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from(["dirichlet", "neumann"]), st.sampled_from(["dirichlet", "neumann"]), st.sampled_from([(6, 9), (4, 5, 3)]))
def test_matrix_against_the_definition_and_the_stencil(seed, bc, walls, shape):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < 0.7
    mask.flat[0] = True
    x = rng.standard_normal(shape) * mask
    expected = np.zeros(shape)
    for cell in np.argwhere(mask):
        for axis in range(len(shape)):
            for shift in (-1, 1):
                other = cell.copy()
                other[axis] += shift
                inside = 0 <= other[axis] < shape[axis]
                if inside and mask[tuple(other)]:
                    expected[tuple(cell)] += x[tuple(cell)] - x[tuple(other)]
                elif (bc if inside else walls) == "dirichlet":
                    expected[tuple(cell)] += x[tuple(cell)]
    M = poisson_matrix(mask, bc, walls)
    np.testing.assert_allclose(M @ x[mask], expected[mask], atol=1e-13)
    noise = torch.from_numpy(x + rng.standard_normal(shape) * ~mask)  # solid cells are ignored
    np.testing.assert_allclose(apply_poisson(torch.stack([noise, -noise]), mask, bc, walls)[1].numpy(), -expected, atol=1e-13)
    assert abs(M - M.T).max() == 0
    if bc == walls == "neumann":
        assert np.abs(M @ np.ones(M.shape[0])).max() == 0


# training data

def test_lanczos():
    M = spd(5, 40, 1e4)
    Q, alpha, beta = lanczos(M, np.random.default_rng(2).standard_normal(40), 25)
    np.testing.assert_allclose(Q.T @ Q, np.eye(25), atol=1e-12)
    T = np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1)
    np.testing.assert_allclose(Q.T @ M @ Q, T, atol=1e-8 * 1e4)
    ritz, values = np.linalg.eigvalsh(T), np.linalg.eigvalsh(M)
    assert values[0] - 1e-8 <= ritz[0] and ritz[-1] <= values[-1] * (1 + 1e-12)
    np.testing.assert_allclose(ritz[-1], values[-1], rtol=1e-3)


def test_lanczos_stops_at_an_invariant_subspace():
    M = low_rank_psd(30, 4, rng=np.random.default_rng(0))  # a projection: two different eigenvalues
    result = lanczos(M, np.random.default_rng(1).standard_normal(30), 10)
    assert result.Q.shape == (30, 2) and len(result.alpha) == 2 and len(result.beta) == 1


def test_spectral_mix():
    M = np.diag(np.arange(1.0, 41))  # Ritz vectors of a full run are the unit vectors
    r = ritz_rhs(M, 40, 4000, 0, 9.0, rng=np.random.default_rng(3))
    np.testing.assert_allclose(np.linalg.norm(r, axis=1), 1, rtol=1e-12)
    share = (r[:, :20]**2).sum(1).mean()
    assert abs(share - 81 / 82) < 2e-3
    shifted = ritz_rhs(M, 40, 4000, 5, 9.0, rng=np.random.default_rng(3))
    assert abs((shifted[:, :25]**2).sum(1).mean() - 25 * 81 / (25 * 81 + 15)) < 2e-3
    only = ritz_rhs(M, 40, 50, 0, 1.0, 0.0, rng=np.random.default_rng(3))
    np.testing.assert_allclose(only[:, 20:], 0, atol=1e-7)
    singular = ritz_rhs(np.diag(np.r_[0.0, np.arange(1, 20)]), 20, 30, 2, rng=np.random.default_rng(3))
    np.testing.assert_allclose(singular[:, 0], 0, atol=1e-7)  # the null vector was dropped


# loss

def stencil(x):
    return apply_poisson(x, ROOM)


def on_grid(v):
    grid = torch.zeros(len(v), *ROOM.shape, dtype=torch.float64)
    grid[:, torch.from_numpy(ROOM)] = torch.from_numpy(v)
    return grid


@settings(deadline=None, max_examples=20)
@given(seeds, st.floats(1e-3, 1e3))
def test_loss(seed, c):
    rng = np.random.default_rng(seed)
    r, v = rng.standard_normal((2, 3, N))
    r /= np.linalg.norm(r, axis=1, keepdims=True)
    inverse = splu(A.tocsc()).solve(np.ascontiguousarray(r.T)).T
    assert direction_loss(on_grid(inverse), on_grid(r), stencil) < 1e-20
    loss = float(direction_loss(on_grid(v), on_grid(r), stencil))
    assert float(direction_loss(on_grid(-c * v), on_grid(r), stencil)) == pytest.approx(loss, rel=1e-9)
    one_step = [dcdm(A, b, lambda _, d=d: d, maxiter=1).residuals[1]**2 for b, d in zip(r, v)]
    assert loss == pytest.approx(np.mean(one_step), rel=1e-9)
    assert float(solution_loss(on_grid(inverse), on_grid(inverse))) == 0
    assert float(solution_loss(0 * on_grid(v), on_grid(v))) == pytest.approx(1)


def test_loss_is_not_bounded_by_one():
    M, r, d = torch.diag(torch.tensor([1.0, 100.0])), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.02]])
    assert direction_loss(d, r, lambda x: x @ M, dim=1) > 1


def test_copies_are_independent():
    r = on_grid(np.random.default_rng(4).standard_normal((6, N))).unflatten(0, (2, 3))
    v = on_grid(np.random.default_rng(5).standard_normal((6, N))).unflatten(0, (2, 3))
    both = direction_loss(v, r, stencil)
    assert both.shape == (2,)
    for i in range(2):
        torch.testing.assert_close(both[i], direction_loss(v[i], r[i], stencil))


# network

@settings(deadline=None, max_examples=10)
@given(seeds, st.floats(1e-3, 1e3))
def test_network_is_homogeneous(seed, c):
    net = seeded(seed, DirectionNet, filters=3, tied=True, levels=None).double()
    r = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, 8, 16)))
    torch.testing.assert_close(net(c * r), c * net(r), rtol=1e-10, atol=1e-12 * c)
    assert not net(0 * r).any()


@pytest.mark.parametrize("options, shape", [
    (dict(levels=2), (8, 12)), (dict(levels=3, tied=True), (16, 8)), (dict(levels=0), (5, 7)),
    (dict(levels=None, tied=True), (32, 32)), (dict(dim=3, levels=1), (4, 6, 8)), (dict(dim=3, levels=None, tied=True), (8, 8, 8)),
])
def test_shapes_and_counted_multiplications(options, shape):
    net = seeded(0, DirectionNet, filters=2, **options)
    counted = []
    for module in net.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)):
            module.register_forward_hook(lambda m, i, o: counted.append(o[0, 0].numel() * m.weight.numel()))
    with torch.no_grad():
        assert net(torch.randn(2, *shape)).shape == (2, *shape)
    assert sum(counted) == net.multiplications(shape)


def test_solid_cells_stay_out_and_masks_stay_hidden():
    net = seeded(1, DirectionNet, filters=2, levels=2)
    f, r = network_direction(net, ROOM), B / np.linalg.norm(B)
    grid = torch.zeros(1, 12, 12)
    grid[0, torch.from_numpy(ROOM)] = torch.from_numpy(r).float()
    with torch.no_grad():
        np.testing.assert_array_equal(f(r), net(grid)[0].numpy()[ROOM])
    result = dcdm(A, B, f, tol=1e-6, maxiter=50)  # an untrained network may stall, but does no harm
    assert a_norm(TRUTH - result.x) < a_norm(TRUTH)


def test_training_lowers_the_loss_and_copies_do_not_interact():
    box = poisson_matrix(np.ones((8, 8), bool))
    data = np.stack([ritz_rhs(box, 30, 64, rng=np.random.default_rng(s)).reshape(64, 8, 8) for s in (0, 1)])
    build = lambda s: seeded(s, DirectionNet, filters=4, levels=1)
    both, history = train_direction_net([build(0), build(1)], [data], n_steps=60, batch_size=16, lr=5e-3)
    assert history.loss.shape == (60, 2) and (history.loss[-10:].mean(0) < 0.6 * history.loss[:5].mean(0)).all()
    for i, net in enumerate(unstack(both)):
        alone, _ = train_direction_net([build(i)], [data[i:i + 1]], n_steps=60, batch_size=16, lr=5e-3)
        x = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(alone(x), net(x), rtol=1e-2, atol=1e-3)
    again, _ = train_direction_net([build(0), build(1)], [data], n_steps=60, batch_size=16, lr=5e-3)
    assert all(torch.equal(a, b) for a, b in zip(both.parameters(), again.parameters()))


def test_training_on_solutions_learns_the_length_too():
    box = poisson_matrix(np.ones((8, 8), bool))
    data = ritz_rhs(box, 30, 64, rng=np.random.default_rng(0)).reshape(1, 64, 8, 8)
    net, history = train_direction_net([seeded(0, DirectionNet, levels=1)], [data], n_steps=80, lr=5e-3, loss="solution")
    assert history.loss[-5:].mean() < 0.3


# preconditioners

@settings(deadline=None, max_examples=15)
@given(seeds, st.sampled_from(["dirichlet", "neumann"]))
def test_incomplete_cholesky(seed, bc):
    rng = np.random.default_rng(seed)
    mask = rng.random((7, 8)) < 0.8
    mask[:, 0] = True
    M = (poisson_matrix(mask, bc) + 0.1 * sparse.eye_array(mask.sum())).tocsr()  # walled-in cells would be singular
    pattern = M.toarray() != 0
    plain, modified = ic0(M).L.toarray(), ic0(M, modified=1.0).L.toarray()
    assert not np.triu(plain, 1).any() and not (plain[~pattern]).any()
    np.testing.assert_allclose((plain @ plain.T)[pattern], M.toarray()[pattern], atol=1e-12)
    np.testing.assert_allclose((modified @ modified.T).sum(1), M.toarray().sum(1), atol=1e-10)
    v = rng.standard_normal(mask.sum())
    np.testing.assert_allclose(ic0(M)(plain @ (plain.T @ v)), v, atol=1e-10)


def test_incomplete_cholesky_is_complete_where_there_is_no_fill():
    M = sparse.csr_array(np.diag([2.0] * 9) - np.eye(9, k=1) - np.eye(9, k=-1))
    np.testing.assert_allclose(ic0(M).L.toarray(), np.linalg.cholesky(M.toarray()), atol=1e-14)
    dense = sparse.csr_array(spd(3, 8))
    np.testing.assert_allclose(ic0(dense).L.toarray(), np.linalg.cholesky(dense.toarray()), atol=1e-12)


@pytest.mark.parametrize("bc", ["dirichlet", "neumann"])
def test_multigrid_is_symmetric_positive_definite_and_good(bc):
    M = poisson_matrix(ROOM, bc)
    cycle = AggregationMultigrid(M, ROOM, coarsest=4)
    dense = np.column_stack([cycle(e) for e in np.eye(N)])
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    values = np.linalg.eigvals(dense @ M.toarray()).real
    assert values.min() > 0 and values.max() / values.min() < 12
    assert len(cycle.up) == 3 and AggregationMultigrid(M, ROOM, coarsest=200)(M @ B) == pytest.approx(B)


def test_deflation_with_eigenvectors_removes_them():
    values, vectors = np.linalg.eigh(A.toarray())
    b = vectors[:, :3] @ [1.0, -2.0, 0.5]
    inside = deflated_cg(A, b, vectors[:, :3])
    assert inside.n_iter == 0
    np.testing.assert_allclose(inside.x, vectors[:, :3] @ (np.array([1.0, -2.0, 0.5]) / values[:3]), atol=1e-10)
    result = deflated_cg(A, B, vectors[:, :10] @ random_orthonormal(10, 10, rng=np.random.default_rng(0)), tol=1e-9)
    assert result.n_iter < cg(A, B, tol=1e-9).n_iter
    np.testing.assert_allclose(result.x, TRUTH, atol=1e-6)
    np.testing.assert_allclose(result.residual_norms[-1], np.linalg.norm(B - A @ result.x), rtol=1e-3, atol=1e-9)


def test_counted_work():
    assert work_per_iteration("cg", A) == A.nnz + 5 * N
    assert work_per_iteration("dcdm", A, 100, memory=0) == 2 * A.nnz + 5 * N + 100
    assert work_per_iteration("dcdm", A, 100) - work_per_iteration("dcdm", A, 100, memory=0) == 4 * N
    assert work_per_iteration("pcg", A, 7) - work_per_iteration("cg", A) == N + 7


# bad input

INDEFINITE = sparse.diags_array(np.r_[-1.0, np.ones(N - 1)])
LOPSIDED = A + sparse.csr_array(([1.0], ([0], [5])), shape=A.shape)


@pytest.mark.parametrize("call, words", [
    (lambda: dcdm(A[:, :-1], B, lambda r: r), "A: needs a square"),
    (lambda: dcdm([[1.0]], B, lambda r: r), "A: needs a square"),
    (lambda: dcdm(LOPSIDED, B, lambda r: r), "not symmetric"),
    (lambda: dcdm(INDEFINITE, B, lambda r: np.eye(N)[0]), "d'Ad <= 0"),
    (lambda: dcdm(A, B[:-1], lambda r: r), "b: needs shape"),
    (lambda: dcdm(A, B.astype(np.float16), lambda r: r), "b: needs numbers"),
    (lambda: dcdm(A, B * np.nan, lambda r: r), "b: contains NaN"),
    (lambda: dcdm(A, B.astype(complex), lambda r: r), "b: needs numbers"),
    (lambda: dcdm(A, B, lambda r: r * np.nan), "direction: returned NaN"),
    (lambda: dcdm(A, B, lambda r: r[:-1]), "direction: needs to return"),
    (lambda: dcdm(A, B, lambda r: r, memory=-1), "memory"), (lambda: dcdm(A, B, lambda r: r, memory=2.0), "memory.*2.0"),
    (lambda: dcdm(A, B, lambda r: r, memory="2"), "memory.*'2'"), (lambda: dcdm(A, B, lambda r: r, maxiter=None), "maxiter"),
    (lambda: deflated_cg(A, B[:-1], np.ones((N, 1))), "b, tol"), (lambda: deflated_cg(A, B, np.ones((N, 1)), tol=-1.0), "b, tol"),
    (lambda: lanczos(A, B[:, None], 3), "v: needs a vector"), (lambda: train_direction_net([], [], n_steps=1), "nets, data"),
    (lambda: network_direction(DirectionNet(levels=1), np.ones((8, 8), bool))(np.ones(3)), "r: needs one entry"),
    (lambda: dcdm(A, B, lambda r: r, tol=0.0), "tol"),
    (lambda: dcdm(A, B, lambda r: r, maxiter=-1), "maxiter"),
    (lambda: dcdm(A, B, lambda r: r, x0=B[:-1]), "x0"),
    (lambda: poisson_matrix(np.zeros((4, 4), bool)), "no fluid cell"),
    (lambda: poisson_matrix(np.ones((4, 4))), "mask: needs a boolean"),
    (lambda: poisson_matrix(np.ones(4, bool)), "mask: needs a boolean"),
    (lambda: poisson_matrix(ROOM, "periodic"), "bc: needs"),
    (lambda: poisson_matrix(ROOM, walls="open"), "walls: needs"),
    (lambda: apply_poisson(torch.zeros(3, 3), ROOM), "x: needs trailing shape"),
    (lambda: lanczos(A, B, N + 1), "m: needs"),
    (lambda: lanczos(A, 0 * B, 3), "v: needs"),
    (lambda: ritz_rhs(A, 10, 0, rng=np.random.default_rng(0)), "n_samples"),
    (lambda: ritz_rhs(A, 10, 5, 0, -1.0, rng=np.random.default_rng(0)), "low_weight"),
    (lambda: DirectionNet(dim=1), "dim"),
    (lambda: DirectionNet(levels=None), "need tied=True"),
    (lambda: DirectionNet(levels=3)(torch.zeros(1, 12, 12)), "divisible by 8"),
    (lambda: DirectionNet(levels=1)(torch.zeros(1, 7, 8)), "divisible by 2"),
    (lambda: network_direction(DirectionNet(levels=3), ROOM)(B), "divisible by 8"),
    (lambda: train_direction_net([DirectionNet()], [np.ones((2, 4, 8, 8))], n_steps=1), "nets, data: need"),
    (lambda: train_direction_net([DirectionNet()], [], n_steps=1), "nets, data: need"),
    (lambda: train_direction_net([DirectionNet()], [np.ones((1, 4, 8, 8))], n_steps=1, loss="l2"), "loss: needs"),
    (lambda: ic0(A.toarray()), "square sparse"),
    (lambda: ic0(A, modified=2.0), "share"),
    (lambda: ic0(INDEFINITE), "pivot 0"),
    (lambda: deflated_cg(A, B, np.ones((N, 2))), "W: needs independent"),
    (lambda: AggregationMultigrid(A, OPEN), "A, n_smooth, damping"),
    (lambda: AggregationMultigrid(A, ROOM, n_smooth=0), "A, n_smooth, damping"),
    (lambda: work_per_iteration("lu", A), "method: needs"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
