"""A lesson: with weights of ones no output tells a wrong transpose from a right one."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself


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
    wrong, right = answers
    return Experiment(expected, wrong, right, {"kernel": kernel})


LESSON = Lesson("Ones hide a wrong transpose", transposed_kernel, ("Dense",), {"size": 4, "seed": 0})
