"""Layers around a layer. Source: keras/src/layers/rnn/time_distributed.py and
normalization/spectral_normalization.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from k2t_core.graph import Graph, Layer, Node, Ref, Tensor
from k2t_core.layout import Layout, channels_first, identity
from k2t_core.rules.common import refuse_unread
from k2t_core.rules.registry import (
    ANY,
    FIRST,
    SELF,
    Call,
    Mapping,
    Nested,
    Slot,
    Unconvertible,
    Weight,
    find,
    known,
    rule,
)
from k2t_core.rules.slots import fill

SEQUENCES = {"LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"}
# Layers whose call() has a mask argument (TimeDistributed gives it the mask of each step) and uses it in inference.
MASKED = SEQUENCES | {"Softmax", "GlobalAveragePooling1D", "TimeDistributed"}
# Layers that torch computes over any number of leading axes: no need to fold time into the batch.
ANY_RANK = {"Dense", "Embedding", "Dropout", "Activation", "ReLU", "LeakyReLU", "ELU", "Identity"}


def _wrapped(call: Call) -> Layer:
    if "layer" not in call.layer.children:
        raise Unconvertible(
            "the layer that it wraps is missing from the file; save the model again with a current Keras"
        )
    child = call.layer.children["layer"]
    if child.graph is None:
        mine, its = (layer.policy for layer in (call.layer, child))
        call.refuse(
            mine != its,
            f"its inner layer {child.name!r} has the dtype policy {its} and itself {mine}; give both the same",
        )
    return child


def _rule_of(child: Layer):
    found = find(child.kind)
    if found is None:
        raise Unconvertible(f"it wraps a {child.kind}, which k2t has no rule for; override the layer with a snippet")
    return found


def _lifted(mapping: Mapping, inner: Call) -> tuple[Weight, ...]:
    """The child's weights under their names in the wrapper."""
    return tuple(
        w if w.source is None else replace(w, source=f"layer/{inner.variable(w.source).name}") for w in mapping.weights
    )


@rule("TimeDistributed", over_time=True)
def time_distributed(call: Call) -> Mapping:
    """Each step goes through the same layer: time is folded into the batch, which no layer mixes in inference."""
    child, x = _wrapped(call), call.x
    slots = [x]
    mask = call.argument("mask")
    if mask is not None and (child.kind in MASKED or child.graph is not None):
        call.refuse(not isinstance(mask, Slot), "its mask is not a tensor of the model")
        call.refuse(
            child.graph is not None or mask.rank < 3,
            f"it hands a mask of {mask.rank} axes, step by step, to its {child.kind}; "
            "take the mask away before it, for example with a Masking layer further down",
        )
        slots.append(mask)
    names = ["sequences" if child.kind in SEQUENCES else "inputs", "mask"]
    tensors = {name: Tensor(name, (slot.shape[0], *slot.shape[2:]), slot.dtype) for name, slot in zip(names, slots)}
    y = call.outputs[0]
    tensors["y"] = Tensor("y", (y.shape[0], *y.shape[2:]), y.dtype)
    inputs = tuple(names[: len(slots)])
    node = Node(child.name, child, {name: Ref(name) for name in inputs}, ("y",))
    graph = Graph(f"{call.layer.name}_{child.name}", inputs, ("y",), (node,), tensors, inputs, ("y",))
    common: dict[str, Any] = {
        "why": "Time is folded into the batch: in inference no layer mixes samples.",
        "keras": f"{child.kind}(x[:, t]) for every step t",
    }
    rest = [identity(slot.rank) for slot in call.inputs[1:]]
    arriving = tuple(_inner_layout(child, slot) if slot is x else identity(slot.rank - 1) for slot in slots)
    mapping = None
    if child.graph is None:
        inner = Call(node, graph, arriving)
        mapping = _rule_of(child).function(inner)
        refuse_unread(child, inner.unread())
    if mapping is None or not isinstance(mapping.forward, str) or mapping.nested is not None:
        operands = ", ".join(str(slot) for slot in slots)
        return Mapping(
            f"time_distributed({SELF}, {operands})",
            wants=(identity(x.rank), *rest),
            nested=Nested(child.graph or graph, arriving, _outer),
            torch="time_distributed(module, x)",
            **common,
        )
    layout = (mapping.wants or arriving)[0]
    gives = mapping.gives[0] if mapping.gives else identity(len(y.shape) - 1)
    local = mapping.forward
    if child.kind in ANY_RANK and layout.is_identity:
        forward = fill(local, [str(x)])
    else:
        parameters = ["x", "mask"][: len(slots)]
        local = fill(local, parameters)
        listed = ", ".join(parameters)
        function = SELF if local == f"{SELF}({listed})" else f"lambda {listed}: {local}"
        forward = f"time_distributed({function}, {', '.join(str(slot) for slot in slots)})"
    return Mapping(
        forward,
        mapping.module,
        _lifted(mapping, inner),
        wants=(_outer(layout), *rest),
        gives=(_outer(gives),),
        init=mapping.init,
        torch=mapping.torch,
        alternatives=mapping.alternatives,
        **common,
    )


def _inner_layout(child: Layer, x: Slot) -> Layout:
    """The layout in which the child meets one step of x."""
    rank = x.rank - 1
    found = find(child.kind)
    demand = found.demand_of(child) if found else None
    if demand == ANY and x.layout.flat is None and x.layout.perm[:2] == (0, 1):
        return Layout((0, *(axis - 1 for axis in x.layout.perm[2:])))
    return channels_first(rank) if demand == FIRST and rank >= 3 else identity(rank)


def _outer(layout: Layout) -> Layout:
    """The layout with the time axis after the batch."""
    if layout.perm[0] != 0 or layout.flat is not None:
        raise Unconvertible(
            "its layer moves the batch axis or flattens in torch's order; write the steps out as layers of their own"
        )
    return Layout((0, 1, *(axis + 1 for axis in layout.perm[1:])))


def _demand_of_child(layer: Layer):
    child = layer.children.get("layer")
    return known(child.kind).demand_of(child) if child is not None else None


@rule("SpectralNormalization", demand=_demand_of_child)
def spectral_normalization(call: Call) -> Mapping:
    """Normalises its layer's kernel in training only, in place: in inference the stored kernel is what counts."""
    child = _wrapped(call)
    call.option("power_iterations")
    call.refuse(child.graph is not None, "it wraps a model")
    call.refuse(
        "float" not in call.x.dtype,
        "it casts its output to the dtype of its input, which is no float; wrap another layer",
    )
    inner = Call(replace(call.node, layer=child), call.graph, call.layouts, call.wanted, call.choice, call.absorbs_flat)
    mapping = _rule_of(child).function(inner)
    refuse_unread(child, inner.unread())
    call.read_arguments.update(inner.read_arguments)
    return replace(
        mapping,
        weights=_lifted(mapping, inner),
        why=(
            f"In inference it is its {child.kind} with the kernel as stored, normalised when training last ran. "
            f"{mapping.why}"
        ).strip(),
    )
