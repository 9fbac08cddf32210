"""A lesson: a memory format moves numbers in memory, and no axis."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import CONVOLUTIONS, Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself

FORMATS = {"reshape": "x.reshape(N, C, H, W)", "declare": "x.to(memory_format=torch.channels_last)"}


@torch_to_itself
def memory_format(height: int, width: int, channels: int, seed: int, wrong: str = "reshape") -> Experiment:
    """A convolution on a channels-last image. Only a permutation of the axes brings channels first.

    A memory format moves numbers in memory and leaves shape and meaning as they are.

    Pictures: the order in memory of the same torch tensor in both formats, as numbers of its elements.
    """
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    image = rng.standard_normal((1, height, width, channels)).astype("float32")
    layer = keras.layers.Conv2D(1, 1, use_bias=False)
    layer.build(image.shape)
    kernel = rng.standard_normal((1, 1, channels, 1)).astype("float32")
    layer.set_weights([kernel])
    expected = np.asarray(layer(image)).transpose(0, 3, 1, 2)
    conv = nn.Conv2d(channels, 1, 1, bias=False)
    conv.load_state_dict({"weight": torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())})
    x = torch.from_numpy(image)
    given = {
        "reshape": lambda: x.reshape(1, channels, height, width),
        "declare": lambda: x.to(memory_format=torch.channels_last),
    }
    answer = Answer.attempt(FORMATS[wrong], expected, lambda: conv(given[wrong]()))
    first = x.permute(0, 3, 1, 2)
    right = Answer.of(
        "x.permute(0, 3, 1, 2), in either memory format",
        expected,
        conv(first.contiguous(memory_format=torch.channels_last)),
    )
    numbered = torch.arange(channels * height * width).reshape(1, channels, height, width)
    orders = {
        name: numbered.contiguous(memory_format=kind).as_strided((numbered.numel(),), (1,)).numpy()
        for name, kind in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last))
    }
    return Experiment(expected, answer, right, orders)


LESSON = Lesson(
    "Memory format is no layout",
    memory_format,
    CONVOLUTIONS,
    {"wrong": "reshape", "height": 3, "width": 4, "channels": 2, "seed": 0},
)
