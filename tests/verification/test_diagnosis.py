"""Why a layer differs: the injected fault is the first explanation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.batches import random_batch
from k2t_core.keras_side.randomise import randomise
from k2t_core.keras_side.tracing import trace
from k2t_core.verification.alone import probe
from k2t_core.verification.diagnosis import candidates, diagnose


def network():
    x = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(3, 3, strides=2, padding="same", name="conv")(x)
    y = layers.BatchNormalization(name="norm")(y)
    inner = keras.Sequential(
        [keras.Input((4, 4, 3)), layers.Flatten(name="flatten"), layers.Dense(6, name="square6")], name="head"
    )
    y = layers.Dense(6, activation="tanh", name="square")(inner(y))
    model = keras.Model(x, y)
    randomise(model)
    return model


@pytest.fixture(scope="module")
def traced():
    return trace(k2t.load(network()))


FAULTS = {
    "conv": ("alternative", "symmetric padding"),
    "norm": ("arguments", {"eps": 0.5}),
    "head/flatten": ("alternative", "plain flatten"),
    "square": ("permutation", {"key": "weight", "axes": [0, 1]}),
}


@pytest.mark.parametrize("layer", FAULTS)
def test_a_fault_is_found_and_taken_back(traced, layer):
    wrong = k2t.Recipe().with_override(k2t.Override(layer, *FAULTS[layer]))
    arrays = random_batch(traced.graph)
    patient = probe(traced, layer, arrays)
    assert not patient.judge(wrong).passed
    causes = diagnose(traced, wrong, layer, arrays)
    assert causes[0].explains and patient.judge(causes[0].recipe).passed and causes[0].factor > 10


def test_the_right_values_are_found_where_no_override_can_be_taken_back(traced, monkeypatch):
    """As if k2t itself, or a file edited by hand, had the wrong epsilon and a missing transpose."""
    from dataclasses import replace

    from k2t_core.rules import registry

    rule = registry.find("BatchNormalization")

    def wrong(call):
        mapping = rule.function(call)
        return replace(mapping, module=replace(mapping.module, args={**mapping.module.args, "eps": 0.9}))

    monkeypatch.setitem(registry.registered, "BatchNormalization", replace(rule, function=wrong))
    causes = diagnose(traced, k2t.Recipe(), "norm", random_batch(traced.graph))
    assert causes[0].explains and "eps=0.001" in causes[0].text


def test_a_right_layer_needs_no_explanation(traced):
    assert diagnose(traced, k2t.Recipe(), "conv", random_batch(traced.graph)) == []


def test_taking_an_override_back_is_one_cause_and_not_two():
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, layers.Conv2D(4, 3, strides=2, padding="same", name="layer")(x))
    randomise(model)
    traced = k2t.trace(k2t.load(model))
    recipe = k2t.Recipe((k2t.Override("layer", "alternative", "symmetric padding"),))
    tried = list(candidates(probe(traced, "layer", [np.ones((1, 8, 8, 3), "float32")]), recipe))
    assert [text for text, changed in tried if not [o for o in changed.overrides if o.value != "default"]] == [
        "without your override: layer: alternative symmetric padding"
    ]
