"""Models of single operations, for the tests of the rules for ``keras.ops``."""

from __future__ import annotations

import keras
import pytest
from keras import layers, ops

from k2t_core.errors import UnsupportedError
from k2t_core.planning.planner import plan

CUBE = (5, 5, 5)


def moves(conversion) -> bool:
    text = conversion.code.text
    return ".permute" in text or ".transpose" in text


def model_of(function, *shapes, dtype="float32"):
    dtypes = [dtype] * len(shapes) if isinstance(dtype, str) else dtype
    inputs = [keras.Input(shape, dtype=d, name=f"input_{i}") for i, (shape, d) in enumerate(zip(shapes, dtypes))]
    return keras.Model(inputs, function(*inputs))


def between(function, *, positive=False):
    """Conv → function → Conv → Flatten → Dense, as far as the function's result is an image."""
    x = keras.Input(CUBE)
    y = layers.Conv2D(5, 3, padding="same", activation="softplus" if positive else None)(x)
    z = function(y)
    if z.dtype != "float32":
        z = ops.cast(z, "float32")
    if len(z.shape) == 4 and None not in z.shape[1:]:
        z = layers.Conv2D(5, 1)(z)
        return keras.Model(x, layers.Dense(3)(layers.Flatten()(z)))
    return keras.Model(x, z)


def refused(function, *shapes, match, dtype="float32"):
    with pytest.raises(UnsupportedError, match=match):
        plan(model_of(function, *shapes, dtype=dtype)).raise_for_problems()
