"""Which weights cannot tell a right mapping from a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from k2t_core.verification.report import Weakness


def find_weaknesses(manifest: Mapping[str, Any], value: Callable[[str], np.ndarray]) -> tuple[Weakness, ...]:
    """Variables that would look the same through a wrong mapping.

    Constant (a bias of zeros can be left out unseen, a BatchNorm mean of zeros and variance of ones stand for none at
    all), symmetric under the transpose it goes through, or with gates that are alike.
    """
    found: dict[str, Weakness] = {}
    for entry in manifest["variables"].values():
        if not entry["keras"]:
            continue
        path = entry["keras"][0]
        reason = _reason(value(path), entry["steps"])
        if reason:
            found.setdefault(path, Weakness(path, reason))
    return tuple(found.values())


def _reason(array: np.ndarray, steps: list[dict[str, Any]]) -> str | None:
    if array.size < 2:
        return None
    if np.all(array == array.flat[0]):
        return f"every value is {float(array.flat[0]):g}"
    if any(step["name"] == "permute" for step in steps) and array.ndim >= 2 and _symmetric(array):
        return "symmetric: its transpose is the same"
    gates = next((step for step in steps if step["name"] == "reorder gates"), None)
    if gates and _alike(array, len(gates["order"])):
        return "two of its gates are the same: swapping them changes nothing"
    return None


def _alike(array: np.ndarray, count: int) -> bool:
    """Whether two of ``count`` blocks of the last axis, where Keras keeps its gates, are equal (all-zero ones aside)."""
    if array.shape[-1] % count:
        return False
    blocks = np.split(array, count, axis=-1)
    return any(np.array_equal(blocks[i], blocks[j]) and blocks[i].any() for i in range(count) for j in range(i))


def _symmetric(array: np.ndarray) -> bool:
    rows, columns = array.shape[-2:]
    return rows == columns and rows > 1 and bool(np.array_equal(array, np.swapaxes(array, -1, -2)))
