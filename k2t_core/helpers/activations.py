"""Activations that torch does not have.

Formulas: keras/src/backend/tensorflow/nn.py and keras/src/layers/activations/.
"""

import torch
import torch.nn.functional as F
from torch import nn


def squareplus(x, b=4.0):
    """(x + √(x² + b)) / 2, a smooth relu (arXiv 2112.11687)."""
    return (x + torch.sqrt(torch.square(x) + b)) / 2


def sparse_plus(x):
    """0 up to −1, x from 1 on, (x + 1)² / 4 in between."""
    return torch.where(x < 1, torch.square(x.clamp(min=-1) + 1) / 4, x)


def sparsemax(x, dim=-1):
    """max(x − τ, 0) with Keras's τ: (sum of the partial sums over the support − 1) / size of the support.

    The paper's τ (arXiv 1602.02068) has the last partial sum only, so that its result adds up to 1; Keras's does not.
    """
    ordered = x.sort(dim=dim, descending=True).values
    sums = ordered.cumsum(dim)
    shape = [1] * x.dim()
    shape[dim] = -1
    count = torch.arange(1, x.shape[dim] + 1, dtype=x.dtype, device=x.device).reshape(shape)
    support = ordered - (sums - 1) / count > 0
    size = support.to(x.dtype).sum(dim, keepdim=True)
    tau = (torch.where(support, sums, 0.0).sum(dim, keepdim=True) - 1) / size
    return torch.relu(x - tau)


def thresholded_relu(x, max_value=None, negative_slope=0.0, threshold=0.0):
    """keras.layers.ReLU: x above the threshold, at most max_value; negative_slope · (x − threshold) below."""
    y = (
        torch.where(x > threshold, x, 0.0).clamp(min=0, max=max_value)
        if max_value is not None
        else torch.where(x > threshold, x, 0.0)
    )
    return y - negative_slope * F.relu(threshold - x)


def joint_softmax(x, dim):
    """Softmax over several axes together."""
    return torch.exp(x - torch.logsumexp(x, dim=dim, keepdim=True))


def masked_softmax(x, mask, dim=-1):
    """Softmax over the entries where mask is True, 0 elsewhere; a row without any is all 0."""
    low = -3e4 if x.dtype == torch.float16 else -1e9
    return torch.where(mask, joint_softmax(torch.where(mask, x, low), dim), 0.0)


class ElementwisePReLU(nn.Module):
    """PReLU with a slope for every element, or shared along axes of size 1: ``weight`` has ``shape``, without the batch."""

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.full(shape, 0.25))

    def forward(self, x):
        return torch.where(x > 0, x, self.weight * x)
