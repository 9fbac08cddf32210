"""What tracing a model comes to: its graph, and how that maps to the live model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from k2t_core.graph import Graph, Layer, Tensor
from k2t_core.keras_side.internals import calls_of
from k2t_core.keras_side.loading import Source
from k2t_core.keras_side.opened import Opened


@dataclass(eq=False)
class LiveScope:
    """How a live functional model maps to a Graph: what the reference runner needs to name Keras's tensors."""

    functional: Any
    graph: Graph
    outputs: dict[tuple[int, int], str]  # (id of the Keras node, output index) → tensor id
    node_ids: dict[int, str]  # id of the Keras node → graph node id
    nested: dict[int, LiveScope]  # id of a nested live model → its scope
    operations: dict[str, Any]  # graph node id → live layer or operation, those that only a mask needs too
    opened: dict[int, Opened] = field(default_factory=dict)  # id of the Keras node of an opened layer → what is inside
    masked_inputs: tuple[int, ...] = ()
    masked_outputs: tuple[int, ...] = ()  # outputs that carry a mask; the masks are the graph's last outputs

    def node(self, name: str) -> Any:
        """Keras's node of a call, by the call's id in the graph."""
        functions = [self.functional, *(one.function for one in self.opened.values())]
        return next(n for function in functions for n in calls_of(function) if self.node_ids.get(id(n)) == name)


@dataclass(frozen=True, eq=False)
class Cut:
    """A layer that was cut off, and the tensor that is an input of the model in its place."""

    layer: Layer
    tensor: Tensor

    @property
    def call(self) -> str:
        """What its row of the table goes by."""
        return f"{self.layer.path} (cut off)"


@dataclass(frozen=True, eq=False)
class Traced:
    """A graph with the live model it was read from.

    variables: variable path → live keras.Variable.
    opened: paths of the layers whose inside stands in the graph. closed: of those that were asked to stay closed.
    cuts: see `cutting.cut`.
    variants: other readings of the same model; each is made once.
    values: variable path → the variable of TensorFlow that stands in the place of the model's own while it runs.
    """

    source: Source
    graph: Graph
    scope: LiveScope
    variables: Mapping[str, Any]
    opened: frozenset[str] = frozenset()
    cuts: tuple[Cut, ...] = ()
    closed: frozenset[str] = frozenset()
    variants: dict[tuple[str, ...], Traced] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    def value(self, path: str) -> np.ndarray:
        """The current value of a Keras variable, by its path."""
        return np.asarray(self.values.get(path, self.variables[path]).numpy())
