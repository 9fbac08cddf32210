"""A verification report on disk: report.json with the numbers, arrays.npz with the outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.difference import OUTPUT_TOLERANCE, Difference, Rounding, coarseness, measures
from k2t_core.recipe import Override, Recipe
from k2t_core.transforms import float_dtype, is_float


@dataclass(frozen=True, eq=False)
class OutputResult:
    """One model output on the batch, both sides in Keras's axis order."""

    name: str
    keras_shape: tuple[int, ...]
    torch_shape: tuple[int, ...]
    difference: Difference
    passed: bool
    keras: np.ndarray = field(repr=False)
    torch: np.ndarray = field(repr=False)
    rounding: Rounding | None = None

    def allowed(self, tolerance: float) -> float:
        """The tolerance, which is stated for float32, in the output's own dtype."""
        return tolerance * coarseness(self.keras.dtype) if is_float(self.keras.dtype) else 0.0


@dataclass(frozen=True)
class TimeStep:
    """The first step from which a layer over time differs, counted from 1 in the order in which it runs.

    backwards: that order is from the end of the sequence; part: "forward" or "backward" of a Bidirectional.
    """

    step: int
    count: int
    backwards: bool = False
    part: str = ""

    def describe(self) -> str:
        way = f" of its {self.part} half" if self.part else ""
        return f"from time step {self.step} of {self.count}{way} on" + (
            ", counted from the end" if self.backwards else ""
        )


@dataclass(frozen=True)
class LayerResult:
    """One Keras tensor. ``cumulative``: as computed on torch's own inputs; ``isolated``: on Keras's inputs to this layer.

    A tensor named ``… before softmax`` is what the layer computes before its own activation, which could hide an error;
    ``… of a thousandth`` what a normalisation makes of its input made small, ``… without variance`` what a batch
    normalisation makes of it with variances of 0: there its epsilon is seen.
    """

    tensor: str
    layer: str
    cumulative: Difference | None
    isolated: Difference | None
    passed: bool
    rounding: Rounding | None = None  # of the isolated value
    double: Difference | None = None  # both sides in float64, where the float32 ones did not settle it
    steps: tuple[TimeStep, ...] = ()  # of the first layer that diverges, where it runs over time


@dataclass(frozen=True)
class TrainingResult:
    """A gradient, or a statistic after a step in training mode, in torch's layout of the weight or Keras's of the input."""

    what: str
    name: str
    layer: str | None
    difference: Difference
    passed: bool


@dataclass(frozen=True, eq=False)
class Run:
    """One comparison: one set of weights, one batch. ``batch``: its first samples, an array for each input in Keras's order of axes."""

    weights: str
    inputs: str
    outputs: tuple[OutputResult, ...]
    layers: tuple[LayerResult, ...]
    first_divergence: str | None
    tolerance: float
    batch: tuple[np.ndarray, ...] = field(default=(), repr=False)

    @property
    def passed(self) -> bool:
        return all(o.passed for o in self.outputs) and all(layer.passed for layer in self.layers)

    @property
    def worst(self) -> OutputResult:
        """The output of the largest relative difference."""
        return max(self.outputs, key=lambda o: o.difference.relative)

    @property
    def own_tolerance(self) -> float:
        """The tolerance in the dtype of the outputs, as the charts draw it."""
        return self.worst.allowed(self.tolerance) or self.tolerance

    @property
    def why_worst(self) -> str:
        """What the number of the worst output does not say by itself, in words; mostly empty."""
        o = self.worst
        if o.keras.shape != o.torch.shape:
            return f"output {o.name!r} has shape {o.torch.shape}, in Keras {o.keras.shape}"
        if o.difference.relative == float("inf"):
            lost = sum(int((~np.isfinite(side)).sum()) for side in (o.torch, o.keras))
            return (
                f"output {o.name!r} holds NaN or infinity on one side"
                if lost
                else f"output {o.name!r} is 0 throughout in Keras"
            )
        if o.passed and o.difference.relative > o.allowed(self.tolerance):
            return "what lies beyond the tolerance is rounding: every layer alone agrees, and a run in float64 bears it out"
        return ""


