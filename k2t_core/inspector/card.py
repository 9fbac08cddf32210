"""What a person wants to know of a model before converting it: on the Load page, and by `k2t inspect`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from k2t_core.graph import Graph, Shape
from k2t_core.keras_side.model_file import stored_code
from k2t_core.planning.plan import BOTH_SIDES, Plan, rows, weight_text

# What `k2t inspect --json` tells of a row of the Mapping table.
FIELDS = (*BOTH_SIDES, "status", "why")


@dataclass(frozen=True)
class Side:
    """An input or output of the model."""

    name: str
    shape: Shape
    dtype: str

    @property
    def text(self) -> str:
        """Its shape, as the page writes it: ``(any, 28, 28, 3)``."""
        return "(" + ", ".join("any" if n is None else str(n) for n in self.shape) + ")"


@dataclass(frozen=True)
class Card:
    """A model in short. format, keras_version, bytes: of its file.

    kinds: layer kinds with their counts, most frequent first. code: layers with Python code of their own.
    """

    name: str
    format: str | None
    keras_version: str | None
    bytes: int
    fingerprint: str
    parameters: int
    trainable: int
    inputs: tuple[Side, ...]
    outputs: tuple[Side, ...]
    kinds: dict[str, int]
    problems: tuple[str, ...]
    code: tuple[str, ...]


def card(plan: Plan) -> Card:
    """The card of a planned model."""
    source, graph = plan.source, plan.root.graph
    layers = list({id(node.layer): node.layer for _, _, node in graph.walk()}.values())
    variables = {v.path: v for layer in layers for v in layer.all_variables()}.values()
    kinds = Counter("nested model" if layer.graph is not None else layer.kind for layer in layers)
    return Card(
        name=source.name,
        format=source.info.get("format"),
        keras_version=source.info.get("keras_version"),
        bytes=source.info.get("bytes", 0),
        fingerprint=source.fingerprint,
        parameters=int(source.model.count_params()),
        trainable=sum(prod(v.shape) for v in variables if v.trainable),
        inputs=_sides(graph, graph.inputs, graph.input_names),
        outputs=_sides(graph, graph.outputs, graph.output_names),
        kinds=dict(kinds.most_common()),
        problems=tuple(plan.problems),
        code=tuple(stored_code(source.info.get("config"))),
    )


def card_json(plan: Plan) -> dict[str, Any]:
    """What `k2t inspect --json` prints: the model, a row for each call, and what cannot be converted."""
    model = card(plan)
    return {
        "model": model.name,
        "format": model.format,
        "keras_version": model.keras_version,
        "bytes": model.bytes,
        "fingerprint": model.fingerprint,
        "parameters": model.parameters,
        "inputs": [asdict(side) for side in model.inputs],
        "outputs": [asdict(side) for side in model.outputs],
        "layers": [
            {**{name: getattr(row, name) for name in FIELDS}, "weights": [weight_text(w) for w in row.weights]}
            for row in rows(plan)
        ],
        "problems": list(model.problems),
    }


def _sides(graph: Graph, tensors: tuple[str, ...], names: tuple[str, ...]) -> tuple[Side, ...]:
    specs = [graph.tensors[tensor] for tensor in tensors]
    return tuple(Side(name, spec.shape, spec.dtype) for name, spec in zip(names, specs))
