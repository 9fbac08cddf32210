"""One comparison: both frameworks on one batch, outputs and every layer.

Each layer is judged twice: on what reached it in torch (cumulative), and alone on Keras's own input to it (isolated).
The isolated pass is repeated in float64, so that rounding is told from error. Intermediate tensors are kept for a
chunk of layers at a time, so that memory stays bounded on a large model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from k2t_core.difference import DOUBLE_TOLERANCE, OUTPUT_TOLERANCE, Difference, Rounding, layer_passes, output_passes
from k2t_core.emit.manifest import Side
from k2t_core.errors import RAISED, K2TError, OutputError, named
from k2t_core.graph import Graph, Layer, Node
from k2t_core.keras_side import memory, running
from k2t_core.keras_side.tracing import Traced
from k2t_core.layout import Layout
from k2t_core.progress import Progress, silent
from k2t_core.tensors import to_array, to_tensor
from k2t_core.transforms import is_float
from k2t_core.verification import closeups
from k2t_core.verification.report import LayerResult, OutputResult, Run, first_failure
from k2t_core.verification.taps import Observer
from k2t_core.verification.torch_side import TorchSide, arriving

END_OF_RANGE = 1024  # a factor below the largest float32


def compare(
    written: TorchSide,
    traced: Traced,
    arrays: Sequence[np.ndarray],
    weights: str,
    described: str,
    tolerance: float,
    say: Progress = silent,
) -> tuple[Run, list[str]]:
    """Both sides on one batch: the Run, and notes on what could not be compared."""
    import torch

    notes: list[str] = []
    inputs = written.inputs(arrays)
    # Called as a whole, Keras holds every tensor of a model until the end.
    large = memory.total(traced.graph, len(arrays[0])) > memory.CHUNK_BYTES
    expected = running.streamed(traced, arrays) if large else running.predict(traced, arrays)
    try:
        outputs = written.outputs(inputs)
    except OutputError as error:
        raise OutputError(f"{error}; {_where(written, traced, inputs)}") from error
    foreign = next((type(y).__name__ for y in outputs if not isinstance(y, torch.Tensor)), None)
    if foreign is not None or len(outputs) != len(expected):
        what = f"a {foreign}" if foreign is not None else _count(len(outputs))
        raise OutputError(
            f"{written.folder / 'model.py'}: forward() returns {what}, and the Keras model has {_count(len(expected))}; return {'a tensor' if len(expected) == 1 else 'a tuple of tensors in the order of its outputs'}"
        )
    if written.module.training:
        notes.append(
            "load_model() returns the module in training mode, in which Dropout and BatchNormalization act otherwise: return model.eval()."
        )
    for side, want, got in zip(written.manifest.outputs, expected, outputs):
        if (
            is_float(want.dtype)
            and got.dtype.is_floating_point
            and (given := str(got.dtype).removeprefix("torch.")) != want.dtype.name
        ):
            notes.append(
                f"Output {side.name!r} is {given}, in Keras {want.dtype.name}: its numbers are compared, its dtype is another."
            )
    exact_inputs = [x.double() if x.is_floating_point() else x for x in inputs]
    exact = None
    if written.exact is not None:
        try:
            exact = written.exact.run(exact_inputs, lambda tensor, layer, layout, value: value)
        except RAISED as error:  # code that insists on a dtype: the fixed tolerances judge alone
            written.exact = None
            notes.append(
                f"No float64 run to measure rounding by ({named(error, 160)}): layers are judged by fixed tolerances."
            )
    layers: list[LayerResult] = []
    chunks = list(_chunks(traced.graph, len(arrays[0])))
    for index, (wanted, kept) in enumerate(chunks):
        say(index / len(chunks), f"Layers, part {index + 1} of {len(chunks)}" if len(chunks) > 1 else "Layer by layer")
        layers += _layers(written, traced, arrays, inputs, exact_inputs, wanted, kept, notes)
    sides = zip(written.manifest.outputs, expected, outputs, exact or [None] * len(outputs))
    alone = all(layer.passed for layer in layers) and bool(layers)
    results = [
        _judge(side, want, to_array(got), None if right is None else to_array(right), tolerance, alone)
        for side, want, got, right in sides
    ]
    if alone and exact is not None and tolerance >= OUTPUT_TOLERANCE and not all(r.passed for r in results):
        results = _second_opinions(results, traced, arrays, written.manifest.outputs, exact, notes)
    return Run(
        weights,
        described,
        tuple(results),
        tuple(layers),
        first_failure(layers, all(r.passed for r in results)),
        tolerance,
    ), notes


def _second_opinions(
    results: list[OutputResult],
    traced: Traced,
    arrays,
    sides: Sequence[Side],
    exact: Sequence[Any],
    notes: list[str],
) -> list[OutputResult]:
    """Outputs that seem to differ though every layer alone agrees: as `_second_opinion` does it for a layer, with the whole model."""
    try:
        wanted = running.outputs_in_float64(traced, arrays)
    except K2TError as error:
        notes.append(str(error))
        return results
    if wanted is None:
        return results
    found = []
    for result, side, want, got in zip(results, sides, wanted, exact):
        right = Difference.of(want, side.to_keras(to_array(got))).relative <= DOUBLE_TOLERANCE
        its_own = result.rounding is not None and result.rounding.torch <= result.rounding.keras
        found.append(result if result.passed or not (right and its_own) else replace(result, passed=True))
        if found[-1] is not result:
            notes.append(
                f"Output {result.name!r} differs by Keras's own rounding: with both sides in float64 it agrees."
            )
    return found


def _count(outputs: int) -> str:
    return "one output" if outputs == 1 else f"{outputs} outputs"


def _where(written: TorchSide, traced: Traced, inputs: list[Any]) -> str:
    """Which layer is to blame for a forward() that raises: the first whose result has another shape, or the one that raises."""
    shapes = {scope + t: graph.tensors[t].shape for scope, graph, node in traced.graph.walk() for t in node.outputs}
    wrong: list[str] = []
    seen: set[str] = set()

    def look(tensor: str, layer: str, layout: Layout, value: Any) -> Any:
        seen.add(tensor)
        want = shapes.get(tensor)
        got = tuple(value.shape[layout.axis(axis)] for axis in range(value.dim())) if want is not None else ()
        if want is not None and (len(want) != len(got) or any(n not in (None, m) for n, m in zip(want[1:], got[1:]))):
            wrong.append(f"layer {layer!r} is the first that gives another shape: {got}, in Keras {want}")
        return value

    with suppress(*RAISED):  # it raises: that is why it is run
        written.tapped.run(inputs, look)
    if wrong:
        return wrong[0]
    tapped = {tap.tensor for tap in written.manifest.taps}
    stopped = next(
        (
            node.layer.path
            for scope, _, node in traced.graph.walk()
            for t in node.outputs
            if t in tapped and scope + t not in seen and node.layer.graph is None
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


def _layers(
    written: TorchSide, traced: Traced, arrays, inputs, exact_inputs, wanted: set[str], kept: set[str], notes: list[str]
) -> list[LayerResult]:
    """The results for the tensors ``wanted``; ``kept`` are those and Keras's inputs to their layers."""
    record = running.tensors(traced, arrays, kept)
    cumulative: dict[str, tuple[str, Difference]] = {}
    alone: dict[str, np.ndarray] = {}
    exact: dict[str, np.ndarray] = {}
    raw: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})  # before an activation, in float32 and float64

    def observe(tensor: str, layer: str, layout: Layout, value: Any) -> Any:
        if tensor in wanted and tensor in record:
            cumulative[tensor] = (layer, Difference.of(record[tensor], layout.to_keras(to_array(value))))
        return value

    given: dict[str, Any] = {}  # tensor → what the normalisation was called on for it: Keras's own input

    def keeping(found: dict[str, np.ndarray]) -> Observer:
        """Keeps a layer's own result, and puts Keras's in its place."""

        def replace(tensor: str, layer: str, layout: Layout, value: Any) -> Any:
            if tensor not in record:
                return value
            if tensor in wanted:
                found[tensor] = layout.to_keras(to_array(value))
            if found is alone and norms.get(tensor) in latest:
                given[tensor] = latest[norms[tensor]]
            return to_tensor(layout.to_torch(record[tensor]), copy=True).to(value.dtype)

        return replace

    def before(found: dict[str, np.ndarray]) -> Observer:
        def look(tensor: str, layer: str, layout: Layout, value: Any) -> Any:
            if tensor in wanted and tensor in record:
                found[tensor] = layout.to_keras(to_array(value))
            return value

        return look

    written.guard(lambda: written.tapped.run(inputs, observe))
    normed = closeups.normalisations(traced, written.manifest.variables, wanted & set(cumulative))
    norms = {scope + node.outputs[0]: path for (scope, node), path in normed.items()}
    with arriving(written.tapped.model, set(normed.values())) as latest:
        written.guard(lambda: written.tapped.run(inputs, keeping(alone), before(raw[0])))
    if written.exact is not None:
        written.guard(lambda: written.exact.run(exact_inputs, keeping(exact), before(raw[1])))
    places = {
        scope + t: (scope, node, index)
        for scope, _, node in traced.graph.walk()
        for index, t in enumerate(node.outputs)
    }
    results: dict[str, list[LayerResult]] = {}
    for tensor, (layer, difference) in cumulative.items():
        result = LayerResult(tensor, layer, difference, None, True)
        before_it = None
        if tensor in raw[0]:
            scope, node, _ = places[tensor]
            want = running.before_activation(
                traced, scope, node, running.arguments(traced, scope, node, arrays, record)
            )
            if want is not None:
                before_it = _judged(
                    LayerResult(f"{tensor} before {_activation(node.layer)}", layer, None, None, True),
                    want,
                    raw[0][tensor],
                    raw[1].get(tensor),
                )
        if tensor in alone:
            result = _judged(
                result, record[tensor], alone[tensor], exact.get(tensor), before_it is not None and before_it.passed
            )
            if not result.passed and tensor in exact:
                result = _second_opinion(result, traced, places[tensor], arrays, record, exact[tensor], notes)
        results[tensor] = [result] if before_it is None else [result, before_it]

    def values(scope: str, node: Node) -> dict[str, np.ndarray]:
        return running.arguments(traced, scope, node, arrays, record)

    exact_model = written.exact.model if written.exact is not None else None
    for tensor, result in closeups.of_normalisations(traced, normed, written.tapped.model, exact_model, given, values):
        results[tensor].append(result)
    return [result for found in results.values() for result in found]


