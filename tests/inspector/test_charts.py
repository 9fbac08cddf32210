"""Binning and figures, on reports of known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2t_core.difference import Difference
from k2t_core.inspector import charts
from k2t_core.verification.report import LayerResult, OutputResult, Run


def output(keras, torch, name="y"):
    keras, torch = np.asarray(keras, "float32"), np.asarray(torch, "float32")
    difference = Difference.of(keras, torch)
    return OutputResult(name, keras.shape, torch.shape, difference, difference.relative <= 1e-4, keras, torch)


def layer(name, relative, passed=True):
    difference = Difference(relative, relative, relative, 1.0)
    return LayerResult(name, name, difference, difference, passed)


def run(outputs=(), layers=(), first=None):
    return Run("model", "normal", tuple(outputs), tuple(layers), first, 1e-4)


@given(st.lists(st.floats(0, 1e30) | st.just(0.0) | st.just(float("inf")) | st.just(float("nan")), max_size=60))
def test_every_value_is_counted_once(values):
    bins = charts.log_bins(np.array(values))
    assert bins.total == len(values)
    assert bins.zeros == sum(v == 0 for v in values)
    assert len(bins.edges) == len(bins.counts) + 1


def test_bins_hold_their_values():
    bins = charts.log_bins(np.array([1e-6, 1e-6, 1.0]))
    assert bins.edges[0] <= 1.0000001e-6 and bins.edges[-1] >= 1.0
    assert bins.counts[0] == 2 and bins.counts[-1] == 1


def test_differences_are_relative_to_the_largest_keras_value_of_each_output():
    outputs = [output([1.0, 4.0], [1.0, 5.0]), output([100.0], [90.0], "z")]
    assert charts.differences(outputs, relative=False).tolist() == [0, 1, 10]
    assert charts.differences(outputs, relative=True).tolist() == pytest.approx([0, 0.25, 0.1])


def test_nan_on_one_side_is_an_infinite_difference():
    assert charts.differences([output([np.nan, 1], [np.nan, np.nan])], relative=False).tolist() == [0, np.inf]


def test_outputs_of_other_shapes_differ_everywhere():
    assert np.isinf(charts.differences([output([1, 2], [1, 2, 3])], relative=True)).all()


def test_histogram_shows_zeros_and_what_is_beyond_tolerance():
    figure = charts.difference_histogram(
        run([output([1.0, 1.0, 1.0, 1.0], [1.0, 1.000001, 1.5, np.inf])]), relative=True
    )
    assert {bar.name: int(np.sum(bar.y)) for bar in figure.data} == {
        "within tolerance": 1,
        "beyond tolerance": 1,
        "exactly equal": 1,
        "not finite": 1,
    }
    assert "0" in figure.layout.xaxis.ticktext


def test_histogram_of_equal_outputs():
    figure = charts.difference_histogram(run([output([1.0], [1.0])]), relative=False)
    assert [(bar.name, list(bar.y)) for bar in figure.data] == [("exactly equal", [1])]


def test_layer_chart_marks_the_first_divergence():
    layers = [layer("a", 0.0), layer("b", 0.5, passed=False), layer("c", 0.7, passed=False)]
    figure = charts.layer_chart(run([], layers, "b"))
    assert figure.layout.yaxis.type == "log"
    assert list(figure.data[0].y) == [charts.ZERO, 0.5, 0.7]
    line = next(shape for shape in figure.layout.shapes if shape.x0 == shape.x1)
    assert line.x0 == 1
    assert any("first divergence: b" in note.text for note in figure.layout.annotations)


def test_layer_chart_without_divergence_has_no_mark():
    figure = charts.layer_chart(run([], [layer("a", 1e-7)]))
    assert not any(shape.x0 == shape.x1 for shape in figure.layout.shapes)


def test_heat_map_keeps_rows_in_order():
    figure = charts.heat_map(np.arange(6).reshape(2, 3), "k", rows=["i", "f"])
    assert figure.layout.yaxis.autorange == "reversed"
    assert list(figure.layout.yaxis.ticktext) == ["i", "f"]


def test_ulps_are_counted_by_powers_of_two():
    keras = np.array([1, 1, 1, 1, np.nan], "float32")
    torch = np.array([1, 1 + 2**-23, 1 + 5 * 2**-23, 1 + 7 * 2**-23, 1], "float32")
    names, counts = charts.ulp_bins([output(keras, torch)])
    assert names == ["0", "1", "2 to 3", "4 to 7"] and counts.tolist() == [1, 1, 0, 2]
    assert charts.ulp_bins([output([1], [1, 2])])[1].tolist() == [0]


def test_a_scatter_is_a_sample_with_the_worst_element_in_it():
    keras = np.linspace(0, 1, 100_000)
    torch = keras.copy()
    torch[77] += 0.5
    a, b, beyond = charts.sampled(run([output(keras, torch)]))
    assert len(a) <= charts.POINTS and beyond.sum() == 1 and abs(a - b).max() == pytest.approx(0.5)
    assert len(charts.scatter(run([output(keras, torch)])).data) == 3
    assert charts.scatter(run([output([1], [1, 2])])).data
