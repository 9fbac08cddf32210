"""A verification report on disk: report.json with the numbers, arrays.npz with the outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.recipe import Override, Recipe
from k2t_core.transforms import float_dtype
from k2t_core.verification.report import Cause, Difference, Effect, LayerResult, OutputResult, Report, Rounding, Run, TimeStep, TrainingResult, Weakness

VERSION = 9


def write_report(report: Report, folder: Path, key: str) -> None:
    """Write a report, so that `read_report` gives an equal one. ``key`` says what it was a report on."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").unlink(missing_ok=True)  # without it there is no report: never half of two
    arrays = {f"{r}.{o}.{side}": getattr(output, side) for r, run in enumerate(report.runs) for o, output in enumerate(run.outputs) for side in ("keras", "torch")}
    arrays.update({f"{r}.input.{k}": array for r, run in enumerate(report.runs) for k, array in enumerate(run.batch)})
    exotic = {name: str(array.dtype) for name, array in arrays.items() if array.dtype.kind == "V" or array.dtype.name == "bfloat16"}
    np.savez(folder / "arrays.npz", **{name: array.astype("float32") if name in exotic else array for name, array in arrays.items()})
    data = {"k2t_report": VERSION, "key": key, "dtypes": exotic, **report.to_json()}
    staging = folder / "report.json.new"
    staging.write_text(json.dumps(data, indent=2, ensure_ascii=False), encoding="utf-8")
    os.replace(staging, folder / "report.json")


def read_report(folder: Path) -> Report | None:
    """The report in a folder, None where there is none of this version."""
    data = _read(folder)
    if data is None:
        return None
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        arrays = {name: file[name].astype(float_dtype(data["dtypes"][name])) if name in data["dtypes"] else file[name] for name in file.files}
        runs = tuple(_run(run, index, arrays) for index, run in enumerate(data["runs"]))
    return Report(runs, tuple(Weakness(**w) for w in data["weaknesses"]), tuple(data["notes"]), data["reference"], tuple(map(_training, data["training"])), tuple(map(_effect, data["overrides"])), tuple(map(_cause, data["causes"])), tuple(data["compiled"]))


def report_key(folder: Path) -> str | None:
    """What the report in a folder was a report on."""
    data = _read(folder)
    return data and data["key"]


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / "report.json"
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return data if data.get("k2t_report") == VERSION else None


def _run(run: dict[str, Any], index: int, arrays: dict[str, np.ndarray]) -> Run:
    outputs = tuple(
        OutputResult(o["name"], tuple(o["shape"]), tuple(o["torch_shape"]), _difference(o), o["passed"], arrays[f"{index}.{k}.keras"], arrays[f"{index}.{k}.torch"], _rounding(o))
        for k, o in enumerate(run["outputs"])
    )
    layers = tuple(LayerResult(r["tensor"], r["layer"], _difference(r["cumulative"]), _difference(r["isolated"]), r["passed"], _rounding(r), _difference(r["double"]), tuple(TimeStep(**step) for step in r["steps"])) for r in run["layers"])
    batch = tuple(arrays[name] for name in (f"{index}.input.{k}" for k in range(len(arrays))) if name in arrays)
    return Run(run["weights"], run["inputs"], outputs, layers, run["first_divergence"], run["tolerance"], batch)


def _difference(data: dict[str, Any] | None) -> Difference | None:
    return data and Difference(**{name: data[name] for name in ("max_abs", "mean_abs", "relative", "keras_max")})


def _training(data: dict[str, Any]) -> TrainingResult:
    return TrainingResult(data["what"], data["name"], data["layer"], _difference(data["difference"]), data["passed"])


def _cause(data: dict[str, Any]) -> Cause:
    recipe = Recipe(tuple(Override(**o) for o in data["recipe"]["overrides"]))
    return Cause(data["layer"], data["text"], recipe, _difference(data["before"]), _difference(data["after"]), data["explains"])


def _effect(data: dict[str, Any]) -> Effect:
    return Effect(Override(**data["override"]), _difference(data["chosen"]), _difference(data["default"]), data["agrees"], data["note"])


def _rounding(data: dict[str, Any]) -> Rounding | None:
    return data["rounding"] and Rounding(**data["rounding"])
