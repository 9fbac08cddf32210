"""One harness for every layer rule: convert a real Keras model, run both real frameworks, compare.

Every variable is randomised first, BatchNorm statistics too: constant or symmetric weights hide wrong transposes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
import torch

import k2t_core as k2t
from k2t_core.emit.module import load_module
from k2t_core.keras_side.compiling import outputs
from k2t_core.keras_side.randomise import randomise
from k2t_core.tensors import to_array, to_tensor

TOLERANCE = 1e-5
FOLDER = tempfile.TemporaryDirectory(prefix="k2t-test-")  # of every conversion of this process; gone when it ends


def functional(layer, *shapes, dtype="float32", **call):
    """A model of one layer: ``functional(Conv2D(…), (9, 9, 3))``; several shapes are passed as a list."""
    dtypes = [dtype] * len(shapes) if isinstance(dtype, str) else dtype
    inputs = [keras.Input(shape, dtype=d, name=f"input_{i}") for i, (shape, d) in enumerate(zip(shapes, dtypes))]
    outputs = layer(inputs[0] if len(inputs) == 1 else inputs, **call)
    return keras.Model(inputs, outputs, name="model_under_test")


def sample(model, batch=3, seed=0) -> list[np.ndarray]:
    """A random batch for each input; free dimensions get 7, integers are drawn from 0…4, bools are mixed."""
    rng = np.random.default_rng(seed)
    arrays = []
    for x in model.inputs:
        shape = (batch, *(7 if n is None else n for n in x.shape[1:]))
        if x.dtype == "bool":
            arrays.append(rng.random(shape) < 0.7)
        elif "int" in x.dtype:
            arrays.append(rng.integers(0, 5, shape).astype(x.dtype))
        else:
            arrays.append(rng.standard_normal(shape).astype(x.dtype))
    return arrays


def convert_and_run(model, arrays: Sequence[np.ndarray] | None = None, recipe=None, randomised=True):
    """Convert ``model`` and run it: (Conversion, torch module, Keras outputs, torch outputs in Keras's axis order)."""
    if randomised:
        randomise(model)
    arrays = sample(model) if arrays is None else list(arrays)
    folder = Path(tempfile.mkdtemp(dir=FOLDER.name))
    conversion = k2t.convert(model, folder, recipe)
    module = load_module(folder)
    layouts = conversion.plan.root.input_layouts
    with torch.no_grad():
        got = module(*(to_tensor(layout.to_torch(a)) for layout, a in zip(layouts, arrays)))
    got = got if isinstance(got, tuple) else (got,)
    expected = outputs(model, arrays)
    actual = [layout.to_keras(to_array(y)) for layout, y in zip(conversion.plan.root.output_layouts, got)]
    return conversion, module, expected, actual


def relative_difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """Largest absolute difference over the largest absolute Keras value."""
    if expected.size == 0:
        return 0.0
    difference = np.abs(expected.astype("float64") - actual.astype("float64")).max()
    return float(difference / max(np.abs(expected.astype("float64")).max(), 1e-30))


def check(model, arrays=None, tolerance=TOLERANCE, recipe=None, randomised=True):
    """Convert, run, and require equal shapes, equal integers and floats within ``tolerance``.

    Returns (Conversion, module).
    """
    conversion, module, expected, actual = convert_and_run(model, arrays, recipe, randomised)
    assert len(expected) == len(actual)
    for want, got in zip(expected, actual):
        assert want.shape == got.shape, f"shape {got.shape}, Keras {want.shape}\n{conversion.code.text}"
        assert want.dtype == got.dtype, f"dtype {got.dtype}, Keras {want.dtype}\n{conversion.code.text}"
        if want.dtype.kind in "biu":
            assert np.array_equal(want, got), conversion.code.text
        else:
            assert np.isfinite(want).all(), "the case itself overflows: choose other inputs"
            assert want.std() > 0 or want.size == 1 or np.all(want == want.flat[0]) and tolerance == 0, (
                "constant output proves nothing"
            )
            difference = relative_difference(want, got)
            assert difference <= tolerance, f"relative difference {difference:.3g}\n{conversion.code.text}"
    return conversion, module


def check_layer(layer, *shapes, dtype="float32", arrays=None, tolerance=TOLERANCE, recipe=None, **call):
    """`check` on a model of one layer."""
    return check(functional(layer, *shapes, dtype=dtype, **call), arrays, tolerance, recipe)


def verified(model, folder: Path):
    """Convert and verify a model, in training mode too, and require that the verdict proves something.

    Returns (Conversion, Report).
    """
    randomise(model)
    result = k2t.convert(model, folder / "out")
    report = k2t.verify(folder / "out", model, training=True)
    assert report.passed and report.proves, report.verdict
    return result, report
