"""Graph → Plan: a PyTorch counterpart, a layout and the weight transforms for every call, overrides applied."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from k2t_core.blocks import Use, fold
from k2t_core.cutting import cut
from k2t_core.emit.keywords import keywords, with_keyword
from k2t_core.errors import InputError, K2TError, OverrideError, UnsupportedError
from k2t_core.graph import Graph, Layer, Node
from k2t_core.layout import Layout, channels_first, identity
from k2t_core.loading import Source, load
from k2t_core.recipe import Recipe, read_recipe
from k2t_core.rules import registry
from k2t_core.rules.registry import ANY, FIRST, LAST, SELF, Call, Mapping, Module, Unconvertible, Weight
from k2t_core.tracing import Traced, trace, with_closed
from k2t_core.transforms import Cast, Permute, ReorderBlocks, Transform, chain_shape, describe

IGNORED = registry.Alternative("mask ignored", "every step counts, as if nothing were masked", "only where no step is ever masked, or where another program leaves the mask out")
GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3, "ConvLSTM1D": 4, "ConvLSTM2D": 4, "ConvLSTM3D": 4}  # blocks of a recurrent layer's kernels

# Names that generated code uses for itself.
RESERVED = {"self", "nn", "F", "torch", "math", "Path", "load_file", "load_model", "hidden", "cell", "states", "both", "forward_out", "backward_out", "forward_states", "backward_states", "_"} | set(keyword.kwlist)
# Attributes of nn.Module that a submodule must not hide.
MODULE_ATTRIBUTES = {"forward", "train", "eval", "training", "type", "half", "float", "double", "to", "cpu", "cuda", "apply", "modules", "parameters", "buffers", "children", "state_dict", "requires_grad_", "compile", "share_memory", "register_buffer", "dump_patches", "call_super_init", "zero_grad", "add_module", "bfloat16", "ipu", "xpu", "mtia", "to_empty", "extra_repr", "named_parameters", "named_modules", "named_children", "named_buffers", "get_parameter", "get_buffer", "get_submodule", "set_submodule", "get_extra_state", "set_extra_state", "load_state_dict", "T_destination", "register_module", "register_parameter"}


@dataclass(frozen=True, eq=False)
class PlannedNode:
    """A call with its counterpart. ``mapping`` is None where ``problem`` says why there is none."""

    node: Node
    mapping: Mapping | None
    problem: str | None
    inputs: tuple[Layout, ...]  # layouts of the inputs as they come
    outputs: tuple[Layout, ...]
    attr: str | None  # attribute of the module in its class
    child: PlannedScope | None = None
    choice: str | None = None

    @property
    def wants(self) -> tuple[Layout, ...]:
        return (self.mapping.wants if self.mapping else ()) or self.inputs


@dataclass(frozen=True, eq=False)
class PlannedScope:
    """A graph and the class it becomes."""

    graph: Graph
    class_name: str
    nodes: tuple[PlannedNode, ...]
    layouts: dict[str, Layout]
    uses: tuple[Use, ...] = ()  # runs of nodes that are instances of a block class

    @property
    def input_layouts(self) -> tuple[Layout, ...]:
        return tuple(self.layouts[t] for t in self.graph.inputs)

    @property
    def output_layouts(self) -> tuple[Layout, ...]:
        return tuple(self.layouts[t] for t in self.graph.outputs)

    @property
    def instances(self) -> list[Use]:
        """Every block in it, those within other blocks too."""
        return [inner for use in self.uses for inner in use.walk()]

    def walk(self, scope: str = "", prefix: str = "") -> Iterator[tuple[str, str, PlannedScope, PlannedNode]]:
        """(Keras scope, state_dict prefix, class, call) for every call; a nested class's calls follow its caller."""
        for planned in self.nodes:
            yield scope, prefix, self, planned
            if planned.child is not None:
                yield from planned.child.walk(f"{scope}{planned.node.id}/", f"{prefix}{planned.attr}.")

    def scopes(self) -> list[PlannedScope]:
        """The classes to write, inner ones first, each once."""
        found: dict[int, PlannedScope] = {}
        for planned in self.nodes:
            if planned.child is not None:
                found.update({id(s): s for s in planned.child.scopes()})
        found[id(self)] = self
        return list(found.values())


