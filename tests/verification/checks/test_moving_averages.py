"""Moving averages go on as in Keras, and a wrong momentum is found in training only."""

from __future__ import annotations

import k2t_core as k2t
from tests.verification.checks.test_gradients import network


def test_a_wrong_momentum_is_found_in_training_only(tmp_path):
    model = network(momentum=0.9)
    k2t.convert(
        model,
        tmp_path,
        k2t.Recipe().with_override(
            k2t.Override("norm", "arguments", {"momentum": 0.9}, "Keras's number, torch's meaning")
        ),
    )
    assert k2t.verify(tmp_path, model, edge_cases=False).passed
    report = k2t.verify(tmp_path, model, training=True, edge_cases=False)
    assert not report.passed and report.first_divergence == "norm" and "in training" in report.verdict


def test_a_frozen_batch_normalisation_stays_as_it_is(tmp_path):
    model = network(trainable=False)
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, training=True, edge_cases=False)
    assert report.passed and {r.what for r in report.training if r.layer == "norm"} >= {
        "moving mean after a training step",
        "moving variance after a training step",
    }
    k2t.convert(
        model, tmp_path, k2t.Recipe().with_override(k2t.Override("norm", "alternative", "trainable", "it learns"))
    )
    report = k2t.verify(tmp_path, model, training=True, edge_cases=False)
    assert not report.passed and report.first_divergence == "norm"
