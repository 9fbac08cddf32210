"""Helpers for constants and indices against TensorFlow and keras.ops."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import ops

from k2t_core.helpers.shapes import (
    ConstantTensor,
    gather_nd,
    histogram_fixed_width,
    in_top_k,
    one_hot,
    reverse_sequence,
    scatter_nd,
    slice_update,
    take_along_dim,
    top_k,
    unsorted_segments,
)
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


# --- by indices, as TensorFlow counts them -----------------------------------------------------------------------

DRAWN = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")


def same(want, got):
    assert want.shape == tuple(got.shape) and np.allclose(want.numpy(), got.numpy(), atol=1e-6)


def test_entries_at_indices():
    places = np.array([[0, 1], [3, 4], [0, 1]], "int32")
    same(tf.gather_nd(DRAWN, places), gather_nd(torch.from_numpy(DRAWN), torch.from_numpy(places)))
    updates = DRAWN[0, :3]
    same(
        tf.scatter_nd(places, updates, (4, 5, 3)),
        scatter_nd(torch.from_numpy(places), torch.from_numpy(updates), (4, 5, 3)),
    )


@pytest.mark.parametrize("reduce", ["sum", "prod", "amax", "amin"])
@pytest.mark.parametrize("segments", [[1, 0, -1, 1], [[0, 1, 2, 0, 1]] * 4])
def test_segments(reduce, segments):
    function = getattr(tf.math, f"unsorted_segment_{reduce.removeprefix('a')}")
    found = unsorted_segments(torch.from_numpy(DRAWN), torch.tensor(segments), 4, reduce)
    same(function(DRAWN, segments, 4), found)


def test_whether_a_target_is_among_the_largest():
    rows = np.array([[1, 3, 2], [5, 5, 1], [np.nan, 1, 2]], "float32")
    for target in range(3):
        targets = np.full(3, target, "int32")
        for k in (1, 2):
            got = in_top_k(torch.from_numpy(targets), torch.from_numpy(rows), k)
            assert np.array_equal(tf.math.in_top_k(targets, rows, k), got.numpy())


@pytest.mark.parametrize(("dim", "batch_dim"), [(1, 0), (0, 1), (2, 0), (2, 1)])
def test_sequences_turned_round(dim, batch_dim):
    lengths = np.arange(DRAWN.shape[batch_dim], dtype="int32") % (DRAWN.shape[dim] + 1)
    want = tf.reverse_sequence(DRAWN, lengths, dim, batch_dim)
    same(want, reverse_sequence(torch.from_numpy(DRAWN), torch.from_numpy(lengths), dim, batch_dim))


def test_counts_in_bins():
    want = tf.histogram_fixed_width(DRAWN, [-1.0, 1.5], 6)
    same(want, histogram_fixed_width(torch.from_numpy(DRAWN), -1.0, 1.5, 6))


@pytest.mark.parametrize("starts", [(0, 0, 0), (1, 2, 1), (9, 9, 9), (-4, 0, 1)])
def test_a_part_replaced(starts):
    update = DRAWN[:2, :2, :2] * 10
    x = torch.from_numpy(DRAWN.copy())
    same(ops.slice_update(DRAWN, starts, update), slice_update(x, torch.from_numpy(update), starts))
    assert np.array_equal(x.numpy(), DRAWN), "a copy"
