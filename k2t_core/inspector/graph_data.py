"""Plan (and report) → what the graph draws: plain nodes, edges and folds, a Keras half and a PyTorch half to each node.

The nodes are a tree: a nested model, a block class and an nn.Sequential of blocks hold what is inside them, so that the
page can fold them. An edge joins two nodes with the same parent. Where a tensor goes into a fold or comes out of it, it
passes a port: an entry or an exit of the fold, numbered, which is the end of one edge outside and of the edges inside.

Long because nodes, folds and ports are made on one walk over the plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from os.path import commonprefix
from typing import Any

from k2t_core.graph import Layer, Shape
from k2t_core.layout import permute_expression
from k2t_core.planning.blocks import Use
from k2t_core.planning.constructors import module_source
from k2t_core.planning.plan import Plan, PlannedNode, PlannedScope
from k2t_core.rules.registry import AMBIGUOUS, CUT_OFF, EXACT, INERT, UNSUPPORTED
from k2t_core.rules.slots import formula
from k2t_core.verification.report import Report

LEAST, MOST = -8, 0  # powers of ten between which relative differences are coloured: float32 rounds below the first
WORST = (INERT, EXACT, AMBIGUOUS, UNSUPPORTED)  # a fold has the status of its worst layer
ENDS = ("input", "output")


@dataclass(frozen=True)
class Overlay:
    """What the graph shows of a verification. first: the layer that it found to diverge first.

    errors: by tensor, nested scopes before it: ("error", on torch's own inputs) and ("alone", on Keras's), relative.
    """

    first: str | None = None
    errors: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    @staticmethod
    def of(report: Report | None) -> Overlay:
        return Overlay(report.first_divergence, _errors(report)) if report is not None else Overlay()


def graph_data(plan: Plan, overlay: Overlay | None = None) -> dict[str, Any]:
    """The model as JSON: its ``name``, ``nodes`` by id, ``edges``, and the ``legends`` of the colours.

    A node:

    - ``parent``: the fold that it is in, "" at the top. ``kind``: input, output, layer, model, block or sequence.
    - ``row``: the call that names its row of the Mapping table, or None.
    - ``keras`` and ``torch``: each ``name``, ``type``, ``shape``.
    - ``status``, ``overridden``, ``first`` (whether the last verification found it to diverge first).
    - ``text``: of ``error``, ``alone`` and ``parameters`` a number. ``heat``: its place from 0 to 1, where it has one.
    - A fold (model, block, sequence) precedes what is in it, and has its ``size`` in layers, ``entries``, ``exits``.

    An edge: [parent, source, exit, target, entry, what torch does on the way]. Source or target is "" for the parent's
    own port.
    """
    return _Writer(plan, overlay or Overlay()).data()


@dataclass(eq=False)
class _Level:
    """The inside of a fold while it is written.

    made: the node that makes each tensor; a level for those made inside a fold.
    names: of a nested model, its caller's name of a tensor → its own.
    """

    id: str
    made: dict[str, tuple[str, int] | _Level] = field(default_factory=dict)
    entries: dict[str, int] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    edges: list[tuple[str, str, int, str, int, str]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def source(self, tensor: str) -> tuple[str, int]:
        """Where a reader on this level gets a tensor: a node and its exit; ("", entry) where it comes from outside."""
        made = self.made.get(tensor)
        if made is None:
            return "", self.entries.setdefault(tensor, len(self.entries))
        return (made.id, made.exit(tensor)) if isinstance(made, _Level) else made

    def exit(self, tensor: str) -> int:
        """The exit by which a tensor leaves this fold, made when it is first asked for."""
        tensor = self.names.get(tensor, tensor)
        if tensor not in self.exits:
            self.exits[tensor] = len(self.exits)
            self.join(tensor, "", self.exits[tensor])
        return self.exits[tensor]

    def join(self, tensor: str, target: str, entry: int = 0, note: str = "") -> None:
        self.edges.append((self.id, *self.source(tensor), target, entry, note))


class _Writer:
    def __init__(self, plan: Plan, overlay: Overlay):
        self.plan, self.errors, self.first = plan, overlay.errors, overlay.first
        self.nodes: dict[str, dict[str, Any]] = {}
        self.levels: list[_Level] = []
        self.layers: dict[str, set[Layer]] = {}  # by node, those inside a fold too
        self.worst: dict[str, dict[str, float]] = {}  # by node: the largest of each error
        self.rows: dict[int, str] = {}  # the calls inside a nested model that is called twice are one row
        for scope, _, _, planned in plan.root.walk():
            self.rows.setdefault(id(planned), f"{scope}{planned.node.id}")

    def data(self) -> dict[str, Any]:
        top = self.level("")
        self.inputs(top)
        self.parts(top, self.plan.root, _parts(self.plan.root), "", "")
        self.outputs(top)
        self.fold_up()
        most = max((_parameters(layers) for layers in self.layers.values()), default=0)
        for name, node in self.nodes.items():
            node["text"], node["heat"] = self.numbers(name, node["kind"], most)
        for level in self.levels[1:]:
            self.nodes[level.id].update(entries=len(level.entries), exits=len(level.exits))
        return {
            "name": self.plan.root.graph.name,
            "nodes": self.nodes,
            "edges": [edge for level in self.levels for edge in level.edges],
            "legends": _legends(most, self.errors),
        }

    def inputs(self, top: _Level) -> None:
        """The model's inputs, and what is cut off before them."""
        scope = self.plan.root
        for tensor, name, layout in zip(scope.graph.inputs, scope.graph.input_names, scope.input_layouts):
            shape = scope.graph.tensors[tensor].shape
            keras, torch = _side(name, "Input", [shape]), _side(name, "argument", [layout.shape(shape)])
            top.made[tensor] = self.node(f"in {name}", "", "input", name, keras, torch), 0
        for cut in self.plan.traced.cuts:  # an input of its name stands in its place
            keras = _side(cut.layer.path, cut.layer.kind, [cut.tensor.shape])
            torch = _side("data pipeline", "", [])
            node = self.node(f"cut {cut.layer.path}", "", "layer", cut.call, keras, torch, CUT_OFF, True)
            top.edges.append(("", node, 0, f"in {cut.layer.path}", 0, ""))

    def outputs(self, top: _Level) -> None:
        scope = self.plan.root
        for tensor, name, layout in zip(scope.graph.outputs, scope.graph.output_names, scope.output_layouts):
            shape = scope.graph.tensors[tensor].shape
            keras, torch = _side(name, "Output", [shape]), _side(name, "returned", [layout.shape(shape)])
            top.join(tensor, self.node(f"out {name}", "", "output", None, keras, torch))

    def level(self, name: str, entries: Iterable[str] = ()) -> _Level:
        self.levels.append(_Level(name, entries={tensor: index for index, tensor in enumerate(entries)}))
        return self.levels[-1]

    def node(
        self,
        name: str,
        parent: str,
        kind: str,
        row: str | None,
        keras: dict[str, str],
        torch: dict[str, str],
        status: str = EXACT,
        overridden: bool = False,
        **more: Any,
    ) -> str:
        self.nodes[name] = {
            "parent": parent,
            "kind": kind,
            "row": row,
            "keras": keras,
            "torch": torch,
            "status": status,
            "overridden": overridden,
            "first": False,
            **more,
        }
        self.layers[name], self.worst[name] = set(), {}
        return name

    def parts(
        self, level: _Level, scope: PlannedScope, parts: Iterable[int | Use | Sequence[Use]], path: str, prefix: str
    ) -> None:
        """Write what a level is made of: calls by their index, blocks, runs of blocks.

        path, prefix: of names in Keras and in torch.
        """
        for part in parts:
            if isinstance(part, int):
                self.call(level, scope, scope.nodes[part], path, prefix)
            else:
                self.block(level, scope, part, path, prefix)

    def call(self, level: _Level, scope: PlannedScope, planned: PlannedNode, path: str, prefix: str) -> None:
        node, mapping, child = planned.node, planned.mapping, planned.child
        shapes = [scope.graph.tensors[t].shape for t in node.outputs]
        inputs = dict(zip(node.inputs, _on_the_way(scope, planned))) if child is None else {}
        name = self.node(
            f"{path}{node.id}",
            level.id,
            "layer" if child is None else "model",
            self.rows[id(planned)],
            _side(node.id, node.layer.kind, shapes),
            _torch_side(planned, shapes, prefix),
            mapping.status if mapping else UNSUPPORTED,
            bool(self.plan.recipe.of(node.layer.path)),
            first=self.first == node.layer.path,
        )
        if child is None:
            self.layers[name] = {node.layer}
            results = [result for t in node.outputs for result in self.errors.get(f"{path}{t}", ())]
            self.worst[name] = {kind: max(e for k, e in results if k == kind) for kind in {k for k, _ in results}}
            for tensor, note in inputs.items():
                level.join(tensor, name, note=note)
            level.made.update((tensor, (name, index)) for index, tensor in enumerate(node.outputs))
            return
        self.nodes[name]["size"] = len(child.nodes)
        inner = self.level(name, child.graph.inputs)
        inner.names = dict(zip(node.outputs, child.graph.outputs))
        for index, (tensor, note) in enumerate(zip(node.inputs, _on_the_way(scope, planned))):
            level.join(tensor, name, index, note)
        self.parts(inner, child, _parts(child), f"{path}{node.id}/", f"{prefix}{planned.attr}.")
        level.made.update((tensor, inner) for tensor in node.outputs)

    def block(self, level: _Level, scope: PlannedScope, part: Use | Sequence[Use], path: str, prefix: str) -> None:
        uses = [part] if isinstance(part, Use) else part
        calls = scope.nodes[uses[0].start : uses[-1].stop]
        shape, layout = scope.graph.tensors[uses[-1].exit].shape, scope.layouts[uses[-1].exit]
        if isinstance(part, Use):
            kind, attr, keras, torch = "block", part.attr, f"{len(calls)} layers", part.block.class_name
        else:
            kind, attr = "sequence", _home(uses[0])
            keras, torch = (
                f"{len(uses)} × {len(calls) // len(uses)} layers",
                f"Sequential({len(uses)} × {uses[0].block.class_name})",
            )
        keras_side = _side(_together([planned.node.layer.name for planned in calls]), keras, [shape])
        torch_side = _side(f"{prefix}{attr}", torch, [layout.shape(shape)])
        inner = self.level(
            self.node(f"{path}block {attr}", level.id, kind, None, keras_side, torch_side, INERT, size=len(calls))
        )
        self.parts(inner, scope, part.parts if isinstance(part, Use) else uses, path, prefix)
        for tensor, entry in list(inner.entries.items()):
            level.join(tensor, inner.id, entry)
        level.made.update((tensor, inner) for planned in calls for tensor in planned.node.outputs)

    def fold_up(self) -> None:
        """A fold has what its layers have: the worst status and errors, overrides, the first divergence, parameters."""
        for name, node in reversed(self.nodes.items()):  # the inside of a fold comes after it
            fold = self.nodes.get(node["parent"])
            if fold is not None:
                fold["status"] = max(fold["status"], node["status"], key=WORST.index)
                fold["overridden"] |= node["overridden"]
                fold["first"] |= node["first"]
                self.layers[node["parent"]] |= self.layers[name]
                for kind, error in self.worst[name].items():
                    self.worst[node["parent"]][kind] = max(error, self.worst[node["parent"]].get(kind, 0.0))

    def numbers(self, name: str, kind: str, most: int) -> tuple[dict[str, str], dict[str, float]]:
        """A node's numbers in words, and the place of each on the scale of its colour."""
        count = _parameters(self.layers[name])
        text = {} if kind in ENDS else {"parameters": f"{count:,}"}
        heat = {"parameters": round(math.log1p(count) / math.log1p(most), 3)} if count else {}
        for what, error in self.worst[name].items():
            text[what] = f"{error:.1e}" if error else "0"
            heat[what] = round(min(max((math.log10(error) - LEAST) / (MOST - LEAST), 0.0), 1.0), 3) if error else 0.0
        return text, heat


