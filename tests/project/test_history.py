"""The recipe and its undo history, as a value."""

from __future__ import annotations

import json

import pytest

import k2t_core as k2t
from k2t_core.errors import OverrideError
from k2t_core.project.history import History, as_replayed, imported
from k2t_core.recipe import Override, Recipe

FIRST = Recipe((Override("a", "snippet", "x"),))
SECOND = Recipe((Override("a", "snippet", "x + 1"),))


def test_a_change_can_be_undone_and_redone_until_another_comes():
    history = History().then(FIRST).then(SECOND)
    assert history.recipe == SECOND and history.can_undo and not history.can_redo
    back = history.undone()
    assert back.recipe == FIRST and back.can_redo and history.recipe == SECOND, "a value: the other stays as it was"
    assert back.redone() == history
    assert not back.then(SECOND).can_redo
    assert History().undone() == History() and history.redone() is history


def test_the_json_gives_the_same_history():
    history = History().then(FIRST).then(SECOND).undone()
    assert History.from_json(json.loads(json.dumps(history.to_json()))) == history


def test_an_override_is_kept_as_recipe_json_gives_it_back():
    one = Override("a", "permutation", {"key": "weight", "axes": (0, 1)})
    assert as_replayed(one).value == {"key": "weight", "axes": [0, 1]}


def test_of_a_recipe_for_another_model_what_fits_is_taken(example):
    traced = k2t.trace(k2t.load(example("square")))
    fits = Override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    foreign = Override("nobody", "alternative", "plain flatten")
    assert imported(Recipe((fits,)).to_json(), traced) == (Recipe((fits,)), [])
    recipe, left = imported(Recipe((fits, foreign), "of another model").to_json(), traced)
    assert recipe == Recipe((fits,)) and len(left) == 1 and "nobody" in left[0]
    with pytest.raises(OverrideError, match="none of its overrides fits"):
        imported(Recipe((foreign,), "of another model").to_json(), traced)
