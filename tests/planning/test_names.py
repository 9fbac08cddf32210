"""Names that generated code can have, each given once."""

from __future__ import annotations

from k2t_core.planning.names import Names, common_beginning, common_prefix, identifier, snake_case, unique_identifiers


def test_a_name_is_given_once():
    names = Names({"train"})
    assert [names.new(name) for name in ("conv", "conv", "conv")] == ["conv", "conv_2", "conv_3"]
    assert [names.new(name) for name in ("train", "train")] == ["train_layer", "train_2"]
    assert [names.new(name) for name in ("1st", "a/b", "__x", "")] == ["layer_1st", "a_b", "layer___x", "layer_"]


def test_what_names_have_in_common():
    assert common_beginning(["a_conv", "a_bn"]) == "a_" and common_beginning(["conv", "bn"]) == ""
    assert common_prefix(["block1_conv", "block1_bn"]) == "block1"


def test_a_class_name_as_an_attribute():
    assert snake_case("ConvBNReLU") == "conv_bn_relu" and snake_case("TransformerBlock") == "transformer_block"


def test_local_names_leave_the_code_its_own():
    assert unique_identifiers(["mask", "mask", "3d"]) == ["mask", "mask_2", "x_3d"]
    assert identifier("torch", set()) == "torch_out" and identifier("one_hot", set()) == "one_hot_out"
