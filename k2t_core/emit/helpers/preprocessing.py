"""Preprocessing that torch has no module for. Formulas: keras/src/layers/preprocessing/."""

import torch
from torch import nn


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
