"""What a lesson of the Learn page is, and its experiment: Keras's numbers, a wrong and a right answer to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from k2t_core.difference import Difference

AGREES = 1e-5  # relative to the largest value
# What a wrong version can do, in the words of a prediction.
OUTCOMES = {
    "error": "It raises an error",
    "same": "It runs, and computes the same",
    "some": "It runs, and some of its numbers are others",
    "all": "It runs, and nearly all of its numbers are others",
}
NEARLY_ALL = 0.75
CONVOLUTIONS = ("Conv2D", "Conv1D", "Conv3D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose")


@dataclass(frozen=True, eq=False)
class Answer:
    """What a torch module says, and how far it is from Keras; or the error that it raises."""

    title: str
    output: np.ndarray
    difference: Difference
    error: str | None = None

    @classmethod
    def of(cls, title: str, keras: np.ndarray, torch: Any) -> Answer:
        output = torch.detach().numpy()
        return cls(title, output, Difference.of(keras, output))

    @classmethod
    def attempt(cls, title: str, keras: np.ndarray, run: Callable[[], Any]) -> Answer:
        """What ``run`` returns, or torch's error where it refuses."""
        try:
            return cls.of(title, keras, run())
        except RuntimeError as error:
            return cls(
                title, np.full_like(keras, np.nan), Difference.of(keras, np.full_like(keras, np.nan)), str(error)
            )

    @property
    def agrees(self) -> bool:
        return self.error is None and self.difference.relative < AGREES


@dataclass(frozen=True, eq=False)
class Experiment:
    """Keras's answer beside a wrong and a right torch module's. ``pictures``: named arrays to look at."""

    keras: np.ndarray
    wrong: Answer
    right: Answer
    pictures: dict[str, np.ndarray]

    @property
    def outcome(self) -> str:
        """Which of `OUTCOMES` the wrong version has."""
        if self.wrong.error is not None:
            return "error"
        if self.wrong.agrees:
            return "same"
        if self.wrong.output.shape != self.keras.shape:
            return "all"
        allowed = AGREES * self.wrong.difference.keras_max
        others = float((np.abs(self.wrong.output - self.keras) > allowed).mean())
        return "all" if others >= NEARLY_ALL else "some"


@dataclass(frozen=True)
class Lesson:
    """run: its experiment. kinds: the Keras layers it speaks of, to find one in the loaded model.

    defaults: its settings on the page, with what they start from.
    """

    title: str
    run: Callable[..., Experiment]
    kinds: tuple[str, ...]
    defaults: Mapping[str, Any]
