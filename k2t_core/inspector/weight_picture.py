"""A variable on its way from Keras to PyTorch, as two matrices with the same element marked in both.

Only what is drawn is computed: the elements of a window are traced back through the transform, step by step, so that a
kernel of a hundred million entries is as quick to look at as a small one.

Long because each transform has to be told backwards for one element, and the words for its axes stand beside that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from k2t_core.graph import Layer
from k2t_core.inspector.activations import window
from k2t_core.planning.plan import PlannedWeight
from k2t_core.rules import registry
from k2t_core.transforms import Cast, Permute, ReorderBlocks, ReorderFlatten, Reshape, SqrtAtLeast, Take, Transform

Index = tuple[np.ndarray, ...]  # of many elements of an array: their places along each axis

WINDOW = 48  # rows and columns drawn
SAMPLE = 100_000  # values counted in a histogram
SPACE = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


@dataclass(frozen=True)
class Band:
    """The rows or columns ``start`` to ``stop`` of a side's window that belong to one gate."""

    gate: str
    meaning: str
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Side:
    """One side, laid out as a matrix in the order of its memory: a window around the marked element.

    rows, columns: names of the axes that run there. row_labels, column_labels: the index of each row and column.
    mark: (row, column) in the window, of the element with ``index`` in the whole array.
    more: whether the window leaves anything out.
    row_gates, column_gates: the gates of a recurrent kernel, where they run along that side, with some units of each.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    index: tuple[int, ...]
    values: np.ndarray
    rows: str
    columns: str
    row_labels: tuple[str, ...]
    column_labels: tuple[str, ...]
    mark: tuple[int, int]
    sample: np.ndarray
    more: bool
    row_gates: tuple[Band, ...] = ()
    column_gates: tuple[Band, ...] = ()

    @property
    def sizes(self) -> str:
        """``(in 10, out 128)``."""
        return "(" + ", ".join(f"{name} {size}" for name, size in zip(self.axes, self.shape)) + ")"


@dataclass(frozen=True, eq=False)
class WeightPicture:
    """A state_dict entry beside the Keras variable that feeds it."""

    keras: Side
    torch: Side

    @property
    def limit(self) -> float:
        """The largest magnitude of either side, of what is finite; 1 where all is 0."""
        return (
            max(
                float(np.abs(side.sample[np.isfinite(side.sample)]).max(initial=0.0))
                for side in (self.keras, self.torch)
            )
            or 1.0
        )


def is_drawable(weight: PlannedWeight) -> bool:
    """Whether a weight comes from a Keras variable by steps whose elements can be followed."""
    return (
        weight.source is not None
        and weight.keras_shape is not None
        and 0 not in (*weight.keras_shape, *weight.shape)
        and () not in (weight.keras_shape, weight.shape)
        and all(isinstance(step, (*_BACK, *_VALUES)) for step in weight.steps)
    )


def first_element(weight: PlannedWeight) -> tuple[int, ...]:
    """An element of the torch array off the diagonals, where a wrong transpose would be seen."""
    return tuple(min(axis + 1, size - 1) for axis, size in enumerate(weight.shape))


def weight_picture(
    weight: PlannedWeight, array: np.ndarray, element: Sequence[int], layer: Layer | None = None
) -> WeightPicture:
    """Both sides of a weight, its torch element ``element`` marked on both. ``array``: the Keras variable's value.

    Raises ValueError for a weight that is not `is_drawable`, IndexError for an element outside of the array.
    """
    if not is_drawable(weight):
        raise ValueError(f"{weight.key} cannot be followed through {weight.transform}")
    element = tuple(element)
    source = tuple(int(axis[0]) for axis in keras_index(weight, tuple(np.array([i]) for i in element)))
    flat = array.reshape(-1)

    def from_keras(index: Index) -> np.ndarray:
        return flat[np.ravel_multi_index(index, array.shape)]

    def from_torch(index: Index) -> np.ndarray:
        values = from_keras(keras_index(weight, index))
        for step in weight.steps:
            values = step.apply(values) if isinstance(step, _VALUES) else values
        return values

    names = keras_axes(weight, layer)
    gates = registry.gates_of(layer) if layer is not None else None
    meanings = gates.meanings if gates is not None else {}
    return WeightPicture(
        # A matrix in Keras has its outputs last, in torch first.
        _side(array.shape, names, source, len(array.shape) - 1, from_keras, gates.keras if gates else None, meanings),
        _side(
            weight.shape,
            torch_axes(weight, names),
            element,
            min(1, len(weight.shape) - 1),
            from_torch,
            gates.torch if gates else None,
            meanings,
        ),
    )


def keras_index(weight: PlannedWeight, index: Index) -> Index:
    """Where in the Keras variable the elements at ``index`` of the torch array come from."""
    assert weight.keras_shape is not None, "a weight without a variable is not drawable"
    shapes = [weight.keras_shape]
    for step in weight.steps:
        shapes.append(step.shape_after(shapes[-1]))
    for step, before, after in reversed(list(zip(weight.steps, shapes, shapes[1:]))):
        if not isinstance(step, _VALUES):
            index = _BACK[type(step)](step, index, before, after)
    return index


def keras_axes(weight: PlannedWeight, layer: Layer | None) -> tuple[str, ...]:
    """What each axis of the Keras variable counts, as Keras's documentation of the layer names it."""
    assert weight.source is not None and weight.keras_shape is not None, "a weight without a variable is not drawable"
    name, rank, kind = weight.source.rsplit("/", 1)[-1], len(weight.keras_shape), layer.kind if layer else ""
    if (
        layer is not None
        and registry.gates_of(layer) is not None
        and rank <= 2
        and ("kernel" in name or "bias" in name)
    ):
        return ({"recurrent_kernel": "units", "bias": "input and recurrent"}.get(name, "in"), "gates")[-rank:]
    known = registry.known(kind)
    if rank == 1:
        return ("units",)
    if known.role == "convolution" and rank - 2 in SPACE:
        return (*SPACE[rank - 2], *known.kernel_axes.get(name, ("in", "out")))
    if name == "embeddings":
        return ("token", "features")
    if name.endswith("kernel") and rank == 2:
        return ("in", "out")
    if known.role == "attention" and rank == 3:
        return ("head", "head size", "out") if "output" in weight.source else ("in", "head", "head size")
    return tuple(f"axis {axis}" for axis in range(rank))


