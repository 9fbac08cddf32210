"""Write a conversion: model.py, model.safetensors, manifest.json and recipe.json, all or none."""

from __future__ import annotations

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

from k2t_core.emit.code import Code
from k2t_core.emit.manifest import FILES, ONNX, Manifest
from k2t_core.emit.source import write_source
from k2t_core.errors import RAISED, K2TError, OverrideError, named
from k2t_core.planning.plan import Plan
from k2t_core.planning.planner import plan as make_plan
from k2t_core.progress import Progress, check, silent
from k2t_core.tensors import to_tensor, unfilled
from k2t_core.transforms import apply_chain


@dataclass(frozen=True, eq=False)
class Conversion:
    """What `convert` wrote, and the plan and the source behind it."""

    folder: Path
    plan: Plan
    code: Code

    @property
    def model_path(self) -> Path:
        return self.folder / "model.py"


def convert(
    model: Any,
    out: str | Path,
    recipe: Any = None,
    *,
    onnx: bool = False,
    allow_unsafe: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a Keras model file (or a loaded `Source`, `Plan` or ``keras.Model``) into the folder ``out``.

    recipe: a path to recipe.json, a `Recipe`, or None. progress: called with (share done, what is being done).
    onnx: write model.onnx as well, compared with the module (see `emit.onnx`). Without it an earlier conversion's goes.

    Nothing is written unless everything can be: the files appear together.
    Raises K2TError; UnsupportedError lists all layers that cannot be converted.
    """
    say = progress or silent
    say(0.0, "Reading the model")
    plan = model if isinstance(model, Plan) else make_plan(model, recipe, allow_unsafe=allow_unsafe)
    plan.raise_for_problems()
    if onnx:
        from k2t_core.emit.onnx import need_packages, write_onnx

        need_packages()
    say(0.3, "Writing the source")
    code = write_source(plan)
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
        (staging / "manifest.json").write_text(
            json.dumps(Manifest.of(plan, code).to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (staging / "recipe.json").write_text(plan.recipe.to_json(), encoding="utf-8")
        check_state_dict(staging, plan.root.class_name)
        if onnx:
            write_onnx(staging, plan.root.graph, lambda share, text: say(0.92 + 0.07 * share, text))
        if (folder / "manifest.json").is_file() and (
            folder / ONNX
        ).is_file():  # of another conversion: it would not fit this one
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
    return Conversion(folder, plan, code)


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


def check_state_dict(folder: Path, class_name: str) -> None:
    """The written source, built without memory, must have exactly the written weights."""
    import torch
    from safetensors import safe_open

    from k2t_core.emit.module import import_model

    module = import_model(folder)
    try:
        with torch.device("meta"), unfilled():
            model = getattr(module, class_name)()
    except RAISED as error:  # an override of a constructor argument can be anything
        raise K2TError(
            f"the module cannot be built: {named(error)}; look at the overrides of constructor arguments"
        ) from error
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    with safe_open(folder / "model.safetensors", "pt") as file:
        written = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    for key in sorted(expected.keys() | written.keys()):
        if expected.get(key) != written.get(key):
            raise K2TError(
                f"state_dict key {key!r}: the module has shape {expected.get(key)}, the weights {written.get(key)}; an override of a constructor argument may not change a weight's shape"
            )


def check_modules(plan: Plan) -> None:
    """Constructor arguments that torch refuses, or that change a weight's shape, are refused with the override."""
    if plan.problems or not any(override.kind == "arguments" for override in plan.recipe.overrides):
        return
    import torch

    namespace: dict[str, Any] = {"__name__": "model"}
    try:
        exec(
            compile(write_source(plan).text, "model.py", "exec"), namespace
        )  # the source that a conversion would write and import
        with torch.device("meta"):
            model = namespace[plan.root.class_name]()
    except RAISED as error:  # torch raises every type there is for arguments that it does not take
        raise OverrideError(f"with this override the module cannot be built: {named(error)}") from error
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    for weight in plan.weights:
        if shapes.get(weight.key) != weight.shape:
            raise OverrideError(
                f"layer {weight.layer!r}: with this override {weight.key} would have shape {shapes.get(weight.key)}, but the weights have {weight.shape}; "
                "an argument may not change the shape of a weight"
            )
