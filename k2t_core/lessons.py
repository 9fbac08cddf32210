"""The experiments behind the Learn page: each runs a Keras layer and torch modules, a right one and a wrong one.

Everything is computed by the frameworks when it is asked for; nothing here is a stored result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from k2t_core.tensors import torch_to_itself
from k2t_core.verification.report import Difference

KERAS_GATES = ("i", "f", "c", "o")  # keras/src/layers/rnn/lstm.py: the splits of z
TORCH_GATES = ("i", "f", "g", "o")  # torch.nn.LSTM: W_ii|W_if|W_ig|W_io; g is Keras's c
GATE_ORDERS = tuple(" ".join(order) for order in permutations(TORCH_GATES))
BIASES = {"first": "all of it in bias_ih, zeros in bias_hh", "split": "one half in each", "doubled": "the whole bias in both"}


AGREES = 1e-5  # relative to the largest value
# What a wrong version can do, in the words of a prediction.
OUTCOMES = {
    "error": "It raises an error",
    "same": "It runs, and computes the same",
    "some": "It runs, and some of its numbers are others",
    "all": "It runs, and nearly all of its numbers are others",
}
NEARLY_ALL = 0.75


@dataclass(frozen=True, eq=False)
class Answer:
    """What a torch module says, and how far it is from Keras; or the error that it raises."""

    title: str
    output: np.ndarray
    difference: Difference
    error: str | None = None

    @classmethod
    def of(cls, title: str, keras: np.ndarray, torch: Any) -> Answer:
        output = torch.detach().numpy()
        return cls(title, output, Difference.of(keras, output))

    @classmethod
    def attempt(cls, title: str, keras: np.ndarray, run: Callable[[], Any]) -> Answer:
        """What ``run`` returns, or torch's error where it refuses."""
        try:
            return cls.of(title, keras, run())
        except RuntimeError as error:
            return cls(title, np.full_like(keras, np.nan), Difference.of(keras, np.full_like(keras, np.nan)), str(error))

    @property
    def agrees(self) -> bool:
        return self.error is None and self.difference.relative < AGREES


@dataclass(frozen=True, eq=False)
class Experiment:
    """Keras's answer beside a wrong and a right torch module's. ``pictures``: named arrays to look at."""

    keras: np.ndarray
    wrong: Answer
    right: Answer
    pictures: dict[str, np.ndarray]

    @property
    def outcome(self) -> str:
        """Which of `OUTCOMES` the wrong version has."""
        if self.wrong.error is not None:
            return "error"
        if self.wrong.agrees:
            return "same"
        if self.wrong.output.shape != self.keras.shape:
            return "all"
        allowed = AGREES * self.wrong.difference.keras_max
        others = float((np.abs(self.wrong.output - self.keras) > allowed).mean())
        return "all" if others >= NEARLY_ALL else "some"


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
    model = keras.Sequential([keras.Input((height, width, channels)), keras.layers.Flatten(), keras.layers.Dense(units)])
    kernel = rng.standard_normal((height * width * channels, units)).astype("float32")
    bias = rng.standard_normal(units).astype("float32")
    model.layers[-1].set_weights([kernel, bias])
    expected = np.asarray(model(image))

    numbered = np.arange(height * width * channels).reshape(1, height, width, channels)
    keras_order = np.asarray(keras.layers.Flatten()(numbered))[0]
    torch_order = nn.Flatten()(torch.from_numpy(numbered.transpose(0, 3, 1, 2).copy())).numpy()[0]

    x = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
    answers = {}
    for title, rows in (("kernel only transposed", kernel), ("kernel's rows re-ordered, then transposed", kernel[torch_order])):
        module = nn.Sequential(nn.Flatten(), nn.Linear(len(kernel), units))
        module[1].load_state_dict({"weight": torch.from_numpy(rows.T.copy()), "bias": torch.from_numpy(bias)})
        answers[title] = Answer.of(title, expected, module(x))
    wrong, right = answers.values()
    pictures = {"keras order": keras_order, "torch order": torch_order, "kernel": kernel, "re-ordered kernel": kernel[torch_order]}
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

    wrong, right = (Answer.attempt(title, expected, lambda weight=weight: run(weight)) for title, weight in (("weight = kernel", kernel), ("weight = kernel.T", kernel.T)))
    return Experiment(expected, wrong, right, {"kernel": kernel, "weight": kernel.T})


