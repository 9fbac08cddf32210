"""Helpers for networks of keras.applications against the layers that they stand for."""

import numpy as np
import pytest
import torch
from keras.src.applications.convnext import LayerScale as KerasLayerScale

from k2t_core.helpers.applications import LayerScale
from tests.helpers.comparing import close, first, last, load, numbers, randomised


@pytest.mark.parametrize("channels_first", [True, False])
def test_layer_scale(channels_first):
    x = numbers(2, 4, 5, 3)
    layer = KerasLayerScale(1e-6, 3)
    layer.build(x.shape)
    gamma = np.array(randomised(layer).gamma)
    module = (
        load(LayerScale((3, 1, 1)), gamma=gamma.reshape(3, 1, 1))
        if channels_first
        else load(LayerScale((3,)), gamma=gamma)
    )
    close(last(module(first(x))) if channels_first else module(torch.from_numpy(x)), layer(x))
