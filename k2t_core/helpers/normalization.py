"""Normalisations that torch does not have. Formulas: keras/src/layers/normalization/ and keras/src/ops/nn.py."""

import torch
import torch.nn.functional as F
from torch import nn


class FrozenBatchNorm(nn.Module):
    """Batch normalisation by its stored statistics, in training too, and without trainable parameters."""

    def __init__(self, num_features, eps=1e-3):
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


class ScaleByDeviation(nn.Module):
    """x / √(variance + eps) · weight over the axes ``dim``: what Keras's LayerNormalization does with rms_scaling."""

    def __init__(self, shape, dim, eps=1e-3):
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(shape))

    def forward(self, x):
        return x * torch.rsqrt(x.var(self.dim, correction=0, keepdim=True) + self.eps) * self.weight


class AxisRMSNorm(nn.Module):
    """x / √(mean of x² over the axes ``dim`` + eps) · weight, the weight lined up with the last axes of x."""

    def __init__(self, shape, dim, eps=1e-6):
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(shape))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(self.dim, keepdim=True) + self.eps) * self.weight