def _parts(scope: PlannedScope) -> list[int | Use | list[Use]]:
    """The calls and blocks of a scope in order; the blocks of one nn.Sequential together."""
    found: list[int | Use | list[Use]] = []
    index = 0
    for _, group in groupby(scope.uses, key=lambda use: _home(use) or use.attr):
        uses = list(group)
        found += [*range(index, uses[0].start), uses if _home(uses[0]) else uses[0]]
        index = uses[-1].stop
    return [*found, *range(index, len(scope.nodes))]


def _together(names: Sequence[str]) -> str:
    """One name for several layers: what they begin with, else the first and the last."""
    common = commonprefix(names)
    return f"{common}…" if len(common) > 2 else f"{names[0]} … {names[-1]}"


def _home(use: Use) -> str:
    """The nn.Sequential that holds a block of a scope, "" where it stands alone."""
    return use.attr.rpartition(".")[0]


def _on_the_way(scope: PlannedScope, planned: PlannedNode) -> list[str]:
    """What torch does to each input before the call takes it: ``permute(0, 2, 3, 1)``, or nothing."""
    shapes = [scope.graph.tensors[t].shape for t in planned.node.inputs]
    return [
        permute_expression("", layout, want, shape).removeprefix(".")
        for layout, want, shape in zip(planned.inputs, planned.wants, shapes)
    ]


