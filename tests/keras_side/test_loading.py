"""Files that nobody has vouched for: each is refused in one line that names the file and the way out."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.loading import load_rules
from k2t_core.keras_side.randomise import randomise


def refused(path, *words: str, error: type = k2t.ModelFileError, **options) -> str:
    """Loading must raise ``error`` with one line that names the file and holds ``words``."""
    with pytest.raises(error) as caught:
        k2t.load(path, **options)
    message = str(caught.value)
    assert "\n" not in message and "\x1b" not in message and len(message) < 1000
    assert Path(path).name in message
    for word in words:
        assert word in message
    return message


def rewritten(source: Path, target: Path, change=None, extra: dict[str, bytes] | None = None) -> Path:
    """A copy of a .keras archive with its config changed in place by ``change`` and files added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json" and change is not None:
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            new.writestr(name, data)
        for name, data in (extra or {}).items():
            new.writestr(name, data)
    return target


def layer_config(config: dict, name: str) -> dict:
    return next(item["config"] for item in config["config"]["layers"] if item["config"]["name"] == name)


def small_model(*hidden):
    x = inputs = keras.Input((4,), name="features")
    for layer in hidden:
        x = layer(x)
    model = keras.Model(inputs, layers.Dense(2, name="last")(x), name="small")
    randomise(model)
    return model


@pytest.fixture(scope="module")
def h5(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("h5") / "model.h5"
    small_model(layers.Dense(3, "relu", name="first")).save(path)
    return path


# Not a model at all


def test_a_missing_file(tmp_path):
    refused(tmp_path / "none.keras", "no such file")


def test_a_folder(tmp_path):
    refused(tmp_path, "is a folder", "SavedModel")


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.keras"
    path.touch()
    refused(path, "the file is empty")


def test_a_text_file_named_keras(tmp_path):
    path = tmp_path / "notes.keras"
    path.write_text("not a model")
    refused(path, "not a Keras model", "model.save")


def test_a_zip_that_is_not_keras(tmp_path):
    path = tmp_path / "archive.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, "a zip archive, but not a Keras model")


@pytest.mark.parametrize(
    "config",
    [
        b"[]",
        b"7",
        b'{"a": 1}',
        b"{",
        b'{"class_name": "Dense", "module": "keras.layers", "config": {"units": 3}}',
        b"[" * 100_000,
    ],
)
def test_an_archive_whose_config_is_no_model(tmp_path, config):
    path = tmp_path / "odd.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", b"")
    refused(path)


def test_something_that_is_neither_path_nor_model():
    with pytest.raises(k2t.ModelFileError, match="expected a path or a keras.Model, not int"):
        k2t.load(7)


def test_a_wrong_suffix(example, h5, tmp_path):
    refused(shutil.copy(example("dense"), tmp_path / "dense.h5"), "rename it to dense.keras")
    refused(shutil.copy(h5, tmp_path / "model.keras"), "rename it to model.h5")


# Damaged


@pytest.mark.parametrize("kept", [1, 3, 4, 30, 500, 0.3, 0.5, 0.9, -30, -1])
def test_a_truncated_archive(example, tmp_path, kept):
    whole = example("dense").read_bytes()
    path = tmp_path / "cut.keras"
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    refused(path)


@pytest.mark.parametrize("kept", [1, 7, 8, 100, 0.3, 0.5, 0.9, -30, -1])
def test_a_truncated_h5(h5, tmp_path, kept):
    whole = h5.read_bytes()
    path = tmp_path / "cut.h5"
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    refused(path)


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


def test_h5_that_holds_weights_only(tmp_path):
    path = tmp_path / "only.weights.h5"
    small_model().save_weights(path)
    refused(path, "holds weights without an architecture", "model.save")


def test_weights_that_do_not_fit_the_layers(example, tmp_path):
    path = rewritten(
        example("dense"), tmp_path / "misfit.keras", lambda config: layer_config(config, "hidden").update(units=127)
    )
    refused(path, "Keras cannot rebuild the model")


# Hostile


