"""Helpers for constants and indices against TensorFlow and keras.ops."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import ops

from k2t_core.helpers.shapes import ConstantTensor, one_hot, take_along_dim, top_k
from tests.helpers.comparing import close, load, numbers


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_constant_tensor(dtype, shape):
    """Kept in the weights file, and no parameter."""
    value = tf.cast(3 * numbers(*shape), dtype).numpy()
    module = ConstantTensor(list(shape), dtype)
    assert module.value.dtype == getattr(torch, dtype)
    load(module, value=value)
    close(module.value, ops.convert_to_tensor(value), 0)
    assert not list(module.parameters())


@pytest.mark.parametrize("dim", [-1, 0, 1, 2])
@pytest.mark.parametrize("index", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_one_hot(dim, index, dtype):
    """An index out of range gives zeros."""
    x = np.array([[0, 1, 4], [3, 5, 2]], index)
    if index != "uint8":
        x[0, 0] = -1
    expected = tf.cast(tf.one_hot(x, 5, axis=dim), dtype)
    close(one_hot(torch.from_numpy(x), 5, dim, getattr(torch, dtype)), expected, 0)


def test_one_hot_of_a_single_index():
    close(one_hot(torch.tensor(2), 5), tf.one_hot(2, 5), 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_take_along_dim(axis, dtype):
    """Negative indices count from the end."""
    x = numbers(2, 3, 4)
    shape = [2, 3, 4]
    shape[axis] = 6
    n = x.shape[axis]
    indices = np.random.default_rng(0).integers(-n, n, shape).astype(dtype)
    actual = take_along_dim(torch.from_numpy(x), torch.from_numpy(indices), axis)
    close(actual, ops.take_along_axis(x, indices, axis=axis), 0)


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_top_k(k, dim, dtype):
    """Among equals the first comes first; ``dim`` is where torch holds Keras's last axis."""
    x = np.random.default_rng(0).integers(0, 4, (2, 3, 6)).astype(dtype)
    values, indices = tf.math.top_k(x, k)
    tensor = torch.from_numpy(x) if dim == 2 else torch.from_numpy(x).transpose(1, 2)
    for actual, expected in zip(top_k(tensor, k, dim), (values, indices)):
        close(actual if dim == 2 else actual.transpose(1, 2), expected, 0)
