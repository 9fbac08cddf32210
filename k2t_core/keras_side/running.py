"""The Keras side of a comparison: the framework that wrote the file, run on a batch, every tensor kept.

The runner repeats `keras.Functional.call` node by node, nested models included, so that each intermediate tensor is
known by the name that the graph gives it. The model's outputs are taken from the model itself.

Long because a whole model, one layer alone and both in float64 are run by the same walk and the same call.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from k2t_core.errors import RAISED, K2TError, one_line
from k2t_core.graph import Graph, Node, Ref, policy_name
from k2t_core.keras_side import compiling, internals
from k2t_core.keras_side.calls import bound_arguments
from k2t_core.keras_side.internals import calls_of, mask_of, patched, set_mask
from k2t_core.keras_side.opened import Opened, StandIn
from k2t_core.keras_side.randomise import settle
from k2t_core.keras_side.remembering import holding_the_model, refusing_bad_batches, remembered
from k2t_core.keras_side.traced import LiveScope, Traced
from k2t_core.nests import mapped
from k2t_core.progress import check
from k2t_core.rules import registry


@remembered
@holding_the_model
@refusing_bad_batches
def predict(traced: Traced, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The model's outputs in inference mode, flat, as Keras computes them when called; tf_keras for its own files."""
    from keras import tree

    if traced.source.original is not None:
        return traced.source.original.predict(arrays)
    if not traced.source.compiled and not _without_kernels(traced):
        inputs = internals.packed_inputs(traced.scope.functional, arrays)
        try:
            return [np.asarray(y) for y in tree.flatten(traced.source.model(inputs, training=False))]
        except Exception as error:
            if not compiling.lacks_kernel(error):
                raise
    return streamed(traced, arrays)  # where only what has no kernel is compiled


def _without_kernels(traced: Traced) -> bool:
    """Whether this processor is known to have no kernels for the model: it has layers with channels first."""
    first = any(node.layer.config.get("data_format") == "channels_first" for _, _, node in traced.graph.walk())
    return first and not compiling.kernels_take_channels_first()


@holding_the_model
@refusing_bad_batches
def check_original(traced: Traced, arrays: Sequence[np.ndarray]) -> None:
    """For a file of Keras 2: see `keras2.Original.check`. Raises UnsupportedError."""
    if traced.source.original is not None:
        traced.source.original.check(arrays)


