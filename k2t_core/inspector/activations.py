"""What a layer makes of one sample in both frameworks: maps, a sequence, or a vector, cut to what can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from k2t_core.difference import apart

MAPS, LINES, BARS = "feature maps", "sequence", "vector"
MOST_PIXELS = 128  # a side of a map that is drawn; of a larger one, one pixel of each block
MOST_STEPS = 1000
MOST_UNITS = 256


@dataclass(frozen=True, eq=False)
class Activation:
    """One output of a layer on one sample, both sides in Keras's order of axes and of one shape.

    MAPS: (planes, height, width, channels); LINES: (steps, channels); BARS: (units,). shape: as Keras has the sample.
    """

    kind: str
    shape: tuple[int, ...]
    keras: np.ndarray
    torch: np.ndarray
    difference: np.ndarray  # |torch − keras|; infinite where one side has no number and the other has one

    @property
    def channels(self) -> int:
        """How many pictures or lines there are to choose from; 1 for a vector."""
        return 1 if self.kind == BARS else self.keras.shape[-1]

    @property
    def planes(self) -> int:
        return self.keras.shape[0] if self.kind == MAPS else 1

    @property
    def worst(self) -> tuple[int, int]:
        """(plane, channel) of the largest difference; of a vector, (0, its unit)."""
        place = np.unravel_index(int(self.difference.argmax()), self.difference.shape)
        return (int(place[0]) if self.kind == MAPS else 0, int(place[-1]))

    def largest(self, plane: int, channel: int) -> float:
        """The largest difference in what is drawn for this plane and channel."""
        chosen = (
            self.difference[plane, :, :, channel]
            if self.kind == MAPS
            else self.difference[:, channel]
            if self.kind == LINES
            else self.difference
        )
        return float(chosen.max())


def activation(keras: np.ndarray, torch: np.ndarray, sample: int) -> Activation | None:
    """One sample of a layer's output, batch first; None where it is empty or the two sides have other shapes."""
    if keras.shape != torch.shape or keras.ndim == 0 or not keras.size or sample >= len(keras):
        return None
    shape = keras.shape[1:]
    a, b = (side[sample].astype("float64") for side in (keras, torch))
    difference = apart(a, b)
    kind = MAPS if len(shape) >= 3 else LINES if len(shape) == 2 else BARS
    drawn = (prod(shape[:-3]), *shape[-3:]) if kind == MAPS else shape if kind == LINES else (prod(shape),)
    return Activation(kind, shape, a.reshape(drawn), b.reshape(drawn), difference.reshape(drawn))


def maps(shown: Activation, plane: int, channel: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(Keras, PyTorch, difference) of a channel as pictures, and the step between the pixels that are drawn.

    The difference of a block is its largest, so that none is hidden.
    """
    height, width = shown.keras.shape[1:3]
    step = max(1, -(-max(height, width) // MOST_PIXELS))
    thin = [side[plane, ::step, ::step, channel] for side in (shown.keras, shown.torch)]
    whole = np.pad(shown.difference[plane, :, :, channel], [(0, -n % step) for n in (height, width)])
    blocks = whole.reshape(whole.shape[0] // step, step, whole.shape[1] // step, step).max(axis=(1, 3))
    return thin[0], thin[1], blocks, step


def window(size: int, centre: int, most: int) -> range:
    """``most`` places around one, all of them where there are no more."""
    start = max(0, min(centre - most // 2, size - most))
    return range(start, min(size, start + most))


def activations(expected: Sequence[np.ndarray], values: Sequence[np.ndarray], sample: int) -> list[Activation | None]:
    """Each output of a layer, on one sample of the batch."""
    return [activation(keras, torch, sample) for keras, torch in zip(expected, values)]
