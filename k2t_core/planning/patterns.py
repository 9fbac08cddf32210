"""Where structure repeats: the calls of a graph as units, and the runs of them that could be one class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from k2t_core.graph import Graph
from k2t_core.planning.blocks import Use
from k2t_core.rules import registry
from k2t_core.rules.registry import Module

MIN_PATTERN = 4  # calls in a block
MIN_SAVED = 8  # statements that folding must save
MAX_PIECES = 40
MOTIF_USES = 4
LASTING = 6  # calls after which a tensor that was read already is read again from afar


@dataclass(frozen=True, eq=False)
class Unit:
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
Finder = Callable[[Sequence[Unit]], list[Runs]]


class Patterns:
    """The ways to look for repeated runs in units of a graph."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self._read: tuple[Sequence[Unit], dict[str, list[int]]] = ((), {})  # of the units that were looked at last

    def straight(self, units: Sequence[Unit]) -> list[Runs]:
        return self._repeated(units, width=1, lasting=self._always(units))

    def straight_but_for_lasting(self, units: Sequence[Unit]) -> list[Runs]:
        """What is read again from afar (an encoder's output, a skip connection) does not keep a piece together."""
        readers = readers_of(units)
        far = {t for t, at in readers.items() if len(at) > 1 and at[-1] - at[0] > LASTING}
        return self._repeated(units, width=1, lasting=self._always(units) | far)

    def in_pairs(self, units: Sequence[Unit]) -> list[Runs]:
        """Each piece hands on two tensors: its own result and the one before it, as NASNet's cells do."""
        return self._repeated(units, width=2, lasting=self._always(units))

    def _always(self, units: Sequence[Unit]) -> set[str]:
        return {t for t, spec in self.graph.tensors.items() if spec.dtype == "bool"} | set(self.graph.inputs[1:])

    def chains(self, units: Sequence[Unit]) -> list[Runs]:
        """A layer with a kernel, its BatchNormalization and its activation."""
        found: dict[Any, Runs] = {}
        readers = readers_of(units)
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
                code = wiring(units, index, stop)
                if code is not None:
                    found.setdefault(code, []).append((index, stop))
        return [runs for runs in found.values() if len(runs) >= MOTIF_USES]

    def diamonds(self, units: Sequence[Unit]) -> list[Runs]:
        """From a tensor that is read twice to where its branches meet again, within something larger.

        Squeeze and excitation is one.
        """
        found: dict[Any, Runs] = {}
        inside: set[Any] = set()
        readers = readers_of(units)
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
                or self.ends(units, start, stop) != ((entry,), units[stop - 1].outputs[0])
            ):
                continue
            code = wiring(units, start, stop)
            if code is None:
                continue
            found.setdefault(code, []).append((start, stop))
            last = stop
            if any(at[-1] >= stop for t, at in readers.items() if t != entry and made.get(t, -1) < start):
                inside.add(code)
        return [runs for code, runs in found.items() if code in inside and len(runs) >= MOTIF_USES]

    def _repeated(self, units: Sequence[Unit], width: int, lasting: set[str]) -> list[Runs]:
        """Runs of pieces that repeat, the most worthwhile first."""
        pieces = self._pieces(units, width, lasting)
        wirings: dict[tuple[int, int], Any] = {}
        codes: dict[Any, int] = {}
        sequence = []
        for index, (a, b) in enumerate(pieces):
            code = wiring(units, a, b)
            sequence.append(-1 - index if code is None else codes.setdefault(code, len(codes)))
        found: list[Runs] = []
        while (best := self._best(units, pieces, sequence, wirings)) is not None:
            found.append([(pieces[a][0], pieces[b - 1][1]) for a, b in best])
            for a, b in best:
                for k in range(a, b):
                    sequence[k] = -1 - len(sequence) - k  # taken: matches nothing any more
        return found

    def _best(
        self, units: Sequence[Unit], pieces: Runs, sequence: list[int], wirings: dict[tuple[int, int], Any]
    ) -> Runs | None:
        """The runs of pieces, by their numbers, whose folding saves most; None where none saves enough.

        sequence: what piece each is; below 0 where it is like no other.
        """
        sizes = [sum(unit.statements for unit in units[a:b]) for a, b in pieces]
        up_to = [0, *accumulate(sizes)]
        calls_up_to = [0, *accumulate(sum(unit.stop - unit.start for unit in units[a:b]) for a, b in pieces)]
        best: tuple[tuple[int, int, int], Runs] | None = None
        for length, starts in _windows(sequence):
            end = starts[0] + length
            size = up_to[end] - up_to[starts[0]]
            # Of equal savings, the run that begins with its largest piece: a block, then its activation.
            score = ((_apart(starts, length) - 1) * size, sizes[starts[0]], -length)
            if (
                calls_up_to[end] - calls_up_to[starts[0]] < MIN_PATTERN
                or score[0] < MIN_SAVED
                or best is not None
                and score <= best[0]
            ):
                continue
            runs = [(pieces[s][0], pieces[s + length - 1][1], s) for s in starts]
            for alike in self._alike(units, runs, wirings):
                score = ((len(alike) - 1) * size, sizes[starts[0]], -length)
                if score[0] >= MIN_SAVED and (best is None or score > best[0]):
                    best = (score, [(s, s + length) for s in alike])
        return best and best[1]

    def _alike(
        self, units: Sequence[Unit], runs: list[tuple[int, int, int]], codes: dict[tuple[int, int], Any]
    ) -> list[list[int]]:
        """The runs that can be a class, those of equal wiring together, without overlap: the third number of each.

        codes: the wiring of the runs seen so far, None for those that cannot be a class.
        """
        groups: dict[Any, list[tuple[int, int, int]]] = {}
        for a, b, key in runs:
            if (a, b) not in codes:
                entries, exit = self.ends(units, a, b)
                codes[a, b] = wiring(units, a, b) if exit is not None and len(entries) <= 4 else None
            if codes[a, b] is not None:
                known = groups.setdefault(codes[a, b], [])
                if not known or a >= known[-1][1]:
                    known.append((a, b, key))
        return [[key for _, _, key in group] for group in groups.values() if len(group) > 1]

    def _pieces(self, units: Sequence[Unit], width: int, lasting: set[str]) -> Runs:
        """Cut the units wherever ``width`` tensors (beside ``lasting`` ones) carry everything on."""
        readers = readers_of(units)
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

    def ends(self, units: Sequence[Unit], start: int, stop: int) -> tuple[tuple[str, ...], str | None]:
        """What a run reads from outside, and the one tensor that it gives.

        None where it gives more, or from its middle.
        """
        inside = {t for unit in units[start:stop] for t in unit.outputs}
        entries = tuple(dict.fromkeys(t for unit in units[start:stop] for t in unit.inputs if t not in inside))
        readers = self._readers(units)
        given = [t for t in inside if t in self.graph.outputs or readers.get(t, (-1,))[-1] >= stop]
        return entries, given[0] if len(given) == 1 and given[0] in units[stop - 1].outputs else None

    def _readers(self, units: Sequence[Unit]) -> dict[str, list[int]]:
        if self._read[0] is not units:
            self._read = (units, readers_of(units))
        return self._read[1]


