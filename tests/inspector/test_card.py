"""The card of a model: the same numbers on the Load page and in `k2t inspect`."""

from __future__ import annotations

import json

import keras
import tensorflow as tf
from keras import layers

import k2t_core as k2t
from k2t_core.inspector.card import FIELDS, card, card_json


def test_a_card_counts_what_is_in_the_model():
    steps = keras.Input((None, 4), name="steps")
    hidden = layers.Dense(3, name="first")(steps)
    frozen = layers.Dense(5, name="second", trainable=False)(hidden)
    model = card(k2t.plan(keras.Model(steps, [frozen, layers.Dense(2, name="third")(hidden)], name="two")))
    assert (model.name, model.parameters, model.trainable) == ("two", 15 + 20 + 8, 15 + 8)
    assert model.kinds == {"Dense": 3} and model.problems == model.code == ()
    assert [(side.name, side.text, side.dtype) for side in model.inputs] == [("steps", "(any, any, 4)", "float32")]
    assert [side.text for side in model.outputs] == ["(any, any, 5)", "(any, any, 2)"]
    assert model.keras_version == keras.__version__


def test_a_nested_model_is_one_kind_and_what_is_in_it_is_counted_once(example):
    model = card(k2t.plan(example("shared")))
    assert model.kinds["nested model"] == 1 and model.kinds["Conv2D"] == 2
    assert model.bytes == example("shared").stat().st_size and model.format


def test_what_cannot_be_converted_is_on_the_card():
    class Dawson(layers.Layer):
        def call(self, x):
            return tf.math.special.dawsn(x)

    x = keras.Input((4,))
    model = card(k2t.plan(keras.Model(x, Dawson(name="own")(x))))
    assert len(model.problems) == 1 and "'own'" in model.problems[0]


def test_the_card_as_json_is_the_card_with_a_row_for_each_call(example):
    plan = k2t.plan(example("convnet"))
    model, data = card(plan), card_json(plan)
    assert json.loads(json.dumps(data))["inputs"] == [
        {"name": "image", "shape": [None, 28, 28, 3], "dtype": "float32"},
    ]
    assert (data["model"], data["parameters"], data["fingerprint"]) == ("convnet.keras", 251_786, model.fingerprint)
    assert [row["call"] for row in data["layers"]] == ["image", "conv", "flatten", "classes"]
    assert all(set(row) == {*FIELDS, "weights"} for row in data["layers"])
    assert data["layers"][1]["weights"] and "(3, 2, 0, 1)" in data["layers"][1]["weights"][0]
