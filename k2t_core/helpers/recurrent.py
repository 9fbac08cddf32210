"""Recurrent cells that torch lacks, and masks for torch's own.

Formulas: keras/src/layers/rnn/ and backend/tensorflow/rnn.py.
"""

import torch
import torch.nn.functional as F
from torch import nn


def pick_steps(x, steps):
    """Steps of (N, T, features), for each sample its own (N, T). torch.take_along_dim would fix the batch size of an export."""
    return x.gather(1, steps.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def masked_rnn(rnn, x, mask, state=None):
    """The outputs of a ``batch_first`` module that skips the steps where ``mask`` is False: they repeat the output before.

    The other steps are moved to the front of each sequence, in order, and their outputs back.
    """
    order = torch.argsort((~mask).byte(), dim=1, stable=True)
    y, _ = rnn(pick_steps(x, order), state)
    latest = mask.cumsum(1) - 1
    return torch.where(latest.unsqueeze(-1) >= 0, pick_steps(y, latest.clamp(min=0)), 0)


def masked_bidirectional_rnn(rnn, x, mask, state=None):
    """`masked_rnn` of a bidirectional module; backwards, a masked step repeats the output of the step after it.

    Each direction must meet the unmasked steps first: the forward one has them at the front, the backward one at the end.
    """
    size, steps = rnn.hidden_size, x.shape[1]
    forward = masked_rnn(rnn, x, mask, state)[..., :size]
    order = torch.argsort(mask.byte(), dim=1, stable=True)
    y, _ = rnn(pick_steps(x, order), state)
    following = steps - mask.flip(1).cumsum(1).flip(1)
    backward = torch.where(
        following.unsqueeze(-1) < steps, pick_steps(y[..., size:], following.clamp(max=steps - 1)), 0
    )
    return torch.cat((forward, backward), dim=-1)


def packed_rnn(rnn, x, mask, state=None):
    """The outputs and the last state of a ``batch_first`` module that skips the steps where ``mask`` is False.

    Outputs at masked steps are as in `masked_rnn` and `masked_bidirectional_rnn`.
    """
    lengths = mask.sum(1)
    order = torch.argsort((~mask).byte(), dim=1, stable=True)
    x = pick_steps(x, order)
    packed, last = rnn(
        nn.utils.rnn.pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False), state
    )
    y, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
    latest = mask.cumsum(1) - 1
    forward = pick_steps(y[..., : rnn.hidden_size], latest.clamp(min=0))
    y_masked = torch.where(latest.unsqueeze(-1) >= 0, forward, 0)
    if rnn.bidirectional:
        following = (latest + 1 - mask.long()).clamp(max=x.shape[1] - 1)
        alive = (following < lengths.unsqueeze(-1)).unsqueeze(-1)
        backward = pick_steps(y[..., rnn.hidden_size :], following)
        y_masked = torch.cat((y_masked, torch.where(alive, backward, 0)), dim=-1)
    # A sequence without any unmasked step keeps the state it started with.
    some = (lengths > 0).unsqueeze(-1)
    if isinstance(last, tuple):
        first = (0, 0) if state is None else state
        return y_masked, tuple(torch.where(some, new, old) for new, old in zip(last, first))
    return y_masked, torch.where(some, last, 0 if state is None else state)


class Recurrence(nn.Module):
    """A cell over the steps of (N, T, …); gives all outputs and the last state.

    Where ``mask`` is False the state is kept and the output before is repeated, or is zero with ``zero_masked``.
    """

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x, state=None, mask=None, zero_masked=False):
        state = self.cell.initial_state(x[:, 0]) if state is None else state
        outputs = []
        for step in range(x.shape[1]):
            y, new_state = self.cell(x[:, step], state)
            if mask is not None:
                before = outputs[-1] if outputs and not zero_masked else torch.zeros_like(y)
                y, new_state = where_unmasked(mask[:, step], (y, new_state), (before, state))
            outputs.append(y)
            state = new_state
        return torch.stack(outputs, dim=1), state


def where_unmasked(mask, new, old):
    """``new`` for the samples where ``mask`` is True, else ``old``; tensors or nests of them."""
    if isinstance(new, tuple):
        return tuple(where_unmasked(mask, a, b) for a, b in zip(new, old))
    return torch.where(mask.reshape(-1, *[1] * (new.dim() - 1)), new, old)


