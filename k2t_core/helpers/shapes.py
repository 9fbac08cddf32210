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
