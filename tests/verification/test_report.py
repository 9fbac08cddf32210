"""What a report says of itself, and that its JSON reads back as it was."""

from __future__ import annotations

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.difference import Difference
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification.report import (
    LayerResult,
    OutputResult,
    Report,
    Run,
    TrainingResult,
    Weakness,
    first_failure,
    listed,
)

RIGHT, WRONG = Difference(1e-7, 1e-8, 1e-7, 1.0), Difference(0.5, 0.1, 0.5, 1.0)


def layer(name: str, passed: bool = True, cumulative: Difference = RIGHT) -> LayerResult:
    return LayerResult(name, name, cumulative, RIGHT if passed else WRONG, passed)


def output(passed: bool = True) -> OutputResult:
    keras_side = np.ones((2, 3), "float32")
    torch_side = keras_side if passed else keras_side * 1.5
    difference = Difference.of(keras_side, torch_side)
    return OutputResult("y", (2, 3), (2, 3), difference, passed, keras_side, torch_side)


def run(weights: str = "model", passed: bool = True, layers: tuple[LayerResult, ...] = (layer("a"),)) -> Run:
    results = (output(passed),)
    return Run(weights, "normal, batch of 2", results, layers, first_failure(layers, passed), 1e-4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A report with everything in it: two sets of weights, training, an override, causes, a time step."""
    folder = tmp_path_factory.mktemp("whole")
    x = keras.Input((5, 3))
    model = keras.Model(x, layers.Dropout(0.3)(layers.Dense(2)(layers.LSTM(4, name="rnn")(x))))
    randomise(model)
    override = k2t.Override("rnn", "alternative", "gates i, c, f, o", "wrong on purpose")
    k2t.convert(model, folder, k2t.Recipe((override,)))
    return k2t.verify(folder, model, batch=2, training=True)


def again(report: Report) -> Report:
    return Report.from_json(json.loads(json.dumps(report.to_json())), report.arrays())


def test_a_whole_report_reads_back_as_it_was(whole):
    found = again(whole)
    assert whole.causes and whole.effects and whole.training and whole.diverges_from, "or the test proves little"
    assert found.to_json() == whole.to_json() and found.verdict == whole.verdict
    for name in ("weaknesses", "notes", "reference", "training", "effects", "causes", "compiled"):
        assert getattr(found, name) == getattr(whole, name), name
    for mine, its in zip(found.runs, whole.runs, strict=True):
        assert mine.layers == its.layers and mine.tolerance == its.tolerance
        assert [b.tolist() for b in mine.batch] == [b.tolist() for b in its.batch]
        for a, b in zip(mine.outputs, its.outputs, strict=True):
            assert np.array_equal(a.torch, b.torch) and a.keras.dtype == b.keras.dtype and a.rounding == b.rounding


def test_arrays_are_named_by_run_and_place(whole):
    assert {"0.0.keras", "0.0.torch", "0.input.0", "1.0.keras"} <= set(whole.arrays())
    assert not any("array" in key for key in whole.to_json()["runs"][0])


def test_what_is_not_finite_reads_back():
    infinite = Difference(float("inf"), float("inf"), float("inf"), 0.0)
    report = Report((run(layers=(LayerResult("a", "a", infinite, None, False),)),), ())
    assert again(report).layers == report.layers


def test_the_first_run_that_differs_carries_the_verdict():
    right, random = run(), run("randomised")
    assert Report((right, random), ()).deciding is random
    wrong = run(layers=(layer("a"), layer("b", passed=False)), passed=False)
    report = Report((right, random, wrong), ())
    assert report.deciding is wrong and not report.passed and report.first_divergence == "b"
    assert report.verdict == (
        "differs (model weights: largest relative difference 0.5, tolerance 0.0001; layer 'b' diverges first)"
    )


def test_weak_weights_prove_nothing_until_they_are_randomised():
    weak = (Weakness("a/kernel", "every value is 1"),)
    report = Report((run(),), weak)
    assert report.passed and not report.proves and report.verdict.startswith("agrees, but proves nothing")
    seen = Report((run(), run("randomised"), run("randomised")), weak)
    assert seen.proves and "model weights and randomised weights, 1 edge cases" in seen.verdict
    assert "the randomised weights carry the verdict" in seen.verdict


def test_a_difference_in_training_is_one():
    wrong = TrainingResult("gradient by weight", "a.weight", "a", WRONG, False)
    report = Report((run(),), (), training=(wrong,))
    assert not report.passed and report.first_divergence == "a"
    assert report.verdict == (
        "differs in training (gradient by weight 'a.weight': relative difference 0.5; in inference it agrees)"
    )


def test_the_first_failure_is_a_layer_alone_before_an_accumulated_error():
    far = layer("a", cumulative=WRONG)
    assert first_failure([far, layer("b", passed=False)], outputs_passed=False) == "b"
    assert first_failure([far, layer("b")], outputs_passed=False) == "a"
    assert first_failure([far, layer("b")], outputs_passed=True) is None


def test_what_the_worst_number_does_not_say():
    one = run()
    assert one.why_worst == ""
    o = output()
    odd = replace(o, torch=o.torch[:, :2], difference=WRONG)
    assert replace(one, outputs=(odd,)).why_worst == "output 'y' has shape (2, 2), in Keras (2, 3)"
    infinite = replace(o, difference=Difference(1.0, 1.0, float("inf"), 0.0))
    assert "is 0 throughout in Keras" in replace(one, outputs=(infinite,)).why_worst
    lost = replace(infinite, torch=np.full((2, 3), np.nan, "float32"))
    assert "holds NaN or infinity" in replace(one, outputs=(lost,)).why_worst
    assert (
        "what lies beyond the tolerance is rounding" in replace(one, outputs=(replace(o, difference=WRONG),)).why_worst
    )


def test_layers_that_were_compiled_are_told():
    report = Report((run(),), (), compiled=("a", "b", "c", "d", "e"))
    assert report.execution.endswith("on this processor: 'a', 'b', 'c' and 2 more")
    assert "Keras ran compiled by XLA in 'a', 'b', 'c' and 2 more" in report.verdict
    assert Report((run(),), ()).execution == "operation by operation"


def test_few_names_are_all_listed():
    assert listed(["a", "b"]) == "'a', 'b'" and listed(list("abcd"), most=1) == "'a' and 3 more"
