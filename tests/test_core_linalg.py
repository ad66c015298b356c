"""core.linalg: frames are orthonormal and Haar, spectra are the ones asked for, packing keeps inner products."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.linalg import (
    LowRank, geometric_spectrum, low_rank_psd, pack_symmetric, random_low_rank, random_orthonormal, unpack_symmetric,
)

seeds = st.integers(0, 100_000)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda pair: (max(pair), min(pair)))


@settings(deadline=None, max_examples=40)
@given(sizes, seeds)
def test_columns_are_orthonormal(size, seed):
    n, k = size
    Q = random_orthonormal(n, k, rng=np.random.default_rng(seed), batch=(3, 2))
    assert Q.shape == (3, 2, n, k) and Q.dtype == np.float64
    np.testing.assert_allclose(Q.mT @ Q, np.broadcast_to(np.eye(k), (3, 2, k, k)), atol=1e-12)


def test_frames_are_haar_distributed():
    Q = random_orthonormal(3, 2, rng=np.random.default_rng(0), batch=(40_000,))
    # every entry has mean 0, variance 1/n and fourth moment 3 / (n (n + 2)); no sign is preferred
    np.testing.assert_allclose(Q.mean(0), 0, atol=0.012)
    np.testing.assert_allclose((Q**2).mean(0), 1 / 3, atol=0.01)
    np.testing.assert_allclose((Q**4).mean(0), 3 / 15, atol=0.01)
    assert abs((Q[:, 0, 0] > 0).mean() - 0.5) < 0.01


def test_one_by_one_frames_take_both_signs():
    values = {float(random_orthonormal(1, 1, rng=np.random.default_rng(seed))[0, 0]) for seed in range(20)}
    assert values == {-1.0, 1.0}


def test_seeds_reproduce_and_differ():
    draw = lambda seed: random_orthonormal(4, 2, rng=np.random.default_rng(seed))
    assert np.array_equal(draw(3), draw(3)) and not np.allclose(draw(3), draw(4))


@given(st.integers(1, 8), st.floats(1, 1e6))
def test_spectrum(rank, condition):
    s = geometric_spectrum(rank, condition)
    assert s.shape == (rank,) and s[0] == 1
    if rank > 1:
        assert s[-1] == pytest.approx(1 / condition)
        np.testing.assert_allclose(np.diff(np.log(s)), -np.log(condition) / (rank - 1), atol=1e-8)


@settings(deadline=None, max_examples=40)
@given(sizes, st.floats(1, 1000), seeds)
def test_low_rank_matrices_have_their_spectrum(size, condition, seed):
    n, rank = size
    rng = np.random.default_rng(seed)
    factors = random_low_rank(n + 2, n, rank, condition, rng=rng)
    assert isinstance(factors, LowRank) and factors.matrix.shape == (n + 2, n)
    s = np.linalg.svd(factors.matrix, compute_uv=False)
    np.testing.assert_allclose(s[:rank], factors.s, atol=1e-12)
    np.testing.assert_allclose(s[rank:], 0, atol=1e-12)
    X = low_rank_psd(n, rank, condition, rng=rng)
    values = np.linalg.eigvalsh(X)[::-1]
    assert np.array_equal(X, X.T)
    np.testing.assert_allclose(values[:rank], geometric_spectrum(rank, condition), atol=1e-12)
    np.testing.assert_allclose(values[rank:], 0, atol=1e-12)


def test_condition_one_is_a_projection():
    X = low_rank_psd(8, 3, rng=np.random.default_rng(1))
    np.testing.assert_allclose(X @ X, X, atol=1e-13)
    assert np.trace(X) == pytest.approx(3)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 9), seeds)
def test_packing_keeps_inner_products_and_inverts(d, seed):
    rng = np.random.default_rng(seed)
    A, B = (M + M.mT for M in rng.standard_normal((2, 5, d, d)))
    packed = pack_symmetric(A)
    assert packed.shape == (5, d * (d + 1) // 2)
    np.testing.assert_allclose((packed * pack_symmetric(B)).sum(-1), (A * B).sum((-2, -1)), atol=1e-11)
    np.testing.assert_allclose(unpack_symmetric(packed), A, atol=1e-14)
    v = rng.standard_normal(d * (d + 1) // 2)
    assert np.array_equal(unpack_symmetric(v), unpack_symmetric(v).T)
    np.testing.assert_allclose(pack_symmetric(unpack_symmetric(v)), v, atol=1e-14)


def test_packing_by_hand():
    np.testing.assert_allclose(pack_symmetric([[1, 2], [2, 5]]), [1, 2 * np.sqrt(2), 5])


@pytest.mark.parametrize("call, name", [
    (lambda rng: random_orthonormal(2, 3, rng=rng), "k"),
    (lambda rng: random_orthonormal(0, 1, rng=rng), "n"),
    (lambda rng: random_orthonormal(3, 1.5, rng=rng), "k"),
    (lambda rng: random_low_rank(3, 4, 4, rng=rng), "rank"),
    (lambda rng: low_rank_psd(3, 0, rng=rng), "rank"),
    (lambda rng: low_rank_psd(3, 2, 0.5, rng=rng), "condition"),
    (lambda rng: low_rank_psd(3, 2, np.nan, rng=rng), "condition"),
    (lambda rng: pack_symmetric(np.ones((2, 3))), "X"),
    (lambda rng: pack_symmetric(np.ones(3)), "X"),
    (lambda rng: unpack_symmetric(np.ones(4)), "v"),
    (lambda rng: unpack_symmetric(1.0), "v"),
])
def test_bad_input_names_the_argument(call, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        call(np.random.default_rng(0))