def _judged(
    result: LayerResult, want: np.ndarray, got: np.ndarray, exact: np.ndarray | None, settled: bool = False
) -> LayerResult:
    """The result with the difference of a layer alone, and whether rounding explains it; settled: as in `layer_passes`."""
    if exact is not None and want.dtype == np.float32 and want.shape == got.shape == exact.shape:
        want, got, exact = _in_range(exact, want, got, exact)
    isolated = Difference.of(want, got)
    rounding = (
        Rounding.of(want, got, exact)
        if exact is not None and is_float(want.dtype) and want.shape == got.shape
        else None
    )
    return replace(
        result, isolated=isolated, rounding=rounding, passed=layer_passes(isolated, rounding, want.dtype, settled)
    )


def _in_range(exact: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    """The arrays with 0 where the exact value is at the very end of float32's range: there one side overflows on its way to what the other still reaches."""
    end = ~(np.abs(exact) < np.finfo(np.float32).max / END_OF_RANGE) & ~np.isnan(exact)
    return [np.where(end, np.zeros((), x.dtype), x) for x in arrays] if end.any() else list(arrays)


def _second_opinion(
    result: LayerResult,
    traced: Traced,
    place: tuple[str, Node, int],
    arrays,
    record,
    exact: np.ndarray,
    notes: list[str],
) -> LayerResult:
    """A layer that seems to differ, compared once more with both sides in float64.

    Where those agree and the module's float32 is the nearer one to them, what differs is Keras's own rounding (a
    normalisation over a single number returns nothing else).
    """
    scope, node, index = place
    if result.rounding is None or node.layer.graph is not None or result.rounding.torch > result.rounding.keras:
        return result
    try:
        want = running.in_float64(traced, scope, node, running.arguments(traced, scope, node, arrays, record))
    except K2TError as error:
        notes.append(str(error))
        return result
    if want is None or want[index].shape != exact.shape:
        return result
    double = Difference.of(*_in_range(exact, want[index], exact))
    return replace(result, double=double, passed=double.relative <= DOUBLE_TOLERANCE)


def _activation(layer: Layer) -> str:
    """The name of the activation of a layer or of the one it wraps."""
    layer = layer.children.get("layer", layer)
    identifier = layer.config.get("activation")
    return identifier if isinstance(identifier, str) else "its activation"


def _chunks(graph: Graph, batch: int) -> Iterator[tuple[set[str], set[str]]]:
    """(tensors to judge, tensors to keep for it): runs of calls whose tensors fit in CHUNK_BYTES."""
    wanted: set[str] = set()
    kept: dict[str, int] = {}
    for outputs, inputs in memory.calls(graph, batch):
        more = {**outputs, **inputs}
        if wanted and sum(kept.values()) + sum(size for t, size in more.items() if t not in kept) > memory.CHUNK_BYTES:
            yield wanted, set(kept)
            wanted, kept = set(), {}
        wanted |= set(outputs)
        kept.update(more)
    yield wanted, set(kept)
