"""Lessons on the order of axes: flattening, kernels, memory formats."""

from __future__ import annotations

from typing import Any

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment
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


@torch_to_itself
def transposed_kernel(size: int, seed: int, ones: bool) -> Experiment:
    """A square Dense kernel, copied without and with its transpose. With ``ones`` no output can tell the two apart."""
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3, size)).astype("float32")
    kernel = np.ones((size, size), "float32") if ones else rng.standard_normal((size, size)).astype("float32")
    layer = keras.layers.Dense(size, use_bias=False)
    layer.build((None, size))
    layer.set_weights([kernel])
    expected = np.asarray(layer(x))
    answers = []
    for title, weight in (("weight = kernel", kernel), ("weight = kernel.T", kernel.T)):
        module = nn.Linear(size, size, bias=False)
        module.load_state_dict({"weight": torch.from_numpy(weight.copy())})
        answers.append(Answer.of(title, expected, module(torch.from_numpy(x))))
    return Experiment(expected, *answers, {"kernel": kernel})


@torch_to_itself
def dense_kernel(inputs: int, units: int, seed: int) -> Experiment:
    """A Dense layer; torch's weight is the kernel as it stands, or its transpose."""
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, inputs)).astype("float32")
    layer = keras.layers.Dense(units)
    layer.build((None, inputs))
    kernel, bias = rng.standard_normal((inputs, units)).astype("float32"), rng.standard_normal(units).astype("float32")
    layer.set_weights([kernel, bias])
    expected = np.asarray(layer(x))

    def run(weight: np.ndarray) -> Any:
        module = nn.Linear(inputs, units)
        module.load_state_dict({"weight": torch.from_numpy(weight.copy()), "bias": torch.from_numpy(bias)})
        return module(torch.from_numpy(x))

    wrong, right = (
        Answer.attempt(title, expected, lambda weight=weight: run(weight))
        for title, weight in (("weight = kernel", kernel), ("weight = kernel.T", kernel.T))
    )
    return Experiment(expected, wrong, right, {"kernel": kernel, "weight": kernel.T})


@torch_to_itself
def convolution_kernel(kernel: int, channels: int, seed: int, size: int = 5) -> Experiment:
    """A square convolution kernel, its axes reversed (every shape fits) or moved as they must be: (H, W, in, out) → (out, in, H, W)."""
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
    wrong, right = kernels.values()
    return Experiment(
        expected, *answers, {"keras kernel": weight[:, :, 0, 0], "wrong kernel": wrong, "right kernel": right}
    )


FORMATS = {"reshape": "x.reshape(N, C, H, W)", "declare": "x.to(memory_format=torch.channels_last)"}


@torch_to_itself
def memory_format(height: int, width: int, channels: int, seed: int, wrong: str = "reshape") -> Experiment:
    """A convolution on a channels-last image. Only a permutation of the axes brings channels first; a memory format moves
    numbers in memory and leaves shape and meaning as they are.

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
