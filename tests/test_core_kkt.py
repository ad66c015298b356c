"KKT systems: optimality on the constraint, pseudo-inverse, reduced curvature."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.kkt import kkt_matrix, null_space_basis, reduced_curvature, solve_kkt
from prox_repro.core.linalg import random_low_rank


def random_system(seed, n=5, m=2):
    rng = np.random.default_rng(seed)
    B, G = rng.standard_normal((n, n)), rng.standard_normal((m, n))
    return (B + B.T) / 2, G, rng.standard_normal(n), rng.standard_normal(m)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 6))
def test_solution_satisfies_the_conditions(seed, n, m):
    B, G, r, s = random_system(seed, n, min(m, n))
    w, nu = solve_kkt(B, G, r, s)
    K = kkt_matrix(B, G)
    tol = 1e-9 * np.linalg.cond(K)
    np.testing.assert_allclose(B @ w + G.T @ nu, r, atol=tol)
    np.testing.assert_allclose(G @ w, s, atol=tol)
    assert np.array_equal(K, K.T)


def test_minimum_on_the_constraint():
    B, G, r, s = random_system(3)
    B = B @ B
    w, _ = solve_kkt(B, G, r, s)
    objective = lambda u: 0.5 * u @ B @ u - r @ u
    Z, rng = null_space_basis(G), np.random.default_rng(0)
    for step in rng.standard_normal((50, Z.shape[1])):
        assert objective(w + Z @ step) >= objective(w)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_null_space_of_a_matrix_of_lower_rank(seed, rank):
    rng = np.random.default_rng(seed)
    G = random_low_rank(4, 6, rank, 10.0, rng=rng).matrix
    Z = null_space_basis(G)
    assert Z.shape == (6, 6 - rank)
    np.testing.assert_allclose(G @ Z, 0, atol=1e-12)
    np.testing.assert_allclose(Z.T @ Z, np.eye(6 - rank), atol=1e-12)


def test_reduced_curvature_sees_only_the_constraint():
    B, G = np.diag([1.0, -2.0, 3.0]), np.array([[0.0, 1.0, 0.0]])
    assert reduced_curvature(B, G) == pytest.approx(1.0)
    assert reduced_curvature(B, np.zeros((0, 3))) == pytest.approx(-2.0)
    assert reduced_curvature(B, np.zeros((1, 3))) == pytest.approx(-2.0)
    assert reduced_curvature(B, np.eye(3)) == np.inf


def test_pseudo_inverse_is_numpys_and_shortest():
    B, G = np.diag([2.0, 0.0, 0.0]), np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]])
    r, s = np.array([1.0, 0.0, 0.5]), np.array([1.0, 2.0])
    w, nu = solve_kkt(B, G, r, s, rcond=1e-10)
    expected = np.linalg.pinv(kkt_matrix(B, G), rcond=1e-10) @ np.concatenate([r, s])
    np.testing.assert_allclose(np.concatenate([w, nu]), expected, atol=1e-12)
    with pytest.raises(ValueError, match="singular"):
        solve_kkt(B, G, r, s)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: kkt_matrix(np.ones((2, 3)), np.ones((1, 3))), "B"),
        (lambda: kkt_matrix(np.eye(3), np.ones((1, 2))), "G"),
        (lambda: kkt_matrix(np.eye(3) * np.nan, np.ones((1, 3))), "B, G"),
        (lambda: null_space_basis(np.ones(3)), "G"),
        (lambda: solve_kkt(np.eye(3), np.ones((1, 3)), np.ones(3), np.ones(2)), "r, s"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        call()
