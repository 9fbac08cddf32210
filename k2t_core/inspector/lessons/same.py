"""A lesson: where padding "same" is odd, Keras puts the rest on the right."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import CONVOLUTIONS, Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself


@torch_to_itself
def same_padding(size: int, kernel: int, stride: int, seed: int) -> Experiment:
    """A strided convolution with padding="same" over a row. Keras pads what is odd on the right, torch both alike.

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
    wrong, right = answers
    return Experiment(
        expected, wrong, right, {**padded, "torch pads": np.array(torch_pads), "keras pads": np.array(keras_pads)}
    )


LESSON = Lesson(
    "SAME padding is not symmetric", same_padding, CONVOLUTIONS, {"size": 6, "kernel": 3, "stride": 2, "seed": 0}
)