@dataclass(frozen=True)
class Weakness:
    """A variable whose values cannot tell a right mapping from a wrong one."""

    variable: str
    reason: str


@dataclass(frozen=True)
class Cause:
    """A change to a layer's mapping, and the layer's error before and after it.

    recipe: the overrides in force after the change; it is what one click puts in place.
    """

    layer: str
    text: str
    recipe: Recipe
    before: Difference
    after: Difference
    explains: bool

    @property
    def factor(self) -> float:
        """How many times smaller the error becomes; infinite where nothing is left of it."""
        return float("inf") if self.after.relative == 0 else self.before.relative / self.after.relative

    def describe(self) -> str:
        """One line for a person."""
        return f"{self.text} ({'explains the difference' if self.explains else 'comes nearer'}: {self.before.relative:.1e} → {self.after.relative:.1e})"


@dataclass(frozen=True)
class Effect:
    """What an override does: its layer's error, alone on Keras's own input, with it and without it.

    default is None where the layer cannot be converted without the override, or as it stands cannot be judged alone; then
    ``note`` says why.
    """

    override: Override
    chosen: Difference | None
    default: Difference | None
    agrees: bool
    note: str = ""

    def describe(self) -> str:
        """One line for a person."""
        if self.chosen is None:
            return f"{self.override.describe()}: {self.note}"
        against = f"by default {self.default.relative:.1e}" if self.default is not None else f"no default: {self.note}"
        return f"{self.override.describe()}: {'agrees' if self.agrees else 'differs'}, the layer's error is {self.chosen.relative:.1e} with it, {against}"


