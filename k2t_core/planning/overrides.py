"""A recipe's overrides, applied to the mapping of one call, each checked for shape.

A kind of override is an entry of `APPLIED` here and of `recipe.KINDS`, which says how its values look and read. Three
kinds act before there is a mapping: an alternative chooses within the rule, a snippet stands in its place
(`from_snippet`), and a cut makes another model (`keras_side.cutting`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from k2t_core.errors import K2TError, OverrideError
from k2t_core.layout import identity
from k2t_core.permissions import permissions
from k2t_core.recipe import Recipe
from k2t_core.rules import registry
from k2t_core.rules.registry import SELF, Call, Mapping, Module, Weight
from k2t_core.rules.slots import formula, keywords, with_keyword, with_slots
from k2t_core.transforms import Permute, ReorderBlocks, chain_shape


def from_snippet(call: Call, code: str) -> Mapping:
    """The user's PyTorch for a layer: inputs ``x``/``x0``… in Keras's axis order, its variables as ``w['name']``."""
    permissions().need("snippets", f"layer {call.layer.path!r}: PyTorch code of a user's does not run")
    variables = {v.name.replace("/", "_"): v for v in call.layer.variables}
    names = {f"x{i}": str(slot) for i, slot in enumerate(call.inputs)}
    names |= {"x": names["x0"]} if names else {}
    names |= {"w": SELF} if variables else {}
    text = code.strip()
    try:
        compile(text, "snippet", "eval")
        text = with_slots(" ".join(text.split("\n")), names)
    except SyntaxError as error:
        raise OverrideError(
            f"layer {call.layer.path!r}: the snippet is not one Python expression ({error.msg}, line {error.lineno})"
        ) from error
    except K2TError as error:
        raise OverrideError(f"layer {call.layer.path!r}: the snippet cannot be put on one line: {error}") from error
    parameters = {
        name: Module("nn.Parameter", {"data": Module("torch.empty", {"size": v.shape}, 1)}, 1)
        for name, v in variables.items()
    }
    module = Module("nn.ParameterDict", {"parameters": parameters}, 1) if variables else None
    return Mapping(
        forward=text,
        module=module,
        weights=tuple(Weight(name, v.name) for name, v in variables.items()),
        wants=tuple(identity(slot.rank) for slot in call.inputs),
        status=registry.AMBIGUOUS,
        why="Your snippet: k2t runs it as it is and verifies it against Keras.",
        torch=code.strip(),
    )


def overridden(mapping: Mapping, recipe: Recipe, call: Call) -> Mapping:
    """The mapping of a call with what the recipe says of its layer. Raises OverrideError for what is impossible."""
    names = ["default", *(alternative.name for alternative in mapping.alternatives)]
    if call.choice is not None and call.choice not in names:
        raise OverrideError(f"layer {call.layer.path!r}: no alternative {call.choice!r}; it has {', '.join(names)}")
    for override in recipe.of(call.layer.path):
        if override.kind in APPLIED:
            mapping = APPLIED[override.kind](mapping, override.value, call)
    return mapping


def _with_arguments(mapping: Mapping, values: dict[str, Any], call: Call) -> Mapping:
    """Other arguments: of a function in the mapping's code where one has them, else of its module's constructor."""
    texts = [mapping.forward] if isinstance(mapping.forward, str) else list(mapping.forward)
    for name, value in values.items():
        changed = [with_keyword(text, name, value) for text in texts]
        known = changed != texts or value in [v for text in texts for v in keywords(text).get(name, ())]
        if mapping.module is not None and (name in mapping.module.args or not known):
            mapping = replace(mapping, module=replace(mapping.module, args={**mapping.module.args, name: value}))
        elif not known:
            raise OverrideError(
                f"layer {call.layer.path!r}: becomes {formula(mapping.forward)}, "
                f"which has no constructor arguments to override, and no argument {name!r}"
            )
        else:
            texts = changed
    return replace(mapping, forward=texts[0] if isinstance(mapping.forward, str) else tuple(texts))


def _fed(mapping: Mapping, sources: dict[str, str], call: Call) -> Mapping:
    """Other Keras variables behind the weights, each checked for shape."""
    weights = mapping.weights
    unknown = sorted(set(sources) - {w.key for w in weights if w.source})
    if unknown:
        known = ", ".join(w.key for w in weights if w.source) or "none"
        raise OverrideError(
            f"layer {call.layer.path!r}: no weight {unknown[0]!r} that a Keras variable feeds; it has {known}"
        )
    result = []
    for weight in weights:
        if weight.key in sources:
            variable = call.layer.variable(sources[weight.key])
            if variable is None:
                known = ", ".join(v.name for v in call.layer.all_variables())
                raise OverrideError(f"layer {call.layer.path!r}: no variable {sources[weight.key]!r}; it has {known}")
            assert weight.source is not None  # as of all that a variable feeds
            before = call.variable(weight.source).shape
            if variable.shape != before:
                raise OverrideError(
                    f"layer {call.layer.path!r}, {weight.key}: {variable.name} has shape {variable.shape}, "
                    f"and {weight.source} {before}"
                )
            weight = replace(weight, source=variable.name)
        result.append(weight)
    lost = {call.variable(w.source).path for w in weights if w.source} - {
        call.variable(w.source).path for w in result if w.source
    }
    if lost:
        raise OverrideError(f"layer {call.layer.path!r}: {min(lost)} would be lost; say which weight it feeds instead")
    return replace(mapping, weights=tuple(result))


def _in_gate_order(mapping: Mapping, order: Sequence[int], call: Call) -> Mapping:
    """The blocks of the weights' gates, as they stand, in another order."""
    gates = registry.gates_of(call.layer)
    if gates is None:
        raise OverrideError(f"layer {call.layer.path!r}: {call.layer.kind} has no gates")
    count = len(gates.keras)
    if sorted(order) != list(range(count)):
        raise OverrideError(f"layer {call.layer.path!r}: the order of its gates {tuple(order)} is no order of {count}")
    step = ReorderBlocks(0, tuple(order), ", ".join(map(str, range(count))), ", ".join(map(str, order)))
    return replace(
        mapping, weights=tuple(replace(w, steps=(*w.steps, step)) if w.source else w for w in mapping.weights)
    )


