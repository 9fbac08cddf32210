"""Every entry of model.safetensors against its variable, bit for bit: what no comparison of outputs can see."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import torch
from keras import layers
from safetensors.torch import load_file, save_file

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise
from k2t_core.keras_side.reading import read
from k2t_core.recipe import Recipe, read_recipe
from k2t_core.verification.weights_proof import Unequal, WeightsProof, prove_weights

ZEROS = {"lstm.bias_hh_l0"}  # torch has two biases where Keras has one


def network(dtype="float32"):
    x = keras.Input((6, 5))
    y = layers.LSTM(4, return_sequences=True, recurrent_initializer="zeros", name="lstm", dtype=dtype)(x)
    y = layers.MultiHeadAttention(2, 3, name="attention", dtype=dtype)(y, y)
    y = layers.BatchNormalization(name="norm", dtype=dtype)(y)
    model = keras.Model(x, layers.Dense(3, name="head", dtype=dtype)(layers.Flatten()(y)))
    randomise(model)
    return model


def proof(folder, model):
    return prove_weights(folder, read(model), read_recipe(folder / "recipe.json"))


def edit(folder, key, change):
    state = load_file(folder / "model.safetensors")
    state[key] = change(state[key].clone()).contiguous()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "mixed_bfloat16", "float64"])
def test_a_conversion_is_equal_in_every_entry(dtype, tmp_path):
    model = network(dtype)
    k2t.convert(model, tmp_path)
    found = proof(tmp_path, model)
    assert found.passed and found.entries == len(load_file(tmp_path / "model.safetensors")) > 10
    assert f"{found.entries} of {found.entries} entries" in found.describe()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_entry_that_changes_by_one_bit_is_named(dtype, tmp_path):
    """Key biases, which softmax does not see, and single digits of half precision among them."""
    model = network(dtype)
    k2t.convert(model, tmp_path)
    clean = (tmp_path / "model.safetensors").read_bytes()
    for key in load_file(tmp_path / "model.safetensors"):
        (tmp_path / "model.safetensors").write_bytes(clean)

        def flip(t):
            t.reshape(-1).view(torch.uint8)[0] ^= 1
            return t

        edit(tmp_path, key, flip)
        found = proof(tmp_path, model)
        assert [one.key for one in found.unequal] == [key]
        assert key in found.describe()
        # Its last bit makes of a 0 a number below the smallest normal one, which TensorFlow takes for a 0.
        assert found.unequal[0].difference.max_abs > 0 or "bits alone" in found.unequal[0].reason and key in ZEROS


def test_zeros_of_another_sign_and_nan_of_another_payload_are_not_equal(tmp_path):
    x = keras.Input((2,))
    model = keras.Model(x, layers.Dense(2, name="d")(x))
    model.set_weights([np.array([[0.0, 1.0], [np.nan, 2.0]], "float32"), np.zeros(2, "float32")])
    k2t.convert(model, tmp_path)
    assert proof(tmp_path, model).passed
    edit(tmp_path, "d.bias", lambda t: -t)
    assert "bits alone" in proof(tmp_path, model).unequal[0].reason
    k2t.convert(model, tmp_path)

    def other_payload(t):
        t.view(torch.int32)[t.isnan()] ^= 1
        return t

    edit(tmp_path, "d.weight", other_payload)
    assert [one.key for one in proof(tmp_path, model).unequal] == ["d.weight"]


def test_shapes_dtypes_missing_and_foreign_entries(tmp_path):
    model = network()
    k2t.convert(model, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["head.bias"]
    state["head.weight"] = state["head.weight"].double()
    state["norm.weight"] = state["norm.weight"][:2]
    state["of_mine"] = torch.zeros(1)
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "model.safetensors")
    told = {one.key: one.reason for one in proof(tmp_path, model).unequal}
    assert set(told) == {"head.bias", "head.weight", "norm.weight", "of_mine"}
    assert "float64" in told["head.weight"] and "(2,)" in told["norm.weight"] and "not in" in told["head.bias"]


def test_an_edited_manifest_does_not_excuse_the_weights(tmp_path):
    """The transform is what the rules give for the recipe, not what the folder says of itself."""
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(4, name="d")(x))
    randomise(model)
    k2t.convert(model, tmp_path)
    edit(tmp_path, "d.weight", lambda t: t.T)
    text = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"name": "permute"', '"name": "identity"'))
    assert not proof(tmp_path, model).passed


def test_a_manifest_that_lists_no_weights_does_not_agree(tmp_path):
    """What is compared with random weights is what it lists."""
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(4, name="d")(x))
    k2t.convert(model, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "variables": {}}))
    report = k2t.verify(tmp_path, model)
    assert not report.passed
    assert {one.reason for one in report.weights.unequal} == {"is not in manifest.json"}
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "outputs": []}))
    with pytest.raises(k2t.OutputError, match="no outputs"):
        k2t.verify(tmp_path, model)


def test_an_override_of_the_recipe_is_no_difference(tmp_path):
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(4, name="d")(x))
    randomise(model)
    override = k2t.Override("d", "permutation", {"key": "weight", "axes": [0, 1]})
    k2t.convert(model, tmp_path, [override])
    assert proof(tmp_path, model).passed
    assert not prove_weights(tmp_path, read(model), Recipe()).passed


def test_both_directions_of_json():
    found = WeightsProof(3, (Unequal("a.b", "layer", "why"),))
    assert WeightsProof.from_json(found.to_json()) == found
