"""The calls of a symbolic run → `Graph`, with the scope that maps it to the live model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from k2t_core.errors import UnsupportedError
from k2t_core.graph import Graph, Layer, Node, Tensor
from k2t_core.keras_side.calls import RecordedCall, call_behind, replaced, tensors_in, with_refs
from k2t_core.keras_side.describing import Describer
from k2t_core.keras_side.traced import LiveScope
from k2t_core.names import unused

FORMS = ("sparse", "ragged")  # attributes of a KerasTensor


def build(
    functional: Any,
    name: str,
    prefix: str,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    calls: Sequence[RecordedCall],
    nested: dict[int, LiveScope],
    describer: Describer,
    actual: Mapping[int, Any],
) -> LiveScope:
    """The graph from ``inputs`` to ``outputs``, symbolic tensors of the run of ``functional``.

    calls: those of the run; what only a mask needs is found behind the tensors.
    nested: id of a nested model → its scope.
    actual: id of a symbolic input of what is inside an opened layer → the tensor that arrives.

    Raises UnsupportedError for what a graph cannot hold.
    """
    order = _reading_order(inputs, outputs, calls, actual)
    _drop_unused_masks(order, outputs)
    ids: dict[int, str] = {}  # symbolic tensor → its id in the graph
    tensors: dict[str, Tensor] = {}

    def add(tensor: Any, label: str) -> str:
        ids[id(tensor)] = label
        form = next((f for f in FORMS if getattr(tensor, f, False)), "dense")
        tensors[label] = Tensor(label, tuple(tensor.shape), str(tensor.dtype), form)
        return label

    names: set[str] = set()
    for x in inputs:
        names.add(x.name)
        add(x, x.name)
    known = {id(op) for op in functional.operations}
    layers: dict[int, Layer] = {}
    so_far: Counter[int] = Counter()  # calls of a layer
    nodes: list[Node] = []
    node_ids: dict[int, str] = {}
    operations: dict[str, Any] = {}
    for call in order:
        op = call.operation
        if id(op) not in layers:
            label = unused(describer.label(op, known), names, first=1)
            names.add(label)
            layers[id(op)] = describer.layer(op, label, prefix, call.scope.graph if call.scope is not None else None)
        so_far[id(op)] += 1
        layer = layers[id(op)]
        node_id = layer.name if so_far[id(op)] == 1 else f"{layer.name}#{so_far[id(op)]}"
        operations[node_id] = op
        if call.keras_node is not None:
            node_ids[id(call.keras_node)] = node_id
        arguments = with_refs(call.arguments, ids)
        wanted = [f"{node_id}:{k}" for k in range(len(call.outputs))] if len(call.outputs) > 1 else [node_id]
        labels = tuple(add(y, unused(label, tensors, "~", first=1)) for y, label in zip(call.outputs, wanted))
        nodes.append(Node(node_id, layer, arguments, labels))
    graph = Graph(
        name=name,
        inputs=tuple(ids[id(x)] for x in inputs),
        outputs=tuple(ids[id(y)] for y in outputs),
        nodes=tuple(nodes),
        tensors=tensors,
        input_names=tuple(x.name for x in inputs),
        output_names=_output_names(functional, [ids[id(y)] for y in outputs]),
    )
    out_ids = {
        (id(c.keras_node), k): ids[id(y)]
        for c in calls
        if c.keras_node is not None
        for k, y in enumerate(c.outputs)
        if id(y) in ids
    }
    return LiveScope(functional, graph, out_ids, node_ids, nested, operations)


def _reading_order(
    inputs: Sequence[Any], outputs: Sequence[Any], calls: Sequence[RecordedCall], actual: Mapping[int, Any]
) -> list[RecordedCall]:
    """The calls that the outputs need, walked back from there: branch by branch, as a reader follows them."""
    producers = {id(y): call for call in calls for y in call.outputs}
    order: list[RecordedCall] = []
    seen: set[int] = {id(x) for x in inputs}
    done: set[int] = set()
    stack: list[tuple[Any, bool]] = [(y, False) for y in reversed(outputs)]
    while stack:
        tensor, expanded = stack.pop()
        if expanded:
            call = producers[id(tensor)]
            if id(call) not in done:
                done.add(id(call))
                order.append(call)
            continue
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if id(tensor) not in producers:
            call = call_behind(tensor)
            call.arguments = replaced(call.arguments, actual)
            producers.update({id(y): call for y in call.outputs})
        call = producers[id(tensor)]
        read = list(tensors_in(call.arguments))
        if any(tensor is x for x in read):  # Equalization: what it is given, cast to its dtype, is what it returns
            raise UnsupportedError(
                [
                    f"layer {call.operation.name!r} ({type(call.operation).__name__}) hands on its input, "
                    "cast to another dtype, as its output; give it the dtype of its input"
                ]
            )
        stack.append((tensor, True))
        stack.extend((x, False) for x in reversed(read))
    return order


def _drop_unused_masks(order: Sequence[RecordedCall], outputs: Sequence[Any]) -> None:
    """Take a nested model's mask outputs away where nothing outside reads them."""
    read = {id(x) for call in order for x in tensors_in(call.arguments)} | {id(y) for y in outputs}
    scopes = {id(call.scope): call.scope for call in order if call.scope is not None and call.scope.masked_outputs}
    for scope in scopes.values():
        count = len(scope.functional.outputs)
        calls = [call for call in order if call.scope is scope]
        if not any(id(y) in read for call in calls for y in call.outputs[count:]):
            scope.masked_outputs = ()
            scope.graph = scope.graph.pruned(count)
            for call in calls:
                del call.outputs[count:]


def _output_names(functional: Any, ids: list[str]) -> tuple[str, ...]:
    """The names that Keras has for the outputs, where it has one for each; else their ids."""
    names = list(getattr(functional, "output_names", ids))
    return tuple(names[i] if i < len(names) and names.count(names[i]) == 1 else ids[i] for i in range(len(ids)))
