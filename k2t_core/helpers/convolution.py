"""Convolutions that torch has no single module for."""

import torch.nn.functional as F
from torch import nn


class SeparableConv1d(nn.Module):
    """A depthwise convolution, which keeps channels apart, then a pointwise one, which mixes them."""

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, depth_multiplier=1, bias=True
    ):
        super().__init__()
        hidden = in_channels * depth_multiplier
        self.depthwise = nn.Conv1d(
            in_channels, hidden, kernel_size, stride, padding, dilation, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv1d(hidden, out_channels, 1, bias=bias)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class SeparableConv2d(nn.Module):
    """A depthwise convolution, which keeps channels apart, then a pointwise one, which mixes them."""

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, depth_multiplier=1, bias=True
    ):
        super().__init__()
        hidden = in_channels * depth_multiplier
        self.depthwise = nn.Conv2d(
            in_channels, hidden, kernel_size, stride, padding, dilation, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(hidden, out_channels, 1, bias=bias)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


def conv2d_transpose(x, kernel, size, stride, before):
    """A transposed convolution in Keras's order of axes: the part of ``size`` of the whole, from ``before`` on."""
    y = F.conv_transpose2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), stride=stride)
    (height, width), (top, left) = size, before
    y = F.pad(y, (-left, left + width - y.shape[3], -top, top + height - y.shape[2]))
    return y.permute(0, 2, 3, 1)
