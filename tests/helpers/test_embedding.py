"""Helpers for embeddings against keras.layers."""

import numpy as np
import torch
import torch.nn.functional as F
from keras import layers

from k2t_core.helpers.embedding import UntiedEmbedding
from tests.helpers.comparing import close, load, numbers, randomised, variables


def test_untied_embedding():
    """Both ways: indices to vectors, and vectors to logits by the second table."""
    layer = layers.ReversibleEmbedding(7, 4, tie_weights=False)
    layer.build((None, None))
    found = variables(randomised(layer))
    module = UntiedEmbedding(7, 4)
    load(module, weight=found["embeddings"], reverse_weight=found["reverse_embeddings"].T)
    indices, vectors = np.array([[0, 6, 3], [5, 5, 1]], "int32"), numbers(2, 3, 4)
    close(module(torch.from_numpy(indices)), layer(indices))
    close(F.linear(torch.from_numpy(vectors), module.reverse_weight), layer(vectors, reverse=True))
