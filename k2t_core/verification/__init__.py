"""Run Keras and the written module on the same batch and judge the difference, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.difference import OUTPUT_TOLERANCE
from k2t_core.emit.manifest import Manifest
from k2t_core.errors import InputError, K2TError, OutputError
from k2t_core.keras_side.batches import check_inputs, edge_batches, implied_batch, random_batch, read_inputs
from k2t_core.keras_side.copying import randomised_copy, randomised_entry
from k2t_core.keras_side.cutting import cut
from k2t_core.keras_side.reading import read
from k2t_core.keras_side.running import compiled_layers
from k2t_core.keras_side.tracing import Traced, with_closed
from k2t_core.progress import Progress, silent
from k2t_core.recipe import Recipe, read_recipe
from k2t_core.rules.merging import bias_of_one_sample
from k2t_core.transforms import is_float
from k2t_core.verification.adversarial import worst_batch
from k2t_core.verification.alone import Probe, probe
from k2t_core.verification.compare import compare
from k2t_core.verification.diagnosis import diagnose
from k2t_core.verification.report import Cause, Effect, Report, Run, TrainingResult
from k2t_core.verification.steps import diverging_steps
from k2t_core.verification.taps import is_untouched
from k2t_core.verification.torch_side import TorchSide
from k2t_core.verification.training import training_results
from k2t_core.verification.weakness import find_weaknesses

SEARCH_STEPS = 10
KEPT_SAMPLES = 64  # of a batch, to look at afterwards
WEIGHTS = ("both", "model", "randomised")


def verify(
    out: str | Path,
    model: Any,
    *,
    inputs: str | Path | Sequence[np.ndarray] | None = None,
    batch: int = 4,
    seed: int = 0,
    distribution: str = "normal",
    weights: str = "both",
    tolerance: float = OUTPUT_TOLERANCE,
    edge_cases: bool = True,
    explain: bool = True,
    stop_early: bool = False,
    training: bool = False,
    search: int = 0,
    allow_unsafe: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Compare the conversion in the folder ``out`` with the Keras model it came from, in inference mode.

    model: path, keras.Model, loaded `Source` or `Traced`.
    inputs: None for a random batch (``batch``, ``seed``, ``distribution``), a .npy/.npz path, or arrays in Keras's layout.
    weights: "model" as they are, "randomised" in a copy of both sides (the user's model is left alone), or "both".
    tolerance: largest allowed max|torch − keras| / max|keras| of an output.
    edge_cases: compare on zeros, tiny and large numbers, a batch of 1 and other sizes (`edge_batches`), and in the ranges that the model's preprocessing implies (`implied_batch`).
    training: compare gradients by inputs and weights, and BatchNorm's statistics after a step in training mode, as well.
    search: look for the input of largest disagreement by gradient steps from this many starts (`worst_batch`), and compare on it.
    stop_early: end with the first comparison that differs; what the verdict says of it is the same.
    explain: where they differ, try the known causes on the first layer that diverges (`Report.causes`).

    Raises OutputError for a folder that does not load, InputError for inputs that do not fit, K2TError where the folder
    was converted from another model.
    """
    if weights not in WEIGHTS:
        raise K2TError(f"weights must be one of {', '.join(WEIGHTS)}, not {weights!r}")
    if not 0 <= tolerance < float("inf"):
        raise K2TError(f"the tolerance is {tolerance}; it must be a number from 0 up")
    if search < 0:
        raise K2TError(f"the search has {search} starts; it must be a number from 0 up")
    say = progress or silent
    folder = Path(out)
    manifest = Manifest.read(folder)
    say(0.0, "Reading the Keras model")
    traced = read(model, allow_unsafe=allow_unsafe, compared=False)
    traced = cut(with_closed(traced, manifest.closed), manifest.cut)
    _check_same_model(manifest, traced, folder)
    graph = traced.graph
    if weights != "randomised":
        _check_finite(manifest, traced)
    if inputs is None:
        arrays, described = (
            random_batch(graph, batch, seed, distribution),
            f"{distribution}, batch of {batch}, seed {seed}",
        )
    elif isinstance(inputs, (str, Path)):
        arrays, described = read_inputs(inputs, graph), Path(inputs).name
    else:
        arrays, described = check_inputs([inputs] if isinstance(inputs, np.ndarray) else list(inputs), graph), "arrays"
    runs: list[Run] = []
    used: list[list[np.ndarray]] = []  # the batch of each run
    notes = (
        []
        if is_untouched(folder, manifest)
        else [
            "model.py was edited by hand since k2t wrote it: outputs are compared, and layers where forward() still assigns what it did."
        ]
    )
    if odd := bias_of_one_sample(graph):
        notes.append(
            f"Given a single sample, Keras on TensorFlow takes what layer {odd!r} adds for a bias, along another axis than with more samples; compared on batches of 1 it differs, so there are none but your own."
        )
    own = weights != "randomised"
    random = weights != "model" and bool(manifest.variables)
    edges = edge_batches(graph, seed) if edge_cases else []
    # The range that the model itself expects is compared with its own weights too: there they are used.
    implied = implied_batch(graph, traced.value, batch, seed) if edge_cases and inputs is None else None
    total = own + random + len(edges) + (own + random) * bool(implied) + bool(search)

    def run(written: TorchSide, side: Traced, name: str, batch_name: str, batch_arrays: list[np.ndarray]) -> None:
        share = 0.1 + 0.9 * len(runs) / total
        text = f"Comparing with {'the model’s' if name == 'model' else name} weights on {batch_name}"
        say(share, text)
        found, more = compare(
            written,
            side,
            batch_arrays,
            name,
            batch_name,
            tolerance,
            lambda part, detail: say(share + 0.9 * part / total, f"{text}: {detail}"),
        )
        runs.append(replace(found, batch=tuple(array[:KEPT_SAMPLES] for array in batch_arrays)))
        used.append(batch_arrays)
        notes.extend(note for note in more if note not in notes)

    def done() -> bool:
        return stop_early and bool(runs) and not runs[-1].passed

    if own:
        written = TorchSide.load(folder, manifest)
        run(written, traced, "model", described, arrays)
        if implied and not done():
            run(written, traced, "model", *implied)
    side, name = traced, "model"
    if random and not done():
        side, name = randomised_copy(traced, seed), "randomised"
        written = TorchSide.load(
            folder,
            manifest,
            {key: randomised_entry(v.source, v.steps, traced, seed) for key, v in manifest.variables.items()},
        )
        run(written, side, name, described, arrays)
        if implied and not done():
            run(written, side, name, *implied)
    for batch_name, batch_arrays in edges:
        if not done():
            try:
                run(written, side, name, batch_name, batch_arrays)
            except InputError as error:  # a batch of k2t's own making, that the model is not made for
                notes.append(f"Not compared on {batch_name}: {error}.")
    if search and not done():
        found, _ = worst_batch(written, side, arrays, search, SEARCH_STEPS, seed, lambda share, text: say(0.9, text))
        run(
            written,
            side,
            name,
            f"worst found by search, {search} {'start' if search == 1 else 'starts'} of {SEARCH_STEPS} steps",
            found,
        )
    trained: list[TrainingResult] = []
    if training and not done():
        say(0.93, "Gradients and training mode")
        trained = training_results(written, side, arrays, seed)
    recipe = (
        replace(read_recipe(folder / "recipe.json"), fingerprint=None)
        if (folder / "recipe.json").is_file()
        else Recipe()
    )
    effects = _effects(recipe, side, arrays, lambda text: say(0.94, text)) if explain else ()
    report = Report(
        tuple(runs),
        find_weaknesses(manifest.variables.values(), traced.value),
        tuple(notes),
        dict(manifest.reference),
        tuple(trained),
        effects,
        compiled=tuple(dict.fromkeys(compiled_layers(traced) + compiled_layers(side))),
    )
    if explain and report.deciding.first_divergence is not None:
        failed = report.runs.index(report.deciding)
        if own and failed == 0 and side is not traced:  # the module at hand has the weights of the last run
            side, written = traced, TorchSide.load(folder, manifest)
        causes, more = _explain(report, recipe, written, side, used[failed], say)
        report = _with_steps(replace(report, causes=causes, notes=(*report.notes, *more)), written, side, used[failed])
    say(1.0, "Done")
    return report


