"""Preprocessing that stays in the data pipeline is cut off, and the rest converts and verifies."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.cutting import cut, obstacle
from k2t_core.keras_side.randomise import randomise
from k2t_core.planning.plan import rows


def cut_off(*names):
    return [k2t.Override(name, "cut", None) for name in names]


def text_model():
    words = layers.TextVectorization(max_tokens=30, output_sequence_length=6, name="words")
    words.adapt(["a b c d e f g", "b c d k t x y z"])
    inputs = keras.Input((), dtype="string", name="text")
    x = layers.Embedding(30, 8, mask_zero=True, name="embedding")(words(inputs))
    return keras.Model(
        inputs, layers.Dense(3, activation="softmax", name="head")(layers.LSTM(5, name="lstm")(x)), name="classifier"
    )


def verified(model, tmp_path, recipe, **options):
    randomise(model)
    result = k2t.convert(model, tmp_path / "out", recipe)
    return result, k2t.verify(tmp_path / "out", model, **options)


def test_text_is_vectorised_in_the_data_pipeline(tmp_path):
    model = text_model()
    with pytest.raises(k2t.UnsupportedError, match="(?i)'words'.*cut it off"):
        k2t.convert(model, tmp_path / "out")
    result, report = verified(model, tmp_path, cut_off("words"))
    assert report.passed and report.proves and [layer.layer for layer in report.layers][:1] == ["embedding"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["cut"] == ["words"] and len(manifest["inputs"]) == 1
    assert {k: manifest["inputs"][0][k] for k in ("name", "dtype", "keras_shape")} == {
        "name": "words",
        "dtype": "int64",
        "keras_shape": [None, 6],
    }
    first = rows(result.plan)[0]
    assert (first.layer, first.type, first.status) == (
        "words",
        "TextVectorization",
        "cut off",
    ) and "(N, 6) of int64" in first.why
    # What the two compute together is what the whole model computes.
    sentences = np.array(["c d e", "x y z k t a b", "f"])
    tokens = model.get_layer("words")(sentences)
    from k2t_core.emit.module import load_module
    from k2t_core.tensors import to_array, to_tensor

    got = to_array(load_module(tmp_path / "out")(to_tensor(np.asarray(tokens))).detach())
    assert np.abs(got - np.asarray(model(keras.ops.convert_to_tensor(sentences)))).max() < 1e-6


def test_an_input_keeps_its_place_beside_the_others(tmp_path):
    age, city = keras.Input((2,), name="age"), keras.Input((1,), dtype="string", name="city")
    place = layers.StringLookup(vocabulary=["oslo", "rome", "wien"], name="lookup")(city)
    place = layers.Flatten(name="flat")(layers.Embedding(4, 3, name="embedding")(place))
    model = keras.Model(
        [city, age],
        layers.Dense(2, name="out")(
            layers.Concatenate(name="join")([layers.Normalization(mean=1.0, variance=4.0, name="scaled")(age), place])
        ),
    )
    result, report = verified(model, tmp_path, cut_off("lookup"))
    assert result.plan.root.graph.input_names == ("lookup", "age") and report.passed
    result, report = verified(model, tmp_path, cut_off("lookup", "scaled"))
    assert result.plan.root.graph.input_names == ("lookup", "scaled") and report.passed
    assert [node.layer.name for node in result.plan.root.graph.nodes] == ["embedding", "flat", "join", "out"]


def test_an_image_scaled_before_is_still_channels_first(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((6, 5, 3)),
            layers.Rescaling(1 / 255, name="scale"),
            layers.Conv2D(4, 3, name="conv"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    x = np.random.default_rng(0).standard_normal((2, 6, 5, 3)).astype("float32")
    result, report = verified(model, tmp_path, cut_off("scale"), inputs=[x])
    assert report.passed and ".permute(" not in result.code.text and "class Sequential" in result.code.text
    assert len(model.layers) == 4 and model(x).shape == (2, 2)  # the user's model is as it was


def test_what_cannot_be_cut_off_says_why():
    inputs = keras.Input((6,), dtype="int32")
    embedding = layers.Embedding(9, 4, mask_zero=True, name="masked")(inputs)
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="within")], name="inner")
    twice = layers.Dense(4, name="twice")
    x = twice(twice(inner(layers.LSTM(4, name="lstm")(embedding))))
    traced = k2t.trace(k2t.load(keras.Model(inputs, layers.Dense(2, name="last")(x))))
    assert "mask" in obstacle(traced, "masked")
    assert "inside a nested model" in obstacle(traced, "inner/within") and "does not exist" in obstacle(
        traced, "nobody"
    )
    assert "several times" in obstacle(traced, "twice")
    assert "an output of the model" in obstacle(traced, "last")
    assert obstacle(traced, "lstm") is None
    with pytest.raises(k2t.OverrideError, match="'masked'.*carries a mask"):
        k2t.plan(traced, cut_off("masked"))
    with pytest.raises(k2t.OverrideError, match="'lstm'.*read what it gives"):
        k2t.plan(traced, cut_off("lstm", "inner"))
    with pytest.raises(k2t.OverrideError, match="'lstm', which this model does not have any more"):
        k2t.plan(traced, [*cut_off("inner"), k2t.Override("lstm", "snippet", "x")])


def test_a_cut_model_is_not_cut_again():
    traced = k2t.trace(k2t.load(text_model()))
    once = cut(traced, ["words"])
    assert cut(once, ["words"]) is once and cut(traced, []) is traced and cut(traced, ["words"]) is once


def test_what_is_inside_an_opened_layer_is_not_cut_off(tmp_path):
    x = keras.Input((5,))
    model = keras.Model(
        x,
        layers.Dense(2, name="last")(
            layers.Pipeline([layers.Dense(4, name="inner"), layers.ReLU(name="relu")], name="pipe")(x)
        ),
    )
    traced = k2t.trace(k2t.load(model))
    inside = [node.layer.path for node in traced.graph.nodes if node.layer.path.startswith("pipe/")]
    assert len(inside) == 2 and all("inside a layer that was opened" in obstacle(traced, path) for path in inside)
    with pytest.raises(k2t.OverrideError, match="inside a layer that was opened"):
        k2t.plan(traced, k2t.Recipe(tuple(cut_off(inside[0]))))
