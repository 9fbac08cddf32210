"""Run Keras and the written module on the same batch and judge the difference, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.errors import K2TError, OutputError
from k2t_core.graph import Variable
from k2t_core.loading import Source, load
from k2t_core.randomise import is_weight, random_value
from k2t_core.tensors import to_array, to_tensor
from k2t_core.tracing import Traced, trace
from k2t_core.transforms import apply_chain, from_json, is_float
from k2t_core.verification.inputs import check_inputs, random_batch, read_inputs
from k2t_core.verification.manifest import read_manifest
from k2t_core.verification.module import load_module
from k2t_core.verification.report import LAYER_TOLERANCE, OUTPUT_TOLERANCE, Difference, LayerResult, OutputResult, Report, Run, coarseness, first_failure
from k2t_core.verification.taps import TappedModel, is_untouched
from k2t_core.verification.weakness import find_weaknesses

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
    allow_unsafe: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> Report:
    """Compare the conversion in the folder ``out`` with the Keras model it came from, in inference mode.

    model: path, keras.Model, loaded `Source` or `Traced`.
    inputs: None for a random batch (``batch``, ``seed``, ``distribution``), a .npy/.npz path, or arrays in Keras's layout.
    weights: "model" as they are, "randomised" in a copy of both sides (the user's model is left alone), or "both".
    tolerance: largest allowed max|torch − keras| / max|keras| of an output.

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
    _check_same_model(manifest, traced, folder)
    graph = traced.graph
    if inputs is None:
        arrays, described = random_batch(graph, batch, seed, distribution), f"{distribution}, batch of {batch}, seed {seed}"
    elif isinstance(inputs, (str, Path)):
        arrays, described = read_inputs(inputs, graph), Path(inputs).name
    else:
        arrays, described = check_inputs([inputs] if isinstance(inputs, np.ndarray) else list(inputs), graph), "arrays"
    runs = []
    if weights != "randomised":
        say(0.1, "Comparing with the model's weights")
        runs.append(_compare(folder, manifest, traced, arrays, None, "model", described, tolerance))
    if weights != "model" and manifest["variables"]:
        say(0.5, "Comparing with randomised weights, in a copy")
        copy = _randomised_copy(traced, seed)
        state = {key: _randomised_entry(entry, traced, seed) for key, entry in manifest["variables"].items()}
        runs.append(_compare(folder, manifest, copy, arrays, state, "randomised", described, tolerance))
    notes = [] if is_untouched(folder, manifest) else ["model.py was edited by hand since k2t wrote it: outputs are compared, layers are not."]
    say(1.0, "Done")
    return Report(tuple(runs), find_weaknesses(manifest, traced.value), tuple(notes), dict(manifest["reference"]))


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
            model = keras.models.clone_model(traced.source.model)
    except Exception as error:  # custom classes may not rebuild from their config
        raise K2TError(f"{traced.source.name}: Keras cannot copy the model to randomise its weights ({' '.join(str(error).split())[:200]}); verify with weights='model'") from error
    copy = trace(Source(model, traced.source.path, traced.source.fingerprint, traced.source.info))
    originals, copies = _variable_index(traced), _variable_index(copy)
    if set(originals) != set(copies):
        raise K2TError(f"{traced.source.name}: its copy has other variables; verify with weights='model'")
    for place, variable in copies.items():  # a copy may name its variables otherwise: the layer says which is which
        value = random_value(originals[place].path, variable.shape, variable.dtype, seed)
        copy.variables[variable.path].assign(value)
    return copy


def _variable_index(traced: Traced) -> dict[tuple[str, str], Variable]:
    """(layer path, relative name) → variable, nested models included."""
    layers = {id(node.layer): node.layer for _, _, node in traced.graph.walk() if node.layer.graph is None}
    found = {(layer.path, v.name): v for layer in layers.values() for v in layer.all_variables()}
    return {place: v for place, v in found.items() if is_weight(v.path)}


def _randomised_entry(entry: dict[str, Any], traced: Traced, seed: int) -> np.ndarray:
    source = None
    if entry["keras"]:
        path = entry["keras"][0]
        variable = traced.variables[path]
        source = random_value(path, tuple(variable.shape), str(variable.dtype), seed)
    return apply_chain([from_json(step) for step in entry["steps"]], source)


def _compare(folder, manifest, traced: Traced, arrays, state: dict[str, np.ndarray] | None, weights: str, described: str, tolerance: float) -> Run:
    """Both sides on one batch. ``state``: the torch state_dict, None for the one in the folder."""
    import torch

    from k2t_core import reference

    expected = reference.predict(traced, arrays)
    permutations = [side["permutation"] for side in manifest["inputs"]]
    torch_inputs = [to_tensor(a.transpose(p) if p else a) for a, p in zip(arrays, permutations)]
    tensors = {k: to_tensor(v) for k, v in state.items()} if state is not None else None
    layers: tuple[LayerResult, ...] = ()
    if is_untouched(folder, manifest):
        model = TappedModel(folder, manifest)
        model.load(tensors if tensors is not None else _stored_state(folder))
        record = reference.tensors(traced, arrays)
        outputs, layers = _watch(model, torch_inputs, record, folder)
    else:
        module = load_module(folder)
        if tensors is not None:
            try:
                module.load_state_dict(tensors)
            except RuntimeError as error:
                raise OutputError(f"{folder / 'model.py'}: its state_dict differs from the manifest: {' '.join(str(error).split())[:300]}") from error
        with torch.no_grad():
            outputs = _call(module, torch_inputs, folder)
    if len(outputs) != len(expected) or not all(isinstance(y, torch.Tensor) for y in outputs):
        raise OutputError(f"{folder / 'model.py'}: returns {len(outputs)} outputs, the Keras model {len(expected)} tensors")
    results = [_judge_output(side, want, to_array(got), tolerance) for side, want, got in zip(manifest["outputs"], expected, outputs)]
    failed = first_failure(layers, all(r.passed for r in results))
    return Run(weights, described, tuple(results), layers, failed, tolerance)


def _stored_state(folder: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: cannot be read ({error}); convert the model again") from error


def _call(module: Any, inputs: list[Any], folder: Path) -> tuple[Any, ...]:
    try:
        outputs = module(*inputs)
    except Exception as error:  # hand-edited or overridden code can raise anything
        raise OutputError(f"{folder / 'model.py'}: forward() raises {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    return outputs if isinstance(outputs, (tuple, list)) else (outputs,)


def _watch(model: TappedModel, inputs: list[Any], record: dict[str, np.ndarray], folder: Path) -> tuple[tuple[Any, ...], tuple[LayerResult, ...]]:
    """Outputs and layer results: one pass as a user runs it, one in which each layer gets Keras's own input."""
    cumulative: dict[str, tuple[str, Difference]] = {}
    isolated: dict[str, Difference] = {}

    def observe(tensor, layer, layout, value):
        if tensor in record:
            cumulative[tensor] = (layer, Difference.of(record[tensor], layout.to_keras(to_array(value))))
        return value

    def replace(tensor, layer, layout, value):
        if tensor not in record:
            return value
        isolated[tensor] = Difference.of(record[tensor], layout.to_keras(to_array(value)))
        return to_tensor(layout.to_torch(record[tensor])).to(value.dtype)

    outputs = _call(lambda *x: model.run(list(x), observe), inputs, folder)
    _call(lambda *x: model.run(list(x), replace), inputs, folder)
    layers = tuple(
        LayerResult(tensor, layer, difference, isolated.get(tensor), _layer_passes(isolated.get(tensor), record[tensor])) for tensor, (layer, difference) in cumulative.items()
    )
    return outputs, layers


def _layer_passes(difference: Difference | None, keras: np.ndarray) -> bool:
    if difference is None:
        return True
    return difference.relative <= LAYER_TOLERANCE * coarseness(keras.dtype) if is_float(keras.dtype) else difference.max_abs == 0


def _judge_output(side: dict[str, Any], expected: np.ndarray, actual: np.ndarray, tolerance: float) -> OutputResult:
    torch_shape = actual.shape
    permutation = side["permutation"]
    if permutation and actual.ndim == len(permutation):
        actual = actual.transpose(np.argsort(permutation))
    difference = Difference.of(expected, actual)
    passed = difference.relative <= tolerance * coarseness(expected.dtype) if is_float(expected.dtype) else difference.max_abs == 0
    return OutputResult(side["name"], expected.shape, torch_shape, difference, bool(passed), expected, actual)
