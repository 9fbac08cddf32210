"""The converted model can be trained on: gradients agree with Keras, and a broken one is found."""

from __future__ import annotations

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise


def network(**norm):
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(x)
    y = layers.BatchNormalization(name="norm", **norm)(y)
    y = layers.Dropout(0.5)(layers.Flatten()(y))
    model = keras.Model(x, layers.Dense(3, name="head")(y))
    randomise(model)
    return model


def test_gradients_and_statistics_agree(tmp_path):
    model = network()
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, training=True, edge_cases=False)
    assert report.passed, report.verdict
    found = {(r.what, r.name) for r in report.training}
    assert ("gradient by input", "input_layer") in {(w, n.rstrip("_0123456789")) for w, n in found}
    assert {("gradient by weight", f"{n}.weight") for n in ("conv", "norm", "head")} <= found
    assert ("moving mean after a training step", "norm") in found
    assert all(r.difference.keras_max > 0 for r in report.training)


@pytest.mark.parametrize("name", ["lstm", "text_classifier", "transformer", "two_in_two_out", "shared"])
def test_examples(name, converted, example):
    report = k2t.verify(converted(name), example(name), training=True, edge_cases=False, weights="model")
    assert report.passed and report.training, report.verdict


def test_a_broken_gradient_is_found(tmp_path):
    model = network()
    k2t.convert(model, tmp_path)
    text = (tmp_path / "model.py").read_text()
    assert "self.norm(x)" in text
    (tmp_path / "model.py").write_text(text.replace("self.norm(x)", "self.norm(x).detach()", 1))
    report = k2t.verify(tmp_path, model, training=True, edge_cases=False)
    assert not report.passed and "gradient" in report.verdict


def test_the_weights_of_a_sequential_are_compared_in_its_randomised_copy(converted, example):
    """The copy of a Sequential names its variables otherwise."""
    report = k2t.verify(converted("square"), example("square"), training=True, edge_cases=False)
    assert {r.name for r in report.training} == {
        "features",
        "square1.weight",
        "square1.bias",
        "square2.weight",
        "square2.bias",
    }
    assert report.passed
