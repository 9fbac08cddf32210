"""A copy with random weights goes by the names of the original, and leaves it alone."""

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.emit.manifest import Manifest
from k2t_core.keras_side import running
from k2t_core.keras_side.copying import randomised_copy
from k2t_core.keras_side.reading import read


def model():
    x = keras.Input((4,), name="in")
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3)], name="inner")
    return keras.Model(x, layers.BatchNormalization()(inner(layers.Dense(3)(x))))


def test_names_are_the_originals_and_values_random():
    traced = read(model())
    before = [np.asarray(v) for v in traced.variables.values()]
    copy = randomised_copy(traced, 3)
    assert copy.graph is traced.graph and set(copy.variables) == set(traced.variables)
    assert all(np.array_equal(a, np.asarray(v)) for a, v in zip(before, traced.variables.values()))
    assert all(copy.value(path).any() and copy.variables[path] is not v for path, v in traced.variables.items())
    again = randomised_copy(traced, 3)
    assert all(np.array_equal(copy.value(path), again.value(path)) for path in copy.variables)


def test_its_tensors_are_recorded_under_the_originals_names():
    traced = read(model())
    arrays = [np.ones((2, 4), "float32")]
    assert set(running.tensors(randomised_copy(traced, 0), arrays)) == set(running.tensors(traced, arrays))


def test_what_keras_cannot_copy_says_so():
    class Odd(layers.Layer):
        def __init__(self, size, **options):
            super().__init__(**options)

        def call(self, x):
            return x + 1.0

        def get_config(self):
            return super().get_config()  # without the size

    x = keras.Input((4,))
    traced = read(keras.Model(x, Odd(3)(x)))
    with pytest.raises(k2t.K2TError, match="Keras cannot copy the model to randomise its weights.*weights='model'"):
        randomised_copy(traced, 0)


def test_the_written_module_gets_the_same_values(tmp_path):
    found = model()
    folder = k2t.convert(found, tmp_path / "out").folder
    assert Manifest.read(folder).variables
    report = k2t.verify(folder, found, weights="randomised", edge_cases=False)
    assert report.passed and {run.weights for run in report.runs} == {"randomised"}
