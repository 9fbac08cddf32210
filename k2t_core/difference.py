"""How far two arrays lie apart, and how much of that is rounding: what every verdict is reached with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from k2t_core.transforms import is_float

# An output agrees where max|torch − keras| ≤ tolerance · max|keras|. 1e-4 is a thousand float32 roundings: deep
# networks drift by tens of them (docs/models.md), a wrong mapping by orders more.
OUTPUT_TOLERANCE = 1e-4
# A layer alone, on Keras's own input, has no drift to excuse it. Up to this many roundings of its largest value agree
# as they are; more must be explained by a float64 run of the same layer.
LAYER_ROUNDINGS = 16
# How many times farther from the float64 run Keras may be than the float32 module is: both round, in another order.
ROUNDING_SLACK = 16
# Roundings that one side may have and the other not: TensorFlow adds up a global average one element after the other
# (38 roundings measured over 48 × 48 pixels in EfficientNetB0, 84 over 112 × 112), torch in pairs.
SUM_ROUNDINGS = 256
# Both, in float16 and bfloat16: frameworks add up in float32 there; 256 roundings of bfloat16 would excuse anything.
HALF_ROUNDINGS = 6
# Rounding explains no more than this, relative to the largest value. A softmax over large, nearly equal scores comes
# near it.
LAYER_LIMIT = 0.25
# The tolerance of a layer for which there is no float64 run.
LAYER_TOLERANCE = 2e-5
# Both sides in float64, where a layer differs and rounding in float32 alone does not explain it.
DOUBLE_TOLERANCE = 1e-8


def rounding_unit(dtype: np.dtype) -> float:
    """The distance from 1 to the next number of a floating-point dtype."""
    return 2.0 ** -{"float16": 10, "bfloat16": 7, "float64": 52}.get(dtype.name, 23)


def roundings(dtype: np.dtype, count: int, largest: float) -> float:
    """So many roundings of the largest value; of a dtype with few digits fewer.

    Numbers of float16 below 2⁻¹⁴ lie no closer to each other.
    """
    count = count if rounding_unit(dtype) < 2.0**-16 else min(count, HALF_ROUNDINGS)
    return count * rounding_unit(dtype) * max(largest, 2.0**-14 if dtype.name == "float16" else 0.0)


def coarseness(dtype: np.dtype) -> float:
    """How much coarser than float32 a dtype rounds: tolerances are stated for float32 and scaled by this."""
    return min(max(rounding_unit(dtype) / 2.0**-23, 2.0**-20), 2.0**10)


def smallest(dtype: np.dtype) -> float:
    """The smallest normal number of a floating-point dtype: TensorFlow takes what is below it for 0, and torch does
    not. Of float16 it is no small number, and both keep what is below.
    """
    if not is_float(dtype) or dtype.name == "float16":
        return 0.0
    return 2.0**-1022 if dtype.name == "float64" else 2.0**-126


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a − b| of each element.

    Equal infinities and NaN on both sides are 0 apart; anything else that is not finite, infinity.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return np.where(np.isnan(found), np.inf, found)


@dataclass(frozen=True)
class Difference:
    """How far two arrays of one shape are apart.

    relative: max_abs over the largest absolute Keras value. Equal infinities and NaN in the same places count as equal;
    anything else that is not finite makes the difference infinite.
    """

    max_abs: float
    mean_abs: float
    relative: float
    keras_max: float

    @classmethod
    def of(cls, keras: np.ndarray, torch: np.ndarray) -> Difference:
        if keras.shape != torch.shape:
            return cls(float("inf"), float("inf"), float("inf"), 0.0)
        wide = "complex128" if "c" in (keras.dtype.kind, torch.dtype.kind) else "float64"  # an imaginary part counts
        a, b = keras.astype(wide), torch.astype(wide)
        if a.size == 0:
            return cls(0.0, 0.0, 0.0, 0.0)
        distance = apart(a, b)
        distance[distance < smallest(keras.dtype)] = 0.0
        largest = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
        max_abs = float(distance.max())
        relative = 0.0 if max_abs == 0 else max_abs / largest if largest else float("inf")
        return cls(max_abs, float(distance.mean()), relative, largest)


@dataclass(frozen=True)
class Rounding:
    """Each side's largest distance to a float64 run of the written module, and the largest value of that run.

    A right conversion and Keras round in another order but by as much; a wrong one is near its own float64 run and far
    from Keras.
    """

    keras: float
    torch: float
    scale: float

    @classmethod
    def of(cls, keras: np.ndarray, torch: np.ndarray, exact: np.ndarray) -> Rounding:
        a, b = Difference.of(exact, keras), Difference.of(exact, torch)
        return cls(a.max_abs, b.max_abs, a.keras_max)

    def explains(self, dtype: np.dtype, both: bool = True) -> bool:
        """Whether Keras is no farther from the float64 run than rounding in ``dtype`` takes the module itself.

        both: nor the module farther than Keras, as it is where it computes in less than ``dtype``. That asks too much
        behind a softmax of large numbers, where one side may be exact by luck.
        """
        allowed = roundings(dtype, SUM_ROUNDINGS, self.scale)
        return self.keras <= ROUNDING_SLACK * self.torch + allowed and (
            not both or self.torch <= ROUNDING_SLACK * self.keras + allowed
        )


def layer_passes(
    difference: Difference | None, rounding: Rounding | None, dtype: np.dtype, settled: bool = False
) -> bool:
    """Whether a layer alone, on Keras's own input, computes what Keras computes; integers must be equal.

    settled: before its activation it does.
    """
    if difference is None:
        return True
    if not is_float(dtype):
        return difference.max_abs == 0
    if difference.max_abs <= roundings(dtype, LAYER_ROUNDINGS, difference.keras_max):
        return True
    if rounding is None or dtype.name == "float64":  # nothing computes more exactly than float64 itself
        return difference.relative <= LAYER_TOLERANCE * coarseness(dtype)
    return difference.relative <= LAYER_LIMIT and rounding.explains(dtype, both=not settled)


def output_passes(
    difference: Difference, rounding: Rounding | None, dtype: np.dtype, tolerance: float, layers_pass: bool
) -> bool:
    """Whether an output agrees: within ``tolerance``, or where every layer alone agrees and rounding explains the rest.

    A tolerance stricter than the usual one is meant as a limit: then rounding is no excuse.
    """
    if not is_float(dtype):
        return difference.max_abs == 0
    if difference.relative <= tolerance * coarseness(dtype):
        return True
    if tolerance < OUTPUT_TOLERANCE:
        return False
    return (
        layers_pass
        and rounding is not None
        and difference.relative <= LAYER_LIMIT
        and rounding.explains(dtype, both=False)
    )


def measures(keras: np.ndarray, torch: np.ndarray) -> dict[str, float]:
    """Cosine similarity over the batch; of what looks like class scores, how often the first one and five agree."""
    found: dict[str, float] = {}
    if keras.shape != torch.shape or not is_float(keras.dtype) or not keras.size:
        return found
    a, b = keras.astype("float64").ravel(), torch.astype("float64").ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if np.isfinite(norms) and norms > 0:
        found["cosine"] = float(a @ b / norms)
    if keras.ndim == 2 and keras.shape[1] >= 3:
        found["top1_agreement"] = float((keras.argmax(1) == torch.argmax(1)).mean())
        if keras.shape[1] > 5:
            first = [np.argpartition(-x.astype("float64"), 5, axis=1)[:, :5] for x in (keras, torch)]
            found["top5_agreement"] = float(np.mean([len(set(p) & set(q)) / 5 for p, q in zip(*first)]))
    return found


def ulps(keras: np.ndarray, torch: np.ndarray) -> np.ndarray:
    """How many representable numbers lie between the two values of each element.

    Of float16, bfloat16, float32 and float64 only.
    """
    whole = np.dtype({"float16": "int16", "bfloat16": "int16", "float32": "int32"}.get(keras.dtype.name, "int64"))

    def ordered(array: np.ndarray) -> np.ndarray:
        bits = np.ascontiguousarray(array).view(whole).astype("int64")
        return np.where(bits < 0, np.int64(np.iinfo(whole).min) - bits, bits)

    a, b = ordered(keras), ordered(torch.astype(keras.dtype))
    # Without sign: of float64 the distance may be beyond int64, and would be rounded away in float64 itself.
    far = np.where(a >= b, a.view("uint64") - b.view("uint64"), b.view("uint64") - a.view("uint64"))
    return far.astype("float64").ravel()
