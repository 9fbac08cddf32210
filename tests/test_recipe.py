"""The recipe: overrides that replace one another, as JSON there and back, and what is no recipe."""

import json

import pytest

from k2t_core.errors import OverrideError
from k2t_core.recipe import KINDS, Override, Recipe, parsed_recipe, read_recipe

ONE_OF_EACH = [
    Override("conv", "alternative", "symmetric padding", "as in torch"),
    Override("conv", "permutation", {"key": "weight", "axes": [1, 0, 2, 3]}),
    Override("bn", "arguments", {"eps": 0.1}),
    Override("bn", "weights", {"weight": "beta"}),
    Override("lstm", "gates", [0, 2, 1, 3]),
    Override("own", "snippet", "torch.relu(x) · 2"),
    Override("resize", "cut", None),
]
RECIPE = Recipe(tuple(ONE_OF_EACH), "a fingerprint")


def test_every_kind_goes_there_and_back(tmp_path):
    """As a file, its text, its bytes and its data; the text is the same again."""
    assert {o.kind for o in ONE_OF_EACH} == set(KINDS)
    text = RECIPE.to_json()
    (tmp_path / "recipe.json").write_text(text, encoding="utf-8")
    readings = [tmp_path / "recipe.json", str(tmp_path / "recipe.json"), json.loads(text), RECIPE]
    for again in [read_recipe(r) for r in readings] + [parsed_recipe(text), parsed_recipe(text.encode())]:
        assert again == RECIPE
        assert again.to_json() == text


def test_nothing_and_a_list_of_overrides_are_recipes():
    assert read_recipe(None) == Recipe()
    assert read_recipe(iter(ONE_OF_EACH)) == Recipe(tuple(ONE_OF_EACH))


def test_an_override_replaces_one_of_the_same_target():
    other = Override("conv", "alternative", "on the other side")
    assert RECIPE.with_override(other).overrides == (*ONE_OF_EACH[1:], other)


def test_permutations_of_two_weights_stand_side_by_side():
    bias = Override("conv", "permutation", {"key": "bias", "axes": [0]})
    again = Override("conv", "permutation", {"key": "weight", "axes": [0, 1, 2, 3]})
    assert Recipe().with_override(ONE_OF_EACH[1]).with_override(bias).with_override(again).overrides == (bias, again)


def test_an_override_is_taken_back_by_its_number():
    assert RECIPE.without(0).overrides == tuple(ONE_OF_EACH[1:])
    assert RECIPE.without(6).overrides == tuple(ONE_OF_EACH[:6])
    assert RECIPE.without(0).fingerprint == RECIPE.fingerprint


def test_what_a_recipe_says_of_a_layer():
    assert RECIPE.of("bn") == ONE_OF_EACH[2:4]
    assert RECIPE.get("bn", "arguments") == {"eps": 0.1}
    assert RECIPE.get("bn", "gates") is None and RECIPE.get("none", "gates") is None
    assert RECIPE.cuts == ["resize"]
    assert RECIPE.snippets == [ONE_OF_EACH[5]]


def test_overrides_in_words():
    assert [o.describe() for o in ONE_OF_EACH] == [
        "conv: alternative symmetric padding",
        "conv: weight permuted by (1, 0, 2, 3)",
        "bn: eps=0.1",
        "bn: weight from beta",
        "lstm: gates in the order (0, 2, 1, 3)",
        "own: snippet torch.relu(x) · 2",
        "resize: cut off, left to the data pipeline",
    ]


@pytest.mark.parametrize(
    "kind, value",
    [
        ("alternative", None),
        ("permutation", {"key": "weight"}),
        ("permutation", {"key": "weight", "axes": ["0", "1"]}),
        ("permutation", [1, 0]),
        ("arguments", [1]),
        ("arguments", {1: 2}),
        ("weights", {"weight": 3}),
        ("gates", "0213"),
        ("gates", [0.0, 1.0]),
        ("snippet", ["x"]),
        ("cut", True),
    ],
)
def test_a_value_that_its_kind_cannot_have(kind, value):
    with pytest.raises(OverrideError, match=f"'layer': an override of kind '{kind}' cannot be"):
        Override("layer", kind, value)


def test_an_unknown_kind_lists_those_there_are():
    with pytest.raises(OverrideError, match="unknown kind of override 'magic'; one of alternative, permutation"):
        Override("layer", "magic", None)


@pytest.mark.parametrize("layer, reason", [(3, ""), (None, ""), ("a", None), ("a", 3)])
def test_layer_and_reason_are_words(layer, reason):
    with pytest.raises(OverrideError, match="names its layer and its reason in words"):
        Override(layer, "cut", None, reason)


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "not JSON"),
        ("[1]", "not a k2t recipe|not a recipe"),
        ("{}", "not a k2t recipe of version 1"),
        ('{"k2t_recipe": 2, "overrides": []}', "not a k2t recipe of version 1"),
        ('{"k2t_recipe": 1, "overrides": {}}', "not a k2t recipe of version 1"),
        ('{"k2t_recipe": 1, "overrides": [{"layer": "a"}]}', "malformed"),
        ('{"k2t_recipe": 1, "overrides": [{"layer": "a", "kind": "cut", "value": null, "more": 1}]}', "malformed"),
        ('{"k2t_recipe": 1, "overrides": [3]}', "malformed"),
    ],
)
def test_what_is_no_recipe(content, message, tmp_path):
    (tmp_path / "recipe.json").write_text(content, encoding="utf-8")
    for read in (lambda: read_recipe(tmp_path / "recipe.json"), lambda: parsed_recipe(content)):
        with pytest.raises(OverrideError, match=message):
            read()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(OverrideError, match="recipe .*none.json: No such file"):
        read_recipe(tmp_path / "none.json")


def test_recipes_replace_undo_and_replay():
    recipe = Recipe().with_override(Override("a", "alternative", "x")).with_override(Override("a", "alternative", "y"))
    assert [o.value for o in recipe.overrides] == ["y"]
    assert recipe.without(0).overrides == ()
    assert read_recipe(json.loads(recipe.to_json())) == recipe
    with pytest.raises(OverrideError):
        read_recipe({"hello": 1})
    with pytest.raises(OverrideError, match="no such|No such"):
        read_recipe("/nowhere/recipe.json")
