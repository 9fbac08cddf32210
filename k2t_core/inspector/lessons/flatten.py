"""A lesson: Flatten strings the numbers of an image up in another order."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself


@torch_to_itself
def flatten_order(height: int, width: int, channels: int, seed: int, units: int = 4) -> Experiment:
    """Flatten, then Dense, on a channels-last image; torch flattens the same image channels first.

    Pictures: the pixel numbers 0, 1, 2, … in the order in which either framework flattens them, and both kernels.
    """
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    image = rng.standard_normal((1, height, width, channels)).astype("float32")
    model = keras.Sequential(
        [keras.Input((height, width, channels)), keras.layers.Flatten(), keras.layers.Dense(units)]
    )
    kernel = rng.standard_normal((height * width * channels, units)).astype("float32")
    bias = rng.standard_normal(units).astype("float32")
    model.layers[-1].set_weights([kernel, bias])
    expected = np.asarray(model(image))

    numbered = np.arange(height * width * channels).reshape(1, height, width, channels)
    keras_order = np.asarray(keras.layers.Flatten()(numbered))[0]
    torch_order = nn.Flatten()(torch.from_numpy(numbered.transpose(0, 3, 1, 2).copy())).numpy()[0]

    x = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
    answers = {}
    for title, rows in (
        ("kernel only transposed", kernel),
        ("kernel's rows re-ordered, then transposed", kernel[torch_order]),
    ):
        module = nn.Sequential(nn.Flatten(), nn.Linear(len(kernel), units))
        module[1].load_state_dict({"weight": torch.from_numpy(rows.T.copy()), "bias": torch.from_numpy(bias)})
        answers[title] = Answer.of(title, expected, module(x))
    wrong, right = answers.values()
    pictures = {
        "keras order": keras_order,
        "torch order": torch_order,
        "kernel": kernel,
        "re-ordered kernel": kernel[torch_order],
    }
    return Experiment(expected, wrong, right, pictures)


LESSON = Lesson(
    "Flatten runs through other axes", flatten_order, ("Flatten",), {"height": 3, "width": 2, "channels": 3, "seed": 0}
)
