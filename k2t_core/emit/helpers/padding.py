"""Padding that torch's own ``padding`` argument cannot do."""

import math

import torch.nn.functional as F


def same_padding(x, kernel_size, stride, dilation, value=0.0):
    """Pad as TensorFlow's "SAME" does: what cannot be split evenly goes to the right and bottom."""
    pads = []
    for size, k, s, d in zip(reversed(x.shape[2:]), reversed(kernel_size), reversed(stride), reversed(dilation)):
        total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)
