"""Weights as pictures: what is drawn is what the transform gives, and the mark is on the same element."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.graph import Layer
from k2t_core.inspector.weight_picture import WINDOW, first_element, is_drawable, keras_axes, weight_picture
from k2t_core.planning.plan import PlannedWeight
from k2t_core.transforms import (
    Cast,
    Fill,
    Permute,
    ReorderBlocks,
    ReorderFlatten,
    Reshape,
    SqrtAtLeast,
    Take,
    apply_chain,
    chain_shape,
)


def weight(shape, *steps, source="layer/kernel"):
    return PlannedWeight("layer.weight", "layer", source, steps, shape, chain_shape(steps, shape))


CASES = {
    "dense": weight((5, 4), Permute((1, 0))),
    "convolution": weight((3, 2, 4, 5), Permute((3, 2, 0, 1))),
    "as it is": weight((7,)),
    "flatten": weight((24, 3), ReorderFlatten(0, (2, 3, 4), (2, 0, 1)), Permute((1, 0))),
    "flatten of four axes": weight((120, 3), ReorderFlatten(0, (2, 3, 4, 5), (3, 0, 2, 1)), Permute((1, 0))),
    "gates": weight((5, 12), ReorderBlocks(1, (1, 0, 2), "z r h", "r z n"), Permute((1, 0))),
    "bias of a GRU": weight((2, 12), Take(0, 1), ReorderBlocks(0, (1, 0, 2), "z r h", "r z n")),
    "reshape": weight((3, 3, 4, 2), Permute((2, 3, 0, 1)), Reshape((4, 2, 3, 3), (8, 1, 3, 3))),
    "numbers change": weight((6,), SqrtAtLeast(1e-3)),
    "half precision": weight((4, 3), Permute((1, 0)), Cast("float16")),
}


@pytest.mark.parametrize("name", CASES)
def test_both_sides_show_the_array_and_mark_the_same_element(name):
    planned = CASES[name]
    array = np.random.default_rng(0).uniform(0.1, 1, planned.keras_shape).astype("float32")
    expected = apply_chain(planned.steps, array)
    for element in np.ndindex(planned.shape):
        picture = weight_picture(planned, array, element)
        value = picture.torch.values[picture.torch.mark]
        assert value == expected[element]
        assert picture.keras.values[picture.keras.mark] == array[picture.keras.index]
        if not any(isinstance(step, (Cast, SqrtAtLeast)) for step in planned.steps):
            assert value == array[picture.keras.index]
    rows = planned.shape[0] if len(planned.shape) > 1 else 1
    if not picture.torch.more:
        assert np.array_equal(picture.torch.values, expected.reshape(rows, -1).astype("float64"))
    assert np.allclose(np.sort(picture.torch.sample), np.sort(expected.astype("float64").ravel()))


def test_a_large_kernel_is_drawn_around_its_mark():
    planned = weight((1000, 300), Permute((1, 0)))
    array = np.arange(300_000, dtype="float32").reshape(1000, 300)
    picture = weight_picture(planned, array, (150, 999))
    assert picture.keras.values.shape == picture.torch.values.shape == (WINDOW, WINDOW)
    assert picture.keras.more and picture.torch.more
    assert picture.keras.index == (999, 150)
    assert picture.torch.row_labels[picture.torch.mark[0]] == "150"
    assert picture.torch.column_labels[picture.torch.mark[1]] == "999"
    assert picture.torch.values[picture.torch.mark] == array[999, 150]


def test_axes_are_named_and_move_with_the_transform():
    conv = Layer("conv", "conv", "Conv2D", {})
    picture = weight_picture(CASES["convolution"], np.zeros((3, 2, 4, 5)), (0, 0, 0, 0), conv)
    assert picture.keras.axes == ("height", "width", "in", "out")
    assert picture.torch.axes == ("out", "in", "height", "width")
    assert (picture.keras.rows, picture.keras.columns) == ("height × width × in", "out")
    assert (picture.torch.rows, picture.torch.columns) == ("out", "in × height × width")


def test_gates_are_named_in_either_frameworks_order():
    gru = Layer("gru", "gru", "GRU", {})
    picture = weight_picture(CASES["gates"], np.zeros((5, 12)), (0, 0), gru)
    assert picture.keras.column_labels[:5] == ("z0", "z1", "z2", "z3", "r0")
    assert picture.torch.row_labels[:5] == ("r0", "r1", "r2", "r3", "z0")
    assert picture.keras.column_labels[picture.keras.mark[1]] == picture.torch.row_labels[picture.torch.mark[0]] == "r0"
    assert [(band.gate, band.meaning, band.start, band.stop) for band in picture.keras.column_gates] == [
        ("z", "update", 0, 4),
        ("r", "reset", 4, 8),
        ("h", "new", 8, 12),
    ]
    assert [(band.gate, band.meaning) for band in picture.torch.row_gates] == [
        ("r", "reset"),
        ("z", "update"),
        ("n", "new"),
    ]
    assert not picture.keras.row_gates and not picture.torch.column_gates


def test_of_a_large_recurrent_kernel_some_units_of_every_gate_are_drawn():
    lstm = Layer("lstm", "lstm", "LSTM", {})
    array = np.arange(20 * 512, dtype="float32").reshape(20, 512)
    picture = weight_picture(weight((20, 512), Permute((1, 0))), array, (300, 7), lstm)
    assert picture.torch.values.shape == (WINDOW, 20) and picture.torch.more
    assert [picture.torch.row_labels[band.start] for band in picture.torch.row_gates] == ["i38", "f38", "g38", "o38"]
    assert (
        picture.torch.values[picture.torch.mark] == array[7, 300]
        and picture.torch.row_labels[picture.torch.mark[0]] == "g44"
    )


def test_a_joined_axis_keeps_both_names():
    depthwise = Layer("depthwise", "depthwise", "DepthwiseConv2D", {})
    picture = weight_picture(CASES["reshape"], np.zeros((3, 3, 4, 2)), (0, 0, 0, 0), depthwise)
    assert picture.torch.axes == ("channels × multiplier", "1", "height", "width")


@pytest.mark.parametrize(
    "kind, variable, ends",
    [
        ("Conv2D", "kernel", ("in", "out")),
        ("Conv2DTranspose", "kernel", ("out", "in")),
        ("SeparableConv2D", "depthwise_kernel", ("channels", "multiplier")),
        ("SeparableConv2D", "pointwise_kernel", ("in", "out")),
    ],
)
def test_what_the_axes_of_a_kernel_count_stands_on_the_rule(kind, variable, ends):
    one = PlannedWeight("conv.weight", "conv", f"conv/{variable}", (Permute((3, 2, 0, 1)),), (3, 3, 4, 2), (2, 4, 3, 3))
    assert keras_axes(one, Layer("conv", "conv", kind, {})) == ("height", "width", *ends)


def test_what_has_no_keras_variable_is_not_drawn():
    assert not is_drawable(PlannedWeight("lstm.bias_hh_l0", "lstm", None, (Fill((4,), 0.0),), None, (4,)))
    assert all(map(is_drawable, CASES.values()))


def test_the_first_mark_is_off_the_diagonal_where_it_can_be():
    assert first_element(CASES["dense"]) == (1, 2)
    assert first_element(weight((1, 1), Permute((1, 0)))) == (0, 0)


@pytest.mark.parametrize(
    ("value", "limit"), [([[1, np.nan], [-3, np.inf]], 3), ([[np.nan, np.nan], [np.nan, np.nan]], 1)]
)
def test_the_limit_is_that_of_what_is_finite(value, limit):
    picture = weight_picture(weight((2, 2), Permute((1, 0))), np.array(value, "float32"), (1, 0))
    assert picture.limit == limit
