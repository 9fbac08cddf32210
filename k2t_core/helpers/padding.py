"""Padding that torch's own ``padding`` argument cannot do."""

import math

import torch
import torch.nn.functional as F


def same_padding(x, kernel_size, stride, dilation, value=0.0):
    """Pad as TensorFlow's "SAME" does: what cannot be split evenly goes to the right and bottom."""
    pads = []
    for size, k, s, d in zip(reversed(x.shape[2:]), reversed(kernel_size), reversed(stride), reversed(dilation)):
        total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


def mirror_pad(x, pad, edge=False):
    """Pad with what lies inside, mirrored; ``edge``: the outermost entry too, as "symmetric" does. ``pad``: pairs, last axis first, as in F.pad."""
    for k, (before, after) in enumerate(zip(pad[::2], pad[1::2])):
        size = x.shape[-1 - k]
        index = torch.arange(-before, size + after, device=x.device)
        index = torch.where(index < 0, -index - int(edge), index)
        index = torch.where(index >= size, 2 * size - 2 + int(edge) - index, index)
        x = x.index_select(-1 - k, index)
    return x
