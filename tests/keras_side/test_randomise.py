"""Random values that hide no wrong transpose, the same for the same name."""

import keras
import numpy as np
import pytest
from keras import layers

from k2t_core.keras_side.randomise import random_value, randomise, settle
from k2t_core.rules.registry import is_weight


def test_the_same_name_and_seed_give_the_same_value():
    one = random_value("dense/kernel", (4, 3), "float32", 1)
    assert np.array_equal(one, random_value("dense/kernel", (4, 3), "float32", 1))
    assert not np.array_equal(one, random_value("dense/kernel", (4, 3), "float32", 2))
    assert not np.array_equal(one, random_value("other/kernel", (4, 3), "float32", 1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int32"])
def test_dtypes(dtype):
    assert str(random_value("x", (3,), dtype).dtype) == dtype


def test_values_are_of_the_scale_that_a_name_asks_for():
    variance = random_value("bn/moving_variance", (1000,), "float32")
    assert variance.min() >= 0.5 and variance.max() <= 2 and not np.allclose(variance, 1)
    gamma = random_value("bn/gamma", (1000,), "float32")
    assert gamma.min() >= 0.5 and gamma.max() <= 1.5
    bias = random_value("dense/bias", (1000,), "float32")
    assert 0.1 < bias.std() < 0.3
    assert abs(random_value("dense/kernel", (400, 1000), "float32").std() * 20 - 1) < 0.05  # 1/√fan_in
    assert abs(random_value("conv/depthwise_kernel", (5, 5, 1000, 4), "float32").std() * 5 - 1) < 0.05


def test_what_is_no_weight_is_left_alone():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dropout(0.5)])
    state = next(v for v in model.variables if "seed_generator" in v.path)
    before = np.asarray(state)
    randomise(model)
    assert np.array_equal(before, np.asarray(state)) and np.asarray(model.layers[0].bias).all()


def test_a_normalization_takes_its_new_statistics():
    layer = layers.Normalization(name="norm")
    layer.adapt(np.ones((4, 2), "float32"))
    model = keras.Sequential([keras.Input((2,)), layer])
    for variable in layer.variables:
        if is_weight(variable.path):
            variable.assign([4.0, 4.0])
    settle(model)
    assert np.allclose(model(np.array([[6.0, 4.0]], "float32")), [[1, 0]])
