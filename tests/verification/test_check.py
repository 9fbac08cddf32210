"""The form of a check: one of one's own, put into its list, is seen wherever results are; how a result is judged."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.difference import Difference
from k2t_core.inspector.html_report import html_report
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification import layers as layers_of
from k2t_core.verification import verifying
from k2t_core.verification.check import LayerCheck, in_range, judged, judged_in_training
from k2t_core.verification.checks import LAYER_CHECKS, TRAINING_CHECKS
from k2t_core.verification.report import LayerResult, TrainingResult
from k2t_core.verification.report_file import read_report, write_report


class Twice(LayerCheck):
    """A Dense layer is linear but for its bias: compared on twice what reached its module."""

    def watches(self, node):
        return node.layer.kind == "Dense"

    def run(self, stretch):
        for tensor, place in self.watched(stretch):
            x = stretch.inputs(place)[place.node.inputs[0]]
            kernel, bias = (stretch.traced.value(f"{place.node.layer.path}/{name}") for name in ("kernel", "bias"))
            count, got = stretch.written.again(tensor, scale=2)
            assert count == x.size
            result = LayerResult(f"{tensor} of twice", place.node.layer.path, None, None, True)
            yield tensor, judged(result, 2 * x @ kernel + bias, got, None)


def never(trial):
    """A check of training that always differs."""
    name = trial.traced.graph.nodes[0].layer.path
    return [TrainingResult("patience", name, name, Difference(1.0, 1.0, 1.0, 1.0), False)]


@pytest.fixture
def dense(tmp_path):
    x = keras.Input((6,))
    model = keras.Model(x, layers.Dense(2, name="b")(layers.Dense(4, name="a")(x)))
    randomise(model)
    k2t.convert(model, tmp_path)
    return tmp_path, model


def test_a_check_of_ones_own_is_in_every_report(dense, monkeypatch):
    folder, model = dense
    monkeypatch.setattr(layers_of, "LAYER_CHECKS", (*LAYER_CHECKS, Twice()))
    report = k2t.verify(folder, model, edge_cases=False)
    assert report.passed and [r.tensor for r in report.layers] == ["a", "a of twice", "b", "b of twice"]
    write_report(report, folder / "report", "key")
    assert read_report(folder / "report").layers == report.layers
    assert "b of twice" in html_report(report, folder, "k2t verify")


def test_a_check_of_training_decides_the_verdict(dense, monkeypatch):
    folder, model = dense
    monkeypatch.setattr(verifying, "TRAINING_CHECKS", (*TRAINING_CHECKS, never))
    assert k2t.verify(folder, model, edge_cases=False).passed, "training was not asked for"
    report = k2t.verify(folder, model, edge_cases=False, training=True, explain=False)
    assert report.verdict.startswith("differs in training (patience 'a'")
    assert json.loads(json.dumps(report.to_json()))["training"][-1]["what"] == "patience"


def test_where_a_check_settles_rounding_behind_it_is_let_pass(dense, monkeypatch):
    """A rounding of the layer that Keras has not: with what is before it settled, that is no difference."""

    class Settling(Twice):
        settles = True

    asked = []

    def spy(result, want, got, exact, settled=False):
        asked.append((result.tensor, settled))
        return judged(result, want, got, exact, settled)

    monkeypatch.setattr(layers_of, "judged", spy)
    for check, settled in ((Twice(), False), (Settling(), True)):
        monkeypatch.setattr(layers_of, "LAYER_CHECKS", (check,))
        asked.clear()
        folder, model = dense
        k2t.verify(folder, model, edge_cases=False, weights="model")
        assert asked == [("a", settled), ("b", settled)]


def test_the_end_of_float32s_range_is_left_out():
    exact = np.array([1.0, 1e38, np.inf, np.nan])
    (kept,) = in_range(exact, np.array([2.0, 3.0, 4.0, 5.0]))
    assert kept.tolist() == [2.0, 0.0, 0.0, 5.0]
    array = np.ones(2)
    assert in_range(np.ones(2), array)[0] is array


def test_a_result_alone_has_a_rounding_where_there_is_a_float64_run():
    empty = LayerResult("a", "a", None, None, False)
    x = np.linspace(-1, 1, 8, dtype="float32")
    found = judged(empty, x, x, x.astype("float64"))
    assert found.passed and found.isolated.max_abs == 0 and found.rounding.scale == 1
    assert judged(empty, x, x, None).rounding is None
    assert not judged(empty, x, x[:4], None).passed, "another shape"
    whole = np.arange(4)
    assert not judged(empty, whole, whole + 1, None).passed, "integers must be equal"


def test_a_gradient_that_vanishes_on_one_side_says_nothing():
    zero = np.zeros(3, "float32")
    assert judged_in_training("gradient", "a", None, zero, zero + 1e-8).passed
    assert not judged_in_training("gradient", "a", None, zero, zero + 1e-3).passed
    assert judged_in_training("gradient", "a", "layer", zero + 1, zero + 1.0001).layer == "layer"
