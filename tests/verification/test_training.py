"""The converted model can be trained on: gradients and moving averages agree with Keras, and a wrong one is found."""

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


def test_a_wrong_momentum_is_found_in_training_only(tmp_path):
    model = network(momentum=0.9)
    k2t.convert(
        model,
        tmp_path,
        k2t.Recipe().with_override(
            k2t.Override("norm", "arguments", {"momentum": 0.9}, "Keras's number, torch's meaning")
        ),
    )
    assert k2t.verify(tmp_path, model, edge_cases=False).passed
    report = k2t.verify(tmp_path, model, training=True, edge_cases=False)
    assert not report.passed and report.first_divergence == "norm" and "in training" in report.verdict


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


DROPPING = {
    "Dropout": (lambda: layers.Dropout(0.3, name="drop"), (6, 6, 4)),
    "Dropout of features": (lambda: layers.Dropout(0.3, name="drop"), (50,)),
    "Dropout, shared over steps": (lambda: layers.Dropout(0.3, noise_shape=(None, 1, 4), name="drop"), (9, 4)),
    "Dropout of whole samples": (lambda: layers.Dropout(0.3, noise_shape=(None, 1, 1, 1), name="drop"), (6, 6, 4)),
    "SpatialDropout1D": (lambda: layers.SpatialDropout1D(0.4, name="drop"), (9, 4)),
    "SpatialDropout2D": (lambda: layers.SpatialDropout2D(0.4, name="drop"), (6, 6, 4)),
    "GaussianNoise": (lambda: layers.GaussianNoise(0.2, name="drop"), (6, 6, 4)),
    "GaussianDropout": (lambda: layers.GaussianDropout(0.3, name="drop"), (30,)),
    "AlphaDropout": (lambda: layers.AlphaDropout(0.2, name="drop"), (30,)),
}


@pytest.mark.parametrize("case", DROPPING)
def test_dropout_and_noise_follow_the_same_law(case, tmp_path):
    make, shape = DROPPING[case]
    x = keras.Input(shape)
    y = layers.Dense(shape[-1], name="before")(x)
    model = keras.Model(x, layers.Dense(2)(make()(y)))
    randomise(model)
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, training=True, edge_cases=False)
    found = [r for r in report.training if r.layer == "drop"]
    assert found and report.passed, [(r.what, r.difference) for r in report.training if not r.passed]
    text = (tmp_path / "model.py").read_text()
    rate = "0.2" if "0.2" in text else "0.3" if "0.3" in text else "0.4"
    assert rate in text
    (tmp_path / "model.py").write_text(text.replace(rate, "0.6", 1))
    report = k2t.verify(tmp_path, model, training=True, edge_cases=False)
    assert not report.passed and report.first_divergence == "drop" and "in training" in report.verdict


def test_dropout_of_single_elements_is_not_dropout_of_whole_channels(tmp_path):
    x = keras.Input((6, 6, 4))
    model = keras.Model(x, layers.Dense(2)(layers.SpatialDropout2D(0.4, name="drop")(x)))
    k2t.convert(model, tmp_path)
    text = (tmp_path / "model.py").read_text()
    assert "(None, 1, 1, None)" in text
    (tmp_path / "model.py").write_text(text.replace("(None, 1, 1, None)", "(None, None, None, None)"))
    report = k2t.verify(tmp_path, model, training=True, edge_cases=False)
    assert not report.passed and any("inner axes" in r.what and not r.passed for r in report.training)


def test_a_frozen_batch_normalisation_stays_as_it_is(tmp_path):
    model = network(trainable=False)
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, training=True, edge_cases=False)
    assert report.passed and {r.what for r in report.training if r.layer == "norm"} >= {
        "moving mean after a training step",
        "moving variance after a training step",
    }
    k2t.convert(
        model, tmp_path, k2t.Recipe().with_override(k2t.Override("norm", "alternative", "trainable", "it learns"))
    )
    report = k2t.verify(tmp_path, model, training=True, edge_cases=False)
    assert not report.passed and report.first_divergence == "norm"
