"""Helpers for activations against keras.activations and keras.layers."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

from k2t_core.helpers.activations import (
    ElementwisePReLU,
    joint_softmax,
    masked_softmax,
    sparse_plus,
    sparsemax,
    squareplus,
    thresholded_relu,
)
from tests.helpers.comparing import close, coins, load, numbers, randomised, variables

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize("b", [4.0, 0.5, 0.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_squareplus(b, dtype):
    x = 3 * numbers(4, 5, dtype=dtype)
    close(squareplus(torch.from_numpy(x), b), keras.activations.squareplus(x, b))


def test_squareplus_by_default():
    x = numbers(4, 5)
    close(squareplus(torch.from_numpy(x)), keras.activations.squareplus(x))


def test_sparse_plus():
    x = np.append(3 * numbers(40), [-1, 1, 0, INF, -INF, NAN]).astype("float32")
    close(sparse_plus(torch.from_numpy(x)), keras.activations.sparse_plus(x))


@pytest.mark.parametrize("dim", [-1, 0, 1, 2])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_sparsemax(dim, scale):
    """A small scale leaves all entries in the support, a large one a single entry."""
    x = scale * numbers(3, 4, 5)
    close(sparsemax(torch.from_numpy(x), dim), keras.activations.sparsemax(x, axis=dim))


@pytest.mark.parametrize("row", [[0, 0, 0], [1, 1, 0], [2, 2, 2], [7], [0.5, 0.5, -0.5]])
def test_sparsemax_among_equals(row):
    x = np.array([row], "float32")
    close(sparsemax(torch.from_numpy(x)), keras.activations.sparsemax(x))


@pytest.mark.parametrize("max_value", [None, 6.0, 1.5])
@pytest.mark.parametrize("negative_slope", [0.0, 0.1])
@pytest.mark.parametrize("threshold", [0.0, 0.7, -0.7, 2.0])
def test_thresholded_relu(max_value, negative_slope, threshold):
    """On the threshold and on the maximum too. Keras's layer refuses a threshold below 0, its function takes it."""
    x = np.append(4 * numbers(60), [0, threshold, 1.5, 6, INF]).astype("float32")
    expected = keras.activations.relu(x, negative_slope, max_value, threshold)
    close(thresholded_relu(torch.from_numpy(x), max_value, negative_slope, threshold), expected)


def test_thresholded_relu_by_default():
    x = numbers(20)
    close(thresholded_relu(torch.from_numpy(x)), layers.ReLU()(x))


@pytest.mark.parametrize(
    "negative_slope",
    [
        pytest.param(0.0, marks=pytest.mark.xfail(strict=True, reason="0 · ∞ gives NaN where Keras gives 0")),
        0.1,
    ],
)
def test_thresholded_relu_of_what_is_not_finite(negative_slope):
    x = np.array([-INF, NAN, INF], "float32")
    expected = keras.activations.relu(x, negative_slope, threshold=0.7)
    close(thresholded_relu(torch.from_numpy(x), None, negative_slope, 0.7), expected)


@pytest.mark.parametrize("dim", [(1, 2), (-1, -2), (0, 3), (1, 2, 3)])
@pytest.mark.parametrize("offset", [0.0, 1000.0, -1000.0])
def test_joint_softmax(dim, offset):
    x = numbers(2, 3, 4, 5) + np.float32(offset)
    close(joint_softmax(torch.from_numpy(x), dim), layers.Softmax(axis=dim)(x))


@pytest.mark.parametrize("dim", [(2,), (-1,), 1])
def test_joint_softmax_over_one_axis(dim):
    x = numbers(2, 3, 4, 5)
    close(joint_softmax(torch.from_numpy(x), dim), layers.Softmax(axis=dim)(x))


@pytest.mark.parametrize("dim", [-1, 1, (1, 2), (-2, -1)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_masked_softmax(dim, dtype):
    """A row of which nothing is left gives zeros."""
    x, mask = numbers(2, 3, 4, dtype=dtype), coins(2, 3, 4)
    mask[0] = False
    expected = layers.Softmax(axis=dim, dtype=dtype)(x, mask=mask)
    actual = masked_softmax(torch.from_numpy(x), torch.from_numpy(mask), dim)
    close(actual, expected, 1e-5 if dtype != "float16" else 1e-3)
    assert not actual[0].any()


def test_masked_softmax_with_a_mask_that_broadcasts():
    x, mask = numbers(2, 3, 4), coins(1, 1, 4, seed=2)
    close(masked_softmax(torch.from_numpy(x), torch.from_numpy(mask)), layers.Softmax()(x, mask=mask))


@pytest.mark.parametrize(
    "shared, shape", [((), (4, 5, 3)), ((1,), (1, 5, 3)), ((1, 3), (1, 5, 1)), ((1, 2, 3), (1, 1, 1))]
)
def test_elementwise_prelu(shared, shape):
    """The slopes are those of an image with channels first, moved along with it."""
    x = numbers(2, 4, 5, 3)
    layer = layers.PReLU(shared_axes=shared or None)
    layer.build(x.shape)
    alpha = variables(randomised(layer))["alpha"]
    assert alpha.shape == shape
    module = ElementwisePReLU([shape[2], shape[0], shape[1]])
    assert module.weight.eq(0.25).all()
    load(module, weight=alpha.transpose(2, 0, 1))
    close(module(torch.from_numpy(x).permute(0, 3, 1, 2)), np.transpose(layer(x), (0, 3, 1, 2)))
