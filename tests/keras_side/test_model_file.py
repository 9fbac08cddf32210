"""Foreign, damaged and hostile files: each is refused in one line that names the file and the way out."""

from __future__ import annotations

import json
import shutil
import stat
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import pytest
import tf_keras
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


@pytest.mark.parametrize("key", ["module", "registered_name"])
@pytest.mark.parametrize("value", [[], {"a": 1}, 7, True])
def test_a_name_that_is_no_text(key, value, tmp_path):
    small_model().save(tmp_path / "small.keras")

    def change(config):
        config["config"]["layers"][1][key] = value

    path = rewritten(tmp_path / "small.keras", tmp_path / "odd.keras", change)
    refused(path, "is no text", "damaged")


def test_a_name_that_nobody_reads(tmp_path):
    x = keras.Input((3,))
    keras.Model(x, layers.Dense(2, name="x" * 2000)(x)).save(tmp_path / "long.keras")
    refused(tmp_path / "long.keras", "has 2,000 letters", "give the layer a shorter one")


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


def with_members(source, target, *members):
    """A copy of an archive with these members behind it; a name twice is written twice."""
    path = shutil.copy(source, target)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(name, data)
    return path


def link_to(target):
    info = zipfile.ZipInfo("assets/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


def raw_name(path, old, new):
    """The file with a name changed in both of its tables, which Python would write otherwise."""
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


@pytest.mark.parametrize(
    ("member", "word"),
    [
        (("config.json", b"{}"), "'config.json' twice"),
        (("CONFIG.JSON", b"{}"), "'CONFIG.JSON' twice"),
        (("config.json/x", b"{}"), "'config.json/x' twice"),
        (("C:/x", b""), "the odd name 'C:/x'"),
        (("assets/\x1b[2J", b""), "the odd name"),
        (link_to("/etc"), "'assets/link' in the archive is a link"),
        (("config.jso_", b" " * 17 * 2**20), "config.json unpacks to"),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else value,
)
def test_a_member_that_could_be_read_in_two_ways_or_leave_its_folder(example, tmp_path, member, word):
    if member[0] == "config.jso_":  # its own config.json, that long
        with zipfile.ZipFile(example("square")) as archive:
            text = archive.read("config.json") + member[1]
        path = tmp_path / "long.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", text)
            archive.writestr("model.weights.h5", b"")
        refused(path, word, "zip bomb")
        return
    refused(with_members(example("square"), tmp_path / "odd.keras", member), word, "not trusted")


def test_a_name_that_is_cut_off_at_a_nul_is_refused_whole(example, tmp_path):
    path = Path(with_members(example("square"), tmp_path / "nul.keras", ("config.json_x", b"{}")))
    refused(raw_name(path, b"config.json_x", b"config.json\0x"), "the odd name 'config.json\\x00x'")


def test_more_members_than_any_model_has(example, tmp_path):
    members = [(f"assets/{index}", b"") for index in range(10_001)]
    refused(with_members(example("square"), tmp_path / "many.keras", *members), "the archive holds 10,0")


def test_folders_and_assets_are_no_fault(example, tmp_path):
    path = with_members(example("square"), tmp_path / "assets.keras", ("assets/", b""), ("assets/a/b.txt", b"x"))
    assert k2t.load(path).model is not None


@pytest.mark.parametrize("depth", ["lists", "objects"])
def test_a_config_that_nobody_can_walk(example, tmp_path, depth):
    def deepen(config):
        value = 1
        for _ in range(100 if depth == "lists" else 450):
            value = [value] if depth == "lists" else {"config": value}
        config["config"]["layers"][-1]["config"]["bias_initializer"] = value

    refused(rewritten(example("square"), tmp_path / "deep.keras", deepen), "nested too deep")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("package, said", [(keras, "2.15.0"), (tf_keras, "3.8.0")], ids=["3 as 2", "2 as 3"])
def test_a_file_is_of_the_version_that_it_says(package, said, suffix, tmp_path):
    x = package.Input((3,))
    path = tmp_path / f"model{suffix}"
    package.Model(x, package.layers.Dense(2)(x)).save(path)
    assert k2t.load(path).model is not None
    if suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["keras_version"] = said
    else:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        parts["metadata.json"] = json.dumps({"keras_version": said}).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
    refused(path, f"says that Keras {said!r} wrote it")


def test_a_file_without_a_version_is_read_by_how_it_is_written(tmp_path):
    for package, found in ((keras, None), (tf_keras, "tf_keras")):
        x = package.Input((3,))
        path = tmp_path / f"{package.__name__}.h5"
        package.Model(x, package.layers.Dense(2)(x)).save(path)
        with h5py.File(path, "r+") as file:
            del file.attrs["keras_version"]
        assert (k2t.load(path).original is not None) == (found is not None)
