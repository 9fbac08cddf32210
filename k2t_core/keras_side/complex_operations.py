"""Complex numbers of a recorded TensorFlow graph: as pairs of real tensors, so that nothing after it meets them.

An operation that has complex numbers among what it is given or gives is looked up here first. Formulas:
tensorflow/python/ops/{math_ops,signal/fft_ops}.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from k2t_core.keras_side.opened import CannotOpen
from k2t_core.keras_side.sized_operations import Size
from k2t_core.keras_side.tensorflow_operations import OPERATIONS, Bare, Result

REAL = {"complex64": "float32", "complex128": "float64"}
# What moves numbers about, and what is linear: done to either part.
PARTWISE = {
    "Identity", "StopGradient", "EnsureShape", "Snapshot", "Reshape", "Transpose", "ExpandDims", "Squeeze", "Pack",
    "Unpack", "ConcatV2", "Split", "SplitV", "Slice", "StridedSlice", "GatherV2", "Tile", "BroadcastTo", "ReverseV2",
    "Pad", "PadV2", "Sum", "Mean", "Add", "AddV2", "AddN", "Sub", "Neg", "ZerosLike", "Select", "SelectV2", "Cumsum",
    "MatrixBandPart",
}  # fmt: skip


@dataclass(eq=False)
class Pair:
    """Complex numbers. real, imag: symbolic tensors, or numbers."""

    real: Any
    imag: Any

    @property
    def shape(self) -> tuple:
        return tuple(self.real.shape)

    @property
    def dtype(self) -> str:
        return "complex64" if str(self.real.dtype) == "float32" else "complex128"


@dataclass(eq=False)
class _Part(Bare):
    """An operation as it is done to one part of what it is given."""

    @property
    def dtype(self) -> str:
        return REAL.get(super().dtype, super().dtype)

    def x(self, index: int = 0) -> Any:
        dtype = self.op.inputs[index].dtype.name
        return self.tensor(self.given[index], REAL.get(dtype, dtype))


def is_complex(bare: Bare) -> bool:
    """Whether an operation has to do with complex numbers."""
    return any(x.dtype.name in REAL for x in (*bare.op.inputs, *bare.op.outputs))


def apply(bare: Bare) -> Result:
    """What an operation on complex numbers gives. Raises CannotOpen."""
    kind = bare.op.type
    if kind in COMPLEX:
        return COMPLEX[kind](bare)
    if kind not in PARTWISE:
        raise CannotOpen(f"its call() uses TensorFlow's {kind} on complex numbers")
    parts = []
    for name in ("real", "imag"):
        given = [_part(value, name) if x.dtype.name in REAL else value for value, x in zip(bare.given, bare.op.inputs)]
        made = OPERATIONS[kind](_Part(bare.op, given, bare.tensor, bare.value))
        parts.append(made if isinstance(made, list) else [made])
    return [Pair(real, imag) for real, imag in zip(*parts)]


def _part(value: Any, name: str) -> Any:
    return getattr(value, name) if isinstance(value, Pair) else np.ascontiguousarray(getattr(np, name)(value))


def _pair(bare: Bare, index: int = 0) -> tuple[Any, Any]:
    """The parts of an input as symbolic tensors."""
    dtype = REAL[bare.op.inputs[index].dtype.name]
    value = bare.given[index]
    return bare.tensor(_part(value, "real"), dtype), bare.tensor(_part(value, "imag"), dtype)


def _keras(name: str) -> Callable[..., Any]:
    from keras import ops

    return getattr(ops, name)


def _mul(bare: Bare) -> Result:
    (a, b), (c, d) = _pair(bare), _pair(bare, 1)
    return Pair(a * c - b * d, a * d + b * c)


def _div(bare: Bare) -> Result:
    (a, b), (c, d) = _pair(bare), _pair(bare, 1)
    size = c * c + d * d
    return Pair((a * c + b * d) / size, (b * c - a * d) / size)


def _square(bare: Bare) -> Result:
    a, b = _pair(bare)
    return Pair(a * a - b * b, 2.0 * (a * b))


def _exp(bare: Bare) -> Result:
    a, b = _pair(bare)
    size = _keras("exp")(a)
    return Pair(size * _keras("cos")(b), size * _keras("sin")(b))


def _abs(bare: Bare) -> Result:
    a, b = _pair(bare)
    return _keras("sqrt")(a * a + b * b)


def _angle(bare: Bare) -> Result:
    a, b = _pair(bare)
    return _keras("arctan2")(b, a)


def _conj(bare: Bare) -> Result:
    a, b = _pair(bare)
    return Pair(a, _keras("negative")(b))


def _cast(bare: Bare) -> Result:
    """To complex numbers, or from them, which drops the imaginary part."""
    if bare.op.inputs[0].dtype.name not in REAL:
        real = _keras("cast")(bare.x(), REAL[bare.dtype])
        return Pair(real, _keras("zeros_like")(real))
    a, b = _pair(bare)
    if bare.dtype not in REAL:
        return _keras("cast")(a, bare.dtype)
    return Pair(_keras("cast")(a, REAL[bare.dtype]), _keras("cast")(b, REAL[bare.dtype]))


def _fourier(name: str) -> Callable[[Bare], Result]:
    return lambda bare: Pair(*_spectrum(name, _pair(bare)))


def _spectrum(name: str, parts: tuple[Any, Any]) -> Any:
    """Keras's function, or where it wants the sizes and they are free, an operation of our own that computes it."""
    if None in parts[0].shape[-2 if name.endswith("2") else -1 :]:
        return _operation()(name)(list(parts))
    return _keras(name)(parts)


