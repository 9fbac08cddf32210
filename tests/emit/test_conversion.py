"""What `convert` writes: four files or none, the same bytes each time, and a model.py that stands alone."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import layers
from safetensors.numpy import load_file

import k2t_core as k2t
from k2t_core.emit.manifest import FILES
from k2t_core.emit.module import load_module
from k2t_core.keras_side.batches import random_batch
from k2t_core.keras_side.tracing import trace
from k2t_core.project.bundled import examples

ROOT = Path(__file__).parent.parent.parent
NAMES = list(examples().EXAMPLES)


def torch_inputs(folder: Path, model: Path) -> tuple[list[torch.Tensor], list[np.ndarray]]:
    """A random batch as torch tensors in the manifest's layout, and as Keras takes it."""
    sides = json.loads((folder / "manifest.json").read_text())["inputs"]
    arrays = random_batch(trace(k2t.load(model)).graph, batch=3, seed=5)
    return [
        torch.from_numpy(np.ascontiguousarray(a.transpose(s["permutation"]) if s["permutation"] else a))
        for a, s in zip(arrays, sides)
    ], arrays


# The files


def test_the_three_systems_as_a_person_would_write_them(converted):
    assert "self.hidden = nn.Linear(10, 128)" in (converted("dense") / "model.py").read_text()
    convnet = (converted("convnet") / "model.py").read_text()
    assert "self.conv = nn.Conv2d(3, 32, kernel_size=3, padding=1)" in convnet
    assert "permute" not in convnet and "transpose" not in convnet, "the Dense kernel is re-ordered, not the data"
    assert "self.lstm = nn.LSTM(20, 128, batch_first=True)" in (converted("lstm") / "model.py").read_text()


def test_manifest(converted, example):
    manifest = json.loads((converted("convnet") / "manifest.json").read_text())
    assert manifest["inputs"] == [
        {
            "name": "image",
            "keras_shape": [None, 28, 28, 3],
            "torch_shape": [None, 3, 28, 28],
            "dtype": "float32",
            "permutation": [0, 3, 1, 2],
        }
    ]
    assert manifest["outputs"] == [
        {
            "name": "classes",
            "keras_shape": [None, 10],
            "torch_shape": [None, 10],
            "dtype": "float32",
            "permutation": None,
        }
    ]
    assert manifest["reference"] == {"package": "keras", "version": keras.__version__, "backend": "tensorflow"}
    assert manifest["fingerprint"] == k2t.load(example("convnet")).fingerprint
    state = load_file(converted("convnet") / "model.safetensors")
    assert set(manifest["variables"]) == set(state)
    entry = manifest["variables"]["classes.weight"]
    assert (
        entry["keras"] == ["classes/kernel"] and entry["layer"] == "classes" and "flatten order" in entry["transform"]
    )
    assert {key: entry["torch_shape"] for key, entry in manifest["variables"].items()} == {
        key: list(array.shape) for key, array in state.items()
    }


def test_lstm_biases(converted, example):
    """Keras has three arrays and torch four: the second bias is zero, and nothing is lost."""
    state = load_file(converted("lstm") / "model.safetensors")
    model = k2t.load(example("lstm")).model
    kernel, recurrent, bias = (np.asarray(v) for v in model.get_layer("lstm").weights)
    assert np.array_equal(state["lstm.weight_ih_l0"], kernel.T) and np.array_equal(
        state["lstm.weight_hh_l0"], recurrent.T
    )
    assert np.array_equal(state["lstm.bias_ih_l0"], bias) and not state["lstm.bias_hh_l0"].any()


@pytest.mark.parametrize("name", ["convnet", "transformer", "shared"])
def test_the_same_input_twice_gives_the_same_bytes(example, tmp_path, name):
    for folder in ("a", "b"):
        k2t.convert(example(name), tmp_path / folder)
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_the_bytes_do_not_depend_on_the_process(example, converted, tmp_path):
    """Hash seeds and names that Keras counts up must not leak into the files."""
    env = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT)}
    model, out = str(example("unet")), str(tmp_path)
    script = f"import keras; keras.layers.Dense(1); import k2t_core as k2t; k2t.convert({model!r}, {out!r})"
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for file in FILES:
        assert (tmp_path / file).read_bytes() == (converted("unet") / file).read_bytes(), file


