"""Graph → Plan: a PyTorch counterpart, a layout and the weight transforms for every call, overrides applied."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from k2t_core.errors import K2TError, OverrideError
from k2t_core.graph import Graph
from k2t_core.keras_side.cutting import cut
from k2t_core.keras_side.reading import read
from k2t_core.keras_side.traced import Traced
from k2t_core.keras_side.tracing import with_closed
from k2t_core.layout import Layout, identity
from k2t_core.names import unused
from k2t_core.planning.checks import check_fit, checked, in_dtype, no_rule, unreadable
from k2t_core.planning.folding import fold
from k2t_core.planning.helper_sources import helper_names
from k2t_core.planning.layouts import absorbs_flat, demands, layout_of
from k2t_core.planning.names import MODULE_ATTRIBUTES, RESERVED, Names, normal
from k2t_core.planning.overrides import from_snippet, overridden
from k2t_core.planning.plan import Plan, PlannedNode, PlannedScope, PlannedWeight
from k2t_core.recipe import Recipe, read_recipe
from k2t_core.rules import registry
from k2t_core.rules.registry import SELF, Call, Mapping, Module, Unconvertible
from k2t_core.transforms import chain_shape

IGNORED = registry.Alternative(
    "mask ignored",
    "every step counts, as if nothing were masked",
    "only where no step is ever masked, or where another program leaves the mask out",
)


def plan(
    model: Any, recipe: Any = None, *, allow_unsafe: bool = False, arriving: Sequence[Layout] | None = None
) -> Plan:
    """Plan the conversion of a model file, a keras.Model, a loaded `Source` or a `Traced` graph.

    arriving: layouts for the inputs whose layers have no wish of their own; Keras's order without it.

    Unsupported layers do not raise here: they are rows of the table with their reason. `Plan.raise_for_problems` does.
    Raises OverrideError for a recipe that does not fit the model.
    """
    traced = read(model, allow_unsafe=allow_unsafe)
    recipe = read_recipe(recipe)
    if recipe.fingerprint not in (None, traced.source.fingerprint):
        raise OverrideError(
            f"the recipe was made for another model than {traced.source.name}, or the file has changed since; "
            "keep what still applies with --merge-recipe (k2t.merge in Python)"
        )
    traced = cut(with_closed(traced, [o.layer for o in recipe.overrides if o.kind == "snippet"]), recipe.cuts)
    planner = _Planner(recipe)
    root = planner.scope(traced.graph, arriving, top=True)
    planner.check_recipe(root, traced)
    recipe = replace(recipe, fingerprint=traced.source.fingerprint)
    return Plan(traced.source, traced, root, recipe, tuple(_weights(root)))


def merge(recipe: Any, model: Any, *, allow_unsafe: bool = False) -> tuple[Recipe, list[str]]:
    """What of a recipe still applies to a model that it was not made for.

    Returns (the recipe for this model, why the rest is left out).
    An override applies where the layer exists and the override is possible there: same alternatives, shapes that fit.
    """
    traced = read(model, allow_unsafe=allow_unsafe)
    kept, left = Recipe(), []
    for override in read_recipe(recipe).overrides:
        try:
            plan(traced, kept.with_override(override))
        except OverrideError as error:
            left.append(str(error))
        else:
            kept = kept.with_override(override)
    return replace(kept, fingerprint=traced.source.fingerprint), left


@dataclass(eq=False)
class _Planner:
    recipe: Recipe
    class_names: set[str] = field(default_factory=set)

    def scope(self, graph: Graph, hints: Sequence[Layout] | None, top: bool = False) -> PlannedScope:
        """Plan a graph.

        hints: the layouts in which a nested model's inputs arrive, for inputs that nobody has a wish for.
        """
        wanted = demands(graph)
        consumers = graph.consumers()
        layouts: dict[str, Layout] = {}
        for index, t in enumerate(graph.inputs):
            rank = len(graph.tensors[t].shape)
            hint = hints[index] if hints and index < len(hints) and hints[index].flat is None else identity(rank)
            layouts[t] = layout_of(wanted.get(t), rank) or hint
        modules: dict[int, PlannedNode] = {}
        attrs = Names(MODULE_ATTRIBUTES | set(keyword.kwlist))
        nodes = []
        for node in graph.nodes:
            planned = self.node(node, graph, layouts, wanted, consumers, modules, attrs)
            layouts.update(zip(node.outputs, planned.outputs))
            modules.setdefault(id(node.layer), planned)
            nodes.append(planned)
        name = self.class_name(graph.name)
        uses, moved = fold(graph, nodes, self.class_name, attrs)
        return PlannedScope(graph, name, moved, layouts, uses)

    def node(self, node, graph, layouts, wanted, consumers, modules, attrs) -> PlannedNode:
        layer = node.layer
        arriving = tuple(layouts[t] for t in node.inputs)
        rule = registry.find(layer.kind)
        choice = self.recipe.get(layer.path, "alternative")
        first = modules.get(id(layer))
        call = Call(
            node,
            graph,
            arriving,
            wanted=tuple(layout_of(wanted.get(t), len(graph.tensors[t].shape)) for t in node.outputs),
            choice=choice,
            absorbs_flat=all(absorbs_flat(t, graph, consumers) for t in node.outputs),
        )
        child = None
        try:
            if self.recipe.get(layer.path, "snippet") is not None:
                mapping = from_snippet(call, self.recipe.get(layer.path, "snippet"))
            elif layer.graph is not None:
                child = first.child if first is not None else self.scope(layer.graph, arriving)
                mapping = _nested(call, child)
            elif rule is None:
                raise Unconvertible(no_rule(layer))
            else:
                call.refuse(
                    call.arguments.get("training") is True,
                    "it is called with training=True; k2t converts inference, so build the model without it",
                )
                mapping, call = _ruled(rule, call)
                mapping = in_dtype(checked(mapping, call), layer)
                if mapping.nested is not None:
                    known = first.child if first is not None else None
                    child = known or self.scope(mapping.nested.graph, mapping.nested.arriving)
                    mapping = _around(mapping, mapping.nested, child)
            mapping = overridden(mapping, self.recipe, call)
            if (
                first is not None
                and first.mapping is not None
                and (first.mapping.module, first.mapping.weights) != (mapping.module, mapping.weights)
            ):
                raise Unconvertible(
                    "it is shared, and its calls would need different modules; give each call a layer of its own"
                )
            check_fit(mapping, call)
        except K2TError:
            raise
        except Exception as error:  # an option that makes no sense to a rule (an axis of words) is no fault of k2t's
            problem = str(error) if isinstance(error, Unconvertible) else unreadable(error)
            if layer.note and layer.note not in problem:  # a rule knows it, and it was to be opened all the same
                problem = f"{problem} (it could not be opened: {layer.note})"
            outputs = tuple(identity(len(graph.tensors[t].shape)) for t in node.outputs)
            return PlannedNode(node, None, problem, arriving, outputs, None, None, choice)
        outputs = mapping.gives or tuple(identity(len(graph.tensors[t].shape)) for t in node.outputs)
        attr = None
        if mapping.module is not None or child is not None:
            attr = first.attr if first is not None and first.attr else attrs.new(layer.name)
        return PlannedNode(node, mapping, None, arriving, outputs, attr, child, choice)

    def class_name(self, name: str) -> str:
        """A free name for a class, near the one asked for."""
        base = "".join(part[:1].upper() + part[1:] for part in re.split(r"_+", normal(name)) if part) or "Model"
        base = f"Model{base}" if base[0].isdigit() else base
        result = unused(base, self.class_names | RESERVED | helper_names(), join="")
        self.class_names.add(result)
        return result

    def check_recipe(self, root: PlannedScope, traced: Traced) -> None:
        paths = {planned.node.layer.path for _, _, _, planned in root.walk()} | {c.layer.path for c in traced.cuts}
        for override in self.recipe.overrides:
            if override.layer not in paths:
                cut_off = " any more: it is cut off" if traced.cuts else ""
                raise OverrideError(
                    f"the recipe overrides layer {override.layer!r}, which this model does not have{cut_off}"
                )


def _around(mapping: Mapping, nested: registry.Nested, child: PlannedScope) -> Mapping:
    """The mapping of a layer around a graph, with the class that the graph has become."""
    return replace(
        mapping,
        module=Module(child.class_name),
        wants=(nested.outer(child.input_layouts[0]), *mapping.wants[1:]),
        gives=tuple(map(nested.outer, child.output_layouts)),
    )


def _nested(call: Call, child: PlannedScope) -> Mapping:
    return Mapping(
        forward=f"{SELF}({', '.join(map(str, call.inputs))})",
        wants=child.input_layouts,
        gives=child.output_layouts,
        module=Module(child.class_name),
        why="A nested model becomes a class of its own"
        + (
            "; calls share one instance and its weights."
            if sum(n.layer is call.layer for n in call.graph.nodes) > 1
            else "."
        ),
        keras=f"{call.layer.name}(inputs)",
        torch=f"{child.class_name}()",
    )


def _ruled(rule: registry.Rule, call: Call) -> tuple[Mapping, Call]:
    """What the rule makes of a call, and the call.

    Where a mask changes it, the mapping has the alternative that ignores the mask.
    """
    masks = [name for name in call.arguments if name.endswith("mask") or name == "masks"]
    if not masks or call.layer.children:  # a wrapper plans what it wraps with the call
        return rule.function(call), call
    bare = replace(call, read_options=set(), read_arguments=set())
    for name in masks:
        del bare.arguments[name]
    if call.choice == IGNORED.name:
        mapping = rule.function(bare)
        return replace(mapping, alternatives=(*mapping.alternatives, IGNORED)), bare
    mapping = rule.function(call)
    try:
        without = rule.function(bare)
    except Unconvertible:
        return mapping, call
    masked = (without.forward, without.module) != (mapping.forward, mapping.module)
    return replace(mapping, alternatives=(*mapping.alternatives, IGNORED)) if masked else mapping, call


def _weights(root: PlannedScope) -> Iterator[PlannedWeight]:
    seen: set[str] = set()
    for _, prefix, _, planned in root.walk():
        if planned.mapping is None or planned.attr is None:
            continue
        layer = planned.node.layer
        for weight in planned.mapping.weights:
            key = f"{prefix}{planned.attr}.{weight.key}".removesuffix(".")
            if key in seen:
                continue
            seen.add(key)
            variable = layer.variable(weight.source) if weight.source else None
            shape = variable.shape if variable else None
            yield PlannedWeight(
                key,
                layer.path,
                variable.path if variable else None,
                weight.steps,
                shape,
                chain_shape(weight.steps, shape),
            )
