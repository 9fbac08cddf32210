"""A lesson: the gates of a GRU, and where it resets."""

from __future__ import annotations

from typing import Any

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself


@torch_to_itself
def gru_reset(
    units: int, features: int, steps: int, seed: int, reset_after: bool = True, reordered: bool = False
) -> Experiment:
    """A GRU's last output. Keras stacks z r h, torch r z n. torch has reset_after=True only: the other needs a loop.

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


LESSON = Lesson(
    "GRU: gates and reset_after",
    gru_reset,
    ("GRU",),
    {"units": 3, "features": 2, "steps": 5, "after": True, "reordered": False, "seed": 0},
)
