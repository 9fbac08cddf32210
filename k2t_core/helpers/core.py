"""Layers of keras/src/layers/core/ that torch has no module for."""

import torch
from torch import nn


class EinsumDense(nn.Module):
    """torch.einsum(equation, x, weight) + bias."""

    def __init__(self, equation, weight_shape, bias_shape=None):
        super().__init__()
        self.equation = equation
        self.weight = nn.Parameter(torch.empty(weight_shape))
        self.bias = None if bias_shape is None else nn.Parameter(torch.empty(bias_shape))

    def forward(self, x):
        x = torch.einsum(self.equation, x, self.weight)
        return x if self.bias is None else x + self.bias
