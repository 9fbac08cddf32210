"""One comparison: outputs are judged, and a forward() that fails or returns something else is told by its layer."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.emit.manifest import Manifest
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification.compare import compare
from k2t_core.verification.torch_side import TorchSide

BATCH = [np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype("float32")]


@pytest.fixture
def conv(tmp_path):
    """A folder, and the traced model, of two layers; a test may edit the folder."""
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, name="conv", activation="relu")(x)
    model = keras.Model(x, layers.Dense(2, name="head")(layers.Flatten(name="flat")(y)), name="small")
    randomise(model)
    traced = k2t.trace(k2t.load(model))
    k2t.convert(traced, tmp_path)
    return tmp_path, traced


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "model.py").read_text()
    assert old in text, text
    (folder / "model.py").write_text(text.replace(old, new, 1))


def compared(folder, traced, tolerance: float = 1e-4, believed=lambda: True):
    with TorchSide(folder, Manifest.read(folder)) as written:
        return compare(written.load(), traced, BATCH, "model", "a batch", tolerance, believed)


def test_a_right_module_agrees(conv):
    run, notes = compared(*conv)
    assert run.passed and notes == [] and (run.weights, run.inputs) == ("model", "a batch")
    assert [r.tensor for r in run.layers] == ["conv", "flat", "head"]
    assert run.outputs[0].keras_shape == run.outputs[0].torch_shape == (2, 2)
    assert run.outputs[0].rounding is not None and run.first_divergence is None


def test_an_output_is_judged_by_the_tolerance(conv):
    folder, traced = conv
    edit(folder, "x = self.head(x)\n", "x = self.head(x)\n        x = x * 1.01\n")
    run, _ = compared(folder, traced)
    assert not run.outputs[0].passed and run.outputs[0].difference.relative == pytest.approx(0.01, rel=1e-3)
    assert compared(folder, traced, tolerance=0.02)[0].outputs[0].passed


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("return x", "return x, x", "forward() returns 2 outputs, and the Keras model has one output; return a tensor"),
        ("return x", "return 'x'", "forward() returns a str"),
        ("x = self.head(x)", "x = self.head(x @ x)", "layer 'head' does not get done"),
        ("kernel_size=3", "kernel_size=3, padding=1", "layer 'conv' is the first that gives another shape"),
        ("return x", "return nothing", "every layer gets done"),
        (
            "return x",
            "raise ValueError('too late')",
            "forward() is not the one that k2t wrote, so no layer can be named",
        ),
    ],
)
def test_a_forward_that_fails_is_told_by_its_layer(old, new, words, conv):
    folder, traced = conv
    edit(folder, old, new)
    with pytest.raises(k2t.OutputError) as caught:
        compared(folder, traced)
    assert words in str(caught.value) and "model.py" in str(caught.value)


def test_code_that_insists_on_float32_is_judged_by_fixed_tolerances(conv):
    folder, traced = conv
    edit(folder, "self.conv(x)", "self.conv(x if x.element_size() == 4 else x.nothing)")
    run, notes = compared(folder, traced)
    assert run.passed and all(r.rounding is None for r in run.layers)
    assert [note.split(" (")[0] for note in notes] == ["No float64 run to measure rounding by"]


def test_another_dtype_and_training_mode_are_notes(conv):
    folder, traced = conv
    edit(folder, "return x", "return x.double()")
    edit(folder, ".eval()", ".train()")
    _, notes = compared(folder, traced)
    assert notes[0].startswith("load_model() returns the module in training mode")
    assert notes[1].endswith("is float64, in Keras float32: its numbers are compared, its dtype is another.")


@pytest.mark.parametrize("believed", [True, False])
def test_an_excuse_is_asked_for_where_it_is_needed(believed, conv):
    """A module that is off by 1e-3, and says of its float64 run that this is rounding."""
    folder, traced = conv
    edit(folder, "return x", "return x * (1 + 1e-3) if x.element_size() == 4 else x * (1 + 1e-4)")
    asked = []
    run, notes = compared(folder, traced, believed=lambda: not asked.append(1) and believed)
    assert run.passed == believed and len(asked) == 1
    assert any("k2t writes it" in note for note in notes) != believed
    edit(folder, "1 + 1e-3", "1 + 1e-7")
    asked.clear()
    compared(folder, traced, believed=lambda: not asked.append(1))
    assert not asked, "within the tolerance nothing is to be excused"
