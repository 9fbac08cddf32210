"""Repeated structure → block classes, so that a ResNet fits on a screen instead of running to hundreds of lines.

The calls of a graph are cut where a tensor or two carry everything on; runs of such pieces that occur several times,
alike in modules and wiring, become one class whose constructor takes what differs between them. Before that, small
motifs may become classes of their own (convolution, normalisation and activation; squeeze and excitation), so that
larger blocks are built of them. Of all these ways the one with the fewest lines is taken.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, count
from typing import TYPE_CHECKING, Any

from k2t_core.graph import Graph
from k2t_core.names import unused
from k2t_core.planning.block_parameters import Parameters
from k2t_core.planning.blocks import Block, BlockModule, Use
from k2t_core.planning.names import Names, common_beginning, common_prefix, snake_case
from k2t_core.rules import registry
from k2t_core.rules.registry import Module
from k2t_core.rules.slots import is_slot

if TYPE_CHECKING:
    from k2t_core.planning.plan import PlannedNode


SMALL = 40  # calls; a smaller class reads well as it is, with the layers' own names, so folding must save more there
SMALL_SHARE = 0.92  # of its lines may be left
MIN_PATTERN = 4  # calls in a block
MIN_SAVED = 8  # statements that folding must save
MAX_PIECES = 40
CLASS_LINES = 8  # of a class beside its statements
NESTED_SHARE = 0.88  # a block of blocks must be this much shorter: it sends the reader from class to class
MOTIF_USES = 4
LASTING = 6  # calls after which a tensor that was read already is read again from afar
ACTIVATIONS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "silu": "SiLU",
    "swish": "SiLU",
    "gelu": "GELU",
    "hard_swish": "HardSwish",
    "hard_silu": "HardSwish",
    "elu": "ELU",
    "leaky_relu": "LeakyReLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
}


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


@dataclass(frozen=True, eq=False)
class _Unit:
    """A call, or a block of several. ``code``: what units must share to be one statement; None: must not be folded."""

    part: int | Use
    start: int
    stop: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    code: Any
    module: Module | None
    name: str
    kinds: frozenset[str]
    statements: int

    @cached_property
    def roles(self) -> set[str | None]:
        return {registry.known(kind).role for kind in self.kinds}


Runs = list[tuple[int, int]]  # (first unit, last unit + 1) of each occurrence of a pattern
Finder = Callable[[Sequence[_Unit]], list[Runs]]


class _Folder:
    def __init__(self, graph: Graph, nodes: Sequence[PlannedNode], reserved: Set[str]):
        self.graph, self.nodes, self.reserved = graph, nodes, reserved
        self._read: tuple[Sequence[_Unit], dict[str, list[int]]] = ((), {})
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
        runs: list[Finder] = [self._straight, self._straight_but_for_lasting, self._in_pairs]
        tried = {(run,): _lines(self.folded([run])) for run in runs}
        main = min(tried, key=tried.get)
        if len(self.nodes) >= SMALL:
            before = tried[main]
            for motifs in ([self._diamonds], [self._chains], [self._diamonds, self._chains]):
                for run in runs:
                    found = _lines(self.folded([*motifs, run]))
                    if found < min(tried[main], before * NESTED_SHARE):
                        main = (*motifs, run)
                        tried[main] = found
        return list(main) if tried[main] <= limit else None

    def folded(self, steps: Sequence[Finder], class_name: Callable[[str], str] | None = None) -> list[_Unit]:
        """The units that are left after folding; without ``class_name`` only to be counted."""
        numbers = count(1)
        name = class_name or (lambda title: f"{title}_{next(numbers)}")
        units = list(self.leaves)
        for find in steps:
            blocks: dict[int, _Unit] = {}
            for runs in sorted(find(units)):  # classes are numbered as they are met
                blocks.update(self._block(units, runs, name, chain=find == self._chains))
            merged, index = [], 0
            while index < len(units):
                unit = blocks.get(index, units[index])
                merged.append(unit)
                index += len(unit.part.parts) if index in blocks else 1
            units = merged
        return units

    # Where to look for patterns.

    def _straight(self, units: Sequence[_Unit]) -> list[Runs]:
        return self._repeated(units, width=1, lasting=self._always(units))

    def _straight_but_for_lasting(self, units: Sequence[_Unit]) -> list[Runs]:
        """What is read again from afar (an encoder's output, a skip connection) does not keep a piece together."""
        readers = _readers(units)
        far = {t for t, at in readers.items() if len(at) > 1 and at[-1] - at[0] > LASTING}
        return self._repeated(units, width=1, lasting=self._always(units) | far)

    def _in_pairs(self, units: Sequence[_Unit]) -> list[Runs]:
        """Each piece hands on two tensors: its own result and the one before it, as NASNet's cells do."""
        return self._repeated(units, width=2, lasting=self._always(units))

    def _always(self, units: Sequence[_Unit]) -> set[str]:
        return {t for t, spec in self.graph.tensors.items() if spec.dtype == "bool"} | set(self.graph.inputs[1:])

    def _chains(self, units: Sequence[_Unit]) -> list[Runs]:
        """A layer with a kernel, its BatchNormalization and its activation."""
        found: dict[Any, Runs] = {}
        readers = _readers(units)
        for index, unit in enumerate(units):
            if unit.module is None or isinstance(unit.part, Use) or not unit.roles & {"convolution", "dense"}:
                continue
            stop = index + 1
            while stop < min(index + 3, len(units)):
                following = units[stop]
                wanted = "normalization" if stop == index + 1 else "activation"
                given = units[stop - 1].outputs
                if (
                    wanted not in following.roles
                    or following.inputs != given
                    or readers[given[0]] != [stop]
                    or given[0] in self.graph.outputs
                ):
                    break
                stop += 1
            if stop > index + 1 and len(unit.inputs) == 1:
                code = _code(units, index, stop)
                if code is not None:
                    found.setdefault(code, []).append((index, stop))
        return [runs for runs in found.values() if len(runs) >= MOTIF_USES]

    def _diamonds(self, units: Sequence[_Unit]) -> list[Runs]:
        """From a tensor that is read twice to where its branches meet again, within something larger.

        Squeeze and excitation is one.
        """
        found: dict[Any, Runs] = {}
        inside: set[Any] = set()
        readers = _readers(units)
        made = {t: index for index, unit in enumerate(units) for t in unit.outputs}
        last = 0
        for start, unit in enumerate(units):
            if start < last or len(unit.inputs) != 1:
                continue
            entry = unit.inputs[0]
            at = readers.get(entry, [])
            stop = at[-1] + 1 if len(at) == 2 and at[0] == start else 0
            if (
                not MIN_PATTERN <= stop - start <= 2 * MIN_PATTERN
                or len(units[stop - 1].inputs) < 2
                or self._ends(units, start, stop) != ((entry,), units[stop - 1].outputs[0])
            ):
                continue
            code = _code(units, start, stop)
            if code is None:
                continue
            found.setdefault(code, []).append((start, stop))
            last = stop
            if any(at[-1] >= stop for t, at in readers.items() if t != entry and made.get(t, -1) < start):
                inside.add(code)
        return [runs for code, runs in found.items() if code in inside and len(runs) >= MOTIF_USES]

    def _repeated(self, units: Sequence[_Unit], width: int, lasting: set[str]) -> list[Runs]:
        """Runs of pieces that repeat, the most worthwhile first."""
        pieces = self._pieces(units, width, lasting)
        wirings: dict[tuple[int, int], Any] = {}
        codes: dict[Any, int] = {}
        sequence = []
        for index, (a, b) in enumerate(pieces):
            code = _code(units, a, b)
            sequence.append(-1 - index if code is None else codes.setdefault(code, len(codes)))
        sizes = [sum(unit.statements for unit in units[a:b]) for a, b in pieces]
        up_to = [0, *accumulate(sizes)]
        calls_up_to = [0, *accumulate(sum(unit.stop - unit.start for unit in units[a:b]) for a, b in pieces)]
        found = []
        while True:
            best: tuple[tuple[int, int, int], list[tuple[int, int]]] | None = None
            windows = {start: 0 for start in range(len(sequence))}  # start → number of the window that begins there
            for length in range(1, min(MAX_PIECES, len(sequence) // 2) + 1):
                numbers: dict[tuple[int, int], int] = {}
                places: dict[int, list[int]] = {}
                for start, number in windows.items():
                    end = start + length
                    if end <= len(sequence) and sequence[end - 1] >= 0:
                        places.setdefault(numbers.setdefault((number, sequence[end - 1]), len(numbers)), []).append(
                            start
                        )
                places = {number: starts for number, starts in places.items() if len(starts) > 1}
                if not places:
                    break
                windows = dict(sorted((start, number) for number, starts in places.items() for start in starts))
                for starts in places.values():
                    end = starts[0] + length
                    size = up_to[end] - up_to[starts[0]]
                    score = ((_apart(starts, length) - 1) * size, sizes[starts[0]], -length)
                    if (
                        calls_up_to[end] - calls_up_to[starts[0]] < MIN_PATTERN
                        or score[0] < MIN_SAVED
                        or best is not None
                        and score <= best[0]
                    ):
                        continue
                    for alike in self._alike(
                        units, [(pieces[s][0], pieces[s + length - 1][1], s) for s in starts], wirings
                    ):
                        # Of equal savings, the run that begins with its largest piece: a block, then its activation.
                        score = ((len(alike) - 1) * size, sizes[starts[0]], -length)
                        if score[0] >= MIN_SAVED and (best is None or score > best[0]):
                            best = (score, [(s, s + length) for s in alike])
            if best is None:
                return found
            found.append([(pieces[a][0], pieces[b - 1][1]) for a, b in best[1]])
            for a, b in best[1]:
                for k in range(a, b):
                    sequence[k] = -1 - len(sequence) - k  # taken: matches nothing any more

    def _alike(
        self, units: Sequence[_Unit], runs: list[tuple[int, int, int]], codes: dict[tuple[int, int], Any]
    ) -> list[list[int]]:
        """The runs that can be a class, those of equal wiring together, without overlap: the third number of each.

        codes: the wiring of the runs seen so far, None for those that cannot be a class.
        """
        groups: dict[Any, list[tuple[int, int, int]]] = {}
        for a, b, key in runs:
            if (a, b) not in codes:
                entries, exit = self._ends(units, a, b)
                codes[a, b] = _code(units, a, b) if exit is not None and len(entries) <= 4 else None
            if codes[a, b] is not None:
                known = groups.setdefault(codes[a, b], [])
                if not known or a >= known[-1][1]:
                    known.append((a, b, key))
        return [[key for _, _, key in group] for group in groups.values() if len(group) > 1]

    def _pieces(self, units: Sequence[_Unit], width: int, lasting: set[str]) -> Runs:
        """Cut the units wherever ``width`` tensors (beside ``lasting`` ones) carry everything on."""
        readers = _readers(units)
        live = set(self.graph.inputs) - lasting
        pieces, start = [], 0
        for index, unit in enumerate(units):
            live |= {t for t in unit.outputs if t not in lasting}
            live = {t for t in live if readers.get(t, (-1,))[-1] > index}
            if len(live) <= width:
                pieces.append((start, index + 1))
                start = index + 1
        if start < len(units):
            pieces.append((start, len(units)))
        return pieces

    def _ends(self, units: Sequence[_Unit], start: int, stop: int) -> tuple[tuple[str, ...], str | None]:
        """What a run reads from outside, and the one tensor that it gives.

        None where it gives more, or from its middle.
        """
        inside = {t for unit in units[start:stop] for t in unit.outputs}
        entries = tuple(dict.fromkeys(t for unit in units[start:stop] for t in unit.inputs if t not in inside))
        readers = self._readers_of_all(units)
        given = [t for t in inside if t in self.graph.outputs or readers.get(t, (-1,))[-1] >= stop]
        return entries, given[0] if len(given) == 1 and given[0] in units[stop - 1].outputs else None

    def _readers_of_all(self, units: Sequence[_Unit]) -> dict[str, list[int]]:
        if self._read[0] is not units:
            self._read = (units, _readers(units))
        return self._read[1]

    # From a pattern to a class.

    def _block(
        self, units: Sequence[_Unit], runs: Runs, class_name: Callable[[str], str], chain: bool
    ) -> dict[int, _Unit]:
        """First unit of each run → the unit that stands for the run."""
        first = units[runs[0][0] : runs[0][1]]
        names = (
            ["conv" if "convolution" in first[0].roles else "linear", "bn", "act"]
            if chain
            else _inner_names(first, self.reserved)
        )
        maker = Parameters([[unit.module for unit in units[a:b]] for a, b in runs])
        attrs = tuple(name if unit.module is not None else None for name, unit in zip(names, first))
        title = self._chain_title(first) if chain else self._title(first, runs[0])
        block = Block(class_name(title), tuple(maker.columns), attrs, tuple(names[: len(first)]), maker.modules)
        composed = {}
        for k, (a, b) in enumerate(runs):
            parts = units[a:b]
            entries, exit = self._ends(units, a, b)
            values = tuple(column[k] for column in maker.columns.values())
            use = Use(
                block, parts[0].start, parts[-1].stop, "", values, entries, exit, tuple(unit.part for unit in parts)
            )
            module = BlockModule(block.class_name, dict(zip(block.parameters, values)), block=block)
            kinds = frozenset().union(*(unit.kinds for unit in parts))
            composed[a] = _Unit(
                use, use.start, use.stop, entries, (exit,), ("block", id(block)), module, _together(parts), kinds, 2
            )
        return composed

    def _title(self, first: Sequence[_Unit], run: tuple[int, int]) -> str:
        kinds = {kind for unit in first for kind in unit.kinds}
        roles = {role for unit in first for role in unit.roles}
        inside = {t for unit in first for t in unit.outputs}
        if "attention" in roles:
            return "TransformerBlock"
        if "add" in roles:
            adds = [unit for unit in first if "add" in unit.roles and isinstance(unit.part, int)]
            return (
                "ResidualBlock"
                if not adds or any(t not in inside for unit in adds for t in unit.inputs)
                else "ProjectionBlock"
            )
        if "concatenate" in roles:
            return "ConcatBlock"
        if "multiply" in roles:
            return (
                "SqueezeExcite"
                if any("Global" in kind or kind == "ops.Mean" for kind in kinds)
                and len(first) <= 2 * MIN_PATTERN
                and first[-1].roles == {"multiply"}
                else "GatedBlock"
            )
        convolves = "convolution" in roles
        if convolves and any("Pooling" in kind for kind in kinds):
            return "DownBlock"
        return "ConvBlock" if convolves else "Block"

    def _chain_title(self, first: Sequence[_Unit]) -> str:
        kernel = next(iter(first[0].kinds))
        title = (
            "SeparableConv"
            if kernel.startswith("Separable")
            else "ConvTranspose"
            if "Transpose" in kernel
            else "Conv"
            if "convolution" in first[0].roles
            else "Linear"
        ) + "BN"
        if len(first) < 3:
            return title
        config = self.nodes[first[2].start].node.layer.config
        kind = next(iter(first[2].kinds))
        return title + (ACTIVATIONS.get(str(config["activation"]), "Act") if "activation" in config else kind)


def _is_stateless(planned: PlannedNode) -> bool:
    """Whether a module that is called twice may as well be two: a Dropout, an activation."""
    return (
        planned.mapping is not None
        and planned.child is None
        and not planned.mapping.weights
        and not planned.mapping.init
    )


def _leaf(index: int, planned: PlannedNode, alone: bool) -> _Unit:
    node, mapping = planned.node, planned.mapping
    if mapping is None:
        return _Unit(
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
    return _Unit(
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


def _readers(units: Sequence[_Unit]) -> dict[str, list[int]]:
    """Tensor → the units that read it."""
    found: dict[str, list[int]] = {}
    for index, unit in enumerate(units):
        for t in dict.fromkeys(unit.inputs):
            found.setdefault(t, []).append(index)
    return found


def _code(units: Sequence[_Unit], start: int, stop: int) -> Any:
    """What two runs must share to be one class: everything but the values of constructor arguments."""
    made: dict[str, Any] = {}
    entries: dict[str, Any] = {}
    calls = []
    for index in range(start, stop):
        unit = units[index]
        if unit.code is None:
            return None
        calls.append(
            (unit.code, tuple(made[t] if t in made else entries.setdefault(t, len(entries)) for t in unit.inputs))
        )
        for k, t in enumerate(unit.outputs):
            made[t] = (index - start, k)
    return tuple(calls)


def _lines(units: Sequence[_Unit]) -> int:
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


def _apart(starts: Sequence[int], length: int) -> int:
    """How many windows of a length can be had at these starts without overlap."""
    number, free = 0, 0
    for start in starts:
        if start >= free:
            number, free = number + 1, start + length
    return number


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
        if follows and last.block is use.block:
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


def _inner_names(units: Sequence[_Unit], reserved: Set[str]) -> list[str]:
    """Names inside a block: what the layers' names have in common goes.

    ``1_conv`` becomes ``conv1``, ``conv2d_7`` ``conv2d``.
    """
    common = common_beginning([unit.name for unit in units if unit.module is not None] or [unit.name for unit in units])
    result: list[str] = []
    for unit in units:
        short = re.sub(r"\W", "_", unit.name.removeprefix(common)).strip("_") or "layer"
        if not common:
            short = re.sub(r"_\d+$", "", short)
        match = re.fullmatch(r"(\d+)_(.+)", short)
        if match:
            short = f"{match[2]}{match[1]}"
        if short[0].isdigit():
            short = f"layer{short}"
        result.append(unused(short, reserved | set(result)))
    return result


def _together(units: Sequence[_Unit]) -> str:
    """A name for a block from its layers' names: what they begin with where that says something, else the first's."""
    names = [unit.name for unit in units if unit.module is not None] or [unit.name for unit in units]
    prefix = common_prefix(names)
    return prefix if re.search(r"[^\W\d]{2,}\d*$", prefix) and len(names) > 1 else names[0]
