"""A recorded TensorFlow graph, run once more on symbolic tensors of Keras, piece by piece.

What each of TensorFlow's operations is on such tensors stands in `tensorflow_operations`. Numbers are computed while
the graph is read; so is what is computed from shapes, where it stays a formula of sizes (`sized_operations.Size`).

Long because pieces, bare operations and the functions that these call are three ways through one graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from k2t_core.errors import RAISED, named
from k2t_core.keras_side import complex_operations, image_operations, internals, native_operations  # noqa: F401 — they register
from k2t_core.keras_side.internals import set_mask
from k2t_core.keras_side.opened import CannotOpen, StandIn, is_variable
from k2t_core.keras_side.sized_operations import Size
from k2t_core.keras_side.tensorflow_operations import OPERATIONS, REFUSED, Bare
from k2t_core.rules.registry import is_generator

# Operations that call functions of the graph; a loop is written out, up to so many times.
FUNCTIONS = ("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile")
MAX_UNROLLED = 256
MOST_NUMBERS = 2**27  # that are computed while a graph is read: they would stand in the weights file


@dataclass(eq=False)
class Piece:
    """A recorded call: of ``what``, a layer or a function, in the graph's tensors.

    given: the tensors among its arguments; masks: those that arrive with one. variables: those among its arguments,
    each with the dtype in which it is computed with.
    """

    what: Any
    args: tuple
    kwargs: dict
    result: Any
    outputs: list[Any]
    given: list[Any]
    masks: list[tuple[Any, Any]]
    variables: list[tuple[Any, str]]


@dataclass(eq=False)
class Trace:
    """A graph, its inputs and what it returns. variables: live Keras variables by the name of what stands for them."""

    graph: Any
    inputs: list[Any]
    result: Any
    variables: Mapping[str, Any]


@dataclass(eq=False)
class Replay:
    """Runs a trace on symbolic tensors.

    record: (layer, args, kwargs) → the recorded call of a layer that a rule knows. known: whether one knows a layer or
    operation. names: live layer or operation → its
    name inside. sources: symbolic tensors that stand for variables and constants. calls: of layers.
    """

    trace: Trace
    pieces: Sequence[Piece]
    layer: Any
    record: Callable
    known: Callable[[Any], bool]
    names: dict[int, str]
    sources: list[tuple[Any, StandIn]] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)

    def run(self, inputs: Sequence[Any]) -> Any:
        """The nest that call() returned, of symbolic tensors. Raises CannotOpen for what k2t does not know."""
        from keras import tree

        without: set[int] = set()  # pieces of functions that do not run on symbolic tensors: their operations do
        while True:
            try:
                values = self._once(inputs, without)
            except _NotSo as refused:
                without.add(id(refused.piece))
            else:
                break
        if any(isinstance(values[y.name], complex_operations.Pair) for y in tree.flatten(self.trace.result)):
            raise CannotOpen("it gives complex numbers; let it give their parts, or their size")
        return tree.map_structure(lambda y: self._tensor(values[y.name], y.dtype.name), self.trace.result)

    def _once(self, inputs: Sequence[Any], without: set[int]) -> dict[str, Any]:
        """What each tensor of the graph is, by its name. Raises _NotSo for a piece that is to be left out."""
        self.sources, self.calls = [], []
        values = {x.name: y for x, y in zip(self.trace.inputs, inputs)}
        for step in self._steps(without):
            if isinstance(step, Piece):
                self._call(step, values)
            else:
                self._operation(step, values)
        return values

    def _steps(self, without: set[int]) -> list[Any]:
        """The pieces and bare operations that the result needs, each after what it reads."""
        from keras import tree

        made: dict[str, Piece] = {}
        for piece in self.pieces:
            if id(piece) in without or any(y.graph is not self.trace.graph for y in piece.outputs):
                continue  # what is in a function of its own is taken operation by operation
            for y in piece.outputs:
                if not any(y is x for x in piece.given):  # a cast that does nothing returns what it is given
                    made.setdefault(y.name, piece)
        return self._needed(self.trace.graph, self.trace.inputs, list(tree.flatten(self.trace.result)), made)

    @staticmethod
    def _needed(graph: Any, inputs: Sequence[Any], outputs: Sequence[Any], made: Mapping[str, Piece]) -> list[Any]:
        """What the outputs of a graph need, in order. made: the piece that makes a tensor, by its name."""
        place = {op.name: index for index, op in enumerate(graph.get_operations())}
        given = {x.name for x in inputs}
        seen: set[str] = set()
        found: dict[Any, tuple[int, Any]] = {}  # by the piece's id or the operation's name
        stack = list(outputs)
        while stack:
            tensor = stack.pop()
            if tensor.name in seen or tensor.name in given:
                continue
            seen.add(tensor.name)
            maker = made.get(tensor.name)
            if maker is not None:
                latest = max(place[y.op.name] for y in maker.outputs)
                found[id(maker)] = (latest, maker)
                stack += maker.given + [mask for _, mask in maker.masks]
            else:
                found[tensor.op.name] = (place[tensor.op.name], tensor.op)
                stack += list(tensor.op.inputs)
        return [step for _, step in sorted(found.values(), key=lambda pair: pair[0])]

    # --- pieces ------------------------------------------------------------------------------------------------------

    def _call(self, piece: Piece, values: dict[str, Any]) -> None:
        import keras
        from keras import tree

        is_layer = isinstance(piece.what, keras.Layer)
        if not is_layer and any(not _is_plain(values[x.name]) for x in piece.given):
            raise _NotSo(piece)  # it is given sizes
        masks = {x.name: mask for x, mask in piece.masks}
        for x in piece.given:
            tensor = values[x.name]
            if is_layer and isinstance(tensor, keras.KerasTensor):
                set_mask(tensor, self._tensor(values[masks[x.name].name], "bool") if x.name in masks else None)

        dtypes = {id(variable): dtype for variable, dtype in piece.variables}

        def symbolic(leaf: Any) -> Any:
            if id(leaf) in dtypes:
                return self._variable(leaf, dtypes[id(leaf)])
            if not internals.is_graph_tensor(leaf):
                return self._numbers(leaf) if is_layer else leaf
            value = values[leaf.name]
            return self._tensor(value, leaf.dtype.name) if is_layer else value

        args, kwargs = tree.map_structure(symbolic, (piece.args, piece.kwargs))
        if is_layer:
            known = self.record(piece.what, args, kwargs)
            self.calls.append(known)
            result = known.result
        else:
            try:
                result = piece.what(*args, **kwargs)
            except RAISED as error:
                raise _NotSo(piece) from error
        made = tree.flatten(result)
        behind = [] if is_layer else [internals.operation_behind(y) for y in made if isinstance(y, keras.KerasTensor)]
        if any(operation is not None and not self.known(operation) for operation in behind):
            raise _NotSo(piece)
        if len(made) != len(piece.outputs) or not all(map(_fits, made, piece.outputs)):
            if not is_layer:
                raise _NotSo(piece)
            raise CannotOpen(f"its layer {piece.what.name!r} gives other shapes than it did before")
        values.update((y.name, z) for y, z in zip(piece.outputs, made))

    # --- bare operations ---------------------------------------------------------------------------------------------

    def _operation(self, op: Any, values: dict[str, Any]) -> None:
        if op.type == "Placeholder":
            values[op.outputs[0].name] = self._captured(op.outputs[0])
            return
        if op.type == "Const":
            values[op.outputs[0].name] = _numbers(op.get_attr("value"))
            return
        if op.type == "ReadVariableOp":
            values[op.outputs[0].name] = values[op.inputs[0].name]
            return
        if op.type in FUNCTIONS:
            made = self._function(op, [values[x.name] for x in op.inputs])
            values.update((y.name, value) for y, value in zip(op.outputs, made))
            return
        given = [values[x.name] for x in op.inputs]
        bare = Bare(op, given, self._tensor, lambda tensor: values[tensor.name])
        plain = all(isinstance(value, np.ndarray) and value.dtype != object for value in given)
        plain = plain and all(y.dtype.name not in ("variant", "resource") for y in op.outputs)
        complex_numbers = complex_operations.is_complex(bare)
        if plain and op.type not in REFUSED and not op.op_def.is_stateful:  # a stateful one gives something else next
            if any(y.shape.is_fully_defined() and y.shape.num_elements() > MOST_NUMBERS for y in op.outputs):
                raise CannotOpen(f"its call() makes more than {MOST_NUMBERS:,} numbers by {op.type}{_where(op)}")
            made = bare.computed()
        elif op.type in OPERATIONS or complex_numbers:
            try:
                made = complex_operations.apply(bare) if complex_numbers else OPERATIONS[op.type](bare)
            except CannotOpen as error:
                raise CannotOpen(f"{error}{_where(op)}") from error
            except RAISED as error:
                raise CannotOpen(
                    f"its call() uses TensorFlow's {op.type} as k2t does not know it ({named(error)}){_where(op)}"
                ) from error
        else:
            why = REFUSED.get(op.type, "for which k2t has no counterpart")
            raise CannotOpen(f"its call() uses TensorFlow's operation {op.type}, {why}{_where(op)}")
        made = made if type(made) is list else [made]
        for y, value in zip(op.outputs, made):
            if hasattr(value, "shape") and not isinstance(value, np.ndarray) and not _fits(value, y):
                raise CannotOpen(
                    f"its call() uses TensorFlow's {op.type}, of which k2t makes {value.dtype} {tuple(value.shape)} "
                    f"instead of {y.dtype.name} {y.shape}{_where(op)}"
                )
            values[y.name] = value

    def _function(self, op: Any, given: list[Any]) -> list[Any]:
        """What an operation gives that calls functions: theirs takes its place, as often as numbers say."""
        if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
            return self._body(op, "f", given)
        if op.type in ("If", "StatelessIf"):
            return self._body(op, "then_branch" if self._decided(op, given[0]) else "else_branch", given[1:])
        for _ in range(MAX_UNROLLED + 1):
            if not self._decided(op, self._body(op, "cond", given)[0]):
                return given
            given = self._body(op, "body", given)
        raise CannotOpen(f"its call() loops more than {MAX_UNROLLED} times{_where(op)}")

    @staticmethod
    def _decided(op: Any, value: Any) -> bool:
        """Which way to go, where numbers say it."""
        if not isinstance(value, np.ndarray) or value.dtype == object:
            raise CannotOpen(f"its call() uses TensorFlow's operation {op.type}, {REFUSED[op.type]}{_where(op)}")
        return bool(value)

    def _body(self, op: Any, attribute: str, given: list[Any]) -> list[Any]:
        """The outputs of a function that an operation calls, operation by operation."""
        graph = internals.function_graph(op, attribute)
        values = dict(zip((x.name for x in graph.inputs), given))
        for step in self._needed(graph, graph.inputs, graph.outputs, {}):
            self._operation(step, values)
        return [values[y.name] for y in graph.outputs]

    def _captured(self, tensor: Any) -> Any:
        """What stands behind a tensor that the graph takes from outside: a variable, or numbers."""
        variable = self.trace.variables.get(tensor.name)
        if variable is not None and is_generator(variable.path):
            raise CannotOpen("it draws random numbers")
        if variable is not None:
            return self._variable(variable, internals.stored_dtype(variable))
        constant = internals.constants_in(self.trace.graph).get(tensor.name)
        if constant is None:
            raise CannotOpen("it draws random numbers, or uses a variable or a table that is no weight of a layer")
        return np.asarray(constant)

    def _variable(self, variable: Any, dtype: str) -> Any:
        """The symbolic tensor that stands for a variable, in the dtype that is asked for."""
        from keras import Input, ops

        known = next((x for x, s in self.sources if s.variable is variable), None)
        if known is None:
            known = Input(batch_shape=variable.shape, dtype=internals.stored_dtype(variable))
            owner, name = _holder(self.layer, variable)
            self.sources.append((known, StandIn(name, owner, variable=variable)))
        return known if dtype == internals.stored_dtype(variable) else ops.cast(known, dtype)

    def _numbers(self, leaf: Any) -> Any:
        """Numbers that a layer is called on as a constant; anything else as it is."""
        plain = hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not is_variable(leaf)
        return self._tensor(np.asarray(leaf), np.asarray(leaf).dtype.name) if plain else leaf

    def _tensor(self, value: Any, dtype: str) -> Any:
        """A value as a symbolic tensor: numbers as a constant, sizes as numbers that are computed."""
        from keras import Input

        if isinstance(value, np.ndarray):
            if value.dtype == object and any(isinstance(size, Size) for size in value.ravel()):
                return Bare.as_tensor(value, dtype)
            value = value.astype(dtype) if value.dtype == object else value
            x = Input(batch_shape=value.shape, dtype=value.dtype.name)
            self.sources.append((x, StandIn("", self.layer, value=value)))
            return x
        return value


class _NotSo(Exception):
    """A recorded call of a function does not run on symbolic tensors."""

    def __init__(self, piece: Piece):
        super().__init__()
        self.piece = piece


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor or numbers, and no sizes or complex numbers."""
    sizes = isinstance(value, np.ndarray) and value.dtype == object
    return not sizes and not str(value.dtype).startswith("complex")


