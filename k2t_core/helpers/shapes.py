"""Constants, indices and other small things around shapes and ``keras.ops``."""

import torch
from torch import nn


class ConstantTensor(nn.Module):
    """A constant of the model's graph, kept in the weights file: ``value`` has ``shape``."""

    def __init__(self, shape, dtype="float32"):
        super().__init__()
        self.register_buffer("value", torch.zeros(shape, dtype=getattr(torch, dtype)))


def one_hot(x, num_classes, dim=-1, dtype=torch.float32):
    """1 at each index, the classes along a new axis ``dim``; an index out of range gives zeros (torch's F.one_hot raises)."""
    shape = [1] * (x.dim() + 1)
    shape[dim] = num_classes
    classes = torch.arange(num_classes, device=x.device).reshape(shape)
    return (x.long().unsqueeze(dim) == classes).to(dtype)


def take_along_dim(x, indices, dim):
    """torch.take_along_dim with negative indices counted from the end."""
    indices = indices.long()
    return torch.take_along_dim(x, torch.where(indices < 0, indices + x.shape[dim], indices), dim)


def top_k(x, k, dim):
    """The k largest entries and where they are; among equals the first comes first, as in TensorFlow."""
    values, indices = x.sort(dim=dim, descending=True, stable=True)
    return values.narrow(dim, 0, k), indices.narrow(dim, 0, k).int()


def gather_nd(x, indices):
    """The entries of x at the indices along the last axis of ``indices``."""
    return x[tuple(indices.long().unbind(-1))]


def scatter_nd(indices, updates, shape):
    """Zeros of ``shape`` with the updates added at the indices along the last axis of ``indices``."""
    return updates.new_zeros(shape).index_put(tuple(indices.long().unbind(-1)), updates, accumulate=True)


def unsorted_segments(x, segments, count, reduce):
    """The entries of each segment together, "sum", "prod", "amax" or "amin"; those of negative segments are left out."""
    limits = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype)
    start = {"sum": 0, "prod": 1, "amax": limits.min, "amin": limits.max}[reduce]
    rows = x.reshape(-1, *x.shape[segments.dim() :])
    index = torch.where(segments < 0, count, segments).long().reshape(-1, *[1] * (rows.dim() - 1)).expand_as(rows)
    return x.new_full((count + 1, *rows.shape[1:]), start).scatter_reduce(0, index, rows, reduce)[:count]


def in_top_k(targets, predictions, k):
    """Whether the entry of each row at its target is among the k largest, as many as there are of one size."""
    own = predictions.gather(1, targets.long()[:, None])
    return ((predictions > own).sum(1) < k) & predictions.isfinite().all(1)


def reverse_sequence(x, lengths, dim, batch_dim):
    """The first entries along ``dim``, as many as ``lengths`` says of each along ``batch_dim``, backwards."""
    steps = torch.arange(x.shape[dim], device=x.device)
    lengths = lengths.long()[:, None]
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)
    rest = x.movedim((batch_dim, dim), (0, 1))
    places = places.reshape(*places.shape, *[1] * (rest.dim() - 2)).expand_as(rest)
    return rest.gather(1, places).movedim((0, 1), (batch_dim, dim))


def histogram_fixed_width(x, low, high, count):
    """How many entries are in each of ``count`` bins of one width; what is outside is in the first or the last."""
    places = ((x - low) / (high - low) * count).floor().clamp(0, count - 1).long()
    return torch.bincount(places.flatten(), minlength=count).int()


def slice_update(x, update, starts):
    """x with ``update`` in the place of what begins at ``starts``; a start is moved so that all of it fits."""
    places = [max(0, min(start, n - m)) for start, n, m in zip(starts, x.shape, update.shape)]
    x = x.clone()
    x[tuple(slice(start, start + m) for start, m in zip(places, update.shape))] = update
    return x
