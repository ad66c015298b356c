"Smooth problem families: derivatives against differences, bounds against Hessians, states against direct evaluation."

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.problems import LeastSquares, Logistic, Quadratic, Softmax, finite_differences

FAMILIES = ("least squares", "logistic", "softmax", "quadratic")


def make(family, seed=0, sparse=False, n_samples=9, n=4):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n_samples, n)) * (rng.random((n_samples, n)) < 0.8)
    A = sp.csr_matrix(A) if sparse else A
    keywords = {"weights": rng.random(n_samples), "reg": float(rng.random())}
    if family == "least squares":
        return LeastSquares(A, rng.standard_normal(n_samples), **keywords)
    if family == "logistic":
        return Logistic(A, rng.choice([-1, 1], n_samples), **keywords)
    if family == "softmax":
        return Softmax(A, rng.integers(0, 4, n_samples), n_classes=4, **keywords)
    Q = (A.T @ A) if sparse else A.T @ A
    return Quadratic(Q, rng.standard_normal(n))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_derivatives_are_finite_differences(family, sparse):
    problem = make(family, 1, sparse)
    rng = np.random.default_rng(2)
    x, v = rng.standard_normal((2, problem.size))
    np.testing.assert_allclose(problem.grad(x), finite_differences(problem.value, x), atol=1e-7)
    H = problem.hessian(x)
    np.testing.assert_allclose(H, finite_differences(problem.grad, x), atol=1e-7)
    np.testing.assert_allclose(problem.hvp(x, v), H @ v, atol=1e-12)
    block = rng.permutation(problem.size)[:3]
    np.testing.assert_allclose(problem.block_hessian(x, block), H[np.ix_(block, block)], atol=1e-12)
    np.testing.assert_allclose(problem.block_grad_from(problem.linear(x), x, block), problem.grad(x)[block], atol=1e-12)
    bound = problem.block_hessian_bound(np.arange(problem.size))
    np.testing.assert_allclose(problem.bound_product(v), bound @ v, atol=1e-11)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(FAMILIES), st.integers(0, 10**6), st.floats(0, 30), st.integers(1, 4))
def test_bounds_lie_above_the_hessian(family, seed, size, tau):
    problem, rng = make(family, seed), np.random.default_rng(seed)
    x, block = size * rng.standard_normal(problem.size), rng.permutation(problem.size)[:tau]
    bound = problem.block_hessian_bound(block)
    scale = 1e-12 * (1 + abs(bound).max())
    assert np.linalg.eigvalsh(bound - problem.block_hessian(x, block))[0] >= -scale
    assert (np.diag(problem.hessian(x)) <= problem.coord_lipschitz() + scale).all()
    assert np.linalg.eigvalsh(problem.hessian(x))[-1] <= problem.lipschitz() + scale


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(FAMILIES), st.booleans(), st.integers(0, 10**6))
def test_a_moved_state_is_the_state_of_the_moved_point(family, sparse, seed):
    problem, rng = make(family, seed, sparse), np.random.default_rng(seed)
    x, block = rng.standard_normal(problem.size), rng.permutation(problem.size)[:2]
    step, z = rng.standard_normal(2), problem.linear(x)
    same = problem.add_block(z, block, step)
    x[block] += step
    assert same is z
    np.testing.assert_allclose(z, problem.linear(x), atol=1e-12)
    assert problem.value_from(z, x) == pytest.approx(problem.value(x), rel=1e-12)
    np.testing.assert_allclose(problem.grad_from(z, x), problem.grad(x), atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES[:3])
def test_sample_weights_are_variables(family):
    "Losses are the derivative in the weights, `sample_slopes` the mixed derivative; a weight of 2 is a sample seen twice."
    problem, rng = make(family, 5), np.random.default_rng(6)
    x, v = rng.standard_normal((2, problem.size))

    def reweighted(w):
        other = make(family, 5)
        other.weights = w
        return other

    by_weights = finite_differences(lambda w: reweighted(w).value(x), problem.weights)
    np.testing.assert_allclose(problem.sample_losses(x), by_weights, atol=1e-8)
    mixed = finite_differences(lambda w: reweighted(w).grad(x) @ v, problem.weights)
    np.testing.assert_allclose(problem.sample_slopes(x, v), mixed, atol=1e-8)


def test_softmax_with_two_classes_is_logistic():
    rng = np.random.default_rng(0)
    A, labels, w = rng.standard_normal((8, 3)), rng.integers(0, 2, 8), rng.standard_normal(3)
    two = Softmax(A, labels, n_classes=2)
    assert two.value(np.concatenate([np.zeros(3), w])) == pytest.approx(Logistic(A, 2 * labels - 1).value(w))


def test_no_overflow_far_out():
    for family in FAMILIES[1:3]:
        problem = make(family)
        x = 1e6 * np.ones(problem.size)
        assert np.isfinite(problem.value(x)) and np.isfinite(problem.grad(x)).all()


def test_finite_differences_of_a_matrix_function():
    X = np.random.default_rng(0).standard_normal((3, 3)) + 3 * np.eye(3)
    inverse = np.linalg.inv(X)
    expected = -np.einsum("ai,jb->abij", inverse, inverse)
    np.testing.assert_allclose(finite_differences(np.linalg.inv, X), expected, atol=1e-9)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: LeastSquares(np.ones(3), np.ones(3)), "A"),
        (lambda: LeastSquares(np.full((2, 2), np.nan), np.ones(2)), "A"),
        (lambda: LeastSquares(np.ones((3, 2)), np.ones(2)), "y"),
        (lambda: LeastSquares(np.ones((3, 2)), np.ones(3), weights=-np.ones(3)), "weights"),
        (lambda: LeastSquares(np.ones((3, 2)), np.ones(3), reg=-1), "reg"),
        (lambda: Logistic(np.ones((3, 2)), np.array([0, 1, 1])), "y"),
        (lambda: Softmax(np.ones((3, 2)), np.array([0.5, 1, 1])), "y"),
        (lambda: Softmax(np.ones((3, 2)), np.array([0, 3, 1]), n_classes=3), "y"),
        (lambda: Quadratic(np.array([[1.0, 2.0], [0.0, 1.0]]), np.ones(2)), "Q"),
        (lambda: Quadratic(np.diag([1.0, -1.0]), np.ones(2)), "Q"),
        (lambda: Quadratic(sp.diags([1.0, -1.0]).tocsc(), np.ones(2)), "Q"),
        (lambda: Quadratic(np.eye(3), np.ones(2)), "Q"),
        (lambda: finite_differences(np.sum, np.ones(2), step=0.0), "step"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        call()
