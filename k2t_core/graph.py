"""The framework-free picture of a Keras model: plain immutable data between `trace` and `plan`.

A `Graph` is a list of `Node`s in the order in which a reader would follow them. A node is one *call* of a
`Layer` (a Keras layer or a `keras.ops` operation), so a shared layer appears as one `Layer` and several
nodes. A nested model is a `Layer` that holds a `Graph` of its own.

This module imports neither Keras nor torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from k2t_core.nests import leaves

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Ref:
    """A tensor among the arguments of a call, by its id in the graph."""

    tensor: str


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph: its Keras shape (None is a free dimension) and dtype; form: dense, sparse or ragged."""

    id: str
    shape: Shape
    dtype: str
    form: str = "dense"


@dataclass(frozen=True)
class Variable:
    """A Keras variable. ``name`` is relative to its layer (``lstm_cell/kernel``), ``path`` is model-wide."""

    path: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool = True


@dataclass(frozen=True, eq=False)
class Layer:
    """A Keras layer or operation.

    kind: the class name for layers of ``keras.layers`` (``"Conv2D"``), ``"ops.Mean"`` for operations, the full
    Python path for any other class (so that a user's own ``Conv2D`` is never taken for Keras's).
    config: constructor arguments as Keras reports them; of a wrapper, the wrapped layers are in ``children``.
    graph: the inner graph of a nested model, else None.
    note: why a layer that no rule knows could not be opened.
    """

    path: str
    name: str
    kind: str
    config: Mapping[str, Any]
    variables: tuple[Variable, ...] = ()
    children: Mapping[str, Layer] = field(default_factory=dict)
    graph: Graph | None = None
    note: str = ""

    @property
    def policy(self) -> str:
        """The name of its dtype policy: ``mixed_float16``."""
        return policy_name(self.config.get("dtype"))

    def all_variables(self) -> Iterator[Variable]:
        """This layer's variables and those of the layers it wraps, names prefixed by the wrapper's attribute."""
        yield from self.variables
        for attribute, child in self.children.items():
            for v in child.all_variables():
                yield replace(v, name=f"{attribute}/{v.name}")
        if self.graph is not None:
            for layer in self.graph.layers():
                for v in layer.all_variables():
                    yield replace(v, name=f"{layer.name}/{v.name}")

    def variable(self, name: str) -> Variable | None:
        """The variable whose relative name is ``name`` or ends in ``/name``; None where none or several do."""
        found = [v for v in self.all_variables() if v.name == name]
        found = found or [v for v in self.all_variables() if v.name.endswith(f"/{name}")]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, eq=False)
class Node:
    """One call of a layer. ``arguments`` binds the call's parameter names; tensors appear as `Ref`."""

    id: str
    layer: Layer
    arguments: Mapping[str, Any]
    outputs: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Ids of the tensors among the arguments, in argument order, repeats kept."""
        return tuple(ref.tensor for ref in refs(self.arguments))


@dataclass(frozen=True, eq=False)
class Graph:
    """A model as nodes over tensors, in execution order. ``inputs`` and ``outputs`` are tensor ids."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()

    def layers(self) -> list[Layer]:
        """The distinct layers, in order of first call."""
        return list({id(node.layer): node.layer for node in self.nodes}.values())

    def consumers(self) -> dict[str, list[Node]]:
        """For each tensor id, the nodes that take it."""
        found: dict[str, list[Node]] = {tensor: [] for tensor in self.tensors}
        for node in self.nodes:
            for tensor in dict.fromkeys(node.inputs):
                found[tensor].append(node)
        return found

    def pruned(self, count: int) -> Graph:
        """The graph with its first ``count`` outputs only, and what leads to them."""
        outputs = self.outputs[:count]
        needed, nodes = set(outputs), []
        for node in reversed(self.nodes):
            if needed & set(node.outputs):
                needed.update(node.inputs)
                nodes.append(node)
        kept = {t for node in nodes for t in node.outputs} | set(self.inputs)
        tensors = {label: tensor for label, tensor in self.tensors.items() if label in kept}
        return replace(
            self, outputs=outputs, output_names=self.output_names[:count], nodes=tuple(reversed(nodes)), tensors=tensors
        )

    def walk(self, scope: str = "") -> Iterator[tuple[str, Graph, Node]]:
        """Every node, those of nested models after the node that calls them, with its scope path."""
        for node in self.nodes:
            yield scope, self, node
            if node.layer.graph is not None:
                yield from node.layer.graph.walk(f"{scope}{node.id}/")


def policy_name(policy: Any) -> str:
    """The name of a dtype policy as a config holds it: there it is the name itself, or a saved object that has one."""
    if isinstance(policy, Mapping) and "config" in policy:
        return str(policy["config"].get("name", policy))
    return str(policy)


def refs(value: Any) -> Iterator[Ref]:
    """The `Ref`s in a nest, in order."""
    return (leaf for leaf in leaves(value) if isinstance(leaf, Ref))
