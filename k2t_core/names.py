"""Names that may be given once only."""

from __future__ import annotations

from collections.abc import Container
from itertools import count


def unused(name: str, taken: Container[str], join: str = "_") -> str:
    """``name``, or where it is taken the first free one of ``name_2``, ``name_3`` …"""
    if name not in taken:
        return name
    return next(other for k in count(2) if (other := f"{name}{join}{k}") not in taken)
