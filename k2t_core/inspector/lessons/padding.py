"""Lessons on the edges: padding "same", and what an average over them counts."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment
from k2t_core.tensors import torch_to_itself


@torch_to_itself
def same_padding(size: int, kernel: int, stride: int, seed: int) -> Experiment:
    """A strided convolution with padding="same" over a row. Keras pads what is odd on the right, torch both sides alike.

    Pictures: the row as either framework pads it, and the padding (left, right) of both.
    """
    import keras
    import torch
    import torch.nn.functional as F
    from torch import nn

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, size, 1)).astype("float32")
    layer = keras.layers.Conv1D(1, kernel, strides=stride, padding="same", use_bias=False)
    layer.build((None, size, 1))
    weight = rng.standard_normal((kernel, 1, 1)).astype("float32")
    layer.set_weights([weight])
    expected = np.asarray(layer(x)).transpose(0, 2, 1)

    # TensorFlow: ceil(size / stride) outputs, and as much padding as they need, the odd one at the end.
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    keras_pads, torch_pads = (total // 2, total - total // 2), ((kernel - 1) // 2,) * 2
    row = torch.from_numpy(x.transpose(0, 2, 1).copy())
    answers = []
    for title, pads in (
        (f"padding={torch_pads[0]}, both sides alike", torch_pads),
        (f"F.pad(x, {keras_pads})", keras_pads),
    ):
        conv = nn.Conv1d(1, 1, kernel, stride, bias=False)
        conv.load_state_dict({"weight": torch.from_numpy(weight.transpose(2, 1, 0).copy())})
        answers.append(Answer.of(title, expected, conv(F.pad(row, pads))))
    padded = {
        name: F.pad(row, pads).numpy()[0] for name, pads in (("torch row", torch_pads), ("keras row", keras_pads))
    }
    return Experiment(
        expected, *answers, {**padded, "torch pads": np.array(torch_pads), "keras pads": np.array(keras_pads)}
    )


@torch_to_itself
def average_pooling(size: int, window: int, seed: int) -> Experiment:
    """Average pooling with padding="same": at the border Keras divides by the values that are there, torch by the whole window.

    Pictures: the row and by how many values Keras divides at each place.
    """
    import keras
    import torch
    from torch import nn

    x = np.random.default_rng(seed).uniform(1, 5, (1, size, 1)).astype("float32")
    layer = keras.layers.AveragePooling1D(window, strides=1, padding="same")
    expected = np.asarray(layer(x)).transpose(0, 2, 1)
    row = torch.from_numpy(x.transpose(0, 2, 1).copy())
    answers = [
        Answer.of(title, expected, nn.AvgPool1d(window, 1, window // 2, count_include_pad=counted)(row))
        for title, counted in (("nn.AvgPool1d(…), its defaults", True), ("count_include_pad=False", False))
    ]
    present = np.ones((1, size, 1), "float32")
    sums = np.convolve(present[0, :, 0], np.ones(window), "same")
    return Experiment(expected, *answers, {"row": x[:, :, 0], "divided by": sums[None]})
