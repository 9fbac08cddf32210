"""Helpers for resizing, patches and contrast against keras.ops.image, keras.layers and TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import layers, ops

from k2t_core.helpers.spatial import (
    antialias_resize,
    area_resize,
    auto_contrast,
    bicubic_resize,
    image_patches,
    lanczos_resize,
    means,
    nearest_resize,
    weighted_resize,
)
from tests.helpers.comparing import close, first, last, numbers

# Larger, smaller, both, the same, to one pixel, from one pixel, and sizes whose ratio float32 rounds.
SIZES = [(11, 13), (4, 3), (9, 4), (7, 6), (1, 1), (1, 5), (14, 12), (3, 17)]


def image(height=7, width=6, channels=3, dtype="float32"):
    return numbers(2, height, width, channels, dtype=dtype)


def resized(x, size, mode, antialias=False):
    return ops.image.resize(x, size, interpolation=mode, antialias=antialias, data_format="channels_last")


@pytest.mark.parametrize("size", SIZES)
def test_nearest_resize(size):
    close(last(nearest_resize(first(image()), size)), resized(image(), size, "nearest"), 0)


@pytest.mark.parametrize("old, new", [(5, 49), (49, 7), (10, 3), (30, 41), (41, 30), (1, 4)])
def test_nearest_resize_where_float32_rounds(old, new):
    x = image(old, 3)
    close(last(nearest_resize(first(x), (new, 3))), resized(x, (new, 3), "nearest"), 0)


@pytest.mark.parametrize("size", SIZES)
def test_bicubic_resize(size):
    close(last(bicubic_resize(first(image()), size)), resized(image(), size, "bicubic"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialias_resize(size, mode):
    close(last(antialias_resize(first(image()), size, mode)), resized(image(), size, mode, antialias=True))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("radius", [3, 5])
@pytest.mark.parametrize("antialias", [False, True])
def test_lanczos_resize(size, radius, antialias):
    actual = lanczos_resize(first(image()), size, radius, antialias)
    close(last(actual), resized(image(), size, f"lanczos{radius}", antialias))


@pytest.mark.parametrize("size", SIZES)
def test_area_resize(size):
    close(last(area_resize(first(image()), size)), resized(image(), size, "area"))


@pytest.mark.parametrize(
    "helper, mode, more",
    [
        (bicubic_resize, "bicubic", {}),
        (area_resize, "area", {}),
        (lanczos_resize, "lanczos3", {"radius": 3}),
        (antialias_resize, "bilinear", {"mode": "bilinear"}),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_resize_of_other_dtypes(helper, mode, more, dtype):
    """The dtype stays; half precision is summed in float32. TensorFlow gives float32, whatever the image is."""
    x = first(image()).to(getattr(torch, dtype))
    actual = helper(x, (9, 4), **more)
    assert actual.dtype == x.dtype
    expected = resized(last(x.float()), (9, 4), mode, antialias=helper is antialias_resize)
    close(last(actual.float()), expected, {"float16": 1e-3, "bfloat16": 1e-2, "float64": 1e-6}[dtype])


def test_means():
    weights = np.abs(numbers(4, 7)) + 0.1
    close(means(torch.from_numpy(weights)), tf.linalg.normalize(weights, ord=1, axis=1)[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weighted_resize(dtype):
    x, rows, columns = numbers(2, 3, 7, 6, dtype=dtype), numbers(4, 7, seed=1), numbers(5, 6, seed=2)
    expected = tf.einsum("nchw,Hh,Ww->ncHW", x, rows.astype(dtype), columns.astype(dtype))
    close(weighted_resize(torch.from_numpy(x), torch.from_numpy(rows), torch.from_numpy(columns)), expected)


@pytest.mark.parametrize("size", [(2, 3), (3, 3), (1, 1), (4, 3)])
@pytest.mark.parametrize("stride, dilation", [((1, 1), 1), ((2, 3), 1), ((1, 1), 2)])
def test_image_patches(size, stride, dilation):
    expected = ops.image.extract_patches(image(), size, stride, dilation, padding="valid", data_format="channels_last")
    close(last(image_patches(first(image()), size, stride, dilation)), expected, 0)


@pytest.mark.parametrize(
    "size, stride, dilation, padding",
    [
        ((3, 3), (1, 1), 1, 1),
        ((3, 5), (1, 1), 1, (1, 2)),
        ((3, 1), (1, 1), (2, 1), (2, 0)),
        ((1, 3), (1, 1), 2, (0, 2)),
    ],
)
def test_image_patches_with_padding(size, stride, dilation, padding):
    """SAME as far as torch pads it alike on both sides; a number for each axis or one for both."""
    expected = ops.image.extract_patches(image(), size, stride, dilation, padding="same", data_format="channels_last")
    close(last(image_patches(first(image()), size, stride, dilation, padding)), expected, 0)


@pytest.mark.parametrize("low, high", [(0.0, 255.0), (0.0, 1.0), (-1.0, 1.0)])
def test_auto_contrast(low, high):
    """Each image and channel by itself; a channel without contrast stays as it is."""
    x = (low + (high - low) * np.random.default_rng(0).random((2, 7, 6, 3))).astype("float32")
    x[0, :, :, 1] = low + (high - low) / 4
    expected = layers.AutoContrast((low, high))(x)
    close(last(auto_contrast(first(x), (2, 3), low, high)), expected)


def test_auto_contrast_of_the_usual_range():
    x = (200 * np.random.default_rng(0).random((2, 7, 6, 3)) + 20).astype("float32")
    close(auto_contrast(torch.from_numpy(x), (1, 2)), layers.AutoContrast()(x))
