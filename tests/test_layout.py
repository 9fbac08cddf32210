"""Layouts: permutations and flattened blocks, there and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k2t_core.layout import Flat, Layout, channels_first, identity, permute_expression, shape_text


@given(st.permutations(range(4)), st.lists(st.integers(1, 3), min_size=4, max_size=4))
@settings(max_examples=30)
def test_round_trip_of_any_permutation(perm, shape):
    layout = Layout(tuple(perm))
    array = np.arange(np.prod(shape)).reshape(shape)
    there = layout.to_torch(array)
    assert there.shape == layout.shape(tuple(shape))
    assert np.array_equal(layout.to_keras(there), array)
    for axis in range(-4, 4):
        assert there.shape[layout.axis(axis)] == shape[axis]


def test_flat_layout_is_what_flattening_channels_first_gives():
    array = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    flat = Layout((0, 1), Flat((3, 4, 5), (2, 0, 1)))
    torch_side = array.transpose(0, 3, 1, 2).reshape(2, -1)
    assert np.array_equal(flat.to_torch(array.reshape(2, -1)), torch_side)
    assert np.array_equal(flat.to_keras(torch_side), array.reshape(2, -1))


@given(st.permutations(range(4)), st.permutations(range(4)))
@settings(max_examples=30)
def test_permute_expression_moves_one_layout_to_the_other(a, b):
    import torch

    source, target = Layout(tuple(a)), Layout(tuple(b))
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    x = torch.from_numpy(source.to_torch(array))
    moved = eval(permute_expression("x", source, target, array.shape), {"x": x})
    assert np.array_equal(moved.numpy(), target.to_torch(array))


def test_two_axes_swap_with_transpose_and_none_with_nothing():
    assert permute_expression("x", identity(3), channels_first(3), (None, 5, 6)) == "x.transpose(1, 2)"
    assert permute_expression("x", identity(3), identity(3), (None, 5, 6)) == "x"


@pytest.mark.parametrize(
    "shape, same",
    [((None, 1, 1, 7), True), ((None, 4, 4, 1), True), ((None, 4, 1, 2), False), ((None, None, 1, 2), False)],
)
def test_same_memory_ignores_axes_of_size_one(shape, same):
    assert identity(4).same_memory(channels_first(4), shape) is same


def test_drop_keeps_the_order_of_the_axes_that_stay():
    assert channels_first(4).drop({1, 2}) == identity(2)
    assert channels_first(4).drop({1}) == Layout((0, 2, 1))


def test_names():
    assert (
        str(channels_first(4)) == "NCHW"
        and str(identity(4)) == "NHWC"
        and str(Layout((0, 1), Flat((2, 2, 3), (2, 0, 1)))) == "N(CHW)"
    )


def test_a_shape_in_words():
    assert shape_text((None, 3, None)) == "(N, 3, ?)" and shape_text((7,)) == "(7,)" and shape_text(()) == "()"
