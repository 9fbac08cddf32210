"""A lesson: Keras's momentum is what stays of a moving mean, torch's what comes."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself


@torch_to_itself
def batch_norm_momentum(steps: int, seed: int, channels: int = 4) -> Experiment:
    """The moving mean after some steps of training. Keras's momentum is what stays, torch's what comes."""
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    batches = rng.normal(3, 1, (steps, 16, channels)).astype("float32")
    layer = keras.layers.BatchNormalization()
    layer.build(batches.shape[1:])
    for x in batches:
        layer(x, training=True)
    expected = np.asarray(layer.moving_mean)[None]
    answers = []
    for title, momentum in (("momentum=0.99, copied", layer.momentum), ("momentum=1 − 0.99", 1 - layer.momentum)):
        module = nn.BatchNorm1d(channels, momentum=momentum).train()
        for x in batches:
            module(torch.from_numpy(x))
        answers.append(Answer.of(title, expected, module.state_dict()["running_mean"][None]))
    wrong, right = answers
    return Experiment(expected, wrong, right, {"mean of the data": batches.mean((0, 1))})


LESSON = Lesson(
    "BatchNorm: momentum upside down", batch_norm_momentum, ("BatchNormalization",), {"steps": 5, "seed": 0}
)