@remembered
@holding_the_model
@refusing_bad_batches
def streamed(traced: Traced, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """`predict` node by node, each tensor let go as soon as nothing needs it: the same calls in the same order."""
    if traced.source.original is not None:
        return traced.source.original.predict(arrays)
    return [np.asarray(y) for y in run_nodes(traced.scope, list(arrays), "", {}, (), traced.source.compiled)]


@remembered
@holding_the_model
@refusing_bad_batches
def tensors(traced: Traced, arrays: Sequence[np.ndarray], only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The graph's tensors by scope and id (``"conv1"``, ``"encoder#2/dense"``), in Keras's layout.

    only: these, or all.
    """
    record: dict[str, np.ndarray] = {}
    run_nodes(traced.scope, list(arrays), "", record, only, traced.source.compiled)
    return record


@remembered
@holding_the_model
def gradients(
    traced: Traced, arrays: Sequence[np.ndarray], factors: Mapping[int, np.ndarray]
) -> tuple[list[np.ndarray | None], dict[str, np.ndarray]]:
    """Gradients of Σ outputs[k] · factors[k], in inference mode: by each input, by each variable path.

    None for an input of integers.
    """
    import tensorflow as tf
    from keras import tree

    tensors = [tf.convert_to_tensor(a) for a in arrays]
    variables = {path: v for path, v in traced.variables.items() if v.trainable}
    watched = [x for x in tensors if x.dtype.is_floating]

    def derived(tensors: Sequence[Any]) -> list[Any]:
        with tf.GradientTape() as tape:
            for x in tensors:
                if x.dtype.is_floating:
                    tape.watch(x)
            given = internals.packed_inputs(traced.scope.functional, tensors)
            outputs = tree.flatten(traced.source.model(given, training=False))
            total = tf.add_n(
                [tf.reduce_sum(tf.cast(outputs[k], factor.dtype) * factor) for k, factor in factors.items()]
            )
        of = [x for x in tensors if x.dtype.is_floating]
        found = tape.gradient(total, [*of, *(v.value for v in variables.values())])
        return [None if g is None else tf.convert_to_tensor(g) for g in found]

    forms: dict[int, Any] = {}
    dense = [None if g is None else np.asarray(g) for g in compiling.run(derived, (tensors,), {}, forms)]
    if forms:
        traced.source.compiled[id(traced.source.model)] = None  # it is told; the form itself is for these numbers
    by_watched = iter(dense[: len(watched)])
    by_input = [next(by_watched) if x.dtype.is_floating else None for x in tensors]
    return by_input, {path: g for path, g in zip(variables, dense[len(watched) :]) if g is not None}


@holding_the_model
def call(
    traced: Traced,
    scope: str,
    node: Node,
    values: Mapping[str, np.ndarray],
    operation: Any = None,
    changed: bool = False,
) -> list[np.ndarray]:
    """What one call in ``scope`` ("" or ``"encoder/"``) makes of ``values``, by the ids of its input tensors; flat.

    operation: another layer to call in its place, such as a copy of it.
    changed: the layer is not, for the moment, what it was.
    """
    from keras import tree

    compiled = traced.source.compiled if operation is None and not changed else None
    operation = operation or live(traced, scope, node)
    if isinstance(operation, StandIn):  # a variable or a constant inside an opened layer
        return [np.asarray(operation.value if operation.variable is None else operation.variable)]
    arguments = _filled(node.arguments, values)
    masks = arguments.pop("masks", None) if registry.known(node.layer.kind).takes_masks else None
    for x, mask in zip(arguments["inputs"], masks) if masks is not None else ():
        if mask is not None:
            set_mask(x, mask)
    return [np.asarray(y) for y in tree.flatten(_in_inference(operation, (), arguments, compiled))]


@remembered
@holding_the_model
def before_activation(traced: Traced, scope: str, node: Node, values: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """What a layer computes before its own activation, or its wrapped layer's; None where it has none."""
    import keras

    layer = live(traced, scope, node)
    layer = layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer
    activation = getattr(layer, "activation", None)
    if activation is None or not isinstance(layer, keras.Layer):
        return None
    with patched(layer, activation=keras.activations.linear):
        return call(traced, scope, node, values, changed=True)[0]


@holding_the_model
def in_float64(traced: Traced, scope: str, node: Node, values: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """`call` with a copy of the layer that computes in float64; None where it is not of dtype policy float32.

    Operations compute in the dtype of what they are given.

    Raises K2TError where the layer's config does not rebuild it.
    """
    import keras

    layer = live(traced, scope, node)
    wide = {t: v.astype("float64") if v.dtype == np.float32 else v for t, v in values.items()}
    if not isinstance(layer, keras.Layer):
        return None if getattr(layer, "dtype", None) == "float32" else call(traced, scope, node, wide)
    if layer.compute_dtype != "float32" or layer.variable_dtype != "float32":
        return None
    try:
        with internals.safe_mode(False):  # code in the model, if any, was allowed when it was loaded
            copy = type(layer).from_config(_widened(layer.get_config()))
        call(traced, scope, node, wide, copy)  # builds it
        copy.set_weights(layer.get_weights())
    except RAISED as error:  # a custom layer may not rebuild from its config
        raise K2TError(
            f"layer {node.layer.path!r}: Keras cannot rebuild it in float64 ({one_line(error, 160)})"
        ) from error
    settle(copy)
    return call(traced, scope, node, wide, copy)


def _in_inference(
    operation: Any, args: tuple, kwargs: Mapping[str, Any], compiled: MutableMapping[int, Any] | None
) -> Any:
    """`compiling.run` of a layer or operation in inference mode, as a functional model calls it."""
    return compiling.run(operation, args, {**kwargs, **internals.in_inference(operation)}, compiled)


def compiled_layers(traced: Traced) -> tuple[str, ...]:
    """Paths of the layers that have been run compiled by XLA, for want of a kernel: see `compiling`."""
    if traced.source.original is not None and traced.source.original.compiled:
        return traced.source.original.compiled
    whole = ("the gradients of the whole model",) if id(traced.source.model) in traced.source.compiled else ()
    return whole + tuple(
        dict.fromkeys(
            node.layer.path
            for scope, _, node in traced.graph.walk()
            if node.layer.graph is None and id(live(traced, scope, node)) in traced.source.compiled
        )
    )


def outputs_in_float64(traced: Traced, arrays: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """The model's outputs with every layer `in_float64`; None where one has no such copy."""

    def run(graph: Graph, scope: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray] | None:
        values = dict(zip(graph.inputs, inputs))
        for node in graph.nodes:
            if node.layer.graph is not None:
                found = run(node.layer.graph, f"{scope}{node.id}/", [values[t] for t in node.inputs])
            else:
                found = in_float64(traced, scope, node, {t: values[t] for t in node.inputs})
            if found is None:
                return None
            values.update(zip(node.outputs, found))
        return [values[t] for t in graph.outputs]

    return run(traced.graph, "", arrays)


def _widened(config: Any) -> Any:
    """A layer's config with float64 for every dtype policy float32, in the layers that it wraps too."""
    if isinstance(config, Mapping):
        return {
            k: "float64" if k == "dtype" and policy_name(v) == "float32" else _widened(v) for k, v in config.items()
        }
    return [_widened(v) for v in config] if isinstance(config, list) else config


def _filled(arguments: Any, values: Mapping[str, np.ndarray]) -> Any:
    """Arguments of a call with tensors in the places of their `Ref`s."""
    from keras import ops

    return mapped(lambda leaf: ops.convert_to_tensor(values[leaf.tensor]) if isinstance(leaf, Ref) else leaf, arguments)


def arguments(
    traced: Traced, scope: str, node: Node, arrays: Sequence[np.ndarray], record: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The values of a call's input tensors: from ``record`` (`tensors`), from the batch, or computed, as masks are."""
    return {t: value(traced, scope, t, arrays, record) for t in dict.fromkeys(node.inputs)}


def value(
    traced: Traced, scope: str, tensor: str, arrays: Sequence[np.ndarray], record: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Keras's value of a tensor in a scope: see `arguments`."""
    scope, tensor = source(traced.graph, scope, tensor)
    if scope == "" and tensor in traced.graph.inputs:
        return np.asarray(arrays[traced.graph.inputs.index(tensor)])
    if scope + tensor in record:
        return record[scope + tensor]
    graph = _graph(traced.graph, scope)
    node = next(node for node in graph.nodes if tensor in node.outputs)
    if node.layer.graph is not None:  # a mask that leaves a nested model
        inside = node.layer.graph.outputs[node.outputs.index(tensor)]
        return value(traced, f"{scope}{node.id}/", inside, arrays, record)
    return call(traced, scope, node, arguments(traced, scope, node, arrays, record))[node.outputs.index(tensor)]


def source(graph: Graph, scope: str, tensor: str) -> tuple[str, str]:
    """Where a tensor comes from: (scope, tensor). The inputs of a nested graph are tensors of the graph around it."""
    chain = [graph]
    callers: list[Node] = []
    for name in scope.split("/")[:-1]:
        caller = next(node for node in chain[-1].nodes if node.id == name)
        callers.append(caller)
        chain.append(_inner(caller))
    while len(chain) > 1 and tensor in chain[-1].inputs:
        tensor = callers[-1].inputs[chain[-1].inputs.index(tensor)]
        chain.pop()
        callers.pop()
    return "".join(f"{caller.id}/" for caller in callers), tensor


def _graph(graph: Graph, scope: str) -> Graph:
    for name in scope.split("/")[:-1]:
        graph = _inner(next(node for node in graph.nodes if node.id == name))
    return graph


def _inner(node: Node) -> Graph:
    """The graph of a nested model: only calls of these are scopes."""
    assert node.layer.graph is not None
    return node.layer.graph


def live(traced: Traced, scope: str, node: Node) -> Any:
    """The live Keras layer or operation of a call."""
    place = traced.scope
    for name in scope.split("/")[:-1]:
        place = place.nested[id(place.operations[name])]
    return place.operations[node.id]


def _inside(
    one: Opened,
    layer: Any,
    scope: LiveScope,
    args: tuple,
    kwargs: dict,
    prefix: str,
    record: dict[str, np.ndarray],
    only: Collection[str] | None,
    compiled: dict[int, Any],
) -> list[Any]:
    """The outputs of an opened layer: Keras calls it, and what is inside runs in the place of its call()."""
    from keras import tree

    signature = inspect.signature(layer.call)

    def call(*call_args: Any, **call_kwargs: Any) -> Any:
        values = one.values(tree.flatten(bound_arguments(signature, call_args, call_kwargs)))
        return tree.pack_sequence_as(
            one.result, run_nodes(replace(scope, functional=one.function), values, prefix, record, only, compiled)
        )

    with patched(layer, call=call):
        return tree.flatten(layer(*args, **{**kwargs, **internals.in_inference(layer)}))


def run_nodes(
    scope: LiveScope,
    inputs: Sequence[Any],
    prefix: str,
    record: dict[str, np.ndarray],
    only: Collection[str] | None,
    compiled: dict[int, Any],
) -> list[Any]:
    from keras import ops, tree

    functional = scope.functional
    live = {}
    for reference, value in zip(functional.inputs, inputs):
        tensor = ops.convert_to_tensor(value, dtype=reference.dtype)
        if mask_of(value) is not None:
            set_mask(tensor, mask_of(value))
        live[id(reference)] = tensor
    nodes = calls_of(functional)
    readers = Counter(id(x) for node in nodes for x in node.input_tensors) + Counter(id(x) for x in functional.outputs)
    for node in nodes:
        if not node.operation or any(id(x) not in live for x in node.input_tensors):
            continue
        check()
        args, kwargs = node.arguments.fill_in(live)
        nested = scope.nested.get(id(node.operation))
        one = scope.opened.get(id(node))
        if one is not None:
            outputs = _inside(one, node.operation, scope, args, kwargs, prefix, record, only, compiled)
        elif nested is not None:
            values = args[0] if args else kwargs[next(iter(kwargs))]
            name = scope.node_ids.get(id(node), node.operation.name)
            outputs = run_nodes(nested, tree.flatten(values), f"{prefix}{name}/", record, only, compiled)
        else:
            outputs = tree.flatten(_in_inference(node.operation, args, kwargs, compiled))
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
