"""A lesson: torch's weight is the transpose of a Dense kernel."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself


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
        Answer.attempt(title, expected, partial(run, weight))
        for title, weight in (("weight = kernel", kernel), ("weight = kernel.T", kernel.T))
    )
    return Experiment(expected, wrong, right, {"kernel": kernel, "weight": kernel.T})


LESSON = Lesson("Dense is transposed", dense_kernel, ("Dense",), {"inputs": 4, "units": 3, "seed": 0})
