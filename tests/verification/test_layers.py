"""Every layer is judged alone: rounding is told from error, whatever the numbers."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise

L = layers


def test_a_layer_of_lower_precision_is_not_taken_for_rounding(tmp_path):
    """Its float64 run is right, and it is far from its float64 run: that excuses Keras's rounding and not its own."""
    x = keras.Input((16,))
    model = keras.Model(x, L.Dense(4)(L.Dense(16, name="coarse")(x)))
    randomise(model)
    k2t.convert(model, tmp_path)
    text = (tmp_path / "model.py").read_text()
    (tmp_path / "model.py").write_text(text.replace("self.coarse(x)", "self.coarse(x.half().float())", 1))
    report = k2t.verify(tmp_path, model, edge_cases=False)
    assert not report.passed and report.first_divergence == "coarse"


def test_overflow_at_the_end_of_the_range_is_no_difference(tmp_path):
    """torch's hard swish multiplies by 6 before it divides; in the middle of the range the layer is judged as ever."""
    x = keras.Input((4,))
    model = keras.Model(x, L.Dense(3)(L.Activation("hard_silu", name="swish")(x)))
    randomise(model)
    k2t.convert(model, tmp_path)
    batch = [np.array([[1e38, 2e38, -1e38, 1.0]], "float32")]
    report = k2t.verify(tmp_path, model, inputs=batch, weights="model", edge_cases=False)
    assert next(r for r in report.layers if r.layer == "swish").passed
    text = (tmp_path / "model.py").read_text()
    assert "F.hardswish(x)" in text
    (tmp_path / "model.py").write_text(text.replace("F.hardswish(x)", "F.silu(x)"))
    assert k2t.verify(tmp_path, model, inputs=batch, weights="model", edge_cases=False).first_divergence == "swish"


def test_a_softmax_of_large_equal_numbers_is_no_difference(tmp_path):
    """All weights 1: Keras adds every column up alike, torch in another order; softmax makes a twentieth of that."""
    x = keras.Input((28, 28, 32))
    model = keras.Model(x, L.Dense(10, activation="softmax", name="classes")(L.Flatten()(x)))
    for v in model.variables:
        v.assign(np.ones(v.shape))
    k2t.convert(model, tmp_path)
    batch = [np.random.default_rng(0).uniform(5, 8, (2, 28, 28, 32)).astype("float32")]
    assert k2t.verify(tmp_path, model, inputs=batch, weights="model", edge_cases=False).passed
