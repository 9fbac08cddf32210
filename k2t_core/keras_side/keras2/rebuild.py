"""A functional model of Keras 2, node by node, as one of Keras 3 with the same names, weights and shared layers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np

from k2t_core.errors import RAISED, UnsupportedError, one_line
from k2t_core.keras_side import internals
from k2t_core.keras_side.keras2 import running
from k2t_core.keras_side.keras2.layers import Untranslatable, name_of, options, plain, translated
from k2t_core.keras_side.keras2.operations import OPERATIONS
from k2t_core.keras_side.randomise import settle
from k2t_core.names import unused


def rebuild(model: Any) -> tuple[Any, list[tuple[Any, Any]], list[tuple[str, Any, Any]]]:
    """(the model in Keras 3, pairs of variables, its tensors), as `keras2.Original` keeps them.

    Raises UnsupportedError, which lists every layer without a counterpart.
    """
    builder = _Builder()
    with internals.names_from_the_start():  # the same file shall get the same ones every time
        built, tensors = builder.model(model)
    if builder.problems:
        raise UnsupportedError(list(dict.fromkeys(builder.problems)))
    settle(built)
    return built, builder.variables, tensors


@dataclass
class _Builder:
    made: dict[int, Any] = field(default_factory=dict)  # id of a layer or model of Keras 2 → its counterpart
    variables: list[tuple[Any, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    named: dict[int, Any] = field(default_factory=dict)  # operations of Keras 3 that have been given a name, by id
    filled: set[int] = field(default_factory=set)  # ids of the layers of Keras 2 whose weights are copied

    def model(self, old: Any) -> tuple[Any, list[tuple[str, Any, Any]]]:
        import keras
        import tensorflow as tf
        import tf_keras

        if not internals.is_graph_of_keras2(old):
            raise UnsupportedError(
                [
                    f"model {old.name!r} is a subclassed {type(old).__name__}, or a Sequential without an input shape; "
                    "give the Sequential an Input, or rebuild it with the functional API"
                ]
            )
        values: dict[int, Any] = {}  # id of a symbolic tensor of Keras 2 → that of Keras 3
        found: list[tuple[str, Any, Any]] = []
        taken = {name_of(layer) for layer in old.layers}
        for x in old.inputs:
            values[id(x)] = self.input(x)
        nodes = internals.calls_of(old)
        for node in nodes:
            if any(id(x) not in values for x in node.keras_inputs):
                continue  # what comes before it has been refused
            layer = node.layer
            args, kwargs = (plain(part, lambda x: values.get(id(x), x)) for part in (node.call_args, node.call_kwargs))
            try:
                result = self.call(layer, args, kwargs, taken)
            except Untranslatable as why:
                self.problems.append(f"layer {layer.name!r} {why}")
                continue
            except UnsupportedError as error:  # of a model inside
                self.problems.extend(error.problems)
                continue
            except Exception as error:  # Keras 3 raises every type there is for what it does not take
                self.problems.append(
                    f"layer {layer.name!r}, a {type(layer).__name__} of Keras 2, cannot be rebuilt in Keras 3: "
                    f"{one_line(error)}"
                )
                continue
            made = tf.nest.flatten(node.outputs)
            if isinstance(result, running.Deferred) and len(made) > 1:
                result = [running.Deferred(_nth, (result, k), {}) for k in range(len(made))]
            for x, y in zip(made, keras.tree.flatten(result)):
                values[id(x)] = y
                if not isinstance(y, running.Deferred):
                    found.append((layer.name, x, y))
        if self.problems:
            return None, []
        if isinstance(old, tf_keras.Sequential) and len(nodes) == len({id(node.layer) for node in nodes}):
            first = values[id(old.inputs[0])]
            new = keras.Sequential([first, *(self.made[id(node.layer)] for node in nodes)], name=name_of(old))
        else:
            inputs, outputs = (
                plain(part, lambda x: self.computed(values[id(x)], taken))
                for part in internals.structure_of_keras2(old)
            )
            new = keras.Model(inputs, outputs, name=name_of(old))
        return new, found

    def input(self, x: Any) -> Any:
        import keras

        layer = x.node.layer
        if getattr(layer, "sparse", False) or getattr(layer, "ragged", False):
            raise UnsupportedError(
                [f"input {layer.name!r} is {'sparse' if layer.sparse else 'ragged'}; give the model a dense input"]
            )
        return keras.Input(batch_shape=tuple(x.shape), dtype=x.dtype.name, name=name_of(layer))

    def call(self, layer: Any, args: tuple, kwargs: dict, taken: set[str]) -> Any:
        import keras
        import tf_keras

        if hasattr(layer, "symbol"):  # TFOpLambda, SlicingOpLambda
            return self.operation(layer, args, kwargs, taken)
        args, kwargs = plain((args, kwargs), lambda x: self.computed(x, taken))
        if type(layer).__name__ in ("AddLoss", "AddMetric"):
            return args[0]
        known = self.made.get(id(layer))
        if known is None:
            known = self.translated(layer)
            if known is None:
                raise UnsupportedError(self.problems)
            self.made[id(layer)] = known
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        if kwargs.pop("training", False):
            raise Untranslatable(
                "is called with training=True: it stays in training mode in inference, which k2t does not convert"
            )
        recurrent = isinstance(known, (keras.layers.RNN, keras.layers.Bidirectional))
        if recurrent and isinstance(args[0], list) and len(args[0]) > 1:  # Keras 2 gives states along with the sequence
            args, kwargs = (args[0][0], *args[1:]), {**kwargs, "initial_state": args[0][1:]}
        result = known(*args, **kwargs)
        if not isinstance(layer, tf_keras.Model):
            self.weights(layer, known)
        return result

    @staticmethod
    def computed(value: Any, taken: set[str]) -> Any:
        """A tensor of sizes that were read; any other value as it is."""
        if not isinstance(value, running.Deferred):
            return value
        name = unused("sizes", taken, first=1)
        taken.add(name)
        return running.function("shape", lambda given: given, (value,), {}, name)

    def weights(self, old: Any, new: Any) -> None:
        """Copy the values, variable by variable, where both sides have the same in the same order."""
        if id(old) in self.filled:
            return
        self.filled.add(id(old))
        theirs, ours = list(old.weights), list(new.weights)
        shapes = (
            [
                (RENAMED_VARIABLES.get((type(old).__name__, name := _basename(v.name)), name), tuple(v.shape))
                for v in theirs
            ],
            [(v.name, tuple(v.shape)) for v in ours],
        )
        if shapes[0] != shapes[1]:
            raise Untranslatable(
                f"has the variables {_told(shapes[0])} in Keras 2 and {_told(shapes[1])} in Keras 3, "
                "which k2t cannot match"
            )
        for v, w in zip(theirs, ours):
            w.assign(np.asarray(v))
            self.variables.append((v, w))

    def translated(self, layer: Any) -> Any:
        """The counterpart of a layer, not yet called; None where that of a model has problems."""
        import keras
        import tf_keras

        if isinstance(layer, tf_keras.Model):
            return self.model(layer)[0]
        if type(layer) is tf_keras.layers.TimeDistributed and isinstance(layer.layer, tf_keras.Model):
            inner = self.model(layer.layer)[0]
            self.filled.add(id(layer))  # by the layers in the model
            target = keras.layers.TimeDistributed
            return None if inner is None else target(inner, **options(layer, target, ("layer",)))
        return translated(layer)

    def operation(self, layer: Any, args: tuple, kwargs: dict, taken: set[str]) -> Any:
        import keras

        if running.is_of_sizes(layer.symbol, (args, kwargs)):
            return running.Deferred(layer.call, args, kwargs)
        run = OPERATIONS.get(layer.symbol)
        try:
            if run is None or any(isinstance(x, running.Deferred) for x in keras.tree.flatten((args, kwargs))):
                raise NotImplementedError
            given = signature(run).bind(*args, **kwargs)
            result = run(*given.args, **given.kwargs)
        except RAISED:  # keras.ops has not the same, or not for such arguments: what TensorFlow does is recorded
            name = unused(layer.symbol.rsplit(".", 1)[-1], taken, first=1)
            taken.add(name)
            return running.function(layer.symbol, layer.call, args, kwargs, name)
        _name_operations(result, layer.symbol.rsplit(".", 1)[-1], taken, self.named)
        return result


RENAMED_VARIABLES = {(kind, "depthwise_kernel"): "kernel" for kind in ("DepthwiseConv1D", "DepthwiseConv2D")}


def _name_operations(result: Any, name: str, taken: set[str], named: dict[int, Any]) -> None:
    """Name the operations that a call has just made, unlike any layer: Keras wants each name once in a model.

    named: the operations that have their names already, by id.
    """
    import keras

    stack = [*keras.tree.flatten(result)]
    while stack:
        operation = internals.operation_behind(stack.pop())
        if operation is None or isinstance(operation, keras.Layer) or id(operation) in named:
            continue
        operation.name = unused(name, taken, first=1)
        named[id(operation)] = operation
        taken.add(operation.name)
        stack.extend(x for node in internals.calls_to(operation) for x in node.input_tensors)


def _nth(values: Any, index: int) -> Any:
    import tensorflow as tf

    return tf.nest.flatten(values)[index]


def _basename(name: str) -> str:
    return re.sub(r":\d+$", "", name.rsplit("/", 1)[-1])


def _told(variables: list[tuple[str, tuple]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in variables) or "none"
