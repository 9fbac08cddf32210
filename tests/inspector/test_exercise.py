"""Break it: the fault is one that shapes hide, in the layer that the verification names first."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.errors import K2TError
from k2t_core.inspector.exercise import REASONS, exercise
from k2t_core.verification.alone import probe


@pytest.mark.parametrize(("name", "seed"), [("convnet", 0), ("convnet", 1), ("shared", 2)])
def test_the_broken_layer_diverges_first(example, name, seed):
    plan = k2t.plan(example(name))
    found = exercise(plan, seed)
    assert not found.report.passed and found.report.first_divergence == found.layer
    assert found.layer in found.choices and len(found.choices) > 1
    assert found.fault in found.reasons and len(set(found.reasons)) == REASONS
    again = exercise(plan, seed)
    assert (again.recipe, again.reasons) == (found.recipe, found.reasons)


def test_a_model_without_anything_to_break_says_so():
    x = keras.Input((3,))
    with pytest.raises(K2TError, match="no layer of this model can be read wrongly"):
        exercise(k2t.plan(keras.Model(x, layers.ReLU()(x))), 0)


@pytest.mark.parametrize("value", ["random", "ones"])
def test_a_model_that_no_reading_breaks_is_broken_in_its_weights(value):
    x = keras.Input((5,))
    model = keras.Model(x, layers.Dense(3, name="last")(layers.Dense(4, name="first", activation="tanh")(x)))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape) if value == "random" else np.ones(variable.shape))
    found = exercise(k2t.plan(model), 0)
    assert not found.report.passed and found.report.first_divergence == found.layer in found.choices
    assert (
        found.fault.endswith("reshaped, not transposed" if value == "random" else "the bias is left out")
        and len(set(found.reasons)) == REASONS
    )


@keras.saving.register_keras_serializable(package="exercise")
class Scaled(layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(name="gain", shape=(shape[-1],), initializer="random_normal")

    def call(self, x):
        return x * self.gain


def test_a_weight_of_an_opened_layer_is_no_riddle_and_says_so_alone():
    x = keras.Input((5,))
    plan = k2t.plan(keras.Model(x, Scaled(name="scaled")(layers.Dense(4, name="dense")(x))))
    with pytest.raises(K2TError, match="'scaled/gain': a weight by itself"):
        probe(plan.traced, "scaled/gain", [np.zeros((1, 5), "float32")])
    assert {exercise(plan, seed).layer for seed in range(4)} == {"dense"}
