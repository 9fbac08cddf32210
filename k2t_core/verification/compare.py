"""One comparison: both frameworks on one batch. The outputs are judged here, every layer in `layers`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from k2t_core.difference import DOUBLE_TOLERANCE, OUTPUT_TOLERANCE, Difference, Rounding, output_passes
from k2t_core.emit.manifest import Side
from k2t_core.errors import RAISED, K2TError, OutputError, named
from k2t_core.keras_side import memory, running
from k2t_core.keras_side.traced import Traced
from k2t_core.layout import Layout
from k2t_core.progress import Progress, silent
from k2t_core.tensors import to_array
from k2t_core.transforms import is_float
from k2t_core.verification.layers import layer_results
from k2t_core.verification.report import OutputResult, Run, first_failure
from k2t_core.verification.torch_side import TorchSide

if TYPE_CHECKING:
    import torch


def compare(
    written: TorchSide,
    traced: Traced,
    arrays: Sequence[np.ndarray],
    weights: str,
    described: str,
    tolerance: float,
    say: Progress = silent,
) -> tuple[Run, list[str]]:
    """Both sides on one batch: the Run, and notes on what could not be compared.

    weights and described: what the run is called; tolerance: of an output, in float32.
    """
    inputs = written.inputs(arrays)
    # Called as a whole, Keras holds every tensor of a model until the end.
    large = memory.total(traced.graph, len(arrays[0])) > memory.CHUNK_BYTES
    expected = running.streamed(traced, arrays) if large else running.predict(traced, arrays)
    outputs = _outputs(written, traced, inputs, len(expected))
    notes = _of_the_module(written, expected, outputs)
    exact = _in_float64(written, inputs, notes)
    layers = layer_results(written, traced, arrays, inputs, notes, say)
    alone = all(layer.passed for layer in layers) and bool(layers)
    sides = written.manifest.outputs
    results = [
        _judge(side, want, to_array(got), None if right is None else to_array(right), tolerance, alone)
        for side, want, got, right in zip(sides, expected, outputs, exact or [None] * len(outputs))
    ]
    if alone and exact is not None and tolerance >= OUTPUT_TOLERANCE and not all(r.passed for r in results):
        results = _second_opinions(results, traced, arrays, sides, exact, notes)
    first = first_failure(layers, all(r.passed for r in results))
    return Run(weights, described, tuple(results), tuple(layers), first, tolerance), notes


def _outputs(written: TorchSide, traced: Traced, inputs: list[torch.Tensor], count: int) -> tuple[torch.Tensor, ...]:
    """What the module gives. Raises OutputError where its forward() does, or gives other than ``count`` tensors."""
    import torch

    try:
        outputs = written.outputs(inputs)
    except OutputError as error:
        raise OutputError(f"{error}; {_where(written, traced, inputs)}") from error
    foreign = next((type(y).__name__ for y in outputs if not isinstance(y, torch.Tensor)), None)
    if foreign is not None or len(outputs) != count:
        given = f"a {foreign}" if foreign is not None else _count(len(outputs))
        right = "a tensor" if count == 1 else "a tuple of tensors in the order of its outputs"
        raise OutputError(
            f"{written.folder / 'model.py'}: forward() returns {given}, and the Keras model has {_count(count)}; "
            f"return {right}"
        )
    return outputs


def _count(outputs: int) -> str:
    return "one output" if outputs == 1 else f"{outputs} outputs"


def _of_the_module(written: TorchSide, expected: Sequence[np.ndarray], outputs: Sequence[torch.Tensor]) -> list[str]:
    """What is to be said of the module although it can be compared."""
    notes = []
    if written.module.training:
        notes.append(
            "load_model() returns the module in training mode, in which Dropout and BatchNormalization act otherwise: "
            "return model.eval()."
        )
    for side, want, got in zip(written.manifest.outputs, expected, outputs):
        given = str(got.dtype).removeprefix("torch.")
        if is_float(want.dtype) and got.dtype.is_floating_point and given != want.dtype.name:
            notes.append(
                f"Output {side.name!r} is {given}, in Keras {want.dtype.name}: its numbers are compared, its dtype "
                "is another."
            )
    return notes


def _in_float64(written: TorchSide, inputs: list[torch.Tensor], notes: list[str]) -> tuple[torch.Tensor, ...] | None:
    """The outputs of the float64 run. Where there is none, the torch side has none from here on, and a note says so."""
    if written.exact is None:
        return None
    try:
        return written.exact.run(inputs, lambda tensor, layer, layout, value: value)
    except RAISED as error:  # code that insists on a dtype: the fixed tolerances judge alone
        written.exact = None
        notes.append(
            f"No float64 run to measure rounding by ({named(error, 160)}): layers are judged by fixed tolerances."
        )
        return None


def _second_opinions(
    results: list[OutputResult],
    traced: Traced,
    arrays: Sequence[np.ndarray],
    sides: Sequence[Side],
    exact: Sequence[torch.Tensor],
    notes: list[str],
) -> list[OutputResult]:
    """Outputs that seem to differ though every layer alone agrees, compared once more with both models in float64."""
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


def _where(written: TorchSide, traced: Traced, inputs: list[torch.Tensor]) -> str:
    """Which layer is to blame for a forward() that raises.

    The first whose result has another shape, or the one that raises.
    """
    shapes = {scope + t: graph.tensors[t].shape for scope, graph, node in traced.graph.walk() for t in node.outputs}
    wrong: list[str] = []
    seen: set[str] = set()

    def look(tensor: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
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
    tapped = {tap.tensor for tap in written.manifest.taps if tap.class_name in written.tapped.classes}
    if not tapped:
        return "forward() is not the one that k2t wrote, so no layer can be named"
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
