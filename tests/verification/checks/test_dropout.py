"""Dropout and noise follow the same law on both sides, and another law is found."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise

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


def test_the_same_seed_draws_the_same_and_leaves_the_models_own_generator_alone(tmp_path):
    """The layer's own generator is one of the model's variables."""
    x = keras.Input((30,))
    model = keras.Model(x, layers.Dense(2)(layers.GaussianDropout(0.3, name="noise")(layers.Dropout(0.3)(x))))
    k2t.convert(model, tmp_path)
    before = [np.array(v) for v in model.get_layer("noise").variables]
    first, second = (
        k2t.verify(tmp_path, model, training=True, edge_cases=False, weights="model").training for _ in range(2)
    )
    assert first == second and len({r.layer for r in first if r.what.endswith("in training")}) == 2
    assert before and all(np.array_equal(a, b) for a, b in zip(before, model.get_layer("noise").variables))
