"""Weights that cannot tell a right mapping from a wrong one: constant, symmetric, or with gates that are alike."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.emit.manifest import Manifest
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification.weakness import find_weaknesses


def weak(layer, shape, folder, change=lambda layer: None) -> dict[str, str]:
    """Variable → why it is weak, of a model of one layer with random weights that ``change`` then changes."""
    x = keras.Input(shape)
    model = keras.Model(x, layer(x))
    randomise(model)
    change(layer)
    k2t.convert(model, folder)
    traced = k2t.trace(k2t.load(model))
    return {w.variable: w.reason for w in find_weaknesses(Manifest.read(folder).variables.values(), traced)}


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: layers.Dense(4), (4,)),
        (lambda: layers.Conv2D(3, 3), (6, 6, 3)),
        (lambda: layers.GRU(4), (5, 4)),
        (lambda: layers.LSTM(4), (5, 4)),
        (lambda: layers.BatchNormalization(), (6, 4)),
    ],
)
def test_random_weights_are_strong(make, shape, tmp_path):
    assert weak(make(), shape, tmp_path) == {}


def test_a_constant_is_weak_and_what_it_was_before_training_is_said(tmp_path):
    def fresh(layer):
        layer.moving_mean.assign(np.zeros(4))
        layer.moving_variance.assign(np.ones(4))
        layer.gamma.assign(np.full(4, 2.5))

    assert weak(layers.BatchNormalization(name="norm"), (6, 4), tmp_path, fresh) == {
        "norm/moving_mean": "every value is 0, as before any training",
        "norm/moving_variance": "every value is 1, as before any training",
        "norm/gamma": "every value is 2.5",
    }


def test_a_kernel_that_is_symmetric_hides_a_transpose(tmp_path):
    def even(layer):
        layer.kernel.assign((layer.kernel + np.transpose(layer.kernel)) / 2)

    assert weak(layers.Dense(4, name="even"), (4,), tmp_path, even) == {
        "even/kernel": "symmetric: swapping its axes 0 and 1 changes nothing"
    }


@pytest.mark.parametrize(("make", "gates"), [(layers.GRU, 3), (layers.LSTM, 4)])
def test_gates_that_are_alike_hide_their_order(make, gates, tmp_path):
    name = make.__name__.lower()

    def alike(layer):
        kernel = np.array(layer.cell.kernel)
        kernel[:, :4] = kernel[:, 4:8]
        layer.cell.kernel.assign(kernel)

    found = weak(make(4, name=name), (5, 3), tmp_path, alike)
    assert list(found.values()) == ["two of its gates are the same: swapping them changes nothing"]
    assert list(found)[0].endswith("kernel")


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.LSTM(4, name="encoder"),
        lambda: layers.RNN(layers.LSTMCell(4, name="cell"), name="encoder"),
        lambda: layers.Bidirectional(layers.RNN(layers.LSTMCell(4, name="cell"), name="encoder"), name="both"),
    ],
)
def test_an_lstm_is_known_by_its_rule_whatever_it_is_called(make, tmp_path):
    def alike(layer):
        variable = next(v for v in layer.variables if v.path.endswith("/kernel"))
        kernel = np.array(variable)
        kernel[:, :4] = kernel[:, 4:8]
        variable.assign(kernel)

    found = weak(make(), (5, 3), tmp_path, alike)
    assert list(found.values()) == ["two of its gates are the same: swapping them changes nothing"]


# What a verification says of them


def weaknesses(model, folder) -> dict[str, str]:
    """Variable → why the verdict on the model as it is calls it weak."""
    k2t.convert(model, folder)
    report = k2t.verify(folder, model, weights="model", edge_cases=False)
    assert report.passed and report.proves == (not report.weaknesses)
    return {w.variable.rsplit("/", 1)[-1]: w.reason for w in report.weaknesses}


def test_statistics_as_before_training(tmp_path):
    x = keras.Input((4, 4, 3))
    found = weaknesses(keras.Model(x, layers.BatchNormalization()(x)), tmp_path)
    assert (
        found["moving_mean"] == "every value is 0, as before any training"
        and found["moving_variance"] == "every value is 1, as before any training"
    )
    assert found["gamma"] == "every value is 1" and found["beta"] == "every value is 0"


def test_symmetric_in_any_two_axes(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv")])
    randomise(model)
    kernel = np.array(model.get_layer("conv").kernel)
    model.get_layer("conv").kernel.assign((kernel + kernel.transpose(1, 0, 2, 3)) / 2)
    assert weaknesses(model, tmp_path) == {"kernel": "symmetric: swapping its axes 0 and 1 changes nothing"}


@pytest.mark.parametrize(
    "make", [lambda: layers.LSTM(5), lambda: layers.GRU(5), lambda: layers.Bidirectional(layers.LSTM(5))]
)
def test_gates_that_are_alike(make, tmp_path):
    layer = make()
    model = keras.Sequential([keras.Input((6, 3)), layer])
    randomise(model)
    assert weaknesses(model, tmp_path / "strong") == {}
    kernel = next(v for v in model.variables if v.path.endswith("/kernel"))
    value = np.array(kernel)
    value[:, 5:10] = value[:, :5]
    kernel.assign(value)
    assert weaknesses(model, tmp_path / "weak") == {
        "kernel": "two of its gates are the same: swapping them changes nothing"
    }


def test_a_single_zero_bias(tmp_path):
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(1)(x))
    assert weaknesses(model, tmp_path) == {"bias": "every value is 0"}


def test_the_verdict_says_what_carries_it(tmp_path):
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(3)(x))
    k2t.convert(model, tmp_path)
    assert "the randomised weights carry the verdict" in k2t.verify(tmp_path, model).verdict
    randomise(model)
    k2t.convert(model, tmp_path)
    assert "carry" not in k2t.verify(tmp_path, model).verdict