def _side(name: str, kind: str, shapes: Iterable[Shape]) -> dict[str, str]:
    """A half of a node; shapes without the batch: 28×28×3."""
    return {
        "name": name,
        "type": kind,
        "shape": ", ".join("×".join("?" if n is None else str(n) for n in shape[1:]) or "1" for shape in shapes),
    }


def _torch_side(planned: PlannedNode, shapes: Sequence[Shape], prefix: str) -> dict[str, str]:
    mapping = planned.mapping
    if mapping is None:
        return {"name": "no counterpart", "type": "", "shape": ""}
    shapes = [layout.shape(shape) for shape, layout in zip(shapes, planned.outputs)]
    if planned.attr is None or mapping.module is None:
        return _side(formula(mapping.forward), "function", shapes)
    return {**_side(f"{prefix}{planned.attr}", mapping.module.cls, shapes), "code": module_source(mapping.module)}


def _parameters(layers: Iterable[Layer]) -> int:
    return sum({v.path: math.prod(v.shape) for layer in layers for v in layer.all_variables()}.values())


def _errors(report: Report) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    tensor = ""
    for result in report.layers:
        if result.cumulative is not None:
            tensor = result.tensor  # of this node are the results of checks behind it too: "… before softmax"
        for kind, difference in (("error", result.cumulative), ("alone", result.isolated)):
            if difference is not None:
                found.setdefault(tensor, []).append((kind, difference.relative))
    return found


def _legends(most: int, errors: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The ends of each scale, in words; of the errors only where there was a verification."""
    found = {"parameters": {"low": "few", "high": f"{most:,}"}}
    if errors:
        scale = {"low": f"1e{LEAST}", "high": "1" if MOST == 0 else f"1e{MOST}"}
        found |= {"error": scale, "alone": scale}
    return found
