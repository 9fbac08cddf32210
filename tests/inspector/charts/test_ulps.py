"""Representable numbers between the two sides, counted."""

from __future__ import annotations

import numpy as np

from k2t_core.inspector.charts.ulps import ulp_bins, ulp_histogram
from tests.inspector.reports import output, run


def test_ulps_are_counted_by_powers_of_two():
    keras = np.array([1, 1, 1, 1, np.nan], "float32")
    torch = np.array([1, 1 + 2**-23, 1 + 5 * 2**-23, 1 + 7 * 2**-23, 1], "float32")
    names, counts = ulp_bins([output(keras, torch)])
    assert names == ["0", "1", "2 to 3", "4 to 7"] and counts.tolist() == [1, 1, 0, 2]
    assert ulp_bins([output([1], [1, 2])])[1].tolist() == [0]


def test_a_large_distance_is_named_by_its_power():
    names, counts = ulp_bins([output([1.0], [2.0])])
    assert names[-1] == "from 2^23" and counts.tolist() == [*[0] * 24, 1]


def test_the_histogram_has_a_bar_for_each_bin_and_says_where_there_is_nothing():
    figure = ulp_histogram(run([output([1.0, 1.0], [1.0, 1 + 2**-23])]))
    assert figure.data[0].y.tolist() == [1, 1] and figure.layout.xaxis.ticktext == ("0", "1")
    assert not figure.layout.annotations
    assert ulp_histogram(run([output([1], [2], dtype="int32")])).layout.annotations[0].text.startswith("No finite")
