"""A fault that ordinary inputs do not reach is found by search; a right conversion stays right under it."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise


def test_search_reaches_a_fault_that_random_inputs_miss(tmp_path):
    x = keras.Input((4, 4, 3))
    y = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    model = keras.Model(x, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(y)))
    randomise(model)
    k2t.convert(model, tmp_path)
    rng = np.random.default_rng(0)
    batch = [rng.standard_normal((2, 4, 4, 3)).astype("float32")]
    assert k2t.verify(tmp_path, model, inputs=batch, search=2, weights="model").passed
    text = (tmp_path / "model.py").read_text()
    assert "x = self.conv(x)\n" in text
    (tmp_path / "model.py").write_text(text.replace("x = self.conv(x)\n", "x = self.conv(x).clamp(min=-6.5)\n", 1))
    usual = k2t.verify(tmp_path, model, inputs=batch, weights="model", edge_cases=False)
    assert usual.passed, "the fault is out of reach of this batch, or the test proves nothing"
    searched = k2t.verify(tmp_path, model, inputs=batch, search=3, weights="model", edge_cases=False)
    assert not searched.passed and searched.first_divergence == "conv"
    assert "worst found by search" in searched.deciding.inputs
