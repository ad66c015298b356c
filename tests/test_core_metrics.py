"""Metrics by closed form, and the statistics by their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prox_repro.core.metrics import (
    bootstrap_interval, mean_and_range, paired_ratio, psnr, relative_error, rms, ssim,
)

rng = np.random.default_rng(0)
images = rng.random((2, 3, 16, 12))


@given(st.floats(1e-3, 1))
@settings(deadline=None)
def test_psnr_of_a_constant_offset(offset):
    assert math.isclose(psnr(images[0, 0] + offset, images[0, 0]), -20 * math.log10(offset), rel_tol=1e-9, abs_tol=1e-9)


def test_psnr_batch_range_and_identity():
    noisy = images + 0.05 * rng.normal(size=images.shape)
    values = psnr(noisy, images)
    assert values.shape == (2, 3)
    assert math.isclose(values[1, 2], psnr(noisy[1, 2], images[1, 2]))
    np.testing.assert_allclose(psnr(noisy * 255, images * 255, data_range=255), values)
    np.testing.assert_allclose(values, -20 * np.log10(rms(noisy - images, axis=(2, 3))))
    assert psnr(images[0, 0], images[0, 0]) == math.inf
    np.testing.assert_allclose(psnr(torch.as_tensor(noisy), torch.as_tensor(images)), values)


def test_colour_images_are_one_image():
    a = rng.random((4, 16, 16, 3))
    b = a + 0.1 * rng.normal(size=a.shape)
    assert psnr(b, a, channels=True).shape == ssim(b, a, channels=True).shape == (4,)
    np.testing.assert_allclose(psnr(b, a, channels=True), -20 * np.log10(rms(b - a, axis=(1, 2, 3))))


def test_uint8_images_do_not_wrap_around():
    dark, bright = np.zeros((8, 8), np.uint8), np.full((8, 8), 255, np.uint8)
    assert psnr(dark, bright, data_range=255) == 0.0
    assert math.isclose(relative_error(dark, bright), 1.0)


def test_ssim_bounds_symmetry_and_identity():
    noisy = images + 0.2 * rng.normal(size=images.shape)
    values = ssim(noisy, images)
    assert (values < 1).all() and (values > -1).all()
    np.testing.assert_allclose(ssim(images, noisy), values)
    np.testing.assert_allclose(ssim(images, images), 1)
    assert (ssim(images + 0.5 * (noisy - images), images) > values).all()


def test_relative_error_and_rms():
    assert math.isclose(relative_error([3 + 4j, 0], [0, 5]), math.sqrt(2))
    assert relative_error(7 * images, 7 * images) == 0
    x = rng.normal(size=(5, 4))
    np.testing.assert_allclose(relative_error(2 * x, x, axis=1), 1)
    np.testing.assert_allclose(rms(x, axis=0) ** 2, (x**2).mean(0))
    assert math.isclose(rms(torch.tensor([3.0, 4.0])), math.sqrt(12.5), rel_tol=1e-6)


def test_mean_and_range_prints_itself():
    result = mean_and_range([1.0, 2.0, 6.0])
    assert result == (3.0, 1.0, 6.0) and str(result) == "3 (1 to 6)"


def test_bootstrap_is_seeded_equivariant_and_has_the_normal_width():
    values = rng.normal(size=400)
    first = bootstrap_interval(values)
    assert first == bootstrap_interval(values) and first != bootstrap_interval(values, seed=1)
    assert first.low <= first.value <= first.high and math.isclose(first.value, values.mean())
    np.testing.assert_allclose(bootstrap_interval(3 * values + 1), 3 * np.array(first) + 1)
    width = 2 * 1.96 * values.std() / math.sqrt(400)
    assert abs((first.high - first.low) / width - 1) < 0.1
    assert bootstrap_interval([2.0, 2.0]) == (2, 2, 2)
    assert bootstrap_interval(values, np.median).value == np.median(values)
    wide = bootstrap_interval(values, level=0.99)
    assert wide.low < first.low and wide.high > first.high


def test_paired_ratio_uses_pairs_and_inverts():
    a, b = np.array([2.0, 30.0, 0.5]), np.array([1.0, 10.0, 1.0])
    result = paired_ratio(a, b)
    np.testing.assert_allclose(result.ratios, [2, 3, 0.5])
    assert (result.median, result.low, result.high) == (2.0, 0.5, 3.0)
    assert math.isclose(paired_ratio(b, a).median, 0.5)


@pytest.mark.parametrize("call, word", [
    (lambda: psnr(np.ones((4, 4)), np.ones((4, 5))), "shape"),
    (lambda: psnr(np.ones(4), np.ones(4)), "at least 2 axes"),
    (lambda: psnr(np.ones((4, 4)), np.ones((4, 4)), data_range=0), "data_range"),
    (lambda: ssim(np.ones((4, 4)), np.ones((4, 4))), "window"),
    (lambda: ssim(np.ones((9, 9)), np.ones((9, 9)), window=4), "odd"),
    (lambda: relative_error(np.ones(3), np.zeros(3)), "reference"),
    (lambda: rms([]), "non-empty"),
    (lambda: rms(["a"]), "numeric"),
    (lambda: mean_and_range([1.0, np.nan]), "finite"),
    (lambda: mean_and_range(np.ones((2, 2))), "one-dimensional"),
    (lambda: bootstrap_interval([1.0], level=1), "level"),
    (lambda: paired_ratio([1.0], [1.0, 2.0]), "equally many"),
    (lambda: paired_ratio([1.0], [0.0]), "positive"),
])
def test_bad_input_is_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
