"""One layer alone: probes are kept, verdicts are of the recipe that was asked for, inputs those of the settings."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.errors import K2TError
from k2t_core.keras_side.loading import load
from k2t_core.keras_side.reading import read
from k2t_core.planning.planner import plan
from k2t_core.project.layer_bench import Inputs, LayerBench, Memory
from k2t_core.recipe import Override, Recipe

INPUTS, DEFAULT = Inputs(None, 0, "normal"), Recipe()
WRONG = Recipe((Override("square1", "permutation", {"key": "weight", "axes": [0, 1]}),))


@pytest.fixture
def traced(example):
    return read(load(example("square")))


def on(traced, recipe=DEFAULT, inputs=INPUTS, memory=None) -> LayerBench:
    return LayerBench(traced, plan(traced, recipe), inputs, memory)


def test_a_layer_is_judged_alone_under_any_recipe(traced):
    memory = Memory()
    bench = on(traced, memory=memory)
    assert not bench.is_probed("square1")
    assert bench.judge("square1").passed and bench.is_probed("square1")
    kept = bench.probe("square1")
    other = on(traced, WRONG, memory=memory)
    verdict = other.judge("square1")
    assert not verdict.passed and other.judge("square1") is verdict
    assert other.judge("square2").passed
    assert on(traced, memory=memory).judge("square1").passed and bench.probe("square1") is kept
    assert not on(traced, inputs=Inputs(None, 5, "normal"), memory=memory).is_probed("square1")
    assert bench.weak("square1") is None


def test_weights_that_could_hide_a_mapping_are_told(example):
    bench = on(read(load(example("all_ones"))))
    assert "every value is 1" in bench.weak(bench.plan.weights[0].layer)


def test_another_batch_is_another_probe(traced):
    memory = Memory()
    first = on(traced, memory=memory).probe("square1")
    other = on(traced, inputs=Inputs(None, 3, "normal"), memory=memory).probe("square1")
    assert not np.array_equal(first.inputs[0], other.inputs[0])
    assert len(first.inputs[0]) == on(traced, memory=memory).samples("square1") == 2


def test_probes_beyond_the_last_few_are_let_go(traced, monkeypatch):
    monkeypatch.setattr("k2t_core.project.layer_bench.PROBES", 1)
    bench = on(traced)
    bench.probe("square1")
    bench.probe("square2")
    assert bench.is_probed("square2") and not bench.is_probed("square1")
    with pytest.raises(K2TError, match="not a layer of this model"):
        bench.probe("nobody")


def test_what_is_drawn_of_a_sample_is_what_the_verdict_saw(traced):
    bench = on(traced)
    (same,) = bench.activations("square1", 1)
    assert np.abs(same.difference).max() < 1e-5 and bench.is_quick
    assert not bench.judge("square1", WRONG).passed and bench.judge("square1").passed


def test_two_readings_are_followed_to_the_end_of_the_model(traced):
    bench, said = on(traced), []
    assert bench.followed("square1", Recipe(), WRONG) is None
    found = bench.follow("square1", Recipe(), WRONG, lambda share, text: said.append((share, text)))
    assert [change.layer for change in found] == ["square1", "square2"]
    assert all(change.before < 1e-5 < 0.1 < change.after for change in found)
    assert bench.followed("square1", Recipe(), WRONG) is found
    assert bench.followed("square1", WRONG, Recipe()) is None
    shares = [share for share, _ in said]
    assert shares == sorted(shares) and shares[-1] < 1
    assert said[0] == (0, "Converting the one") and (0.5, "Converting the other") in said
