"""Dropout and noise in training that torch has no module for. Source: keras/src/layers/regularization/."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class SharedDropout(nn.Module):
    """Dropout with a noise shape: along axes of size 1 elements are dropped together; None stands for x's own size."""

    def __init__(self, p, shape):
        super().__init__()
        self.p = p
        self.shape = shape

    def forward(self, x):
        shape = [n if n is not None else size for n, size in zip(self.shape, x.shape)]
        return x * F.dropout(x.new_ones(shape), self.p) if self.training else x


class SharedAlphaDropout(nn.Module):
    """Alpha dropout with a noise shape: along axes of size 1 elements are dropped together; None stands for x's own size."""

    def __init__(self, p, shape):
        super().__init__()
        self.p = p
        self.shape = shape

    def forward(self, x):
        if not self.training:
            return x
        shape = [n if n is not None else size for n, size in zip(self.shape, x.shape)]
        kept = torch.rand(shape, dtype=x.dtype, device=x.device) >= self.p
        low = -1.7580993408473766  # what SELU tends to: -alpha * scale
        a = ((1 - self.p) * (1 + self.p * low**2)) ** -0.5
        return a * torch.where(kept, x, low) - a * low * self.p


class GaussianDropout(nn.Module):
    """In training: x times noise of mean 1 and variance rate / (1 - rate)."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training:
            return x
        return x * (1 + math.sqrt(self.rate / (1 - self.rate)) * torch.randn_like(x))


class GaussianNoise(nn.Module):
    """In training: x plus noise of standard deviation stddev."""

    def __init__(self, stddev):
        super().__init__()
        self.stddev = stddev

    def forward(self, x):
        return x + self.stddev * torch.randn_like(x) if self.training else x
