"""Open a layer that no rule knows: its call() runs on symbolic tensors, and what is inside takes its place.

While it runs, the layer's own variables are replaced by symbolic tensors, so that whatever is done with them is
recorded as well; a layer that is called on plain numbers in there (positions, for an embedding) gets them as a symbolic
constant. Whatever cannot be followed so (TensorFlow functions, control flow on values, randomness) leaves the layer
closed, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import numpy as np

from k2t_core.errors import RAISED, named, one_line, own_words
from k2t_core.keras_side import internals
from k2t_core.keras_side.free_sizes import any_key, free_sizes, symbolic_constant
from k2t_core.keras_side.internals import mask_of, patched, set_mask
from k2t_core.keras_side.opened import CannotOpen, Opened, StandIn, is_variable
from k2t_core.rules.registry import is_generator


def open_layer(op: Any, args: tuple, kwargs: dict, record: Callable, bind: Callable) -> tuple[Opened, list[Any]]:
    """Run the layer ``op`` on symbolic tensors: (what is inside, the outputs with their masks).

    record: (layer, args, kwargs) → the recorded call of a layer that a rule knows, its ``result`` the nest it returns;
    None for one that is to be opened in its turn. bind: (layer, args, kwargs) → arguments by name.

    Raises CannotOpen.
    """
    one, outputs = run_symbolically(op, args, kwargs, record, bind)
    check_opened(op, one, run_symbolically(op, args, kwargs, record, bind)[0])
    return one, outputs


def check_opened(op: Any, one: Opened, again: Opened) -> None:
    """Refuse an opened layer that computes something else each time, or with weights that were not followed.

    again: the same layer opened once more. Raises CannotOpen.
    """
    from keras import tree

    for a, b in zip(_constants(one), _constants(again)):  # random numbers would be others
        if a.shape != b.shape or not np.array_equal(a, b):
            raise CannotOpen("it draws random numbers")
    used = {id(v) for node in one.nodes() if hasattr(node.operation, "variables") for v in node.operation.variables}
    used |= {id(s.variable) for _, s in one.sources}
    lost = [v.path for v in op.variables if id(v) not in used and not is_generator(v.path)]
    if lost:
        raise CannotOpen(f"what becomes of its variable {lost[0]!r} cannot be followed")
    if any(
        is_variable(leaf) for node in one.nodes() for leaf in tree.flatten((node.arguments.args, node.arguments.kwargs))
    ):
        raise CannotOpen(
            "it keeps weights in a list or another place that k2t does not look into; "
            "keep each in an attribute of its own"
        )


def run_symbolically(op: Any, args: tuple, kwargs: dict, record: Callable, bind: Callable) -> tuple[Opened, list[Any]]:
    """One run of the layer, as `open_layer`, nothing checked."""
    from keras import Function, Input, KerasTensor, Layer, tree

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
        masked = [(i, leaf) for i, leaf in symbolic if mask_of(leaf) is not None]
        for i, leaf in symbolic:
            arriving.setdefault(id(leaf), (leaf, (i, False)))
        for i, leaf in masked:
            arriving.setdefault(id(mask_of(leaf)), (mask_of(leaf), (i, True)))
        fresh = {key: Input(batch_shape=x.shape, dtype=x.dtype) for key, (x, _) in arriving.items()}
        for _, leaf in masked:
            set_mask(fresh[id(leaf)], fresh[id(mask_of(leaf))])
        call_args, call_kwargs = tree.map_structure(lambda leaf: fresh.get(id(leaf), leaf), (call_args, call_kwargs))
        with _recorded(op, calls, sources, record, inside), free_sizes(op, sources), any_key():
            result = inside(op, call_args, call_kwargs)
        inputs = [*fresh.values(), *(x for x, _ in sources)]
        if not tree.flatten(result) or not all(isinstance(y, KerasTensor) for y in tree.flatten(result)):
            raise CannotOpen("it returns something else than tensors computed from its input")
        function = Function(inputs, result)
        actual = {id(fresh[key]): x for key, (x, _) in arriving.items()}
        found["opened"] = Opened(
            function, [place for _, place in arriving.values()], list(sources), list(calls), result, actual, names
        )
        return tree.map_structure(lambda y: KerasTensor(y.shape, dtype=y.dtype), result)

    try:
        with patched(op, symbolic_call=symbolic_call):
            outer = tree.flatten(op(*args, **kwargs))
    except CannotOpen as error:
        raise CannotOpen(one_line(own_words(error))) from error
    except RAISED as error:  # call() may do anything
        raise CannotOpen(f"its call() does not run on symbolic tensors ({named(error)})") from error
    one = found["opened"]
    outputs = [one.actual.get(id(y), y) for y in tree.flatten(one.result)]
    for y, shown in zip(outputs, outer):
        if mask_of(shown) is not None and mask_of(y) is None:
            set_mask(y, mask_of(shown))
    return one, outputs


@contextmanager
def _recorded(outer: Any, calls: list[Any], sources: list[Any], record: Callable, inside: Callable) -> Iterator[None]:
    """While this is in force a layer called on symbolic tensors is recorded, or opened where no rule knows it."""
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
            args, kwargs = tree.map_structure(lambda leaf: symbolic_constant(leaf, layer, sources), (args, kwargs))
        busy.add(id(layer))
        try:
            known = record(layer, args, kwargs)
            if known is not None:
                calls.append(known)
                return known.result
            with patched(layer, symbolic_call=lambda *a, **k: inside(layer, a, k)):
                return _without_node(layer, original, args, kwargs)
        finally:
            busy.discard(id(layer))

    with patched(keras.Layer, __call__=call):
        yield


def _without_node(layer: Any, original: Callable, args: tuple, kwargs: dict) -> Any:
    """Call a layer and leave the history of what it returns as its own call() made it."""
    from keras import tree

    kept: list[Any] = []
    inner = layer.symbolic_call

    def symbolic_call(*a: Any, **k: Any) -> Any:
        result = inner(*a, **k)
        kept.extend(internals.histories(tree.flatten(result)))
        return result

    try:
        with patched(layer, symbolic_call=symbolic_call):
            return original(layer, *args, **kwargs)
    finally:
        internals.restore_histories(kept)


@contextmanager
def _symbolic_variables(layer: Any, sources: list[tuple[Any, StandIn]]) -> Iterator[None]:
    """The layer's own variables, where they are attributes of it, as symbolic tensors in the dtype it computes in."""
    from keras import Input, ops

    own = {name: value for name, value in vars(layer).items() if is_variable(value) and not is_generator(value.path)}
    known = {id(s.variable): x for x, s in sources if s.variable is not None}
    stand_ins: dict[str, Any] = {}
    for name, variable in own.items():
        dtype = internals.stored_dtype(variable)
        if id(variable) not in known:
            known[id(variable)] = Input(batch_shape=variable.shape, dtype=dtype)
            sources.append((known[id(variable)], StandIn(name.lstrip("_"), layer, variable=variable)))
        stand_in = known[id(variable)]
        mixed = layer.autocast and layer.compute_dtype != dtype and "float" in dtype
        stand_ins[name] = ops.cast(stand_in, layer.compute_dtype) if mixed else stand_in
    with patched(layer, **stand_ins):
        yield


def _constants(one: Opened) -> list[np.ndarray]:
    """The plain numbers among the arguments of what is inside."""
    from keras import KerasTensor, tree

    leaves = [leaf for node in one.nodes() for leaf in tree.flatten((node.arguments.args, node.arguments.kwargs))]
    arrays = [
        np.asarray(leaf)
        for leaf in leaves
        if hasattr(leaf, "dtype") and not isinstance(leaf, KerasTensor) and not is_variable(leaf)
    ]
    return arrays + [s.value for _, s in one.sources if s.value is not None]