@dataclass(frozen=True)
class PlannedWeight:
    """A state_dict entry and where it comes from."""

    key: str
    layer: str
    source: str | None  # Keras variable path
    steps: tuple[Transform, ...]
    keras_shape: tuple[int, ...] | None
    shape: tuple[int, ...]

    @property
    def transform(self) -> str:
        return describe(self.steps)


@dataclass(frozen=True, eq=False)
class Plan:
    """How a model will be converted: data only; `emit` writes it, `table` shows it."""

    source: Source
    traced: Traced
    root: PlannedScope
    recipe: Recipe
    weights: tuple[PlannedWeight, ...]

    @cached_property
    def problems(self) -> list[str]:
        """Everything that keeps the model from being converted, one line for each class and reason."""
        layers: dict[tuple[str, str], dict[str, None]] = {}
        for _, _, _, planned in self.root.walk():
            if planned.problem:
                layer = planned.node.layer
                layers.setdefault((layer.kind, planned.problem), {})[layer.path] = None
        found = [f"layer{'s' if len(paths) > 1 else ''} {', '.join(map(repr, paths))} ({kind}): {problem}" for (kind, problem), paths in layers.items()]
        return [*_problems_of_inputs(self.root.graph, strings=not found), *found]

    def raise_for_problems(self) -> None:
        if self.problems:
            raise UnsupportedError(self.problems)

    def table(self):
        """The Mapping page's table: a pandas DataFrame, a row for each call of a Keras layer or operation."""
        from k2t_core.table import table

        return table(self)

    @cached_property
    def code(self):
        """The generated source with its map back to the layers: see `k2t_core.emit.source.Code`."""
        from k2t_core.emit.source import write_source

        self.raise_for_problems()
        return write_source(self)


def _problems_of_inputs(graph: Graph, strings: bool) -> list[str]:
    """Inputs that torch has no counterpart for. strings: string inputs too, which the layers that read them refuse better."""
    found = []
    for tensor in (graph.tensors[i] for i in graph.inputs):
        if tensor.form != "dense":
            found.append(f"input {tensor.id!r}: it is {tensor.form}, and the layers of torch take dense tensors; build the model with a dense Input and make its values dense in the data pipeline")
        elif strings and tensor.dtype == "string":
            found.append(f"input {tensor.id!r}: it holds strings, which torch has no tensors for; turn them into numbers in the data pipeline, and convert the model from there on")
    return found


def plan(model: Any, recipe: Any = None, *, allow_unsafe: bool = False, arriving: Sequence[Layout] | None = None) -> Plan:
    """Plan the conversion of a model file, a keras.Model, a loaded `Source` or a `Traced` graph.

    arriving: layouts for the inputs whose layers have no wish of their own; Keras's order without it.

    Unsupported layers do not raise here: they are rows of the table with their reason. `Plan.raise_for_problems` does.
    Raises OverrideError for a recipe that does not fit the model.
    """
    traced = model if isinstance(model, Traced) else trace(load(model, allow_unsafe=allow_unsafe))
    if traced.source.original is not None:
        _check_original(traced)
    recipe = read_recipe(recipe)
    if recipe.fingerprint not in (None, traced.source.fingerprint):
        raise OverrideError(f"the recipe was made for another model than {traced.source.name}, or the file has changed since; keep what still applies with --merge-recipe (k2t.merge in Python)")
    traced = cut(with_closed(traced, [o.layer for o in recipe.overrides if o.kind == "snippet"]), recipe.cuts)
    planner = _Planner(recipe)
    root = planner.scope(traced.graph, arriving, top=True)
    planner.check_recipe(root, traced)
    recipe = replace(recipe, fingerprint=traced.source.fingerprint)
    return Plan(traced.source, traced, root, recipe, tuple(_weights(root)))


