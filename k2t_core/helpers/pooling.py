"""Pooling that torch's modules cannot do."""

import torch

from k2t_core.helpers.padding import same_padding


def same_average(pool, x, kernel_size, stride):
    """Average pooling with TensorFlow's "SAME": ``pool`` on the padded image, over the share of each window inside it."""
    ones = [1] * len(kernel_size)
    inside = torch.ones_like(x[:1, :1])
    return pool(same_padding(x, kernel_size, stride, ones)) / pool(same_padding(inside, kernel_size, stride, ones))


def masked_mean(x, mask, dim, keepdim=False):
    """The mean along ``dim`` (1 or 2) of the steps at which the (batch, steps) mask is True."""
    mask = mask.unsqueeze(2 if dim == 1 else 1)
    return torch.where(mask, x, 0.0).sum(dim, keepdim=keepdim) / mask.to(x.dtype).sum(dim, keepdim=keepdim)
