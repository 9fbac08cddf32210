"""Names that may be given once only."""

from __future__ import annotations

from collections.abc import Container
from itertools import count


def unused(name: str, taken: Container[str], join: str = "_", first: int = 2) -> str:
    """``name``, or where it is taken the first free one of ``name_2``, ``name_3`` …

    first: the number to begin with.
    """
    if name not in taken:
        return name
    return next(other for k in count(first) if (other := f"{name}{join}{k}") not in taken)
