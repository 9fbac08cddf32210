"""Helpers for Fourier transforms against keras.ops."""

import numpy as np
import pytest
import torch
from keras import ops

from k2t_core.helpers.spectra import fft, ifft, rfft
from tests.helpers.comparing import close, numbers


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 4, 8), (3, 1, 1), (7, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fft(axes, shape, dtype):
    real, imag = numbers(*shape, dtype=dtype), numbers(*shape, seed=1, dtype=dtype)
    expected = (ops.fft if axes == 1 else ops.fft2)((real, imag))
    for actual, wanted in zip(fft(torch.from_numpy(real), torch.from_numpy(imag), axes), expected):
        close(actual, wanted)


@pytest.mark.parametrize("length", [None, 4, 5, 8, 11, 1])
@pytest.mark.parametrize("size", [7, 8])
def test_rfft(length, size):
    """A length cuts, or fills with zeros."""
    x = numbers(2, 3, size)
    for actual, wanted in zip(rfft(torch.from_numpy(x), length), ops.rfft(x, length)):
        assert actual.shape[-1] == (size if length is None else length) // 2 + 1
        close(actual + 0, np.asarray(wanted), 1e-5)


@pytest.mark.parametrize("shape", [(2, 6, 5), (3, 1, 1), (7, 3)])
def test_ifft(shape):
    real, imag = numbers(*shape), numbers(*shape, seed=1)
    for actual, wanted in zip(ifft(torch.from_numpy(real), torch.from_numpy(imag)), ops.ifft2((real, imag))):
        close(actual, wanted)
