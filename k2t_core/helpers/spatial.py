"""Resizing and colour as TensorFlow does them, where torch's F.interpolate differs.

Images are (batch, channels, height, width).
"""

import torch
import torch.nn.functional as F


def nearest_resize(x, size):
    """The pixel under the centre of each new pixel, the place computed in float32 as TensorFlow does."""
    for dim, new in zip((2, 3), size):
        step = torch.tensor(x.shape[dim], dtype=torch.float32, device=x.device) / new
        index = (torch.arange(new, dtype=torch.float32, device=x.device) + 0.5) * step
        x = x.index_select(dim, index.floor().long().clamp(max=x.shape[dim] - 1))
    return x


def bicubic_resize(x, size):
    """Keys's cubic (a = −0.5; torch has −0.75) with TensorFlow's table of 1024 fractions, weights cut at the border."""
    weights = []
    for old, new in zip(x.shape[2:], size):
        step = torch.tensor(old, dtype=torch.float32, device=x.device) / new
        place = (torch.arange(new, dtype=torch.float32, device=x.device) + 0.5) * step - 0.5
        place = place.floor() + torch.round((place - place.floor()) * 1024) / 1024
        d = (torch.arange(old, device=x.device) - place[:, None]).abs()
        near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
        weights.append(means(torch.where(d < 1, near, torch.where(d < 2, far, 0.0))))
    return weighted_resize(x, *weights)


def antialias_resize(x, size, mode):
    """F.interpolate with antialias=True, which torch 2.13 gets wrong where the output is one pixel wide."""
    weights = []
    for old, new in zip(x.shape[2:], size):
        step = old / new
        place = (torch.arange(new, device=x.device) + 0.5) * step
        d = (torch.arange(old, device=x.device) + 0.5 - place[:, None]).abs() / max(step, 1.0)
        near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
        cubic = torch.where(d < 1, near, torch.where(d < 2, far, 0.0))
        weights.append(means(cubic if mode == "bicubic" else (1 - d).clamp(min=0)))
    return weighted_resize(x, *weights)


def lanczos_resize(x, size, radius, antialias=False):
    """Lanczos windows of ``radius`` pixels, wider when an antialiased image shrinks."""
    weights = []
    for old, new in zip(x.shape[2:], size):
        step = torch.tensor(old, dtype=torch.float32, device=x.device) / new
        place = (torch.arange(new, dtype=torch.float32, device=x.device) + 0.5) * step
        d = torch.arange(old, device=x.device) + 0.5 - place[:, None]
        d = d / step.clamp(min=1) if antialias else d
        weights.append(means(torch.where(d.abs() < radius, torch.sinc(d) * torch.sinc(d / radius), 0.0)))
    return weighted_resize(x, *weights)


def area_resize(x, size):
    """Each new pixel the mean of the old ones that it covers, those at its edge by their share, borders in float32 as in TensorFlow."""
    weights = []
    for old, new in zip(x.shape[2:], size):
        step = torch.tensor(old, dtype=torch.float32, device=x.device) / new
        edges = torch.arange(new + 1, dtype=torch.float32, device=x.device) * step
        start, stop, pixel = edges[:-1, None], edges[1:, None], torch.arange(old, device=x.device)
        share = torch.minimum(pixel + 1, stop) - torch.maximum(pixel, start)
        within = (pixel < start) & (pixel + 1 > stop)
        weights.append(torch.where(within, step, share.clamp(min=0)) / step)
    return weighted_resize(x, *weights)


def means(weights):
    """Weights (new, old) whose rows add up to 1."""
    return weights / weights.sum(1, keepdim=True)


def weighted_resize(x, rows, columns):
    """Each new pixel a mean of old ones: ``rows`` (new, old) along the height, ``columns`` along the width."""
    y = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return (rows.to(y.dtype) @ y @ columns.T.to(y.dtype)).to(x.dtype)


def image_patches(x, size, stride, dilation=1, padding=0):
    """(N, channels, height, width) → (N, rows · columns · channels of a patch, down, across)."""
    pads, dilations = (n if isinstance(n, tuple) else (n, n) for n in (padding, dilation))
    steps = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(x.shape[2:], pads, dilations, size, stride)
    ]
    patches = F.unfold(x, size, dilation, padding, stride)
    return patches.unflatten(1, (x.shape[1], -1)).transpose(1, 2).flatten(1, 2).unflatten(2, steps)


def auto_contrast(x, dim, low=0.0, high=255.0):
    """Stretch values to the whole range from ``low`` to ``high``; what is constant stays as it is."""
    y = (x - low) / (high - low) * 255
    bottom, top = y.amin(dim, keepdim=True), y.amax(dim, keepdim=True)
    scale = 255 / (top - bottom)
    y = (y * scale - bottom * scale).clamp(0, 255) / 255 * (high - low) + low
    return torch.where(y.isnan(), x, y)
