"""Blocks are called by what they do, and what is in them by what tells their layers apart."""

from __future__ import annotations

import pytest

from k2t_core.planning.block_names import chain_title, inner_names, title, together
from k2t_core.planning.patterns import Unit
from k2t_core.rules.registry import Module


def units(*kinds, names=None):
    names = names or [kind.lower() for kind in kinds]
    return [
        Unit(k, k, k + 1, (f"t{k}",), (f"t{k + 1}",), kind, Module("nn.Identity"), name, frozenset({kind}), 1)
        for k, (kind, name) in enumerate(zip(kinds, names))
    ]


@pytest.mark.parametrize(
    "kinds, name",
    [
        (("MultiHeadAttention", "Add"), "TransformerBlock"),
        (("Conv2D", "BatchNormalization", "ReLU"), "ConvBlock"),
        (("Conv2D", "MaxPooling2D"), "DownBlock"),
        (("Conv2D", "Concatenate"), "ConcatBlock"),
        (("GlobalAveragePooling2D", "Dense", "Multiply"), "SqueezeExcite"),
        (("Dense", "Dropout"), "Block"),
    ],
)
def test_a_block_is_called_by_what_it_does(kinds, name):
    assert title(units(*kinds)) == name


def test_a_convolution_with_its_normalisation_and_activation():
    assert chain_title(units("Conv2D", "BatchNormalization"), None) == "ConvBN"
    assert chain_title(units("Dense", "BatchNormalization"), None) == "LinearBN"
    found = units("SeparableConv2D", "BatchNormalization", "Activation")
    assert chain_title(found, {"activation": "silu"}) == "SeparableConvBNSiLU"
    assert chain_title(units("Conv2D", "BatchNormalization", "ReLU"), {}) == "ConvBNReLU"
    assert chain_title(units("Conv2DTranspose", "BatchNormalization"), None) == "ConvTransposeBN"


def test_the_common_beginning_goes_and_names_are_given_once():
    found = units("Conv2D", "Conv2D", "ReLU", names=["stage2_1_conv", "stage2_2_conv", "stage2_relu"])
    assert inner_names(found, set()) == ["conv1", "conv2", "relu"]
    assert inner_names(units("Dense", "Conv2D", names=["dense_7", "conv2d_3"]), set()) == ["dense", "conv2d"]
    assert inner_names(units("Dense", "Dense", names=["a_train", "a_train"]), {"train"})[0] != "train"


def test_a_block_goes_by_what_its_layers_share():
    assert together(units("Conv2D", "ReLU", names=["block1_conv", "block1_relu"])) == "block1"
    assert together(units("Conv2D", "ReLU", names=["conv", "relu"])) == "conv"
