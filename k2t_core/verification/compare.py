"""One comparison: both frameworks on one batch. The outputs are judged here, every layer in `layers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from k2t_core.difference import DOUBLE_TOLERANCE, OUTPUT_TOLERANCE, Difference, Rounding, output_passes
from k2t_core.emit.manifest import Side
from k2t_core.errors import K2TError, OutputError
from k2t_core.keras_side import memory, running
from k2t_core.keras_side.traced import Traced
from k2t_core.progress import Progress, silent
from k2t_core.transforms import is_float
from k2t_core.verification.layers import layer_results
from k2t_core.verification.report import OutputResult, Run, first_failure
from k2t_core.verification.torch_side import TorchSide


def compare(
    written: TorchSide,
    traced: Traced,
    arrays: Sequence[np.ndarray],
    weights: str,
    described: str,
    tolerance: float,
    believed: Callable[[], bool],
    say: Progress = silent,
) -> tuple[Run, list[str]]:
    """Both sides on one batch: the Run, and notes on what could not be compared.

    weights and described: what the run is called; tolerance: of an output, in float32. believed: whether what the
    module tells of its layers and of its float64 run may excuse an output; asked where one needs it.
    """
    # Called as a whole, Keras holds every tensor of a model until the end.
    large = memory.total(traced.graph, len(arrays[0])) > memory.CHUNK_BYTES
    expected = running.streamed(traced, arrays) if large else running.predict(traced, arrays)
    outputs = _outputs(written, traced, arrays, len(expected))
    notes = _of_the_module(written, expected, outputs)
    exact = _in_float64(written, arrays, len(expected), notes)
    layers = layer_results(written, traced, arrays, notes, say)
    alone = all(layer.passed for layer in layers) and bool(layers)
    sides = written.manifest.outputs
    results = [
        _judge(side, want, got, right, tolerance, alone)
        for side, want, got, right in zip(sides, expected, outputs, [None] * len(outputs) if exact is None else exact)
    ]
    results = _strictly(results, tolerance, believed, notes)
    if alone and exact is not None and tolerance >= OUTPUT_TOLERANCE and not all(r.passed for r in results):
        results = _second_opinions(results, traced, arrays, sides, exact, notes)
    first = first_failure(layers, all(r.passed for r in results))
    return Run(weights, described, tuple(results), tuple(layers), first, tolerance), notes


def _outputs(written: TorchSide, traced: Traced, arrays: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """What the module gives. Raises OutputError where its forward() does, or gives other than ``count`` tensors."""
    try:
        outputs = written.outputs(arrays)
    except OutputError as error:
        raise OutputError(f"{error}; {_where(written, traced, arrays)}") from error
    foreign = next((y for y in outputs if isinstance(y, str)), None)
    if foreign is not None or len(outputs) != count:
        given = f"a {foreign}" if foreign is not None else _count(len(outputs))
        right = "a tensor" if count == 1 else "a tuple of tensors in the order of its outputs"
        raise OutputError(
            f"{written.folder / 'model.py'}: forward() returns {given}, and the Keras model has {_count(count)}; "
            f"return {right}"
        )
    return [y for y in outputs if not isinstance(y, str)]


def _count(outputs: int) -> str:
    return "one output" if outputs == 1 else f"{outputs} outputs"


def _of_the_module(written: TorchSide, expected: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> list[str]:
    """What is to be said of the module although it can be compared."""
    notes = []
    if written.training:
        notes.append(
            "load_model() returns the module in training mode, in which Dropout and BatchNormalization act otherwise: "
            "return model.eval()."
        )
    for side, want, got in zip(written.manifest.outputs, expected, outputs):
        if is_float(want.dtype) and is_float(got.dtype) and got.dtype != want.dtype:
            notes.append(
                f"Output {side.name!r} is {got.dtype.name}, in Keras {want.dtype.name}: its numbers are compared, its "
                "dtype is another."
            )
    return notes


def _in_float64(
    written: TorchSide, arrays: Sequence[np.ndarray], count: int, notes: list[str]
) -> list[np.ndarray] | None:
    """The outputs of the float64 run. Where there is none, the torch side has none from here on, and a note says so."""
    if not written.exact:
        return None
    found = written.exact_outputs(arrays, count)
    if isinstance(found, str):  # the fixed tolerances judge alone
        notes.append(f"No float64 run to measure rounding by ({found}): layers are judged by fixed tolerances.")
        return None
    return found


def _strictly(
    results: list[OutputResult], tolerance: float, believed: Callable[[], bool], notes: list[str]
) -> list[OutputResult]:
    """The results, with those failed that pass by an excuse of the module's own which is not to be believed.

    Beyond the tolerance it is the module that says how far it and Keras are from the right result, and that each layer
    alone is right; a file that lies of that could be as wrong as `difference.LAYER_LIMIT` allows.
    """
    found = []
    for result in results:
        within = output_passes(result.difference, None, result.keras.dtype, tolerance, False)
        if result.passed and not within and not believed():
            notes.append(
                f"Output {result.name!r} differs by {result.difference.relative:.2g}. model.py's own float64 run "
                "explains that as rounding, which is believed of a file as k2t writes it, without code of the "
                "recipe's: convert the model again to have it judged by that."
            )
            result = replace(result, passed=False)
        found.append(result)
    return found


def _second_opinions(
    results: list[OutputResult],
    traced: Traced,
    arrays: Sequence[np.ndarray],
    sides: Sequence[Side],
    exact: Sequence[np.ndarray],
    notes: list[str],
) -> list[OutputResult]:
    """Outputs that seem to differ though every layer alone agrees, compared once more with both models in float64.

    Nothing here rests on the module's word: where its float64 run is Keras's, the float32 one is measured by that.
    """
    try:
        wanted = running.outputs_in_float64(traced, arrays)
    except K2TError as error:
        notes.append(str(error))
        return results
    if wanted is None:
        return results
    found = []
    for result, side, want, got in zip(results, sides, wanted, exact):
        right = Difference.of(want, side.to_keras(got)).relative <= DOUBLE_TOLERANCE
        its_own = result.rounding is not None and result.rounding.torch <= result.rounding.keras
        found.append(result if result.passed or not (right and its_own) else replace(result, passed=True))
        if found[-1] is not result:
            notes.append(
                f"Output {result.name!r} differs by Keras's own rounding: with both sides in float64 it agrees."
            )
    return found


def _where(written: TorchSide, traced: Traced, arrays: Sequence[np.ndarray]) -> str:
    """Which layer is to blame for a forward() that raises.

    The first whose result has another shape, or the one that raises.
    """
    shapes = {scope + t: graph.tensors[t].shape for scope, graph, node in traced.graph.walk() for t in node.outputs}
    try:
        seen = written.shapes(arrays)
    except OutputError:  # it does more than raise: the process has ended
        return "no layer can be named"
    for tensor, layer, got in seen:
        want = shapes.get(tensor)
        if want is not None and (len(want) != len(got) or any(n not in (None, m) for n, m in zip(want[1:], got[1:]))):
            return f"layer {layer!r} is the first that gives another shape: {got}, in Keras {want}"
    tapped = {tap.tensor for tap in written.manifest.taps if tap.class_name in written.classes}
    if not tapped:
        return "forward() is not the one that k2t wrote, so no layer can be named"
    met = {tensor for tensor, _, _ in seen}
    stopped = next(
        (
            node.layer.path
            for scope, _, node in traced.graph.walk()
            for t in node.outputs
            if t in tapped and scope + t not in met and node.layer.graph is None
        ),
        None,
    )
    return f"layer {stopped!r} does not get done" if stopped else "every layer gets done"


def _judge(
    side: Side,
    expected: np.ndarray,
    actual: np.ndarray,
    exact: np.ndarray | None,
    tolerance: float,
    layers_pass: bool,
) -> OutputResult:
    torch_shape = actual.shape
    actual = side.to_keras(actual)
    difference = Difference.of(expected, actual)
    rounding = None
    if exact is not None and is_float(expected.dtype) and expected.shape == actual.shape:
        rounding = Rounding.of(expected, actual, side.to_keras(exact))
    passed = output_passes(difference, rounding, expected.dtype, tolerance, layers_pass)
    return OutputResult(side.name, expected.shape, torch_shape, difference, bool(passed), expected, actual, rounding)
