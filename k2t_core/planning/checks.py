"""What a rule returned, checked; and the dtype in which a layer computes."""

from __future__ import annotations

from dataclasses import replace

from k2t_core.errors import named
from k2t_core.graph import Layer
from k2t_core.rules.registry import Call, Mapping, Unconvertible, is_weight
from k2t_core.transforms import Cast, chain_shape


def checked(mapping: Mapping, call: Call) -> Mapping:
    """Refuse what the rule left unread, and weights that the mapping forgot."""
    unread = call.unread()
    if unread:
        raise Unconvertible(
            f"its option {', '.join(unread)} is not known to k2t; a newer Keras may have added it, "
            "so update k2t or override the layer with a snippet"
        )
    used = {call.variable(w.source).path for w in mapping.weights if w.source}
    lost = [v.path for v in call.layer.all_variables() if v.path not in used and is_weight(v.path)]
    if any("/lora_" in path for path in lost):
        raise Unconvertible(
            "it carries a LoRA update beside its weights; "
            "save and load the model in Keras, which merges the two, and turn LoRA off"
        )
    if lost and mapping.nested is None:
        raise Unconvertible(f"its variables {', '.join(lost)} have no place in the PyTorch module")
    return mapping


def in_dtype(mapping: Mapping, layer: Layer) -> Mapping:
    """The mapping with its module in the dtype that the layer's policy computes in.

    Keras casts a layer's float inputs (the graph shows it as ops.Cast) and its variables to the compute dtype. A rule
    that set the module's dtype itself (normalisations compute in float32) is left alone.
    """
    dtype = _compute_dtype(layer)
    if dtype == "float32" or mapping.module is None or mapping.module.dtype is not None or not mapping.weights:
        return mapping
    weights = tuple(replace(w, steps=(*w.steps, Cast(dtype))) for w in mapping.weights)
    return replace(mapping, module=replace(mapping.module, dtype=dtype), weights=weights)


def _compute_dtype(layer: Layer) -> str:
    """The floating-point dtype in which a layer computes. Raises Unconvertible for quantised policies."""
    policy = layer.config.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") != "DTypePolicy":
        raise Unconvertible(
            f"its dtype policy {policy.get('class_name')} is not known to k2t;"
            " save the model with a floating-point policy"
        )
    name = layer.policy.removeprefix("mixed_")
    return name if name in ("float16", "bfloat16", "float64") else "float32"


def no_rule(layer: Layer) -> str:
    what = "operation" if layer.kind.startswith("ops.") else "layer class"
    return (
        f"k2t has no rule for this {what}; override it with a PyTorch snippet on the Mapping page (or in the recipe), "
        "register a rule with --rules FILE, or rebuild the model without it"
        + (f" (k2t could not open it: {layer.note})" if layer.note else "")
    )


def check_fit(mapping: Mapping, call: Call) -> None:
    """Refuse layouts and transforms that do not fit the shapes at hand: an option contradicts them."""
    pairs = [
        *zip(mapping.wants, (slot.shape for slot in call.inputs)),
        *zip(mapping.gives, (tensor.shape for tensor in call.outputs)),
    ]
    if any(sorted(layout.perm) != list(range(len(shape))) for layout, shape in pairs):
        raise Unconvertible(
            "its options contradict the shapes of its tensors; correct them in Keras and save the model again"
        )
    for weight in mapping.weights:
        variable = call.layer.variable(weight.source) if weight.source else None
        chain_shape(weight.steps, variable.shape if variable else None)


def unreadable(error: Exception) -> str:
    """The problem of a layer whose rule came upon a value that it cannot compute with."""
    return (
        f"its options cannot be read ({named(error, 120)}); correct them in Keras and save the model again, or "
        "override the layer with a snippet"
    )
