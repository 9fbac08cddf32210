"""What differs between the uses of a block is a parameter, and what follows from another a formula."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from k2t_core.planning.block_parameters import Parameters
from k2t_core.planning.blocks import Parameter
from k2t_core.rules.registry import Expression, Module
from tests.harness import check


def runs(*arguments):
    """A run for each tuple of constructor arguments, a module for each of these; None is a call without one."""
    return [[None if args is None else Module("nn.Conv2d", args, 2) for args in run] for run in arguments]


def conv(a, b, **more):
    return {"in_channels": a, "out_channels": b, **more}


def test_what_is_alike_stays_a_number():
    found = Parameters(runs((conv(3, 4, bias=False), None), (conv(3, 4, bias=False), None)))
    assert found.columns == {} and found.modules[0].args == conv(3, 4, bias=False) and found.modules[1] is None


def test_the_widths_that_come_in_and_go_out():
    found = Parameters(runs((conv(3, 6), conv(6, 7)), (conv(4, 5), conv(5, 9))))
    assert found.columns == {"in_channels": (3, 4), "out_channels": (7, 9), "hidden_channels": (6, 5)}
    first, second = found.modules
    assert first.args == conv(Parameter("in_channels"), Parameter("hidden_channels"))
    assert second.args == conv(Parameter("hidden_channels"), Parameter("out_channels"))


@pytest.mark.parametrize(
    ("wide", "written"),
    [
        ((8, 12), Expression("4 * in_channels")),
        ((2, 3), Parameter("in_channels")),
        ((3, 4), Parameter("hidden_channels")),
        ((1, 1), 1),
    ],
)
def test_a_width_between_the_one_that_comes_in_and_the_one_that_goes_out(wide, written):
    found = Parameters(runs(*((conv(n, m), conv(m, n)) for n, m in zip((2, 3), wide))))
    assert found.modules[0].args["out_channels"] == found.modules[1].args["in_channels"] == written


def test_a_width_that_is_a_fraction_of_another():
    found = Parameters(runs((conv(8, 2), conv(2, 8)), (conv(12, 3), conv(3, 12))))
    assert found.modules[0].args["out_channels"] == Expression("in_channels // 4")


def test_other_arguments_of_one_name_share_a_parameter_where_they_are_equal():
    found = Parameters(runs((conv(3, 3, stride=1), conv(3, 3, stride=1)), (conv(3, 3, stride=2), conv(3, 3, stride=2))))
    assert found.columns == {"stride": (1, 2)}
    found = Parameters(runs((conv(3, 3, stride=1), conv(3, 3, stride=2)), (conv(3, 3, stride=2), conv(3, 3, stride=1))))
    assert sorted(found.columns.values()) == [(1, 2), (2, 1)] and len(found.columns) == 2


def test_true_is_not_one():
    found = Parameters(runs((conv(3, 3, bias=True),), (conv(3, 3, bias=1),)))
    assert found.columns == {"bias": (True, 1)}


def test_widths_that_follow_from_others_are_formulas():
    x = inputs = keras.Input((6, 6, 8))
    for stage, width in enumerate((8, 12)):
        x = layers.Conv2D(width, 1, name=f"stage{stage}_widen")(x)
        for block in range(3):
            y = layers.Conv2D(4 * width, 3, padding="same", activation="relu", name=f"stage{stage}_block{block}_wide")(
                x
            )
            y = layers.Conv2D(
                width // 4, 3, padding="same", activation="relu", name=f"stage{stage}_block{block}_narrow"
            )(y)
            y = layers.Conv2D(width, 1, name=f"stage{stage}_block{block}_out")(y)
            y = layers.LayerNormalization(name=f"stage{stage}_block{block}_norm")(y)
            for k in range(3):
                y = layers.Activation("tanh", name=f"stage{stage}_block{block}_tanh{k}")(y)
            x = layers.Add(name=f"stage{stage}_block{block}_add")([x, y])
    conversion, _ = check(keras.Model(inputs, x))
    text = conversion.code.text
    assert "nn.Conv2d(in_channels, 4 * in_channels" in text and "in_channels // 4" in text
    assert "range(3)" in text and "ResidualBlock(12)" in text
