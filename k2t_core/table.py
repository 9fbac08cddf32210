"""The mapping table: a row for each call of a Keras layer or operation, beside its PyTorch counterpart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from k2t_core.emit.source import module_source
from k2t_core.graph import Shape
from k2t_core.layout import Layout, identity
from k2t_core.planning import Plan, PlannedNode, PlannedScope, PlannedWeight
from k2t_core.recipe import Override
from k2t_core.rules.registry import CUT_OFF, EXACT, SELF, UNSUPPORTED, Alternative
from k2t_core.tracing import Cut

if TYPE_CHECKING:
    import pandas as pd


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


def rows(plan: Plan) -> list[Row]:
    """Layers that are cut off, the inputs, then every call in order of execution; the calls inside a nested model follow it, once."""
    weights: dict[str, list[PlannedWeight]] = {}
    for weight in plan.weights:
        weights.setdefault(weight.layer, []).append(weight)
    found = [_cut_row(plan, cut) for cut in plan.traced.cuts] + [_input_row(plan.root, index) for index in range(len(plan.root.graph.inputs))]
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
    why = "The module takes channels first; the manifest gives the permutation." if not layout.is_identity else "Passed as it is."
    return Row(name, name, "InputLayer", _shape(tensor.shape), str(identity(len(tensor.shape))), "argument of forward", _shape(layout.shape(tensor.shape)), str(layout), (), EXACT, why, "", "", (), None, (), {})


def _cut_row(plan: Plan, cut: Cut) -> Row:
    layer, shape = cut.layer, cut.tensor.shape
    why = f"The model starts with what this layer gives, {_shape(shape)} of {cut.tensor.dtype}: do what it and the layers before it do in the data pipeline."
    return Row(cut.call, layer.path, layer.kind, _shape(shape), str(identity(len(shape))), "", "", "", (), CUT_OFF, why, "", "", (), None, tuple(plan.recipe.of(layer.path)), {})


def _row(plan: Plan, scope: str, owner: PlannedScope, planned: PlannedNode, weights: list[PlannedWeight]) -> Row:
    node, mapping, layer = planned.node, planned.mapping, planned.node.layer
    shapes = [owner.graph.tensors[t].shape for t in node.outputs]
    pairs: list[tuple[Shape, Layout]] = list(zip(shapes, planned.outputs))
    return Row(
        call=f"{scope}{node.id}",
        layer=layer.path,
        type=layer.kind,
        keras_shape=_join(_shape(s) for s in shapes),
        keras_layout=_join(str(identity(len(s))) for s in shapes),
        module="" if mapping is None else module_source(mapping.module) if mapping.module else expression(mapping.forward),
        torch_shape="" if mapping is None else _join(_shape(layout.shape(s)) for s, layout in pairs),
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

    records = []
    for row in rows(plan):
        data = asdict(row)
        records.append(
            {
                **{k: data[k] for k in ("call", "layer", "type", "keras_shape", "keras_layout", "module", "torch_shape", "torch_layout")},
                "weights": "; ".join(map(weight_text, row.weights)),
                "status": row.status,
                "override": "; ".join(o.describe() for o in row.overrides),
                "why": row.why,
            }
        )
    return pd.DataFrame.from_records(records)


def weight_text(weight: PlannedWeight) -> str:
    """``kernel (3, 3, 3, 32) → permute(3, 2, 0, 1) → conv.weight (32, 3, 3, 3)``."""
    source = f"{weight.source.rsplit('/', 1)[-1]} {weight.keras_shape}" if weight.source else "no variable"
    return f"{source} → {weight.transform} → {weight.key} {weight.shape}"


def expression(forward: str | tuple[str, ...]) -> str:
    text = forward if isinstance(forward, str) else "; ".join(forward)
    for index in range(10):
        text = text.replace(f"⟦{index}⟧", "x" if index == 0 else f"x{index}").replace(f"⟦out{index}⟧", "y" if index == 0 else f"y{index}")
    return text.replace(SELF, "self")


def _shape(shape: Shape) -> str:
    return "(" + ", ".join("N" if i == 0 and n is None else "?" if n is None else str(n) for i, n in enumerate(shape)) + ("," if len(shape) == 1 else "") + ")"


def _join(parts) -> str:
    return "; ".join(parts)
