"""Helpers for recurrent layers against keras.layers: cells step by step, sequences, masks with gaps, states.

Keras's kernels are (features, gates · units), torch's (gates · units, features); a GRU's gates are z, r, h in Keras and
r, z, n in torch.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
import torch.nn.functional as F
from keras import layers
from torch import nn

from k2t_core.helpers.recurrent import (
    ConvLSTMCell,
    GRUCell,
    LSTMCell,
    Recurrence,
    RNNCell,
    StackedCells,
    masked_bidirectional_rnn,
    masked_rnn,
    packed_rnn,
    pick_steps,
    time_distributed,
    where_unmasked,
)
from tests.helpers.comparing import close, coins, load, numbers, randomised, variables

T, FEATURES, UNITS = 5, 4, 3
# Gaps at the start, in the middle and at the end; nothing masked; everything masked; a single step at each end.
MASK = np.array(
    [[1, 0, 1, 1, 0], [0, 0, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]], bool
)
N = len(MASK)
X = numbers(N, T, FEATURES)
KINDS = ["LSTM", "GRU", "SimpleRNN"]
TORCH = {"LSTM": nn.LSTM, "GRU": nn.GRU, "SimpleRNN": nn.RNN}
CELLS = {"LSTM": LSTMCell, "GRU": GRUCell, "SimpleRNN": RNNCell}
ACTIVATIONS = {"relu": F.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "softsign": F.softsign}


def gates(kind, array):
    """The gates along the first axis in torch's order."""
    if kind != "GRU":
        return array
    z, r, h = np.split(array, 3)
    return np.concatenate([r, z, h])


def entries(kind, found, names, bias=True, reset_after=True, prefix=""):
    """State-dict entries from Keras's variables.

    names: of the input's and the state's weight, then of their biases.
    """
    kernels = (found[f"{prefix}kernel"].T, found[f"{prefix}recurrent_kernel"].T)
    result = {name: gates(kind, kernel) for name, kernel in zip(names, kernels)}
    if bias:
        own = found[f"{prefix}bias"]
        both = own if own.ndim == 2 else (own, np.zeros_like(own))
        result |= {name: gates(kind, part) for name, part in zip(names[2:], both)}
    return result


def cell_entries(kind, found, bias=True, reset_after=True, prefix=""):
    names = ["input__weight", "recurrent__weight", "input__bias"]
    names += ["recurrent__bias"] if kind == "GRU" and reset_after else []
    return entries(kind, found, names, bias, prefix=prefix)


