"""Foreign, damaged and hostile files: each is refused in one line that names the file and the way out."""

from __future__ import annotations

import shutil
import zipfile

import keras
import pytest
from keras import layers

import k2t_core as k2t
from tests.keras_side.files import lambda_model, refused, rewritten, small_model


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


def test_a_wrong_suffix(example, h5, tmp_path):
    refused(shutil.copy(example("dense"), tmp_path / "dense.h5"), "rename it to dense.keras")
    refused(shutil.copy(h5, tmp_path / "model.keras"), "rename it to model.h5")


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


def test_h5_that_holds_weights_only(tmp_path):
    path = tmp_path / "only.weights.h5"
    small_model().save_weights(path)
    refused(path, "holds weights without an architecture", "model.save")


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


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_is_refused_by_name_unless_allowed(tmp_path, suffix):
    path = lambda_model(tmp_path / f"code{suffix}")
    refused(path, "layer 'double' is a Lambda", "--allow-unsafe", error=k2t.UnsafeModelError)
    assert k2t.load(path, allow_unsafe=True).model.get_layer("double") is not None


def unknown_activation(x):
    return keras.ops.tanh(x)


class Unknown(keras.layers.Layer):
    def call(self, x):
        return x * 2.0


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
    refused(tmp_path / "custom.h5", "layer 'mine' names 'Unknown'", "--rules FILE", error=k2t.UnsupportedError)