def _check_original(traced: Traced) -> None:
    """A file of Keras 2: its layers compute in Keras 3 what they do in tf_keras. Raises UnsupportedError."""
    from k2t_core.reference import check_original
    from k2t_core.verification.inputs import random_batch  # which needs this module

    try:
        check_original(traced, random_batch(traced.graph, 2))
    except InputError:
        pass  # the model takes no random numbers; a verification with inputs of the user's own compares with tf_keras


def merge(recipe: Any, model: Any, *, allow_unsafe: bool = False) -> tuple[Recipe, list[str]]:
    """What of a recipe still applies to a model that it was not made for: (the recipe for this model, why the rest is left out).

    An override applies where the layer exists and the override is possible there: same alternatives, shapes that fit.
    """
    traced = model if isinstance(model, Traced) else trace(load(model, allow_unsafe=allow_unsafe))
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
        """Plan a graph. ``hints``: the layouts in which a nested model's inputs arrive, for inputs nobody has a wish for."""
        wanted = demands(graph)
        consumers = graph.consumers()
        layouts: dict[str, Layout] = {}
        for index, t in enumerate(graph.inputs):
            rank = len(graph.tensors[t].shape)
            hint = hints[index] if hints and index < len(hints) and hints[index].flat is None else identity(rank)
            layouts[t] = _layout_of(wanted.get(t), rank) or hint
        modules: dict[int, PlannedNode] = {}
        attrs = _Names(MODULE_ATTRIBUTES | set(keyword.kwlist))
        nodes = []
        for node in graph.nodes:
            planned = self.node(node, graph, layouts, wanted, consumers, modules, attrs)
            layouts.update(zip(node.outputs, planned.outputs))
            modules.setdefault(id(node.layer), planned)
            nodes.append(planned)
        name = self.class_name(graph.name)
        uses, nodes = fold(graph, nodes, self.class_name, attrs)
        return PlannedScope(graph, name, nodes, layouts, uses)

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
            wanted=tuple(_layout_of(wanted.get(t), len(graph.tensors[t].shape)) for t in node.outputs),
            choice=choice,
            absorbs_flat=all(_absorbs_flat(t, graph, consumers) for t in node.outputs),
            inner=first.child if first is not None else None,
            plan_child=self.scope,
        )
        child = None
        try:
            if self.recipe.get(layer.path, "snippet") is not None:
                mapping = _snippet(call, self.recipe.get(layer.path, "snippet"))
            elif layer.graph is not None:
                child = first.child if first is not None else self.scope(layer.graph, arriving)
                mapping = _nested(call, child)
            elif rule is None:
                raise Unconvertible(_no_rule(layer))
            else:
                call.refuse(call.arguments.get("training") is True, "it is called with training=True; k2t converts inference, so build the model without it")
                mapping, call = _ruled(rule, call)
                mapping = _in_dtype(_checked(mapping, call), layer)
                child = call.inner
            mapping = self.overridden(mapping, call)
            if first is not None and first.mapping is not None and (first.mapping.module, first.mapping.weights) != (mapping.module, mapping.weights):
                raise Unconvertible("it is shared, and its calls would need different modules; give each call a layer of its own")
        except Unconvertible as reason:
            outputs = tuple(identity(len(graph.tensors[t].shape)) for t in node.outputs)
            return PlannedNode(node, None, str(reason), arriving, outputs, None, None, choice)
        outputs = mapping.gives or tuple(identity(len(graph.tensors[t].shape)) for t in node.outputs)
        attr = None
        if mapping.module is not None or child is not None:
            attr = first.attr if first is not None and first.attr else attrs.new(layer.name)
        return PlannedNode(node, mapping, None, arriving, outputs, attr, child, choice)

    def overridden(self, mapping: Mapping, call: Call) -> Mapping:
        """The mapping with the recipe's arguments and permutations, each checked for shape."""
        layer = call.layer
        names = [a.name for a in mapping.alternatives]
        if call.choice is not None and call.choice not in names and call.choice != "default":
            raise OverrideError(f"layer {layer.path!r}: no alternative {call.choice!r}; it has {', '.join(['default', *names])}")
        for override in self.recipe.of(layer.path):
            if override.kind == "arguments":
                mapping = _with_arguments(mapping, override.value, layer)
            elif override.kind == "weights":
                mapping = replace(mapping, weights=_fed(mapping.weights, override.value, call))
            elif override.kind == "gates":
                mapping = replace(mapping, weights=_in_gate_order(mapping.weights, override.value, call))
            elif override.kind == "permutation":
                mapping = replace(mapping, weights=_permuted(mapping.weights, override.value, call))
        return mapping

    def class_name(self, name: str) -> str:
        from k2t_core.emit.source import helper_names

        base = "".join(part[:1].upper() + part[1:] for part in re.split(r"\W+|_", name) if part) or "Model"
        base = f"Model{base}" if base[0].isdigit() else base
        result, k = base, 2
        while result in self.class_names or result in RESERVED or result in helper_names():
            result, k = f"{base}{k}", k + 1
        self.class_names.add(result)
        return result

    def check_recipe(self, root: PlannedScope, traced: Traced) -> None:
        paths = {planned.node.layer.path for _, _, _, planned in root.walk()} | {c.layer.path for c in traced.cuts}
        for override in self.recipe.overrides:
            if override.layer not in paths:
                raise OverrideError(f"the recipe overrides layer {override.layer!r}, which this model does not have{' any more: it is cut off' if traced.cuts else ''}")


