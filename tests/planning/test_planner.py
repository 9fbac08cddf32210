"""Plans: recipes bound to their model, names that are identifiers, classes whose names collide with nothing."""

from __future__ import annotations

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.emit.source import write_source
from k2t_core.recipe import Override, Recipe
from tests.harness import check


def convnet(size=6, filters=4):
    return keras.Sequential(
        [
            keras.Input((size, size, 3), name="image"),
            layers.Conv2D(filters, 3, padding="same", name="conv"),
            layers.Flatten(name="flatten"),
            layers.Dense(5, name="head"),
        ],
        name="convnet",
    )


def test_a_recipe_for_another_model_is_refused_and_can_be_merged():
    model = convnet()
    made = k2t.plan(
        model,
        Recipe()
        .with_override(Override("flatten", "alternative", "permute first"))
        .with_override(Override("conv", "arguments", {"stride": 1})),
    ).recipe
    other = keras.Sequential(
        [keras.Input((6, 6, 4)), layers.Conv2D(3, 3, name="conv"), layers.Dense(2, name="flatten")]
    )
    with pytest.raises(k2t.OverrideError, match="another model.*--merge-recipe"):
        k2t.plan(other, made)
    merged, left = k2t.merge(made, other)
    assert [o.layer for o in merged.overrides] == ["conv"] and len(left) == 1 and "'flatten'" in left[0]
    k2t.plan(other, merged)


def test_awkward_names_become_identifiers():
    x = keras.Input((4,), name="class")
    y = layers.Dense(3, name="1x1-conv.a")(x)
    y = layers.Dense(3, name="forward")(y)
    conversion, _ = check(keras.Model(x, layers.Dense(2, name="self")(y), name="9-lives"))
    assert "class Model9Lives(nn.Module)" in conversion.code.text


@pytest.mark.parametrize("name", ["separable_conv2d", "path", "f", "none"])
def test_a_nested_model_does_not_take_a_helpers_name(name):
    x = keras.Input((6, 6, 3))
    inner = keras.Sequential([keras.Input((6, 6, 3)), layers.SeparableConv2D(4, 3)], name=name)
    compile(write_source(k2t.plan(keras.Model(x, inner(x)))).text, "model.py", "exec")
    check(keras.Model(x, inner(x)))
