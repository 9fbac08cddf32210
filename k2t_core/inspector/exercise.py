"""Break it: a known wrong reading of one layer of the loaded model, for a learner to find."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from k2t_core.difference import Difference
from k2t_core.emit.conversion import convert
from k2t_core.errors import K2TError
from k2t_core.graph import Layer
from k2t_core.keras_side.batches import random_batch
from k2t_core.planning.plan import Plan
from k2t_core.planning.planner import plan as make_plan
from k2t_core.progress import Progress, silent
from k2t_core.recipe import Recipe
from k2t_core.tensors import to_tensor
from k2t_core.transforms import apply_chain
from k2t_core.verification import verify
from k2t_core.verification.alone import Probe, probe
from k2t_core.verification.diagnosis import candidates
from k2t_core.verification.report import Report

CHOICES = 5  # layers to choose from, the broken one among them
TRIED = 12  # layers of a large model that are looked at for one that can be broken
REASONS = 4  # faults to choose from
# Faults that are offered beside the real one, where its layer has too few wrong readings of its own.
ELSEWHERE = (
    "the bias is left out",
    "the kernel of a Dense is not transposed",
    "BatchNormalization divides by the variance of this batch",
    "the activation is applied twice",
    "the padding is put on the other side",
)
SEEN = 1e-3  # a fault that a learner can see: relative difference of the layer alone


@dataclass(frozen=True, eq=False)
class Exercise:
    """A fault, the layers that might have it, and what a verification of the broken conversion found."""

    seed: int
    layer: str
    fault: str
    recipe: Recipe
    choices: dict[str, str]  # layer path → what it is
    reasons: tuple[str, ...]  # faults to choose from, the real one among them
    report: Report


@dataclass(frozen=True, eq=False)
class _Fault:
    """others: further wrong readings of the layer, in words. damage: entries of the state_dict that are to be wrong."""

    layer: str
    text: str
    recipe: Recipe
    others: list[str] = field(default_factory=list)
    damage: dict[str, np.ndarray] = field(default_factory=dict)


def exercise(plan: Plan, seed: int, say: Progress = silent) -> Exercise:
    """Break a layer of a model, chosen by ``seed``, in a conversion of its own; the same seed gives the same exercise.

    Raises K2TError where no layer can be broken so that its shapes hide it.
    """
    rng = Random(seed)
    # The model as k2t reads it; where that takes code of a person's own, with it.
    plain = make_plan(plan.traced)
    base = plan if plain.problems else plain
    layers = {
        p.node.layer.path: p.node.layer
        for _, _, _, p in base.root.walk()
        if p.mapping is not None and p.child is None and (p.mapping.weights or p.mapping.alternatives)
    }
    names = sorted(layers)
    rng.shuffle(names)
    names.sort(key=lambda name: not layers[name].all_variables())  # a fault in a weight is the harder riddle
    # Where no wrong reading fits, the numbers in the file are wrong.
    fault = _misread(base, names[:TRIED], rng, seed, say) or _damaged(base, names)
    if fault is None:
        raise K2TError(
            "no layer of this model can be read wrongly without an error: there is nothing to guess; load another model"
        )
    elsewhere = rng.sample([n for n in names if n != fault.layer], min(CHOICES - 1, len(names) - 1))
    reasons = [fault.text, *fault.others[: REASONS - 1]]
    reasons += rng.sample([text for text in ELSEWHERE if text != fault.text], REASONS - len(reasons))
    rng.shuffle(reasons)
    order = list(layers)
    shown = sorted([fault.layer, *elsewhere], key=order.index)
    return Exercise(
        seed=seed,
        layer=fault.layer,
        fault=fault.text,
        recipe=fault.recipe,
        choices={name: _words(layers[name]) for name in shown},
        reasons=tuple(reasons),
        report=_report(plan, fault, seed, say),
    )


def _misread(base: Plan, names: Sequence[str], rng: Random, seed: int, say: Progress) -> _Fault | None:
    """A wrong reading of the first of these layers that has one which no shape shows."""
    arrays = random_batch(base.traced.graph, 2, seed)
    for index, name in enumerate(names):
        say(0.5 * index / len(names), "Looking for a layer to break")
        try:
            patient = probe(base.traced, name, arrays, base)
        except K2TError:  # a weight by itself
            continue
        readings = list(candidates(patient, base.recipe))
        found = _reading(patient, base.recipe, readings, rng)
        if found is not None:
            text, recipe = found
            return _Fault(name, text, recipe, others=[other for other, _ in readings if other != text])
    return None


def _damaged(base: Plan, names: Sequence[str]) -> _Fault | None:
    """The first of these layers whose weights can be wrong in a way that no shape shows."""
    for name in names:
        found = _damage(base, name)
        if found is not None:
            text, damage = found
            return _Fault(name, text, base.recipe, damage=damage)
    return None


def _report(plan: Plan, fault: _Fault, seed: int, say: Progress) -> Report:
    """What a verification finds of a conversion with the fault in it."""
    from safetensors.torch import load_file, save_file

    with tempfile.TemporaryDirectory(prefix="k2t-exercise-") as folder:
        say(0.5, "Converting with the fault")
        convert(make_plan(plan.traced, fault.recipe), Path(folder))
        if fault.damage:
            file = Path(folder) / "model.safetensors"
            wrong = {key: to_tensor(array) for key, array in fault.damage.items()}
            save_file({**load_file(file), **wrong}, file, metadata={"format": "pt"})
        return verify(
            folder,
            plan.traced,
            batch=2,
            seed=seed,
            weights="model",
            edge_cases=False,
            explain=False,
            progress=lambda share, text: say(0.6 + 0.4 * share, text),
        )


def _reading(
    patient: Probe, recipe: Recipe, readings: list[tuple[str, Recipe]], rng: Random
) -> tuple[str, Recipe] | None:
    """A reading of the layer that runs and is wrong, None where there is none or the layer is wrong as it stands."""
    if not readings or not patient.judge(recipe).passed:
        return None
    rng.shuffle(readings)
    with patient.sandbox() as sandbox:
        for text, changed in readings:
            try:
                verdict = patient.judge(changed, sandbox)
            except K2TError:  # its shapes do not fit: it would be noticed
                continue
            if not verdict.passed and SEEN < verdict.difference.relative < float("inf"):
                return text, changed
    return None


def _damage(plan: Plan, layer: str) -> tuple[str, dict[str, np.ndarray]] | None:
    """A fault in a layer's weights that no shape shows, and the entries of the state_dict with it.

    None where it would not be seen.
    """
    for weight in plan.weights:
        if weight.layer != layer or weight.source is None:
            continue
        value = plan.traced.value(weight.source)
        right = apply_chain(weight.steps, value)
        if right.ndim > 1 and value.size == right.size:
            wrong = value.reshape(right.shape)
            fault = f"{weight.key.rsplit('.', 1)[-1]} keeps Keras's order in memory: reshaped, not transposed"
        elif weight.key.endswith("bias"):
            wrong, fault = np.zeros_like(right), "the bias is left out"
        else:
            continue
        if SEEN < Difference.of(right, wrong).relative < float("inf"):
            return fault, {weight.key: wrong}
    return None


def _words(layer: Layer) -> str:
    """``Dense, kernel (16, 10), bias (10,)``."""
    return ", ".join([layer.kind, *(f"{variable.name} {tuple(variable.shape)}" for variable in layer.all_variables())])
