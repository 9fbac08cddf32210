"""Whether a comparison can have seen what a layer does with its weights: what it was given and gave tells.

A layer whose output stands still agrees with nearly every wrong one: a ReLU that is dead, a sigmoid at its end, a gamma
of 0, an input of zeros. Such a comparison is no evidence for that layer, however many numbers agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from k2t_core.difference import coarseness
from k2t_core.transforms import is_float

STILL = 16  # roundings of the output's dtype within which its numbers are one number


def unseen(inputs: Iterable[np.ndarray], output: np.ndarray) -> str:
    """Why a layer's output says nothing of its weights, in words; empty where it does.

    inputs: what Keras gave the layer, output: what Keras made of it, each with the samples along its first axis.
    """
    given = [array for array in inputs if is_float(array.dtype) and array.size]
    if given and not any(array.any() for array in given):
        return "what reaches it is 0 throughout"
    if not is_float(output.dtype) or not output.size:
        return ""
    finite = np.isfinite(output)
    if not finite.any():
        return "its output is NaN or infinite throughout"
    if not finite.all():
        return ""
    values = output.astype("float64")
    still = STILL * 2**-23 * coarseness(output.dtype) * float(np.abs(values).max())
    if not values.any():
        return "its output is 0 throughout"
    if output.size > 1 and float(np.ptp(values)) <= still:
        return f"its output is {float(values.flat[0]):.3g} throughout"
    if given and _differ(given) and output.ndim and len(output) > 1 and float(np.ptp(values, axis=0).max()) <= still:
        return "its output is the same for every sample"
    return ""


def _differ(arrays: Sequence[np.ndarray]) -> bool:
    """Whether the samples of a batch differ."""
    return any(array.ndim and len(array) > 1 and bool((array[1:] != array[:1]).any()) for array in arrays)
