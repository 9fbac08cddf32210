"""A matrix as a picture."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.charts.matrix import NUMBERED, heat_map


def test_heat_map_keeps_rows_in_order():
    figure = heat_map(np.arange(6).reshape(2, 3), "k", rows=["i", "f"])
    assert figure.layout.yaxis.autorange == "reversed"
    assert list(figure.layout.yaxis.ticktext) == ["i", "f"]


def test_colours_end_at_the_largest_magnitude_or_at_the_limit_given():
    assert heat_map(np.array([[1, -3]]), "k").data[0].zmin == -3
    assert heat_map(np.array([[1, -3]]), "k", limit=5).data[0].zmax == 5
    assert heat_map(np.zeros(2), "k").data[0].zmax == 1


def test_numbers_are_written_where_they_can_be_read():
    assert list(heat_map(np.array([0.5, 2]), "k", text=".0f").data[0].text[0]) == ["0", "2"]
    assert heat_map(np.ones((1, NUMBERED + 1)), "k").data[0].text is None
