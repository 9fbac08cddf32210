"""Preprocessing layers against Keras on TensorFlow."""

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from tests.harness import check, check_layer, functional


def before_convolution(layer, shape=(6, 5, 3)):
    """The layer between two convolutions, where its constants must follow the channels-first layout."""
    x = keras.Input(shape)
    conversion, _ = check(keras.Model(x, layers.Conv2D(2, 1)(layer(layers.Conv2D(shape[-1], 1)(x)))))
    assert "permute" not in conversion.plan.code.text


def refused(layer, *shapes, match, dtype="float32", **call):
    with pytest.raises(k2t.UnsupportedError, match=match):
        k2t.plan(functional(layer, *shapes, dtype=dtype, **call)).raise_for_problems()


# --- Rescaling --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scale, offset",
    [(1 / 255, 0.0), (1 / 127.5, -1), (2.0, 0.5), (1, 3), (-0.5, 0.0), (0.3, [0.1, -0.2, 0.3]), ([0.5, 2, 3], 0.0), ([0.5, 2, 3], [1, 2, 3]), (np.array([0.5, 2, 3]), -1), (np.float32(0.7), np.float64(0.1)), ([[1], [2], [3], [4], [5]], 0.5)],
)
def test_rescaling(scale, offset):
    check_layer(layers.Rescaling(scale, offset), (6, 5, 3))
    before_convolution(layers.Rescaling(scale, offset))
    check_layer(layers.Rescaling(scale, offset), (6, 5, 3), dtype="uint8")


def test_rescaling_is_written_as_people_write_it():
    for layer, text in ((layers.Rescaling(1 / 255), "x / 255\n"), (layers.Rescaling(1 / 127.5, -1), "x / 127.5 - 1\n"), (layers.Rescaling(0.017, 2.5), "x * 0.017 + 2.5\n")):
        assert f"x = {text}" in k2t.plan(functional(layer, (4,))).code.text


def test_rescaling_of_a_flattened_image():
    x = keras.Input((6, 5, 2))
    y = layers.Flatten()(layers.Conv2D(2, 3)(x))
    y = layers.Rescaling(list(np.linspace(0.5, 2, 24)), list(np.linspace(-1, 1, 24)))(y)
    check(keras.Model(x, layers.Dense(3)(y)))


@pytest.mark.parametrize("policy, tolerance", [("mixed_float16", 1e-3), ("mixed_bfloat16", 1e-2), ("float64", 1e-7)])
@pytest.mark.parametrize("scale", [1 / 255, [0.3, 0.1, 2.0]])
def test_rescaling_dtype(policy, tolerance, scale):
    check_layer(layers.Rescaling(scale, 0.1, dtype=policy), (4, 3), tolerance=tolerance)


# --- Normalization ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-1, 1, 3, None, (1, 2, 3), [-1, 1], (2, -1), -2])
@pytest.mark.parametrize("invert", [False, True])
def test_adapted_normalization(axis, invert):
    data = np.random.default_rng(0).normal(3, 2, (20, 6, 5, 3)).astype("float32")

    def adapted():
        layer = layers.Normalization(axis=axis, invert=invert)
        layer.adapt(data)
        return layer

    check(functional(adapted(), (6, 5, 3)), randomised=False)
    check_layer(adapted(), (6, 5, 3))
    before_convolution(adapted())


@pytest.mark.parametrize(
    "axis, mean, variance",
    [(-1, 0.5, 4.0), (-1, [0.1, 0.2, 0.3], [1.0, 2.0, 3.0]), (1, list(range(6)), list(range(1, 7))), (None, 0.3, 2.0), ((1, 3), np.ones((6, 3)) * [1, 2, 3], np.arange(1.0, 19).reshape(6, 3)), ((1, 3), [1.0, 2, 3], [3.0, 2, 1]), ((1, 3), np.arange(6.0)[:, None], np.arange(1.0, 7)[:, None])],
)
@pytest.mark.parametrize("invert", [False, True])
def test_given_normalization(axis, mean, variance, invert):
    check_layer(layers.Normalization(axis=axis, mean=mean, variance=variance, invert=invert), (6, 5, 3))
    before_convolution(layers.Normalization(axis=axis, mean=mean, variance=variance, invert=invert))
    check_layer(layers.Normalization(axis=axis, mean=mean, variance=variance, invert=invert), (6, 5, 3), dtype="int32")


def test_normalization_of_a_constant_feature():
    """The divisor is at least 1e-7."""
    check_layer(layers.Normalization(mean=[1.0, 2.0], variance=[0.0, 1e-20]), (2,))


def test_normalization_of_a_flattened_image():
    x = keras.Input((6, 5, 2))
    check(keras.Model(x, layers.Dense(3)(layers.Normalization()(layers.Flatten()(layers.Conv2D(2, 3)(x))))))


@pytest.mark.parametrize("policy, tolerance", [("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2), ("float64", 1e-7)])
def test_normalization_dtype(policy, tolerance):
    check_layer(layers.Normalization(dtype=policy), (4, 3), tolerance=tolerance)
    check_layer(layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.5, 2.5, 3.5], dtype=policy), (4, 3), tolerance=tolerance)


@pytest.mark.parametrize("shape", [(4,), (5, 4), (None, 4), (2, 3, 4, 5)])
def test_normalization_rank(shape):
    check_layer(layers.Normalization(), shape)
