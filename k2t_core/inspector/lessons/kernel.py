"""A lesson: the axes of a convolution kernel are moved, not reversed."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import CONVOLUTIONS, Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself


@torch_to_itself
def convolution_kernel(kernel: int, channels: int, seed: int, size: int = 5) -> Experiment:
    """A square convolution kernel, its axes reversed or moved as they must be: (H, W, in, out) → (out, in, H, W).

    Every shape fits either way. Pictures: the kernel of the first filter in Keras, and as either module has it.
    """
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    image = rng.standard_normal((1, size, size, channels)).astype("float32")
    layer = keras.layers.Conv2D(1, kernel, use_bias=False)
    layer.build(image.shape)
    weight = rng.standard_normal((kernel, kernel, channels, 1)).astype("float32")
    layer.set_weights([weight])
    expected = np.asarray(layer(image))[0, :, :, 0]
    x = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
    answers, kernels = [], {}
    for title, axes in (
        ("weight = kernel.T, all axes reversed", (3, 2, 1, 0)),
        ("weight = kernel.transpose(3, 2, 0, 1)", (3, 2, 0, 1)),
    ):
        conv = nn.Conv2d(channels, 1, kernel, bias=False)
        conv.load_state_dict({"weight": torch.from_numpy(weight.transpose(axes).copy())})
        answers.append(Answer.of(title, expected, conv(x)[0, 0]))
        kernels[title] = conv.weight.detach().numpy()[0, 0]
    wrong, right = answers
    pictures = {
        "keras kernel": weight[:, :, 0, 0],
        "wrong kernel": kernels[wrong.title],
        "right kernel": kernels[right.title],
    }
    return Experiment(expected, wrong, right, pictures)


LESSON = Lesson(
    "A kernel is not just reversed", convolution_kernel, CONVOLUTIONS, {"size": 3, "channels": 2, "seed": 0}
)
