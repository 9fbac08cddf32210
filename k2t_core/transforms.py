"""Weight transforms: named, invertible descriptions of how a Keras variable becomes a state_dict entry.

A transform is data, never a lambda, so that the mapping table, the manifest, the recipe and the code that moves
the weights all speak of the same thing. A chain of transforms takes the list of source arrays to one array.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from k2t_core.errors import K2TError
from k2t_core.layout import Flat


@dataclass(frozen=True)
class Transform:
    """One step. ``apply`` maps arrays to an array; ``invert`` undoes it where that is possible."""

    name: ClassVar[str]

    def apply(self, array: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def invert(self, array: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{self.name} cannot be undone")

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape `apply` gives for an array of ``shape``; raises K2TError where it does not fit."""
        try:
            return tuple(self.apply(np.broadcast_to(np.int8(0), shape)).shape)
        except (ValueError, IndexError) as error:
            raise K2TError(f"{self.text} does not fit an array of shape {shape}: {error}") from error

    @property
    def text(self) -> str:
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class Permute(Transform):
    """``array.transpose(axes)``."""

    axes: tuple[int, ...]
    name: ClassVar[str] = "permute"

    def apply(self, array):
        if sorted(self.axes) != list(range(array.ndim)):
            raise K2TError(f"permutation {self.axes} does not fit an array of shape {array.shape}")
        return array.transpose(self.axes)

    def invert(self, array):
        return array.transpose(np.argsort(self.axes))

    @property
    def text(self):
        return ".T" if self.axes == (1, 0) else f"permute{self.axes}"


@dataclass(frozen=True)
class Reshape(Transform):
    """``array.reshape(shape)``; ``before`` is the shape it had, kept so that the step can be undone."""

    before: tuple[int, ...]
    shape: tuple[int, ...]
    name: ClassVar[str] = "reshape"

    def apply(self, array):
        return array.reshape(self.shape)

    def invert(self, array):
        return array.reshape(self.before)

    @property
    def text(self):
        return f"reshape{self.shape}"


@dataclass(frozen=True)
class ReorderBlocks(Transform):
    """Re-order equal blocks along ``axis``: block j of the result is block ``order[j]`` of the source.

    ``source`` and ``target`` name the blocks (the gates of a recurrent layer) for the reader.
    """

    axis: int
    order: tuple[int, ...]
    source: str
    target: str
    name: ClassVar[str] = "reorder gates"

    def _take(self, array, order):
        if array.shape[self.axis] % len(order):
            raise K2TError(f"axis {self.axis} of shape {array.shape} does not split into {len(order)} gates")
        blocks = np.split(array, len(order), axis=self.axis)
        return np.concatenate([blocks[index] for index in order], axis=self.axis)

    def apply(self, array):
        return self._take(array, self.order)

    def invert(self, array):
        return self._take(array, tuple(int(i) for i in np.argsort(self.order)))

    @property
    def text(self):
        return f"gates {self.source}→{self.target}"


@dataclass(frozen=True)
class ReorderFlatten(Transform):
    """Re-order the rows of a Dense kernel whose input torch flattens in another order than Keras.

    Axis ``axis`` runs over the flattened block ``shape`` in Keras order; the result runs over it transposed by
    ``perm`` (Keras flattens H, W, C; torch C, H, W).
    """

    axis: int
    shape: tuple[int, ...]
    perm: tuple[int, ...]
    name: ClassVar[str] = "reorder flatten"

    def shape_after(self, shape):
        if shape[self.axis] != math.prod(self.shape):
            raise K2TError(f"flatten order of {self.shape} does not fit axis {self.axis} of shape {shape}")
        return shape  # apply() would copy: the first Dense of VGG16 has 100 million entries

    def apply(self, array):
        return np.take(array, Flat(self.shape, self.perm).order(), axis=self.axis)

    def invert(self, array):
        return np.take(array, np.argsort(Flat(self.shape, self.perm).order()), axis=self.axis)

    @property
    def text(self):
        after = tuple(self.shape[axis] for axis in self.perm)
        return f"rows {self.shape}→{after} (flatten order)"


