"""What a verification found, and its JSON in both directions. On disk it is kept by `report_file`.

Long because every part of a report stands here: what it says of itself in words, and how it is written and read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from k2t_core.difference import OUTPUT_TOLERANCE, Difference, Rounding, coarseness, measures
from k2t_core.recipe import Override, Recipe
from k2t_core.transforms import is_float
from k2t_core.verification.weights_proof import WeightsProof


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

    def to_json(self) -> dict[str, Any]:
        """Without the arrays, but with what they measure."""
        return {
            "name": self.name,
            "shape": list(self.keras_shape),
            "torch_shape": list(self.torch_shape),
            "passed": self.passed,
            **asdict(self.difference),
            "rounding": self.rounding and asdict(self.rounding),
            **measures(self.keras, self.torch),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], keras: np.ndarray, torch: np.ndarray) -> OutputResult:
        return cls(
            data["name"],
            tuple(data["shape"]),
            tuple(data["torch_shape"]),
            _difference(data),
            data["passed"],
            keras,
            torch,
            _rounding(data["rounding"]),
        )


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
    """One Keras tensor.

    cumulative: as computed on torch's own inputs; isolated: on Keras's inputs to this layer. A name with more words
    than the tensor's is the result of a check (`checks`): ``… before softmax``, ``… of a thousandth``.
    """

    tensor: str
    layer: str
    cumulative: Difference | None
    isolated: Difference | None
    passed: bool
    rounding: Rounding | None = None  # of the isolated value
    double: Difference | None = None  # both sides in float64, where the float32 ones did not settle it
    steps: tuple[TimeStep, ...] = ()  # of the first layer that diverges, where it runs over time
    unseen: str | None = None  # why this says nothing of the layer's weights (`seen.unseen`), "" where it does

    def to_json(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "tensor": self.tensor,
            "passed": self.passed,
            "cumulative": self.cumulative and asdict(self.cumulative),
            "isolated": self.isolated and asdict(self.isolated),
            "rounding": self.rounding and asdict(self.rounding),
            "double": self.double and asdict(self.double),
            "steps": [asdict(step) for step in self.steps],
            "unseen": self.unseen,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LayerResult:
        return cls(
            data["tensor"],
            data["layer"],
            data["cumulative"] and _difference(data["cumulative"]),
            data["isolated"] and _difference(data["isolated"]),
            data["passed"],
            _rounding(data["rounding"]),
            data["double"] and _difference(data["double"]),
            tuple(TimeStep(**step) for step in data["steps"]),
            data["unseen"],
        )


@dataclass(frozen=True)
class TrainingResult:
    """A gradient, or a statistic of training mode; in torch's layout of the weight or Keras's of the input."""

    what: str
    name: str
    layer: str | None
    difference: Difference
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainingResult:
        return cls(**{**data, "difference": _difference(data["difference"])})


@dataclass(frozen=True, eq=False)
class Run:
    """One comparison: one set of weights, one batch.

    batch: its first samples, an array for each input in Keras's order of axes.
    """

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
            return (
                "what lies beyond the tolerance is rounding: every layer alone agrees, and a run in float64 bears it "
                "out"
            )
        return ""

    def arrays(self) -> dict[str, np.ndarray]:
        """What `to_json` leaves out: both sides of each output and the batch."""
        found = {f"{k}.{side}": getattr(o, side) for k, o in enumerate(self.outputs) for side in ("keras", "torch")}
        return found | {f"input.{k}": array for k, array in enumerate(self.batch)}

    def to_json(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "inputs": self.inputs,
            "passed": self.passed,
            "tolerance": self.tolerance,
            "first_divergence": self.first_divergence,
            "outputs": [o.to_json() for o in self.outputs],
            "layers": [r.to_json() for r in self.layers],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Run:
        return cls(
            data["weights"],
            data["inputs"],
            tuple(
                OutputResult.from_json(o, arrays[f"{k}.keras"], arrays[f"{k}.torch"])
                for k, o in enumerate(data["outputs"])
            ),
            tuple(map(LayerResult.from_json, data["layers"])),
            data["first_divergence"],
            data["tolerance"],
            tuple(arrays[name] for name in (f"input.{k}" for k in range(len(arrays))) if name in arrays),
        )


@dataclass(frozen=True)
class Weakness:
    """A variable whose values cannot tell a right mapping from a wrong one."""

    variable: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Weakness:
        return cls(**data)


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
        effect = "explains the difference" if self.explains else "comes nearer"
        return f"{self.text} ({effect}: {self.before.relative:.1e} → {self.after.relative:.1e})"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Cause:
        recipe = Recipe(tuple(Override(**o) for o in data["recipe"]["overrides"]))
        before, after = _difference(data["before"]), _difference(data["after"])
        return cls(data["layer"], data["text"], recipe, before, after, data["explains"])


@dataclass(frozen=True)
class Effect:
    """What an override does: its layer's error, alone on Keras's own input, with it and without it.

    default is None where the layer cannot be converted without the override, or as it stands cannot be judged alone;
    then ``note`` says why.
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
        verdict = "agrees" if self.agrees else "differs"
        error = f"the layer's error is {self.chosen.relative:.1e} with it"
        return f"{self.override.describe()}: {verdict}, {error}, {against}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Effect:
        return cls(
            Override(**data["override"]),
            data["chosen"] and _difference(data["chosen"]),
            data["default"] and _difference(data["default"]),
            data["agrees"],
            data["note"],
        )


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
    weights: WeightsProof = WeightsProof(0)

    @property
    def passed(self) -> bool:
        """Whether the weights are equal and every run agrees. True says no more than its evidence: see `proves`."""
        return self.weights.passed and self.computes_the_same

    @property
    def computes_the_same(self) -> bool:
        """The second of the two proofs: whether every run agrees."""
        return all(run.passed for run in self.runs) and all(result.passed for result in self.training)

    @property
    def proves(self) -> bool:
        """Whether the evidence tells a right mapping from a wrong one: weights without weaknesses, or random ones, and
        numbers to compare."""
        random = any(run.weights == "randomised" for run in self.runs)
        return (not self.weaknesses or random) and self.no_number is None

    @property
    def no_number(self) -> str | None:
        """An output of which Keras gave NaN or infinity alone, in every run."""
        seen = {
            output.name for run in self.runs for output in run.outputs
            if not output.keras.size or np.isfinite(output.keras.astype("float64")).any()
        }  # fmt: skip
        return next((output.name for output in self.outputs if output.name not in seen), None)

    @property
    def unseen(self) -> dict[str, str]:
        """The layers with weights of which no run says anything, each with the reason in the first run."""
        return unseen_layers(self.runs)

    @property
    def deciding(self) -> Run:
        """The run that carries the verdict: the first that differs, else the randomised one, else the first."""
        failed = [run for run in self.runs if not run.passed]
        randomised = [run for run in self.runs if run.weights == "randomised"]
        return (failed or randomised or list(self.runs))[0]

    @property
    def worst_run(self) -> Run:
        """The run whose number is told: the one that carries the verdict where it differs, else the worst of all."""
        if not self.deciding.passed:
            return self.deciding
        return max(self.runs, key=lambda run: run.worst.difference.relative / run.own_tolerance)

    @property
    def outputs(self) -> tuple[OutputResult, ...]:
        return self.deciding.outputs

    @property
    def layers(self) -> tuple[LayerResult, ...]:
        return self.deciding.layers

    @property
    def first_divergence(self) -> str | None:
        """Path of the first layer that differs, be it in its weights alone; None where all agree."""
        failed = next((result.layer for result in self.training if not result.passed and result.layer), None)
        unequal = next((one.layer for one in self.weights.unequal if one.layer), None)
        return self.deciding.first_divergence or failed or unequal

    @property
    def diverges_from(self) -> str:
        """From which time step the first layer that differs does so, in words; mostly empty."""
        steps = next((r.steps for r in self.layers if r.layer == self.first_divergence and r.steps), ())
        return " and ".join(step.describe() for step in steps)

    @property
    def execution(self) -> str:
        """How Keras was run, in words."""
        if not self.compiled:
            return "operation by operation"
        where = "compiled by XLA where TensorFlow has no kernel on this processor"
        return f"operation by operation, and {where}: {listed(self.compiled)}"

    @property
    def verdict(self) -> str:
        """One line for a person."""
        if not self.passed:
            return f"differs {self._what_differs}"
        if self.no_number is not None:
            return (
                f"agrees, but proves nothing: of output {self.no_number!r} Keras gives NaN or infinity alone; verify "
                "with inputs of which it gives numbers (--inputs)"
            )
        if not self.proves:
            return (
                "agrees, but proves nothing: the weights cannot tell a right mapping from a wrong one "
                f"({self._numbers}); verify with randomised weights"
            )
        ran = f"compiled by XLA in {listed(self.compiled)}" if self.compiled else "operation by operation"
        return (
            f"agrees (weights: {self.weights.describe()}; function: {self._numbers}; evidence: {self._evidence}; "
            f"Keras ran {ran})"
        )

    @property
    def _numbers(self) -> str:
        run = self.worst_run
        worst, allowed = run.worst, run.worst.allowed(run.tolerance)
        told = "" if allowed == run.tolerance else f" in {worst.keras.dtype.name}"
        numbers = f"largest relative difference {worst.difference.relative:.2g}, tolerance {allowed:.2g}{told}"
        return f"{numbers}; {run.why_worst}" if run.why_worst else numbers

    @property
    def _what_differs(self) -> str:
        if self.computes_the_same:
            return (
                f"in its weights ({self.weights.describe()}; on what was compared it computes the "
                f"same: {self._numbers})"
            )
        run = self.deciding
        wrong = next((result for result in self.training if not result.passed), None)
        if run.passed and wrong is not None:
            number = f"relative difference {wrong.difference.relative:.2g}"
            return f"in training ({wrong.what} {wrong.name!r}: {number}; in inference it agrees)"
        when = f", {self.diverges_from}" if self.diverges_from else ""
        where = f"; layer {self.first_divergence!r} diverges first{when}" if self.first_divergence else ""
        weights = "" if self.weights.passed else f"; weights: {self.weights.describe()}"
        return f"({run.weights} weights: {self._numbers}{where}{weights})"

    @property
    def _evidence(self) -> str:
        kinds = list(dict.fromkeys(r.weights for r in self.runs))
        evidence = " and ".join(f"{kind} weights" for kind in kinds)
        if edges := len(self.runs) - len(kinds):
            evidence += f", {edges} edge cases"
        if self.training:
            evidence += ", gradients and training statistics"
        if self.unseen:
            evidence += f"; none of it for {listed(list(self.unseen))}: {next(iter(self.unseen.values()))}"
        if self.weaknesses:
            evidence += (
                "; the randomised weights carry the verdict: some of the model's own cannot tell a right mapping from "
                "a wrong one"
            )
        return evidence

    def arrays(self) -> dict[str, np.ndarray]:
        """What `to_json` leaves out, for `from_json`."""
        return {f"{k}.{name}": array for k, run in enumerate(self.runs) for name, array in run.arrays().items()}

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
            "weights": self.weights.to_json(),
            "weaknesses": [w.to_json() for w in self.weaknesses],
            "unseen": self.unseen,
            "notes": list(self.notes),
            "training": [r.to_json() for r in self.training],
            "causes": [c.to_json() for c in self.causes],
            "overrides": [e.to_json() for e in self.effects],
            "runs": [run.to_json() for run in self.runs],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Report:
        """The report that `to_json` and `arrays` tell of."""

        def of(run: int) -> dict[str, np.ndarray]:
            start = f"{run}."
            return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}

        return cls(
            tuple(Run.from_json(run, of(k)) for k, run in enumerate(data["runs"])),
            tuple(map(Weakness.from_json, data["weaknesses"])),
            tuple(data["notes"]),
            data["reference"],
            tuple(map(TrainingResult.from_json, data["training"])),
            tuple(map(Effect.from_json, data["overrides"])),
            tuple(map(Cause.from_json, data["causes"])),
            tuple(data["compiled"]),
            WeightsProof.from_json(data["weights"]),
        )


