"""Layers that act in training only, against Keras on TensorFlow."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

from tests.harness import check, check_layer, functional

CASES = [
    (layers.Dropout(0.3), (5, 4), "nn.Dropout(0.3)"),
    (layers.Dropout(0.0), (4,), "return x"),
    (layers.Dropout(0.3, noise_shape=(None, 1, None)), (5, 4), "SharedDropout(0.3, (None, 1, None))"),
    (layers.Dropout(0.3, noise_shape=(None, None, None)), (5, 4), "nn.Dropout(0.3)"),
    (layers.SpatialDropout1D(0.3), (5, 4), "SharedDropout(0.3, (None, 1, None))"),
    (layers.SpatialDropout2D(0.3), (6, 5, 3), "Dropout"),
    (layers.SpatialDropout2D(0.3, data_format="channels_first"), (6, 5, 3), "nn.Dropout2d(0.3)"),
    (layers.SpatialDropout3D(0.3), (2, 3, 4, 5), "Dropout"),
    (layers.SpatialDropout3D(0.3, data_format="channels_first"), (2, 3, 4, 5), "nn.Dropout3d(0.3)"),
    (layers.AlphaDropout(0.3), (5, 4), "nn.AlphaDropout(0.3)"),
    (layers.AlphaDropout(0.3, noise_shape=(None, 1, None)), (5, 4), "SharedAlphaDropout(0.3, (None, 1, None))"),
    (layers.GaussianDropout(0.3), (5, 4), "GaussianDropout(0.3)"),
    (layers.GaussianNoise(0.3), (5, 4), "GaussianNoise(0.3)"),
    (layers.ActivityRegularization(0.1, 0.2), (5, 4), ""),
]


@pytest.mark.parametrize("layer, shape, text", CASES)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_inference_passes_the_input_through(layer, shape, text, policy):
    layer = type(layer).from_config({**layer.get_config(), "dtype": policy})
    conversion, _ = check_layer(layer, shape, tolerance=1e-7)
    assert text in conversion.code.text
    row = conversion.plan.table().iloc[-1]
    assert "inert" in row.astype(str).tolist()


@pytest.mark.parametrize(
    "layer, shape",
    [(layer, shape) for layer, shape, _ in CASES if not isinstance(layer, layers.ActivityRegularization)],
)
def test_training_has_the_statistics_of_keras(layer, shape):
    """Mean, standard deviation and the share of equal values agree with Keras's in training mode."""
    model = functional(type(layer).from_config(layer.get_config()), shape)
    conversion, module = check(model)
    module.train()
    x = np.random.default_rng(0).normal(1, 1, (3000, *shape)).astype("float32")
    want = np.asarray(model(x, training=True)) - x
    layout = conversion.plan.root.input_layouts[0]
    got = layout.to_keras(module(torch.from_numpy(layout.to_torch(x))).numpy()) - x
    assert abs(want.mean() - got.mean()) < 0.05
    assert abs(want.std() - got.std()) < 0.05
    assert abs((want == 0).mean() - (got == 0).mean()) < 0.05


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_spatial_dropout_drops_whole_channels_between_convolutions(rank):
    dropout = getattr(layers, f"SpatialDropout{rank}D")(0.5)
    convolution = getattr(layers, f"Conv{rank}D")
    x = keras.Input((5, 4, 3)[:rank] + (3,))
    conversion, _ = check(keras.Model(x, convolution(2, 1)(dropout(convolution(4, 2)(x)))))
    assert f"nn.Dropout{rank}d(0.5)" in conversion.code.text


@pytest.mark.parametrize(
    "layer, shape",
    [
        (layers.SpatialDropout1D(0.5), (50, 40)),
        (layers.SpatialDropout2D(0.5), (6, 5, 30)),
        (layers.Dropout(0.5, noise_shape=(None, 1, 1, None)), (6, 5, 30)),
    ],
)
def test_what_is_dropped_together(layer, shape):
    model = functional(layer, shape)
    conversion, module = check(model)
    module.train()
    layout = conversion.plan.root.input_layouts[0]
    dropped = layout.to_keras(module(torch.from_numpy(layout.to_torch(np.ones((4, *shape), "float32")))).numpy())
    flat = dropped.reshape(4, -1, shape[-1])
    assert (flat == flat[:, :1]).all() and set(np.unique(flat)) == {0.0, 2.0}


def test_noise_shape_follows_the_layout():
    x = keras.Input((6, 5, 3))
    y = layers.Dropout(0.3, noise_shape=(None, 1, 5, None))(layers.Conv2D(4, 1)(x))
    conversion, module = check(keras.Model(x, layers.Conv2D(2, 1)(y)))
    assert "SharedDropout(0.3, (None, None, 1, 5))" in conversion.code.text
    module.train()(torch.zeros(2, 3, 6, 5))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dropout(0.2),
        layers.AlphaDropout(0.2),
        layers.GaussianNoise(0.1),
        layers.GaussianDropout(0.1),
        layers.ActivityRegularization(0.1),
    ],
)
def test_the_flatten_order_is_absorbed_through_it(layer):
    x = keras.Input((6, 5, 3))
    conversion, _ = check(keras.Model(x, layers.Dense(3)(layer(layers.Flatten()(layers.Conv2D(4, 3)(x))))))
    assert "permute" not in conversion.code.text
