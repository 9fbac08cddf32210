"""One layer alone: probes are kept, verdicts are of the recipe that was asked for, inputs those of the settings."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.errors import K2TError
from k2t_core.project.layer_bench import Inputs, LayerBench, Memory
from k2t_core.project.project import Project
from k2t_core.recipe import Override, Recipe


def test_a_layer_is_judged_alone_under_any_recipe(square):
    assert not square.is_probed("square1")
    assert square.judge("square1").passed and square.is_probed("square1")
    kept = square.probe("square1")
    square.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    verdict = square.judge("square1")
    assert not verdict.passed and square.judge("square1") is verdict
    assert square.judge("square2").passed
    square.undo()
    assert square.judge("square1").passed and square.probe("square1") is kept
    square.set("verify.seed", 5)
    assert not square.is_probed("square1")
    assert square.weak("square1") is None


def test_weights_that_could_hide_a_mapping_are_told(example):
    project = Project.create()
    project.load(example("all_ones"))
    layer = next(weight.layer for weight in project.plan.weights)
    assert "every value is 1" in project.weak(layer)


WRONG = Recipe((Override("square1", "permutation", {"key": "weight", "axes": [0, 1]}),))


def test_a_bench_keeps_the_inputs_it_was_made_with(square):
    bench = square.bench
    first = bench.probe("square1")
    square.set("verify.seed", 3)
    assert bench.probe("square1") is first and square.bench.inputs == Inputs(None, 3, "normal")
    other = square.probe("square1")
    assert not np.array_equal(first.inputs[0], other.inputs[0])
    assert len(first.inputs[0]) == bench.samples("square1") == 2


def test_probes_beyond_the_last_few_are_let_go(square, monkeypatch):
    monkeypatch.setattr("k2t_core.project.layer_bench.PROBES", 1)
    bench = LayerBench(square.traced, square.plan, square.settings, Memory())
    bench.probe("square1")
    bench.probe("square2")
    assert bench.is_probed("square2") and not bench.is_probed("square1")
    with pytest.raises(K2TError, match="not a layer of this model"):
        bench.probe("nobody")


def test_what_is_drawn_of_a_sample_is_what_the_verdict_saw(square):
    (same,) = square.bench.activations("square1", 1)
    assert np.abs(same.difference).max() < 1e-5 and square.bench.is_quick
    assert not square.bench.judge("square1", WRONG).passed and square.bench.judge("square1").passed


def test_two_readings_are_followed_to_the_end_of_the_model(square):
    bench, said = square.bench, []
    assert bench.followed("square1", Recipe(), WRONG) is None
    found = bench.follow("square1", Recipe(), WRONG, lambda share, text: said.append((share, text)))
    assert [change.layer for change in found] == ["square1", "square2"]
    assert all(change.before < 1e-5 < 0.1 < change.after for change in found)
    assert bench.followed("square1", Recipe(), WRONG) is found
    assert bench.followed("square1", WRONG, Recipe()) is None
    shares = [share for share, _ in said]
    assert shares == sorted(shares) and shares[-1] < 1
    assert said[0] == (0, "Converting the one") and (0.5, "Converting the other") in said