@torch_to_itself
def lstm_gates(units: int, features: int, steps: int, seed: int, order: str = "i f o g", bias: str = "doubled") -> Experiment:
    """An LSTM's last output. The wrong module takes Keras's gate blocks in ``order`` and places the bias by ``bias``.

    Pictures: Keras's three arrays and the right module's four, gates along the rows of all.
    """
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, steps, features)).astype("float32")
    layer = keras.layers.LSTM(units)
    layer.build((None, steps, features))
    kernel, recurrent, keras_bias = (rng.standard_normal(v.shape).astype("float32") for v in layer.weights)
    layer.set_weights([kernel, recurrent, keras_bias])
    expected = np.asarray(layer(x))

    def module(order: str, bias: str) -> nn.LSTM:
        blocks = [TORCH_GATES.index(gate) for gate in order.split()]
        take = np.concatenate([np.arange(units) + block * units for block in blocks])
        b = keras_bias[take]
        first, second = {"first": (b, np.zeros_like(b)), "split": (b / 2, b / 2), "doubled": (b, b)}[bias]
        lstm = nn.LSTM(features, units, batch_first=True)
        arrays = {"weight_ih_l0": kernel.T[take], "weight_hh_l0": recurrent.T[take], "bias_ih_l0": first, "bias_hh_l0": second}
        lstm.load_state_dict({key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()})
        return lstm

    def answer(title: str, lstm: nn.LSTM) -> Answer:
        return Answer.of(title, expected, lstm(torch.from_numpy(x))[0][:, -1])

    right = module(" ".join(TORCH_GATES), "first")
    wrong = answer(f"gates {order}, {BIASES[bias]}", module(order, bias))
    pictures = {"kernel": kernel, "recurrent_kernel": recurrent, "bias": keras_bias, **{key: value.numpy() for key, value in right.state_dict().items()}}
    return Experiment(expected, wrong, answer(f"gates i f g o, {BIASES['first']}", right), pictures)


