"""Random values for every Keras variable, so that no wrong transpose can hide behind constant weights."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from k2t_core.keras_side.internals import flattened
from k2t_core.rules.registry import is_weight


def random_value(name: str, shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """A value that keeps activations at a sane scale and no two axes alike; the same name and seed give the same value.

    name: the variable's path; its last part tells statistics and scales from kernels. Variances and scales are
    positive and not 1, means and biases not 0. Kernels have standard deviation 1/√fan_in.
    """
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    kind = name.rsplit("/", 1)[-1]
    if not np.issubdtype(np.dtype(dtype), np.floating) and dtype != "bfloat16":
        return rng.integers(0, 5, shape).astype(dtype)
    if kind in ("moving_variance", "variance"):
        value = rng.uniform(0.5, 2.0, shape)
    elif kind == "gamma" or kind == "scale":
        value = rng.uniform(0.5, 1.5, shape)
    elif kind in ("moving_mean", "mean", "beta", "alpha") or "bias" in kind:
        value = rng.normal(0.0, 0.2, shape)
    elif kind in ("embeddings", "position_embeddings"):
        value = rng.normal(0.0, 1.0, shape)
    else:
        fan_in = max(int(np.prod(shape[:-1])), 1)
        if kind == "depthwise_kernel":
            fan_in = max(int(np.prod(shape[:-2])), 1)
        value = rng.normal(0.0, 1.0 / np.sqrt(fan_in), shape)
    return value.astype(dtype)


def randomise(model: Any, seed: int = 0) -> None:
    """Give every variable of a Keras model a random value, in place. Random-generator states are left alone."""
    for variable in model.variables:
        if is_weight(variable.path):
            variable.assign(random_value(variable.path, tuple(variable.shape), str(variable.dtype), seed))
    settle(model)


def settle(model: Any) -> None:
    """After variables were assigned: have the layers that compute with copies of their own take the new values."""
    for layer in flattened(model):
        if type(layer).__name__ == "Normalization":  # of Keras or of tf_keras
            layer.finalize_state()
