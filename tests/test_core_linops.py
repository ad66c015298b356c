"""Forward operators against their own matrix: adjoint, norm, pseudo-inverse, shifted solve, gradients, dtype."""

import numpy as np
import pytest
import torch
from skimage.transform import radon

from prox_repro.core.linops import (
    CircularBlur, CompressedSensing, Downsampling, FourierSampling, GaussianBlur, Inpainting, LinearOperator,
    MatrixOperator, MatrixSensing, Radon, _SparseProduct, radon_matrix,
)


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


class Flip(LinearOperator):
    "An operator that uses every default of the base class."

    def __init__(self):
        super().__init__((3, 4), (12,))
        self.weight = torch.linspace(0.5, 2, 12, dtype=torch.float64)

    def _forward(self, x):
        return x.flatten(-2).flip(-1) * self.weight.to(x.dtype)

    def _adjoint(self, y):
        return (y * self.weight.to(y.dtype)).flip(-1).unflatten(-1, (3, 4))


OPERATORS = {
    "matrix": MatrixOperator(randn(5, 12), (3, 4)),
    "complex matrix": MatrixOperator(randn(5, 8, dtype=torch.complex128)),
    "compressed sensing": CompressedSensing((4, 5), 9),
    "matrix sensing": MatrixSensing(randn(7, 3, 4)),
    "blur": CircularBlur((6, 7), randn(3, 4, seed=1)),
    "gaussian blur": GaussianBlur((8, 9), 0.8),
    "inpainting": Inpainting(randn(5, 6) > 0),
    "mean": Downsampling((6, 8), 2),
    "pick": Downsampling((6, 9), 3, "pick"),
    "fourier": FourierSampling(randn(6, 7) > 0),
    "fourier even": FourierSampling(randn(6, 8, seed=4) > 0.5),
    "complex fourier": FourierSampling(randn(6, 7) > 0, real=False),
    "radon": Radon(8, 5),
    "radon disc": Radon(9, 4, circle=True),
    "defaults": Flip(),
}
COMPLEX_UNKNOWN = ("complex fourier", "complex matrix")
every = pytest.mark.parametrize("name", OPERATORS)


def probe(name, batch=(2, 3)):
    op = OPERATORS[name]
    x, y = randn(*batch, *op.in_shape, seed=2), randn(*batch, *op.out_shape, seed=3)
    if name in COMPLEX_UNKNOWN:
        x = torch.complex(x, randn(*x.shape, seed=5))
    if op.complex_output or name in COMPLEX_UNKNOWN:
        y = torch.complex(y, randn(*y.shape, seed=6))
    return op, x, y


def real_matrix(name):
    "The operator's matrix; complex measurements of a real unknown as real and imaginary rows."
    op = OPERATORS[name]
    D = op.dense(torch.complex128 if name in COMPLEX_UNKNOWN else torch.float64)
    return torch.cat([D.real, D.imag]) if op.complex_output and name not in COMPLEX_UNKNOWN else D


def real_rows(name, y):
    y = y.flatten(y.ndim - len(OPERATORS[name].out_shape)).reshape(-1, np.prod(OPERATORS[name].out_shape))
    return torch.cat([y.real, y.imag], -1) if OPERATORS[name].complex_output and name not in COMPLEX_UNKNOWN else y


@every
def test_adjoint(name):
    op, x, y = probe(name)
    left, right = (op.A(x).conj() * y).sum(), (x.conj() * op.A_adjoint(y)).sum()
    if name not in COMPLEX_UNKNOWN:
        left, right = left.real, right.real
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


@every
def test_linear_and_batched(name):
    op, x, y = probe(name)
    torch.testing.assert_close(op.A(2 * x[0] - x[1]), 2 * op.A(x[0]) - op.A(x[1]))
    assert op.A(x).shape == (2, 3, *op.out_shape) and op.A_adjoint(y).shape == (2, 3, *op.in_shape)
    torch.testing.assert_close(op.A(x)[1, 2], op.A(x[1, 2]))
    torch.testing.assert_close(op(x), op.A(x))
    torch.testing.assert_close(op.gram(x), op.A_adjoint(op.A(x)))


@every
def test_norm_is_the_largest_singular_value(name):
    largest = float(torch.linalg.matrix_norm(real_matrix(name), 2))
    torch.testing.assert_close(OPERATORS[name].norm(), largest, rtol=1e-4, atol=0)


@every
def test_pinv_is_the_pseudo_inverse(name):
    op, x, y = probe(name)
    inverse = torch.linalg.pinv(real_matrix(name), rtol=1e-6)
    expected = (real_rows(name, y) @ inverse.T).reshape(x.shape)
    torch.testing.assert_close(op.pinv(y, tol=1e-12), expected, rtol=1e-6, atol=1e-6)


