"""Lessons on BatchNormalization's numbers, and on inference and training."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment
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
    return Experiment(expected, *answers, {"variance": spread})


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
        answers.append(Answer.of(title, expected, module.running_mean[None]))
    return Experiment(expected, *answers, {"mean of the data": batches.mean((0, 1))})


@torch_to_itself
def inference_mode(layer: str, seed: int, rate: float = 0.3) -> Experiment:
    """A Dropout or BatchNormalization: Keras infers where nobody says training=True, a fresh torch module trains."""
    import keras
    import torch
    from torch import nn

    torch.manual_seed(seed)
    x = np.random.default_rng(seed).normal(2, 1, (4, 6)).astype("float32")
    keras_layer = {
        "Dropout": keras.layers.Dropout(rate),
        "BatchNormalization": keras.layers.BatchNormalization(epsilon=1e-5),
    }[layer]
    expected = np.asarray(keras_layer(x))
    answers = []
    for title, training in (("the module as it is made: training", True), ("module.eval()", False)):
        module = {"Dropout": nn.Dropout(rate), "BatchNormalization": nn.BatchNorm1d(6)}[layer].train(training)
        answers.append(Answer.of(title, expected, module(torch.from_numpy(x))))
    return Experiment(expected, *answers, {"x": x})
