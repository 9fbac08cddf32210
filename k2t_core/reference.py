"""The Keras side of a comparison: the framework that wrote the file, run on a batch, every tensor kept.

The runner repeats `keras.Functional.call` node by node, nested models included, so that each intermediate tensor is
known by the name that the graph gives it. The model's outputs are taken from the model itself.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import numpy as np

from k2t_core.graph import Node
from k2t_core.interruption import check
from k2t_core.opening import Opened
from k2t_core.tracing import Scope, Traced, bound_arguments


def _alone(function: Callable) -> Callable:
    """The function, with the model to itself: another thread may be comparing a layer of it."""

    @wraps(function)
    def locked(traced: Traced, *args: Any, **kwargs: Any) -> Any:
        with traced.source.lock:
            return function(traced, *args, **kwargs)

    return locked


@_alone
def predict(traced: Traced, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The model's outputs in inference mode, flat, as Keras computes them when called."""
    from keras import tree

    model = traced.source.model
    inputs = tree.pack_sequence_as(_inputs_struct(traced), list(arrays))
    return [np.asarray(y) for y in tree.flatten(model(inputs, training=False))]


@_alone
def tensors(traced: Traced, arrays: Sequence[np.ndarray], only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The graph's tensors by scope and id (``"conv1"``, ``"encoder#2/dense"``), in Keras's layout; ``only`` these, or all."""
    record: dict[str, np.ndarray] = {}
    _run(traced.scope, list(arrays), "", record, only)
    return record


@_alone
def gradients(traced: Traced, arrays: Sequence[np.ndarray], factors: Mapping[int, np.ndarray]) -> tuple[list[np.ndarray | None], dict[str, np.ndarray]]:
    """Gradients of Σ outputs[k] · factors[k], in inference mode: by each input (None for integers), by each variable path."""
    import tensorflow as tf
    from keras import tree

    tensors = [tf.convert_to_tensor(a) for a in arrays]
    variables = {path: v for path, v in traced.variables.items() if v.trainable}
    with tf.GradientTape() as tape:
        for x in tensors:
            if x.dtype.is_floating:
                tape.watch(x)
        outputs = tree.flatten(traced.source.model(tree.pack_sequence_as(_inputs_struct(traced), tensors), training=False))
        total = tf.add_n([tf.reduce_sum(tf.cast(outputs[k], factor.dtype) * factor) for k, factor in factors.items()])
    watched = [x for x in tensors if x.dtype.is_floating]
    found = tape.gradient(total, [*watched, *(v.value for v in variables.values())])
    dense = [None if g is None else np.asarray(tf.convert_to_tensor(g)) for g in found]
    by_watched = iter(dense[: len(watched)])
    by_input = [next(by_watched) if x.dtype.is_floating else None for x in tensors]
    return by_input, {path: g for path, g in zip(variables, dense[len(watched) :]) if g is not None}


@_alone
def before_activation(traced: Traced, node: Node, value: np.ndarray) -> np.ndarray:
    """What a Dense layer of the top graph computes from ``value`` before its own activation."""
    import keras

    layer = _live(traced, "", node)
    activation = layer.activation
    try:
        layer.activation = keras.activations.linear
        return np.asarray(layer(value, training=False))
    finally:
        layer.activation = activation


@_alone
def apply(traced: Traced, scope: str, node: Node, value: np.ndarray) -> np.ndarray:
    """What the layer of a call in ``scope`` ("" or ``"encoder/"``) makes of one array."""
    return np.asarray(_live(traced, scope, node)(value, training=False))


def _live(traced: Traced, scope: str, node: Node) -> Any:
    """The live Keras layer of a call."""
    place = traced.scope
    for name in scope.split("/")[:-1]:
        place = place.nested[id(place.node(name).operation)]
    return place.node(node.id).operation


def _inputs_struct(traced: Traced) -> Any:
    return traced.scope.functional._inputs_struct


def _inside(one: Opened, layer: Any, scope: Scope, args: tuple, kwargs: dict, prefix: str, record: dict[str, np.ndarray], only: Collection[str] | None) -> list[Any]:
    """The outputs of an opened layer: Keras calls it, and what is inside runs in the place of its call()."""
    from keras import tree
    from keras.src.models.functional import operation_fn

    bind = partial(bound_arguments, layer, inspect.signature(layer.call))

    def call(*call_args: Any, **call_kwargs: Any) -> Any:
        values = one.values(tree.flatten(bind(call_args, call_kwargs)))
        return tree.pack_sequence_as(one.result, _run(replace(scope, functional=one.function), values, prefix, record, only))

    object.__setattr__(layer, "call", call)  # past Keras's attribute tracking; removed below
    try:
        return tree.flatten(operation_fn(layer, training=False)(*args, **kwargs))
    finally:
        object.__delattr__(layer, "call")


def _run(scope: Scope, inputs: Sequence[Any], prefix: str, record: dict[str, np.ndarray], only: Collection[str] | None) -> list[Any]:
    from keras import ops, tree
    from keras.src.backend import get_keras_mask, set_keras_mask
    from keras.src.models.functional import operation_fn

    functional = scope.functional
    live = {}
    for reference, value in zip(functional.inputs, inputs):
        tensor = ops.convert_to_tensor(value, dtype=reference.dtype)
        if get_keras_mask(value) is not None:
            set_keras_mask(tensor, get_keras_mask(value))
        live[id(reference)] = tensor
    nodes = [node for depth in sorted(functional._nodes_by_depth, reverse=True) for node in functional._nodes_by_depth[depth]]
    readers = Counter(id(x) for node in nodes for x in node.input_tensors) + Counter(id(x) for x in functional.outputs)
    for node in nodes:
        if not node.operation or node.is_input or any(id(x) not in live for x in node.input_tensors):
            continue
        check()
        args, kwargs = node.arguments.fill_in(live)
        nested = scope.nested.get(id(node.operation))
        one = scope.opened.get(id(node))
        if one is not None:
            outputs = _inside(one, node.operation, scope, args, kwargs, prefix, record, only)
        elif nested is not None:
            values = args[0] if args else kwargs[next(iter(kwargs))]
            name = scope.node_ids.get(id(node), node.operation.name)
            outputs = _run(nested, tree.flatten(values), f"{prefix}{name}/", record, only)
        else:
            outputs = tree.flatten(operation_fn(node.operation, training=False)(*args, **kwargs))
        for index, (x, y) in enumerate(zip(node.outputs, outputs)):
            live[id(x)] = y
            label = scope.outputs.get((id(node), index))
            if label is not None and (only is None or prefix + label in only):
                record[prefix + label] = np.asarray(y)
        for x in node.input_tensors:
            readers[id(x)] -= 1
            if not readers[id(x)]:
                del live[id(x)]  # memory stays bounded on a deep model
    return [live[id(x)] for x in functional.outputs]
