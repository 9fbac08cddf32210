"""A lesson: the gates of an LSTM, and its one bias or two."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment, Lesson
from k2t_core.rules.recurrent_cells import LSTM
from k2t_core.tensors import torch_to_itself

KERAS_GATES, TORCH_GATES = LSTM.keras, LSTM.torch
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


LESSON = Lesson(
    "LSTM: three arrays or four",
    lstm_gates,
    ("LSTM", "Bidirectional"),
    {"units": 3, "features": 2, "steps": 5, "order": "i f o g", "bias": "doubled", "seed": 0},
)