@dataclass(frozen=True, eq=False)
class Report:
    """The verdict over all runs. ``outputs`` and ``layers`` are those of the run that carries it."""

    runs: tuple[Run, ...]
    weaknesses: tuple[Weakness, ...]
    notes: tuple[str, ...] = ()
    reference: dict[str, str] = field(default_factory=dict)
    training: tuple[TrainingResult, ...] = ()
    effects: tuple[Effect, ...] = ()  # of each override
    causes: tuple[Cause, ...] = ()  # what would bring the first layer that diverges nearer to Keras, best first
    compiled: tuple[str, ...] = ()  # paths of the layers that Keras ran compiled by XLA, for want of a kernel

    @property
    def passed(self) -> bool:
        """Whether every run agrees. True says no more than its evidence: see `proves`."""
        return all(run.passed for run in self.runs) and all(result.passed for result in self.training)

    @property
    def proves(self) -> bool:
        """Whether the evidence can tell a right mapping from a wrong one: weights without weaknesses, or randomised ones."""
        return not self.weaknesses or any(run.weights == "randomised" for run in self.runs)

    @property
    def deciding(self) -> Run:
        """The run that carries the verdict: the first that differs, else the randomised one, else the first."""
        failed = [run for run in self.runs if not run.passed]
        randomised = [run for run in self.runs if run.weights == "randomised"]
        return (failed or randomised or list(self.runs))[0]

    @property
    def outputs(self) -> tuple[OutputResult, ...]:
        return self.deciding.outputs

    @property
    def layers(self) -> tuple[LayerResult, ...]:
        return self.deciding.layers

    @property
    def first_divergence(self) -> str | None:
        """Path of the first layer that differs, None where all agree."""
        failed = next((result.layer for result in self.training if not result.passed and result.layer), None)
        return self.deciding.first_divergence or failed

    @property
    def diverges_from(self) -> str:
        """From which time step the first layer that differs does so, in words; empty where it does not run over time."""
        steps = next((r.steps for r in self.layers if r.layer == self.first_divergence and r.steps), ())
        return " and ".join(step.describe() for step in steps)

    @property
    def execution(self) -> str:
        """How Keras was run, in words."""
        if not self.compiled:
            return "operation by operation"
        return f"operation by operation, and compiled by XLA where TensorFlow has no kernel on this processor: {listed(self.compiled)}"

    @property
    def verdict(self) -> str:
        """One line for a person."""
        run = self.deciding
        worst, allowed = run.worst, run.worst.allowed(run.tolerance)
        told = "" if allowed == run.tolerance else f" in {worst.keras.dtype.name}"
        numbers = f"largest relative difference {worst.difference.relative:.2g}, tolerance {allowed:.2g}{told}" + (
            f"; {run.why_worst}" if run.why_worst else ""
        )
        if not self.passed:
            when = f", {self.diverges_from}" if self.diverges_from else ""
            where = f"; layer {self.first_divergence!r} diverges first{when}" if self.first_divergence else ""
            wrong = [result for result in self.training if not result.passed]
            if run.passed and wrong:
                return f"differs in training ({wrong[0].what} {wrong[0].name!r}: relative difference {wrong[0].difference.relative:.2g}; in inference it agrees)"
            return f"differs ({run.weights} weights: {numbers}{where})"
        if not self.proves:
            return f"agrees, but proves nothing: the weights cannot tell a right mapping from a wrong one ({numbers}); verify with randomised weights"
        kinds = list(dict.fromkeys(r.weights for r in self.runs))
        edges = len(self.runs) - len(kinds)
        edges = f", {edges} edge cases" if edges else ""
        trained = ", gradients and training statistics" if self.training else ""
        evidence = " and ".join(f"{kind} weights" for kind in kinds) + edges + trained
        if self.weaknesses:
            evidence += "; the randomised weights carry the verdict: some of the model's own cannot tell a right mapping from a wrong one"
        ran = f"compiled by XLA in {listed(self.compiled)}" if self.compiled else "operation by operation"
        return f"agrees ({numbers}; evidence: {evidence}; Keras ran {ran})"

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json and the report file, without the arrays."""
        return {
            "passed": self.passed,
            "proves": self.proves,
            "verdict": self.verdict,
            "first_divergence": self.first_divergence,
            "diverges_from": self.diverges_from,
            "reference": self.reference,
            "execution": self.execution,
            "compiled": list(self.compiled),
            "weaknesses": [asdict(w) for w in self.weaknesses],
            "notes": list(self.notes),
            "training": [asdict(r) for r in self.training],
            "causes": [asdict(c) for c in self.causes],
            "overrides": [asdict(e) for e in self.effects],
            "runs": [_run_json(run) for run in self.runs],
        }


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "weights": run.weights,
        "inputs": run.inputs,
        "passed": run.passed,
        "tolerance": run.tolerance,
        "first_divergence": run.first_divergence,
        "outputs": [
            {
                "name": o.name,
                "shape": list(o.keras_shape),
                "torch_shape": list(o.torch_shape),
                "passed": o.passed,
                **asdict(o.difference),
                "rounding": o.rounding and asdict(o.rounding),
                **measures(o.keras, o.torch),
            }
            for o in run.outputs
        ],
        "layers": [
            {
                "layer": r.layer,
                "tensor": r.tensor,
                "passed": r.passed,
                "cumulative": r.cumulative and asdict(r.cumulative),
                "isolated": r.isolated and asdict(r.isolated),
                "rounding": r.rounding and asdict(r.rounding),
                "double": r.double and asdict(r.double),
                "steps": [asdict(step) for step in r.steps],
            }
            for r in run.layers
        ],
    }


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first few of many names, and how many more there are."""
    told = ", ".join(map(repr, names[:most]))
    return told if len(names) <= most else f"{told} and {len(names) - most} more"


def first_failure(layers: Sequence[LayerResult], outputs_passed: bool) -> str | None:
    """The first layer that is wrong on Keras's own input; failing that, the first whose accumulated error is too large."""
    for layer in layers:
        if not layer.passed:
            return layer.layer
    if not outputs_passed:
        for layer in layers:
            if layer.cumulative is not None and layer.cumulative.relative > OUTPUT_TOLERANCE:
                return layer.layer
    return None


REPORT_VERSION = 9


