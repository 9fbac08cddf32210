"""Binning of differences, and the histograms of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2t_core.inspector.charts.differences import difference_histogram, differences, log_bins
from tests.inspector.reports import output, run


@given(st.lists(st.floats(0, 1e30) | st.just(0.0) | st.just(float("inf")) | st.just(float("nan")), max_size=60))
def test_every_value_is_counted_once(values):
    bins = log_bins(np.array(values))
    assert bins.total == len(values)
    assert bins.zeros == sum(v == 0 for v in values)
    assert len(bins.edges) == len(bins.counts) + 1


def test_bins_hold_their_values():
    bins = log_bins(np.array([1e-6, 1e-6, 1.0]))
    assert bins.edges[0] <= 1.0000001e-6 and bins.edges[-1] >= 1.0
    assert bins.counts[0] == 2 and bins.counts[-1] == 1


def test_differences_are_relative_to_the_largest_keras_value_of_each_output():
    outputs = [output([1.0, 4.0], [1.0, 5.0]), output([100.0], [90.0], "z")]
    assert differences(outputs, relative=False).tolist() == [0, 1, 10]
    assert differences(outputs, relative=True).tolist() == pytest.approx([0, 0.25, 0.1])


def test_nan_on_one_side_is_an_infinite_difference():
    assert differences([output([np.nan, 1], [np.nan, np.nan])], relative=False).tolist() == [0, np.inf]


def test_outputs_of_other_shapes_differ_everywhere():
    assert np.isinf(differences([output([1, 2], [1, 2, 3])], relative=True)).all()


def test_histogram_shows_zeros_and_what_is_beyond_tolerance():
    figure = difference_histogram(run([output([1.0, 1.0, 1.0, 1.0], [1.0, 1.000001, 1.5, np.inf])]), relative=True)
    assert {bar.name: int(np.sum(bar.y)) for bar in figure.data} == {
        "within tolerance": 1,
        "beyond tolerance": 1,
        "exactly equal": 1,
        "not finite": 1,
    }
    assert "0" in figure.layout.xaxis.ticktext


def test_histogram_of_equal_outputs():
    figure = difference_histogram(run([output([1.0], [1.0])]), relative=False)
    assert [(bar.name, list(bar.y)) for bar in figure.data] == [("exactly equal", [1])]


@pytest.mark.parametrize("linear", [False, True])
def test_the_tolerance_is_a_line_on_the_relative_axis_only(linear):
    found = run([output([1.0, 2.0], [1.0, 2.1])])
    (line,) = difference_histogram(found, True, linear).layout.shapes
    assert line.x0 == pytest.approx(1e-4 if linear else -4)
    assert difference_histogram(found, True, linear).layout.annotations[0].text == " tolerance 1e-4 "
    assert not difference_histogram(found, False, linear).layout.shapes


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("log_counts", [False, True])
def test_histograms_count_every_element_on_either_axis(linear, log_counts):
    found = run([output([1, 2, 4, np.nan, 8], [1, 2.5, 4.001, 1, 8])])
    for relative in (False, True):
        figure = difference_histogram(found, relative, linear, log_counts)
        assert sum(int(sum(bar.y)) for bar in figure.data) == 5
        assert (figure.layout.yaxis.type == "log") == log_counts
        assert any(bar.name == "not finite" for bar in figure.data) and (
            any(bar.name == "beyond tolerance" for bar in figure.data) == relative
        )
