"""The plan of a conversion as data, and its mapping table: a row for each call of a Keras layer or operation.

Long because the table is read off the plan's own fields, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from k2t_core.errors import UnsupportedError
from k2t_core.graph import Graph, Node, Shape
from k2t_core.keras_side.loading import Source
from k2t_core.keras_side.traced import Cut, Traced
from k2t_core.layout import Layout, identity, shape_text
from k2t_core.planning.blocks import Use
from k2t_core.planning.constructors import module_source
from k2t_core.recipe import Override, Recipe
from k2t_core.rules.registry import CUT_OFF, EXACT, UNSUPPORTED, Alternative, Mapping
from k2t_core.rules.slots import formula
from k2t_core.transforms import Transform, describe

if TYPE_CHECKING:
    import pandas as pd


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
    def mapped(self) -> Mapping:
        """The mapping of a call that has one, as all have in a plan without problems."""
        assert self.mapping is not None, self.problem
        return self.mapping

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
        found = [
            f"layer{'s' if len(paths) > 1 else ''} {', '.join(map(repr, paths))} ({kind}): {problem}"
            for (kind, problem), paths in layers.items()
        ]
        return [*_problems_of_inputs(self.root.graph, strings=not found), *found]

    def raise_for_problems(self) -> None:
        if self.problems:
            raise UnsupportedError(self.problems)

    def table(self):
        """The Mapping page's table: a pandas DataFrame, a row for each call of a Keras layer or operation."""

        return table(self)


def _problems_of_inputs(graph: Graph, strings: bool) -> list[str]:
    """Inputs that torch has no counterpart for.

    strings: string inputs too, which the layers that read them refuse better.
    """
    found = []
    for tensor in (graph.tensors[i] for i in graph.inputs):
        if tensor.form != "dense":
            found.append(
                f"input {tensor.id!r}: it is {tensor.form}, and the layers of torch take dense tensors; "
                "build the model with a dense Input and make its values dense in the data pipeline"
            )
        elif strings and tensor.dtype == "string":
            found.append(
                f"input {tensor.id!r}: it holds strings, which torch has no tensors for; "
                "turn them into numbers in the data pipeline, and convert the model from there on"
            )
    return found


@dataclass(frozen=True)
class Row:
    """One row. ``layer`` is the path that recipes and reports use; ``call`` tells the calls of a shared layer apart."""

    call: str
    layer: str
    type: str
    keras_shape: str
    keras_layout: str
    module: str
    torch_shape: str
    torch_layout: str
    weights: tuple[PlannedWeight, ...]
    status: str
    why: str
    keras_formula: str
    torch_formula: str
    alternatives: tuple[Alternative, ...]
    choice: str | None
    overrides: tuple[Override, ...]
    arguments: dict[str, object]


# The fields that say what a call is on both sides, as every listing of rows begins.
BOTH_SIDES = ("call", "layer", "type", "keras_shape", "keras_layout", "module", "torch_shape", "torch_layout")


def rows(plan: Plan) -> list[Row]:
    """Layers that are cut off, the inputs, then every call in order of execution.

    The calls inside a nested model follow it, once.
    """
    weights: dict[str, list[PlannedWeight]] = {}
    for weight in plan.weights:
        weights.setdefault(weight.layer, []).append(weight)
    found = [_cut_row(plan, cut) for cut in plan.traced.cuts] + [
        _input_row(plan.root, index) for index in range(len(plan.root.graph.inputs))
    ]
    seen: set[int] = set()
    for scope, _, owner, planned in plan.root.walk():
        if id(planned) not in seen:
            seen.add(id(planned))
            found.append(_row(plan, scope, owner, planned, weights.get(planned.node.layer.path, [])))
    return found


