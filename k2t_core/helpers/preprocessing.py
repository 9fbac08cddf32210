"""Preprocessing that torch has no module for. Formulas: keras/src/layers/preprocessing/."""

import math

import torch
from torch import nn

from k2t_core.helpers.padding import same_padding


class ScaleAndShift(nn.Module):
    """x · scale + offset, with constants that broadcast against x."""

    def __init__(self, scale_shape, offset_shape):
        super().__init__()
        self.register_buffer("scale", torch.ones(scale_shape))
        self.register_buffer("offset", torch.zeros(offset_shape))

    def forward(self, x):
        return x * self.scale + self.offset


class Standardize(nn.Module):
    """(x − mean) / std, with statistics of the training data that broadcast against x."""

    def __init__(self, shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    def forward(self, x):
        return (x - self.mean) / self.std


class Unstandardize(nn.Module):
    """mean + x · std: the inverse of Standardize."""

    def __init__(self, shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    def forward(self, x):
        return self.mean + x * self.std


class IntegerLookup(nn.Module):
    """The value of each key; an unknown key gives default, or default + key modulo buckets."""

    def __init__(self, size, default=-1, buckets=1):
        super().__init__()
        self.default = default
        self.buckets = buckets
        self.register_buffer("keys", torch.zeros(size, dtype=torch.int64))  # sorted
        self.register_buffer("values", torch.zeros(size, dtype=torch.int64))

    def forward(self, x):
        x = x.long()
        place = torch.searchsorted(self.keys, x).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[place] == x, self.values[place], self.default + x % self.buckets)


class STFTSpectrogram(nn.Module):
    """Short-time Fourier transform by convolution: (N, C, time) → (N, C · frequency, frames), or (N, C, frames, frequency)."""

    def __init__(self, frequencies, frame_length, frame_step, mode="log", same=False, expand_dims=False):
        super().__init__()
        if mode != "imag":
            self.real = nn.Conv1d(1, frequencies, frame_length, frame_step, bias=False)
        if mode != "real":
            self.imag = nn.Conv1d(1, frequencies, frame_length, frame_step, bias=False)
        self.mode = mode
        self.frame_length = frame_length
        self.frame_step = frame_step
        self.same = same
        self.expand_dims = expand_dims

    def forward(self, x):
        batch, channels, time = x.shape
        x = x.reshape(batch * channels, 1, time)
        if self.same:
            x = same_padding(x, (self.frame_length,), (self.frame_step,), (1,))
        x = self.spectrum(x)
        x = x.reshape(batch, channels, x.shape[1], x.shape[2])
        return x.transpose(2, 3) if self.expand_dims else x.flatten(1, 2)

    def spectrum(self, x):
        if self.mode == "real":
            return self.real(x)
        if self.mode == "imag":
            return self.imag(x)
        real, imag = self.real(x), self.imag(x)
        if self.mode == "angle":
            return torch.atan2(imag, real)
        if self.mode == "stft":
            return torch.cat([real, imag], dim=1)
        power = real.square() + imag.square()
        if self.mode == "psd":
            return torch.cat([power[:, :1], 2 * power[:, 1:-1], power[:, -1:]], dim=1)
        magnitude = power.clamp(min=1e-7).sqrt()
        return magnitude if self.mode == "magnitude" else magnitude.clamp(min=1e-7).log()


class MelSpectrogram(nn.Module):
    """(N, time) → (N, mel band, frame): |STFT|^exponent gathered into mel bands, in decibels of ref_power if db."""

    def __init__(
        self, bands, n_fft, hop_length, win_length, exponent=2.0, db=True, min_power=1e-10, ref_power=1.0, top_db=80.0
    ):
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.win_length = win_length
        self.exponent = exponent
        self.db = db
        self.min_power = min_power
        self.ref_power = ref_power
        self.top_db = top_db
        self.register_buffer("window", torch.ones(win_length))
        self.register_buffer("mel", torch.zeros(bands, n_fft // 2 + 1))

    def forward(self, x):
        x = torch.stft(x, self.n_fft, self.hop_length, self.win_length, self.window, return_complex=True).abs()
        x = self.mel @ x.pow(self.exponent)
        if self.db:
            x = 10 * x.clamp(min=self.min_power).log10() - 10 * math.log10(max(abs(self.ref_power), self.min_power))
            x = torch.maximum(x, x.max() - self.top_db)
        return x
