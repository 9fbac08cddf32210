"""Two verifications in one chart."""

from __future__ import annotations

from k2t_core.inspector.charts.changes import change_chart
from k2t_core.inspector.charts.style import ZERO
from k2t_core.inspector.run_comparison import LayerChange


def test_a_line_for_each_verification_with_gaps_where_a_layer_is_in_one_only():
    changes = [LayerChange("a:0", "a", 0.0, 1e-3, None, None), LayerChange("b:0", "b", None, float("inf"), None, None)]
    before, after = change_chart(changes, ("Keras order", "torch order")).data
    assert (before.name, after.name) == ("Keras order", "torch order")
    assert list(before.y) == [ZERO, None] and list(after.y) == [1e-3, 1e3]
    assert [list(point) for point in before.customdata] == [["a", "exactly 0"], ["b", "no value"]]


def test_nothing_to_compare_is_an_empty_chart():
    assert [len(line.x) for line in change_chart([]).data] == [0, 0]
