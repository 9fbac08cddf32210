"""A comparison looked at anew: at another tolerance, one output, class or sample of it. Nothing runs again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from k2t_core.difference import Difference, apart, output_passes
from k2t_core.transforms import is_float
from k2t_core.verification.report import LayerResult, OutputResult, Run

TOP = 5  # classes listed for a sample, from either side
CLASSES = 2000  # along an output's last axis; more are no classes
PIXELS = (1, 3, 4)  # channels of what can be shown as an image


def at_tolerance(run: Run, tolerance: float) -> Run:
    """The run as it would have been judged at another tolerance."""
    alone = bool(run.layers) and all(layer.passed for layer in run.layers)
    outputs = tuple(
        replace(
            o,
            passed=o.keras.shape == o.torch.shape
            and bool(output_passes(o.difference, o.rounding, o.keras.dtype, tolerance, alone)),
        )
        for o in run.outputs
    )
    return replace(run, outputs=outputs, tolerance=tolerance)


def beyond(layer: LayerResult, tolerance: float) -> bool:
    """Whether a layer, on torch's inputs or alone, is farther from Keras than a tolerance."""
    return any(
        difference is not None and difference.relative > tolerance for difference in (layer.cumulative, layer.isolated)
    )


def narrowed(run: Run, output: int | None, unit: int | None = None) -> Run:
    """The run with one output only, and of that the values of one class (index along its last axis).

    Differences stay relative to the largest value of the whole output.
    """
    if output is None:
        return run
    chosen = run.outputs[output]
    if unit is not None and chosen.keras.shape == chosen.torch.shape:
        keras, torch = chosen.keras[..., unit], chosen.torch[..., unit]
        difference = replace(Difference.of(keras, torch), keras_max=chosen.difference.keras_max)
        relative = (
            difference.max_abs / difference.keras_max
            if difference.keras_max
            else float(np.inf if difference.max_abs else 0.0)
        )
        chosen = replace(chosen, keras=keras, torch=torch, difference=replace(difference, relative=relative))
    return replace(run, outputs=(chosen,))


def classes(output: OutputResult) -> int:
    """How many classes an output tells apart, along its last axis; 0 where it tells none."""
    shape = output.keras.shape
    return shape[-1] if len(shape) >= 2 and shape == output.torch.shape and 2 <= shape[-1] <= CLASSES else 0


def per_class(output: OutputResult) -> np.ndarray:
    """The largest difference in each class, relative to the largest value of the whole output."""
    a, b = output.keras.astype("float64"), output.torch.astype("float64")
    distance = apart(a, b).reshape(-1, a.shape[-1]).max(axis=0)
    largest = output.difference.keras_max
    return distance / largest if largest else np.where(distance == 0, 0.0, np.inf)


@dataclass(frozen=True)
class Prediction:
    """A class among the first of a sample on either side. Ranks count from 1."""

    unit: int
    keras: float
    torch: float
    keras_rank: int
    torch_rank: int


def predictions(output: OutputResult, sample: int) -> list[Prediction]:
    """The `TOP` classes of both sides, in Keras's order, of an output of scores for classes; empty for any other."""
    if (
        output.keras.ndim != 2
        or output.keras.shape != output.torch.shape
        or output.keras.shape[1] < 2
        or not is_float(output.keras.dtype)
    ):
        return []
    sides = [side[sample].astype("float64") for side in (output.keras, output.torch)]
    ranks = [np.empty(len(side), int) for side in sides]
    for rank, side in zip(ranks, sides):
        rank[np.argsort(-side, kind="stable")] = np.arange(1, len(side) + 1)
    shown = [unit for unit in np.argsort(ranks[0]) if min(rank[unit] for rank in ranks) <= TOP]
    return [
        Prediction(int(unit), float(sides[0][unit]), float(sides[1][unit]), int(ranks[0][unit]), int(ranks[1][unit]))
        for unit in shown
    ]


def image(array: np.ndarray) -> np.ndarray | None:
    """A sample of an input as pixels (height, width, 3 or 4, uint8), None where it is no image.

    Values from 0 to 1 and from 0 to 255 are taken as they are; any others are stretched over the whole range.
    """
    if array.ndim != 3 or array.shape[-1] not in PIXELS or min(array.shape[:2]) < 2 or not np.isfinite(array).all():
        return None
    values = array.astype("float64")
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        values = values * 255
    elif not (low >= 0 and high <= 255):
        values = (values - low) / (high - low or 1.0) * 255
    pixels = np.rint(values).astype("uint8")
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def labels(text: str) -> list[str]:
    """Names of classes, one a line or with commas between them, in order."""
    parts = text.splitlines() if "\n" in text.strip() else text.split(",")
    return [part.strip() for part in parts if part.strip()]


def class_name(unit: int, names: Sequence[str]) -> str:
    return f"{unit} {names[unit]}" if unit < len(names) else str(unit)
