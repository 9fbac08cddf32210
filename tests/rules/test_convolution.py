"""Convolution rules against Keras on TensorFlow."""

import pytest
from keras import layers

from tests.harness import check_layer


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [8, 9])
def test_conv2d_padding(padding, stride, size):
    check_layer(layers.Conv2D(4, 3, strides=stride, padding=padding, activation="relu"), (size, size + 1, 3))