@every
def test_penrose(name):
    op, x, y = probe(name)
    pinv = lambda data: op.pinv(data, tol=1e-12)
    torch.testing.assert_close(op.A(pinv(op.A(x))), op.A(x), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(pinv(op.A(pinv(y))), pinv(y), rtol=1e-5, atol=1e-5)


@every
@pytest.mark.parametrize("step", [0.3, 20.0])
def test_prox_l2_solves_the_normal_equations(name, step):
    op, x, y = probe(name)
    v = x
    u = op.prox_l2(v, y, step, tol=1e-12)
    residual = u - v + step * op.A_adjoint(op.A(u) - y)
    assert torch.linalg.vector_norm(residual) < 1e-8 * torch.linalg.vector_norm(v + step * op.A_adjoint(y))


@every
def test_gradients(name):
    op, x, y = probe(name, batch=(2,))
    assert torch.autograd.gradcheck(op.A, x.requires_grad_())
    if name not in ("radon", "radon disc"):
        assert torch.autograd.gradcheck(op.A_adjoint, y.requires_grad_())
    fit = lambda z: 0.5 * (op.A(z) - y.detach()).abs().square().sum()
    (grad,) = torch.autograd.grad(fit(x), x)
    torch.testing.assert_close(grad, op.A_adjoint(op.A(x) - y).detach())


@every
def test_single_precision_stays_single(name):
    op, x, y = probe(name)
    low = lambda t: t.to(torch.complex64 if t.is_complex() else torch.float32)
    for function, value in ((op.A, x), (op.A_adjoint, y), (op.A, x)):  # A again: after a cast the original is intact
        torch.testing.assert_close(function(low(value)), low(function(value)), rtol=1e-4, atol=1e-4)
    assert op.pinv(low(y)).dtype == low(op.pinv(y)).dtype


@every
def test_repr_is_short_and_has_no_address(name):
    assert "->" in repr(OPERATORS[name]) and "0x" not in repr(OPERATORS[name])


def test_compressed_sensing_has_orthonormal_rows_and_is_seeded():
    op = CompressedSensing((4, 5), 9, seed=3)
    torch.testing.assert_close(op.dense() @ op.dense().T, torch.eye(9, dtype=torch.float64))
    assert torch.equal(op.dense(), CompressedSensing((4, 5), 9, seed=3).dense())
    assert not torch.equal(op.dense(), CompressedSensing((4, 5), 9, seed=4).dense())


def test_matrix_sensing_is_the_inner_product():
    matrices, X = randn(7, 3, 4), randn(3, 4, seed=1)
    torch.testing.assert_close(MatrixSensing(matrices).A(X), torch.stack([(M * X).sum() for M in matrices]))


def test_gaussian_blur_keeps_brightness_and_commutes_with_shifts():
    op, x = GaussianBlur((12, 10), 1.5), randn(12, 10)
    torch.testing.assert_close(op.A(torch.ones(12, 10)), torch.ones(12, 10))
    torch.testing.assert_close(op.A(x).sum(), x.sum())
    torch.testing.assert_close(op.A(x.roll((2, 3), (0, 1))), op.A(x).roll((2, 3), (0, 1)))
    torch.testing.assert_close(op.A(x), op.A_adjoint(x))  # a symmetric kernel


def test_circular_blur_against_the_definition():
    x, kernel = randn(5, 6), randn(3, 2, seed=1)
    expected = sum(kernel[i, j] * x.roll((i - 1, j - 1), (0, 1)) for i in range(3) for j in range(2))
    torch.testing.assert_close(CircularBlur((5, 6), kernel).A(x), expected)


def test_rcond_drops_lost_frequencies():
    y = randn(16, 16)
    small, large = (torch.linalg.vector_norm(GaussianBlur(16, 2.0, rcond=r).pinv(y)) for r in (1e-6, 1e-1))
    assert large < small / 100


def test_downsampling_by_means_and_picks():
    x = torch.arange(16.0).reshape(4, 4)
    assert Downsampling(4, 2).A(x).tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert Downsampling(4, 2, "pick").A(x).tolist() == [[0, 2], [8, 10]]
    assert torch.equal(Downsampling(4, 1).A(x), x)


def test_fourier_sampling_full_mask_is_unitary():
    op, x = FourierSampling(torch.ones(6, 5)), randn(6, 5)
    torch.testing.assert_close(op.pinv(op.A(x)), x)
    torch.testing.assert_close(torch.linalg.vector_norm(op.A(x)), torch.linalg.vector_norm(x))


def test_half_of_the_frequencies_determine_a_real_image():
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, :5] = True
    op, x = FourierSampling(mask), randn(8, 8)
    torch.testing.assert_close(op.pinv(op.A(x)), x)


