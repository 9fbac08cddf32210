"""Helpers for core layers against keras.layers."""

import pytest
import torch
from keras import layers

from k2t_core.helpers.core import EinsumDense
from tests.helpers.comparing import close, load, numbers, randomised, variables


@pytest.mark.parametrize(
    "equation, output_shape, bias_axes",
    [
        ("ab,bc->ac", 6, None),
        ("abc,cd->abd", (None, 6), "d"),
        ("abc,cde->abde", (None, 4, 6), "de"),
        ("abc,cde->abde", (None, 4, 6), "e"),
        ("abc,cd->adb", (6, None), "d"),
        ("abc,bcd->ad", 6, "d"),
        ("...x,xy->...y", 6, "y"),
    ],
)
def test_einsum_dense(equation, output_shape, bias_axes):
    x = numbers(*(2, 3, 5)[: 2 if equation.startswith("ab,") else 3])
    layer = layers.EinsumDense(equation, output_shape=output_shape, bias_axes=bias_axes)
    layer.build(x.shape)
    found = variables(randomised(layer))
    kernel, bias = found["kernel"], found.get("bias")
    module = EinsumDense(equation, kernel.shape, None if bias is None else bias.shape)
    load(module, weight=kernel, **({} if bias is None else {"bias": bias}))
    close(module(torch.from_numpy(x)), layer(x))
