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
    return {w.variable: w.reason for w in find_weaknesses(Manifest.read(folder).variables.values(), traced.value)}


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