def write_report(report: Report, folder: Path, key: str) -> None:
    """Write a report, so that `read_report` gives an equal one. ``key`` says what it was a report on."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").unlink(missing_ok=True)  # without it there is no report: never half of two
    arrays = {
        f"{r}.{o}.{side}": getattr(output, side)
        for r, run in enumerate(report.runs)
        for o, output in enumerate(run.outputs)
        for side in ("keras", "torch")
    }
    arrays.update({f"{r}.input.{k}": array for r, run in enumerate(report.runs) for k, array in enumerate(run.batch)})
    exotic = {
        name: str(array.dtype)
        for name, array in arrays.items()
        if array.dtype.kind == "V" or array.dtype.name == "bfloat16"
    }
    np.savez(
        folder / "arrays.npz",
        **{name: array.astype("float32") if name in exotic else array for name, array in arrays.items()},
    )
    data = {"k2t_report": REPORT_VERSION, "key": key, "dtypes": exotic, **report.to_json()}
    staging = folder / "report.json.new"
    staging.write_text(json.dumps(data, indent=2, ensure_ascii=False), encoding="utf-8")
    os.replace(staging, folder / "report.json")


def read_report(folder: Path) -> Report | None:
    """The report in a folder, None where there is none of this version."""
    data = _read_json(folder)
    if data is None:
        return None
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        arrays = {
            name: file[name].astype(float_dtype(data["dtypes"][name])) if name in data["dtypes"] else file[name]
            for name in file.files
        }
        runs = tuple(_run_of(run, index, arrays) for index, run in enumerate(data["runs"]))
    return Report(
        runs,
        tuple(Weakness(**w) for w in data["weaknesses"]),
        tuple(data["notes"]),
        data["reference"],
        tuple(map(_training_of, data["training"])),
        tuple(map(_effect_of, data["overrides"])),
        tuple(map(_cause_of, data["causes"])),
        tuple(data["compiled"]),
    )


def report_key(folder: Path) -> str | None:
    """What the report in a folder was a report on."""
    data = _read_json(folder)
    return data and data["key"]


def _read_json(folder: Path) -> dict[str, Any] | None:
    path = folder / "report.json"
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return data if data.get("k2t_report") == REPORT_VERSION else None


def _run_of(run: dict[str, Any], index: int, arrays: dict[str, np.ndarray]) -> Run:
    outputs = tuple(
        OutputResult(
            o["name"],
            tuple(o["shape"]),
            tuple(o["torch_shape"]),
            _difference_of(o),
            o["passed"],
            arrays[f"{index}.{k}.keras"],
            arrays[f"{index}.{k}.torch"],
            _rounding_of(o),
        )
        for k, o in enumerate(run["outputs"])
    )
    layers = tuple(
        LayerResult(
            r["tensor"],
            r["layer"],
            _difference_of(r["cumulative"]),
            _difference_of(r["isolated"]),
            r["passed"],
            _rounding_of(r),
            _difference_of(r["double"]),
            tuple(TimeStep(**step) for step in r["steps"]),
        )
        for r in run["layers"]
    )
    batch = tuple(arrays[name] for name in (f"{index}.input.{k}" for k in range(len(arrays))) if name in arrays)
    return Run(run["weights"], run["inputs"], outputs, layers, run["first_divergence"], run["tolerance"], batch)


def _difference_of(data: dict[str, Any] | None) -> Difference | None:
    return data and Difference(**{name: data[name] for name in ("max_abs", "mean_abs", "relative", "keras_max")})


def _training_of(data: dict[str, Any]) -> TrainingResult:
    return TrainingResult(data["what"], data["name"], data["layer"], _difference_of(data["difference"]), data["passed"])


def _cause_of(data: dict[str, Any]) -> Cause:
    recipe = Recipe(tuple(Override(**o) for o in data["recipe"]["overrides"]))
    return Cause(
        data["layer"],
        data["text"],
        recipe,
        _difference_of(data["before"]),
        _difference_of(data["after"]),
        data["explains"],
    )


def _effect_of(data: dict[str, Any]) -> Effect:
    return Effect(
        Override(**data["override"]),
        _difference_of(data["chosen"]),
        _difference_of(data["default"]),
        data["agrees"],
        data["note"],
    )


def _rounding_of(data: dict[str, Any]) -> Rounding | None:
    return data["rounding"] and Rounding(**data["rounding"])
