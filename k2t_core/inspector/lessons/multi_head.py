"""A lesson: heads and masks of attention. (The file is not called attention: the experiment itself is.)"""

from __future__ import annotations

from typing import Any

import numpy as np

from k2t_core.inspector.lessons.experiment import Answer, Experiment, Lesson
from k2t_core.tensors import torch_to_itself

ATTENTION = {"heads": "heads mixed up", "mask": "mask as Keras has it"}


@torch_to_itself
def attention(heads: int, key_dim: int, steps: int, seed: int, wrong: str = "heads") -> Experiment:
    """Self-attention with a causal mask.

    Keras's kernels are (features, heads, key_dim), torch stacks all heads in one matrix; Keras's mask is True where a
    place may be looked at, torch's where it may not.

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
        module.load_state_dict(
            {"in_proj_weight": torch.from_numpy(np.concatenate(rows)), "out_proj.weight": torch.from_numpy(out.copy())}
        )
        t = torch.from_numpy(x)
        with torch.no_grad():
            return module(t, t, t, attn_mask=torch.from_numpy(mask), need_weights=False)[0]

    right = Answer.of("(heads, key_dim) become rows, the mask is ~mask", expected, run(False, ~allowed))
    answer = Answer.of(ATTENTION[wrong], expected, run(wrong == "heads", allowed if wrong == "mask" else ~allowed))
    pictures = {
        "query kernel": kernels[0].reshape(width, width),
        "keras mask": allowed.astype("float32"),
        "torch mask": (~allowed).astype("float32"),
    }
    return Experiment(expected, answer, right, pictures)


LESSON = Lesson(
    "Attention: heads and masks",
    attention,
    ("MultiHeadAttention",),
    {"wrong": "heads", "heads": 2, "key_dim": 3, "steps": 4, "seed": 0},
)
