"""Search for inputs on which the two sides disagree most, by gradient steps that enlarge the difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from k2t_core.difference import Difference
from k2t_core.keras_side import running
from k2t_core.keras_side.traced import Traced
from k2t_core.progress import Progress, silent
from k2t_core.transforms import is_float
from k2t_core.verification.torch_side import TorchSide

STEP = 0.5  # of an input's standard deviation, each element by its gradient's sign
REACH = 8  # standard deviations: no farther from the start than this


def worst_batch(
    written: TorchSide,
    traced: Traced,
    arrays: Sequence[np.ndarray],
    starts: int,
    steps: int,
    seed: int,
    say: Progress = silent,
) -> tuple[list[np.ndarray], float]:
    """The batch with the largest relative output difference that was met, and that difference.

    arrays: a batch in Keras's layout; the first start is the batch itself, the others are it plus noise of its own
    size, three
    times as large for each further start: where the two sides agree there is no slope to follow, only ground to cover.
    Each step goes along the sign of d/dx ½‖keras(x) − torch(x)‖², the difference of the two sides' own gradients.
    Integer inputs stay as they are.
    """
    rng = np.random.default_rng([seed, 3])
    sizes = [max(float(a.std()), 1e-3) if is_float(a.dtype) else 0.0 for a in arrays]
    best, largest = [np.array(a) for a in arrays], -1.0
    for start in range(starts):
        origin = [
            a
            if start == 0 or not size
            else (a + size * 3 ** (start - 1) * rng.standard_normal(a.shape)).astype(a.dtype)
            for a, size in zip(arrays, sizes)
        ]
        x = origin
        for step in range(steps + 1):
            say((start + step / (steps + 1)) / starts, f"Searching for the worst input, start {start + 1} of {starts}")
            relative, slopes = _disagreement(written, traced, x, gradients=step < steps)
            if relative > largest:
                best, largest = x, relative
            if slopes is None:
                break
            x = [
                a
                if not size or g is None
                else np.clip(a + STEP * size * np.sign(g), o - REACH * size, o + REACH * size).astype(a.dtype)
                for a, o, size, g in zip(x, origin, sizes, slopes)
            ]
    return best, largest


def _disagreement(
    written: TorchSide, traced: Traced, arrays: Sequence[np.ndarray], gradients: bool
) -> tuple[float, list[np.ndarray | None] | None]:
    """(largest relative output difference, gradients of ½‖keras − torch‖² by each input in Keras's layout)."""
    expected = running.predict(traced, arrays)
    got, depends = written.forward(arrays, derived=gradients)
    sides = written.manifest.outputs
    actual = [side.to_keras(y) for y, side in zip(got, sides)]
    relative = max(Difference.of(want, have).relative for want, have in zip(expected, actual))
    if not gradients or not depends:
        return relative, None
    factors = {
        k: (want - have) / max(float(np.abs(want).max()), 1e-12)
        for k, (want, have) in enumerate(zip(expected, actual))
        if want.dtype.kind == "f" and want.shape == have.shape
    }
    if not any(np.any(f) and np.isfinite(f).all() for f in factors.values()):
        return relative, None
    # Near float32's own rounding, tiny factors would vanish.
    factors = {k: f / np.abs(f).max() for k, f in factors.items() if np.any(f) and np.isfinite(f).all()}
    by_keras, _ = running.gradients(traced, arrays, factors)
    derived = written.backward(factors)
    if derived is None:
        return relative, None
    slopes: list[np.ndarray | None] = []
    for want, have in zip(by_keras, derived[0]):
        slopes.append(None if want is None or have is None or want.shape != have.shape else want - have)
    return relative, slopes
