"""model.onnx: onnxruntime gives what the module gives, in sizes that were not traced; or nothing is written."""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
import pytest
import torch
from keras import layers

import k2t_core as k2t
from k2t_core import cli
from k2t_core.emit.formats import FORMATS
from k2t_core.emit.manifest import FILES
from k2t_core.emit.module import load_module
from k2t_core.emit.onnx import write
from k2t_core.keras_side.batches import random_batch
from k2t_core.tensors import to_tensor

ONNX = FORMATS["onnx"].file
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def differences(folder, graph, batch: int, seed: int) -> list[float]:
    """Of each output, on a batch that the export did not see; the names are the manifest's."""
    manifest = json.loads((folder / "manifest.json").read_text())
    session = onnxruntime.InferenceSession(folder / ONNX)
    names = [side["name"] for side in manifest["inputs"]]
    assert [i.name for i in session.get_inputs()] == names
    assert [o.name for o in session.get_outputs()] == [side["name"] for side in manifest["outputs"]]
    arrays = [
        np.ascontiguousarray(a.transpose(side["permutation"]) if side["permutation"] else a)
        for a, side in zip(random_batch(graph, batch, seed), manifest["inputs"])
    ]
    with torch.no_grad():
        wanted = load_module(folder)(*map(to_tensor, arrays))
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    got = session.run(None, dict(zip(names, arrays)))
    assert len(got) == len(wanted) and all(g.shape == tuple(w.shape) for g, w in zip(got, wanted))
    return [float(np.abs(w.numpy() - g).max() / np.abs(w.numpy()).max()) for w, g in zip(wanted, got)]


@pytest.mark.parametrize(
    "name", ["dense", "convnet", "lstm", "text_classifier", "transformer", "unet", "two_in_two_out"]
)
def test_onnxruntime_gives_the_same(example, tmp_path, name):
    plan = k2t.plan(example(name))
    k2t.convert(plan, tmp_path, onnx=True)
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, ONNX}
    for batch in (1, 7):
        assert max(differences(tmp_path, plan.root.graph, batch, seed=11)) < 1e-4


def free_sizes():
    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def test_free_dimensions_stay_free_and_the_bytes_are_the_same(tmp_path):
    plan = k2t.plan(free_sizes())
    for folder in ("a", "b"):
        k2t.convert(plan, tmp_path / folder, onnx=True)
    assert (tmp_path / "a" / ONNX).read_bytes() == (tmp_path / "b" / ONNX).read_bytes()
    session = onnxruntime.InferenceSession(tmp_path / "a" / ONNX)
    module = load_module(tmp_path / "a")
    for shape in ((1, 3, 9, 31), (6, 3, 40, 17)):
        x = np.random.default_rng(0).standard_normal(shape).astype("float32")
        assert np.allclose(session.run(None, {"image": x})[0], module(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


ANOTHER = """
import torch.onnx

export = torch.onnx.export


def other(module, *args, **options):
    changed = load_model()
    with torch.no_grad():
        next(changed.parameters()).mul_(1.5)
    return export(changed, *args, **options)


torch.onnx.export = other
"""


def test_one_that_differs_is_not_written(example, tmp_path):
    """The proof has teeth: model.py has other weights exported than it computes with."""
    k2t.convert(example("dense"), tmp_path)
    with open(tmp_path / "model.py", "a") as file:
        file.write(ANOTHER)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    with pytest.raises(k2t.K2TError, match="differs from the module: output 'classes'"):
        write(tmp_path / ONNX, k2t.plan(example("dense")).root.graph)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_one_that_torch_cannot_export_is_told_in_a_line(example, tmp_path):
    plan = k2t.plan(example("dense"))
    k2t.convert(plan, tmp_path)
    source = tmp_path / "model.py"
    source.write_text(
        source.read_text()
        .replace("        x = F.relu(", "        x = x * float(x.sum().item() > 0)\n        x = F.relu(")
        .replace("return x\n", "return x if x.sum().item() > 0 else -x\n", 1)
    )
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(k2t.K2TError, match="torch cannot export this model: ") as told:
        write(tmp_path / ONNX, plan.root.graph)
    assert "\n" not in str(told.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_the_packages_it_says_what_to_install(example, tmp_path, monkeypatch, capfd):
    real = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "onnxscript" else real(name, *rest)
    )
    monkeypatch.setattr(sys, "argv", ["k2t"])
    with pytest.raises(SystemExit) as stopped:
        cli.main(["convert", str(example("dense")), "-o", str(tmp_path / "out"), "--onnx"])
    assert stopped.value.code == 2 and not (tmp_path / "out").exists()
    assert capfd.readouterr().err == "k2t: ONNX needs onnxscript: pip install 'k2t[onnx]'\n"


def test_the_command_writes_it_and_a_later_conversion_takes_it_away(example, tmp_path, capfd):
    for flags, there in (["--onnx"], True), ([], False):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["convert", str(example("dense")), "-o", str(tmp_path), *flags])
        out, err = capfd.readouterr()
        assert not stopped.value.code and err == "" and (ONNX in out) == there == (tmp_path / ONNX).is_file()
