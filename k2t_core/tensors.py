"""numpy ↔ torch, bfloat16 included, which neither framework hands to the other as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from k2t_core.transforms import float_dtype

if TYPE_CHECKING:
    import torch


def to_tensor(array: np.ndarray) -> torch.Tensor:
    """A torch tensor with the array's values and dtype, in memory of its own order."""
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(array, dtype="float32", order="C")).to(torch.bfloat16)
    return torch.from_numpy(np.array(array, order="C", copy=not array.flags.c_contiguous or not array.flags.writeable))


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """A numpy array with the tensor's values and dtype."""
    import torch

    tensor = tensor.detach().cpu()
    return tensor.float().numpy().astype(float_dtype("bfloat16")) if tensor.dtype == torch.bfloat16 else tensor.numpy()


def unfilled() -> Any:
    """A context in which modules are built without drawing their first weights, which others replace at once.

    It saves most of the time that a large module takes; on the device "meta" torch would import its compiler for them.
    """
    from torch.overrides import TorchFunctionMode

    class Unfilled(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if getattr(function, "__name__", "") in ("normal_", "uniform_", "trunc_normal_"):
                return args[0] if args else kwargs["tensor"]
            return function(*args, **(kwargs or {}))

    return Unfilled()
