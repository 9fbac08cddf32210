"""The layers along the depth: the first divergence and what is beyond the tolerance are marked."""

from __future__ import annotations

from k2t_core.inspector.charts.layers import first_divergence, layer_chart
from k2t_core.inspector.charts.style import BLUE, VERMILION, ZERO
from tests.inspector.reports import layer, output, run


def test_layer_chart_marks_the_first_divergence():
    layers = [layer("a", 0.0), layer("b", 0.5, passed=False), layer("c", 0.7, passed=False)]
    figure = layer_chart(run([], layers, "b"))
    assert figure.layout.yaxis.type == "log"
    assert list(figure.data[0].y) == [ZERO, 0.5, 0.7]
    line = next(shape for shape in figure.layout.shapes if shape.x0 == shape.x1)
    assert line.x0 == 1
    assert any("first divergence: b" in note.text for note in figure.layout.annotations)


def test_layer_chart_without_divergence_has_no_mark():
    figure = layer_chart(run([], [layer("a", 1e-7)]))
    assert not any(shape.x0 == shape.x1 for shape in figure.layout.shapes)


def test_points_beyond_the_tolerance_have_a_colour_of_their_own():
    figure = layer_chart(run(layers=[layer("a", 1e-7), layer("b", 1e-2, passed=False)], first="b"))
    assert figure.data[0].marker.color == (BLUE, VERMILION)
    assert [point[0] for point in figure.data[0].customdata] == ["a", "b"] and figure.data[2].customdata[0][0] == "b"


def test_of_several_calls_of_a_layer_the_first_that_fails_is_the_divergence():
    calls = [layer("a", 0.0), layer("b", 1e-7), layer("b", 0.5, passed=False)]
    assert first_divergence(calls, "b") == 2
    assert first_divergence(calls, "a") == 0
    assert first_divergence(calls, None) is None


def test_the_roundings_are_those_of_the_outputs_dtype():
    half = layer_chart(run([output([1, 2], [1, 2], dtype="float16")], [layer("a", 1e-7)]))
    assert [note.text for note in half.layout.annotations] == ["tolerance 1e-4", "6 float16 roundings"]
    single = layer_chart(run([output([1, 2], [1, 2])], [layer("a", 1e-7)]))
    assert [note.text for note in single.layout.annotations] == ["tolerance 1e-4", "16 float32 roundings"]