def readers_of(units: Sequence[Unit]) -> dict[str, list[int]]:
    """Tensor → the units that read it."""
    found: dict[str, list[int]] = {}
    for index, unit in enumerate(units):
        for t in dict.fromkeys(unit.inputs):
            found.setdefault(t, []).append(index)
    return found


def wiring(units: Sequence[Unit], start: int, stop: int) -> Any:
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


def _windows(sequence: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """(length, where it begins) of every window that occurs more than once, short ones first."""
    windows = dict.fromkeys(range(len(sequence)), 0)  # start → number of the window that begins there
    for length in range(1, min(MAX_PIECES, len(sequence) // 2) + 1):
        numbers: dict[tuple[int, int], int] = {}
        places: dict[int, list[int]] = {}
        for start, number in windows.items():
            end = start + length
            if end <= len(sequence) and sequence[end - 1] >= 0:
                places.setdefault(numbers.setdefault((number, sequence[end - 1]), len(numbers)), []).append(start)
        places = {number: starts for number, starts in places.items() if len(starts) > 1}
        if not places:
            return
        windows = dict(sorted((start, number) for number, starts in places.items() for start in starts))
        for starts in places.values():
            yield length, starts


def _apart(starts: Sequence[int], length: int) -> int:
    """How many windows of a length can be had at these starts without overlap."""
    number, free = 0, 0
    for start in starts:
        if start >= free:
            number, free = number + 1, start + length
    return number
