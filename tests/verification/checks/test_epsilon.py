"""A normalisation is compared where its epsilon decides."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise

L = layers
NORMS = {
    "BatchNormalization": (lambda: L.BatchNormalization(epsilon=1.001e-5, name="norm"), "norm without variance"),
    "frozen": (lambda: L.BatchNormalization(trainable=False, epsilon=1.001e-5, name="norm"), "norm without variance"),
    "LayerNormalization": (lambda: L.LayerNormalization(epsilon=1.001e-5, name="norm"), "norm of a thousandth"),
    "GroupNormalization": (lambda: L.GroupNormalization(2, epsilon=1.001e-5, name="norm"), "norm of a thousandth"),
    "RMSNormalization": (lambda: L.RMSNormalization(epsilon=1.001e-5, name="norm"), "norm of a thousandth"),
}


@pytest.mark.parametrize("case", NORMS)
def test_an_epsilon_that_is_a_little_wrong_is_seen(case, tmp_path):
    make, name = NORMS[case]
    x = keras.Input((6, 6, 4))
    model = keras.Model(x, make()(x))
    randomise(model)
    before = [np.array(v) for v in model.variables]
    k2t.convert(model, tmp_path)
    assert k2t.verify(tmp_path, model).passed
    k2t.convert(
        model, tmp_path, k2t.Recipe().with_override(k2t.Override("norm", "arguments", {"eps": 1.02e-5}, "nearly right"))
    )
    report = k2t.verify(tmp_path, model, edge_cases=False)
    assert not report.passed and report.first_divergence == "norm"
    assert name in [r.tensor for r in report.layers if not r.passed]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.variables)), "the user's model is as it was"


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("case", ["BatchNormalization", "LayerNormalization"])
def test_each_call_of_a_shared_normalisation_is_compared_on_its_own_input(case, nested, tmp_path):
    make, name = NORMS[case]
    x = keras.Input((6, 6, 4))
    shared = keras.Sequential([keras.Input((6, 6, 4)), make()], name="inner") if nested else make()
    model = keras.Model(x, shared(L.Conv2D(4, 3, padding="same")(shared(x))))
    randomise(model)
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model)
    assert report.passed, report.verdict
    assert len([r for r in report.runs[0].layers if r.tensor.endswith(name.removeprefix("norm"))]) == 2, "both calls"


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("then", [lambda: L.Activation("linear"), lambda: L.Dense(3)])
def test_a_normalisation_over_one_number_is_rounding_in_keras_and_no_difference(then, initial, tmp_path):
    x = keras.Input((5, 1))
    model = keras.Model(x, then()(L.LayerNormalization(name="norm")(x)))
    if not initial:
        randomise(model)
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, edge_cases=True)
    assert report.passed, report.verdict
