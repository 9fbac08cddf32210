"""The axes that charts along the depth of a network have in common."""

from __future__ import annotations

import plotly.graph_objects as go

from k2t_core.inspector.charts.depth import NAMES, add_series, axes
from k2t_core.inspector.charts.style import BLUE


def test_powers_of_ten_up_to_the_largest_value_and_the_room_asked_for():
    figure = go.Figure()
    add_series(figure, "one", ["a", "b"], [1e-7, 30.0], BLUE, "circle")
    upward = axes(figure, ["a", "b"], room=2.5)["yaxis"]
    assert upward["ticktext"][:2] == ["0", "1e-10"] and upward["ticktext"][-2:] == ["1", "1e2"]
    assert upward["range"][1] == 2 + 2.5


def test_names_of_many_layers_are_thinned_out_and_long_ones_cut():
    figure = go.Figure()
    names = [f"a_rather_long_name_of_layer_{k}" for k in range(100)]
    add_series(figure, "one", names, [1e-7] * 100, BLUE, "circle")
    across = axes(figure, names, room=0.7)["xaxis"]
    assert len(across["tickvals"]) <= NAMES + 4 and across["range"] == [-0.5, 99.5]
    assert all(len(text) == 22 and text.startswith("…") for text in across["ticktext"])
