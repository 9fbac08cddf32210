"""What a verification found: plain data with the numbers, the verdict and its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

# A tensor agrees where max|torch − keras| ≤ tolerance · max|keras|. 1e-4 is a thousand float32 roundings: deep
# networks drift by tens of them (1e-6 to 1e-5 measured over keras.applications), a wrong mapping by orders more.
OUTPUT_TOLERANCE = 1e-4
# A single layer on Keras's own input has no drift to excuse it.
LAYER_TOLERANCE = 2e-5


def coarseness(dtype: np.dtype) -> float:
    """How much coarser than float32 a dtype rounds: tolerances are stated for float32 and scaled by this."""
    bits = {"float16": 10, "bfloat16": 7, "float64": 52}.get(dtype.name, 23)
    return 2.0 ** min(23 - bits, 10) if bits < 23 else 2.0 ** max(23 - bits, -20)


@dataclass(frozen=True)
class Difference:
    """How far two arrays of one shape are apart.

    relative: max_abs over the largest absolute Keras value. Equal infinities and NaN in the same places count as equal;
    anything else that is not finite makes the difference infinite.
    """

    max_abs: float
    mean_abs: float
    relative: float
    keras_max: float

    @classmethod
    def of(cls, keras: np.ndarray, torch: np.ndarray) -> Difference:
        if keras.shape != torch.shape:
            return cls(float("inf"), float("inf"), float("inf"), 0.0)
        a, b = keras.astype("float64"), torch.astype("float64")
        if a.size == 0:
            return cls(0.0, 0.0, 0.0, 0.0)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            distance = np.where(same, 0.0, np.abs(a - b))
        distance = np.where(np.isnan(distance), np.inf, distance)
        largest = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
        max_abs = float(distance.max())
        relative = 0.0 if max_abs == 0 else max_abs / largest if largest else float("inf")
        return cls(max_abs, float(distance.mean()), relative, largest)


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


@dataclass(frozen=True)
class LayerResult:
    """One Keras tensor. ``cumulative``: as computed on torch's own inputs; ``isolated``: on Keras's inputs to this layer."""

    tensor: str
    layer: str
    cumulative: Difference | None
    isolated: Difference | None
    passed: bool


@dataclass(frozen=True, eq=False)
class Run:
    """One comparison: one set of weights, one batch."""

    weights: str
    inputs: str
    outputs: tuple[OutputResult, ...]
    layers: tuple[LayerResult, ...]
    first_divergence: str | None
    tolerance: float

    @property
    def passed(self) -> bool:
        return all(o.passed for o in self.outputs) and all(layer.passed for layer in self.layers)


@dataclass(frozen=True)
class Weakness:
    """A variable whose values cannot tell a right mapping from a wrong one."""

    variable: str
    reason: str


@dataclass(frozen=True, eq=False)
class Report:
    """The verdict over all runs. ``outputs`` and ``layers`` are those of the run that carries it."""

    runs: tuple[Run, ...]
    weaknesses: tuple[Weakness, ...]
    notes: tuple[str, ...] = ()
    reference: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every run agrees. True says no more than its evidence: see `proves`."""
        return all(run.passed for run in self.runs)

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
        return self.deciding.first_divergence

    @property
    def verdict(self) -> str:
        """One line for a person."""
        run = self.deciding
        worst = max((o.difference.relative for o in run.outputs), default=0.0)
        numbers = f"largest relative difference {worst:.2g}, tolerance {run.tolerance:g}"
        if not self.passed:
            where = f"; layer {run.first_divergence!r} diverges first" if run.first_divergence else ""
            return f"differs ({run.weights} weights: {numbers}{where})"
        if not self.proves:
            return f"agrees, but proves nothing: the weights cannot tell a right mapping from a wrong one ({numbers}); verify with randomised weights"
        return f"agrees ({numbers}; evidence: {', '.join(r.weights + ' weights' for r in self.runs)})"

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json and the report file, without the arrays."""
        return {
            "passed": self.passed,
            "proves": self.proves,
            "verdict": self.verdict,
            "first_divergence": self.first_divergence,
            "reference": self.reference,
            "weaknesses": [asdict(w) for w in self.weaknesses],
            "notes": list(self.notes),
            "runs": [_run_json(run) for run in self.runs],
        }


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "weights": run.weights,
        "inputs": run.inputs,
        "passed": run.passed,
        "tolerance": run.tolerance,
        "first_divergence": run.first_divergence,
        "outputs": [{"name": o.name, "shape": list(o.keras_shape), "torch_shape": list(o.torch_shape), "passed": o.passed, **asdict(o.difference)} for o in run.outputs],
        "layers": [
            {"layer": r.layer, "tensor": r.tensor, "passed": r.passed, "cumulative": r.cumulative and asdict(r.cumulative), "isolated": r.isolated and asdict(r.isolated)}
            for r in run.layers
        ],
    }


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