def demands(graph: Graph) -> dict[str, str | None]:
    """For each tensor, the order of axes that most of its consumers want: FIRST, LAST, or None for no wish."""
    votes: dict[str, list[str]] = {t: [] for t in graph.tensors}
    for node in reversed(graph.nodes):
        rule = registry.find(node.layer.kind)
        inner = None
        if node.layer.graph is not None:
            inner_wishes = demands(node.layer.graph)
            inner = [inner_wishes.get(t) for t in node.layer.graph.inputs]
        ranks = {len(graph.tensors[t].shape) for t in node.outputs}
        for index, t in enumerate(node.inputs):
            if inner is not None:
                wish = inner[index] if index < len(inner) else None
            else:
                wish = rule.demand_of(node.layer) if rule else LAST
            if wish == ANY:
                wish = _majority([v for out in node.outputs for v in votes[out]]) if len(graph.tensors[t].shape) in ranks else None
            if wish is not None:
                votes[t].append(wish)
    return {t: _majority(found) for t, found in votes.items()}


def _majority(votes: list[str]) -> str | None:
    if not votes:
        return None
    return FIRST if votes.count(FIRST) >= votes.count(LAST) else LAST


def _layout_of(wish: str | None, rank: int) -> Layout | None:
    if wish is None:
        return None
    return channels_first(rank) if wish == FIRST and rank >= 3 else identity(rank)


def _absorbs_flat(tensor: str, graph: Graph, consumers: dict[str, list[Node]]) -> bool:
    """Whether everything that reads a flattened tensor can take it in torch's order (Dense re-orders its kernel)."""
    if tensor in graph.outputs or not consumers[tensor]:
        return False
    for node in consumers[tensor]:
        rule = registry.find(node.layer.kind)
        if rule is None or rule.flat is None or len(node.inputs) != 1:
            return False
        if rule.flat == "absorb" and sum(n.layer is node.layer for n in graph.nodes) > 1:
            return False
        if rule.flat == "pass" and not all(_absorbs_flat(t, graph, consumers) for t in node.outputs):
            return False
    return True


def _nested(call: Call, child: PlannedScope) -> Mapping:
    return Mapping(
        forward=f"{SELF}({', '.join(map(str, call.inputs))})",
        wants=child.input_layouts,
        gives=child.output_layouts,
        module=Module(child.class_name),
        why="A nested model becomes a class of its own" + ("; calls share one instance and its weights." if sum(n.layer is call.layer for n in call.graph.nodes) > 1 else "."),
        keras=f"{call.layer.name}(inputs)",
        torch=f"{child.class_name}()",
    )


