"""Sizes that are free, such as the batch's, while a layer is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from threading import get_ident
from typing import Any

import numpy as np

from k2t_core.keras_side.internals import patched
from k2t_core.keras_side.opened import CannotOpen, StandIn, is_variable
from k2t_core.keras_side.opened_operations import arange_like, begin_like, expand, reshape_like


class _Free(int):
    """A size that is free, such as the batch's: of ``tensor`` along ``axis``. Nothing can be computed with it."""

    tensor: Any
    axis: int

    @classmethod
    def of(cls, tensor: Any, axis: int) -> _Free:
        free = cls(-1)
        free.tensor, free.axis = tensor, axis
        return free

    def _refuse(self, *others: Any) -> Any:
        raise CannotOpen("it computes with a size that is free, such as the batch's")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __floordiv__ = __rfloordiv__ = __truediv__ = (
        __rtruediv__
    ) = _refuse
    __mod__ = __neg__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __bool__ = __index__ = __float__ = _refuse
    __hash__ = int.__hash__


@contextmanager
def any_key() -> Iterator[None]:
    """While this is in force a symbolic tensor takes ``x[:n]`` and ``x[None]``, as a variable does; n may be free."""
    from keras import KerasTensor

    original = KerasTensor.__getitem__

    def getitem(x: Any, key: Any) -> Any:
        items = [*key] if isinstance(key, (tuple, list)) else [key]
        for axis, item in enumerate(items):
            if not isinstance(item, slice):
                break  # from here on the places in the key are not those of the axes
            if isinstance(item.stop, _Free) and item.step is None:
                x, items[axis] = begin_like()(axis, item.start, item.stop.axis)(x, item.stop.tensor), slice(None)
        return original(x, tuple(items))

    with patched(KerasTensor, __getitem__=getitem):
        yield


@contextmanager
def free_sizes(layer: Any, sources: list[tuple[Any, StandIn]]) -> Iterator[None]:
    """While this is in force ``ops.shape`` gives free sizes as `_Free`: for a reshape, or to repeat something so often.

    layer, sources: as of `symbolic_constant`, for plain numbers that are repeated.
    """
    import keras

    ops, here = keras.ops, get_ident()
    kept: dict[str, Callable] = {
        name: getattr(ops, name) for name in ("shape", "reshape", "broadcast_to", "tile", "repeat", "arange")
    }
    draws = {
        name: getattr(keras.random, name)
        for name in ("normal", "truncated_normal", "uniform", "randint", "gamma", "beta", "binomial")
    }

    def drawn(function: Callable) -> Callable:
        @wraps(function)
        def draw(shape: Any, *args: Any, **kwargs: Any) -> Any:
            if any(isinstance(n, _Free) for n in shape):
                raise CannotOpen("it draws random numbers")
            return function(shape, *args, **kwargs)

        return draw

    def shape(x: Any) -> tuple:
        return tuple(
            _Free.of(x, axis) if n is None and get_ident() == here else n for axis, n in enumerate(kept["shape"](x))
        )

    def reshape(x: Any, newshape: Any) -> Any:
        if not isinstance(newshape, (list, tuple)) or not any(isinstance(n, _Free) for n in newshape):
            return kept["reshape"](x, newshape)
        free = [n for n in newshape if isinstance(n, _Free)]
        if len(free) == 1 and not any(n == -1 for n in newshape if n is not free[0]):
            return kept["reshape"](x, tuple(-1 if n is free[0] else n for n in newshape))
        return reshape_like()(
            tuple(None if isinstance(n, _Free) else n for n in newshape), tuple(n.axis for n in free)
        )(x, [n.tensor for n in free])

    def expanded(x: Any, free: _Free, rest: Sequence[Any]) -> Any:
        if len(x.shape) <= len(rest) and not any(isinstance(n, _Free) for n in rest):
            x = kept["broadcast_to"](x, (1, *rest))
        x = symbolic_constant(x, layer, sources)
        if len(x.shape) != len(rest) + 1 or x.shape[0] != 1:
            raise CannotOpen(
                "it repeats a tensor along an axis that is not its first, or not of size 1, "
                "as often as a free size says"
            )
        return expand()(tuple(rest), free.axis)(x, free.tensor)

    def broadcast_to(x: Any, shape: Any) -> Any:
        return expanded(x, shape[0], shape[1:]) if isinstance(shape[0], _Free) else kept["broadcast_to"](x, shape)

    def tile(x: Any, repeats: Any) -> Any:
        if isinstance(repeats, (list, tuple)) and isinstance(repeats[0], _Free):
            x = kept["tile"](x, (1, *repeats[1:])) if any(n != 1 for n in repeats[1:]) else x
            return expanded(x, repeats[0], x.shape[1:])
        return kept["tile"](x, repeats)

    def repeat(x: Any, repeats: Any, axis: Any = None) -> Any:
        return (
            expanded(x, repeats, x.shape[1:])
            if isinstance(repeats, _Free) and axis == 0
            else kept["repeat"](x, repeats, axis)
        )

    def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Any:
        free = start if stop is None else stop
        if (
            not isinstance(free, _Free)
            or step not in (None, 1)
            or not (stop is None or type(start) is int and start == 0)
        ):
            return kept["arange"](start, stop, step, dtype)
        return arange_like()(free.axis, keras.backend.standardize_dtype(dtype or "int32"))(free.tensor)

    functions = {function.__name__: function for function in (shape, reshape, broadcast_to, tile, repeat, arange)}
    with patched(ops, **functions), patched(keras.random, **{name: drawn(draw) for name, draw in draws.items()}):
        yield


def symbolic_constant(leaf: Any, layer: Any, sources: list[tuple[Any, StandIn]]) -> Any:
    """A symbolic tensor for plain numbers; anything else as it is."""
    from keras import Input, KerasTensor

    if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")) or is_variable(leaf) or isinstance(leaf, KerasTensor):
        return leaf
    value = np.asarray(leaf)
    x = Input(batch_shape=value.shape, dtype=value.dtype.name)
    sources.append((x, StandIn("", layer, value=value)))
    return x