def _in_axis_order(mapping: Mapping, value: dict[str, Any], call: Call) -> Mapping:
    """Another transposition of one weight, that gives the same shape."""
    weights = mapping.weights
    key, axes = value.get("key"), tuple(value.get("axes", ()))
    if key not in {w.key for w in weights}:
        raise OverrideError(
            f"layer {call.layer.path!r}: no weight {key!r}; it has {', '.join(w.key for w in weights) or 'none'}"
        )
    result = []
    for weight in weights:
        if weight.key == key:
            shape = call.variable(weight.source).shape if weight.source else None
            at = next((i for i, step in enumerate(weight.steps) if isinstance(step, Permute)), None)
            steps = (
                (*weight.steps, Permute(axes))
                if at is None
                else (*weight.steps[:at], Permute(axes), *weight.steps[at + 1 :])
            )
            before, after = chain_shape(weight.steps, shape), None
            try:
                after = chain_shape(steps, shape)
            except K2TError as error:
                raise OverrideError(f"layer {call.layer.path!r}, {key}: {error}") from error
            if before != after:
                raise OverrideError(
                    f"layer {call.layer.path!r}, {key}: permutation {axes} gives shape {after}, "
                    f"but the module needs {before}"
                )
            weight = replace(weight, steps=steps)
        result.append(weight)
    return replace(mapping, weights=tuple(result))


# Kind of override → (mapping, value, call) ↦ the mapping with it. Each raises OverrideError where it is impossible.
APPLIED: dict[str, Callable[[Mapping, Any, Call], Mapping]] = {
    "arguments": _with_arguments,
    "weights": _fed,
    "gates": _in_gate_order,
    "permutation": _in_axis_order,
}


def permutable(plan: Any, layer: str) -> dict[str, Any]:
    """The weights of a layer by the key that a permutation override names: ``weight`` → its `PlannedWeight`."""
    found: dict[str, Any] = {}
    by_key = {weight.key: weight for weight in plan.weights if weight.layer == layer}
    for _, prefix, _, planned in plan.root.walk():
        if planned.node.layer.path == layer and planned.mapping is not None and planned.attr is not None:
            for weight in planned.mapping.weights:
                full = by_key.get(f"{prefix}{planned.attr}.{weight.key}")
                if full is not None and full.source is not None:
                    found.setdefault(weight.key, full)
    return found


def permutation_of(weight: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(shape that arrives at a weight's permutation, its axes): the identity where the weight has none."""
    from k2t_core.transforms import Permute, chain_shape

    at = next((i for i, step in enumerate(weight.steps) if isinstance(step, Permute)), None)
    if at is None:
        shape = chain_shape(weight.steps, weight.keras_shape)
        return shape, tuple(range(len(shape)))
    return chain_shape(weight.steps[:at], weight.keras_shape), tuple(weight.steps[at].axes)


def parse_axes(text: str) -> tuple[int, ...]:
    """``"1, 0"`` or ``"(1 0)"`` → ``(1, 0)``. Raises OverrideError for anything but whole numbers."""
    parts = [part for part in re.split(r"[\s,;()\[\]]+", text) if part]
    if not parts or not all(re.fullmatch(r"\d+", part) for part in parts):
        raise OverrideError(f"a permutation is a list of axes such as 1, 0; not {text!r}")
    return tuple(map(int, parts))


def permuted_shape(shape: Iterable[int], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape after a transposition. Raises OverrideError where ``axes`` is not a permutation of its axes."""
    shape = tuple(shape)
    if sorted(axes) != list(range(len(shape))):
        raise OverrideError(f"{axes} is not a permutation of the axes 0 to {len(shape) - 1} of shape {shape}")
    return tuple(shape[axis] for axis in axes)
