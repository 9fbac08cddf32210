"""Open a layer or an operation that no rule knows: its call() is recorded in a TensorFlow graph, and what it did takes
its place.

A graph and no symbolic tensors of Keras, because there functions of TensorFlow run, sizes that are free are ordinary
numbers, and ``x + y`` is TensorFlow's and not ``keras.ops.add``. Two levels are recorded at once: the graph, which is
the truth, and over it each call of a layer that a rule knows and each outermost call of a function of ``keras.ops``.
From the outputs backwards the largest known piece covers the graph: the call of a layer, else that of the function,
else TensorFlow's operation (`tensorflow_graph`). What is found is run once more on symbolic tensors, so that what is
inside a layer is the same to whoever comes after as what is in a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from threading import get_ident
from typing import Any

import numpy as np

from k2t_core.errors import RAISED, named, one_line, own_words
from k2t_core.keras_side import internals
from k2t_core.keras_side.describing import own_activation
from k2t_core.keras_side.internals import mask_of, patched, set_mask
from k2t_core.keras_side.opened import CannotOpen, Opened, is_variable
from k2t_core.keras_side.tensorflow_graph import Piece, Replay, Trace
from k2t_core.rules.registry import is_generator

# Functions of keras.ops that tell of a tensor or bring one in, and compute nothing; and those that take functions.
NO_PIECES = {
    "shape", "ndim", "size", "dtype", "is_tensor", "convert_to_tensor", "convert_to_numpy", "stop_gradient", "cond",
    "switch", "while_loop", "fori_loop", "scan", "associative_scan", "map", "vectorized_map", "custom_gradient",
    "unstack", "saturate_cast", "rearrange",
}  # fmt: skip


@dataclass(eq=False)
class _Recorder:
    """What is recorded while call() runs in a graph. known: whether a rule knows a layer."""

    known: Callable[[Any], bool]
    pieces: list[Piece] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    plain: dict[int, Any] = field(default_factory=dict)  # id of a layer → the same without its activation
    busy: bool = False
    thread: int = field(default_factory=get_ident)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While this is in force, calls of layers and functions in this thread are recorded, the outermost ones."""
        import keras

        original = keras.Layer.__call__

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if self.busy or get_ident() != self.thread:
                return original(layer, *args, **kwargs)
            self.name(layer)
            if own_activation(layer):
                return self.split(layer, args, kwargs)
            if not self.known(layer):
                return original(layer, *args, **kwargs)
            return self.piece(layer, lambda *a, **k: original(layer, *a, **k), args, kwargs)

        with ExitStack() as stack:
            stack.enter_context(patched(keras.Layer, __call__=call))
            made: dict[int, Callable] = {}
            for namespace in internals.namespaces_of_operations():
                functions = {
                    name: made.setdefault(id(function), self.recorded(function))
                    for name, function in vars(namespace).items()
                    if internals.is_function(function) and not name.startswith("_") and name not in NO_PIECES
                }
                stack.enter_context(patched(namespace, **functions))
            yield

    def recorded(self, function: Callable) -> Callable:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.busy or get_ident() != self.thread:
                return function(*args, **kwargs)
            return self.piece(function, function, args, kwargs)

        return call

    def piece(self, what: Any, function: Callable, args: tuple, kwargs: dict) -> Any:
        """Run a call, nothing inside it recorded, and record it, unless what it gives are but numbers."""
        from keras import tree

        leaves = tree.flatten((args, kwargs))
        given = [x for x in leaves if internals.is_graph_tensor(x)]
        variables = [(v, v.value.dtype.name) for v in leaves if is_variable(v)]  # as they are computed with here
        masks = [(x, mask) for x in given if (mask := mask_of(x)) is not None]
        self.busy = True
        try:
            result = function(*args, **kwargs)
        finally:
            self.busy = False
        outputs = tree.flatten(result)
        weighs = bool(given or variables or internals.variables_of(what))
        if weighs and all(internals.is_graph_tensor(y) for y in outputs):
            self.pieces.append(Piece(what, args, kwargs, result, outputs, given, masks, variables))
        return result

    def split(self, layer: Any, args: tuple, kwargs: dict) -> Any:
        """A layer that a rule knows, without the activation that none knows, and then that."""
        plain = self.without_activation(layer)
        if id(layer) in self.names:
            self.names[id(plain)] = self.names[id(layer)]
        return layer.activation(self.piece(plain, plain, args, kwargs))

    def without_activation(self, layer: Any) -> Any:
        """The same layer without its activation, always the same one."""
        if id(layer) not in self.plain:
            self.plain[id(layer)] = internals.without_activation(layer)
        return self.plain[id(layer)]

    def name(self, layer: Any) -> None:
        """Remember what attributes hold the layers inside a layer, for the names in model.py."""
        from keras import Layer

        for name, value in vars(layer).items():
            if isinstance(value, Layer) and not name.startswith("_"):
                self.names.setdefault(id(value), name)


def open_layer(
    op: Any, args: tuple, kwargs: dict, record: Callable, bind: Callable, known: Callable[[Any], bool]
) -> tuple[Opened, list[Any]]:
    """What is inside the layer or operation ``op``, and its outputs with their masks.

    record: (layer, args, kwargs) → the recorded call of a layer that a rule knows, its ``result`` the nest it returns.
    bind: (layer, args, kwargs) → arguments by name. known: whether a rule knows a layer, so that it is not looked into.

    Raises CannotOpen.
    """
    one, outputs = _recorded(op, args, kwargs, record, bind, known)
    _check(op, one, _recorded(op, args, kwargs, record, bind, known)[0])
    return one, outputs


