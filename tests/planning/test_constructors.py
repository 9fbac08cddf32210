"""Constructors are written as a person would: what equals torch's default is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from k2t_core.errors import K2TError
from k2t_core.planning.blocks import Block, BlockModule, Parameter
from k2t_core.planning.constructors import REQUIRED, changed_arguments, literal, module_source
from k2t_core.rules.registry import Expression, Module

MODULES = [
    (Module("nn.Conv2d", {"in_channels": 3, "out_channels": 8, "kernel_size": 3, "stride": 1}, 2), "kernel_size=3"),
    (Module("nn.Conv2d", {"in_channels": 3, "out_channels": 8, "kernel_size": 3, "stride": (2, 1)}, 3), "(3, 8, 3, "),
    (Module("nn.LayerNorm", {"normalized_shape": (4,), "eps": 1e-5}, 1), "nn.LayerNorm((4,))"),
    (Module("nn.Linear", {"in_features": 3, "out_features": 2, "bias": False}, 2), "nn.Linear(3, 2, bias=False)"),
    (Module("nn.Linear", {"in_features": 3, "out_features": 2, "bias": True}, 2), "nn.Linear(3, 2)"),
]


@pytest.mark.parametrize(("module", "text"), MODULES)
def test_what_is_written_makes_the_module(module, text):
    source = module_source(module)
    assert text in source
    asked = getattr(nn, module.cls.removeprefix("nn."))(**module.args)
    assert repr(eval(source, {"nn": nn})) == repr(asked)


def test_true_and_one_are_not_the_same_default():
    module = Module("nn.Linear", {"in_features": 3, "out_features": 2, "bias": 1}, 2)
    assert module_source(module) == "nn.Linear(3, 2, bias=1)"


def test_a_dtype_is_an_argument_where_there_is_one():
    linear = Module("nn.Linear", {"in_features": 3, "out_features": 2}, 2, dtype="float16")
    assert module_source(linear) == "nn.Linear(3, 2, dtype=torch.float16)"
    assert eval(module_source(linear), {"nn": nn, "torch": torch}).weight.dtype == torch.float16
    sequential = Module("nn.ReLU", {}, dtype="float64")
    assert module_source(sequential) == "nn.ReLU().to(torch.float64)"


@pytest.mark.parametrize(
    "value",
    [1e-05, 0.1, -3, True, None, "a 'b'", (1,), (1, 2), [1, (2, 3)], {"a": [1.5]}, math.inf, -math.inf, [[1.0, 2.0]]],
)
def test_a_literal_reads_as_what_it_was(value):
    assert eval(literal(value), {"math": math}) == value


def test_arrays_names_and_modules_are_literals_too():
    assert literal(np.array([[1, 2]])) == "[[1, 2]]" and literal(np.float32(0.5)) == "0.5"
    assert literal(Parameter("width")) == "width" and literal(Expression("2 * width")) == "2 * width"
    assert literal([Module("nn.Identity")]) == "[nn.Identity()]"
    with pytest.raises(K2TError, match="cannot write object"):
        literal(object())


def block(*modules, parameters=()):
    names = tuple(f"m{k}" for k in range(len(modules)))
    return Block("ConvBlock", tuple(parameters), names, names, modules)


def test_a_blocks_parameters_have_torchs_defaults():
    made = block(
        Module("nn.Conv2d", {"in_channels": Parameter("a"), "out_channels": 4, "stride": Parameter("stride")}, 2),
        None,
        parameters=("stride", "a"),
    )
    assert changed_arguments(made) == {"a": REQUIRED, "stride": 1}
    assert list(changed_arguments(made)) == ["a", "stride"], "what has no default comes first"
    outer = block(
        BlockModule("ConvBlock", {"a": Parameter("b"), "stride": Parameter("stride")}, block=made),
        parameters=("b", "stride"),
    )
    assert changed_arguments(outer) == {"b": REQUIRED, "stride": 1}


def test_a_block_is_called_with_its_widths_first():
    made = block(
        Module(
            "nn.Conv2d",
            {
                "in_channels": Parameter("in_channels"),
                "out_channels": 4,
                "kernel_size": Parameter("kernel_size"),
                "stride": Parameter("stride"),
            },
            2,
        ),
        parameters=("in_channels", "kernel_size", "stride"),
    )
    values = {"in_channels": 8, "kernel_size": 3, "stride": 1}
    assert module_source(BlockModule("ConvBlock", values, block=made)) == "ConvBlock(8, kernel_size=3)"
    values["stride"] = 2
    assert module_source(BlockModule("ConvBlock", values, block=made)) == "ConvBlock(8, kernel_size=3, stride=2)"
