"""Run Keras and the written module on the same batch and judge the difference, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.cutting import cut
from k2t_core.errors import K2TError
from k2t_core.graph import Variable
from k2t_core.loading import Source, load
from k2t_core.randomise import is_weight, random_value, settle
from k2t_core.recipe import Recipe, read_recipe
from k2t_core.tracing import Traced, is_functional, trace, with_closed
from k2t_core.transforms import apply_chain, from_json
from k2t_core.verification.adversarial import worst_batch
from k2t_core.verification.compare import Written, compare
from k2t_core.verification.diagnosis import diagnose
from k2t_core.verification.inputs import check_inputs, edge_batches, random_batch, read_inputs
from k2t_core.verification.manifest import read_manifest
from k2t_core.verification.report import OUTPUT_TOLERANCE, Cause, Report, Run, TrainingResult
from k2t_core.verification.taps import is_untouched
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
    training: bool = False,
    search: int = 0,
    allow_unsafe: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> Report:
    """Compare the conversion in the folder ``out`` with the Keras model it came from, in inference mode.

    model: path, keras.Model, loaded `Source` or `Traced`.
    inputs: None for a random batch (``batch``, ``seed``, ``distribution``), a .npy/.npz path, or arrays in Keras's layout.
    weights: "model" as they are, "randomised" in a copy of both sides (the user's model is left alone), or "both".
    tolerance: largest allowed max|torch − keras| / max|keras| of an output.
    edge_cases: compare on zeros, tiny and large numbers, a batch of 1 and other sizes as well (`edge_batches`).
    training: compare gradients by inputs and weights, and BatchNorm's statistics after a step in training mode, as well.
    search: look for the input of largest disagreement by gradient steps from this many starts (`worst_batch`), and compare on it.
    explain: where they differ, try the known causes on the first layer that diverges (`Report.causes`).

    Raises OutputError for a folder that does not load, InputError for inputs that do not fit, K2TError where the folder
    was converted from another model.
    """
    if weights not in WEIGHTS:
        raise K2TError(f"weights must be one of {', '.join(WEIGHTS)}, not {weights!r}")
    if not 0 <= tolerance < float("inf"):
        raise K2TError(f"the tolerance is {tolerance}; it must be a number from 0 up")
    say = progress or (lambda share, text: None)
    folder = Path(out)
    manifest = read_manifest(folder)
    say(0.0, "Reading the Keras model")
    traced = model if isinstance(model, Traced) else trace(load(model, allow_unsafe=allow_unsafe))
    traced = cut(with_closed(traced, manifest["closed"]), manifest["cut"])
    _check_same_model(manifest, traced, folder)
    graph = traced.graph
    if inputs is None:
        arrays, described = random_batch(graph, batch, seed, distribution), f"{distribution}, batch of {batch}, seed {seed}"
    elif isinstance(inputs, (str, Path)):
        arrays, described = read_inputs(inputs, graph), Path(inputs).name
    else:
        arrays, described = check_inputs([inputs] if isinstance(inputs, np.ndarray) else list(inputs), graph), "arrays"
    runs: list[Run] = []
    used: list[list[np.ndarray]] = []  # the batch of each run
    notes = [] if is_untouched(folder, manifest) else ["model.py was edited by hand since k2t wrote it: outputs are compared, and layers where forward() still assigns what it did."]
    own = weights != "randomised"
    random = weights != "model" and bool(manifest["variables"])
    batches = [(described, arrays)] + (edge_batches(graph, seed) if edge_cases else [])
    total = own + random + len(batches) - 1 + bool(search)

    def run(written: Written, side: Traced, name: str, batch_name: str, batch_arrays: list[np.ndarray]) -> None:
        share = 0.1 + 0.9 * len(runs) / total
        text = f"Comparing with {'the model’s' if name == 'model' else name} weights on {batch_name}"
        say(share, text)
        found, more = compare(written, side, batch_arrays, name, batch_name, tolerance, lambda part, detail: say(share + 0.9 * part / total, f"{text}: {detail}"))
        runs.append(replace(found, batch=tuple(array[:KEPT_SAMPLES] for array in batch_arrays)))
        used.append(batch_arrays)
        notes.extend(note for note in more if note not in notes)

    if own:
        written = Written.load(folder, manifest)
        run(written, traced, "model", described, arrays)
    side, name = traced, "model"
    if random:
        side, name = _randomised_copy(traced, seed), "randomised"
        written = Written.load(folder, manifest, {key: _randomised_entry(entry, traced, seed) for key, entry in manifest["variables"].items()})
        run(written, side, name, described, arrays)
    for batch_name, batch_arrays in batches[1:]:
        run(written, side, name, batch_name, batch_arrays)
    if search:
        found, _ = worst_batch(written, side, arrays, search, SEARCH_STEPS, seed, lambda share, text: say(0.9, text))
        run(written, side, name, f"worst found by search, {search} {'start' if search == 1 else 'starts'} of {SEARCH_STEPS} steps", found)
    trained: list[TrainingResult] = []
    if training:
        say(0.93, "Gradients and training mode")
        trained = training_results(written, side, arrays, seed, _names(traced, side))
    report = Report(tuple(runs), find_weaknesses(manifest, traced.value), tuple(notes), dict(manifest["reference"]), tuple(trained))
    if explain and report.deciding.first_divergence is not None:
        failed = report.runs.index(report.deciding)
        causes, more = _explain(report, folder, manifest, traced if own and failed == 0 else side, used[failed], say)
        report = replace(report, causes=causes, notes=(*report.notes, *more))
    say(1.0, "Done")
    return report


def _explain(report: Report, folder: Path, manifest: dict[str, Any], traced: Traced, arrays: list[np.ndarray], say: Callable[[float, str], None]) -> tuple[tuple[Cause, ...], list[str]]:
    """The causes of the first divergence, and notes."""
    layer = report.first_divergence
    recipe = replace(read_recipe(folder / "recipe.json"), fingerprint=None) if (folder / "recipe.json").is_file() else Recipe()
    try:
        causes = diagnose(traced, recipe, layer, arrays, lambda share, text: say(0.95, f"Looking for the cause in {layer}: {text}"))
    except K2TError as error:
        return (), [f"No cause was looked for: {error}"]
    if not causes and not is_untouched(folder, manifest):
        return (), [f"Layer {layer!r} as k2t writes it agrees, or no known cause explains it: look at the edit of model.py."]
    return tuple(causes[:5]), []


def _check_same_model(manifest: dict[str, Any], traced: Traced, folder: Path) -> None:
    missing = [path for entry in manifest["variables"].values() for path in entry["keras"] if path not in traced.variables]
    shapes = [tuple(side["keras_shape"]) for side in manifest["inputs"]]
    if missing or shapes != [traced.graph.tensors[t].shape for t in traced.graph.inputs]:
        detail = f"it has no variable {missing[0]!r}" if missing else "its inputs differ"
        raise K2TError(f"{folder}: converted from another model than {traced.source.name}: {detail}; convert this model again")


def _randomised_copy(traced: Traced, seed: int) -> Traced:
    """A copy of the model with every variable random. The original is not touched."""
    import keras
    from keras.src.saving.serialization_lib import SafeModeScope

    try:
        with SafeModeScope(False):  # code in the model, if any, was allowed when it was loaded
            original = traced.source.model
            if is_functional(original):
                model = keras.models.clone_model(original)
            else:
                model = type(original).from_config(original.get_config())
                zeros = [np.zeros([n or 1 for n in traced.graph.tensors[t].shape], traced.graph.tensors[t].dtype) for t in traced.graph.inputs]
                model(keras.tree.pack_sequence_as(traced.scope.functional._inputs_struct, zeros))  # makes its variables
    except Exception as error:  # custom classes may not rebuild from their config
        raise K2TError(f"{traced.source.name}: Keras cannot copy the model to randomise its weights ({' '.join(str(error).split())[:200]}); verify with weights='model'") from error
    copy = trace(Source(model, traced.source.path, traced.source.fingerprint, traced.source.info), traced.closed)
    originals, copies = _variable_index(traced), _variable_index(copy)
    if set(originals) != set(copies):
        raise K2TError(f"{traced.source.name}: its copy has other variables; verify with weights='model'")
    for place, variable in copies.items():
        value = random_value(originals[place].path, variable.shape, variable.dtype, seed)
        copy.variables[variable.path].assign(value)
    settle(model)
    return copy


def _variable_index(traced: Traced) -> dict[tuple[int, str], Variable]:
    """(number of the layer in the graph, relative name) → variable, nested models included: a copy may name its layers otherwise."""
    layers = {id(node.layer): node.layer for _, _, node in traced.graph.walk() if node.layer.graph is None}
    found = {(number, v.name): v for number, layer in enumerate(layers.values()) for v in layer.all_variables()}
    return {place: v for place, v in found.items() if is_weight(v.path)}


def _names(traced: Traced, copy: Traced) -> dict[str, str]:
    """Path of a variable of the copy → its path in the model: a copy of a Sequential names them otherwise."""
    originals = _variable_index(traced)
    return {variable.path: originals[place].path for place, variable in _variable_index(copy).items()}


def _randomised_entry(entry: dict[str, Any], traced: Traced, seed: int) -> np.ndarray:
    source = None
    if entry["keras"]:
        path = entry["keras"][0]
        variable = traced.variables[path]
        source = random_value(path, tuple(variable.shape), str(variable.dtype), seed)
    return apply_chain([from_json(step) for step in entry["steps"]], source)
