"""Which weights cannot tell a right mapping from a wrong one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from k2t_core.emit.manifest import Variable
from k2t_core.graph import Layer
from k2t_core.keras_side.traced import Traced
from k2t_core.planning.plan import PlannedWeight
from k2t_core.rules.registry import gates_of
from k2t_core.transforms import Permute, ReorderBlocks, Transform
from k2t_core.verification.report import Weakness

INITIAL = {"moving_mean": 0.0, "moving_variance": 1.0}


def find_weaknesses(weights: Iterable[Variable | PlannedWeight], traced: Traced) -> tuple[Weakness, ...]:
    """Variables that would look the same through a wrong mapping.

    Constant (a bias of zeros can be left out unseen, a BatchNorm mean of zeros and variance of ones stand for none at
    all), symmetric under a transpose of axes of equal size, or with gates that are alike.
    """
    within = (layer for _, _, node in traced.graph.walk() for layer in _layers(node.layer))
    owners = {variable.path: layer for layer in within for variable in layer.variables}
    found: dict[str, Weakness] = {}
    for weight in weights:
        if weight.source is None:
            continue
        reason = _reason(weight.source, traced.value(weight.source), weight.steps, owners.get(weight.source))
        if reason:
            found.setdefault(weight.source, Weakness(weight.source, reason))
    return tuple(found.values())


def _layers(layer: Layer) -> Iterator[Layer]:
    """A layer and those that it wraps, at any depth."""
    yield layer
    for child in layer.children.values():
        yield from _layers(child)


def _reason(path: str, array: np.ndarray, steps: Sequence[Transform], layer: Layer | None) -> str | None:
    if array.size == 0:
        return None
    if np.all(array == array.flat[0]) and (array.size > 1 or array.flat[0] in (0, 1)):
        value, name = float(array.flat[0]), path.rsplit("/", 1)[-1]
        initial = ", as before any training" if INITIAL.get(name) == value else ""
        return f"every value is {value:g}{initial}"
    gates = max((len(step.order) for step in steps if isinstance(step, ReorderBlocks)), default=_gates(path, layer))
    alike = _alike(array, gates) if gates else False
    if alike:
        return "two of its gates are the same: swapping them changes nothing"
    axes = _symmetric(array) if any(isinstance(step, Permute) for step in steps) else None
    return f"symmetric: swapping its axes {axes[0]} and {axes[1]} changes nothing" if axes else None


def _gates(path: str, layer: Layer | None) -> int:
    """The gates in a variable of a layer or cell, where no step names them (torch shares an LSTM's order); else 0."""
    gates = gates_of(layer) if layer is not None else None
    return len(gates.keras) if gates and path.rsplit("/", 1)[-1] in ("kernel", "recurrent_kernel", "bias") else 0


def _alike(array: np.ndarray, count: int) -> bool:
    """Whether two of ``count`` blocks of the last axis, where Keras keeps its gates, are equal."""
    if array.shape[-1] % count or array.shape[-1] == count == 1:
        return False
    blocks = np.split(array, count, axis=-1)
    return any(np.array_equal(blocks[i], blocks[j]) for i in range(count) for j in range(i))


def _symmetric(array: np.ndarray) -> tuple[int, int] | None:
    """Two axes of equal size whose swap leaves the array as it is."""
    for a in range(array.ndim):
        for b in range(a + 1, array.ndim):
            if array.shape[a] == array.shape[b] > 1 and np.array_equal(array, np.swapaxes(array, a, b)):
                return a, b
    return None
