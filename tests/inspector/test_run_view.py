"""A comparison looked at anew: the numbers stay those of the run."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import k2t_core as k2t
from k2t_core.difference import OUTPUT_TOLERANCE
from k2t_core.inspector.charts import difference_histogram, layer_chart
from k2t_core.inspector.charts.differences import differences
from k2t_core.inspector.charts.ulps import ulp_bins
from k2t_core.inspector.run_view import (
    TOP,
    at_tolerance,
    beyond,
    class_name,
    classes,
    image,
    labels,
    narrowed,
    per_class,
    predictions,
)
from k2t_core.verification.report_file import read_report, write_report
from tests.inspector.reports import output, run


def test_a_tolerance_judges_anew_what_the_verification_found(example, converted, tmp_path):
    report = k2t.verify(converted("convnet"), example("convnet"), edge_cases=False)
    found = report.deciding
    assert at_tolerance(found, found.tolerance).passed
    strict = at_tolerance(found, 1e-9)
    assert (
        not strict.outputs[0].passed
        and strict.tolerance == 1e-9
        and strict.outputs[0].difference is found.outputs[0].difference
    )
    assert [beyond(one, 1e-9) for one in found.layers] != [beyond(one, 1.0) for one in found.layers]
    assert sum(len(bar.x) for bar in difference_histogram(strict, True).data if bar.name == "beyond tolerance") > 0
    assert found.batch[0].shape == (4, 28, 28, 3)
    write_report(report, tmp_path, "key")
    again = read_report(tmp_path)
    assert all(
        np.array_equal(a, b)
        for one, other in zip(report.runs, again.runs)
        for a, b in zip(one.batch, other.batch, strict=True)
    )


def test_a_stricter_verification_and_a_stricter_look_agree(example, converted):
    for tolerance in (1e-3, OUTPUT_TOLERANCE, 1e-6, 1e-8):
        judged = k2t.verify(
            converted("lstm"), example("lstm"), edge_cases=False, weights="model", tolerance=tolerance
        ).deciding
        usual = k2t.verify(converted("lstm"), example("lstm"), edge_cases=False, weights="model").deciding
        assert [o.passed for o in at_tolerance(usual, tolerance).outputs] == [o.passed for o in judged.outputs]


def test_one_output_and_one_class():
    first, second = output([[1, 2, 4], [1, 2, 4]], [[1, 2.5, 4], [1, 2, 3]]), output([[1.0]], [[1.0]])
    whole = run([first, second])
    assert narrowed(whole, None) is whole and narrowed(whole, 1).outputs == (second,)
    assert (classes(first), classes(second)) == (3, 0)
    assert per_class(first).tolist() == [0, 0.125, 0.25]
    one = narrowed(whole, 0, 1)
    assert one.outputs[0].keras.tolist() == [2, 2] and one.outputs[0].difference.relative == 0.125
    assert differences(one.outputs, relative=True).tolist() == [0.125, 0]


def test_the_first_classes_of_either_side():
    keras = np.linspace(1, 0, 12, dtype="float32")[None]
    torch = keras.copy()
    torch[0, 9] = 2
    found = predictions(output(keras, torch), 0)
    assert [(p.unit, p.keras_rank, p.torch_rank) for p in found] == [
        (0, 1, 2),
        (1, 2, 3),
        (2, 3, 4),
        (3, 4, 5),
        (4, 5, 6),
        (9, 10, 1),
    ]
    assert len(predictions(output(keras, keras), 0)) == TOP
    assert (
        predictions(output([[1.0]], [[1.0]]), 0) == []
        and predictions(output(np.zeros((2, 3, 4)), np.zeros((2, 3, 4))), 0) == []
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 100, 255], [0, 100, 255]),
        ([-1, 0, 1], [0, 128, 255]),
        ([0, 255, 1020], [0, 64, 255]),
    ],
)
def test_an_input_as_a_picture(values, expected):
    pixels = image(np.array(values, "float32").reshape(1, 3, 1).repeat(2, axis=0))
    assert pixels.shape == (2, 3, 3) and pixels[0, :, 0].tolist() == expected


def test_what_is_no_picture_and_how_classes_are_named():
    assert (
        image(np.zeros((4, 4, 2))) is None
        and image(np.zeros((4, 4))) is None
        and image(np.full((4, 4, 3), np.nan)) is None
    )
    assert labels("cat, dog,") == labels("cat\ndog\n") == ["cat", "dog"]
    assert class_name(1, ["cat", "dog"]) == "1 dog" and class_name(2, ["cat", "dog"]) == "2"


def test_the_verdict_states_the_tolerance_of_the_outputs_own_dtype(tmp_path):
    x = keras.Input((10,), dtype="float32")
    model = keras.Model(x, keras.layers.Dense(3, dtype="bfloat16")(keras.layers.Dense(8, dtype="bfloat16")(x)))
    model.save(tmp_path / "m.keras")
    k2t.convert(tmp_path / "m.keras", tmp_path / "out")
    report = k2t.verify(tmp_path / "out", tmp_path / "m.keras", edge_cases=False)
    worst = report.deciding.worst
    assert (
        report.passed
        and worst.difference.relative <= worst.allowed(report.deciding.tolerance)
        and "tolerance 0.1 in bfloat16" in report.verdict
    )
    write_report(report, tmp_path / "kept", "key")
    again = read_report(tmp_path / "kept")
    assert again.verdict == report.verdict and again.deciding.worst.keras.dtype.name == "bfloat16", (
        "after a restart of the server as well"
    )
    words = str(layer_chart(again.deciding).layout.annotations)
    assert "6 bfloat16 roundings" in words and again.deciding.own_tolerance == pytest.approx(0.1024)
    names, counts = ulp_bins(report.outputs)
    assert counts.sum() == report.outputs[0].keras.size and len(names) <= 8
