"""What an architecture asks for, before memory is used: a config may ask for terabytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from k2t_core.errors import ModelFileError
from k2t_core.keras_side.hdf5 import HARMLESS_BYTES
from k2t_core.keras_side.internals import flattened, nodes_of

# What an architecture may ask for beyond the weights that the file holds.
MAX_GROWTH = 4
# Elements of one tensor for one sample: 8 GiB in float32.
MAX_ELEMENTS = 2**31
# Steps of a sequence that Python goes through one by one, each time the layer runs.
MAX_STEPS = 20_000


def bytes_of(model: Any) -> dict[str, int]:
    """Bytes of each variable of a Keras model, by its path."""
    return {
        v.path: math.prod(v.shape) * (2 if v.dtype == "bfloat16" else np.dtype(v.dtype).itemsize)
        for v in getattr(model, "variables", [])
    }


def check_sizes(name: str, need: Mapping[str, int], shapes: Iterable[tuple[str, tuple]], stored: int) -> None:
    """Refuse an architecture that asks for far more weights than the file holds, or for a tensor that no machine has.

    need: variable → bytes. shapes: (layer, shape of a tensor that it computes). stored: bytes of weights in the file.

    Raises ModelFileError.
    """
    total = sum(need.values())
    if total > max(HARMLESS_BYTES, MAX_GROWTH * stored):
        largest = max(need, key=need.__getitem__)
        raise ModelFileError(
            f"{name}: an absurd shape: its layers ask for {total:,} bytes of weights, but the file holds {stored:,}; "
            f"the largest is {largest!r}"
        )
    for layer, shape in shapes:
        if math.prod(n for n in shape if n is not None) > MAX_ELEMENTS:
            raise ModelFileError(f"{name}: an absurd shape: layer {layer!r} computes a tensor of shape {tuple(shape)}")


def tensor_shapes(model: Any) -> Iterator[tuple[str, tuple]]:
    """(layer, shape) of every tensor that a Keras model computes, those of nested models too."""
    for node in nodes_of(model):
        yield from ((node.operation.name, y.shape) for y in node.outputs)
        yield from tensor_shapes(node.operation)


def check_steps(name: str, model: Any) -> None:
    """Refuse a layer that goes through more steps in Python than anybody waits for.

    Raises ModelFileError.
    """
    for node in nodes_of(model):
        shape: tuple = node.input_tensors[0].shape if node.input_tensors else ()
        count = shape[1] if len(shape) > 1 else None
        if count is not None and count > MAX_STEPS and is_unrolled(node.operation):
            raise ModelFileError(
                f"{name}: layer {node.operation.name!r} goes through {count:,} steps one by one in Python; "
                "build it with unroll=False, or give its input a free length (shape=(None, …))"
            )
        check_steps(name, node.operation)


def is_unrolled(operation: Any) -> bool:
    """Whether a layer of Keras 3, or one within it, has a turn of a loop of Python's for each step of a sequence."""
    import keras

    if not isinstance(operation, keras.Layer) or isinstance(operation, keras.Model):
        return False
    return any(getattr(x, "unroll", False) or isinstance(x, keras.layers.TimeDistributed) for x in flattened(operation))
