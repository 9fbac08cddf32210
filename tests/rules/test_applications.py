"""The layers that keras.applications defines for itself."""

from __future__ import annotations

import keras
import pytest
from keras import layers
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from tests.harness import check, check_layer


@pytest.mark.parametrize("shape", [(5,), (3, 5), (4, 6, 5), (4, 6, 1)])
def test_layer_scale(shape):
    check_layer(LayerScale(1e-6, shape[-1]), shape)


def test_layer_scale_of_a_channels_first_image():
    image = keras.Input((6, 7, 3))
    conversion, _ = check(keras.Model(image, layers.Conv2D(2, 3)(LayerScale(1.0, 4)(layers.Conv2D(4, 2)(image)))))
    assert "LayerScale((4, 1, 1))" in conversion.code.text and "permute" not in conversion.code.text


@pytest.mark.parametrize("shape", [(5,), (4, 6, 3)])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_stochastic_depth_passes_through_in_inference(shape, rate):
    check_layer(StochasticDepth(rate), shape)


def test_stochastic_depth_drops_whole_samples_in_training():
    import torch

    _, module = check_layer(StochasticDepth(0.5), (4, 6, 3))
    module.train()
    torch.manual_seed(0)
    y = module(torch.ones(64, 4, 6, 3))
    assert set(y.flatten(1).amin(1).tolist()) == {0.0, 2.0} and torch.equal(y.flatten(1).amin(1), y.flatten(1).amax(1))


@pytest.mark.parametrize("scale", [0.17, 1.0, 20])
def test_custom_scale(scale):
    check_layer(CustomScaleLayer(scale), (4, 5, 3), (4, 5, 3))


def test_custom_scale_of_a_channels_first_image():
    image = keras.Input((6, 7, 3))
    y = CustomScaleLayer(0.2)([image, layers.Conv2D(3, 1, activation="relu")(image)])
    conversion, _ = check(keras.Model(image, layers.Conv2D(2, 3)(y)))
    assert "permute" not in conversion.code.text