class LSTMCell(nn.Module):
    """An LSTM step with any activations. Gates in torch's order: input, forget, cell, output."""

    def __init__(self, input_size, hidden_size, activation=torch.tanh, recurrent_activation=torch.sigmoid, bias=True):
        super().__init__()
        self.input = nn.Linear(input_size, 4 * hidden_size, bias=bias)
        self.recurrent = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.activation, self.recurrent_activation = activation, recurrent_activation

    def initial_state(self, x):
        zeros = x.new_zeros(x.shape[0], self.recurrent.in_features)
        return zeros, zeros

    def forward(self, x, state):
        hidden, cell = state
        i, f, g, o = (self.input(x) + self.recurrent(hidden)).chunk(4, dim=1)
        cell = self.recurrent_activation(f) * cell + self.recurrent_activation(i) * self.activation(g)
        hidden = self.recurrent_activation(o) * self.activation(cell)
        return hidden, (hidden, cell)


class GRUCell(nn.Module):
    """A GRU step with any activations; the reset gate is applied after the recurrent product, as in torch, or before it.

    Gates in torch's order: reset, update, new.
    """

    def __init__(
        self,
        input_size,
        hidden_size,
        activation=torch.tanh,
        recurrent_activation=torch.sigmoid,
        bias=True,
        reset_after=True,
    ):
        super().__init__()
        self.input = nn.Linear(input_size, 3 * hidden_size, bias=bias)
        self.recurrent = nn.Linear(hidden_size, 3 * hidden_size, bias=bias and reset_after)
        self.activation, self.recurrent_activation, self.reset_after = activation, recurrent_activation, reset_after

    def initial_state(self, x):
        return (x.new_zeros(x.shape[0], self.recurrent.in_features),)

    def forward(self, x, state):
        (hidden,) = state
        size = self.recurrent.in_features
        gates, new = self.input(x).split((2 * size, size), dim=1)
        if self.reset_after:
            recurrent_gates, recurrent_new = self.recurrent(hidden).split((2 * size, size), dim=1)
            reset, update = self.recurrent_activation(gates + recurrent_gates).chunk(2, dim=1)
            new = self.activation(new + reset * recurrent_new)
        else:
            weight_gates, weight_new = self.recurrent.weight.split((2 * size, size))
            reset, update = self.recurrent_activation(gates + F.linear(hidden, weight_gates)).chunk(2, dim=1)
            new = self.activation(new + F.linear(reset * hidden, weight_new))
        hidden = update * hidden + (1 - update) * new
        return hidden, (hidden,)


class RNNCell(nn.Module):
    """A simple recurrent step with any activation."""

    def __init__(self, input_size, hidden_size, activation=torch.tanh, bias=True):
        super().__init__()
        self.input = nn.Linear(input_size, hidden_size, bias=bias)
        self.recurrent = nn.Linear(hidden_size, hidden_size, bias=False)
        self.activation = activation

    def initial_state(self, x):
        return (x.new_zeros(x.shape[0], self.recurrent.in_features),)

    def forward(self, x, state):
        (hidden,) = state
        hidden = self.activation(self.input(x) + self.recurrent(hidden))
        return hidden, (hidden,)


class StackedCells(nn.Module):
    """Cells on top of each other within one step."""

    def __init__(self, cells):
        super().__init__()
        self.cells = nn.ModuleList(cells)

    def initial_state(self, x):
        return tuple(cell.initial_state(x) for cell in self.cells)

    def forward(self, x, state):
        states = []
        for cell, own in zip(self.cells, state):
            x, own = cell(x, own)
            states.append(own)
        return x, tuple(states)


class ConvLSTMCell(nn.Module):
    """An LSTM step whose two products are convolutions. Gates along the channels in torch's order: input, forget, cell, output."""

    def __init__(self, input, recurrent, activation=torch.tanh, recurrent_activation=torch.sigmoid):
        super().__init__()
        self.input, self.recurrent = input, recurrent
        self.activation, self.recurrent_activation = activation, recurrent_activation

    def initial_state(self, x):
        zeros = torch.zeros_like(self.input(x).chunk(4, dim=1)[0])
        return zeros, zeros

    def forward(self, x, state):
        hidden, cell = state
        i, f, g, o = (self.input(x) + self.recurrent(hidden)).chunk(4, dim=1)
        cell = self.recurrent_activation(f) * cell + self.recurrent_activation(i) * self.activation(g)
        hidden = self.recurrent_activation(o) * self.activation(cell)
        return hidden, (hidden, cell)


def time_distributed(function, *inputs):
    """A function over every step of (N, T, …): time is folded into the batch."""
    y = function(*(x.flatten(0, 1) for x in inputs))
    return y.unflatten(0, inputs[0].shape[:2])
