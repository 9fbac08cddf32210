"""A lesson: what an average over the border counts."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself


@torch_to_itself
def average_pooling(size: int, window: int, seed: int) -> Experiment:
    """Average pooling with padding="same".

    At the border Keras divides by the values that are there, torch by the whole window.
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
    wrong, right = answers
    return Experiment(expected, wrong, right, {"row": x[:, :, 0], "divided by": sums[None]})


LESSON = Lesson(
    "Average pooling at the border",
    average_pooling,
    ("AveragePooling2D", "AveragePooling1D", "AveragePooling3D"),
    {"size": 8, "window": 3, "seed": 0},
)
