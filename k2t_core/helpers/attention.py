"""Attention layers.

Formulas: keras/src/layers/attention/ and dot_product_attention in keras/src/backend/tensorflow/nn.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from k2t_core.helpers.activations import joint_softmax, masked_softmax


def masked_attention(query, key, value, mask=None, is_causal=False, dropout_p=0.0, scale=None, empty_is_zero=False):
    """F.scaled_dot_product_attention; mask is True where a query may attend.

    A query that may attend to nothing gets the mean of all values, or 0: torch alone would give NaN or 0.
    """
    if mask is None:
        return F.scaled_dot_product_attention(query, key, value, None, dropout_p, is_causal, scale=scale)
    some = mask.any(-1, keepdim=True)
    query = torch.where(some, query, 0.0)
    x = F.scaled_dot_product_attention(query, key, value, mask | ~some, dropout_p, scale=scale)
    return torch.where(some, x, 0.0) if empty_is_zero else x


def causal_mask(query, value):
    """(T, S): True where the value's step is not later than the query's."""
    return torch.ones(query.shape[1], value.shape[1], dtype=torch.bool, device=query.device).tril()


def sliding_window_mask(query, value, window):
    """(T, S): True where the two steps are less than ``window`` apart."""
    steps = torch.arange(query.shape[1], device=query.device)[:, None] - torch.arange(
        value.shape[1], device=query.device
    )
    return steps.abs() < window


class MultiHeadAttention(nn.Module):
    """Attention of (N, T, query_size) to (N, S, value_size)."""

    def __init__(
        self,
        query_size,
        value_size,
        heads,
        key_dim,
        value_dim=None,
        out_size=None,
        key_size=None,
        bias=True,
        dropout=0.0,
    ):
        super().__init__()
        value_dim = value_dim or key_dim
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(query_size, heads * key_dim, bias=bias)
        self.key = nn.Linear(key_size or value_size, heads * key_dim, bias=bias)
        self.value = nn.Linear(value_size, heads * value_dim, bias=bias)
        self.output = nn.Linear(heads * value_dim, out_size or query_size, bias=bias)

    def project(self, query, value, key=None):
        """Queries, keys and values, (N, steps, heads, size) each."""
        projected = self.query(query), self.key(value if key is None else key), self.value(value)
        return (x.unflatten(-1, (self.heads, -1)) for x in projected)

    def forward(self, query, value, key=None, is_causal=False):
        q, k, v = (x.transpose(1, 2) for x in self.project(query, value, key))
        dropout_p = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_p, is_causal=is_causal)
        return self.output(x.transpose(1, 2).flatten(2))


class MaskedMultiHeadAttention(MultiHeadAttention):
    """MultiHeadAttention; mask, of shape (N, heads, T, S) or broadcast to it, is True where a query may attend."""

    def attend(self, query, value, key, mask, is_causal):
        q, k, v = (x.transpose(1, 2) for x in self.project(query, value, key))
        dropout_p = self.dropout if self.training else 0.0
        x = masked_attention(q, k, v, mask, is_causal, dropout_p, empty_is_zero=self.dropout > 0)
        return x.transpose(1, 2).flatten(2)

    def forward(self, query, value, key=None, mask=None, is_causal=False):
        return self.output(self.attend(query, value, key, mask, is_causal))


class GatedMultiHeadAttention(MaskedMultiHeadAttention):
    """Its heads are multiplied by a sigmoid gate of the query before the last projection (arXiv 2505.06708)."""

    def __init__(self, query_size, *args, **kwargs):
        super().__init__(query_size, *args, **kwargs)
        self.gate = nn.Linear(query_size, self.value.out_features, bias=self.query.bias is not None)

    def forward(self, query, value, key=None, mask=None, is_causal=False):
        return self.output(self.attend(query, value, key, mask, is_causal) * torch.sigmoid(self.gate(query)))


class GroupedQueryAttention(nn.Module):
    """MultiHeadAttention in which several query heads share a key head and a value head."""

    def __init__(
        self,
        query_size,
        value_size,
        heads,
        key_value_heads,
        head_dim,
        key_size=None,
        bias=True,
        dropout=0.0,
        gate=False,
    ):
        super().__init__()
        self.head_dim = head_dim
        self.repeats = heads // key_value_heads
        self.dropout = dropout
        self.query = nn.Linear(query_size, heads * head_dim, bias=bias)
        self.key = nn.Linear(key_size or value_size, key_value_heads * head_dim, bias=bias)
        self.value = nn.Linear(value_size, key_value_heads * head_dim, bias=bias)
        self.gate = nn.Linear(query_size, heads * head_dim, bias=bias) if gate else None
        self.output = nn.Linear(heads * head_dim, query_size, bias=bias)

    def project(self, query, value, key=None):
        """Queries, keys and values by head: (N, heads, steps, head_dim)."""
        projected = self.query(query), self.key(value if key is None else key), self.value(value)
        q, k, v = (x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for x in projected)
        return q, k.repeat_interleave(self.repeats, dim=1), v.repeat_interleave(self.repeats, dim=1)

    def combine(self, query, heads):
        x = heads.transpose(1, 2).flatten(2)
        return self.output(x if self.gate is None else x * torch.sigmoid(self.gate(query)))

    def forward(self, query, value, key=None, mask=None, is_causal=False):
        dropout_p = self.dropout if self.training else 0.0
        q, k, v = self.project(query, value, key)
        return self.combine(
            query, masked_attention(q, k, v, mask, is_causal, dropout_p, empty_is_zero=self.dropout > 0)
        )


class ScoredGroupedQueryAttention(GroupedQueryAttention):
    """GroupedQueryAttention that returns its scores (N, heads, T, S) too."""

    def forward(self, query, value, key=None, mask=None):
        q, k, v = self.project(query, value, key)
        scores = (q / math.sqrt(self.head_dim)) @ k.transpose(-2, -1)
        scores = torch.softmax(scores, -1) if mask is None else masked_softmax(scores, mask)
        return self.combine(query, F.dropout(scores, self.dropout, self.training) @ v), scores


class EinsumAttention(MultiHeadAttention):
    """MultiHeadAttention over any axes, and with its scores returned.

    equations: the einsums of keys and queries to scores, and of scores and values to outputs; the softmax runs over the
    last ``axes`` axes of the scores.
    """

    def __init__(self, *args, equations, axes=1, gate=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.equations = equations
        self.axes = tuple(range(-axes, 0))
        size = self.value.out_features
        self.gate = nn.Linear(self.query.in_features, size, bias=self.query.bias is not None) if gate else None

    def forward(self, query, value, key=None, mask=None):
        q, k, v = self.project(query, value, key)
        scores = torch.einsum(self.equations[0], k, q / math.sqrt(q.shape[-1]))
        scores = joint_softmax(scores, self.axes) if mask is None else masked_softmax(scores, mask, self.axes)
        x = torch.einsum(self.equations[1], F.dropout(scores, self.dropout, self.training), v).flatten(-2)
        if self.gate is not None:
            x = x * torch.sigmoid(self.gate(query))
        return self.output(x), scores


class DotAttention(nn.Module):
    """softmax(query · keyᵀ) · value without 1/√d; ``scale``: with a learned factor. Returns the result and the weights."""

    def __init__(self, scale=False, dropout=0.0):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(())) if scale else None
        self.dropout = dropout

    def scores(self, query, key):
        scores = query @ key.transpose(-2, -1)
        return scores if self.scale is None else scores * self.scale

    def forward(self, query, value, key=None, mask=None, query_mask=None):
        scores = self.scores(query, value if key is None else key)
        if mask is not None:
            large = 65504.0 if scores.dtype == torch.float16 else 1e9
            scores = torch.where(mask, scores, scores - large)
        weights = torch.softmax(scores, dim=-1)
        x = F.dropout(weights, self.dropout, self.training) @ value
        if query_mask is not None:
            x = torch.where(query_mask.unsqueeze(-1), x, 0.0)
        return x, weights


class ConcatAttention(DotAttention):
    """Attention with the scores w · Σ tanh(query + key); ``scale``: tanh(scale · (query + key))."""

    def __init__(self, scale=False, dropout=0.0):
        super().__init__(scale, dropout)
        self.weight = nn.Parameter(torch.ones(()))

    def scores(self, query, key):
        x = query.unsqueeze(-2) + key.unsqueeze(-3)
        return self.weight * torch.tanh(x if self.scale is None else self.scale * x).sum(-1)


class AdditiveAttention(DotAttention):
    """Bahdanau's attention, scores Σ scale · tanh(query + key); ``size``: of the learned scale, None without."""

    def __init__(self, size=None, dropout=0.0):
        super().__init__(dropout=dropout)
        self.scale = nn.Parameter(torch.ones(size)) if size else None

    def scores(self, query, key):
        x = torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))
        return (x if self.scale is None else self.scale * x).sum(-1)
