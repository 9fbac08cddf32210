"""The picture of a side of a weight."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.graph import Layer
from k2t_core.inspector.charts.weights import GATE_COLOURS, weight_figure
from k2t_core.inspector.weight_picture import weight_picture
from k2t_core.planning.plan import PlannedWeight
from k2t_core.transforms import Permute, ReorderBlocks, chain_shape


def picture(shape, steps, layer=None, element=None, array=None):
    weight = PlannedWeight("layer.weight", "layer", "layer/kernel", steps, shape, chain_shape(steps, shape))
    array = np.arange(np.prod(shape), dtype="float32").reshape(shape) if array is None else array
    return weight_picture(weight, array, element or (0,) * len(weight.shape), layer)


def test_the_mark_is_an_outline_around_its_element_and_a_line_in_the_histogram():
    drawn = picture((5, 4), (Permute((1, 0)),), element=(1, 2))
    figure = weight_figure(drawn.torch, "PyTorch", drawn.limit)
    outline, _, line = figure.layout.shapes
    assert (outline.x0, outline.x1, outline.y0, outline.y1) == (1.5, 2.5, 0.5, 1.5)
    assert line.x0 == drawn.torch.values[1, 2] == 9
    assert figure.data[0].z.tolist() == drawn.torch.values.tolist() and figure.data[1].y.sum() == 20


def test_gates_have_bands_along_their_axis_and_lines_between_them():
    steps = (ReorderBlocks(1, (1, 0, 2), "z r h", "r z n"), Permute((1, 0)))
    drawn = picture((5, 12), steps, Layer("gru", "gru", "GRU", {}))
    keras, torch = (weight_figure(side, "", drawn.limit) for side in (drawn.keras, drawn.torch))
    assert [note.text for note in keras.layout.annotations] == ["<b>z</b>", "<b>r</b>", "<b>h</b>"]
    assert [note.text for note in torch.layout.annotations] == ["<b>r</b>", "<b>z</b>", "<b>n</b>"]
    across, down = (
        [shape for shape in figure.layout.shapes if shape.fillcolor in GATE_COLOURS.values()]
        for figure in (keras, torch)
    )
    assert [(band.x0, band.x1) for band in across] == [(-0.5, 3.5), (3.5, 7.5), (7.5, 11.5)]
    assert [(band.y0, band.y1) for band in down] == [(-0.5, 3.5), (3.5, 7.5), (7.5, 11.5)]
    assert [
        sum(shape.type == "line" and shape.xref == "x" for shape in figure.layout.shapes) for figure in (keras, torch)
    ] == [2, 2]


@pytest.mark.parametrize("value", [[[1, np.nan], [-3, np.inf]], [[np.nan, np.nan], [np.nan, np.nan]]])
def test_weights_that_are_no_numbers_are_drawn_all_the_same(value):
    drawn = picture((2, 2), (Permute((1, 0)),), element=(1, 0), array=np.array(value, "float32"))
    for side in (drawn.keras, drawn.torch):
        assert weight_figure(side, "", drawn.limit).data