def _check(op: Any, one: Opened, again: Opened) -> None:
    """Refuse a layer that computes something else each time, or with weights that were not followed.

    again: the same layer opened once more. Raises CannotOpen.
    """
    constants = _constants(one)
    for a, b in zip(constants, _constants(again)):  # random numbers would be others
        if a.shape != b.shape or not np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
            raise CannotOpen("it draws random numbers")
    used = {id(v) for node in one.nodes() for v in internals.variables_of(node.operation)}
    used |= {id(s.variable) for _, s in one.sources}
    for variable in internals.variables_of(op):  # of what is not read in inference nothing is lost
        if id(variable) in used or is_generator(variable.path):
            continue
        value = np.asarray(variable)
        if any(value.shape == a.shape and value.size > 1 and np.array_equal(value, a) for a in constants):
            raise CannotOpen(f"it takes its variable {variable.path!r} for plain numbers, which cannot be followed")


def _constants(one: Opened) -> list[np.ndarray]:
    """The plain numbers among the arguments of what is inside."""
    from keras import KerasTensor, tree

    leaves = [leaf for node in one.nodes() for leaf in tree.flatten((node.arguments.args, node.arguments.kwargs))]
    arrays = [np.asarray(leaf) for leaf in leaves if hasattr(leaf, "dtype") and not isinstance(leaf, KerasTensor)]
    return arrays + [s.value for _, s in one.sources if s.value is not None]


def _recorded(
    op: Any, args: tuple, kwargs: dict, record: Callable, bind: Callable, known: Callable[[Any], bool]
) -> tuple[Opened, list[Any]]:
    from keras import Function, Input, KerasTensor, tree

    found: dict[str, Any] = {}
    recorder = _Recorder(known)
    recorder.name(op)
    if own_activation(op):
        recorder.without_activation(op)  # before ``op`` is patched

    def symbolic_call(*call_args: Any, **call_kwargs: Any) -> Any:
        leaves = tree.flatten(bind(op, call_args, call_kwargs))
        arriving: dict[int, tuple[Any, tuple[int, bool]]] = {}  # id of a tensor → (the tensor, where it comes from)
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, KerasTensor):
                arriving.setdefault(id(leaf), (leaf, (i, False)))
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, KerasTensor) and mask_of(leaf) is not None:
                arriving.setdefault(id(mask_of(leaf)), (mask_of(leaf), (i, True)))
        fresh = {key: Input(batch_shape=x.shape, dtype=x.dtype) for key, (x, _) in arriving.items()}
        for key, (x, _) in arriving.items():
            if mask_of(x) is not None:
                set_mask(fresh[key], fresh[id(mask_of(x))])
        trace = _traced(op, call_args, call_kwargs, arriving, recorder)
        replay = Replay(trace, recorder.pieces, op, record, known, recorder.names)
        result = replay.run([fresh[key] for key in arriving])
        sources = replay.sources
        with internals.names_apart([known.operation for known in replay.calls]):
            function = Function([*fresh.values(), *(x for x, _ in sources)], result)
        actual = {id(fresh[key]): x for key, (x, _) in arriving.items()}
        found["opened"] = Opened(
            function, [place for _, place in arriving.values()], sources, replay.calls, result, actual, replay.names
        )
        return tree.map_structure(lambda y: KerasTensor(y.shape, dtype=y.dtype), result)

    try:
        with patched(op, symbolic_call=symbolic_call):
            outer = tree.flatten(op(*args, **kwargs))
    except CannotOpen as error:
        raise CannotOpen(one_line(own_words(error), 400)) from error
    except RAISED as error:  # call() may do anything
        if "as a Python `bool` is not allowed" in str(error):
            raise CannotOpen("its call() decides by a number that only a run knows; use keras.ops.where") from error
        raise CannotOpen(f"its call() does not run in a TensorFlow graph ({named(error)})") from error
    one = found["opened"]
    outputs = [one.actual.get(id(y), y) for y in tree.flatten(one.result)]
    for y, shown in zip(outputs, outer):
        if mask_of(shown) is not None and mask_of(y) is None:
            set_mask(y, mask_of(shown))
    return one, outputs


def _traced(op: Any, args: tuple, kwargs: dict, arriving: dict[int, Any], recorder: _Recorder) -> Trace:
    """The TensorFlow graph of call(), its placeholders in the order of ``arriving``."""
    import tensorflow as tf
    from keras import tree

    found: dict[str, Any] = {}
    if "training" in kwargs:
        kwargs = {**kwargs, "training": False}

    def run(*tensors: Any) -> Any:
        by_id = dict(zip(arriving, tensors))
        for key, (x, _) in arriving.items():
            if mask_of(x) is not None:
                set_mask(by_id[key], by_id[id(mask_of(x))])
        given, named_ones = tree.map_structure(lambda leaf: by_id.get(id(leaf), leaf), (args, kwargs))
        with recorder.recording(), internals.inferring():
            result = recorder.split(op, given, named_ones) if own_activation(op) else op.call(*given, **named_ones)
        if not tree.flatten(result) or not all(internals.is_graph_tensor(y) for y in tree.flatten(result)):
            raise CannotOpen("it returns something else than tensors computed from its input")
        found["inputs"], found["result"] = list(tensors), result
        return tree.flatten(result)

    specs = [tf.TensorSpec(x.shape, x.dtype) for x, _ in arriving.values()]
    graph = tf.function(run, autograph=False).get_concrete_function(*specs).graph
    return Trace(graph, found["inputs"], found["result"], internals.variables_in(graph, internals.variables_of(op)))
