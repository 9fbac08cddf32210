"""The layers of a comparison, each judged on what reached it in torch (cumulative) and alone on Keras's own input.

The pass alone is repeated in float64, so that rounding is told from error. Intermediate tensors are kept for a stretch
of layers at a time, so that memory stays bounded on a large model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from k2t_core.difference import DOUBLE_TOLERANCE, Difference
from k2t_core.errors import K2TError
from k2t_core.graph import Graph
from k2t_core.keras_side import memory, running
from k2t_core.keras_side.traced import Traced
from k2t_core.layout import Layout
from k2t_core.progress import Progress
from k2t_core.tensors import to_array, to_tensor
from k2t_core.verification.check import Place, Stretch, in_range, judged
from k2t_core.verification.checks import LAYER_CHECKS
from k2t_core.verification.report import LayerResult
from k2t_core.verification.torch_side import TorchSide, arriving

if TYPE_CHECKING:
    import torch


def layer_results(
    written: TorchSide,
    traced: Traced,
    arrays: Sequence[np.ndarray],
    inputs: list[torch.Tensor],
    notes: list[str],
    say: Progress,
) -> list[LayerResult]:
    """A result for each tensor that a layer gives, and those of the checks of single layers behind it.

    arrays: the batch in Keras's layout, inputs: the same as the module takes it. What could not be done is added to
    notes.
    """
    found: list[LayerResult] = []
    stretches = list(_stretches(traced.graph, len(arrays[0])))
    for index, (wanted, kept) in enumerate(stretches):
        many = len(stretches) > 1
        say(index / len(stretches), f"Layers, part {index + 1} of {len(stretches)}" if many else "Layer by layer")
        found += _judged(_computed(written, traced, arrays, inputs, wanted, kept), notes)
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
            if not result.passed and exact is not None:
                result = _second_opinion(result, stretch, exact, notes)
        results += [result, *closer.get(tensor, ())]
    return results


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


class _Alone:
    """An observer that keeps each layer's own result and puts Keras's in its place, so that it is judged alone."""

    def __init__(
        self,
        keras: Mapping[str, np.ndarray],
        wanted: set[str],
        modules: Mapping[str, str] | None = None,
        latest: Mapping[str, torch.Tensor] | None = None,
    ):
        """modules: tensor → path of the module to watch; latest: that path → what the module was called on last."""
        self.keras, self.wanted = keras, wanted
        self.modules = {} if modules is None else modules
        self.latest = {} if latest is None else latest  # it fills while the module runs
        self.found: dict[str, np.ndarray] = {}
        self.before: dict[str, np.ndarray] = {}
        self.arrived: dict[str, torch.Tensor] = {}

    def __call__(self, tensor: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
        if tensor not in self.keras:
            return value
        if tensor in self.wanted:
            self.found[tensor] = layout.to_keras(to_array(value))
        if self.modules.get(tensor) in self.latest:
            self.arrived[tensor] = self.latest[self.modules[tensor]]
        return to_tensor(layout.to_torch(self.keras[tensor]), copy=True).to(value.dtype)

    def look_before(self, tensor: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
        if tensor in self.wanted and tensor in self.keras:
            self.before[tensor] = layout.to_keras(to_array(value))
        return value


def _computed(
    written: TorchSide,
    traced: Traced,
    arrays: Sequence[np.ndarray],
    inputs: list[torch.Tensor],
    wanted: set[str],
    kept: set[str],
) -> Stretch:
    """The layers that give the tensors ``wanted``; ``kept`` are those and Keras's inputs to their layers."""
    keras = running.tensors(traced, arrays, kept)
    cumulative: dict[str, tuple[str, Difference]] = {}

    def observe(tensor: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
        if tensor in wanted and tensor in keras:
            cumulative[tensor] = (layer, Difference.of(keras[tensor], layout.to_keras(to_array(value))))
        return value

    written.guard(lambda: written.tapped.run(inputs, observe))
    modules = _watched(written, traced, cumulative)
    with arriving(written.tapped.model, set(modules.values())) as latest:
        alone = _Alone(keras, wanted, modules, latest)
        written.guard(lambda: written.tapped.run(inputs, alone, alone.look_before))
    in_float64 = _Alone(keras, wanted)
    exact = written.exact
    if exact is not None:
        written.guard(lambda: exact.run(inputs, in_float64, in_float64.look_before))
    places = {
        scope + t: Place(scope, node, index)
        for scope, _, node in traced.graph.walk()
        for index, t in enumerate(node.outputs)
    }
    return Stretch(
        written,
        traced,
        arrays,
        places,
        keras,
        cumulative,
        alone.found,
        in_float64.found,
        alone.before,
        in_float64.before,
        modules,
        alone.arrived,
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