def _effects(
    recipe: Recipe, traced: Traced, arrays: list[np.ndarray], say: Callable[[str], None]
) -> tuple[Effect, ...]:
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
        try:
            default, note = patient.judge(recipe.without(index)).difference, ""
        except K2TError as error:  # a snippet for a layer that has no rule
            default, note = None, str(error)
        found.append(Effect(override, chosen.difference, default, chosen.passed, note))
    return tuple(found)


def _explain(
    report: Report, recipe: Recipe, written: TorchSide, traced: Traced, arrays: list[np.ndarray], say: Progress
) -> tuple[tuple[Cause, ...], list[str]]:
    """The causes of the first divergence, and notes."""
    layer = report.first_divergence

    def actual(patient: Probe) -> np.ndarray:
        scope, node = next((scope, node) for scope, _, node in traced.graph.walk() if node is patient.node)
        return written.alone(
            traced, arrays, scope, dict(zip(patient.traced.graph.inputs, patient.inputs)), scope + node.outputs[0]
        )

    try:
        causes = diagnose(
            traced,
            recipe,
            layer,
            arrays,
            lambda share, text: say(0.95, f"Looking for the cause in {layer}: {text}"),
            actual,
        )
    except K2TError as error:
        return (), [f"No cause was looked for: {error}"]
    if not causes:
        return (), [
            f"None of the known causes explains layer {layer!r}; where model.py or model.safetensors were changed since k2t wrote them, look there."
        ]
    return tuple(causes[:5]), []


