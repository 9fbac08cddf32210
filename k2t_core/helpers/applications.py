"""Modules of networks in keras.applications. Source: keras/src/applications/."""

import torch
from torch import nn


class LayerScale(nn.Module):
    """x · gamma, a learned factor for each channel."""

    def __init__(self, shape):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(shape))

    def forward(self, x):
        return x * self.gamma