def torch_axes(weight: PlannedWeight, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the Keras axes as the transform moves them; joined or split axes get names of their own."""
    assert weight.keras_shape is not None, "a weight without a variable is not drawable"
    shape = weight.keras_shape
    for step in weight.steps:
        after = step.shape_after(shape)
        if isinstance(step, Permute):
            names = tuple(names[axis] for axis in step.axes)
        elif isinstance(step, Take):
            names = tuple(name for axis, name in enumerate(names) if axis != step.axis)
        elif isinstance(step, Reshape):
            names = _reshaped(names, shape, after)
        shape = after
    return names


def _reshaped(names: tuple[str, ...], before: tuple[int, ...], after: tuple[int, ...]) -> tuple[str, ...]:
    """Names after a reshape: runs of axes that become one axis are joined, axes of size 1 come and go."""
    left = [(name, size) for name, size in zip(names, before) if size != 1]
    found = []
    for size in after:
        if size == 1:
            found.append("1")
            continue
        joined, count = [], 1
        while left and count < size:
            name, n = left.pop(0)
            joined.append(name)
            count *= n
        if count != size:
            return tuple(f"axis {axis}" for axis in range(len(after)))
        found.append(" × ".join(joined))
    return tuple(found)


def _side(
    shape: tuple[int, ...],
    axes: tuple[str, ...],
    index: tuple[int, ...],
    split: int,
    values: Callable[[Index], np.ndarray],
    gates: Sequence[str] | None,
    meanings: Mapping[str, str],
) -> Side:
    """Axes before ``split`` run down, the others across."""
    height, width = prod(shape[:split]), prod(shape[split:])
    row, column = divmod(int(np.ravel_multi_index(index, shape)), width)
    down, across = (gates if gates and part == ("gates",) else None for part in (axes[:split], axes[split:]))
    top, left = _window(row, height, down), _window(column, width, across)
    at = np.unravel_index(np.add.outer(np.array(top) * width, left), shape)
    every = np.unique(np.linspace(0, height * width - 1, min(SAMPLE, height * width)).astype(np.int64))
    return Side(
        shape,
        axes,
        tuple(index),
        np.asarray(values(at), "float64"),
        " × ".join(axes[:split]),
        " × ".join(axes[split:]),
        _labels(top, shape[:split], down),
        _labels(left, shape[split:], across),
        (top.index(row), left.index(column)),
        np.asarray(values(np.unravel_index(every, shape)), "float64"),
        len(top) < height or len(left) < width,
        _bands(len(top), down, meanings),
        _bands(len(left), across, meanings),
    )


def _window(at: int, size: int, gates: Sequence[str] | None = None) -> list[int]:
    """The places drawn around one; where gates run, the same units of every gate."""
    if gates:
        units = size // len(gates)
        inner = window(units, at % units, WINDOW // len(gates))
        return [gate * units + unit for gate in range(len(gates)) for unit in inner]
    return list(window(size, at, WINDOW))


def _bands(count: int, gates: Sequence[str] | None, meanings: Mapping[str, str]) -> tuple[Band, ...]:
    if not gates:
        return ()
    each = count // len(gates)
    return tuple(Band(gate, meanings[gate], k * each, (k + 1) * each) for k, gate in enumerate(gates))


def _labels(positions: list[int], shape: tuple[int, ...], gates: Sequence[str] | None) -> tuple[str, ...]:
    if not shape:
        return ("",)
    if gates:
        units = shape[0] // len(gates)
        return tuple(f"{gates[p // units]}{p % units}" for p in positions)
    return tuple(",".join(map(str, place)) for place in zip(*np.unravel_index(np.asarray(positions), shape)))


def _permute(step: Permute, index: Index, before: tuple[int, ...], after: tuple[int, ...]) -> Index:
    return tuple(index[step.axes.index(axis)] for axis in range(len(before)))


def _reshape(step: Reshape, index: Index, before: tuple[int, ...], after: tuple[int, ...]) -> Index:
    return np.unravel_index(np.ravel_multi_index(index, after), before)


def _blocks(step: ReorderBlocks, index: Index, before: tuple[int, ...], after: tuple[int, ...]) -> Index:
    units = before[step.axis] // len(step.order)
    return _at(index, step.axis, np.asarray(step.order)[index[step.axis] // units] * units + index[step.axis] % units)


def _flatten(step: ReorderFlatten, index: Index, before: tuple[int, ...], after: tuple[int, ...]) -> Index:
    # Where position p of the flattened axis, in torch's order, is in Keras's: Flat.order() without its array.
    place = np.unravel_index(index[step.axis], tuple(step.shape[axis] for axis in step.perm))
    return _at(
        index,
        step.axis,
        np.ravel_multi_index(tuple(place[step.perm.index(axis)] for axis in range(len(step.shape))), step.shape),
    )


def _take(step: Take, index: Index, before: tuple[int, ...], after: tuple[int, ...]) -> Index:
    like = index[0] if index else np.array(0)
    return (*index[: step.axis], np.full_like(like, step.index), *index[step.axis :])


def _at(index: Index, axis: int, value: np.ndarray) -> Index:
    axis %= len(index)
    return (*index[:axis], value, *index[axis + 1 :])


# Back through each step that moves numbers: (step, index after it, shape before it, shape after it) → index before it.
_BACK: dict[type[Transform], Callable[..., Index]] = {
    Permute: _permute,
    Reshape: _reshape,
    ReorderBlocks: _blocks,
    ReorderFlatten: _flatten,
    Take: _take,
}
# Steps that change numbers and move none.
_VALUES = (Cast, SqrtAtLeast)
