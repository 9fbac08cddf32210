"""Helpers for pooling against TensorFlow and keras.layers."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import layers
from torch import nn

from k2t_core.helpers.pooling import masked_mean, same_average
from tests.helpers.comparing import close, coins, first, last, numbers

POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "kernel, stride", [((2, 3, 4), (1, 2, 3)), ((3, 2, 2), (3, 1, 2)), ((9, 5, 6), (2, 2, 1)), ((1, 1, 1), (1, 1, 1))]
)
def test_same_average(rank, kernel, stride):
    """Divided by the pixels inside the image, also where the window is larger than the image."""
    x = numbers(2, *(7, 4, 5)[:rank], 3)
    kernel, stride = kernel[:rank], stride[:rank]
    expected = tf.nn.pool(x, kernel, "AVG", strides=stride, padding="SAME")
    close(last(same_average(POOLS[rank](kernel, stride), first(x), kernel, stride)), expected)


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [1, 2])
def test_masked_mean(dim, keepdim):
    """dim 1: (batch, steps, features); 2: (batch, features, steps). A sample without any step gives NaN in both."""
    x, mask = numbers(4, 5, 5), coins(4, 5)
    mask[1], mask[2] = False, True
    layer = layers.GlobalAveragePooling1D("channels_last" if dim == 1 else "channels_first", keepdims=keepdim)
    expected = np.asarray(layer(x, mask=mask))
    assert np.isnan(expected[1]).all()
    close(masked_mean(torch.from_numpy(x), torch.from_numpy(mask), dim, keepdim), expected)
