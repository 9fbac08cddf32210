"""manifest.json: what is read is what was written, and what is damaged is refused in one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import k2t_core as k2t
from k2t_core.emit.code import Tap
from k2t_core.emit.manifest import Manifest, Side
from k2t_core.errors import OutputError
from k2t_core.layout import Flat, Layout


@pytest.mark.parametrize("name", ["convnet", "shared", "lstm"])
def test_what_is_read_is_what_was_written(name, converted):
    data = json.loads((converted(name) / "manifest.json").read_text())
    manifest = Manifest.read(converted(name))
    assert json.loads(json.dumps(manifest.to_json())) == data
    assert list(manifest.to_json()) == list(data)
    assert Manifest.from_json(data) == manifest


def test_it_says_what_the_plan_says(example, converted):
    plan = k2t.plan(example("convnet"))
    manifest = Manifest.read(converted("convnet"))
    assert manifest.class_name == plan.root.class_name and manifest.fingerprint == plan.source.fingerprint
    assert {key: (v.source, v.steps) for key, v in manifest.variables.items()} == {
        w.key: (w.source, w.steps) for w in plan.weights
    }


def test_a_side_moves_arrays_both_ways():
    side = Side.of("image", (None, 4, 5, 3), "float32", Layout((0, 3, 1, 2)))
    image = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    assert side.torch_shape == (None, 3, 4, 5) and side.to_torch(image).shape == (2, 3, 4, 5)
    assert np.array_equal(side.to_keras(side.to_torch(image)), image)
    assert side.to_keras(np.zeros((2, 7))).shape == (2, 7)  # of a changed model.py: as it is
    assert Side.of("row", (None, 4), "float32", Layout((0, 1))).permutation is None


@pytest.mark.parametrize(
    "layout", [Layout((0, 1)), Layout((0, 3, 1, 2)), Layout((0, 1), Flat((4, 5, 3), (2, 0, 1)))], ids=str
)
def test_the_layout_of_a_tap_survives_json(layout):
    tap = Tap.of("", "Net", 0, "x", "conv", "conv", layout)
    read = Tap.from_json(json.loads(json.dumps(tap.to_json())))
    assert read == tap and read.layout(layout.rank) == layout


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda data: data.pop("taps"), "manifest has no 'taps'"),
        (lambda data: data["inputs"][0].update(name=3), "manifest.inputs[].name is int"),
        (lambda data: data["variables"]["classes.bias"]["steps"].append({"name": "twist"}), "unknown weight transform"),
        (lambda data: data["variables"]["classes.bias"]["steps"].append({"name": "permute"}), "axes"),
        (lambda data: data["taps"][0].update(flat={"shape": [2]}), "permutation"),
    ],
)
def test_what_is_damaged_is_refused(spoil, words, converted, tmp_path):
    folder = shutil.copytree(converted("convnet"), tmp_path / "copy")
    data = json.loads((folder / "manifest.json").read_text())
    spoil(data)
    (folder / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(OutputError, match="damaged or not a k2t manifest") as refused:
        Manifest.read(folder)
    assert words in str(refused.value) and "\n" not in str(refused.value)
