"""Sizes, windows and paddings that the rules share, against TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from k2t_core.rules.common import compact, fixed, ntuple, pad_expression, same_pads
from k2t_core.rules.registry import Unconvertible
from k2t_core.rules.slots import slot


def test_a_number_for_every_axis():
    assert ntuple(3, 2) == (3, 3) and ntuple([1, 2], 2) == (1, 2)
    assert compact((3, 3)) == 3 and compact([1, 2]) == (1, 2)


@pytest.mark.parametrize("size", [5, 6, 7, 8])
@pytest.mark.parametrize("kernel, stride, dilation", [(1, 1, 1), (3, 1, 1), (2, 1, 1), (3, 2, 1), (2, 3, 1), (3, 1, 2)])
def test_same_padding_is_tensorflows(size, kernel, stride, dilation):
    x, filters = np.arange(1.0, size + 1).reshape(1, size, 1), np.arange(1.0, kernel + 1).reshape(kernel, 1, 1)
    (pads,) = same_pads([size], [kernel], [stride], [dilation])
    same, valid = (
        tf.nn.convolution(given, filters, strides=stride, padding=padding, dilations=dilation).numpy()
        for given, padding in ((x, "SAME"), (np.pad(x, ((0, 0), pads, (0, 0))), "VALID"))
    )
    np.testing.assert_array_equal(same, valid)


def test_same_padding_of_a_free_size():
    assert same_pads([None], [3], [1], [1]) == [(1, 1)]
    assert same_pads([None], [3], [2], [1]) is None


def test_sizes_that_must_be_fixed():
    assert fixed((4, 5), "no") == [4, 5]
    with pytest.raises(Unconvertible, match="give the Input its size"):
        fixed((4, None), "give the Input its size")


def test_torch_pads_the_last_axis_first():
    assert pad_expression(slot(0), [(1, 2), (3, 4)]) == f"F.pad({slot(0)}, (3, 4, 1, 2))"
