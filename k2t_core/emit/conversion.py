"""Write a conversion: model.py, model.safetensors, manifest.json and recipe.json, all or none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from k2t_core.emit.code import Code
from k2t_core.emit.committing import commit, stage
from k2t_core.emit.formats import FORMATS
from k2t_core.emit.manifest import FILES, Manifest
from k2t_core.emit.source import write_source
from k2t_core.errors import RAISED, K2TError, OverrideError, named
from k2t_core.planning.plan import Plan
from k2t_core.planning.planner import plan as make_plan
from k2t_core.progress import Progress, check, silent
from k2t_core.tensors import to_tensor, unfilled
from k2t_core.transforms import apply_chain


@dataclass(frozen=True, eq=False)
class Conversion:
    """What `convert` wrote, and the plan and the source behind it. ``files``: their names in the folder."""

    folder: Path
    plan: Plan
    code: Code
    files: tuple[str, ...]

    @property
    def model_path(self) -> Path:
        return self.folder / "model.py"


def convert(
    model: Any,
    out: str | Path,
    recipe: Any = None,
    *,
    allow_unsafe: bool = False,
    progress: Progress | None = None,
    **formats: bool,
) -> Conversion:
    """Convert a Keras model file (or a loaded `Source`, `Plan` or ``keras.Model``) into the folder ``out``.

    recipe: a path to recipe.json, a `Recipe`, or None. progress: called with (share done, what is being done).
    formats: of `FORMATS`, such as ``onnx=True``: write model.onnx as well, compared with the module. Without it an
    earlier conversion's goes.

    Nothing is written unless everything can be: the files appear together.
    Raises K2TError; UnsupportedError lists all layers that cannot be converted.
    """
    unknown = next((name for name in formats if name not in FORMATS), None)
    if unknown is not None:
        raise TypeError(f"convert() got an unexpected keyword argument {unknown!r}")
    say = progress or silent
    say(0.0, "Reading the model")
    plan = model if isinstance(model, Plan) else make_plan(model, recipe, allow_unsafe=allow_unsafe)
    plan.raise_for_problems()
    asked = [format for name, format in FORMATS.items() if formats.get(name)]
    for format in asked:
        format.maker().need_packages()
    say(0.3, "Writing the source")
    code = write_source(plan)
    folder = Path(out)
    files = (*FILES, *(format.file for format in asked))
    for name in files:
        if (folder / name).is_dir():
            raise K2TError(f"{folder / name}: a folder is in the way; give another output folder")
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = stage(folder)
    except OSError as error:
        raise K2TError(f"{folder}: cannot write there: {error.strerror or error}") from error
    try:
        _write(plan, code, staging, say)
        for format in asked:
            format.maker().write(
                staging / format.file, plan.root.graph, lambda share, text: say(0.92 + 0.07 * share, text)
            )
        # Of an earlier conversion, whatever it has that this one has not would not fit.
        earlier = [f.file for f in FORMATS.values()] if (folder / "manifest.json").is_file() else []
        commit(staging, files, [name for name in earlier if name not in files])
        existed = True
    except (OSError, SafetensorError) as error:
        raise K2TError(f"{folder}: cannot write the conversion: {getattr(error, 'strerror', None) or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed and not any(folder.iterdir()):
            folder.rmdir()
    say(1.0, "Done")
    return Conversion(folder, plan, code, files)


def _write(plan: Plan, code: Code, folder: Path, say: Progress) -> None:
    """The four files, checked against each other."""
    (folder / "model.py").write_text(code.text, encoding="utf-8")
    say(0.4, "Moving the weights")
    write_weights(plan, folder / "model.safetensors")
    say(0.9, "Writing the manifest")
    (folder / "manifest.json").write_text(Manifest.of(plan, code).text, encoding="utf-8")
    (folder / "recipe.json").write_text(plan.recipe.to_json(), encoding="utf-8")
    check_state_dict(folder, plan.root.class_name)


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
    """The module that was written must have exactly the weights that were written. Raises K2TError."""
    from safetensors import safe_open

    from k2t_core.emit.module import import_model

    module = import_model(folder)
    with safe_open(folder / "model.safetensors", "pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    _check_shapes(lambda: getattr(module, class_name)(), shapes)


def check_overrides(plan: Plan) -> None:
    """Refuse constructor arguments that torch refuses, or that change a weight's shape. Raises OverrideError."""
    if plan.problems or not any(override.kind == "arguments" for override in plan.recipe.overrides):
        return
    from k2t_core.emit.module import compile_module

    text = write_source(plan).text
    _check_shapes(lambda: compile_module(text)[plan.root.class_name](), {w.key: w.shape for w in plan.weights})


def _check_shapes(build: Callable[[], Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """The module that ``build`` gives must have a state_dict of these shapes; what breaks that is an override."""
    import torch

    try:
        with torch.device("meta"), unfilled():
            model = build()
    except RAISED as error:  # torch raises every type there is for arguments that it does not take
        raise OverrideError(
            f"the module cannot be built: {named(error)}; look at the overrides of constructor arguments"
        ) from error
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    for key in sorted(expected.keys() | shapes.keys()):
        if expected.get(key) != shapes.get(key):
            raise OverrideError(
                f"state_dict key {key!r}: the module has shape {expected.get(key)}, the weights {shapes.get(key)}; "
                "an override of a constructor argument may not change a weight's shape"
            )
