"""The layers of a comparison, each judged on what reached it in torch (cumulative) and alone on Keras's own input.

The pass alone is repeated in float64, so that rounding is told from error. The module runs in a process of its own
(`torch_side`); what came out is judged here. Intermediate tensors are kept for a stretch of layers at a time, so that
memory stays bounded on a large model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from k2t_core.difference import DOUBLE_TOLERANCE, Difference
from k2t_core.errors import K2TError
from k2t_core.graph import Graph
from k2t_core.keras_side import memory, running
from k2t_core.keras_side.traced import Traced
from k2t_core.progress import Progress
from k2t_core.verification.check import Place, Stretch, in_range, judged
from k2t_core.verification.checks import LAYER_CHECKS
from k2t_core.verification.report import LayerResult
from k2t_core.verification.seen import unseen
from k2t_core.verification.torch_side import TorchSide


def layer_results(
    written: TorchSide,
    traced: Traced,
    arrays: Sequence[np.ndarray],
    notes: list[str],
    say: Progress,
) -> list[LayerResult]:
    """A result for each tensor that a layer gives, and those of the checks of single layers behind it.

    arrays: the batch in Keras's layout. What could not be done is added to notes.
    """
    found: list[LayerResult] = []
    stretches = list(_stretches(traced.graph, len(arrays[0])))
    for index, (wanted, kept) in enumerate(stretches):
        many = len(stretches) > 1
        say(index / len(stretches), f"Layers, part {index + 1} of {len(stretches)}" if many else "Layer by layer")
        found += _judged(_computed(written, traced, arrays, wanted, kept), notes)
    return found


def _judged(stretch: Stretch, notes: list[str]) -> list[LayerResult]:
    closer: dict[str, list[LayerResult]] = {}
    settled: set[str] = set()
    for check in LAYER_CHECKS:
        for tensor, result in check.run(stretch):
            closer.setdefault(tensor, []).append(result)
            if check.settles and result.passed:
                settled.add(tensor)
    results: list[LayerResult] = []
    for tensor, (layer, difference) in stretch.cumulative.items():
        result = LayerResult(tensor, layer, difference, None, True)
        if tensor in stretch.alone:
            want, got, exact = stretch.keras[tensor], stretch.alone[tensor], stretch.exact.get(tensor)
            result = judged(result, want, got, exact, tensor in settled)
            result = replace(result, unseen=_unseen(stretch, tensor))
            if not result.passed and exact is not None:
                result = _second_opinion(result, stretch, exact, notes)
        results += [result, *closer.get(tensor, ())]
    return results


def _unseen(stretch: Stretch, tensor: str) -> str | None:
    """Why what a layer gave says nothing of its weights, empty where it does; None where it has none.

    What is looked at ahead of a flattening function is looked at here too: behind it all may be 1.
    """
    place = stretch.places[tensor]
    if place.node.layer.graph is not None or not place.node.layer.all_variables():
        return None
    return unseen(stretch.inputs(place).values(), stretch.before.get(tensor, stretch.keras[tensor]))


def _second_opinion(result: LayerResult, stretch: Stretch, exact: np.ndarray, notes: list[str]) -> LayerResult:
    """A layer that seems to differ, compared once more with both sides in float64.

    Where those agree and the module's float32 is the nearer one to them, what differs is Keras's own rounding (a
    normalisation over a single number returns nothing else).
    """
    place = stretch.places[result.tensor]
    if result.rounding is None or place.node.layer.graph is not None or result.rounding.torch > result.rounding.keras:
        return result
    try:
        wide = running.in_float64(stretch.traced, place.scope, place.node, stretch.inputs(place))
    except K2TError as error:
        notes.append(str(error))
        return result
    if wide is None or wide[place.index].shape != exact.shape:
        return result
    double = Difference.of(*in_range(exact, wide[place.index], exact))
    return replace(result, double=double, passed=double.relative <= DOUBLE_TOLERANCE)


def _computed(
    written: TorchSide, traced: Traced, arrays: Sequence[np.ndarray], wanted: set[str], kept: set[str]
) -> Stretch:
    """The layers that give the tensors ``wanted``; ``kept`` are those and Keras's inputs to their layers."""
    keras = running.tensors(traced, arrays, kept)
    places = {
        scope + t: Place(scope, node, index)
        for scope, _, node in traced.graph.walk()
        for index, t in enumerate(node.outputs)
    }
    watched = _watched(written, traced, wanted)
    found = written.stretch(arrays, keras, wanted, watched)
    return Stretch(
        written,
        traced,
        arrays,
        places,
        keras,
        {t: (places[t].node.layer.path, Difference.of(keras[t], got)) for t, got in found.cumulative.items()},
        found.alone,
        found.exact,
        found.before,
        found.exact_before,
        tuple(t for t in watched if t in found.cumulative),
    )


def _watched(written: TorchSide, traced: Traced, wanted: Collection[str]) -> dict[str, str]:
    """Tensor → path of the torch module that gives it, of the calls among ``wanted`` that a check watches."""
    paths = {variable.layer: key.rpartition(".")[0] for key, variable in written.manifest.variables.items()}
    return {
        scope + node.outputs[0]: paths[node.layer.path]
        for scope, _, node in traced.graph.walk()
        if node.layer.path in paths
        and scope + node.outputs[0] in wanted
        and any(check.watches(node) for check in LAYER_CHECKS)
    }


def _stretches(graph: Graph, batch: int) -> Iterator[tuple[set[str], set[str]]]:
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
