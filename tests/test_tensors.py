"""numpy ↔ torch, and what is set for the whole process while modules are built."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from k2t_core.tensors import default_dtype, to_array, to_tensor, torch_to_itself, unfilled
from k2t_core.transforms import float_dtype

DTYPES = ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "bool", "bfloat16"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 3)])
def test_every_dtype_goes_there_and_back(dtype, shape):
    array = np.asarray(3 * np.random.default_rng(0).standard_normal(shape))
    array = array.astype(float_dtype("bfloat16") if dtype == "bfloat16" else dtype)
    tensor = to_tensor(array)
    assert tensor.dtype == getattr(torch, dtype) and tuple(tensor.shape) == shape
    again = to_array(tensor)
    assert again.dtype == array.dtype and np.array_equal(again, array)


@pytest.mark.parametrize("moved", [lambda a: a.T, lambda a: a[::-1], lambda a: a[:, ::2]])
def test_memory_comes_into_the_array_s_order(moved):
    array = moved(np.arange(12.0).reshape(3, 4))
    tensor = to_tensor(array)
    assert tensor.is_contiguous() and np.array_equal(tensor.numpy(), array)


def test_a_copy_leaves_the_array_alone():
    array = np.zeros(3, "float32")
    to_tensor(array, copy=True).add_(1)
    assert not array.any()
    to_tensor(array).add_(1)  # without: the same memory
    assert array.all()


def test_an_array_that_is_read_only_is_copied():
    array = np.zeros(3, "float32")
    array.flags.writeable = False
    to_tensor(array).add_(1)
    assert not array.any()


def test_an_array_of_a_parameter():
    assert to_array(nn.Parameter(torch.ones(2))).tolist() == [1, 1]


# --- the process's default dtype -------------------------------------------------------------------------------


def test_the_default_dtype_comes_back_after_an_error():
    before = torch.get_default_dtype()
    with pytest.raises(RuntimeError, match="in between"), default_dtype(torch.float64):
        assert torch.ones(1).dtype == torch.float64
        raise RuntimeError("in between")
    assert torch.get_default_dtype() == before


def test_threads_wait_for_each_other():
    """A function of another thread runs when the first one's dtype is gone again, and not in the middle of it."""
    started, seen = threading.Event(), []

    @torch_to_itself
    def look():
        seen.append(torch.ones(1).dtype)

    def other():
        started.set()
        look()

    with default_dtype(torch.float64):
        thread = threading.Thread(target=other)
        thread.start()
        assert started.wait(10)
        thread.join(0.1)
        assert not seen
        look()  # the thread that has changed it does not wait for itself
        assert seen == [torch.float64]
    thread.join(10)
    assert seen == [torch.float64, torch.float32]


# --- modules without first weights -----------------------------------------------------------------------------


def test_nothing_is_drawn_for_weights_that_are_replaced():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with unfilled():
        modules = [nn.Linear(4, 5), nn.Conv2d(2, 3, 3), nn.LSTM(4, 3), nn.Embedding(5, 2)]
    assert torch.equal(torch.rand(3), expected)
    assert [tuple(p.shape) for p in modules[0].parameters()] == [(5, 4), (5,)]


def test_constant_weights_are_what_they_would_be():
    with unfilled():
        norm = nn.BatchNorm1d(3)
    assert norm.weight.eq(1).all() and norm.running_var.eq(1).all() and norm.bias.eq(0).all()