@cache  # of the process: a class is one and the same to every model
def _operation() -> type:
    import keras

    class Spectrum(keras.Operation):
        """``keras.ops.fft``, ``fft2`` or ``ifft2`` of a pair of tensors of free sizes."""

        def __init__(self, function: str):
            super().__init__()
            self._function = function

        @property
        def k2t_kind(self) -> str:
            return f"ops.{self._function.upper()}"

        def call(self, x: Any) -> Any:
            return _keras(self._function)(tuple(x))

        def compute_output_spec(self, x: Any) -> Any:
            return tuple(keras.KerasTensor(part.shape, dtype=part.dtype) for part in x)

    return Spectrum


def _inverse(bare: Bare) -> Result:
    """conj(fft(conj(x))) / n."""
    a, b = _pair(bare)
    real, imag = _spectrum("fft", (a, _keras("negative")(b)))
    n = Size.of(a, len(a.shape) - 1)
    count = bare.tensor(np.asarray(n, object), str(a.dtype)) if isinstance(n, Size) else float(n)
    return Pair(real / count, _keras("negative")(imag) / count)


def _rfft2(bare: Bare) -> Result:
    """Along the last axis of real numbers, then along the one before it."""
    rows, length = bare.ints(1, "a length")
    x = bare.x()
    if rows != x.shape[-2]:
        raise CannotOpen("its call() uses tf.signal.rfft2d with another length than its input; pad it before")
    parts = [_keras("swapaxes")(part, -1, -2) for part in _keras("rfft")(x, length)]
    return Pair(*(_keras("swapaxes")(part, -1, -2) for part in _keras("fft")(tuple(parts))))


def _rfft(bare: Bare) -> Result:
    (length,) = bare.ints(1, "a length")
    return Pair(*_keras("rfft")(bare.x(), length))


def _irfft(bare: Bare) -> Result:
    (length,) = bare.ints(1, "a length")
    return _keras("irfft")(_pair(bare), length)


COMPLEX: dict[str, Callable[[Bare], Result]] = {
    "Complex": lambda bare: Pair(bare.x(), bare.x(1)),
    "Real": lambda bare: _pair(bare)[0],
    "Imag": lambda bare: _pair(bare)[1],
    "ComplexAbs": _abs,
    "Angle": _angle,
    "Conj": _conj,
    "Mul": _mul,
    "RealDiv": _div,
    "Square": _square,
    "Exp": _exp,
    "Cast": _cast,
    "FFT": _fourier("fft"),
    "FFT2D": _fourier("fft2"),
    "IFFT": _inverse,
    "IFFT2D": _fourier("ifft2"),
    "RFFT": _rfft,
    "RFFT2D": _rfft2,
    "IRFFT": _irfft,
}
