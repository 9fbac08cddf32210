"""Open a layer that no rule knows: its call() is run on symbolic tensors, and the layers and operations inside take its place.

While it runs, the layer's own variables are replaced by symbolic tensors, so that whatever is done with them is recorded as
well; a layer that is called on plain numbers in there (positions, for an embedding) gets them as a symbolic constant. Whatever
cannot be followed so (TensorFlow functions, control flow on values, randomness) leaves the layer closed, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from threading import get_ident
from typing import Any

import numpy as np

from k2t_core.errors import RAISED


def calls_of(function: Any) -> list[Any]:
    """The nodes of a keras.Function or functional model in the order in which Keras runs them, without its inputs."""
    return [node for _, nodes in sorted(function._nodes_by_depth.items(), reverse=True) for node in nodes if not node.is_input]


class CannotOpen(Exception):
    """Why a layer stays closed."""


@dataclass(eq=False)
class StandIn:
    """A variable, or a constant, as the source of a symbolic tensor: what the graph records as the operation behind it."""

    name: str  # the attribute that holds the variable
    owner: Any  # the live layer that holds the variable, or that makes the constant
    variable: Any = None
    value: np.ndarray | None = None


@dataclass(eq=False)
class Opened:
    """What call() came to.

    function: keras.Function over what is at ``places`` (leaf of the bound arguments, whether its mask is meant), then ``sources``.
    calls: the recorded calls of the layers inside.
    result: the nest that call() returned; its leaves are ``function.outputs``.
    names: live layer → the attribute that holds it.
    """

    function: Any
    places: list[tuple[int, bool]]
    sources: list[tuple[Any, StandIn]]  # (symbolic tensor, what it stands for)
    calls: list[Any]
    result: Any
    actual: dict[int, Any]  # id of a symbolic input of the function → the tensor that arrives
    names: dict[int, str]

    def nodes(self) -> list[Any]:
        """The calls inside, in order."""
        return calls_of(self.function)

    def values(self, leaves: Sequence[Any]) -> list[Any]:
        """The inputs of ``function`` in a run on values: ``leaves`` are those of the bound arguments."""
        from keras.src.backend import get_keras_mask

        arriving = [get_keras_mask(leaves[i]) if of_mask else leaves[i] for i, of_mask in self.places]
        return arriving + [s.variable.value if s.variable is not None else s.value for _, s in self.sources]


def opened(op: Any, args: tuple, kwargs: dict, record: Callable, bind: Callable) -> tuple[Opened, list[Any]]:
    """Run the layer ``op`` on symbolic tensors: (what is inside, the outputs with their masks).

    record: (layer, args, kwargs) → the recorded call of a layer that a rule knows, its ``result`` the nest it returns; None for
    one that is to be opened in its turn. bind: (layer, args, kwargs) → arguments by name.

    Raises CannotOpen.
    """
    from keras import tree

    one, outputs = _run(op, args, kwargs, record, bind)
    again, _ = _run(op, args, kwargs, record, bind)  # random numbers would be others
    for a, b in zip(_constants(one), _constants(again)):
        if a.shape != b.shape or not np.array_equal(a, b):
            raise CannotOpen("it draws random numbers")
    used = {id(v) for node in one.nodes() if hasattr(node.operation, "variables") for v in node.operation.variables}
    used |= {id(s.variable) for _, s in one.sources}
    lost = [v.path for v in op.variables if id(v) not in used and "seed_generator" not in v.path]
    if lost:
        raise CannotOpen(f"what becomes of its variable {lost[0]!r} cannot be followed")
    if any(_is_variable(leaf) for node in one.nodes() for leaf in tree.flatten((node.arguments.args, node.arguments.kwargs))):
        raise CannotOpen("it keeps weights in a list or another place that k2t does not look into; keep each in an attribute of its own")
    return one, outputs


def _run(op: Any, args: tuple, kwargs: dict, record: Callable, bind: Callable) -> tuple[Opened, list[Any]]:
    """One run of the layer, as `opened`, nothing checked."""
    from keras import Function, Input, KerasTensor, Layer, tree
    from keras.src.backend import get_keras_mask, set_keras_mask

    calls: list[Any] = []
    sources: list[tuple[Any, StandIn]] = []
    found: dict[str, Any] = {}
    names: dict[int, str] = {}

    def inside(layer: Any, call_args: tuple, call_kwargs: dict) -> Any:
        for name, value in vars(layer).items():
            if isinstance(value, Layer) and not name.startswith("_"):
                names.setdefault(id(value), name)
        if "training" in call_kwargs:
            call_kwargs["training"] = False
        with _symbolic_variables(layer, sources):
            return layer.call(*call_args, **call_kwargs)

    def symbolic_call(*call_args: Any, **call_kwargs: Any) -> Any:
        leaves = tree.flatten(bind(op, call_args, call_kwargs))
        arriving: dict[int, tuple[Any, tuple[int, bool]]] = {}  # id of a tensor → (the tensor, where it comes from)
        symbolic = [(i, leaf) for i, leaf in enumerate(leaves) if isinstance(leaf, KerasTensor)]
        masked = [(i, leaf) for i, leaf in symbolic if get_keras_mask(leaf) is not None]
        for i, leaf in symbolic:
            arriving.setdefault(id(leaf), (leaf, (i, False)))
        for i, leaf in masked:
            arriving.setdefault(id(get_keras_mask(leaf)), (get_keras_mask(leaf), (i, True)))
        fresh = {key: Input(batch_shape=x.shape, dtype=x.dtype) for key, (x, _) in arriving.items()}
        for _, leaf in masked:
            set_keras_mask(fresh[id(leaf)], fresh[id(get_keras_mask(leaf))])
        call_args, call_kwargs = tree.map_structure(lambda leaf: fresh.get(id(leaf), leaf), (call_args, call_kwargs))
        with _recorded(op, calls, sources, record, inside), _free_sizes(op, sources), _any_key():
            result = inside(op, call_args, call_kwargs)
        inputs = [*fresh.values(), *(x for x, _ in sources)]
        if not tree.flatten(result) or not all(isinstance(y, KerasTensor) for y in tree.flatten(result)):
            raise CannotOpen("it returns something else than tensors computed from its input")
        function = Function(inputs, result)
        actual = {id(fresh[key]): x for key, (x, _) in arriving.items()}
        found["opened"] = Opened(function, [place for _, place in arriving.values()], list(sources), list(calls), result, actual, names)
        return tree.map_structure(lambda y: KerasTensor(y.shape, dtype=y.dtype), result)

    object.__setattr__(op, "symbolic_call", symbolic_call)  # past Keras's attribute tracking; removed below
    try:
        outer = tree.flatten(op(*args, **kwargs))
    except CannotOpen as error:
        raise CannotOpen(_words(error)) from error
    except RAISED as error:  # call() may do anything
        raise CannotOpen(f"its call() does not run on symbolic tensors ({type(error).__name__}: {_words(error)})") from error
    finally:
        object.__delattr__(op, "symbolic_call")
    one = found["opened"]
    outputs = [one.actual.get(id(y), y) for y in tree.flatten(one.result)]
    for y, shown in zip(outputs, outer):
        if get_keras_mask(shown) is not None and get_keras_mask(y) is None:
            set_keras_mask(y, get_keras_mask(shown))
    return one, outputs


@contextmanager
def _recorded(outer: Any, calls: list[Any], sources: list[Any], record: Callable, inside: Callable) -> Iterator[None]:
    """While this is in force a layer that is called on symbolic tensors is recorded, or opened where no rule knows it."""
    import keras
    from keras import KerasTensor, tree

    original, here = keras.Layer.__call__, get_ident()
    busy: set[int] = {id(outer)}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if id(layer) in busy or get_ident() != here:  # another thread is none of our business
            return original(layer, *args, **kwargs)
        leaves = tree.flatten((args, kwargs))
        if not any(isinstance(leaf, KerasTensor) for leaf in leaves):
            if not layer.variables:
                return original(layer, *args, **kwargs)
            args, kwargs = tree.map_structure(lambda leaf: _constant(leaf, layer, sources), (args, kwargs))
        busy.add(id(layer))
        try:
            known = record(layer, args, kwargs)
            if known is not None:
                calls.append(known)
                return known.result
            object.__setattr__(layer, "symbolic_call", lambda *a, **k: inside(layer, a, k))
            try:
                return _without_node(layer, original, args, kwargs)
            finally:
                object.__delattr__(layer, "symbolic_call")
        finally:
            busy.discard(id(layer))

    keras.Layer.__call__ = call
    try:
        yield
    finally:
        keras.Layer.__call__ = original


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

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __floordiv__ = __rfloordiv__ = __truediv__ = __rtruediv__ = _refuse
    __mod__ = __neg__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __bool__ = __index__ = __float__ = _refuse
    __hash__ = int.__hash__


@cache
def _expand() -> type:
    """An operation of our own: its first input, of size 1 along the first axis, as often as the second has entries along ``axis``."""
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

    Expand.__qualname__ = "Expand"  # its rule's name
    return Expand


@cache
def _reshape_like() -> type:
    """An operation of our own: a reshape to ``shape``, in which the sizes that are None are those of its further inputs along ``axes``."""
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

    ReshapeLike.__qualname__ = "ReshapeLike"  # its rule's name
    return ReshapeLike


@cache
def _arange_like() -> type:
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

    ArangeLike.__qualname__ = "ArangeLike"  # its rule's name
    return ArangeLike


@cache
def _begin_like() -> type:
    """An operation of our own: of its first input, along ``axis``, as many entries from ``start`` on as its second has along ``like_axis`` in all."""
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

    BeginLike.__qualname__ = "BeginLike"  # its rule's name
    return BeginLike


@contextmanager
def _any_key() -> Iterator[None]:
    """While this is in force a symbolic tensor takes ``x[:n]`` and ``x[None]``, as a variable does, and not only tuples and numbers; n may be free."""
    from keras import KerasTensor

    original = KerasTensor.__getitem__

    def getitem(x: Any, key: Any) -> Any:
        items = [*key] if isinstance(key, (tuple, list)) else [key]
        for axis, item in enumerate(items):
            if not isinstance(item, slice):
                break  # from here on the places in the key are not those of the axes
            if isinstance(item.stop, _Free) and item.step is None:
                x, items[axis] = _begin_like()(axis, item.start, item.stop.axis)(x, item.stop.tensor), slice(None)
        return original(x, tuple(items))

    KerasTensor.__getitem__ = getitem
    try:
        yield
    finally:
        KerasTensor.__getitem__ = original


@contextmanager
def _free_sizes(layer: Any, sources: list[tuple[Any, StandIn]]) -> Iterator[None]:
    """While this is in force ``ops.shape`` gives free sizes as `_Free`: a reshape to one infers it, and something may be repeated so often.

    layer, sources: as of `_constant`, for plain numbers that are repeated.
    """
    import keras

    ops, here = keras.ops, get_ident()
    kept = {name: getattr(ops, name) for name in ("shape", "reshape", "broadcast_to", "tile", "repeat", "arange")}
    draws = {name: getattr(keras.random, name) for name in ("normal", "truncated_normal", "uniform", "randint", "gamma", "beta", "binomial")}

    def drawn(function: Callable) -> Callable:
        @wraps(function)
        def draw(shape: Any, *args: Any, **kwargs: Any) -> Any:
            if any(isinstance(n, _Free) for n in shape):
                raise CannotOpen("it draws random numbers")
            return function(shape, *args, **kwargs)

        return draw

    def shape(x: Any) -> tuple:
        return tuple(_Free.of(x, axis) if n is None and get_ident() == here else n for axis, n in enumerate(kept["shape"](x)))

    def reshape(x: Any, newshape: Any) -> Any:
        if not isinstance(newshape, (list, tuple)) or not any(isinstance(n, _Free) for n in newshape):
            return kept["reshape"](x, newshape)
        free = [n for n in newshape if isinstance(n, _Free)]
        if len(free) == 1 and not any(n == -1 for n in newshape if n is not free[0]):
            return kept["reshape"](x, tuple(-1 if n is free[0] else n for n in newshape))
        return _reshape_like()(tuple(None if isinstance(n, _Free) else n for n in newshape), tuple(n.axis for n in free))(x, [n.tensor for n in free])

    def expanded(x: Any, free: _Free, rest: Sequence[Any]) -> Any:
        if len(x.shape) <= len(rest) and not any(isinstance(n, _Free) for n in rest):
            x = kept["broadcast_to"](x, (1, *rest))
        x = _constant(x, layer, sources)
        if len(x.shape) != len(rest) + 1 or x.shape[0] != 1:
            raise CannotOpen("it repeats a tensor along an axis that is not its first, or not of size 1, as often as a free size says")
        return _expand()(tuple(rest), free.axis)(x, free.tensor)

    def broadcast_to(x: Any, shape: Any) -> Any:
        return expanded(x, shape[0], shape[1:]) if isinstance(shape[0], _Free) else kept["broadcast_to"](x, shape)

    def tile(x: Any, repeats: Any) -> Any:
        if isinstance(repeats, (list, tuple)) and isinstance(repeats[0], _Free):
            x = kept["tile"](x, (1, *repeats[1:])) if any(n != 1 for n in repeats[1:]) else x
            return expanded(x, repeats[0], x.shape[1:])
        return kept["tile"](x, repeats)

    def repeat(x: Any, repeats: Any, axis: Any = None) -> Any:
        return expanded(x, repeats, x.shape[1:]) if isinstance(repeats, _Free) and axis == 0 else kept["repeat"](x, repeats, axis)

    def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Any:
        free = start if stop is None else stop
        if not isinstance(free, _Free) or step not in (None, 1) or not (stop is None or type(start) is int and start == 0):
            return kept["arange"](start, stop, step, dtype)
        return _arange_like()(free.axis, keras.backend.standardize_dtype(dtype or "int32"))(free.tensor)

    for function in (shape, reshape, broadcast_to, tile, repeat, arange):
        setattr(ops, function.__name__, function)
    for name, function in draws.items():
        setattr(keras.random, name, drawn(function))
    try:
        yield
    finally:
        for name, function in draws.items():
            setattr(keras.random, name, function)
        for name, function in kept.items():
            setattr(ops, name, function)


def _without_node(layer: Any, original: Callable, args: tuple, kwargs: dict) -> Any:
    """Call a layer and leave the history of what it returns as its own call() made it."""
    from keras import tree

    kept: list[Any] = []
    inner = layer.symbolic_call

    def symbolic_call(*a: Any, **k: Any) -> Any:
        result = inner(*a, **k)
        kept.extend((y, getattr(y, "_keras_history", None)) for y in tree.flatten(result))
        return result

    object.__setattr__(layer, "symbolic_call", symbolic_call)
    result = original(layer, *args, **kwargs)
    for y, history in kept:
        y._keras_history = history
    return result


@contextmanager
def _symbolic_variables(layer: Any, sources: list[tuple[Any, StandIn]]) -> Iterator[None]:
    """The layer's own variables, where they are attributes of it, as symbolic tensors in the dtype it computes in."""
    from keras import Input, ops

    own = {name: value for name, value in vars(layer).items() if _is_variable(value) and "seed_generator" not in value.path}
    known = {id(s.variable): x for x, s in sources if s.variable is not None}
    for name, variable in own.items():
        if id(variable) not in known:
            known[id(variable)] = Input(batch_shape=variable.shape, dtype=variable._dtype)  # its ``dtype`` is that of the autocast in force
            sources.append((known[id(variable)], StandIn(name.lstrip("_"), layer, variable=variable)))
        stand_in = known[id(variable)]
        mixed = layer.autocast and layer.compute_dtype != variable._dtype and "float" in variable._dtype
        object.__setattr__(layer, name, ops.cast(stand_in, layer.compute_dtype) if mixed else stand_in)
    try:
        yield
    finally:
        for name, variable in own.items():
            object.__setattr__(layer, name, variable)


