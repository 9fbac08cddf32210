"""The rows of the Mapping page: which of them a person looks for, and the call that a row stands for."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from k2t_core.graph import Node
from k2t_core.planning.plan import BOTH_SIDES, Plan, Row, weight_text

SEARCHED = (*BOTH_SIDES, "status")


def node_of(plan: Plan, row: Row) -> Node | None:
    """The call that a row stands for; None for an input, and for a layer that is cut off."""
    return next((p.node for scope, _, _, p in plan.root.walk() if f"{scope}{p.node.id}" == row.call), None)


def matching(
    rows: Iterable[Row],
    text: str = "",
    types: Collection[str] = (),
    statuses: Collection[str] = (),
    overridden: bool = False,
) -> list[Row]:
    """The rows that have every word of ``text``, one of the types and one of the statuses; none given is all."""
    words = text.lower().split()
    return [
        row
        for row in rows
        if (not types or row.type in types)
        and (not statuses or row.status in statuses)
        and (not overridden or row.overrides)
        and all(word in _searched(row) for word in words)
    ]


def _searched(row: Row) -> str:
    return " ".join([*(getattr(row, name) for name in SEARCHED), *map(weight_text, row.weights)]).lower()
