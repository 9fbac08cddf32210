"""numpy ↔ torch, bfloat16 included, which neither framework hands to the other as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
