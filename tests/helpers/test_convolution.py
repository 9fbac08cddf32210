"""Helpers for convolutions against keras.layers."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import layers

from k2t_core.helpers.convolution import SeparableConv1d, SeparableConv2d, conv2d_transpose
from k2t_core.keras_side.compiling import run
from tests.helpers.comparing import close, first, last, load, numbers, randomised, variables

# kernel, stride, dilation, padding of Keras, padding of torch; SAME as far as torch pads it alike on both sides.
CASES = [
    (3, 1, 1, "valid", 0),
    (3, 2, 1, "valid", 0),
    (3, 1, 2, "valid", 0),
    (1, 1, 1, "valid", 0),
    (3, 1, 1, "same", 1),
    (5, 1, 1, "same", 2),
    (3, 1, 2, "same", 2),
]


def separable(keras_class, torch_class, rank, case, multiplier, bias):
    kernel, stride, dilation, padding, pads = case
    x = numbers(2, *(9, 8)[:rank], 3)
    layer = keras_class(4, kernel, stride, padding, dilation_rate=dilation, depth_multiplier=multiplier, use_bias=bias)
    layer.build(x.shape)
    found = variables(randomised(layer))
    depthwise = np.moveaxis(found["depthwise_kernel"], (rank, rank + 1), (0, 1))
    weights = {
        "depthwise__weight": depthwise.reshape(3 * multiplier, 1, *depthwise.shape[2:]),
        "pointwise__weight": np.moveaxis(found["pointwise_kernel"], (rank + 1, rank), (0, 1)),
    }
    if bias:
        weights["pointwise__bias"] = found["bias"]
    module = torch_class(3, 4, kernel, stride, pads, dilation, multiplier, bias)
    close(last(load(module, **weights)(first(x))), run(layer, (x,), {}))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("multiplier, bias", [(1, True), (2, False)])
def test_separable_conv_1d(case, multiplier, bias):
    separable(layers.SeparableConv1D, SeparableConv1d, 1, case, multiplier, bias)


@pytest.mark.parametrize("case", [*CASES, ((2, 3), 1, 1, "valid", 0), ((3, 5), 1, 1, "same", (1, 2))])
@pytest.mark.parametrize("multiplier, bias", [(1, True), (2, False)])
def test_separable_conv_2d(case, multiplier, bias):
    separable(layers.SeparableConv2D, SeparableConv2d, 2, case, multiplier, bias)


@pytest.mark.parametrize(
    "keras_class, torch_class, rank",
    [(layers.SeparableConv1D, SeparableConv1d, 1), (layers.SeparableConv2D, SeparableConv2d, 2)],
)
def test_separable_by_default(keras_class, torch_class, rank):
    """As Keras: stride 1, no padding, no dilation, one filter for each channel, a bias."""
    x = numbers(2, *(9, 8)[:rank], 3)
    layer = keras_class(4, 3)
    layer.build(x.shape)
    found = variables(randomised(layer))
    depthwise = np.moveaxis(found["depthwise_kernel"], (rank, rank + 1), (0, 1))
    module = load(
        torch_class(3, 4, 3),
        depthwise__weight=depthwise,
        pointwise__weight=np.moveaxis(found["pointwise_kernel"], (rank + 1, rank), (0, 1)),
        pointwise__bias=found["bias"],
    )
    close(last(module(first(x))), run(layer, (x,), {}))


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [((16, 12), 2, "SAME"), ((15, 11), 2, "SAME"), ((18, 14), 2, "VALID"), ((8, 6), 1, "SAME"), ((24, 18), 3, "SAME")],
)
def test_a_transposed_convolution_to_a_size(size, stride, padding):
    x, kernel = numbers(2, 8, 6, 3), numbers(3, 3, 4, 3, seed=1)
    wanted = tf.nn.conv2d_transpose(x, kernel, (2, *size, 4), stride, padding)
    whole = [(n - 1) * stride + 3 - m for n, m in zip((8, 6), size)]
    before = tuple(max(more, 0) // 2 if padding == "SAME" else 0 for more in whole)
    close(conv2d_transpose(torch.from_numpy(x), torch.from_numpy(kernel), size, (stride, stride), before), wanted)