def _snippet(call: Call, code: str) -> Mapping:
    """The user's PyTorch for a layer: inputs ``x``/``x0``… in Keras's axis order, its variables as ``w['name']``."""
    names = {"x": str(call.x)} if call.inputs else {}
    names.update({f"x{i}": str(slot) for i, slot in enumerate(call.inputs)})
    text = code.strip()
    try:
        compile(text, "snippet", "eval")
    except SyntaxError as error:
        raise OverrideError(f"layer {call.layer.path!r}: the snippet is not one Python expression ({error.msg}, line {error.lineno})") from error
    text = " ".join(text.split("\n"))
    variables = {v.name.replace("/", "_"): v for v in call.layer.variables}
    text = re.sub(r"\bw\b(?=\[)", SELF, text)
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.]){name}\b", names[name], text)
    parameters = {name: Module("nn.Parameter", {"data": Module("torch.empty", {"size": v.shape}, 1)}, 1) for name, v in variables.items()}
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


def _ruled(rule: registry.Rule, call: Call) -> tuple[Mapping, Call]:
    """What the rule makes of a call, and the call; where a mask changes it, with the alternative that ignores the mask."""
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


def _with_arguments(mapping: Mapping, values: dict[str, Any], layer: Layer) -> Mapping:
    """The mapping with other arguments: of a function in its code where one has them, else of its module's constructor."""
    texts = [mapping.forward] if isinstance(mapping.forward, str) else list(mapping.forward)
    for name, value in values.items():
        changed = [with_keyword(text, name, value) for text in texts]
        if mapping.module is not None and (name in mapping.module.args or changed == texts):
            mapping = replace(mapping, module=replace(mapping.module, args={**mapping.module.args, name: value}))
        elif changed == texts and value not in [v for text in texts for v in keywords(text).get(name, ())]:
            code = re.sub("⟦(\\d+)⟧", "x", "; ".join(texts)).replace(SELF, "self")
            raise OverrideError(f"layer {layer.path!r}: becomes {code}, which has no constructor arguments to override, and no argument {name!r}")
        else:
            texts = changed
    return replace(mapping, forward=texts[0] if isinstance(mapping.forward, str) else tuple(texts))


def _fed(weights: tuple[Weight, ...], sources: dict[str, str], call: Call) -> tuple[Weight, ...]:
    """The weights with other Keras variables behind them, each checked for shape."""
    unknown = sorted(set(sources) - {w.key for w in weights if w.source})
    if unknown:
        raise OverrideError(f"layer {call.layer.path!r}: no weight {unknown[0]!r} that a Keras variable feeds; it has {', '.join(w.key for w in weights if w.source) or 'none'}")
    result = []
    for weight in weights:
        if weight.key in sources:
            variable = call.layer.variable(sources[weight.key])
            if variable is None:
                raise OverrideError(f"layer {call.layer.path!r}: no variable {sources[weight.key]!r}; it has {', '.join(v.name for v in call.layer.all_variables())}")
            before = call.variable(weight.source).shape
            if variable.shape != before:
                raise OverrideError(f"layer {call.layer.path!r}, {weight.key}: {variable.name} has shape {variable.shape}, and {weight.source} {before}")
            weight = replace(weight, source=variable.name)
        result.append(weight)
    lost = {call.variable(w.source).path for w in weights if w.source} - {call.variable(w.source).path for w in result if w.source}
    if lost:
        raise OverrideError(f"layer {call.layer.path!r}: {min(lost)} would be lost; say which weight it feeds instead")
    return tuple(result)


def _in_gate_order(weights: tuple[Weight, ...], order: Sequence[int], call: Call) -> tuple[Weight, ...]:
    """The weights with the blocks of their gates, as they stand, in another order."""
    count = GATES.get(call.layer.kind) or next((GATES[c.kind] for c in call.layer.children.values() if c.kind in GATES), None)
    if count is None:
        raise OverrideError(f"layer {call.layer.path!r}: {call.layer.kind} has no gates")
    if sorted(order) != list(range(count)):
        raise OverrideError(f"layer {call.layer.path!r}: the order of its gates {tuple(order)} is no order of {count}")
    step = ReorderBlocks(0, tuple(order), ", ".join(map(str, range(count))), ", ".join(map(str, order)))
    return tuple(replace(w, steps=(*w.steps, step)) if w.source else w for w in weights)


