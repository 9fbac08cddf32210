"""Operations of our own whose result is as large as computed sizes say, and those sizes, for a recorded layer.

A size is written as `rules.sized` reads it. While a graph is read it is a `Size`, which computes with Python's
operators; `SizedOperation` keeps it as plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np


class Size:
    """A size that is free: of ``tensor`` along ``axis``, or what was computed from such. Integers stay integers."""

    def __init__(self, operator: str, *parts: Any):
        self.operator, self.parts = operator, parts

    @classmethod
    def of(cls, tensor: Any, axis: int) -> Size | int:
        """The size of a symbolic tensor, as a number where it is fixed."""
        fixed = tensor.shape[axis]
        return cls("size", tensor, axis) if fixed is None else int(fixed)

    def __add__(self, other: Any) -> Any:
        return self if _is(other, 0) else Size("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return self if _is(other, 0) else Size("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return self if _is(other, 0) else 0 if other is self else Size("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return Size("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return self if _is(other, 1) else 0 if _is(other, 0) else Size("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self if _is(other, 1) else 0 if _is(other, 0) else Size("*", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self if _is(other, 1) else Size("//", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return Size("//", other, self)

    def __mod__(self, other: Any) -> Any:
        return Size("%", self, other)

    def __rmod__(self, other: Any) -> Any:
        return Size("%", other, self)

    def __neg__(self) -> Any:
        return Size("-", 0, self)

    def written(self, likes: list[Any]) -> Any:
        """As plain data; the tensors whose sizes it reads join ``likes``."""
        if self.operator == "size":
            tensor, axis = self.parts
            index = next((k for k, like in enumerate(likes) if like is tensor), len(likes))
            if index == len(likes):
                likes.append(tensor)
            return ("size", index, axis)
        return (self.operator, *(written(part, likes) for part in self.parts))


def _is(value: Any, number: int) -> bool:
    return isinstance(value, (int, np.integer)) and int(value) == number


def written(size: Any, likes: list[Any]) -> Any:
    """A size, or a nest of them, as plain data."""
    if isinstance(size, Size):
        return size.written(likes)
    if isinstance(size, (tuple, list)):
        return tuple(written(part, likes) for part in size)
    return size if size is None else int(size)


def _larger(a: Any, b: Any) -> Any:
    return Size("max", a, b) if isinstance(a, Size) or isinstance(b, Size) else max(a, b)


def _smaller(a: Any, b: Any) -> Any:
    return Size("min", a, b) if isinstance(a, Size) or isinstance(b, Size) else min(a, b)


larger, smaller = np.frompyfunc(_larger, 2, 1), np.frompyfunc(_smaller, 2, 1)


def _value(size: Any, likes: Sequence[Any]) -> Any:
    """The size where the tensors have values."""
    from keras import ops

    if not isinstance(size, (tuple, list)):
        return size
    if size[0] == "size":
        return ops.shape(likes[size[1]])[size[2]]
    a, b = (_value(part, likes) for part in size[1:])
    functions: dict[str, Callable[[Any, Any], Any]] = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "//": lambda a, b: a // b,
        "%": lambda a, b: a % b,
        "max": lambda a, b: ops.maximum(a, b) if hasattr(a, "dtype") or hasattr(b, "dtype") else max(a, b),
        "min": lambda a, b: ops.minimum(a, b) if hasattr(a, "dtype") or hasattr(b, "dtype") else min(a, b),
    }
    return functions[size[0]](a, b)


def _reshape(x: Any, sizes: Any, **_: Any) -> Any:
    from keras import ops

    return ops.reshape(x, sizes)


def _broadcast(x: Any, sizes: Any, **_: Any) -> Any:
    from keras import ops

    return ops.broadcast_to(x, sizes)


def _tile(x: Any, sizes: Any, **_: Any) -> Any:
    from keras import ops

    return ops.tile(x, sizes)


def _slice(x: Any, sizes: Any, **_: Any) -> Any:
    return x[tuple(slice(*bounds) for bounds in sizes)]


def _arange(x: Any, sizes: Any, kind: str, **_: Any) -> Any:
    from keras import ops

    return ops.arange(*sizes, dtype=kind)


def _full(x: Any, sizes: Any, kind: str, value: Any) -> Any:
    from keras import ops

    return ops.full(sizes, value, dtype=kind)


def _number(x: Any, sizes: Any, kind: str, **_: Any) -> Any:
    from keras import ops

    return ops.cast(ops.convert_to_tensor(sizes[0]), kind)


def _band(lower: Any, upper: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.linalg.band_part(x, lower, upper)


def _tril(x: Any, sizes: Any, **_: Any) -> Any:
    return _band(-1, sizes[0], x)


def _triu(x: Any, sizes: Any, **_: Any) -> Any:
    return _band(sizes[0], -1, x)


def _pad(x: Any, sizes: Any, value: Any) -> Any:
    import tensorflow as tf

    return tf.pad(x, sizes, constant_values=value)


FORMS: dict[str, Callable[..., Any]] = {
    "Reshape": _reshape,
    "Broadcast": _broadcast,
    "Tile": _tile,
    "Slice": _slice,
    "Tril": _tril,
    "Triu": _triu,
    "Pad": _pad,
    "Arange": _arange,
    "Full": _full,
    "Number": _number,
}


@cache  # of the process: a class is one and the same to every model
def _operation() -> type:
    import keras

    class SizedOperation(keras.Operation):
        """``form`` of a tensor ``x``, or of none, with ``sizes`` that are read from the tensors ``likes``.

        kind, value: the dtype and the number of what is made from nothing. shape, dtype: of the result.
        """

        def __init__(self, form: str, sizes: Any, shape: tuple, dtype: str, **more: Any):
            super().__init__()
            self.sizes = sizes
            for name, given in more.items():
                setattr(self, name, given)
            self._form, self._shape, self._result, self._more = form, shape, dtype, more

        @property
        def k2t_kind(self) -> str:
            return f"k2t.Sized{self._form}"

        def call(self, likes: Sequence[Any], x: Any = None) -> Any:
            def walk(sizes: Any) -> Any:
                if isinstance(sizes, tuple) and sizes and isinstance(sizes[0], str):
                    return _value(sizes, likes)
                return tuple(map(walk, sizes)) if isinstance(sizes, tuple) else sizes

            return FORMS[self._form](x, walk(self.sizes), **self._more)

        def compute_output_spec(self, likes: Sequence[Any], x: Any = None) -> Any:
            return keras.KerasTensor(self._shape, dtype=self._result)

    return SizedOperation


def sized(form: str, sizes: Any, shape: tuple, dtype: str, x: Any = None, **more: Any) -> Any:
    """A symbolic tensor of ``shape``: ``form`` of ``x`` with ``sizes``, a nest of numbers and `Size`s."""
    likes: list[Any] = []
    plain = written(tuple(sizes), likes)
    made = _operation()(form, plain, shape, dtype, **more)
    return made(likes) if x is None else made(likes, x)
