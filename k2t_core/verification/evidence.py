"""What a report says beside its comparisons: what each override does, and what explains the first divergence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from k2t_core.errors import K2TError, OutputError
from k2t_core.keras_side.traced import Traced
from k2t_core.progress import Progress
from k2t_core.recipe import Recipe
from k2t_core.verification.alone import Probe, probe
from k2t_core.verification.diagnosis import diagnose
from k2t_core.verification.report import Cause, Effect, Report
from k2t_core.verification.steps import diverging_steps
from k2t_core.verification.torch_side import TorchSide

KEPT_CAUSES = 5


def effects(recipe: Recipe, traced: Traced, arrays: list[np.ndarray], say: Callable[[str], None]) -> tuple[Effect, ...]:
    """Each override against the layer without it."""
    found = []
    for index, override in enumerate(recipe.overrides):
        say(f"Weighing the override of {override.layer}")
        if override.kind == "cut":
            found.append(
                Effect(override, None, None, True, "what it did is left to the data pipeline, and is not compared")
            )
            continue
        try:
            patient = probe(traced, override.layer, arrays)
            chosen = patient.judge(recipe)
        except K2TError as error:
            found.append(Effect(override, None, None, False, str(error)))
            continue
        default, note = None, ""
        try:
            default = patient.judge(recipe.without(index)).difference
        except K2TError as error:  # a snippet for a layer that has no rule
            note = str(error)
        found.append(Effect(override, chosen.difference, default, chosen.passed, note))
    return tuple(found)


def explained(
    report: Report, recipe: Recipe, written: TorchSide, traced: Traced, arrays: list[np.ndarray], say: Progress
) -> Report:
    """The report with the causes of its first divergence, and the time step from which that layer differs."""
    layer = report.first_divergence
    assert layer is not None, "there is something to explain"
    try:
        causes, notes = _causes(layer, recipe, written, traced, arrays, say), []
    except K2TError as error:
        causes, notes = (), [f"No cause was looked for: {error}"]
    else:
        if not causes:
            notes.append(
                f"None of the known causes explains layer {layer!r}; where model.py or model.safetensors were changed "
                "since k2t wrote them, look there."
            )
    report = replace(report, causes=causes, notes=(*report.notes, *notes))
    return _with_steps(report, written, traced, arrays)


def _causes(
    layer: str, recipe: Recipe, written: TorchSide, traced: Traced, arrays: list[np.ndarray], say: Progress
) -> tuple[Cause, ...]:
    def actual(patient: Probe) -> np.ndarray:
        scope, node = next((scope, node) for scope, _, node in traced.graph.walk() if node is patient.node)
        given = dict(zip(patient.traced.graph.inputs, patient.inputs))
        return written.alone(traced, arrays, scope, given, scope + node.outputs[0])

    def told(share: float, text: str) -> None:
        say(0.95, f"Looking for the cause in {layer}: {text}")

    return tuple(diagnose(traced, recipe, layer, arrays, told, actual)[:KEPT_CAUSES])


def _with_steps(report: Report, written: TorchSide, traced: Traced, arrays: list[np.ndarray]) -> Report:
    """The report with the time step from which its first diverging layer differs."""
    run = report.deciding
    failed = (
        k
        for k, r in enumerate(run.layers)
        if not r.passed and r.layer == run.first_divergence and r.isolated is not None
    )
    index = next(failed, None)
    if index is None:
        return report
    try:
        steps = diverging_steps(written, traced, arrays, run.layers[index].tensor)
    except OutputError as error:  # what lies before the layer may need sequences of full length
        words = f"From which time step {run.first_divergence!r} diverges is not known: {error}"
        return replace(report, notes=(*report.notes, words))
    layers = (*run.layers[:index], replace(run.layers[index], steps=steps), *run.layers[index + 1 :])
    runs = tuple(replace(run, layers=layers) if one is run else one for one in report.runs)
    return replace(report, runs=runs)
