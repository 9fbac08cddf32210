"""numpy ↔ torch, bfloat16 included, which neither framework hands to the other as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from k2t_core.transforms import float_dtype

if TYPE_CHECKING:
    import torch


def to_tensor(array: np.ndarray, copy: bool = False) -> torch.Tensor:
    """A torch tensor with the array's values and dtype, in memory of its own order.

    copy: what is done to it leaves the array alone.
    """
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(array, dtype="float32", order="C")).to(torch.bfloat16)
    return torch.from_numpy(
        np.array(array, order="C", copy=copy or not array.flags.c_contiguous or not array.flags.writeable)
    )


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """A numpy array with the tensor's values and dtype."""
    import torch

    tensor = tensor.detach().cpu()
    return tensor.float().numpy().astype(float_dtype("bfloat16")) if tensor.dtype == torch.bfloat16 else tensor.numpy()


_one_at_a_time = RLock()  # torch's default dtype is the whole process's


@contextmanager
def default_dtype(dtype: Any | None = None) -> Iterator[None]:
    """Torch with another default dtype, or with its own (None). Threads wait for each other."""
    import torch

    with _one_at_a_time:
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype or before)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def torch_to_itself(function: Callable) -> Callable:
    """The function, run while no other thread has changed torch's default dtype."""

    @wraps(function)
    def alone(*args: Any, **kwargs: Any) -> Any:
        with default_dtype():
            return function(*args, **kwargs)

    return alone


def unfilled() -> Any:
    """A context in which modules are built without drawing their first weights, which others replace at once.

    It saves most of the time that a large module takes; on the device "meta" torch would import its compiler for them.
    """
    from torch.overrides import TorchFunctionMode

    class Unfilled(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if getattr(function, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_", "trunc_normal_"):
                return args[0] if args else kwargs["tensor"]
            return function(*args, **(kwargs or {}))

    return Unfilled()
