"""The chart of an output's classes."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.charts.classes import NAMED, class_chart
from k2t_core.inspector.charts.style import ZERO
from tests.inspector.reports import output


def test_classes_on_either_side_of_the_tolerance():
    figure = class_chart(output([[1, 2, 4], [1, 2, 4]], [[1, 2.5, 4], [1, 2, 3]]), 0.2, ["cat", "dog"])
    assert {bar.name: bar.x.tolist() for bar in figure.data} == {"within tolerance": [0, 1], "beyond tolerance": [2]}
    assert figure.data[0].customdata[0][0] == "0 cat"
    assert figure.data[0].y.tolist() == [ZERO, 0.125], "an exact zero has a place on the logarithmic axis"
    assert tuple(figure.layout.xaxis.ticktext) == ("0 cat", "1 dog", "2")


def test_of_many_classes_the_axis_has_numbers():
    values = np.ones((1, NAMED + 1))
    assert class_chart(output(values, values), 0.2, ["cat"]).layout.xaxis.ticktext is None
