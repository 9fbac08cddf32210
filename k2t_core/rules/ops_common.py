"""What the rules for ``keras.ops`` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from k2t_core.layout import Layout
from k2t_core.rules.broadcasting import is_scalar, number
from k2t_core.rules.registry import Call, rule


def ops(*names: str, **options: Any):
    """`rule` for keras.ops classes."""
    return rule(*(f"ops.{name}" for name in names), **options)


def name_of(call: Call) -> str:
    return call.layer.kind.removeprefix("ops.")


def result_dtype(call: Call) -> str:
    return call.outputs[0].dtype


def option_literal(call: Call, value: Any, what: str) -> str:
    """Source of a number among the operation's options."""
    if isinstance(value, (np.ndarray, np.generic)) and np.size(value) == 1:
        value = np.asarray(value).item()
    call.refuse(not is_scalar(value), f"its {what} is a {type(value).__name__}; k2t converts a single number there")
    return number(value)


def axes_of(call: Call, rank: int, key: str = "axis") -> list[int]:
    """The Keras axes of an ``axis`` option: an int, a sequence, or None for all."""
    value = call.option(key)
    if value is None:
        return list(range(rank))
    axes = [value] if isinstance(value, (int, np.integer)) else list(value)
    call.refuse(not axes, "its axis is empty")
    return sorted(int(axis) % rank for axis in axes)


def torch_axes(layout: Layout, axes: Sequence[int]) -> str:
    dims = sorted(layout.axis(axis) for axis in axes)
    return str(dims[0]) if len(dims) == 1 else f"({', '.join(map(str, dims))})"