def test_progress_is_told_in_order(example, tmp_path):
    told = []
    k2t.convert(example("dense"), tmp_path, progress=lambda share, text: told.append((share, text)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1 and all(text for _, text in told)


# All or none


@keras.saving.register_keras_serializable("tests")
class Whatever(layers.Layer):
    """A layer that nobody has a rule for."""

    def call(self, x):
        return tf.math.special.dawsn(x)  # no operation of PyTorch's


def unsupported():
    inputs = keras.Input((8,), name="features")
    return keras.Model(inputs, layers.Dense(2)(Whatever(name="odd")(inputs)))


def test_an_unsupported_model_writes_nothing(tmp_path):
    with pytest.raises(k2t.UnsupportedError, match="'odd'"):
        k2t.convert(unsupported(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_unsupported_model_leaves_an_older_conversion_alone(example, tmp_path):
    k2t.convert(example("dense"), tmp_path)
    before = {file: (tmp_path / file).read_bytes() for file in FILES}
    with pytest.raises(k2t.UnsupportedError):
        k2t.convert(unsupported(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made(example, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(k2t.K2TError, match="cannot write there"):
        k2t.convert(example("dense"), tmp_path / "file" / "out")


def test_something_in_the_way_of_one_file_keeps_all_others_from_being_written(example, tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(k2t.K2TError, match="manifest.json"):
        k2t.convert(example("dense"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_full_disk_writes_nothing(example, tmp_path):
    """The kernel refuses to write past 100 kB; the weights have a megabyte."""
    script = f"""
import resource
import k2t_core as k2t
source = k2t.load({str(example("convnet"))!r})
plan = k2t.plan(source)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    k2t.convert(plan, {str(tmp_path / "out")!r})
except k2t.K2TError as error:
    print("REFUSED", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.startswith("REFUSED"), done.stdout + done.stderr
    assert done.stdout.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_constructor_argument_that_changes_a_weight_is_refused(example, tmp_path):
    recipe = k2t.Recipe().with_override(k2t.Override("hidden", "arguments", {"out_features": 64}))
    with pytest.raises(k2t.K2TError, match="hidden"):
        k2t.convert(example("dense"), tmp_path / "out", recipe)
    assert not (tmp_path / "out").exists()


# Standing alone

ALONE = """
import importlib.util, sys
from pathlib import Path

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"k2t_core", "keras", "tensorflow", "tf_keras", "h5py", "pandas", "streamlit"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import numpy as np, torch
torch.set_num_threads(2)
folder, batch = Path(sys.argv[1]), np.load(sys.argv[2])
spec = importlib.util.spec_from_file_location("model", folder / "model.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
inputs = [torch.from_numpy(batch[f"in{k}"]) for k in range(len(batch.files))]
model = module.load_model()
assert isinstance(model, torch.nn.Module) and not model.training
with torch.no_grad():
    outputs = model(*inputs)
outputs = outputs if isinstance(outputs, tuple) else (outputs,)
np.savez(sys.argv[3], *[y.numpy() for y in outputs])
again = module.load_model(folder / "model.safetensors")
model.train()
loss = sum(y.float().pow(2).mean() for y in (lambda r: r if isinstance(r, tuple) else (r,))(model(*inputs)))
loss.backward()
gradients = [p.grad for p in model.parameters() if p.grad is not None]
assert any(bool(gradient.abs().sum() > 0) for gradient in gradients), "training mode gives no gradient"
assert not {"keras", "tensorflow", "k2t_core"} & set(sys.modules)
"""


@pytest.mark.parametrize("name", NAMES)
def test_model_py_stands_alone(name, converted, example, tmp_path):
    """In a process that can import neither k2t nor Keras nor TensorFlow: the same numbers, and gradients."""
    inputs, arrays = torch_inputs(converted(name), example(name))
    np.savez(tmp_path / "batch.npz", **{f"in{k}": x.numpy() for k, x in enumerate(inputs)})
    (tmp_path / "alone.py").write_text(ALONE)
    command = [
        sys.executable,
        "-I",
        str(tmp_path / "alone.py"),
        str(converted(name)),
        str(tmp_path / "batch.npz"),
        str(tmp_path / "outputs.npz"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = keras.tree.flatten(
        k2t.load(example(name)).model(arrays if len(arrays) > 1 else arrays[0], training=False)
    )
    sides = json.loads((converted(name) / "manifest.json").read_text())["outputs"]
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert len(outputs.files) == len(expected)
        for want, key, side in zip(map(np.asarray, expected), outputs.files, sides):
            want = want.transpose(side["permutation"]) if side["permutation"] else want
            assert want.shape == outputs[key].shape
            assert np.abs(want - outputs[key]).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("name", NAMES)
def test_model_py_imports_torch_safetensors_and_the_standard_library_only(name, converted):
    tree = ast.parse((converted(name) / "model.py").read_text())
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"torch", "safetensors"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", ["convnet", "lstm", "transformer"])
@pytest.mark.parametrize("tool", ["jit.trace", "export", "compile"])
def test_torch_tools_take_the_module(name, tool, converted, example):
    model = load_module(converted(name))
    inputs, _ = torch_inputs(converted(name), example(name))
    with torch.no_grad():
        expected = model(*inputs)
        if tool == "jit.trace":
            other = torch.jit.trace(model, tuple(inputs))
        elif tool == "export":
            other = torch.export.export(model, tuple(inputs)).module()
        else:
            other = torch.compile(model, backend="eager")
        torch.testing.assert_close(other(*inputs), expected, rtol=1e-5, atol=1e-6)


def test_the_batch_size_is_not_baked_in(converted, example):
    for name in NAMES:
        model = load_module(converted(name))
        inputs, _ = torch_inputs(converted(name), example(name))
        with torch.no_grad():
            whole, first = model(*inputs), model(*(x[:1] for x in inputs))
        whole, first = (y if isinstance(y, tuple) else (y,) for y in (whole, first))
        for a, b in zip(whole, first):
            torch.testing.assert_close(a[:1], b, rtol=1e-5, atol=1e-6)