def _with_steps(report: Report, written: TorchSide, traced: Traced, arrays: list[np.ndarray]) -> Report:
    """The report with the time step from which its first diverging layer differs."""
    run = report.deciding
    index = next(
        (
            k
            for k, r in enumerate(run.layers)
            if not r.passed and r.layer == run.first_divergence and r.isolated is not None
        ),
        None,
    )
    if index is None:
        return report
    try:
        steps = diverging_steps(written, traced, arrays, run.layers[index].tensor)
    except OutputError as error:  # what lies before the layer may need sequences of full length
        return replace(
            report,
            notes=(*report.notes, f"From which time step {run.first_divergence!r} diverges is not known: {error}"),
        )
    layers = (*run.layers[:index], replace(run.layers[index], steps=steps), *run.layers[index + 1 :])
    runs = tuple(replace(run, layers=layers) if one is run else one for one in report.runs)
    return replace(report, runs=runs)


def _check_same_model(manifest: Manifest, traced: Traced, folder: Path) -> None:
    missing = [v.source for v in manifest.variables.values() if v.source and v.source not in traced.variables]
    shapes = [side.keras_shape for side in manifest.inputs]
    if missing or shapes != [traced.graph.tensors[t].shape for t in traced.graph.inputs]:
        detail = f"it has no variable {missing[0]!r}" if missing else "its inputs differ"
        raise K2TError(
            f"{folder}: converted from another model than {traced.source.name}: {detail}; convert this model again"
        )


def _check_finite(manifest: Manifest, traced: Traced) -> None:
    for path in dict.fromkeys(v.source for v in manifest.variables.values() if v.source):
        value = traced.value(path)
        if is_float(value.dtype) and not np.isfinite(value).all():
            bad = int((~np.isfinite(value)).sum())
            raise K2TError(
                f"{traced.source.name}: its variable {path!r} holds NaN or infinity in {bad} of {value.size} places, through which nothing can be compared; verify the mapping with randomised weights (“Randomised, in a copy” in the app, --weights randomised, weights='randomised')"
            )
