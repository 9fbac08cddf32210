"""Layouts: in which order a torch tensor holds the axes of its Keras tensor.

A `Layout` is a permutation of the Keras axes, ``torch = keras.transpose(perm)``, and, after a Flatten of an
image, also the order in which the flattened axis runs (`Flat`). The plan carries one layout per tensor; a
permute is written only where a rule wants another layout than its input has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from k2t_core.graph import Shape


@dataclass(frozen=True)
class Flat:
    """The last axis is a flattened block: Keras runs ``shape`` in order, torch runs it transposed by ``perm``."""

    shape: tuple[int, ...]
    perm: tuple[int, ...]

    def order(self) -> np.ndarray:
        """For each torch position, the Keras position it holds; shape (prod(shape),)."""
        return np.arange(math.prod(self.shape)).reshape(self.shape).transpose(self.perm).ravel()


@dataclass(frozen=True)
class Layout:
    """``torch = keras.transpose(perm)``, then, with ``flat``, the last axis re-ordered by ``flat.order()``."""

    perm: tuple[int, ...]
    flat: Flat | None = None

    @property
    def rank(self) -> int:
        return len(self.perm)

    @property
    def is_identity(self) -> bool:
        return self.flat is None and self.perm == tuple(range(len(self.perm)))

    def axis(self, keras_axis: int) -> int:
        """The torch axis that holds Keras axis ``keras_axis`` (negative allowed)."""
        return self.perm.index(keras_axis % self.rank)

    def shape(self, keras_shape: Shape) -> Shape:
        """The torch shape of a tensor of this layout."""
        return tuple(keras_shape[axis] for axis in self.perm)

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """A Keras array in this layout."""
        out = np.asarray(array.transpose(self.perm), order="C")  # ascontiguousarray makes of a scalar a vector
        return out[..., self.flat.order()] if self.flat else out

    def to_keras(self, array: np.ndarray) -> np.ndarray:
        """An array of this layout in Keras's order: the inverse of `to_torch`."""
        if self.flat:
            out = np.empty_like(array)
            out[..., self.flat.order()] = array
            array = out
        return array.transpose(np.argsort(self.perm))

    def permutation_to(self, other: Layout) -> tuple[int, ...]:
        """The argument of ``torch.permute`` that turns a tensor of this layout into ``other``."""
        return tuple(self.perm.index(axis) for axis in other.perm)

    def same_memory(self, other: Layout, keras_shape: Shape) -> bool:
        """Whether both run through memory alike for this shape: they differ in axes of size 1 only."""
        if self.flat != other.flat:
            return False
        big = [axis for axis in range(self.rank) if keras_shape[axis] != 1]
        return [a for a in self.perm if a in big] == [a for a in other.perm if a in big]

    def drop(self, keras_axes: set[int]) -> Layout:
        """The layout left when the given Keras axes are reduced away."""
        kept = [axis for axis in range(self.rank) if axis not in keras_axes]
        return Layout(tuple(kept.index(axis) for axis in self.perm if axis in kept))

    def __str__(self) -> str:
        """Axis letters, so that a person sees the order: ``NHWC``, ``NCHW``; ``N(CHW)`` after Flatten."""
        names = axis_names(self.rank)
        if self.flat:
            inner = axis_names(len(self.flat.shape) + 1)[1:]
            return names[:-1] + "(" + "".join(inner[axis] for axis in self.flat.perm) + ")"
        return "".join(names[axis] for axis in self.perm)


def axis_names(rank: int) -> str:
    """A letter for each Keras axis of a channels-last tensor: N, then space, then C."""
    return {0: "", 1: "N", 2: "NC", 3: "NLC", 4: "NHWC", 5: "NDHWC"}.get(rank, "NABDHWC"[: max(rank - 1, 0)] + "C")


def shape_text(shape: Shape) -> str:
    """``(N, 3, ?)``: a first axis that is free is the batch."""
    sizes = ["N" if i == 0 and n is None else "?" if n is None else str(n) for i, n in enumerate(shape)]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def identity(rank: int) -> Layout:
    """Keras's own order."""
    return Layout(tuple(range(rank)))


def channels_first(rank: int) -> Layout:
    """torch's order of a channels-last Keras tensor: N, C, then space."""
    return Layout((0, rank - 1, *range(1, rank - 1)))


def permute_expression(expression: str, source: Layout, target: Layout, shape: Shape) -> str:
    """Python that re-orders ``expression`` from one layout to the other, in the plainest torch."""
    axes = source.permutation_to(target)
    moved = [axis for axis, origin in enumerate(axes) if axis != origin]
    if not moved:
        return expression
    if len(moved) == 2:
        return f"{expression}.transpose({moved[0]}, {moved[1]})"
    return f"{expression}.permute({', '.join(map(str, axes))})"
