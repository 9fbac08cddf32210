"""Three figures of a layer's output: a picture, lines or bars."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.inspector.activations import activation
from k2t_core.inspector.charts.activations import BEHIND, activation_figures


@pytest.mark.parametrize("shape", [(6, 5, 4), (3, 6, 5, 4), (7, 4), (9,), ()])
def test_two_sides_of_one_scale_and_their_difference(shape):
    rng = np.random.default_rng(0)
    keras, torch = (rng.standard_normal((2, *shape)).astype("float32") for _ in range(2))
    shown = activation(keras, torch, 1)
    place = shown.worst if shown.channels > 1 else (0, 0)
    left, right, difference = activation_figures(shown, *place)
    assert [figure.layout.title.text for figure in (left, right)] == ["Keras", "PyTorch"]
    assert difference.layout.title.text == f"Difference, at most {np.abs(keras[1] - torch[1]).max():.2g}"
    if len(shape) >= 3:
        assert (left.data[0].zmin, left.data[0].zmax) == (right.data[0].zmin, right.data[0].zmax)
        assert difference.data[0].zmin == 0
    else:
        assert left.layout.yaxis.range == right.layout.yaxis.range and difference.layout.yaxis.rangemode == "tozero"


def test_the_other_channels_of_a_sequence_are_drawn_behind_the_chosen_one():
    shown = activation(np.ones((1, 5, 100)), np.zeros((1, 5, 100)), 0)
    figure, *_ = activation_figures(shown, 0, 40)
    assert len(figure.data) == BEHIND and figure.data[-1].line.width > figure.data[0].line.width


def test_what_is_not_finite_is_drawn():
    keras, torch = np.array([[np.nan, 1, np.inf, 2]]), np.array([[np.nan, np.nan, np.inf, 2]])
    assert len(activation_figures(activation(keras, torch, 0), 0, 0)) == 3
