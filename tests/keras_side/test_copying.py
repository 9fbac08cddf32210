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


class Odd(layers.Layer):
    """Its config tells less than it is."""

    def __init__(self, size, **options):
        super().__init__(**options)
        self.dense = layers.Dense(size)

    def call(self, x):
        return self.dense(x) * 2.0

    def get_config(self):
        return super().get_config()


def test_of_what_keras_cannot_copy_the_numbers_are_others_while_it_runs(tmp_path):
    x = keras.Input((4,))
    model = keras.Model(x, Odd(3)(x))
    traced = read(model)
    before, array = model.get_weights(), np.ones((2, 4), "float32")
    plain = running.predict(traced, [array])[0]
    copy = randomised_copy(traced, 0)
    assert copy.graph is traced.graph and copy.values and not traced.values
    kernel, bias = (copy.value(path) for path in copy.variables)
    np.testing.assert_allclose(running.predict(copy, [array])[0], (array @ kernel + bias) * 2, rtol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    np.testing.assert_array_equal(running.predict(traced, [array])[0], plain)
    with pytest.raises(k2t.InputError):
        running.predict(copy, [np.ones((2, 5), "float32")])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    k2t.convert(model, tmp_path / "out")
    report = k2t.verify(tmp_path / "out", model, training=True)
    assert report.passed and report.proves and {run.weights for run in report.runs} == {"model", "randomised"}


def test_what_keras_cannot_copy_and_computes_with_numbers_of_its_own_says_so():
    x = keras.Input((4,))
    normal = layers.Normalization()
    normal.adapt(np.random.default_rng(0).normal(size=(9, 4)))
    traced = read(keras.Model(x, Odd(3)(normal(x))))
    with pytest.raises(k2t.K2TError, match="Keras cannot copy the model to randomise its weights.*weights='model'"):
        randomised_copy(traced, 0)


def test_the_written_module_gets_the_same_values(tmp_path):
    found = model()
    folder = k2t.convert(found, tmp_path / "out").folder
    assert Manifest.read(folder).variables
    report = k2t.verify(folder, found, weights="randomised", edge_cases=False)
    assert report.passed and {run.weights for run in report.runs} == {"randomised"}
