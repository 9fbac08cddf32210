"""A lesson: activations whose defaults, or habits, differ."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself

# name → (what Keras computes, torch's habit or default, what agrees), in words.
ACTIVATIONS = {
    "LeakyReLU()": ("keras.layers.LeakyReLU()", "nn.LeakyReLU()", "nn.LeakyReLU(0.3)"),
    "leaky_relu": ('activation="leaky_relu"', "F.leaky_relu(x)", "F.leaky_relu(x, 0.2)"),
    "hard_sigmoid": ('activation="hard_sigmoid"', "clip(0.2 x + 0.5), as Keras 2 had it", "F.hardsigmoid(x)"),
    "gelu": ('activation="gelu"', 'F.gelu(x, approximate="tanh"), as many models have it', "F.gelu(x)"),
    "softmax": ('activation="softmax"', "F.softmax(x, dim=0)", "F.softmax(x, dim=-1)"),
}


@torch_to_itself
def activation_default(name: str, seed: int) -> Experiment:
    """An activation whose default or habit differs between the frameworks. Picture: x."""
    import keras
    import torch
    import torch.nn.functional as F

    x = np.linspace(-4, 4, 9, dtype="float32")[None].repeat(2, 0)
    x[1] = np.random.default_rng(seed).permutation(x[1])
    t = torch.from_numpy(x)
    functions = {
        "LeakyReLU()": (keras.layers.LeakyReLU(), lambda: F.leaky_relu(t), lambda: F.leaky_relu(t, 0.3)),
        "leaky_relu": (keras.activations.get("leaky_relu"), lambda: F.leaky_relu(t), lambda: F.leaky_relu(t, 0.2)),
        "hard_sigmoid": (
            keras.activations.get("hard_sigmoid"),
            lambda: (0.2 * t + 0.5).clamp(0, 1),
            lambda: F.hardsigmoid(t),
        ),
        "gelu": (keras.activations.get("gelu"), lambda: F.gelu(t, approximate="tanh"), lambda: F.gelu(t)),
        "softmax": (keras.activations.get("softmax"), lambda: F.softmax(t, dim=0), lambda: F.softmax(t, dim=-1)),
    }
    keras_function, wrong, right = functions[name]
    _, wrong_words, right_words = ACTIVATIONS[name]
    expected = np.asarray(keras_function(x))
    return Experiment(
        expected, Answer.of(wrong_words, expected, wrong()), Answer.of(right_words, expected, right()), {"x": x}
    )


LESSON = Lesson(
    "Activations of one name",
    activation_default,
    ("LeakyReLU", "Activation", "Softmax"),
    {"name": "LeakyReLU()", "seed": 0},
)
