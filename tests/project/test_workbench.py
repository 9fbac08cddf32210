"""The frameworks' side of a project, through the codec, as the server meets it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from k2t_core.errors import K2TError, OverrideError, UnsupportedError
from k2t_core.inspector.graph_data import Overlay
from k2t_core.progress import silent
from k2t_core.project.engines import Here
from k2t_core.project.layer_bench import Inputs
from k2t_core.recipe import Override, Recipe

INPUTS = Inputs(None, 0, "normal")
WRONG = Recipe((Override("square1", "permutation", {"key": "weight", "axes": [0, 1]}),))


@pytest.fixture
def engine(example):
    found = Here()
    found.call("load", example("square"), False, None, progress=silent)
    return found


def test_nothing_loaded_is_an_error():
    for name, arguments in (("planned", (Recipe(),)), ("source", ()), ("judge", ("a", INPUTS))):
        with pytest.raises(K2TError, match="no model is loaded"):
            Here().call(name, *arguments)


def test_a_plan_as_data(engine):
    plan = engine.call("planned", Recipe())
    assert [row.call for row in plan.rows] == ["features", "square1", "square2"]
    assert not plan.problems and plan.quick and plan.interest == "square1" and plan.card.parameters > 0
    assert json.loads(plan.recipe)["overrides"] == []
    source = engine.call("source")
    lines = source.text.splitlines()
    assert any("square1" in lines[number - 1] for number in source.by_layer["square1"])
    assert "square1" in source.by_line[source.by_layer["square1"][0]]
    assert json.loads(engine.call("manifest"))["inputs"]


def test_a_recipe_that_does_not_fit_leaves_the_one_before(engine):
    engine.call("planned", WRONG, check=True)
    with pytest.raises(OverrideError):
        engine.call("planned", Recipe((Override("nobody", "snippet", "x"),)), check=True)
    assert engine.workbench.plan.recipe.overrides == WRONG.overrides
    assert not engine.call("judge", "square1", INPUTS).passed


def test_a_layer_as_data(engine):
    facts = engine.call("facts", "square1")
    assert facts.keras.startswith("square1 = layers.Dense(") and list(facts.weights) == ["weight", "bias"]
    assert {argument.name for argument in facts.arguments} >= {"in_features", "out_features", "bias"}
    keras, torch = engine.call("documentation", "square1")
    assert [one.name for one in keras] == ["keras.layers.Dense"] and "torch.nn.Linear" in [one.name for one in torch]
    picture = engine.call("picture", facts.weights["weight"].key, (0, 1))
    assert picture.torch.index == (0, 1) and picture.keras.index == (1, 0)
    assert len(json.loads(engine.call("graph", Overlay()))["nodes"]) >= 3


def test_a_duel(engine):
    readings = engine.call("readings", "square1", INPUTS)
    assert readings and all(isinstance(text, str) and isinstance(recipe, Recipe) for text, recipe in readings)
    found = engine.call("duellist", "square1", WRONG, INPUTS)
    assert not found.verdict.passed and any("square1" in line for line in found.lines)


def test_what_is_written_is_verified(engine, tmp_path):
    engine.call("convert", tmp_path, progress=silent)
    report = engine.call("verify", tmp_path, {"weights": "model", "edge_cases": False}, progress=silent)
    assert report.passed and isinstance(report.runs[0].outputs[0].keras, np.ndarray)


def test_a_lesson_is_one_of_those_that_there_are(engine):
    assert engine.call("lesson", "dense_kernel", {"inputs": 3, "units": 3, "seed": 0}).right.agrees
    with pytest.raises(K2TError, match="no experiment '__import__'"):
        engine.call("lesson", "__import__", {"name": "os"})


def test_a_model_with_problems_has_no_source(tmp_path):
    from tests.keras_side.test_cutting import text_model

    text_model().save(tmp_path / "text.keras")
    engine = Here()
    engine.call("load", tmp_path / "text.keras", False, None, progress=silent)
    assert engine.call("planned", Recipe()).problems
    with pytest.raises(UnsupportedError):
        engine.call("source")
