"""What the tests of the helpers share: random arrays, and a comparison of what torch and Keras compute.

A helper is called directly, with torch's order of axes; what it stands for, with Keras's. Each test moves the axes
itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from k2t_core.tensors import to_array, to_tensor
from tests.harness import TOLERANCE, relative_difference


def numbers(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """Standard normal; no two axes alike."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def coins(*shape: int, seed: int = 0) -> np.ndarray:
    """True in about two of three places."""
    return np.random.default_rng(seed).random(shape) < 0.67


def first(array: Any) -> torch.Tensor:
    """Channels last → a torch tensor with channels first."""
    return to_tensor(np.ascontiguousarray(np.moveaxis(np.asarray(array), -1, 1)))


def last(tensor: torch.Tensor) -> np.ndarray:
    """Channels first → an array with channels last."""
    return np.moveaxis(to_array(tensor.detach()), 1, -1)


def close(actual: Any, expected: Any, tolerance: float = TOLERANCE) -> None:
    """Equal shapes and dtypes, the same NaN and infinities, integers equal, floats within ``tolerance``."""
    actual = to_array(actual.detach()) if isinstance(actual, torch.Tensor) else np.asarray(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    if expected.dtype.kind in "biu":
        assert np.array_equal(actual, expected)
        return
    odd = ~np.isfinite(expected.astype("float64"))
    assert np.array_equal(actual[odd].astype("float64"), expected[odd].astype("float64"), equal_nan=True)
    assert relative_difference(expected[~odd], actual[~odd]) <= tolerance


def randomised(layer, seed: int = 1):
    """A built Keras layer with random floats in all its variables, variances positive."""
    for k, variable in enumerate(v for v in layer.variables if "float" in str(v.dtype)):
        values = numbers(*variable.shape, seed=seed + k)
        variable.assign(np.abs(values) + 0.5 if "variance" in variable.path else values / 2)
    return layer


def variables(layer) -> dict[str, np.ndarray]:
    """The last two names of each variable's path → its value; of a layer without inner layers, its last name too."""
    found = {}
    for variable in layer.variables:
        found["/".join(variable.path.split("/")[-2:])] = found[variable.name] = np.array(variable)
    return found


def load(module: torch.nn.Module, **entries: Any) -> torch.nn.Module:
    """The module in eval mode with these entries of its state_dict, all of them; "." in a name is written "__"."""
    state = {name.replace("__", "."): to_tensor(np.ascontiguousarray(value)) for name, value in entries.items()}
    module.load_state_dict(state, strict=True)
    return module.eval()
