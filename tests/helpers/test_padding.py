"""Helpers for padding against TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf
import torch
import torch.nn.functional as F

from k2t_core.helpers.padding import mirror_pad, same_padding
from k2t_core.keras_side.compiling import run
from tests.helpers.comparing import close, first, last, numbers

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride, dilation", [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)])
def test_same_padding_of_a_convolution(rank, kernel, stride, dilation):
    """The axes have sizes of their own, kernels too: one larger than the image, one whose stride leaves pixels out."""
    sizes, kernels = (7, 4, 3)[:rank], (kernel, 3, 2)[:rank]
    x, weight = numbers(2, *sizes, 3), numbers(*kernels, 3, 4, seed=1)
    expected = run(tf.nn.convolution, (x, weight), {"strides": stride, "padding": "SAME", "dilations": dilation})
    padded = same_padding(first(x), kernels, (stride,) * rank, (dilation,) * rank)
    kernel_first = torch.from_numpy(weight).movedim((-1, -2), (0, 1))
    close(last(CONVOLUTIONS[rank](padded, kernel_first, stride=stride, dilation=dilation)), expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kernel, stride", [((2, 3, 4), (1, 2, 3)), ((3, 2, 2), (3, 1, 2)), ((5, 1, 3), (2, 1, 1))])
def test_same_padding_of_a_maximum(rank, kernel, stride):
    """A window and a step for each axis; −∞ never wins."""
    x = numbers(2, *(7, 4, 5)[:rank], 3) - 5
    kernel, stride = kernel[:rank], stride[:rank]
    expected = tf.nn.pool(x, kernel, "MAX", strides=stride, padding="SAME")
    padded = same_padding(first(x), kernel, stride, (1,) * rank, value=-np.inf)
    close(last(POOLS[rank](padded, kernel, stride)), expected, 0)


@pytest.mark.parametrize("mode", ["REFLECT", "SYMMETRIC"])
@pytest.mark.parametrize(
    "pairs",
    [
        [(0, 0), (0, 0), (0, 0), (1, 2)],
        [(0, 0), (0, 0), (3, 1), (0, 2)],
        [(0, 0), (2, 0), (1, 1), (0, 0)],
        [(1, 1), (2, 2), (3, 3), (4, 4)],
        [(0, 0), (0, 0), (0, 0), (0, 0)],
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_mirror_pad(mode, pairs, dtype):
    x = (3 * numbers(2, 3, 4, 5)).astype(dtype)
    pad = [n for pair in reversed(pairs) for n in pair]
    close(mirror_pad(torch.from_numpy(x), pad, edge=mode == "SYMMETRIC"), tf.pad(x, pairs, mode), 0)


@pytest.mark.parametrize("mode, width", [("REFLECT", 4), ("SYMMETRIC", 5)])
def test_mirror_pad_as_far_as_it_goes(mode, width):
    """Every entry of the axis, mirrored at both ends; the pairs may stop before the first axes."""
    x = numbers(2, 5)
    actual = mirror_pad(torch.from_numpy(x), (width, width), **({"edge": True} if mode == "SYMMETRIC" else {}))
    close(actual, tf.pad(x, [(0, 0), (width, width)], mode), 0)
