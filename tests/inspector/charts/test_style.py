"""How values are drawn, whatever the chart."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.inspector.charts.style import BLUE, MOST, VERMILION, ZERO, judged, on_log_axis


@pytest.mark.parametrize(
    ("value", "drawn"), [(0.0, ZERO), (1e-20, ZERO), (1e-3, 1e-3), (1e9, MOST), (float("inf"), MOST)]
)
def test_every_difference_has_a_place_on_a_logarithmic_axis(value, drawn):
    assert on_log_axis(value) == drawn


def test_beyond_the_tolerance_colour_and_pattern_are_others():
    within, beyond = judged(np.array([False, True, True]))
    assert (within[1].tolist(), beyond[1].tolist()) == ([True, False, False], [False, True, True])
    assert (within[2:], beyond[2:]) == ((BLUE, ""), (VERMILION, "/"))