def test_an_archive_that_leaves_its_folder(example, tmp_path):
    refused(
        rewritten(example("dense"), tmp_path / "climb.keras", extra={"../../evil.txt": b"x"}),
        "'../../evil.txt'",
        "not trusted",
    )
    refused(rewritten(example("dense"), tmp_path / "root.keras", extra={"/etc/evil.txt": b"x"}), "'/etc/evil.txt'")
    refused(rewritten(example("dense"), tmp_path / "windows.keras", extra={"..\\evil.txt": b"x"}), "evil.txt")


def test_a_zip_bomb(example, tmp_path):
    path = rewritten(example("square"), tmp_path / "bomb.keras")
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("assets/zeros.bin", "w", force_zip64=True) as entry,
    ):
        for _ in range(80):
            entry.write(bytes(2**20))
    assert path.stat().st_size < 200_000
    refused(path, "unpacks to", "zip bomb")


def test_absurd_weights_are_refused_before_they_are_allocated(example, tmp_path):
    def widen(config):
        layer_config(config, "hidden")["units"] = 10**11
        for item in config["config"]["layers"]:
            item.pop("build_config", None)

    path = rewritten(example("dense"), tmp_path / "huge.keras", widen)
    refused(path, "absurd shape", "hidden/kernel")


def test_absurd_tensors_are_refused(tmp_path):
    x = inputs = keras.Input((64, 64, 3), name="image")
    model = keras.Model(
        inputs, layers.GlobalMaxPooling2D(name="pool")(layers.UpSampling2D(2, name="up")(x)), name="wide"
    )
    model.save(tmp_path / "wide.keras")
    path = rewritten(
        tmp_path / "wide.keras",
        tmp_path / "absurd.keras",
        lambda config: layer_config(config, "up").update(size=[10**6, 10**6]),
    )
    refused(path, "absurd shape", "layer 'up'")


# Code in the file


def lambda_model(path: Path) -> Path:
    small_model(layers.Dense(3, name="first"), layers.Lambda(lambda t: t * 2.0 + 1.0, name="double")).save(path)
    return path


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_is_refused_by_name_unless_allowed(tmp_path, suffix):
    path = lambda_model(tmp_path / f"code{suffix}")
    refused(path, "layer 'double' is a Lambda", "--allow-unsafe", error=k2t.UnsafeModelError)
    assert k2t.load(path, allow_unsafe=True).model.get_layer("double") is not None


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


# Custom classes and functions


@keras.saving.register_keras_serializable("k2t_tests")
class Known(keras.layers.Layer):
    def call(self, x):
        return x * 2.0


class Unknown(keras.layers.Layer):
    def call(self, x):
        return x * 2.0


def unknown_activation(x):
    return keras.ops.tanh(x)


def test_a_custom_class_that_nobody_registered(tmp_path):
    small_model(Unknown(name="mine"), layers.Dense(3, unknown_activation, name="bent")).save(tmp_path / "custom.keras")
    message = refused(
        tmp_path / "custom.keras",
        "layer 'mine' is of the custom class 'Unknown'",
        "--rules FILE",
        error=k2t.UnsupportedError,
    )
    assert "layer 'bent' uses the custom function 'unknown_activation'" in message, (
        "everything that is missing is named at once"
    )
    small_model(Unknown(name="mine")).save(tmp_path / "custom.h5")
    refused(tmp_path / "custom.h5", "Unknown")


def test_a_registered_class_loads_and_is_opened(tmp_path):
    small_model(Known(name="mine")).save(tmp_path / "custom.keras")
    source = k2t.load(tmp_path / "custom.keras")
    assert "* 2.0" in k2t.convert(source, tmp_path / "out").code.text and k2t.verify(tmp_path / "out", source).passed


def test_rules_file(tmp_path):
    (tmp_path / "broken_rules.py").write_text("raise KeyError('oops')")
    (tmp_path / "fine_rules.py").write_text("LOADED = []\n")
    (tmp_path / "json.py").write_text("")
    with pytest.raises(k2t.K2TError, match="no such file"):
        load_rules(tmp_path / "none.py")
    with pytest.raises(k2t.K2TError, match="broken_rules.py: KeyError: 'oops'"):
        load_rules(tmp_path / "broken_rules.py")
    with pytest.raises(k2t.K2TError, match="'json' is loaded already"):
        load_rules(tmp_path / "json.py")
    load_rules(tmp_path / "fine_rules.py")
    load_rules(tmp_path / "fine_rules.py")  # again: a page rerun


# Versions and formats


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
