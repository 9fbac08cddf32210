"""Lessons on the gates of LSTM and GRU."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment
from k2t_core.tensors import torch_to_itself

KERAS_GATES = ("i", "f", "c", "o")  # keras/src/layers/rnn/lstm.py: the splits of z
TORCH_GATES = ("i", "f", "g", "o")  # torch.nn.LSTM: W_ii|W_if|W_ig|W_io; g is Keras's c
GATE_ORDERS = tuple(" ".join(order) for order in permutations(TORCH_GATES))
BIASES = {
    "first": "all of it in bias_ih, zeros in bias_hh",
    "split": "one half in each",
    "doubled": "the whole bias in both",
}


@torch_to_itself
def lstm_gates(
    units: int, features: int, steps: int, seed: int, order: str = "i f o g", bias: str = "doubled"
) -> Experiment:
    """An LSTM's last output. The wrong module takes Keras's gate blocks in ``order`` and places the bias by ``bias``.

    Pictures: Keras's three arrays and the right module's four, gates along the rows of all.
    """
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, steps, features)).astype("float32")
    layer = keras.layers.LSTM(units)
    layer.build((None, steps, features))
    kernel, recurrent, keras_bias = (rng.standard_normal(v.shape).astype("float32") for v in layer.weights)
    layer.set_weights([kernel, recurrent, keras_bias])
    expected = np.asarray(layer(x))

    def module(order: str, bias: str) -> nn.LSTM:
        blocks = [TORCH_GATES.index(gate) for gate in order.split()]
        take = np.concatenate([np.arange(units) + block * units for block in blocks])
        b = keras_bias[take]
        first, second = {"first": (b, np.zeros_like(b)), "split": (b / 2, b / 2), "doubled": (b, b)}[bias]
        lstm = nn.LSTM(features, units, batch_first=True)
        arrays = {
            "weight_ih_l0": kernel.T[take],
            "weight_hh_l0": recurrent.T[take],
            "bias_ih_l0": first,
            "bias_hh_l0": second,
        }
        lstm.load_state_dict({key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()})
        return lstm

    def answer(title: str, lstm: nn.LSTM) -> Answer:
        return Answer.of(title, expected, lstm(torch.from_numpy(x))[0][:, -1])

    right = module(" ".join(TORCH_GATES), "first")
    wrong = answer(f"gates {order}, {BIASES[bias]}", module(order, bias))
    pictures = {
        "kernel": kernel,
        "recurrent_kernel": recurrent,
        "bias": keras_bias,
        **{key: value.numpy() for key, value in right.state_dict().items()},
    }
    return Experiment(expected, wrong, answer(f"gates i f g o, {BIASES['first']}", right), pictures)


@torch_to_itself
def gru_reset(
    units: int, features: int, steps: int, seed: int, reset_after: bool = True, reordered: bool = False
) -> Experiment:
    """A GRU's last output. Keras stacks z r h, torch r z n; and torch has reset_after=True only, for the other a loop is needed.

    The wrong module is nn.GRU with the gates in Keras's order, or, ``reordered``, in torch's.
    """
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, steps, features)).astype("float32")
    layer = keras.layers.GRU(units, reset_after=reset_after)
    layer.build(x.shape)
    kernel, recurrent, bias = (rng.standard_normal(v.shape).astype("float32") for v in layer.weights)
    layer.set_weights([kernel, recurrent, bias])
    expected = np.asarray(layer(x))
    input_bias, recurrent_bias = bias if reset_after else (bias, np.zeros_like(bias))

    def module(order: tuple[int, ...]) -> Any:
        take = np.concatenate([np.arange(units) + block * units for block in order])
        gru = nn.GRU(features, units, batch_first=True)
        arrays = {
            "weight_ih_l0": kernel.T[take],
            "weight_hh_l0": recurrent.T[take],
            "bias_ih_l0": input_bias[take],
            "bias_hh_l0": recurrent_bias[take],
        }
        gru.load_state_dict({key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()})
        return gru(torch.from_numpy(x))[0][:, -1]

    def loop() -> Any:
        # keras/src/layers/rnn/gru.py: with reset_after=False the reset gate acts before the recurrent product.
        w, u, b, h = (torch.from_numpy(a) for a in (kernel, recurrent, bias, np.zeros((1, units), "float32")))
        for t in range(steps):
            given = torch.from_numpy(x[:, t]) @ w + b
            z, r = torch.sigmoid(given[:, : 2 * units] + h @ u[:, : 2 * units]).chunk(2, -1)
            h = z * h + (1 - z) * torch.tanh(given[:, 2 * units :] + (r * h) @ u[:, 2 * units :])
        return h

    wrong = Answer.of(
        "nn.GRU, gates r z n" if reordered else "nn.GRU, gates z r h as in Keras",
        expected,
        module((1, 0, 2) if reordered else (0, 1, 2)),
    )
    right = (
        Answer.of("nn.GRU, gates r z n", expected, module((1, 0, 2)))
        if reset_after
        else Answer.of("a loop that resets before the product", expected, loop())
    )
    return Experiment(
        expected, wrong, right, {"kernel": kernel, "recurrent_kernel": recurrent, "bias": np.atleast_2d(bias)}
    )
