"""Repeated structure → block classes, so that a ResNet fits on a screen instead of running to hundreds of lines.

The calls of a large graph are cut where a single tensor carries everything on; runs of such pieces that occur several
times, alike in modules and wiring, become one class whose constructor takes what differs between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from k2t_core.graph import Graph
from k2t_core.rules.registry import Module

if TYPE_CHECKING:
    from k2t_core.planning import PlannedNode

MIN_CALLS = 40  # a smaller class reads best as it is, with the layers' own names
MIN_PATTERN = 4  # calls in a block
MIN_SAVED = 8  # statements that folding must save
MAX_PIECES = 40


@dataclass(frozen=True)
class Parameter:
    """A constructor argument that differs between the uses of a block: stands in `Block.modules` for its value."""

    name: str


@dataclass(frozen=True, eq=False)
class Block:
    """A class for a repeated run of calls. ``attrs`` and ``modules`` are aligned with the run; None where no module is."""

    class_name: str
    parameters: tuple[str, ...]
    attrs: tuple[str | None, ...]
    labels: tuple[str, ...]  # names for local variables
    modules: tuple[Module | None, ...]


@dataclass(frozen=True, eq=False)
class Use:
    """One instance of a block: calls ``start`` to ``stop`` of the scope, held at ``attr`` (``conv3.2``: in a Sequential)."""

    block: Block
    start: int
    stop: int
    attr: str
    values: tuple[Any, ...]
    entries: tuple[str, ...]
    exit: str


def fold(graph: Graph, nodes: Sequence[PlannedNode], class_name: Callable[[str], str], attr: Callable[[str], str], reserved: Set[str]) -> tuple[tuple[Use, ...], tuple[PlannedNode, ...]]:
    """The uses of blocks in a scope, and its calls with their modules' new homes.

    class_name, attr: give a free name near the one asked for. reserved: names that a module attribute must not have.
    """
    if len(nodes) < MIN_CALLS:
        return (), tuple(nodes)
    pieces = _pieces(graph, nodes)
    patterns = _patterns(pieces)
    uses: list[Use] = []
    for occurrences in sorted(patterns, key=lambda occurrences: occurrences[0]):
        uses += _uses(graph, nodes, [(pieces[a].start, pieces[b - 1].stop) for a, b in occurrences], class_name, reserved)
    uses.sort(key=lambda use: use.start)
    uses = _placed(uses, nodes, attr)
    moved = list(nodes)
    for use in uses:
        for index, inner in zip(range(use.start, use.stop), use.block.attrs):
            if inner is not None:
                moved[index] = replace(nodes[index], attr=f"{use.attr}.{inner}")
    return tuple(uses), tuple(moved)


@dataclass(frozen=True)
class _Piece:
    start: int
    stop: int
    signature: Any  # None: must not be folded


def _pieces(graph: Graph, nodes: Sequence[PlannedNode]) -> list[_Piece]:
    """Cut the calls wherever one tensor (beside masks and further inputs) carries everything on."""
    last_use = {t: -1 for t in graph.tensors}
    for index, planned in enumerate(nodes):
        for t in planned.node.inputs:
            last_use[t] = index
    lasting = {t for t, spec in graph.tensors.items() if spec.dtype == "bool"} | set(graph.inputs[1:])
    live = set(graph.inputs) - lasting
    pieces, start = [], 0
    for index, planned in enumerate(nodes):
        live |= {t for t in planned.node.outputs if t not in lasting}
        live = {t for t in live if last_use[t] > index}
        if len(live) <= 1:
            pieces.append(_Piece(start, index + 1, _signature(graph, nodes, start, index + 1, lasting)))
            start = index + 1
    if start < len(nodes):
        pieces.append(_Piece(start, len(nodes), None))
    return pieces


def _signature(graph: Graph, nodes: Sequence[PlannedNode], start: int, stop: int, lasting: set[str]) -> Any:
    """What two runs must share to be one class: everything but the values of constructor arguments."""
    position: dict[str, Any] = {}
    calls = []
    for index in range(start, stop):
        planned = nodes[index]
        mapping, node = planned.mapping, planned.node
        if mapping is None or planned.child is not None or sum(n.node.layer is node.layer for n in nodes) > 1:
            return None
        if any(t in graph.outputs for t in node.outputs) and index != stop - 1:
            return None
        module = mapping.module
        shape = None
        if module is not None:
            fixed = tuple((k, v) for k, v in module.args.items() if isinstance(v, (Module, dict)))
            shape = (module.cls, module.positional, tuple(module.args), repr(fixed))
        wiring = tuple(position.get(t, t if t in lasting else "entry") for t in node.inputs)
        calls.append((node.layer.kind, mapping.forward, mapping.init, shape, wiring, planned.inputs, planned.wants, planned.outputs))
        for k, t in enumerate(node.outputs):
            position[t] = (index - start, k)
    return tuple(calls)


def _patterns(pieces: Sequence[_Piece]) -> list[list[tuple[int, int]]]:
    """Runs of pieces that repeat, the most worthwhile first; each as the list of its (first, last + 1) pieces."""
    codes: dict[Any, int] = {}
    sequence = [codes.setdefault(p.signature, len(codes)) if p.signature is not None else -1 - i for i, p in enumerate(pieces)]
    sizes = [p.stop - p.start for p in pieces]
    found = []
    while True:
        best: tuple[tuple[int, int, int], list[tuple[int, int]]] | None = None
        for length in range(1, min(MAX_PIECES, len(sequence) // 2) + 1):
            places: dict[tuple[int, ...], list[int]] = {}
            for start in range(len(sequence) - length + 1):
                window = tuple(sequence[start : start + length])
                if min(window) < 0:
                    continue
                known = places.setdefault(window, [])
                if not known or start >= known[-1] + length:
                    known.append(start)
            for starts in places.values():
                size = sum(sizes[starts[0] : starts[0] + length])
                saved = (len(starts) - 1) * size
                if len(starts) > 1 and size >= MIN_PATTERN and saved >= MIN_SAVED:
                    # Of equal savings, the run that begins with its largest piece: a block, then its activation.
                    score = (saved, sizes[starts[0]], -length)
                    if best is None or score > best[0]:
                        best = (score, [(s, s + length) for s in starts])
        if best is None:
            return found
        found.append(best[1])
        for a, b in best[1]:
            for k in range(a, b):
                sequence[k] = -1 - len(sequence) - k  # taken: matches nothing any more


def _uses(graph: Graph, nodes: Sequence[PlannedNode], ranges: list[tuple[int, int]], class_name: Callable[[str], str], reserved: Set[str]) -> list[Use]:
    runs = [[nodes[i] for i in range(a, b)] for a, b in ranges]
    names = _inner_names([planned.node.layer.name for planned in runs[0]], [planned.node.layer.name for planned in runs[0] if planned.attr], reserved)
    modules, columns = [], {}
    for offset, planned in enumerate(runs[0]):
        module = planned.mapping.module
        if module is None:
            modules.append(None)
            continue
        args = {}
        for key, value in module.args.items():
            column = tuple(_hashable(run[offset].mapping.module.args[key]) for run in runs)
            if all(v == column[0] and type(v) is type(column[0]) for v in column):
                args[key] = value
            else:
                if column not in columns:
                    columns[column] = _parameter_name(key, set(columns.values()))
                args[key] = Parameter(columns[column])
        modules.append(replace(module, args=args))
    kinds = {planned.node.layer.kind for planned in runs[0]}
    title = "ResidualBlock" if kinds & {"Add", "ops.Add"} else "ConcatBlock" if "Concatenate" in kinds else "ScaleBlock" if "Multiply" in kinds else "Block"
    attrs = tuple(name if planned.attr else None for name, planned in zip(names, runs[0]))
    block = Block(class_name(title), tuple(columns.values()), attrs, tuple(names), tuple(modules))
    uses = []
    for k, (a, b) in enumerate(ranges):
        inside = {t for i in range(a, b) for t in nodes[i].node.outputs}
        entries = tuple(dict.fromkeys(t for i in range(a, b) for t in nodes[i].node.inputs if t not in inside))
        outside = {t for i, planned in enumerate(nodes) if not a <= i < b for t in planned.node.inputs} | set(graph.outputs)
        exits = [t for t in nodes[b - 1].node.outputs if t in outside]
        uses.append(Use(block, a, b, "", tuple(column[k] for column in columns), entries, exits[0]))
    return uses


def _placed(uses: list[Use], nodes: Sequence[PlannedNode], attr: Callable[[str], str]) -> list[Use]:
    """Give every use its attribute; neighbours of one class share an nn.Sequential."""
    groups: list[list[Use]] = []
    for use in uses:
        last = groups[-1][-1] if groups else None
        if last is not None and last.block is use.block and last.stop == use.start and len(use.entries) == 1:
            groups[-1].append(use)
        else:
            groups.append([use])
    placed = []
    for group in groups:
        inside = nodes[group[0].start : group[-1].stop]
        names = [planned.node.layer.name for planned in inside if planned.attr] or [planned.node.layer.name for planned in inside]
        home = attr(_prefix(names) or _snake(group[0].block.class_name))
        placed += [replace(use, attr=f"{home}.{k}" if len(group) > 1 else home) for k, use in enumerate(group)]
    return placed


def _inner_names(names: Sequence[str], held: Sequence[str], reserved: Set[str]) -> list[str]:
    """Names inside a block: what the layers' names have in common goes; ``1_conv`` becomes ``conv1``, ``conv2d_7`` ``conv2d``.

    held: names of the layers that the block holds as modules; an Add between them is often named by Keras alone.
    """
    common = _common(held or names)
    result: list[str] = []
    for name in names:
        short = re.sub(r"\W", "_", name.removeprefix(common)).strip("_") or "layer"
        if not common:
            short = re.sub(r"_\d+$", "", short)
        match = re.fullmatch(r"(\d+)_(.+)", short)
        if match:
            short = f"{match[2]}{match[1]}"
        if short[0].isdigit():
            short = f"layer{short}"
        unique, k = short, 2
        while unique in result or unique in reserved:
            unique, k = f"{short}_{k}", k + 1
        result.append(unique)
    return result


def _common(names: Sequence[str]) -> str:
    """The common beginning of several names, up to an underscore."""
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("_", 0, length) + 1]


def _prefix(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return re.sub(r"\W", "_", first[:length]).strip("_")


def _parameter_name(key: str, taken: set[str]) -> str:
    name, k = key, 2
    while name in taken:
        name, k = f"{key}_{k}", k + 1
    return name


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
