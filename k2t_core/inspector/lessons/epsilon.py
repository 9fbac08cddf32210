"""A lesson: the two epsilons of BatchNormalization."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself


@torch_to_itself
def batch_norm_epsilon(variance: float, seed: int, channels: int = 4) -> Experiment:
    """BatchNormalization in inference: Keras adds 1e-3 to the variance, torch 1e-5."""
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((3, channels)) * np.sqrt(variance)).astype("float32")
    layer = keras.layers.BatchNormalization()
    layer.build(x.shape)
    mean, spread = (
        (rng.standard_normal(channels) * np.sqrt(variance)).astype("float32"),
        (variance * rng.uniform(0.5, 1.5, channels)).astype("float32"),
    )
    gamma, beta = np.ones(channels, "float32"), np.zeros(channels, "float32")
    layer.set_weights([gamma, beta, mean, spread])
    expected = np.asarray(layer(x, training=False))
    answers = []
    for title, options in (
        ("nn.BatchNorm1d(channels)", {}),
        ("nn.BatchNorm1d(channels, eps=1e-3)", {"eps": layer.epsilon}),
    ):
        module = nn.BatchNorm1d(channels, **options).eval()
        module.load_state_dict(
            {
                key: torch.from_numpy(v)
                for key, v in {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": spread}.items()
            },
            strict=False,
        )
        answers.append(Answer.of(title, expected, module(torch.from_numpy(x))))
    wrong, right = answers
    return Experiment(expected, wrong, right, {"variance": spread})


LESSON = Lesson(
    "BatchNorm: another epsilon",
    batch_norm_epsilon,
    ("BatchNormalization", "LayerNormalization"),
    {"variance": 0.001, "seed": 0},
)