def _constant(leaf: Any, layer: Any, sources: list[tuple[Any, StandIn]]) -> Any:
    """A symbolic tensor for plain numbers; anything else as it is."""
    from keras import Input, KerasTensor

    if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")) or _is_variable(leaf) or isinstance(leaf, KerasTensor):
        return leaf
    value = np.asarray(leaf)
    x = Input(batch_shape=value.shape, dtype=value.dtype.name)
    sources.append((x, StandIn("", layer, value=value)))
    return x


def _constants(one: Opened) -> list[np.ndarray]:
    """The plain numbers among the arguments of what is inside."""
    from keras import KerasTensor, tree

    leaves = [leaf for node in one.nodes() for leaf in tree.flatten((node.arguments.args, node.arguments.kwargs))]
    arrays = [np.asarray(leaf) for leaf in leaves if hasattr(leaf, "dtype") and not isinstance(leaf, KerasTensor) and not _is_variable(leaf)]
    return arrays + [s.value for _, s in one.sources if s.value is not None]


def _is_variable(value: Any) -> bool:
    import keras

    return isinstance(value, keras.Variable)


def _words(error: Exception) -> str:
    """An error's own words, without what Keras writes around them."""
    bold = re.search(r"\x1b\[1m(.*?)\x1b\[0m", str(error), re.DOTALL)
    return " ".join((bold[1] if bold else str(error)).split())[:200]
