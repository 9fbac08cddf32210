"""The parameters of a block class: in what its uses differ, and what follows from what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from k2t_core.names import unused
from k2t_core.planning.blocks import Parameter, is_width
from k2t_core.rules.registry import Expression, Module


class Parameters:
    """Which constructor arguments differ between the runs, and the modules with them in place.

    columns: parameter → its value in every run; those of widths come first.
    """

    def __init__(self, runs: Sequence[Sequence[Module | None]]):
        self.columns: dict[str, tuple[Any, ...]] = {}
        widths: dict[tuple[Any, ...], str] = {}
        first = last = None  # the widths that come in and go out
        for offset, module in enumerate(runs[0]):
            for key in module.args if module is not None else ():
                for column in _numbers(_column(runs, offset, key)):
                    if is_width(key) and all(type(v) is int for v in column):
                        first = first or column
                        last = column if key.startswith(("out_", "hidden_")) else last
                        if not _constant(column):
                            widths[column] = key if key.startswith("in_") else widths.get(column, key)
        self.expressions = self._named(widths, first, last)
        modules: list[Module | None] = []
        for offset, module in enumerate(runs[0]):
            if module is None:
                modules.append(None)
                continue
            args = {key: self._argument(key, _column(runs, offset, key), value) for key, value in module.args.items()}
            modules.append(replace(module, args=args))
        self.modules = tuple(modules)

    def _named(
        self, widths: dict[tuple[Any, ...], str], first: tuple[Any, ...] | None, last: tuple[Any, ...] | None
    ) -> dict[tuple[Any, ...], Any]:
        """Column → `Parameter`, or the expression that gives it from another: ``4 * in_channels``."""
        found: dict[tuple[Any, ...], Any] = {}
        for column, key in sorted(widths.items(), key=lambda item: (item[0] != first, item[0] != last)):
            formula = next((f for name, known in self.columns.items() if (f := _formula(column, name, known))), None)
            if formula is not None and key != "groups":
                found[column] = Expression(formula)
                continue
            name = re.sub(r"_\d+$", "", key)
            if column not in (first, last):
                name = re.sub(r"^(in|out)_", "hidden_", name)
            elif column == last and column != first:
                name = re.sub(r"^(in|hidden)_", "out_", name)
            name = unused(name, self.columns)
            self.columns[name] = column
            found[column] = Parameter(name)
        return found

    def _argument(self, key: str, column: tuple[Any, ...], value: Any) -> Any:
        if _constant(column):
            return value
        if is_width(key) and column in self.expressions:
            return self.expressions[column]
        if is_width(key) and (parts := _numbers(column)) != [column]:
            return tuple(part[0] if _constant(part) else self.expressions[part] for part in parts)
        name = next(
            (
                n
                for n, known in self.columns.items()
                if known == column and re.sub(r"_\d+$", "", n) == re.sub(r"_\d+$", "", key)
            ),
            None,
        )
        if name is None:
            name = unused(re.sub(r"_\d+$", "", key), self.columns)
            self.columns[name] = column
        return Parameter(name)


def _column(runs: Sequence[Sequence[Module | None]], offset: int, key: str) -> tuple[Any, ...]:
    """An argument of the module at ``offset``, in every run: runs are alike in where modules are."""
    modules = [run[offset] for run in runs]
    return tuple(_hashable(module.args[key]) for module in modules if module is not None)


def _numbers(column: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """A column of equally long tuples of numbers, entry by entry; any other column as it is."""
    if all(isinstance(v, tuple) and len(v) == len(column[0]) and all(type(n) is int for n in v) for v in column):
        return list(zip(*column))
    return [column]


def _constant(column: tuple[Any, ...]) -> bool:
    return all(v == column[0] and type(v) is type(column[0]) for v in column)


def _formula(column: tuple[int, ...], name: str, known: tuple[Any, ...]) -> str | None:
    if not all(type(v) is int and v > 0 for v in (*column, *known)) or len(set(column)) < 2:
        return None
    up, down = column[0] // known[0], known[0] // column[0]
    if up > 1 and all(a == up * b for a, b in zip(column, known)):
        return f"{up} * {name}"
    if down > 1 and all(a * down == b for a, b in zip(column, known)):
        return f"{name} // {down}"
    return None


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value
