"""Block classes as data: what repeats, where it is used and with which numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from k2t_core.rules import registry
from k2t_core.rules.registry import Module


@dataclass(frozen=True)
class Parameter:
    """A constructor argument that differs between the uses of a block: stands in `Block.modules` for its value."""

    name: str


@dataclass(frozen=True, eq=False)
class Block:
    """A class for a repeated run of calls.

    ``attrs``, ``labels`` and ``modules`` are aligned with its parts; None where no module is.
    """

    class_name: str
    parameters: tuple[str, ...]
    attrs: tuple[str | None, ...]
    labels: tuple[str, ...]  # names for local variables
    modules: tuple[Module | None, ...]


@dataclass(frozen=True)
class BlockModule(Module):
    """The constructor call of a block."""

    block: Block = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class Use:
    """One instance of a block: calls ``start`` to ``stop`` of the scope.

    attr: where it is held (``conv3.2``: in a Sequential).
    parts: what it is made of, in order: a call, by its index, or a block within the block.
    """

    block: Block
    start: int
    stop: int
    attr: str
    values: tuple[Any, ...]
    entries: tuple[str, ...]
    exit: str
    parts: tuple[int | Use, ...]

    def walk(self) -> Iterator[Use]:
        """The blocks in it, inner ones first, and itself."""
        for part in self.parts:
            if isinstance(part, Use):
                yield from part.walk()
        yield self


def is_width(key: str) -> bool:
    """Whether a constructor argument says how wide a tensor is."""
    name = re.sub(r"_\d+$", "", key)
    return name in ("hidden_channels", "hidden_features") or registry.is_width(name)
