"""Repeated structure → block classes, so that a ResNet fits on a screen instead of running to hundreds of lines.

The calls of a graph are cut where a tensor or two carry everything on; runs of such pieces that occur several times,
alike in modules and wiring, become one class whose constructor takes what differs between them. Before that, small
motifs may become classes of their own (convolution, normalisation and activation; squeeze and excitation), so that
larger blocks are built of them. Of all these ways the one with the fewest lines is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from k2t_core.graph import Graph
from k2t_core.planning.block_names import chain_title, inner_names, title, together
from k2t_core.planning.block_parameters import Parameters
from k2t_core.planning.blocks import Block, BlockModule, Use
from k2t_core.planning.names import Names, common_prefix, snake_case
from k2t_core.planning.patterns import MIN_PATTERN, MIN_SAVED, Finder, Patterns, Runs, Unit
from k2t_core.rules.registry import Module
from k2t_core.rules.slots import is_slot

if TYPE_CHECKING:
    from k2t_core.planning.plan import PlannedNode


SMALL = 40  # calls; a smaller class reads well as it is, with the layers' own names, so folding must save more there
SMALL_SHARE = 0.92  # of its lines may be left
CLASS_LINES = 8  # of a class beside its statements
NESTED_SHARE = 0.88  # a block of blocks must be this much shorter: it sends the reader from class to class


def fold(
    graph: Graph, nodes: Sequence[PlannedNode], class_name: Callable[[str], str], attrs: Names
) -> tuple[tuple[Use, ...], tuple[PlannedNode, ...]]:
    """The uses of blocks in a scope, and its calls with their modules' new homes.

    class_name: gives a free name near the one asked for. attrs: the names of the scope's modules.
    """
    folder = _Folder(graph, nodes, attrs.reserved)
    steps = folder.best()
    if steps is None:
        return (), tuple(nodes)
    uses = [unit.part for unit in folder.folded(steps, class_name) if isinstance(unit.part, Use)]
    uses = _placed(uses, graph, nodes, attrs)
    moved = list(nodes)
    for use in uses:
        for inner in use.walk():
            for part, name in zip(inner.parts, inner.block.attrs):
                if isinstance(part, int) and name is not None:
                    moved[part] = replace(nodes[part], attr=f"{inner.attr}.{name}")
    return tuple(uses), tuple(moved)


class _Folder:
    def __init__(self, graph: Graph, nodes: Sequence[PlannedNode], reserved: Set[str]):
        self.nodes, self.reserved, self.patterns = nodes, reserved, Patterns(graph)
        shared = Counter(id(planned.node.layer) for planned in nodes)
        numbers: dict[Any, int] = {}  # of equal codes: long windows of them are compared often
        leaves = [
            _leaf(index, planned, shared[id(planned.node.layer)] == 1 or _is_stateless(planned))
            for index, planned in enumerate(nodes)
        ]
        self.leaves = [
            unit if unit.code is None else replace(unit, code=numbers.setdefault(unit.code, len(numbers)))
            for unit in leaves
        ]

    def best(self) -> list[Finder] | None:
        """The way of folding with the fewest lines; None where none is worth it."""
        if len(self.nodes) < 2 * MIN_PATTERN:
            return None
        lines = _lines(self.leaves)
        limit = lines - MIN_SAVED if len(self.nodes) >= SMALL else lines * SMALL_SHARE
        runs: list[Finder] = [self.patterns.straight, self.patterns.straight_but_for_lasting, self.patterns.in_pairs]
        tried: dict[tuple[Finder, ...], float] = {(run,): _lines(self.folded([run])) for run in runs}
        main = min(tried, key=lambda way: tried[way])
        if len(self.nodes) >= SMALL:
            before = tried[main]
            for motifs in (
                [self.patterns.diamonds],
                [self.patterns.chains],
                [self.patterns.diamonds, self.patterns.chains],
            ):
                for run in runs:
                    found = _lines(self.folded([*motifs, run]))
                    if found < min(tried[main], before * NESTED_SHARE):
                        main = (*motifs, run)
                        tried[main] = found
        return list(main) if tried[main] <= limit else None

    def folded(self, steps: Sequence[Finder], class_name: Callable[[str], str] | None = None) -> list[Unit]:
        """The units that are left after folding; without ``class_name`` only to be counted."""
        numbers = count(1)
        name = class_name or (lambda title: f"{title}_{next(numbers)}")
        units = list(self.leaves)
        for find in steps:
            blocks: dict[int, Unit] = {}
            for runs in sorted(find(units)):  # classes are numbered as they are met
                blocks.update(self._block(units, runs, name, chain=find == self.patterns.chains))
            merged, index = [], 0
            while index < len(units):
                unit = blocks.get(index, units[index])
                merged.append(unit)
                index += len(unit.part.parts) if index in blocks and isinstance(unit.part, Use) else 1
            units = merged
        return units

    def _block(
        self, units: Sequence[Unit], runs: Runs, class_name: Callable[[str], str], chain: bool
    ) -> dict[int, Unit]:
        """First unit of each run → the unit that stands for the run."""
        first = units[runs[0][0] : runs[0][1]]
        names = (
            ["conv" if "convolution" in first[0].roles else "linear", "bn", "act"]
            if chain
            else inner_names(first, self.reserved)
        )
        maker = Parameters([[unit.module for unit in units[a:b]] for a, b in runs])
        attrs = tuple(name if unit.module is not None else None for name, unit in zip(names, first))
        name = chain_title(first, self._config(first[2:])) if chain else title(first)
        block = Block(class_name(name), tuple(maker.columns), attrs, tuple(names[: len(first)]), maker.modules)
        composed = {}
        for k, (a, b) in enumerate(runs):
            parts = units[a:b]
            entries, exit = self.patterns.ends(units, a, b)
            assert exit is not None  # of a run that can be a class
            values = tuple(column[k] for column in maker.columns.values())
            use = Use(
                block, parts[0].start, parts[-1].stop, "", values, entries, exit, tuple(unit.part for unit in parts)
            )
            module = BlockModule(block.class_name, dict(zip(block.parameters, values)), block=block)
            kinds = frozenset().union(*(unit.kinds for unit in parts))
            composed[a] = Unit(
                use, use.start, use.stop, entries, (exit,), ("block", id(block)), module, together(parts), kinds, 2
            )
        return composed

    def _config(self, units: Sequence[Unit]) -> Mapping[str, Any] | None:
        """The config of the layer that is the first of these units, None where there are none."""
        return self.nodes[units[0].start].node.layer.config if units else None


def _is_stateless(planned: PlannedNode) -> bool:
    """Whether a module that is called twice may as well be two: a Dropout, an activation."""
    return (
        planned.mapping is not None
        and planned.child is None
        and not planned.mapping.weights
        and not planned.mapping.init
    )


def _leaf(index: int, planned: PlannedNode, alone: bool) -> Unit:
    node, mapping = planned.node, planned.mapping
    if mapping is None:
        return Unit(
            index,
            index,
            index + 1,
            node.inputs,
            node.outputs,
            None,
            None,
            node.layer.name,
            frozenset({node.layer.kind}),
            1,
        )
    module, code = mapping.module, None
    if planned.child is None and alone:
        shape = None
        if module is not None:
            fixed = tuple((k, v) for k, v in module.args.items() if isinstance(v, (Module, dict)))
            shape = (module.cls, module.positional, module.dtype, tuple(module.args), repr(fixed))
        code = (mapping.forward, mapping.init, shape, planned.inputs, planned.wants, planned.outputs)
    text = mapping.forward
    statements = len(text) if isinstance(text, tuple) else 0 if is_slot(text) else 1
    return Unit(
        index,
        index,
        index + 1,
        node.inputs,
        node.outputs,
        code,
        module,
        node.layer.name,
        frozenset({node.layer.kind}),
        statements + (module is not None) + len(mapping.init),
    )


def _lines(units: Sequence[Unit]) -> int:
    """About how long the classes will be."""
    total, blocks, before = 0, {}, None
    for unit in units:
        if not isinstance(unit.part, Use):
            total, before = total + unit.statements, None
            continue
        total += (
            0
            if before is not None and unit.part.block is before.block and unit.inputs == (before.exit,)
            else unit.statements
        )  # they share a Sequential
        before = unit.part
        for use in unit.part.walk():
            blocks[id(use.block)] = use
    return total + sum(CLASS_LINES + _body(use) for use in blocks.values())


def _body(use: Use) -> int:
    return sum(1 + (module is not None) for module in use.block.modules)


def _placed(uses: list[Use], graph: Graph, nodes: Sequence[PlannedNode], attrs: Names) -> list[Use]:
    """Give every use its attribute; neighbours of one class share an nn.Sequential."""
    groups: list[list[Use]] = []
    last_reader = {t: index for index, planned in enumerate(nodes) for t in planned.node.inputs}
    for use in uses:
        last = groups[-1][-1] if groups else None
        follows = (
            last is not None
            and last.stop == use.start
            and use.entries == (last.exit,)
            and last_reader[last.exit] < use.stop
            and last.exit not in graph.outputs
        )
        if follows and last is not None and last.block is use.block:
            groups[-1].append(use)
        else:
            groups.append([use])
    placed = []
    attrs.taken -= {planned.attr for use in uses for planned in nodes[use.start : use.stop]}
    for group in groups:
        calls = nodes[group[0].start : group[-1].stop]
        names = [planned.node.layer.name for planned in calls if planned.attr] or [
            planned.node.layer.name for planned in calls
        ]
        small = len(calls) < MIN_PATTERN
        home = attrs.new(common_prefix(names) or (names[0] if small else snake_case(group[0].block.class_name)))
        placed += [_at(use, f"{home}.{k}" if len(group) > 1 else home) for k, use in enumerate(group)]
    return placed


def _at(use: Use, attr: str) -> Use:
    parts = tuple(
        _at(part, f"{attr}.{name}") if isinstance(part, Use) else part for part, name in zip(use.parts, use.block.attrs)
    )
    return replace(use, attr=attr, parts=parts)