def _input_row(scope: PlannedScope, index: int) -> Row:
    tensor = scope.graph.tensors[scope.graph.inputs[index]]
    layout = scope.input_layouts[index]
    name = scope.graph.input_names[index]
    why = (
        "The module takes channels first; the manifest gives the permutation."
        if not layout.is_identity
        else "Passed as it is."
    )
    return Row(
        name,
        name,
        "InputLayer",
        shape_text(tensor.shape),
        str(identity(len(tensor.shape))),
        "argument of forward",
        shape_text(layout.shape(tensor.shape)),
        str(layout),
        (),
        EXACT,
        why,
        "",
        "",
        (),
        None,
        (),
        {},
    )


def _cut_row(plan: Plan, cut: Cut) -> Row:
    layer, shape = cut.layer, cut.tensor.shape
    why = (
        f"The model starts with what this layer gives, {shape_text(shape)} of {cut.tensor.dtype}: "
        "do what it and the layers before it do in the data pipeline."
    )
    return Row(
        cut.call,
        layer.path,
        layer.kind,
        shape_text(shape),
        str(identity(len(shape))),
        "",
        "",
        "",
        (),
        CUT_OFF,
        why,
        "",
        "",
        (),
        None,
        tuple(plan.recipe.of(layer.path)),
        {},
    )


def _row(plan: Plan, scope: str, owner: PlannedScope, planned: PlannedNode, weights: list[PlannedWeight]) -> Row:
    node, mapping, layer = planned.node, planned.mapping, planned.node.layer
    shapes = [owner.graph.tensors[t].shape for t in node.outputs]
    pairs: list[tuple[Shape, Layout]] = list(zip(shapes, planned.outputs))
    return Row(
        call=f"{scope}{node.id}",
        layer=layer.path,
        type=layer.kind,
        keras_shape=_join(shape_text(s) for s in shapes),
        keras_layout=_join(str(identity(len(s))) for s in shapes),
        module="" if mapping is None else module_source(mapping.module) if mapping.module else formula(mapping.forward),
        torch_shape="" if mapping is None else _join(shape_text(layout.shape(s)) for s, layout in pairs),
        torch_layout="" if mapping is None else _join(str(layout) for _, layout in pairs),
        weights=tuple(weights),
        status=mapping.status if mapping else UNSUPPORTED,
        why=mapping.why if mapping else planned.problem or "",
        keras_formula=mapping.keras if mapping else "",
        torch_formula=mapping.torch if mapping else "",
        alternatives=mapping.alternatives if mapping else (),
        choice=planned.choice,
        overrides=tuple(plan.recipe.of(layer.path)),
        arguments=dict(mapping.module.args) if mapping and mapping.module else {},
    )


def table(plan: Plan) -> pd.DataFrame:
    """The rows as text, one column a field: what `k2t inspect` prints and the Mapping page shows."""
    import pandas as pd

    return pd.DataFrame.from_records(
        [
            {
                **{name: getattr(row, name) for name in BOTH_SIDES},
                "weights": "; ".join(map(weight_text, row.weights)),
                "status": row.status,
                "override": "; ".join(o.describe() for o in row.overrides),
                "why": row.why,
            }
            for row in rows(plan)
        ]
    )


def weight_text(weight: PlannedWeight) -> str:
    """``kernel (3, 3, 3, 32) → permute(3, 2, 0, 1) → conv.weight (32, 3, 3, 3)``."""
    source = f"{weight.source.rsplit('/', 1)[-1]} {weight.keras_shape}" if weight.source else "no variable"
    return f"{source} → {weight.transform} → {weight.key} {weight.shape}"


def _join(parts) -> str:
    return "; ".join(parts)


def of_interest(plan: Any) -> str | None:
    """The row of a new model that a person should see first: unsupported, ambiguous, or with weights to look at."""
    from k2t_core.rules.registry import AMBIGUOUS, UNSUPPORTED

    found = rows(plan)
    for chosen in (lambda row: row.status == UNSUPPORTED, lambda row: row.status == AMBIGUOUS, lambda row: row.weights):
        call = next((row.call for row in found if chosen(row)), None)
        if call is not None:
            return call
    return None
