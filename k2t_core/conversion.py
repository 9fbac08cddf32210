"""Write a conversion: model.py, model.safetensors, manifest.json and recipe.json, all or none."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from k2t_core import keras2
from k2t_core.emit.forwards import forward_hashes
from k2t_core.errors import RAISED, K2TError
from k2t_core.interruption import check
from k2t_core.layout import Layout
from k2t_core.planning import Plan, PlannedScope
from k2t_core.planning import plan as make_plan
from k2t_core.tensors import to_tensor, unfilled
from k2t_core.transforms import apply_chain

FILES = ("model.py", "model.safetensors", "manifest.json", "recipe.json")
ONNX = "model.onnx"  # on demand
MANIFEST_VERSION = 1

Progress = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class Conversion:
    """What `convert` wrote and the plan behind it."""

    folder: Path
    plan: Plan

    @property
    def model_path(self) -> Path:
        return self.folder / "model.py"


def convert(model: Any, out: str | Path, recipe: Any = None, *, onnx: bool = False, allow_unsafe: bool = False, progress: Progress | None = None) -> Conversion:
    """Convert a Keras model file (or a loaded `Source`, `Plan` or ``keras.Model``) into the folder ``out``.

    recipe: a path to recipe.json, a `Recipe`, or None. progress: called with (share done, what is being done).
    onnx: write model.onnx as well, compared with the module (`onnx_export`). Without it an earlier conversion's goes.

    Nothing is written unless everything can be: the files appear together.
    Raises K2TError; UnsupportedError lists all layers that cannot be converted.
    """
    say = progress or (lambda share, text: None)
    say(0.0, "Reading the model")
    plan = model if isinstance(model, Plan) else make_plan(model, recipe, allow_unsafe=allow_unsafe)
    plan.raise_for_problems()
    if onnx:
        from k2t_core.onnx_export import need_packages, write_onnx

        need_packages()
    say(0.3, "Writing the source")
    code = plan.code
    folder = Path(out)
    for name in (*FILES, ONNX) if onnx else FILES:
        if (folder / name).is_dir():
            raise K2TError(f"{folder / name}: a folder is in the way; give another output folder")
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".k2t-", dir=folder))
    except OSError as error:
        raise K2TError(f"{folder}: cannot write there: {error.strerror or error}") from error
    try:
        (staging / "model.py").write_text(code.text, encoding="utf-8")
        say(0.4, "Moving the weights")
        write_weights(plan, staging / "model.safetensors")
        say(0.9, "Writing the manifest")
        (staging / "manifest.json").write_text(json.dumps(manifest(plan), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (staging / "recipe.json").write_text(plan.recipe.to_json(), encoding="utf-8")
        check_state_dict(staging)
        if onnx:
            write_onnx(staging, plan.root.graph, lambda share, text: say(0.92 + 0.07 * share, text))
        if (folder / "manifest.json").is_file() and (folder / ONNX).is_file():  # of another conversion: it would not fit this one
            (folder / ONNX).unlink()
        # A folder without a manifest is no conversion: a process that dies here leaves nothing that could be mistaken for one.
        (folder / "manifest.json").unlink(missing_ok=True)
        for name in sorted(FILES, key=lambda name: name == "manifest.json"):
            os.replace(staging / name, folder / name)
        if onnx:
            os.replace(staging / ONNX, folder / ONNX)
        existed = True
    except (OSError, SafetensorError) as error:
        raise K2TError(f"{folder}: cannot write the conversion: {getattr(error, 'strerror', None) or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed and not any(folder.iterdir()):
            folder.rmdir()
    say(1.0, "Done")
    return Conversion(folder, plan)


def weight_arrays(plan: Plan, value: Callable[[str], np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """The state_dict as numpy arrays. ``value``: where a variable path's array comes from; default the live model."""
    value = value or plan.traced.value
    arrays = {}
    for weight in plan.weights:
        check()
        array = apply_chain(weight.steps, value(weight.source) if weight.source else None)
        arrays[weight.key] = np.array(array, copy=True) if array.base is not None else array
    return arrays


