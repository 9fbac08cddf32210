"""Fourier transforms of pairs (real, imaginary), as keras.ops has them."""

import torch


def fft(real, imag, axes=1):
    """The Fourier transform over the last ``axes`` axes."""
    y = torch.fft.fftn(torch.complex(real, imag), dim=tuple(range(-axes, 0)))
    return y.real, y.imag


def ifft(real, imag):
    """The inverse Fourier transform over the last two axes."""
    y = torch.fft.ifft2(torch.complex(real, imag))
    return y.real, y.imag


def rfft(x, length=None):
    """The half spectrum of real numbers along the last axis, which is cut or filled with zeros to ``length``."""
    y = torch.fft.rfft(x, length)
    return y.real, y.imag
