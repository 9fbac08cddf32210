"""What a person wants to know of a model before converting it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Any

from k2t_core.graph import Graph
from k2t_core.keras_side.loading import stored_code


@dataclass(frozen=True)
class Side:
    """An input or output of the model."""

    name: str
    shape: str
    dtype: str


@dataclass(frozen=True)
class Card:
    """A model in short. ``kinds``: layer kinds with their counts, most frequent first. ``code``: layers with Python code of their own."""

    name: str
    format: str
    bytes: int
    keras_version: str
    parameters: int
    trainable: int
    inputs: tuple[Side, ...]
    outputs: tuple[Side, ...]
    kinds: dict[str, int]
    problems: tuple[str, ...]
    code: tuple[str, ...]


def card(plan: Any) -> Card:
    """The card of a planned model."""
    source, graph = plan.source, plan.root.graph
    layers = list({id(node.layer): node.layer for _, _, node in graph.walk()}.values())
    variables = {v.path: v for layer in layers for v in layer.all_variables()}.values()
    kinds = Counter("nested model" if layer.graph is not None else layer.kind for layer in layers)
    return Card(
        source.name,
        source.info.get("format", ""),
        source.info.get("bytes", 0),
        str(source.info.get("keras_version") or "unknown"),
        int(source.model.count_params()),
        sum(prod(v.shape) for v in variables if v.trainable),
        tuple(_sides(graph, graph.inputs, graph.input_names)),
        tuple(_sides(graph, graph.outputs, graph.output_names)),
        dict(kinds.most_common()),
        tuple(plan.problems),
        tuple(stored_code(source.info.get("config"))),
    )


def size_text(count: float) -> str:
    """1536 → ``1.5 KiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _sides(graph: Graph, tensors: tuple[str, ...], names: tuple[str, ...]):
    for tensor, name in zip(tensors, names):
        spec = graph.tensors[tensor]
        yield Side(name, "(" + ", ".join("any" if n is None else str(n) for n in spec.shape) + ")", spec.dtype)