@dataclass(frozen=True)
class Take(Transform):
    """Entry ``index`` along ``axis``: one of the two bias rows of a GRU with ``reset_after``."""

    axis: int
    index: int
    name: ClassVar[str] = "take"

    def apply(self, array):
        return np.take(array, self.index, axis=self.axis)

    @property
    def text(self):
        return f"[{':, ' * self.axis}{self.index}]"


@dataclass(frozen=True)
class Fill(Transform):
    """A constant that has no Keras variable: the second LSTM bias, the scale that ``scale=False`` leaves out."""

    shape: tuple[int, ...]
    value: float
    dtype: str = "float32"
    name: ClassVar[str] = "fill"

    def apply(self, array):
        return np.full(self.shape, self.value, dtype=self.dtype)

    @property
    def text(self):
        return f"constant {self.value:g}, no Keras variable"


@dataclass(frozen=True)
class SqrtAtLeast(Transform):
    """``max(sqrt(v), epsilon)``: the divisor of keras.layers.Normalization."""

    epsilon: float
    name: ClassVar[str] = "sqrt"

    def apply(self, array):
        return np.maximum(np.sqrt(array), np.asarray(self.epsilon, array.dtype))

    def invert(self, array):
        return np.square(array)

    @property
    def text(self):
        return f"max(√v, {self.epsilon:g})"


@dataclass(frozen=True)
class Constant(Transform):
    """Numbers that are constructor arguments or graph constants in Keras and a buffer in torch."""

    values: Any
    dtype: str = "float32"
    name: ClassVar[str] = "constant"

    def apply(self, array):
        return np.asarray(self.values, dtype=self.dtype)

    @property
    def text(self):
        return "constant of the Keras model, no variable"


@dataclass(frozen=True)
class Cast(Transform):
    """To the dtype in which the layer computes (its dtype policy); integers stay as they are."""

    dtype: str
    name: ClassVar[str] = "cast"

    def apply(self, array):
        return array.astype(float_dtype(self.dtype)) if is_float(array.dtype) else array

    def invert(self, array):
        return array

    @property
    def text(self):
        return f"as {self.dtype}"


def float_dtype(name: str) -> np.dtype:
    """A numpy dtype by name, bfloat16 included (ml_dtypes registers it)."""
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def is_float(dtype: np.dtype) -> bool:
    """Whether a dtype is floating point; numpy itself counts bfloat16 as a void."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


STEPS: dict[str, type[Transform]] = {
    cls.name: cls for cls in (Permute, Reshape, ReorderBlocks, ReorderFlatten, Take, Fill, SqrtAtLeast, Constant, Cast)
}


def from_json(data: dict[str, Any]) -> Transform:
    """The transform that `Transform.to_json` wrote."""
    cls = STEPS.get(str(data.get("name")))
    if cls is None:
        raise K2TError(f"unknown weight transform {data.get('name')!r}")
    known = {field.name for field in fields(cls)}
    return cls(
        **{k: tuple(v) if isinstance(v, list) and cls is not Constant else v for k, v in data.items() if k in known}
    )


def apply_chain(steps: Sequence[Transform], source: np.ndarray | None) -> np.ndarray:
    """The state_dict array for a Keras array (None for entries that no Keras variable feeds)."""
    array = source if source is not None else np.empty(())
    for step in steps:
        array = step.apply(array)
    return np.asarray(array, order="C")  # ascontiguousarray would make a scalar an array of one


def chain_shape(steps: Sequence[Transform], shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape `apply_chain` gives, without touching weights."""
    result = shape or ()
    for step in steps:
        result = step.shape_after(result)
    return result


def describe(steps: Sequence[Transform]) -> str:
    """What the table, the manifest and the docs print: the steps in order, or "as it is"."""
    return ", then ".join(step.text for step in steps) or "as it is"
