"""What a verification found: plain data with the numbers, the verdict and its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from k2t_core.recipe import Override, Recipe
from k2t_core.transforms import is_float

# An output agrees where max|torch − keras| ≤ tolerance · max|keras|. 1e-4 is a thousand float32 roundings: deep
# networks drift by tens of them (docs/models.md), a wrong mapping by orders more.
OUTPUT_TOLERANCE = 1e-4
# A layer alone, on Keras's own input, has no drift to excuse it. Up to this many roundings of its largest value agree as
# they are; more must be explained by a float64 run of the same layer.
LAYER_ROUNDINGS = 16
# How many times farther from the float64 run Keras may be than the float32 module is: both round, in another order.
ROUNDING_SLACK = 16
# Roundings that one side may have and the other not: TensorFlow adds up a global average one element after the other
# (38 roundings measured over 48 × 48 pixels in EfficientNetB0, 84 over 112 × 112), torch in pairs.
SUM_ROUNDINGS = 256
# Both, in float16 and bfloat16: frameworks add up in float32 there, and 256 roundings of bfloat16 would excuse anything.
HALF_ROUNDINGS = 6
# Rounding explains no more than this, relative to the largest value: a softmax over large, nearly equal scores comes near it.
LAYER_LIMIT = 0.25
# The tolerance of a layer for which there is no float64 run.
LAYER_TOLERANCE = 2e-5
# Both sides in float64, where a layer differs and rounding in float32 alone does not explain it.
DOUBLE_TOLERANCE = 1e-8


def rounding_unit(dtype: np.dtype) -> float:
    """The distance from 1 to the next number of a floating-point dtype."""
    return 2.0 ** -{"float16": 10, "bfloat16": 7, "float64": 52}.get(dtype.name, 23)


def roundings(dtype: np.dtype, count: int, largest: float) -> float:
    """So many roundings of the largest value; of a dtype with few digits fewer. Numbers of float16 below 2⁻¹⁴ lie no closer to each other."""
    count = count if rounding_unit(dtype) < 2.0**-16 else min(count, HALF_ROUNDINGS)
    return count * rounding_unit(dtype) * max(largest, 2.0**-14 if dtype.name == "float16" else 0.0)


def coarseness(dtype: np.dtype) -> float:
    """How much coarser than float32 a dtype rounds: tolerances are stated for float32 and scaled by this."""
    return min(max(rounding_unit(dtype) / 2.0**-23, 2.0**-20), 2.0**10)


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


@dataclass(frozen=True)
class Rounding:
    """Each side's largest distance to a float64 run of the written module, and the largest value of that run.

    A right conversion and Keras round in another order but by as much; a wrong one is near its own float64 run and far
    from Keras.
    """

    keras: float
    torch: float
    scale: float

    @classmethod
    def of(cls, keras: np.ndarray, torch: np.ndarray, exact: np.ndarray) -> Rounding:
        a, b = Difference.of(exact, keras), Difference.of(exact, torch)
        return cls(a.max_abs, b.max_abs, a.keras_max)

    def explains(self, dtype: np.dtype, both: bool = True) -> bool:
        """Whether Keras is no farther from the float64 run than rounding in ``dtype`` takes the module itself.

        both: nor the module farther than Keras, as it is where it computes in less than ``dtype``. That asks too much behind
        a softmax of large numbers, where one side may be exact by luck.
        """
        allowed = roundings(dtype, SUM_ROUNDINGS, self.scale)
        return self.keras <= ROUNDING_SLACK * self.torch + allowed and (not both or self.torch <= ROUNDING_SLACK * self.keras + allowed)


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
        return f"from time step {self.step} of {self.count}{way} on" + (", counted from the end" if self.backwards else "")


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
            return f"output {o.name!r} holds NaN or infinity on one side" if lost else f"output {o.name!r} is 0 throughout in Keras"
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
        numbers = f"largest relative difference {worst.difference.relative:.2g}, tolerance {allowed:.2g}{told}" + (f"; {run.why_worst}" if run.why_worst else "")
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


def layer_passes(difference: Difference | None, rounding: Rounding | None, dtype: np.dtype, settled: bool = False) -> bool:
    """Whether a layer alone, on Keras's own input, computes what Keras computes; integers must be equal.

    settled: before its activation it does.
    """
    if difference is None:
        return True
    if not is_float(dtype):
        return difference.max_abs == 0
    if difference.max_abs <= roundings(dtype, LAYER_ROUNDINGS, difference.keras_max):
        return True
    if rounding is None or dtype.name == "float64":  # nothing computes more exactly than float64 itself
        return difference.relative <= LAYER_TOLERANCE * coarseness(dtype)
    return difference.relative <= LAYER_LIMIT and rounding.explains(dtype, both=not settled)


def output_passes(difference: Difference, rounding: Rounding | None, dtype: np.dtype, tolerance: float, layers_pass: bool) -> bool:
    """Whether an output agrees: within ``tolerance``, or farther where every layer alone agrees and rounding explains the rest.

    A tolerance stricter than the usual one is meant as a limit: then rounding is no excuse.
    """
    if not is_float(dtype):
        return difference.max_abs == 0
    if difference.relative <= tolerance * coarseness(dtype):
        return True
    if tolerance < OUTPUT_TOLERANCE:
        return False
    return layers_pass and rounding is not None and difference.relative <= LAYER_LIMIT and rounding.explains(dtype, both=False)


def measures(keras: np.ndarray, torch: np.ndarray) -> dict[str, float]:
    """Cosine similarity over the batch; of outputs that look like class scores, how often the first class and first five agree."""
    found: dict[str, float] = {}
    if keras.shape != torch.shape or not is_float(keras.dtype) or not keras.size:
        return found
    a, b = keras.astype("float64").ravel(), torch.astype("float64").ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if np.isfinite(norms) and norms > 0:
        found["cosine"] = float(a @ b / norms)
    if keras.ndim == 2 and keras.shape[1] >= 3:
        found["top1_agreement"] = float((keras.argmax(1) == torch.argmax(1)).mean())
        if keras.shape[1] > 5:
            first = [np.argpartition(-x.astype("float64"), 5, axis=1)[:, :5] for x in (keras, torch)]
            found["top5_agreement"] = float(np.mean([len(set(p) & set(q)) / 5 for p, q in zip(*first)]))
    return found


def ulps(keras: np.ndarray, torch: np.ndarray) -> np.ndarray:
    """How many representable numbers lie between the two values of each element (float16, bfloat16, float32, float64 only)."""
    kinds = {"float16": np.int16, "bfloat16": np.int16, "float32": np.int32, "float64": np.int64}
    whole = kinds[keras.dtype.name]

    def ordered(array: np.ndarray) -> np.ndarray:
        bits = np.ascontiguousarray(array).view(whole).astype("int64")
        return np.where(bits < 0, np.int64(np.iinfo(whole).min) - bits, bits)

    return np.abs(ordered(keras).astype("float64") - ordered(torch.astype(keras.dtype)).astype("float64")).ravel()


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