def _numbers(proto: Any) -> np.ndarray:
    import tensorflow as tf

    return np.asarray(tf.make_ndarray(proto))


def _fits(value: Any, tensor: Any) -> bool:
    """Whether a symbolic tensor is what the graph's tensor is, as far as its sizes are known."""
    if tensor.shape.rank is None or len(value.shape) != tensor.shape.rank or str(value.dtype) != tensor.dtype.name:
        return False
    return all(a is None or b is None or a == b for a, b in zip(value.shape, tensor.shape.as_list()))


def _where(op: Any) -> str:
    """The line of the user's code that made an operation, where TensorFlow remembers it."""
    for frame in reversed(list(op.traceback or ())):
        if not any(part in frame.filename for part in ("/tensorflow/", "/keras/", "/k2t_core/", "/tf_keras/")):
            code = (frame.line or "").strip()[:80]
            return f" ({frame.filename.rpartition('/')[2]}, line {frame.lineno}{': ' if code else ''}{code})"
    return ""


def _layers(layer: Any) -> Iterator[Any]:
    yield layer
    for inner in internals.sublayers(layer):
        yield from _layers(inner)


def _holder(layer: Any, variable: Any) -> tuple[Any, str]:
    """(the layer that holds a variable, the attribute that it is)."""
    for inner in _layers(layer):
        if any(v is variable for v in internals.own_variables(inner)):
            names = [name for name, value in vars(inner).items() if value is variable]
            return inner, (names[0].lstrip("_") if names else variable.name)
    raise CannotOpen(f"its variable {variable.path!r} belongs to no layer in it")