def write_weights(plan: Plan, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({key: to_tensor(array) for key, array in weight_arrays(plan).items()}, path, metadata={"format": "pt"})


def check_state_dict(folder: Path) -> None:
    """The written source, built without memory, must have exactly the written weights."""
    import torch
    from safetensors import safe_open

    from k2t_core.verification.module import import_model

    module = import_model(folder)
    try:
        with torch.device("meta"), unfilled():
            model = getattr(module, root_class(folder))()
    except RAISED as error:  # an override of a constructor argument can be anything
        raise K2TError(f"the module cannot be built: {type(error).__name__}: {' '.join(str(error).split())[:200]}; look at the overrides of constructor arguments") from error
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    with safe_open(folder / "model.safetensors", "pt") as file:
        written = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    for key in sorted(expected.keys() | written.keys()):
        if expected.get(key) != written.get(key):
            raise K2TError(f"state_dict key {key!r}: the module has shape {expected.get(key)}, the weights {written.get(key)}; an override of a constructor argument may not change a weight's shape")


def root_class(folder: Path) -> str:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["class"]


def manifest(plan: Plan) -> dict[str, Any]:
    """manifest.json: see section 3 of the design. Permutations are null where Keras and torch agree."""
    import keras

    root = plan.root
    graph = root.graph

    def side(tensor: str, name: str, layout: Layout) -> dict[str, Any]:
        spec = graph.tensors[tensor]
        return {
            "name": name,
            "keras_shape": list(spec.shape),
            "torch_shape": list(layout.shape(spec.shape)),
            "dtype": spec.dtype,
            "permutation": None if layout.is_identity else list(layout.perm),
        }

    return {
        "k2t_manifest": MANIFEST_VERSION,
        "model": plan.source.name,
        "class": root.class_name,
        "fingerprint": plan.source.fingerprint,
        "source_sha256": hashlib.sha256(plan.code.text.encode()).hexdigest(),
        "reference": keras2.reference() if plan.source.original else {"package": "keras", "version": keras.__version__, "backend": keras.backend.backend()},
        "inputs": [side(t, n, layout) for t, n, layout in zip(graph.inputs, graph.input_names, root.input_layouts)],
        "cut": [c.layer.path for c in plan.traced.cuts],
        "closed": sorted(plan.traced.closed),
        "outputs": [side(t, n, layout) for t, n, layout in zip(graph.outputs, graph.output_names, root.output_layouts)],
        "variables": {
            w.key: {
                "keras": [w.source] if w.source else [],
                "layer": w.layer,
                "transform": w.transform,
                "keras_shape": list(w.keras_shape) if w.keras_shape is not None else None,
                "torch_shape": list(w.shape),
                "steps": [step.to_json() for step in w.steps],
            }
            for w in plan.weights
        },
        "scopes": scopes(root),
        "forwards": forward_hashes(plan.code.text),
        "taps": [
            {"module": tap.module, "class": tap.class_name, "statement": tap.statement, "variable": tap.variable, "tensor": tap.tensor, "layer": tap.layer, **_layout_json(tap.layout)}
            for tap in plan.code.taps
        ],
    }


def scopes(root: PlannedScope) -> dict[str, list[str]]:
    """Module path of each class instance → the Keras scopes it stands for, in order of its calls."""
    found: dict[str, list[str]] = {}

    def visit(planned_scope: PlannedScope, keras: str, prefix: str) -> None:
        for path in dict.fromkeys([prefix.rstrip("."), *(f"{prefix}{use.attr}" for use in planned_scope.instances)]):
            found.setdefault(path, []).append(keras)
        for planned in planned_scope.nodes:
            if planned.child is not None:
                visit(planned.child, f"{keras}{planned.node.id}/", f"{prefix}{planned.attr}.")

    visit(root, "", "")
    return found


def _layout_json(layout: Layout) -> dict[str, Any]:
    data: dict[str, Any] = {"permutation": None if layout.perm == tuple(range(layout.rank)) else list(layout.perm)}
    if layout.flat:
        data["flat"] = {"shape": list(layout.flat.shape), "permutation": list(layout.flat.perm)}
    return data
