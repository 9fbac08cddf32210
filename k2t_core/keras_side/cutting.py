"""Cut a model off behind a layer: the model starts with what it gives, and the rest is left to the data pipeline.

Layers that look up strings, split text or hash have no counterpart in torch; training code runs them in the data
pipeline anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from k2t_core.errors import OverrideError
from k2t_core.keras_side.internals import calls_of, mask_of, node_behind, operation_behind, packed_outputs
from k2t_core.keras_side.loading import Source
from k2t_core.keras_side.traced import Cut, Traced
from k2t_core.keras_side.tracing import trace


def cut(traced: Traced, names: Sequence[str]) -> Traced:
    """The model from behind the layers ``names`` (of its top graph) on; one that is cut off already is passed over.

    Each layer's output becomes an input named after it, in the place of the first input that it reads. The live model
    that comes with the graph is a Keras model of the same layers and variables, so that the two can be compared as
    ever.

    Raises OverrideError where a layer cannot be cut off: see `obstacle`.
    """
    import keras

    names = tuple(name for name in dict.fromkeys(names) if name not in {c.layer.path for c in traced.cuts})
    if not names:
        return traced
    key = ("cut", *names)
    if key in traced.variants:
        return traced.variants[key]
    for name in names:
        problem = obstacle(traced, name)
        if problem:
            raise OverrideError(f"layer {name!r}: {problem}")
    whole, live = traced.scope.functional, _live(traced)
    cut_at = {id(live[name].outputs[0]): name for name in names}
    starts = _starts(whole.outputs, cut_at)
    unread = set(cut_at) - set(map(id, starts))
    if unread:
        raise OverrideError(
            f"layer {cut_at[unread.pop()]!r}: only layers that are cut off themselves read what it gives; "
            "take one of the two back"
        )
    places = {id(x): index for index, x in enumerate(whole.inputs)}
    starts.sort(key=lambda start: min(places[id(x)] for x in _starts([start], {})))
    fresh = [
        keras.Input(batch_shape=x.shape, dtype=x.dtype, name=cut_at.get(id(x), operation_behind(x).name))
        for x in starts
    ]
    known = {id(x): y for x, y in zip(starts, fresh)}
    for node in calls_of(whole):
        if all(id(x) in known for x in node.input_tensors) and not all(id(x) in known for x in node.outputs):
            args, kwargs = node.arguments.fill_in(known)
            known.update(zip(map(id, node.outputs), keras.tree.flatten(node.operation(*args, **kwargs))))
    model = keras.Model(
        fresh,
        packed_outputs(whole, [known[id(x)] for x in whole.outputs]),
        name=traced.source.model.name,
    )
    result = trace(
        Source(model, traced.source.path, traced.source.fingerprint, traced.source.info, traced.source.lock),
        traced.closed,
    )
    nodes = {node.id: node for node in traced.graph.nodes}
    cuts = tuple(Cut(nodes[name].layer, traced.graph.tensors[nodes[name].outputs[0]]) for name in names)
    traced.variants[key] = replace(result, cuts=(*traced.cuts, *cuts))
    return traced.variants[key]


def obstacle(traced: Traced, name: str) -> str | None:
    """Why the model cannot be cut off behind the layer at path ``name``, None where it can."""
    calls = [node for node in traced.graph.nodes if node.layer.path == name]
    if not calls:
        return (
            "not a layer of the model itself, so it cannot be cut off: it does not exist, or is inside a nested model"
        )
    if len(calls) > 1:
        return "it is called several times, so it cannot be cut off"
    if len(calls[0].outputs) != 1:
        return "it gives several tensors, so it cannot be cut off"
    spec = traced.graph.tensors[calls[0].outputs[0]]
    if spec.form != "dense" or spec.dtype == "string":
        what = "strings" if spec.dtype == "string" else f"a {spec.form} tensor"
        return f"it gives {what}, which torch has no tensors for: cut the model off behind a later layer"
    if spec.id in traced.graph.outputs:
        return "it gives an output of the model, so it cannot be cut off"
    live = _live(traced).get(calls[0].id)
    if live is None:
        return "it is inside a layer that was opened, so it cannot be cut off"
    if mask_of(live.outputs[0]) is not None:
        return "what it gives carries a mask, which would be lost if it were cut off"
    return None


def _live(traced: Traced) -> dict[str, Any]:
    """Keras's own nodes of the top graph by the graph's ids."""
    return {
        traced.scope.node_ids[id(node)]: node
        for node in calls_of(traced.scope.functional)
        if id(node) in traced.scope.node_ids
    }


def _starts(ends: Sequence[Any], cut_at: Collection[int]) -> list[Any]:
    """The symbolic tensors that ``ends`` come from: the model's inputs, or nearer the tensors of ids ``cut_at``."""
    found, stack, seen = [], list(ends), set()
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        node = node_behind(x)
        if node.is_input or id(x) in cut_at:
            found.append(x)
        else:
            stack += node.input_tensors
    return found
