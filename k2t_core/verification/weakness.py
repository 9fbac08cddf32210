"""Which weights cannot tell a right mapping from a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from k2t_core.verification.report import Weakness


def find_weaknesses(manifest: Mapping[str, Any], value: Callable[[str], np.ndarray]) -> tuple[Weakness, ...]:
    """Variables that would look the same through a wrong transform: constant, or symmetric under it.

    Only variables that are re-ordered on their way (and the BatchNorm statistics, which can be swapped) are judged: a
    bias that is copied as it is has no order to get wrong, apart from being all zero together with its gates.
    """
    found = []
    for entry in manifest["variables"].values():
        if not entry["keras"]:
            continue
        path = entry["keras"][0]
        array = value(path)
        reordered = any(step["name"] != "sqrt" for step in entry["steps"])
        if array.ndim >= 2 and array.size > 1 and reordered:
            if np.all(array == array.flat[0]):
                found.append(Weakness(path, f"every value is {array.flat[0]:g}"))
            elif _symmetric(array):
                found.append(Weakness(path, "symmetric: its transpose is the same"))
    return tuple({w.variable: w for w in found}.values())


def _symmetric(array: np.ndarray) -> bool:
    rows, columns = array.shape[-2:]
    return rows == columns and rows > 1 and bool(np.array_equal(array, np.swapaxes(array, -1, -2)))