def test_radon_mass_and_symmetry():
    op, x = Radon(12, 6), randn(12, 12)
    assert op.dense().min() >= 0
    sums = op.A(x).sum(-1)
    torch.testing.assert_close(sums, x.sum().expand_as(sums))  # every angle sees the whole mass
    x = randn(9, 9)
    columns, rows, back = Radon(9, np.array([0.0, np.pi / 2, np.pi])).A(x)
    torch.testing.assert_close(back, columns.flip(0), atol=1e-5, rtol=0)
    middle = slice((len(rows) - 9) // 2, (len(rows) - 9) // 2 + 9)
    torch.testing.assert_close(columns[middle], x.sum(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows[middle].flip(0), x.sum(1), atol=1e-5, rtol=0)


def test_radon_agrees_with_scikit_image_on_a_smooth_disc():
    size, angles = 33, np.linspace(0, np.pi, 8, endpoint=False)
    r, c = np.mgrid[:size, :size] - size // 2
    disc = np.exp(-((r + 4) ** 2 + (c - 3) ** 2) / 30)
    disc[np.hypot(abs(r) + 0.5, abs(c) + 0.5) > size / 2] = 0
    reference = radon(disc, np.rad2deg(angles), circle=True).T
    ours = Radon(size, angles, circle=True).A(torch.as_tensor(disc)).numpy()
    assert ours.shape == reference.shape
    assert np.abs(ours - reference).max() < 0.03 * reference.max()


def test_radon_of_one_pixel_is_its_shadow():
    image = torch.zeros(5, 5, dtype=torch.float64)
    image[2, 2] = 1
    straight, diagonal = Radon(5, np.array([0.0, np.pi / 4])).A(image)
    middle = len(straight) // 2
    assert torch.isclose(straight[middle], torch.tensor(1.0, dtype=torch.float64), atol=1e-5)
    # at 45 degrees the shadow is a triangle of half-width 1/sqrt(2): the outer bins get its tips
    tip = (np.sqrt(0.5) - 0.5) ** 2
    expected = torch.tensor([tip, 1 - 2 * tip, tip], dtype=torch.float64)
    torch.testing.assert_close(diagonal[middle - 1:middle + 2], expected, atol=1e-9, rtol=0)


def test_an_analytic_sinogram():
    """The integral of a centred Gaussian along any line at distance s is again a Gaussian of s."""
    size = 41
    g = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    image = torch.exp(-(g[:, None] ** 2 + g**2) / 32)
    op = Radon(size, 7)
    s = torch.arange(op.out_shape[1], dtype=torch.float64) - (op.out_shape[1] - 1) / 2
    expected = np.sqrt(32 * np.pi) * torch.exp(-(s**2) / 32)
    assert (op.A(image) - expected).abs().max() < 0.02 * expected.max()


def test_both_sparse_products_agree():
    """The accelerator's form of the Radon matrix (a torch sparse tensor), run here on the CPU."""
    matrix = radon_matrix(6, np.array([0.3, 1.0]))
    coo = matrix.tocoo()
    tensor = torch.sparse_coo_tensor(np.stack([coo.row, coo.col]), coo.data, coo.shape, check_invariants=False).coalesce()
    rows = randn(3, 36).requires_grad_()
    one = _SparseProduct.apply(rows, matrix, matrix.T.tocsr())
    two = _SparseProduct.apply(rows, tensor, tensor.T.coalesce())
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(*(torch.autograd.grad((out**2).sum(), rows)[0] for out in (one, two)))


@pytest.mark.parametrize("call, word", [
    (lambda: OPERATORS["blur"].A(torch.ones(5, 7)), r"shape \(\.\.\., 6, 7\)"),
    (lambda: OPERATORS["blur"].A(np.ones((6, 7))), "torch tensor"),
    (lambda: OPERATORS["compressed sensing"].A_adjoint(torch.ones(8)), "y: needs shape"),
    (lambda: OPERATORS["blur"].pinv(torch.ones(7)), "y: needs shape"),
    (lambda: OPERATORS["blur"].prox_l2(torch.ones(6, 7), torch.ones(6, 7), 0), "step"),
    (lambda: CompressedSensing(4, 5), "m: must lie in 1..4"),
    (lambda: MatrixOperator(torch.ones(2, 3), (2, 2)), "matrix"),
    (lambda: MatrixSensing(torch.ones(2, 3)), "matrices"),
    (lambda: GaussianBlur(8, 0), "sigma"),
    (lambda: GaussianBlur((8, 8, 8), 1), "shape"),
    (lambda: CircularBlur(2, torch.ones(3, 3)), "kernel"),
    (lambda: Inpainting(torch.tensor([0.5, 1])), "mask"),
    (lambda: Downsampling((4, 6), 4), "factor"),
    (lambda: Downsampling(4, 2, "cubic"), "method"),
    (lambda: FourierSampling(torch.ones(3)), "shape"),
    (lambda: Radon(1, 4), "size"),
    (lambda: Radon(8, 0), "angle"),
])
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