def _permuted(weights: tuple[Weight, ...], value: dict, call: Call) -> tuple[Weight, ...]:
    key, axes = value.get("key"), tuple(value.get("axes", ()))
    if key not in {w.key for w in weights}:
        raise OverrideError(f"layer {call.layer.path!r}: no weight {key!r}; it has {', '.join(w.key for w in weights) or 'none'}")
    result = []
    for weight in weights:
        if weight.key == key:
            shape = call.variable(weight.source).shape if weight.source else None
            at = next((i for i, step in enumerate(weight.steps) if isinstance(step, Permute)), None)
            steps = (*weight.steps, Permute(axes)) if at is None else (*weight.steps[:at], Permute(axes), *weight.steps[at + 1 :])
            before, after = chain_shape(weight.steps, shape), None
            try:
                after = chain_shape(steps, shape)
            except K2TError as error:
                raise OverrideError(f"layer {call.layer.path!r}, {key}: {error}") from error
            if before != after:
                raise OverrideError(f"layer {call.layer.path!r}, {key}: permutation {axes} gives shape {after}, but the module needs {before}")
            weight = replace(weight, steps=steps)
        result.append(weight)
    return tuple(result)


def _checked(mapping: Mapping, call: Call) -> Mapping:
    """Refuse what the rule left unread, and weights that the mapping forgot."""
    unread = call.unread()
    if unread:
        raise Unconvertible(f"its option {', '.join(unread)} is not known to k2t; a newer Keras may have added it, so update k2t or override the layer with a snippet")
    used = {call.variable(w.source).path for w in mapping.weights if w.source}
    lost = [v.path for v in call.layer.all_variables() if v.path not in used and not v.name.endswith(("count", "seed_generator_state", "vector_u"))]
    if any("/lora_" in path for path in lost):
        raise Unconvertible("it carries a LoRA update beside its weights; save and load the model in Keras, which merges the two, and turn LoRA off")
    if lost and call.inner is None:
        raise Unconvertible(f"its variables {', '.join(lost)} have no place in the PyTorch module")
    return mapping


def _in_dtype(mapping: Mapping, layer: Layer) -> Mapping:
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
    if isinstance(policy, dict):
        if policy.get("class_name") != "DTypePolicy":
            raise Unconvertible(f"its dtype policy {policy.get('class_name')} is not known to k2t; save the model with a floating-point policy")
        policy = policy["config"]["name"]
    name = str(policy).removeprefix("mixed_")
    return name if name in ("float16", "bfloat16", "float64") else "float32"


def _no_rule(layer: Layer) -> str:
    what = "operation" if layer.kind.startswith("ops.") else "layer class"
    return f"k2t has no rule for this {what}; override it with a PyTorch snippet on the Mapping page (or in the recipe), register a rule with --rules FILE, or rebuild the model without it" + (f" (k2t could not open it: {layer.note})" if layer.note else "")


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
            yield PlannedWeight(key, layer.path, variable.path if variable else None, weight.steps, shape, chain_shape(weight.steps, shape))


class _Names:
    """Python identifiers from layer names, each given once."""

    def __init__(self, reserved: set[str]):
        self.reserved = frozenset(reserved)
        self.taken = set(reserved)

    def new(self, name: str) -> str:
        base = re.sub(r"\W", "_", name)
        base = f"layer_{base}" if not base or base[0].isdigit() or base.startswith("__") else base
        result, k = base, 2
        if result in self.taken:
            result = f"{base}_layer" if base in self.reserved else f"{base}_{k}"
        while result in self.taken:
            result, k = f"{base}_{k}", k + 1
        self.taken.add(result)
        return result

