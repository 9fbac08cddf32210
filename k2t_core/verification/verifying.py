"""A verification from end to end: the comparisons as a list, one loop over them, then the evidence that follows.

Long because it is the whole of a verification in its order, with what it refuses at the door.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.difference import OUTPUT_TOLERANCE
from k2t_core.emit import sandbox
from k2t_core.emit.manifest import Manifest
from k2t_core.emit.source import write_source
from k2t_core.errors import InputError, K2TError, OutputError
from k2t_core.graph import Graph
from k2t_core.keras_side.batches import edge_batches, implied_batch, random_batch
from k2t_core.keras_side.copying import randomised_copy, randomised_entry
from k2t_core.keras_side.cutting import cut
from k2t_core.keras_side.input_files import check_inputs, read_inputs
from k2t_core.keras_side.reading import read
from k2t_core.keras_side.running import compiled_layers
from k2t_core.keras_side.traced import Traced
from k2t_core.keras_side.tracing import with_closed
from k2t_core.planning.plan import Plan
from k2t_core.planning.planner import plan
from k2t_core.progress import Progress, silent
from k2t_core.recipe import Recipe, read_recipe
from k2t_core.rules.merging import bias_of_one_sample
from k2t_core.transforms import is_float
from k2t_core.verification.adversarial import worst_batch
from k2t_core.verification.check import Trial
from k2t_core.verification.checks import TRAINING_CHECKS
from k2t_core.verification.compare import compare
from k2t_core.verification.evidence import effects, explained
from k2t_core.verification.report import Report, Run, TrainingResult, unseen_layers
from k2t_core.verification.taps import is_untouched
from k2t_core.verification.torch_side import TorchSide
from k2t_core.verification.weakness import find_weaknesses
from k2t_core.verification.weights_proof import WeightsProof, prove_weights

SEARCH_STEPS = 10
KEPT_SAMPLES = 64  # of a batch, to look at afterwards
WEIGHTS = ("both", "model", "randomised")
DRAWS = 3  # times that other random weights and inputs are drawn, where layers are without evidence


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `verify` compares and on what; its docstring tells what each means.

    Raises K2TError for a value that means nothing; batch and distribution are judged where a random batch is drawn
    (`random_batch`).
    """

    inputs: str | Path | Sequence[np.ndarray] | None = None
    batch: int = 4
    seed: int = 0
    distribution: str = "normal"
    weights: str = "both"
    tolerance: float = OUTPUT_TOLERANCE
    edge_cases: bool = True
    explain: bool = True
    stop_early: bool = False
    training: bool = False
    search: int = 0

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise K2TError(f"weights must be one of {', '.join(WEIGHTS)}, not {self.weights!r}")
        if not 0 <= self.tolerance < float("inf"):
            raise K2TError(f"the tolerance is {self.tolerance}; it must be a number from 0 up")
        if self.search < 0:
            raise K2TError(f"the search has {self.search} starts; it must be a number from 0 up")


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

    model.py runs in a process of its own, which ends with the verification (`emit.sandbox`).

    model: path, keras.Model, loaded `Source` or `Traced`.
    inputs: None for a random batch (``batch``, ``seed``, ``distribution``), a .npy/.npz path, or arrays in Keras's
    layout.
    weights: "model" as they are, "randomised" in a copy of both sides (the user's model is left alone), or "both". A
        model without weights is compared as it is.
    tolerance: largest allowed max|torch − keras| / max|keras| of an output.
    edge_cases: compare on zeros, tiny and large numbers, a batch of 1 and other sizes (`edge_batches`), and in the
        ranges that the model's preprocessing implies (`implied_batch`).
    training: compare gradients by inputs and weights, and BatchNorm's statistics after a step in training mode, as
    well.
    search: look for the input of largest disagreement by gradient steps from this many starts (`worst_batch`), and
        compare on it.
    stop_early: end with the first comparison that differs; what the verdict says of it is the same.
    explain: where they differ, try the known causes on the first layer that diverges (`Report.causes`).

    Raises OutputError for a folder that does not load, InputError for inputs that do not fit, K2TError where the folder
    was converted from another model.
    """
    options = Options(
        inputs=inputs,
        batch=batch,
        seed=seed,
        distribution=distribution,
        weights=weights,
        tolerance=tolerance,
        edge_cases=edge_cases,
        explain=explain,
        stop_early=stop_early,
        training=training,
        search=search,
    )
    say = progress or silent
    folder = Path(out)
    manifest = Manifest.read(folder)
    sandbox.warm()
    say(0.0, "Reading the Keras model")
    whole = read(model, allow_unsafe=allow_unsafe, compared=False)
    traced = cut(with_closed(whole, manifest.closed), manifest.cut)
    _check_same_model(manifest, traced, folder)
    if weights != "randomised":
        _check_finite(manifest, traced)
    recipe = _recipe(folder)
    planned = _check_interface(folder, manifest, whole, traced, recipe)
    arrays, described = _batch(options, traced.graph)
    say(0.05, "Comparing the weights")
    weights_proof = prove_weights(folder, whole, recipe, manifest.variables)
    notes = _notes(folder, manifest, traced.graph, planned)
    with TorchSide(folder, manifest) as written:
        sides = _Sides(written, traced, recipe, planned, seed)
        report = _report(options, sides, weights_proof, arrays, described, notes, say)
    say(1.0, "Done")
    return report


def _report(
    options: Options,
    sides: _Sides,
    weights: WeightsProof,
    arrays: list[np.ndarray],
    described: str,
    notes: list[str],
    say: Progress,
) -> Report:
    """All that is found by running both sides, beside what was found of the weights."""
    comparisons = _comparisons(options, sides, arrays, described, say)
    runs, compared = _run(comparisons, options, sides, notes, say)
    _until_all_are_seen(runs, compared, options, sides, notes, say)
    trained: list[TrainingResult] = []
    if options.training and not (options.stop_early and not runs[-1].passed):
        say(0.93, "Gradients and training mode")
        trial = Trial(sides.written, sides.keras, arrays, options.seed)
        trained = [result for check in TRAINING_CHECKS for result in check(trial)]
    recipe, manifest = sides.recipe, sides.written.manifest
    report = Report(
        tuple(runs),
        find_weaknesses(manifest.variables.values(), sides.traced),
        tuple(notes),
        dict(manifest.reference),
        tuple(trained),
        effects(recipe, sides.keras, arrays, lambda text: say(0.94, text)) if options.explain else (),
        compiled=tuple(dict.fromkeys(compiled_layers(sides.traced) + compiled_layers(sides.keras))),
        weights=weights,
    )
    if options.explain and report.deciding.first_divergence is not None:
        showed = compared[report.runs.index(report.deciding)]
        sides.take(showed.weights, showed.draw)
        report = explained(report, recipe, sides.written, sides.keras, showed.arrays(sides), say)
    return report


@dataclass(eq=False)
class _Sides:
    """Both frameworks with one set of weights at a time: the torch side holds three copies of it."""

    written: TorchSide
    traced: Traced  # the model as it was converted: cut, or with layers closed
    recipe: Recipe
    planned: Plan | None  # the model under the recipe
    seed: int
    weights: tuple[str, int] = ("", 0)
    keras: Traced = field(init=False)

    def take(self, weights: str, draw: int = 0) -> None:
        """From here on ``written`` and ``keras`` have these weights, "model" or "randomised", of this draw."""
        if (weights, draw) == self.weights:
            return
        self.keras = randomised_copy(self.traced, self.seed + draw) if weights == "randomised" else self.traced
        self.weights = (weights, draw)
        self.written.load(self._state())

    def forget(self) -> None:
        """From here on ``written`` is in a process that has heard nothing of Keras's numbers."""
        self.written.close()
        self.written.load(self._state())

    def _state(self) -> dict[str, np.ndarray] | None:
        weights, draw = self.weights
        if weights == "model":
            return None
        return {
            key: randomised_entry(variable.source, variable.steps, self.traced, self.seed + draw)
            for key, variable in self.written.manifest.variables.items()
        }

    @cached_property
    def ours(self) -> bool:
        """Whether model.py is what k2t writes of this model under this recipe, and holds no code of the recipe's."""
        return not self.recipe.snippets and self.planned is not None and _as_planned(self.written.folder, self.planned)


def _as_planned(folder: Path, planned: Plan) -> bool:
    """Whether model.py is what k2t writes of a plan."""
    return (folder / "model.py").read_bytes() == write_source(planned).text.encode()


@dataclass(frozen=True, eq=False)
class _Comparison:
    """One set of weights and one batch, or how it is found once the weights are there.

    own: a batch of k2t's own making, which the model need not be made for. draw: which random weights.
    """

    weights: str
    inputs: str  # the batch in words
    batch: list[np.ndarray] | Callable[[_Sides], list[np.ndarray]]
    own: bool = False
    draw: int = 0

    def arrays(self, sides: _Sides) -> list[np.ndarray]:
        """The batch, in Keras's layout."""
        return self.batch(sides) if callable(self.batch) else self.batch


def _comparisons(
    options: Options, sides: _Sides, arrays: list[np.ndarray], described: str, say: Progress
) -> list[_Comparison]:
    """Everything that is compared, in order. Edge cases and the search go with the last of the weights."""
    traced, seed = sides.traced, options.seed
    random = options.weights != "model" and bool(sides.written.manifest.variables)
    weights = ["model"] * (options.weights != "randomised" or not random) + ["randomised"] * random
    # The range that the model itself expects is compared with its own weights too: there they are used.
    drawn = options.edge_cases and options.inputs is None
    implied = implied_batch(traced.graph, traced.value, options.batch, seed) if drawn else None
    found = []
    for name in weights:
        found.append(_Comparison(name, described, arrays))
        if implied:
            found.append(_Comparison(name, *implied))
    if options.edge_cases:
        found += [_Comparison(weights[-1], *edge, own=True) for edge in edge_batches(traced.graph, seed)]
    if options.search:
        starts = f"{options.search} {'start' if options.search == 1 else 'starts'}"
        words = f"worst found by search, {starts} of {SEARCH_STEPS} steps"
        found.append(_Comparison(weights[-1], words, partial(_searched, arrays, options, say)))
    return found


def _searched(arrays: list[np.ndarray], options: Options, say: Progress, sides: _Sides) -> list[np.ndarray]:
    found, _ = worst_batch(
        sides.written,
        sides.keras,
        arrays,
        options.search,
        SEARCH_STEPS,
        options.seed,
        lambda share, text: say(0.9, text),
    )
    sides.forget()  # the search has told the module which way it differs, on this very batch
    return found


def _run(
    comparisons: list[_Comparison], options: Options, sides: _Sides, notes: list[str], say: Progress
) -> tuple[list[Run], list[_Comparison]]:
    """A run for each comparison, until one differs where that is enough; and what was compared in each."""
    runs: list[Run] = []
    compared: list[_Comparison] = []
    for comparison in comparisons:
        if options.stop_early and runs and not runs[-1].passed:
            break
        sides.take(comparison.weights, comparison.draw)
        batch = comparison.arrays(sides)
        share = 0.1 + 0.9 * len(runs) / len(comparisons)
        whose = "the model’s" if comparison.weights == "model" else comparison.weights
        text = f"Comparing with {whose} weights on {comparison.inputs}"
        say(share, text)

        def told(part: float, detail: str, share: float = share, text: str = text) -> None:
            say(share + 0.9 * part / len(comparisons), f"{text}: {detail}")

        try:
            found, more = compare(
                sides.written,
                sides.keras,
                batch,
                comparison.weights,
                comparison.inputs,
                options.tolerance,
                lambda: sides.ours,
                told,
            )
        except InputError as error:
            if not comparison.own:
                raise
            notes.append(f"Not compared on {comparison.inputs}: {error}.")
            continue
        runs.append(replace(found, batch=tuple(array[:KEPT_SAMPLES] for array in batch)))
        compared.append(replace(comparison, batch=batch))
        notes.extend(note for note in more if note not in notes)
    return runs, compared


def _until_all_are_seen(
    runs: list[Run],
    compared: list[_Comparison],
    options: Options,
    sides: _Sides,
    notes: list[str],
    say: Progress,
) -> None:
    """Where all agrees and layers are without evidence, compare on other random weights and inputs until none is."""
    for draw in range(1, DRAWS + 1):
        if options.weights == "model" or not all(run.passed for run in runs) or not unseen_layers(runs):
            return
        batch = random_batch(sides.traced.graph, max(2, options.batch), options.seed + draw)
        words = f"normal, batch of {len(batch[0])}, seed {options.seed + draw}"
        more = [_Comparison("randomised", words, batch, own=True, draw=draw)]
        found, theirs = _run(more, options, sides, notes, say)
        runs += found
        compared += theirs


def _batch(options: Options, graph: Graph) -> tuple[list[np.ndarray], str]:
    """The batch that was asked for, in Keras's layout, and what it is in words."""
    inputs = options.inputs
    if inputs is None:
        words = f"{options.distribution}, batch of {options.batch}, seed {options.seed}"
        return random_batch(graph, options.batch, options.seed, options.distribution), words
    if isinstance(inputs, (str, Path)):
        return read_inputs(inputs, graph), Path(inputs).name
    return check_inputs([inputs] if isinstance(inputs, np.ndarray) else list(inputs), graph), "arrays"


def _notes(folder: Path, manifest: Manifest, graph: Graph, planned: Plan | None) -> list[str]:
    """What is to be known before anything is compared.

    planned: the model under the folder's recipe, None where there is no plan.
    """
    notes = []
    if not is_untouched(folder, manifest):
        notes.append(
            "model.py was edited by hand since k2t wrote it: outputs are compared, and layers where forward() still "
            "assigns what it did."
        )
    elif planned is not None and not _as_planned(folder, planned):
        notes.append(
            "model.py is not what this version of k2t writes of this model under this recipe, whatever manifest.json "
            "says of it."
        )
    if not manifest.taps and graph.nodes:
        notes.append("manifest.json names no tensor of model.py, so that outputs alone are compared and no layer.")
    if odd := bias_of_one_sample(graph):
        notes.append(
            f"Given a single sample, Keras on TensorFlow takes what layer {odd!r} adds for a bias, along another axis "
            "than with more samples; compared on batches of 1 it differs, so there are none but your own."
        )
    return notes


def _recipe(folder: Path) -> Recipe:
    path = folder / "recipe.json"
    return replace(read_recipe(path), fingerprint=None) if path.is_file() else Recipe()


def _check_same_model(manifest: Manifest, traced: Traced, folder: Path) -> None:
    missing = [v.source for v in manifest.variables.values() if v.source and v.source not in traced.variables]
    shapes = [side.keras_shape for side in manifest.inputs]
    if missing or shapes != [traced.graph.tensors[t].shape for t in traced.graph.inputs]:
        detail = f"it has no variable {missing[0]!r}" if missing else "its inputs differ"
        raise K2TError(
            f"{folder}: converted from another model than {traced.source.name}: {detail}; convert this model again"
        )


def _check_interface(folder: Path, manifest: Manifest, whole: Traced, traced: Traced, recipe: Recipe) -> Plan | None:
    """Refuse a manifest that tells of other inputs and outputs than the model's, or of cuts that are not the recipe's.

    What it leaves out would not be compared. The order of axes is that which k2t itself gives the model: by the plan,
    which is given back, None where the recipe allows none.
    """
    graph, wrong = traced.graph, None
    layouts: tuple[Any, Any] = (None, None)
    planned: Plan | None = None
    try:
        planned = plan(whole, recipe)
        planned.raise_for_problems()
        layouts = (planned.root.input_layouts, planned.root.output_layouts)
    except K2TError:  # which the proof of the weights tells
        planned = None
    if set(manifest.cut) != set(recipe.cuts):
        wrong = "layers are cut off that recipe.json does not cut off, or the other way round"
    elif not set(manifest.closed) <= {override.layer for override in recipe.snippets}:
        wrong = "layers are closed for which recipe.json has no snippet"
    for what, sides, tensors, expected in (
        ("inputs", manifest.inputs, graph.inputs, layouts[0]),
        ("outputs", manifest.outputs, graph.outputs, layouts[1]),
    ):
        known = [(graph.tensors[t].shape, graph.tensors[t].dtype) for t in tensors]
        if wrong is None and [(side.keras_shape, side.dtype) for side in sides] != known:
            wrong = f"its {what} are not the model's"
        for index, side in enumerate(sides):
            order = side.permutation or tuple(range(len(side.keras_shape)))
            if wrong is None and expected is not None and order != expected[index].perm:
                wrong = f"{side.name!r} is in another order of axes than k2t writes"
            if wrong is None and sorted(order) != list(range(len(side.keras_shape))):
                wrong = f"the permutation of {side.name!r} is none"
    if wrong is not None:
        raise OutputError(f"{folder / 'manifest.json'}: {wrong}; convert the model again")
    return planned


def _check_finite(manifest: Manifest, traced: Traced) -> None:
    for path in dict.fromkeys(v.source for v in manifest.variables.values() if v.source):
        value = traced.value(path)
        if not is_float(value.dtype):
            continue
        bad, what = int((~np.isfinite(value)).sum()), "NaN or infinity"
        if not bad and value.dtype.name != "float16":  # where 256 is large already, and none too large
            largest = float(np.sqrt(np.finfo("float64" if value.dtype.name == "float64" else "float32").max))
            bad, what = int((np.abs(value.astype("float64")) > largest).sum()), "numbers whose squares overflow"
        if bad:
            raise K2TError(
                f"{traced.source.name}: its variable {path!r} holds {what} in {bad} of {value.size} places, "
                "through which nothing can be compared; verify the mapping with randomised weights (“Randomised, in a "
                "copy” in the app, --weights randomised, weights='randomised')"
            )
