"""Files of a stranger's making beside the model: names, recipes, manifests. Nothing in them runs, forges or hangs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.emit.code import forward_hashes
from k2t_core.emit.committing import clear
from k2t_core.keras_side.input_files import read_inputs

ROOT = Path(__file__).resolve().parents[2]


def model_of(path):
    x = keras.Input((6,), name="x")
    hidden = layers.Dense(5, name="hidden")(layers.Rescaling(1 / 255, name="scale")(x))
    model = keras.Model(x, {"a": layers.Dense(4, name="a")(hidden), "b": layers.Dense(4, name="b")(hidden)})
    model.save(path)
    return path


def rewritten(folder, change, source=None):
    """The manifest changed, and rehashed as for a model.py of k2t's own."""
    data = json.loads((folder / "manifest.json").read_text())
    change(data)
    if source is not None:
        text = source((folder / "model.py").read_text())
        (folder / "model.py").write_text(text)
        data["source_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        data["forwards"] = forward_hashes(text)
    (folder / "manifest.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    "name", ['a""";__import__("os").system("touch canary");""".keras', 'a"""b.keras', "a\\N{x}.keras"]
)
def test_the_name_of_a_file_is_no_code(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = model_of(tmp_path / "plain.keras").rename(tmp_path / name)
    k2t.convert(path, tmp_path / "out")
    assert not (tmp_path / "canary").exists()
    assert k2t.verify(tmp_path / "out", path, edge_cases=False).passed


@pytest.mark.parametrize("name", ["bias=not __import__('os').system('touch canary'), device", "lambda", "a b", ""])
def test_the_name_of_an_argument_is_no_code(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = {"k2t_recipe": 1, "overrides": [{"layer": "a", "kind": "arguments", "value": {name: None}}]}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(k2t.OverrideError, match="'a'.*'arguments' cannot be"):
        k2t.convert(model_of(tmp_path / "m.keras"), tmp_path / "out", tmp_path / "recipe.json")
    assert not (tmp_path / "canary").exists() and not (tmp_path / "out").exists()


def fewer_outputs(data):
    data["outputs"].pop()


def cut_off(data):
    data["cut"], data["taps"] = ["scale"], []


def other_order(data):
    data["outputs"][0]["permutation"] = [1, 0]


def no_order(data):
    data["outputs"][0]["permutation"] = [0, 7]


def other_dtype(data):
    data["inputs"][0]["dtype"] = "int32"


def closed(data):
    data["closed"] = ["hidden"]


@pytest.mark.parametrize("change", [fewer_outputs, cut_off, other_order, no_order, other_dtype, closed])
def test_a_manifest_leaves_nothing_out(change, tmp_path):
    path = model_of(tmp_path / "m.keras")
    k2t.convert(path, tmp_path / "out")
    rewritten(tmp_path / "out", change, lambda text: text.replace("x = x / 255", "x = x * 1"))
    with pytest.raises(k2t.K2TError, match="manifest.json: .*convert the model again") as refused:
        k2t.verify(tmp_path / "out", path)
    assert "\n" not in str(refused.value)


def test_a_rehashed_edit_is_told(tmp_path):
    path = model_of(tmp_path / "m.keras")
    k2t.convert(path, tmp_path / "out")
    assert not k2t.verify(tmp_path / "out", path, edge_cases=False).notes

    def no_taps(data):
        data["taps"] = []

    rewritten(tmp_path / "out", no_taps, lambda text: text.replace("x = x / 255", "x = x * (1 / 255)"))
    report = k2t.verify(tmp_path / "out", path, edge_cases=False)
    assert report.passed and any("not what this version of k2t writes" in note for note in report.notes)
    assert any("no layer" in note for note in report.notes)


@pytest.mark.parametrize(
    "step",
    [
        {"name": "permute", "axes": 5},
        {"name": "permute", "axes": [0, 0]},
        {"name": "cast", "dtype": "nope"},
        {"name": "reshape", "shape": "x"},
        {"name": "reorder gates", "axis": 0, "order": [], "keras": "", "torch": ""},
        {"name": "unheard of"},
    ],
)
def test_a_transform_that_is_none_is_damage(step, tmp_path):
    path = model_of(tmp_path / "m.keras")
    k2t.convert(path, tmp_path / "out")
    rewritten(tmp_path / "out", lambda data: data["variables"]["a.weight"].update(steps=[step]))
    with pytest.raises(k2t.K2TError, match="manifest.json") as refused:
        k2t.verify(tmp_path / "out", path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"k2t_recipe": 1, "overrides": [], "a": "\\ud800"}', "\x00"])
def test_a_recipe_that_is_no_json_is_said_in_a_line(text, tmp_path):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(k2t.OverrideError, match="recipe.*not JSON") as refused:
        k2t.convert(model_of(tmp_path / "m.keras"), tmp_path / "out", tmp_path / "recipe.json")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    path = model_of(tmp_path / "m.keras")
    with pytest.raises(k2t.OverrideError, match="pipe.npz: is no file"):
        k2t.convert(path, tmp_path / "out", tmp_path / "pipe.npz")
    graph = k2t.trace(k2t.load(path)).graph
    for given in (tmp_path / "pipe.npz", tmp_path):
        with pytest.raises(k2t.InputError, match="pipe.npz: is no file"):
            read_inputs(given, graph)


def test_odd_folders_are_left_alone(tmp_path):
    for name in (".k2t-99999999999999999999-x", ".k2t-²-x", ".k2t--x"):
        (tmp_path / name).mkdir()
    clear(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_no_number_proves_nothing(tmp_path):
    x = keras.Input((4,), name="x")
    root = layers.Lambda(lambda t: keras.ops.sqrt(-1 - keras.ops.square(t)), name="root")
    model = keras.Model(x, root(layers.Dense(3, name="d")(x)))
    k2t.convert(model, tmp_path / "out")
    report = k2t.verify(tmp_path / "out", model)
    assert not report.proves and "proves nothing: of output" in report.verdict


def test_an_interrupted_conversion_is_finished_by_the_command(tmp_path_factory):
    """The command may write nowhere but in the temporary folder, where this one must not be."""
    folder = ROOT / ".pytest_cache" / f"interrupted-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        path = model_of(folder / "m.keras")
        k2t.convert(path, folder / "out")
        committed = folder / "out" / ".k2t-commit"
        committed.mkdir()
        for name in ("model.py", "model.safetensors", "manifest.json", "recipe.json"):
            (folder / "out" / name).rename(committed / name)
        (committed / ".gone").write_text("")
        command = [str(Path(sys.executable).parent / "k2t"), "verify", str(folder / "out"), "--against", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
        assert done.returncode == 0 and "agrees" in done.stdout, done.stderr
    finally:
        subprocess.run(["rm", "-r", str(folder)], check=True)


def test_arrays_are_read_as_before(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 6), "float32"))
    graph = k2t.trace(k2t.load(model_of(tmp_path / "m.keras"))).graph
    assert read_inputs(tmp_path / "x.npy", graph)[0].shape == (2, 6)