def torch_names(suffix=""):
    return [f"{name}_l0{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def pair(kind, **options):
    """A Keras layer that gives its sequence and its state, and torch's module with the same weights."""
    layer = getattr(layers, kind)(UNITS, return_sequences=True, return_state=True, **options)
    layer.build(X.shape)
    module = TORCH[kind](FEATURES, UNITS, batch_first=True)
    return layer, load(module, **entries(kind, variables(randomised(layer)), torch_names()))


def bidirectional_pair(kind, **options):
    inner = getattr(layers, kind)(UNITS, return_sequences=True, **options)
    layer = layers.Bidirectional(inner, merge_mode="concat")
    layer.build(X.shape)
    randomised(layer)
    # Bidirectional has both layers give zeros at masked steps; model.py multiplies what the helpers give by the mask.
    layer.forward_layer.zero_output_for_mask = layer.backward_layer.zero_output_for_mask = False
    module = TORCH[kind](FEATURES, UNITS, batch_first=True, bidirectional=True)
    ahead, behind = variables(layer.forward_layer), variables(layer.backward_layer)
    state = entries(kind, ahead, torch_names()) | entries(kind, behind, torch_names("_reverse"))
    return layer, load(module, **state)


def states_of(kind, seed=5):
    return [numbers(N, UNITS, seed=seed + k) for k in range(2 if kind == "LSTM" else 1)]


def to_torch_state(kind, *directions):
    """nn.LSTM's and nn.GRU's state from Keras's lists of state tensors, one list for each direction."""
    stacked = tuple(torch.stack([torch.from_numpy(s) for s in part]) for part in zip(*directions))
    return stacked if kind == "LSTM" else stacked[0]


def as_list(kind, state, direction=0):
    return [part[direction] for part in (state if kind == "LSTM" else (state,))]


# --- masks for torch's own modules -----------------------------------------------------------------------------


def test_pick_steps():
    x = numbers(3, 5, 2)
    steps = np.random.default_rng(0).integers(0, 5, (3, 4))
    close(pick_steps(torch.from_numpy(x), torch.from_numpy(steps)), tf.gather(x, steps, batch_dims=1), 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("started", [False, True])
def test_masked_rnn(kind, started):
    """A masked step repeats the output before it; before the first one there is none, so it is 0."""
    layer, module = pair(kind)
    states = states_of(kind) if started else None
    expected = layer(X, mask=MASK, initial_state=states)[0]
    state = to_torch_state(kind, states) if started else None
    close(masked_rnn(module, torch.from_numpy(X), torch.from_numpy(MASK), state), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("started", [False, True])
def test_masked_bidirectional_rnn(kind, started):
    layer, module = bidirectional_pair(kind)
    ahead, behind = states_of(kind), states_of(kind, 8)
    expected = layer(X, mask=MASK, initial_state=[*ahead, *behind] if started else None)
    state = to_torch_state(kind, ahead, behind) if started else None
    close(masked_bidirectional_rnn(module, torch.from_numpy(X), torch.from_numpy(MASK), state), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("started", [False, True])
def test_packed_rnn(kind, started):
    """The last state too: of a sample without any step, the one it started with."""
    layer, module = pair(kind)
    states = states_of(kind) if started else None
    expected, *wanted = layer(X, mask=MASK, initial_state=states)
    state = to_torch_state(kind, states) if started else None
    actual, final = packed_rnn(module, torch.from_numpy(X), torch.from_numpy(MASK), state)
    close(actual, expected)
    for own, theirs in zip(as_list(kind, final), wanted, strict=True):
        close(own, theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("started", [False, True])
def test_packed_bidirectional_rnn(kind, started):
    layer, module = bidirectional_pair(kind, return_state=True)
    ahead, behind = states_of(kind), states_of(kind, 8)
    expected, *wanted = layer(X, mask=MASK, initial_state=[*ahead, *behind] if started else None)
    state = to_torch_state(kind, ahead, behind) if started else None
    actual, final = packed_rnn(module, torch.from_numpy(X), torch.from_numpy(MASK), state)
    close(actual, expected)
    for own, theirs in zip(as_list(kind, final, 0) + as_list(kind, final, 1), wanted, strict=True):
        close(own, theirs)


@pytest.mark.parametrize("function", [masked_rnn, masked_bidirectional_rnn, packed_rnn])
def test_masked_sequences_of_one_step(function):
    x, mask = X[:2, :1], np.array([[True], [False]])
    layer, module = (bidirectional_pair if function is masked_bidirectional_rnn else pair)("LSTM")
    expected = layer(x, mask=mask)
    actual = function(module, torch.from_numpy(x), torch.from_numpy(mask))
    expected = expected[0] if isinstance(expected, (list, tuple)) else expected
    close(actual[0] if isinstance(actual, tuple) else actual, expected)


# --- cells -----------------------------------------------------------------------------------------------------


def one_step(layer, cell, states, x=X[:, 0]):
    """The cell's output and states after one step, against Keras's."""
    expected, wanted = layer(x, states)
    nested = [torch.from_numpy(s) for s in states]
    actual, final = cell(torch.from_numpy(x), tuple(nested))
    close(actual, expected)
    for own, theirs in zip(final, wanted, strict=True):
        close(own, theirs)
    return final


OPTIONS = [{}, {"use_bias": False}, {"activation": "relu"}, {"activation": "softsign"}]


@pytest.mark.parametrize("options", [*OPTIONS, {"recurrent_activation": "relu"}])
def test_lstm_cell(options):
    layer = layers.LSTMCell(UNITS, **options)
    layer.build((N, FEATURES))
    arguments = {k: ACTIVATIONS[v] for k, v in options.items() if k != "use_bias"}
    bias = options.get("use_bias", True)
    cell = LSTMCell(FEATURES, UNITS, bias=bias, **arguments)
    one_step(layer, load(cell, **cell_entries("LSTM", variables(randomised(layer)), bias)), states_of("LSTM"))


@pytest.mark.parametrize("options", [*OPTIONS, {"recurrent_activation": "relu"}])
@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_cell(options, reset_after):
    layer = layers.GRUCell(UNITS, reset_after=reset_after, **options)
    layer.build((N, FEATURES))
    arguments = {k: ACTIVATIONS[v] for k, v in options.items() if k != "use_bias"}
    bias = options.get("use_bias", True)
    cell = GRUCell(FEATURES, UNITS, bias=bias, reset_after=reset_after, **arguments)
    state = cell_entries("GRU", variables(randomised(layer)), bias, reset_after)
    one_step(layer, load(cell, **state), states_of("GRU"))


@pytest.mark.parametrize("options", OPTIONS)
def test_rnn_cell(options):
    layer = layers.SimpleRNNCell(UNITS, **options)
    layer.build((N, FEATURES))
    arguments = {k: ACTIVATIONS[v] for k, v in options.items() if k != "use_bias"}
    bias = options.get("use_bias", True)
    cell = RNNCell(FEATURES, UNITS, bias=bias, **arguments)
    one_step(layer, load(cell, **cell_entries("SimpleRNN", variables(randomised(layer)), bias)), states_of("SimpleRNN"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_starts_with_zeros(kind):
    layer = getattr(layers, f"{kind}Cell")(UNITS)
    layer.build((N, FEATURES))
    cell = CELLS[kind](FEATURES, UNITS)
    expected = layer.get_initial_state(batch_size=N)
    for own, theirs in zip(cell.initial_state(torch.from_numpy(X[:, 0])), expected, strict=True):
        close(own, theirs, 0)


def stack():
    """An LSTM cell on top of a GRU cell on top of an RNN cell: Keras's and ours."""
    sizes = [(FEATURES, "SimpleRNN", 2), (2, "GRU", 5), (5, "LSTM", 3)]
    layer = layers.StackedRNNCells([getattr(layers, f"{kind}Cell")(units) for _, kind, units in sizes])
    layer.build((N, FEATURES))
    cells = []
    for seed, (own, (features, kind, units)) in enumerate(zip(layer.cells, sizes)):
        cell = CELLS[kind](features, units)
        cells.append(load(cell, **cell_entries(kind, variables(randomised(own, seed)))))
    return layer, StackedCells(cells).eval()


def test_stacked_cells():
    layer, cells = stack()
    states = [[numbers(N, 2)], [numbers(N, 5)], [numbers(N, 3), numbers(N, 3, seed=1)]]
    expected, wanted = layer(X[:, 0], states)
    nested = tuple(tuple(torch.from_numpy(s) for s in own) for own in states)
    actual, final = cells(torch.from_numpy(X[:, 0]), nested)
    close(actual, expected)
    for own, theirs in zip((s for part in final for s in part), keras.tree.flatten(wanted), strict=True):
        close(own, theirs)
    assert [[s.shape[1] for s in part] for part in cells.initial_state(torch.from_numpy(X[:, 0]))] == [[2], [5], [3, 3]]


def conv_lstm(rank, activation="tanh", recurrent_activation="sigmoid", **options):
    """Keras's layer over (N, T, space…, 2) and our cell: the input's convolution is VALID, the state's SAME."""
    layer = getattr(layers, f"ConvLSTM{rank}D")(
        3, 3, activation=activation, recurrent_activation=recurrent_activation, return_sequences=True, **options
    )
    x = numbers(len(MASK), T, *(6, 5)[:rank], 2)
    layer.build(x.shape)
    found = variables(randomised(layer))
    conv = {1: nn.Conv1d, 2: nn.Conv2d}[rank]
    bias = options.get("use_bias", True)
    cell = ConvLSTMCell(
        conv(2, 12, 3, options.get("strides", 1), bias=bias),
        conv(3, 12, 3, padding="same", bias=False),
        ACTIVATIONS[activation],
        ACTIVATIONS[recurrent_activation],
    )
    state = {
        "input__weight": np.moveaxis(found["kernel"], (rank + 1, rank), (0, 1)),
        "recurrent__weight": np.moveaxis(found["recurrent_kernel"], (rank + 1, rank), (0, 1)),
    }
    load(cell, **state, **({"input__bias": found["bias"]} if bias else {}))
    return layer, cell, x, torch.from_numpy(np.moveaxis(x, -1, 2).copy())


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize(
    "options",
    [{}, {"use_bias": False}, {"activation": "relu"}, {"recurrent_activation": "softsign"}, {"strides": 2}],
)
def test_conv_lstm_cell(rank, options):
    """Over a sequence: the first step starts with zeros of the size that the convolution leaves."""
    layer, cell, x, own = conv_lstm(rank, **options)
    actual, _ = Recurrence(cell)(own)
    close(actual.movedim(2, -1), layer(x))


# --- sequences -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_recurrence(kind, masked, zero, started):
    layer, _ = pair(kind, zero_output_for_mask=zero)
    cell = load(CELLS[kind](FEATURES, UNITS), **cell_entries(kind, variables(layer)))
    states, mask = states_of(kind) if started else None, MASK if masked else None
    expected, *wanted = layer(X, mask=mask, initial_state=states)
    state = tuple(torch.from_numpy(s) for s in states) if started else None
    own = torch.from_numpy(mask) if masked else None
    actual, final = Recurrence(cell)(torch.from_numpy(X), state, own, zero_masked=zero)
    close(actual, expected)
    for part, theirs in zip(final, wanted, strict=True):
        close(part, theirs)


def test_recurrence_of_stacked_cells():
    """A mask keeps the states of all cells."""
    inner, cells = stack()
    layer = layers.RNN(inner, return_sequences=True, return_state=True)
    expected, *wanted = layer(X, mask=MASK)
    actual, final = Recurrence(cells)(torch.from_numpy(X), mask=torch.from_numpy(MASK))
    close(actual, expected)
    for part, theirs in zip((s for own in final for s in own), keras.tree.flatten(wanted), strict=True):
        close(part, theirs)


def test_recurrence_of_images():
    layer, cell, x, own = conv_lstm(2)
    actual, _ = Recurrence(cell)(own, mask=torch.from_numpy(MASK))
    close(actual.movedim(2, -1), layer(x, mask=MASK))


def test_where_unmasked():
    """Of nests: each tensor's samples by one mask, whatever its other axes."""
    mask = coins(N)
    new = [numbers(N, 3), numbers(N, 2, 4), numbers(N)]
    old = [numbers(*a.shape, seed=9) for a in new]
    nest = [tuple([torch.from_numpy(a), (torch.from_numpy(b), torch.from_numpy(c))]) for a, b, c in (new, old)]
    a, (b, c) = where_unmasked(torch.from_numpy(mask), *nest)
    for actual, yes, no in zip((a, b, c), new, old):
        close(actual, tf.where(mask.reshape(-1, *[1] * (yes.ndim - 1)), yes, no), 0)


@pytest.mark.parametrize("batch, steps", [(3, 4), (1, 1)])
def test_time_distributed(batch, steps):
    x = numbers(batch, steps, 6, 5, 2)
    layer = layers.TimeDistributed(layers.Conv2D(4, 3))
    layer.build(x.shape)
    found = variables(randomised(layer))
    module = load(nn.Conv2d(2, 4, 3), weight=found["kernel"].transpose(3, 2, 0, 1), bias=found["bias"])
    actual = time_distributed(module, torch.from_numpy(x).movedim(-1, 2))
    close(actual.movedim(2, -1), layer(x))


def test_time_distributed_over_two_inputs():
    """The mask of each step goes with it."""
    x, mask = numbers(3, 4, 5, 2), coins(3, 4, 5)
    mask[..., 0] = True
    expected = layers.TimeDistributed(layers.GlobalAveragePooling1D())(x, mask=mask)

    def mean(x, mask):
        return (x * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)

    close(time_distributed(mean, torch.from_numpy(x), torch.from_numpy(mask)), expected)
