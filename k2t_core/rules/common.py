"""Small pieces that several families of rules share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from k2t_core.graph import Layer
from k2t_core.layout import Layout
from k2t_core.rules.registry import Unconvertible


def refuse_unread(part: Layer, unread: Sequence[str]) -> None:
    """Refuse a layer for what a rule has not looked at in a layer within it, such as an RNN's cell."""
    if unread:
        raise Unconvertible(
            f"the option {', '.join(unread)} of its {part.kind} is not known to k2t; "
            "a newer Keras may have added it, so update k2t"
        )


def ntuple(value: Any, rank: int) -> tuple[int, ...]:
    """An int or sequence as a tuple of ``rank`` ints."""
    return (int(value),) * rank if isinstance(value, (int, float)) else tuple(int(v) for v in value)


def compact(values: Sequence[int]) -> int | tuple[int, ...]:
    """(3, 3) → 3: torch reads a single number for every axis."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def spatial_axes(layout: Layout) -> tuple[int, ...]:
    """The Keras axes that torch sees as space, in torch's order."""
    return layout.perm[2:]


def same_pads(
    sizes: Sequence[int | None], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]] | None:
    """(before, after) for each axis under TensorFlow's SAME; None where a size must be known and is not.

    P = max((⌈n/s⌉ − 1)·s + (k − 1)·d + 1 − n, 0), the smaller half before
    (tensorflow/core/framework/kernel_shape_util.cc). With stride 1 or a kernel of 1 it does not depend on n.
    """
    pads = []
    for n, k, s, d in zip(sizes, kernel, stride, dilation):
        reach = (k - 1) * d + 1
        if s == 1 or reach == 1:
            total = reach - 1
        elif n is None:
            return None
        else:
            total = max((-(-n // s) - 1) * s + reach - n, 0)
        pads.append((total // 2, total - total // 2))
    return pads


def fixed(sizes: Sequence[int | None], message: str) -> list[int]:
    """The sizes; raises Unconvertible(message) where one of them is free."""
    known = [n for n in sizes if n is not None]
    if len(known) < len(sizes):
        raise Unconvertible(message)
    return known


def pad_expression(x: Any, pads: Sequence[tuple[int, int]], value: str = "") -> str:
    """``F.pad`` over the spatial axes: torch takes its pairs last axis first."""
    flat = ", ".join(str(p) for before, after in reversed(pads) for p in (before, after))
    return f"F.pad({x}, ({flat}){', value=' + value if value else ''})"