@torch_to_itself
def same_padding(size: int, kernel: int, stride: int, seed: int) -> Experiment:
    """A strided convolution with padding="same" over a row. Keras pads what is odd on the right, torch both sides alike.

    Pictures: the row as either framework pads it, and the padding (left, right) of both.
    """
    import keras
    import torch
    import torch.nn.functional as F
    from torch import nn

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, size, 1)).astype("float32")
    layer = keras.layers.Conv1D(1, kernel, strides=stride, padding="same", use_bias=False)
    layer.build((None, size, 1))
    weight = rng.standard_normal((kernel, 1, 1)).astype("float32")
    layer.set_weights([weight])
    expected = np.asarray(layer(x)).transpose(0, 2, 1)

    # TensorFlow: ceil(size / stride) outputs, and as much padding as they need, the odd one at the end.
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    keras_pads, torch_pads = (total // 2, total - total // 2), ((kernel - 1) // 2,) * 2
    row = torch.from_numpy(x.transpose(0, 2, 1).copy())
    answers = []
    for title, pads in ((f"padding={torch_pads[0]}, both sides alike", torch_pads), (f"F.pad(x, {keras_pads})", keras_pads)):
        conv = nn.Conv1d(1, 1, kernel, stride, bias=False)
        conv.load_state_dict({"weight": torch.from_numpy(weight.transpose(2, 1, 0).copy())})
        answers.append(Answer.of(title, expected, conv(F.pad(row, pads))))
    padded = {name: F.pad(row, pads).numpy()[0] for name, pads in (("torch row", torch_pads), ("keras row", keras_pads))}
    return Experiment(expected, *answers, {**padded, "torch pads": np.array(torch_pads), "keras pads": np.array(keras_pads)})


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
    for title, axes in (("weight = kernel.T, all axes reversed", (3, 2, 1, 0)), ("weight = kernel.transpose(3, 2, 0, 1)", (3, 2, 0, 1))):
        conv = nn.Conv2d(channels, 1, kernel, bias=False)
        conv.load_state_dict({"weight": torch.from_numpy(weight.transpose(axes).copy())})
        answers.append(Answer.of(title, expected, conv(x)[0, 0]))
        kernels[title] = conv.weight.detach().numpy()[0, 0]
    wrong, right = kernels.values()
    return Experiment(expected, *answers, {"keras kernel": weight[:, :, 0, 0], "wrong kernel": wrong, "right kernel": right})


@torch_to_itself
def average_pooling(size: int, window: int, seed: int) -> Experiment:
    """Average pooling with padding="same": at the border Keras divides by the values that are there, torch by the whole window.

    Pictures: the row and by how many values Keras divides at each place.
    """
    import keras
    import torch
    from torch import nn

    x = np.random.default_rng(seed).uniform(1, 5, (1, size, 1)).astype("float32")
    layer = keras.layers.AveragePooling1D(window, strides=1, padding="same")
    expected = np.asarray(layer(x)).transpose(0, 2, 1)
    row = torch.from_numpy(x.transpose(0, 2, 1).copy())
    answers = [
        Answer.of(title, expected, nn.AvgPool1d(window, 1, window // 2, count_include_pad=counted)(row))
        for title, counted in (("nn.AvgPool1d(…), its defaults", True), ("count_include_pad=False", False))
    ]
    present = np.ones((1, size, 1), "float32")
    sums = np.convolve(present[0, :, 0], np.ones(window), "same")
    return Experiment(expected, *answers, {"row": x[:, :, 0], "divided by": sums[None]})


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
    mean, spread = (rng.standard_normal(channels) * np.sqrt(variance)).astype("float32"), (variance * rng.uniform(0.5, 1.5, channels)).astype("float32")
    gamma, beta = np.ones(channels, "float32"), np.zeros(channels, "float32")
    layer.set_weights([gamma, beta, mean, spread])
    expected = np.asarray(layer(x, training=False))
    answers = []
    for title, options in (("nn.BatchNorm1d(channels)", {}), ("nn.BatchNorm1d(channels, eps=1e-3)", {"eps": layer.epsilon})):
        module = nn.BatchNorm1d(channels, **options).eval()
        module.load_state_dict({key: torch.from_numpy(v) for key, v in {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": spread}.items()}, strict=False)
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
def gru_reset(units: int, features: int, steps: int, seed: int, reset_after: bool = True, reordered: bool = False) -> Experiment:
    """A GRU's last output. Keras stacks z r h, torch r z n; and torch has reset_after=True only, for the other a loop is needed.

    The wrong module is nn.GRU with the gates in Keras's order, or, ``reordered``, in torch's.
    """
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, steps, features)).astype("float32")
    layer = keras.layers.GRU(units, reset_after=reset_after)
    layer.build(x.shape)
    kernel, recurrent, bias = (rng.standard_normal(v.shape).astype("float32") for v in layer.weights)
    layer.set_weights([kernel, recurrent, bias])
    expected = np.asarray(layer(x))
    input_bias, recurrent_bias = bias if reset_after else (bias, np.zeros_like(bias))

    def module(order: tuple[int, ...]) -> Any:
        take = np.concatenate([np.arange(units) + block * units for block in order])
        gru = nn.GRU(features, units, batch_first=True)
        arrays = {"weight_ih_l0": kernel.T[take], "weight_hh_l0": recurrent.T[take], "bias_ih_l0": input_bias[take], "bias_hh_l0": recurrent_bias[take]}
        gru.load_state_dict({key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()})
        return gru(torch.from_numpy(x))[0][:, -1]

    def loop() -> Any:
        # keras/src/layers/rnn/gru.py: with reset_after=False the reset gate acts before the recurrent product.
        w, u, b, h = (torch.from_numpy(a) for a in (kernel, recurrent, bias, np.zeros((1, units), "float32")))
        for t in range(steps):
            given = torch.from_numpy(x[:, t]) @ w + b
            z, r = torch.sigmoid(given[:, : 2 * units] + h @ u[:, : 2 * units]).chunk(2, -1)
            h = z * h + (1 - z) * torch.tanh(given[:, 2 * units :] + (r * h) @ u[:, 2 * units :])
        return h

    wrong = Answer.of("nn.GRU, gates r z n" if reordered else "nn.GRU, gates z r h as in Keras", expected, module((1, 0, 2) if reordered else (0, 1, 2)))
    right = Answer.of("nn.GRU, gates r z n", expected, module((1, 0, 2))) if reset_after else Answer.of("a loop that resets before the product", expected, loop())
    return Experiment(expected, wrong, right, {"kernel": kernel, "recurrent_kernel": recurrent, "bias": np.atleast_2d(bias)})


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
        "hard_sigmoid": (keras.activations.get("hard_sigmoid"), lambda: (0.2 * t + 0.5).clamp(0, 1), lambda: F.hardsigmoid(t)),
        "gelu": (keras.activations.get("gelu"), lambda: F.gelu(t, approximate="tanh"), lambda: F.gelu(t)),
        "softmax": (keras.activations.get("softmax"), lambda: F.softmax(t, dim=0), lambda: F.softmax(t, dim=-1)),
    }
    keras_function, wrong, right = functions[name]
    _, wrong_words, right_words = ACTIVATIONS[name]
    expected = np.asarray(keras_function(x))
    return Experiment(expected, Answer.of(wrong_words, expected, wrong()), Answer.of(right_words, expected, right()), {"x": x})


ATTENTION = {"heads": "heads mixed up", "mask": "mask as Keras has it"}


@torch_to_itself
def attention(heads: int, key_dim: int, steps: int, seed: int, wrong: str = "heads") -> Experiment:
    """Self-attention with a causal mask. Keras's kernels are (features, heads, key_dim), torch stacks all heads in one matrix;
    Keras's mask is True where a place may be looked at, torch's where it may not.

    Pictures: the query kernel of Keras, heads in the columns, and the mask of either framework.
    """
    import keras
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    width = heads * key_dim
    x = rng.standard_normal((1, steps, width)).astype("float32")
    layer = keras.layers.MultiHeadAttention(heads, key_dim, use_bias=False)
    layer.build(x.shape, x.shape)
    kernels = [rng.standard_normal(v.shape).astype("float32") for v in layer.weights]  # query, key, value, output
    layer.set_weights(kernels)
    allowed = np.tril(np.ones((steps, steps), bool))
    expected = np.asarray(layer(x, x, attention_mask=allowed[None]))

    def run(mixed: bool, mask: np.ndarray) -> Any:
        module = nn.MultiheadAttention(width, heads, bias=False, batch_first=True).eval()
        rows = [(k.transpose(2, 1, 0) if mixed else k.transpose(1, 2, 0)).reshape(width, width) for k in kernels[:3]]
        out = kernels[3].reshape(width, width).T
        module.load_state_dict({"in_proj_weight": torch.from_numpy(np.concatenate(rows)), "out_proj.weight": torch.from_numpy(out.copy())})
        t = torch.from_numpy(x)
        with torch.no_grad():
            return module(t, t, t, attn_mask=torch.from_numpy(mask), need_weights=False)[0]

    right = Answer.of("(heads, key_dim) become rows, the mask is ~mask", expected, run(False, ~allowed))
    answer = Answer.of(ATTENTION[wrong], expected, run(wrong == "heads", allowed if wrong == "mask" else ~allowed))
    pictures = {"query kernel": kernels[0].reshape(width, width), "keras mask": allowed.astype("float32"), "torch mask": (~allowed).astype("float32")}
    return Experiment(expected, answer, right, pictures)


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
    given = {"reshape": lambda: x.reshape(1, channels, height, width), "declare": lambda: x.to(memory_format=torch.channels_last)}
    answer = Answer.attempt(FORMATS[wrong], expected, lambda: conv(given[wrong]()))
    first = x.permute(0, 3, 1, 2)
    right = Answer.of("x.permute(0, 3, 1, 2), in either memory format", expected, conv(first.contiguous(memory_format=torch.channels_last)))
    numbered = torch.arange(channels * height * width).reshape(1, channels, height, width)
    orders = {name: numbered.contiguous(memory_format=kind).as_strided((numbered.numel(),), (1,)).numpy() for name, kind in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last))}
    return Experiment(expected, answer, right, orders)


@torch_to_itself
def inference_mode(layer: str, seed: int, rate: float = 0.3) -> Experiment:
    """A Dropout or BatchNormalization: Keras infers where nobody says training=True, a fresh torch module trains."""
    import keras
    import torch
    from torch import nn

    torch.manual_seed(seed)
    x = np.random.default_rng(seed).normal(2, 1, (4, 6)).astype("float32")
    keras_layer = {"Dropout": keras.layers.Dropout(rate), "BatchNormalization": keras.layers.BatchNormalization(epsilon=1e-5)}[layer]
    expected = np.asarray(keras_layer(x))
    answers = []
    for title, training in (("the module as it is made: training", True), ("module.eval()", False)):
        module = {"Dropout": nn.Dropout(rate), "BatchNormalization": nn.BatchNorm1d(6)}[layer].train(training)
        answers.append(Answer.of(title, expected, module(torch.from_numpy(x))))
    return Experiment(expected, *answers, {"x": x})
