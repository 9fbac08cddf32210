"""What says something of a layer's weights and what does not, on layers that Keras computed."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.verification.seen import unseen

X = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")


def of(layer, x=X, **weights) -> str:
    layer.build(x.shape)
    for name, value in weights.items():
        variable = getattr(layer, name)
        variable.assign(np.broadcast_to(value, variable.shape))
    return unseen([x], np.asarray(layer(x)))


@pytest.mark.parametrize(
    ("layer", "weights", "words"),
    [
        (layers.Dense(5, activation="relu"), {"bias": -1000.0}, "its output is 0 throughout"),
        (layers.Dense(5, activation="sigmoid"), {"bias": 1000.0}, "its output is 1 throughout"),
        (layers.Dense(5, activation="tanh"), {"bias": -1000.0}, "its output is -1 throughout"),
        (layers.Dense(5), {"kernel": 0.0}, "its output is 0 throughout"),
        (layers.Dense(5), {"kernel": 0.0, "bias": [1.0, 2, 3, 4, 5]}, "its output is the same for every sample"),
        (layers.LayerNormalization(), {"gamma": 0.0, "beta": [1.0, 2, 3]}, "its output is the same for every sample"),
        (layers.Conv1D(2, 3), {"kernel": 0.0, "bias": [1.0, 2]}, "its output is the same for every sample"),
    ],
)
def test_what_hides_the_weights(layer, weights, words):
    assert of(layer, **weights) == words


def test_inputs_of_zeros_hide_the_kernel():
    assert of(layers.Dense(5), np.zeros_like(X), bias=np.arange(5.0)) == "what reaches it is 0 throughout"


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dense(5),
        layers.Dense(1),
        layers.Dense(5, activation="relu"),
        layers.Dense(5, activation="softmax"),
        layers.LSTM(4),
        layers.GRU(2, return_sequences=True),
        layers.Conv1D(4, 3),
        layers.LayerNormalization(),
        layers.BatchNormalization(),
    ],
)
def test_ordinary_numbers_are_seen(layer):
    assert of(layer) == ""


def test_a_batch_of_one_or_of_equal_samples_is_no_reason():
    assert of(layers.Dense(5), X[:1]) == ""
    assert of(layers.Dense(5), np.repeat(X[:1], 3, axis=0)) == ""


def test_whole_numbers_and_what_is_no_number_are_left_to_the_comparison():
    ids = np.array([[1, 2, 0]])
    assert unseen([ids], np.asarray(layers.Embedding(4, 3)(ids))) == ""
    assert unseen([X], np.array([[1, np.nan]] * 4, "float32")) == ""
    assert unseen([X], np.full((4, 2), np.nan, "float32")) == "its output is NaN or infinite throughout"
    assert unseen([X], np.zeros((4, 0), "float32")) == ""
    assert unseen([], np.zeros((2, 2), "int32")) == ""


@pytest.fixture
def dead(tmp_path):
    """A model whose first layer never fires with its own weights, converted."""
    x = keras.Input((6,), name="x")
    model = keras.Model(x, layers.Dense(2, name="last")(layers.Dense(4, activation="relu", name="dead")(x)))
    model.get_layer("dead").bias.assign([-1000.0, -1010, -1020, -1030])
    model.get_layer("last").bias.assign([1.0, 2.0])
    k2t.convert(model, tmp_path)
    return tmp_path, model


def test_a_verdict_names_the_layers_that_it_knows_nothing_of(dead):
    report = k2t.verify(*dead, weights="model", edge_cases=False)
    assert report.passed and report.unseen == {
        "dead": "its output is 0 throughout",
        "last": "what reaches it is 0 throughout",
    }
    assert "none of it for 'dead', 'last': its output is 0 throughout" in report.verdict
    assert report.to_json()["unseen"] == report.unseen


def test_random_weights_are_evidence(dead):
    report = k2t.verify(*dead, edge_cases=False)
    assert report.passed and report.unseen == {} and "none of it" not in report.verdict and len(report.runs) == 2


def test_what_is_still_without_evidence_is_compared_on_other_numbers(dead):
    """With inputs of zeros no weights help."""
    zeros = np.zeros((2, 6), "float32")
    report = k2t.verify(*dead, inputs=[zeros], edge_cases=False)
    assert report.passed and report.unseen == {}
    assert [run.inputs for run in report.runs] == ["arrays", "arrays", "normal, batch of 4, seed 1"]
    alone = k2t.verify(*dead, inputs=[zeros], weights="model", edge_cases=False)
    assert len(alone.runs) == 1 and "dead" in alone.unseen


def test_a_layer_that_no_numbers_wake_stays_named(tmp_path):
    x = keras.Input((6,), name="x")
    model = keras.Model(x, layers.Dense(2, name="last")(layers.Rescaling(0.0, name="off")(x)))
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, edge_cases=False)
    assert report.unseen["last"] == "what reaches it is 0 throughout" and len(report.runs) == 2 + 3
