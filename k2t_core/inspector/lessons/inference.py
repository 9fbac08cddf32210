"""A lesson: a fresh torch module trains, a Keras layer infers."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself


@torch_to_itself
def inference_mode(layer: str, seed: int, rate: float = 0.3) -> Experiment:
    """A Dropout or BatchNormalization: Keras infers where nobody says training=True, a fresh torch module trains."""
    import keras
    import torch
    from torch import nn

    x = np.random.default_rng(seed).normal(2, 1, (4, 6)).astype("float32")
    keras_layer = {
        "Dropout": keras.layers.Dropout(rate),
        "BatchNormalization": keras.layers.BatchNormalization(epsilon=1e-5),
    }[layer]
    expected = np.asarray(keras_layer(x))
    answers = []
    with torch.random.fork_rng(devices=[]):  # the generator is the process's, and a Dropout draws from it
        torch.manual_seed(seed)
        for title, training in (("the module as it is made: training", True), ("module.eval()", False)):
            module = {"Dropout": nn.Dropout(rate), "BatchNormalization": nn.BatchNorm1d(6)}[layer].train(training)
            answers.append(Answer.of(title, expected, module(torch.from_numpy(x))))
    wrong, right = answers
    return Experiment(expected, wrong, right, {"x": x})


LESSON = Lesson(
    "Training or inference",
    inference_mode,
    ("Dropout", "BatchNormalization"),
    {"layer": "BatchNormalization", "seed": 0},
)
