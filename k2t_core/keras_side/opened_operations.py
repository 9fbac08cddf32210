"""Operations of our own, which stand in an opened layer for what Keras has no operation for.

Each function makes its class when it is first asked for, which loads Keras, and keeps it as long as the process lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any


@cache  # of the process: a class is one and the same to every model
def expand() -> type:
    """An operation of our own: a tensor of size 1 along the first axis, repeated to another's size along ``axis``."""
    import keras
    from keras import ops

    class Expand(keras.Operation):
        def __init__(self, shape: tuple[int, ...], axis: int):
            super().__init__()
            self.shape, self.axis = shape, axis  # shape: without the first axis

        def call(self, x: Any, like: Any) -> Any:
            return ops.broadcast_to(x, (ops.shape(like)[self.axis], *self.shape))

        def compute_output_spec(self, x: Any, like: Any) -> Any:
            return keras.KerasTensor((None, *self.shape), dtype=x.dtype)

    Expand.k2t_kind = "k2t.Expand"  # the name of its rule
    return Expand


@cache  # of the process: a class is one and the same to every model
def reshape_like() -> type:
    """An operation of our own: a reshape to ``shape``, where None is the size of a further input along ``axes``."""
    import keras
    from keras import ops

    class ReshapeLike(keras.Operation):
        def __init__(self, shape: tuple[int | None, ...], axes: tuple[int, ...]):
            super().__init__()
            self.shape, self.axes = shape, axes

        def call(self, x: Any, likes: Sequence[Any]) -> Any:
            free = iter([ops.shape(like)[axis] for like, axis in zip(likes, self.axes)])
            return ops.reshape(x, tuple(next(free) if n is None else n for n in self.shape))

        def compute_output_spec(self, x: Any, likes: Sequence[Any]) -> Any:
            return keras.KerasTensor(tuple(None if n == -1 else n for n in self.shape), dtype=x.dtype)

    ReshapeLike.k2t_kind = "k2t.ReshapeLike"  # the name of its rule
    return ReshapeLike


@cache  # of the process: a class is one and the same to every model
def arange_like() -> type:
    """An operation of our own: 0, 1, 2 … for each entry of its input along ``axis``."""
    import keras
    from keras import ops

    class ArangeLike(keras.Operation):
        def __init__(self, axis: int, dtype: str):
            super().__init__()
            self.axis, self.kind = axis, dtype

        def call(self, like: Any) -> Any:
            return ops.arange(ops.shape(like)[self.axis], dtype=self.kind)

        def compute_output_spec(self, like: Any) -> Any:
            return keras.KerasTensor((None,), dtype=self.kind)

    ArangeLike.k2t_kind = "k2t.ArangeLike"  # the name of its rule
    return ArangeLike


@cache  # of the process: a class is one and the same to every model
def begin_like() -> type:
    """An operation of our own: a tensor along ``axis`` from ``start`` up to another's size along ``like_axis``."""
    import keras
    from keras import ops

    class BeginLike(keras.Operation):
        def __init__(self, axis: int, start: int | None, like_axis: int):
            super().__init__()
            self.axis, self.start, self.like_axis = axis, start, like_axis

        def call(self, x: Any, like: Any) -> Any:
            return x[(*[slice(None)] * self.axis, slice(self.start, ops.shape(like)[self.like_axis]))]

        def compute_output_spec(self, x: Any, like: Any) -> Any:
            return keras.KerasTensor((*x.shape[: self.axis], None, *x.shape[self.axis + 1 :]), dtype=x.dtype)

    BeginLike.k2t_kind = "k2t.BeginLike"  # the name of its rule
    return BeginLike
