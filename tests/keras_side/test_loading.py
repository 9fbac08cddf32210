"""Files that nobody has vouched for, and models in memory."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from tests.keras_side.files import lambda_model, layer_config, refused, rewritten, small_model


def test_a_missing_file(tmp_path):
    refused(tmp_path / "none.keras", "no such file")


def test_a_folder(tmp_path):
    refused(tmp_path, "is a folder", "SavedModel")


def test_something_that_is_neither_path_nor_model():
    with pytest.raises(k2t.ModelFileError, match="expected a path or a keras.Model, not int"):
        k2t.load(7)


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_archive_is_refused_or_loads_but_never_crashes(example, tmp_path, seed):
    rng = random.Random(seed)
    data = bytearray(example("dense").read_bytes())
    for _ in range(rng.choice([1, 5, 50])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path = tmp_path / "damaged.keras"
    path.write_bytes(data)
    try:
        k2t.load(path)
    except k2t.K2TError as error:
        assert "\n" not in str(error)


def test_weights_that_do_not_fit_the_layers(example, tmp_path):
    path = rewritten(
        example("dense"), tmp_path / "misfit.keras", lambda config: layer_config(config, "hidden").update(units=127)
    )
    refused(path, "Keras cannot rebuild the model")


def test_an_allowed_lambda_is_opened_or_replaced_by_a_snippet(tmp_path):
    source = k2t.load(lambda_model(tmp_path / "code.keras"), allow_unsafe=True)
    k2t.convert(source, tmp_path / "opened")
    report = k2t.verify(tmp_path / "opened", source)
    assert report.passed and "double/multiply" in {layer.layer for layer in report.layers}

    right = k2t.Recipe().with_override(k2t.Override("double", "snippet", "x * 2 + 1"))
    k2t.convert(source, tmp_path / "right", right)
    assert k2t.verify(tmp_path / "right", source).passed

    wrong = k2t.Recipe().with_override(k2t.Override("double", "snippet", "x * 2 - 1"))
    k2t.convert(source, tmp_path / "wrong", wrong)
    report = k2t.verify(tmp_path / "wrong", source)
    assert not report.passed and report.first_divergence == "double"


@keras.saving.register_keras_serializable("k2t_tests")
class Known(keras.layers.Layer):
    def call(self, x):
        return x * 2.0


def test_a_registered_class_loads_and_is_opened(tmp_path):
    small_model(Known(name="mine")).save(tmp_path / "custom.keras")
    source = k2t.load(tmp_path / "custom.keras")
    assert "* 2.0" in k2t.convert(source, tmp_path / "out").code.text and k2t.verify(tmp_path / "out", source).passed


def test_a_whole_h5_of_keras_3_converts(h5, tmp_path):
    source = k2t.load(h5)
    assert source.info["format"] == ".h5"
    k2t.convert(source, tmp_path)
    assert k2t.verify(tmp_path, source).passed


def test_an_h5_whose_config_was_lost(h5, tmp_path):
    path = Path(shutil.copy(h5, tmp_path / "lost.h5"))
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = "{not json"
    refused(path, "model_config is not JSON")


def test_what_a_source_says(example):
    source = k2t.load(example("dense"))
    assert source.name == "dense.keras"
    assert source.info["keras_version"] == keras.__version__
    assert source.info["bytes"] == example("dense").stat().st_size
    assert len(source.fingerprint) == 64
    assert k2t.load(source) is source


def test_a_model_in_memory_has_a_fingerprint_of_its_weights():
    model = small_model()
    before = k2t.load(model).fingerprint
    assert k2t.load(model).fingerprint == before
    model.layers[-1].bias.assign(np.ones(2))
    assert k2t.load(model).fingerprint != before


def test_a_model_in_memory_that_keras_cannot_save_says_why():
    class Odd(keras.layers.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, x):
            return self.function(x)

    x = keras.Input((4,))
    with pytest.raises(
        k2t.ModelFileError, match=r"^scaled: Keras cannot save this model \(Object Odd .*get_config\(\)$"
    ):
        k2t.load(keras.Model(x, Odd(keras.ops.tanh)(x), name="scaled"))


def test_building_without_memory_leaves_nothing_behind(example):
    from keras.src.backend.common import global_state

    k2t.load(example("dense"))
    assert not global_state.get_global_attribute("uninitialized_variables")
    assert layers.Dense(2)(np.ones((1, 3))).shape == (1, 2)
