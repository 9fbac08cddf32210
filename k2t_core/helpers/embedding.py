"""An embedding whose way back has weights of its own. Source: keras/src/layers/core/reversible_embedding.py."""

import torch
from torch import nn


class UntiedEmbedding(nn.Embedding):
    """An embedding with a second table, ``reverse_weight``, for the way from vectors to logits."""

    def __init__(self, num_embeddings, embedding_dim):
        super().__init__(num_embeddings, embedding_dim)
        self.reverse_weight = nn.Parameter(torch.randn(num_embeddings, embedding_dim))
