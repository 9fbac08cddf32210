"""What a case is, how a table of options becomes cases, and what becomes of a case."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

import k2t_core as k2t
from k2t_core.keras_side.compiling import outputs
from k2t_core.keras_side.internals import patched
from tests.harness import TOLERANCE, check, sample

RIGHT, REFUSED, WRONG, ABSENT = "right", "refused", "wrong", "not in Keras"
# Tolerances of a dtype policy, relative to the largest value of the output.
POLICIES = {"float16": 5e-3, "bfloat16": 4e-2, "float64": 1e-6, "mixed_float16": 5e-3, "mixed_bfloat16": 4e-2}


def _orthogonal(self: Any, shape: Any, dtype: Any = None) -> Any:
    """Drawn in float32 where bfloat16 is asked for."""
    return keras.ops.cast(_in_float32(self, shape, "float32" if dtype == "bfloat16" else dtype), dtype or "float32")


_in_float32 = keras.initializers.Orthogonal.__call__


def initialised() -> AbstractContextManager[None]:
    """While cases are built and converted, recurrent layers of bfloat16 too can be made.

    TensorFlow has no QR decomposition of bfloat16: Keras can load and run such a layer, but make none.
    """
    return patched(keras.initializers.Orthogonal, __call__=_orthogonal)


def classes() -> dict[str, type]:
    """Every layer class exported under keras.layers; the names of one object count once, under its own name.

    keras.layers also exports InputSpec, which describes what a layer accepts and is no layer.
    """
    found: dict[int, tuple[str, type]] = {}
    for name in sorted(dir(keras.layers)):
        value = getattr(keras.layers, name)
        if (
            inspect.isclass(value)
            and issubclass(value, keras.Layer)
            and (id(value) not in found or name == value.__name__)
        ):
            found[id(value)] = (name, value)
    return {name: value for name, value in sorted(found.values(), key=lambda pair: pair[0])}


def activations() -> list[str]:
    """Every name of keras.activations but the three functions that read and write configs."""
    return [
        name
        for name in dir(keras.activations)
        if not name.startswith("_") and name not in ("get", "serialize", "deserialize")
    ]


@dataclass(frozen=True)
class Case:
    """One model of a layer, and what must become of it.

    refused: a word of the refusal's message, where k2t must refuse; None where the result must be right.
    arrays: the inputs for (model, batch).
    """

    layer: str
    name: str
    build: Callable[[], keras.Model]
    refused: str | None = None
    tolerance: float = TOLERANCE
    batch: int = 3
    arrays: Callable[[keras.Model, int], list] = sample
    randomised: bool = True

    def __str__(self) -> str:
        return f"{self.layer}({self.name})"


@dataclass(frozen=True)
class Outcome:
    kind: str
    message: str = ""


def _runs_in_keras(case: Case) -> Exception | None:
    """What Keras itself says to the case, without k2t; None where it computes it."""
    try:
        model = case.build()
        arrays = case.arrays(model, case.batch)
        outputs(model, arrays)
    except Exception as error:  # whatever Keras or TensorFlow raises: the combination does not exist
        return error
    return None


def outcome(case: Case) -> Outcome:
    """Build, convert, run and compare one case. Only what Keras cannot build and run by itself is ABSENT."""
    with initialised():
        return _outcome(case)


def _outcome(case: Case) -> Outcome:
    keras.backend.clear_session()
    try:
        model = case.build()
        arrays = case.arrays(model, case.batch)
    except Exception as error:
        return Outcome(ABSENT, _line(error))
    try:
        check(model, arrays, case.tolerance, randomised=case.randomised)
    except k2t.K2TError as error:
        kind, message = REFUSED, _line(error)
        if case.refused is not None and case.refused in message:
            return Outcome(kind, message)  # without asking Keras: some of these kill its process
    except Exception as error:
        kind, message = WRONG, f"{type(error).__name__}: {_line(error)}"
    else:
        return Outcome(RIGHT)
    absent = _runs_in_keras(case)
    return Outcome(kind, message) if absent is None else Outcome(ABSENT, _line(absent))


def failure(case: Case, result: Outcome) -> str | None:
    """Why the outcome is not what the case says; None where it is."""
    if result.kind == ABSENT or result.kind == RIGHT and case.refused is None:
        return None
    if result.kind == REFUSED and case.refused is not None:
        return None if case.refused in result.message else f"refused, but not for {case.refused!r}: {result.message}"
    return f"{result.kind}, expected {RIGHT if case.refused is None else REFUSED}: {result.message}"


def _line(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", str(error))).strip()
    return text[:600] or type(error).__name__


# --- tables of options -------------------------------------------------------------------------------------------


def product(**options: Sequence) -> list[dict]:
    """Every combination of the values."""
    return [dict(zip(options, values)) for values in itertools.product(*options.values())]


def each(**options: Sequence) -> list[dict]:
    """One option at a time."""
    return [{name: value} for name, values in options.items() for value in values]


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array{value.shape}"
    if isinstance(value, keras.layers.Layer):
        return type(value).__name__
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_text(v) for v in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    return repr(value)


def _join(layer: Any, *inputs: Any) -> Any:
    return layer(inputs[0] if len(inputs) == 1 else list(inputs))


@dataclass
class Table:
    """The cases of one class, from a compact description.

    shape: of the input without its batch axis, or a list of shapes for several inputs. make: the layer from options.
    join: (layer, *inputs, **call options) → outputs; ``call`` names the options that go there.
    options: each a dict laid over ``base``; the keys "shape", "batch", "batch_size" and "input_dtype" are of the case.
    """

    layer: str
    shape: Any
    base: dict = field(default_factory=dict)
    options: Iterable[dict] = ()
    shapes: Sequence[Any] = ()
    make: Callable[..., Any] | None = None
    join: Callable[..., Any] = _join
    call: Sequence[str] = ()
    input_dtype: Any = "float32"
    refused: Callable[[dict], str | None] = lambda options: None
    arrays: Callable[[keras.Model, int], list] = sample
    policies: bool = True
    dynamic: bool = True
    tolerance: float = TOLERANCE
    randomised: bool = True

    def cases(self) -> list[Case]:
        every = [{}, *self.options, *({"shape": s} for s in self.shapes), {"batch": 1}]
        if self.dynamic:
            every.append({"shape": self._open(), "dynamic": True})
        if self.policies:
            every += [{"dtype": policy} for policy in POLICIES]
        found: dict[str, Case] = {}
        for options in every:
            case = self._case({**self.base, **options})
            found.setdefault(case.name, case)
        return list(found.values())

    def _open(self) -> Any:
        """The shape with every axis free but the last."""
        if isinstance(self.shape, list):
            return [(None,) * (len(s) - 1) + s[-1:] for s in self.shape]
        return (None,) * (len(self.shape) - 1) + self.shape[-1:]

    def _case(self, options: dict) -> Case:
        given = {
            "shape": self.shape,
            "input_dtype": self.input_dtype,
            "batch": 3,
            "batch_size": None,
            "dynamic": False,
            **options,
        }
        refused = self.refused(given)
        shape, dtype, batch, batch_size, _ = (
            given.pop(k) for k in ("shape", "input_dtype", "batch", "batch_size", "dynamic")
        )
        shapes = shape if isinstance(shape, list) else [shape]
        dtypes = dtype if isinstance(dtype, list) else [dtype] * len(shapes)
        call = {k: given.pop(k) for k in self.call if k in given}
        make = self.make or getattr(keras.layers, self.layer)

        def build() -> keras.Model:
            inputs = [
                keras.Input(s, batch_size=batch_size, dtype=d, name=f"input_{i}")
                for i, (s, d) in enumerate(zip(shapes, dtypes))
            ]
            return keras.Model(inputs, self.join(make(**given), *inputs, **call), name="model_under_test")

        words = [f"{k}={_text(v)}" for k, v in {**given, **call}.items()]
        words += [f"batch={batch}"] if batch != 3 else []
        words += ["×".join(map(str, shapes)) if len(shapes) > 1 else str(shapes[0])]
        words += [f"input {_text(dtype)}"] if dtype != "float32" else []
        policy = given.get("dtype")
        tolerance = max(POLICIES.get(policy, self.tolerance) if isinstance(policy, str) else self.tolerance, 0)
        return Case(self.layer, ", ".join(words), build, refused, tolerance, batch, self.arrays, self.randomised)
