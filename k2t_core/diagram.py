"""The model as a drawing in Graphviz's language, nested models and repeated blocks folded until they are asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from k2t_core.blocks import Use
from k2t_core.planning import Plan, PlannedNode, PlannedScope
from k2t_core.rules.registry import AMBIGUOUS, INERT, UNSUPPORTED

# Fill, line and text by status, for a light and for a dark page; Okabe and Ito's hues.
COLOURS = {
    False: {"": ("#EAF3F9", "#0072B2", "#1F2933"), AMBIGUOUS: ("#FDF3DC", "#E69F00", "#1F2933"), INERT: ("#F3F3F3", "#A0A0A0", "#666666"), UNSUPPORTED: ("#FBE5DA", "#D55E00", "#1F2933")},
    True: {"": ("#16283A", "#56B4E9", "#E8EEF3"), AMBIGUOUS: ("#3A2F14", "#E69F00", "#F6EEDD"), INERT: ("#2A2A2A", "#8A8A8A", "#B8B8B8"), UNSUPPORTED: ("#41210F", "#FF8A4C", "#FBE5DA")},
}


def foldable(plan: Plan) -> dict[str, str]:
    """What can be unfolded: a key for `diagram` → words. Nested models by scope, repeated blocks by their class."""
    found: dict[str, str] = {}

    def visit(scope: PlannedScope, path: str) -> None:
        for use in scope.uses:
            found.setdefault(f"block {use.block.class_name}", f"{use.block.class_name} (block, {sum(u.block is use.block for u in scope.uses)} times)")
        for planned in scope.nodes:
            if planned.child is not None:
                key = f"{path}{planned.node.layer.name}"
                if key not in found:
                    found[key] = f"{key} (model of {len(planned.child.nodes)} layers)"
                    visit(planned.child, f"{key}/")

    visit(plan.root, "")
    return found


def diagram(plan: Plan, unfolded: Collection[str] = (), dark: bool = False) -> str:
    """The whole model, top to bottom; of what `foldable` names, the keys in ``unfolded`` are drawn open."""
    writer = _Writer(frozenset(unfolded), COLOURS[dark])
    line, text = COLOURS[dark][INERT][1], COLOURS[dark][""][2]
    graph = plan.root.graph
    sources = {}
    for tensor, name in zip(graph.inputs, graph.input_names):
        sources[tensor] = writer.node(f"{name}\nInput {_shape(graph.tensors[tensor].shape)}", "", shape="ellipse")
    found = writer.scope(plan.root, sources, "")
    for tensor, name in zip(graph.outputs, graph.output_names):
        writer.edge(found[tensor], writer.node(f"output {name}", "", shape="ellipse"))
    head = [
        "digraph model {",
        'bgcolor="transparent"; rankdir=TB; nodesep=0.25; ranksep=0.3;',
        f'node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11, margin="0.15,0.07", height=0.1, fontcolor="{text}"];',
        f'edge [color="{line}", arrowsize=0.6]; graph [fontname="sans-serif", fontsize=11, fontcolor="{text}", color="{line}", style=rounded];',
    ]
    return "\n".join([*head, *writer.lines, "}"])


@dataclass(eq=False)
class _Writer:
    unfolded: frozenset[str]
    colours: dict[str, tuple[str, str, str]]
    lines: list[str] = field(default_factory=list)
    count: int = 0

    def node(self, label: str, status: str, shape: str = "box", peripheries: int = 1) -> str:
        self.count += 1
        fill, line, text = self.colours.get(status, self.colours[""])
        self.lines.append(f'n{self.count} [label={_quoted(label)}, shape={shape}, fillcolor="{fill}", color="{line}", fontcolor="{text}", peripheries={peripheries}];')
        return f"n{self.count}"

    def edge(self, source: str, target: str) -> None:
        self.lines.append(f"{source} -> {target};")

    def scope(self, scope: PlannedScope, sources: dict[str, str], path: str) -> dict[str, str]:
        """Draw a scope; ``sources``: which drawn node each tensor comes from. Returns it with this scope's own."""
        found = dict(sources)
        uses = {use.start: use for use in scope.uses}
        index = 0
        while index < len(scope.nodes):
            use = uses.get(index)
            if use is None:
                self.call(scope, scope.nodes[index], found, path)
                index += 1
                continue
            self.block(scope, use, found, path)
            index = use.stop
        return found

    def call(self, scope: PlannedScope, planned: PlannedNode, found: dict[str, str], path: str) -> None:
        node, child = planned.node, planned.child
        key = f"{path}{node.layer.name}"
        if child is not None and key in self.unfolded:
            self.open(node.id)
            inner = self.scope(child, {t: found[outer] for t, outer in zip(child.graph.inputs, node.inputs)}, f"{key}/")
            self.lines.append("}")
            found.update((outer, inner[t]) for t, outer in zip(child.graph.outputs, node.outputs))
            return
        kind = f"model of {len(child.nodes)} layers" if child is not None else node.layer.kind
        shapes = " ".join(_shape(scope.graph.tensors[t].shape) for t in node.outputs)
        status = planned.mapping.status if planned.mapping else UNSUPPORTED
        drawn = self.node(f"{node.id}\n{kind} → {shapes}", status, peripheries=2 if child is not None else 1)
        for tensor in dict.fromkeys(node.inputs):
            self.edge(found[tensor], drawn)
        found.update(dict.fromkeys(node.outputs, drawn))

    def block(self, scope: PlannedScope, use: Use, found: dict[str, str], path: str) -> None:
        calls = scope.nodes[use.start : use.stop]
        if f"block {use.block.class_name}" in self.unfolded:
            self.open(f"{use.attr} ({use.block.class_name})")
            for planned in calls:
                self.call(scope, planned, found, path)
            self.lines.append("}")
            return
        drawn = self.node(f"{use.attr}\n{use.block.class_name}, {len(calls)} layers → {_shape(scope.graph.tensors[use.exit].shape)}", "", peripheries=2)
        for tensor in dict.fromkeys(use.entries):
            self.edge(found[tensor], drawn)
        found.update((tensor, drawn) for planned in calls for tensor in planned.node.outputs)

    def open(self, label: str) -> None:
        self.count += 1
        self.lines.append(f"subgraph cluster{self.count} {{ label={_quoted(label)};")


def _shape(shape: tuple[int | None, ...]) -> str:
    """Without the batch: 28×28×3."""
    return "×".join("?" if n is None else str(n) for n in shape[1:])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