def _difference(data: dict[str, Any]) -> Difference:
    """The Difference among what else an output says."""
    return Difference(**{name: data[name] for name in ("max_abs", "mean_abs", "relative", "keras_max")})


def _rounding(data: dict[str, Any] | None) -> Rounding | None:
    return Rounding(**data) if data else None


def unseen_layers(runs: Sequence[Run]) -> dict[str, str]:
    """The layers with weights of which none of these runs says anything, each with the reason in the first."""
    results = [result for run in runs for result in run.layers]
    seen = {result.layer for result in results if result.unseen == ""}
    found: dict[str, str] = {}
    for result in results:
        if result.unseen and result.layer not in seen:
            found.setdefault(result.layer, result.unseen)
    return found


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first few of many names, and how many more there are."""
    told = ", ".join(map(repr, names[:most]))
    return told if len(names) <= most else f"{told} and {len(names) - most} more"


def first_failure(layers: Sequence[LayerResult], outputs_passed: bool) -> str | None:
    """The first layer that is wrong on Keras's own input; else the first whose accumulated error is too large."""
    for layer in layers:
        if not layer.passed:
            return layer.layer
    if not outputs_passed:
        for layer in layers:
            if layer.cumulative is not None and layer.cumulative.relative > OUTPUT_TOLERANCE:
                return layer.layer
    return None
