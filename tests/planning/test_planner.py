"""Plans: layouts without needless permutes, overrides checked at once, everything unsupported listed."""

import json

import keras
import pytest
import tensorflow as tf
from keras import layers

import k2t_core as k2t
from k2t_core.emit.source import write_source
from k2t_core.recipe import Override, Recipe, read_recipe
from tests.harness import check, convert_and_run, relative_difference


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


def square(units=4):
    return keras.Sequential([keras.Input((units,)), layers.Dense(units, name="square"), layers.Dense(3, name="head")])


def test_an_image_model_runs_channels_first_without_a_permute():
    conversion, _ = check(convnet())
    assert "permute" not in conversion.code.text and "transpose" not in conversion.code.text
    assert conversion.plan.root.input_layouts[0].perm == (0, 3, 1, 2)


def test_flatten_into_two_heads_is_absorbed_by_both():
    x = keras.Input((4, 4, 3))
    y = layers.Flatten()(layers.Conv2D(4, 3)(x))
    conversion, _ = check(keras.Model(x, [layers.Dense(2)(y), layers.Dense(3)(layers.Activation("relu")(y))]))
    assert "permute" not in conversion.code.text


def test_flatten_that_is_an_output_keeps_keras_s_order():
    x = keras.Input((4, 4, 3))
    conversion, _ = check(keras.Model(x, layers.Flatten()(layers.Conv2D(4, 3)(x))))
    assert "permute" in conversion.code.text


def test_a_dense_shared_between_flattened_and_plain_input_stays_right():
    x, v = keras.Input((2, 2, 3)), keras.Input((12,))
    head = layers.Dense(4)
    check(keras.Model([x, v], [head(layers.Flatten()(layers.Conv2D(3, 1)(x))), head(v)]))


def test_an_image_model_that_ends_in_an_image_gives_channels_first():
    x = keras.Input((6, 6, 3))
    conversion, _ = check(keras.Model(x, layers.Conv2D(2, 3, padding="same")(x)))
    assert conversion.plan.root.output_layouts[0].perm == (0, 3, 1, 2)


def test_everything_unsupported_is_listed_at_once_and_nothing_is_written(tmp_path):
    x = keras.Input((8,))
    y = layers.Lambda(lambda t: tf.math.atan(t), name="twice")(x)
    y = layers.Lambda(lambda t: tf.math.asinh(t), name="plus")(y)
    model = keras.Model(x, layers.Dense(2)(y))
    with pytest.raises(k2t.UnsupportedError) as error:
        k2t.convert(model, tmp_path / "out")
    assert "'twice'" in str(error.value) and "'plus'" in str(error.value) and "snippet" in str(error.value)
    assert not (tmp_path / "out").exists()
    assert list(k2t.plan(model).table().status) == ["exact", "unsupported", "unsupported", "exact"]


def test_a_snippet_takes_the_place_of_a_layer_without_a_rule():
    x = keras.Input((5, 5, 3))
    y = layers.Lambda(lambda t: t * 2 + 1, name="scale")(layers.Conv2D(4, 3)(x))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))
    check(model, recipe=[Override("scale", "snippet", "x * 2 + 1")])


def test_a_snippet_may_use_the_layers_variables():
    class Affine(layers.Layer):
        def build(self, shape):
            self.gain = self.add_weight(name="gain", shape=(shape[-1],))

        def call(self, x):
            return x * self.gain

    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(Affine(name="affine")(x)))
    check(model, recipe=[Override("affine", "snippet", "x * w['gain']")])


def test_a_snippet_that_is_not_python_is_rejected():
    x = keras.Input((4,))
    model = keras.Model(x, layers.Lambda(lambda t: t, name="odd")(x))
    with pytest.raises(k2t.OverrideError, match="odd"):
        k2t.plan(model, [Override("odd", "snippet", "x *")])


def test_wrong_permutation_of_a_square_kernel_changes_the_result():
    conversion, _, want, got = convert_and_run(
        square(), recipe=[Override("square", "permutation", {"key": "weight", "axes": [0, 1]})]
    )
    assert relative_difference(want[0], got[0]) > 0.01
    row = conversion.plan.table().set_index("layer").loc["square"]
    assert "(0, 1)" in row.weights and "(0, 1)" in row.override


@pytest.mark.parametrize(
    "override, message",
    [
        (Override("head", "permutation", {"key": "weight", "axes": [0, 1]}), "gives shape"),
        (Override("head", "permutation", {"key": "weight", "axes": [0, 0]}), "permutation"),
        (Override("head", "permutation", {"key": "weight", "axes": [0, 1, 2]}), "permutation"),
        (Override("head", "permutation", {"key": "nothing", "axes": [0, 1]}), "no weight"),
        (Override("flatten", "alternative", "sideways"), "no alternative"),
        (Override("flatten", "arguments", {"eps": 1}), "no constructor arguments"),
        (Override("nowhere", "alternative", "x"), "does not have"),
    ],
)
def test_an_impossible_override_is_rejected_with_the_reason(override, message):
    with pytest.raises(k2t.OverrideError, match=message):
        k2t.plan(convnet(), [override])


def test_an_argument_that_changes_a_weight_s_shape_is_rejected(tmp_path):
    with pytest.raises(k2t.K2TError, match="head"):
        k2t.convert(convnet(), tmp_path / "out", [Override("head", "arguments", {"out_features": 7})])


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


def test_recipes_replace_undo_and_replay():
    recipe = Recipe().with_override(Override("a", "alternative", "x")).with_override(Override("a", "alternative", "y"))
    assert [o.value for o in recipe.overrides] == ["y"]
    assert recipe.without(0).overrides == ()
    assert read_recipe(json.loads(recipe.to_json())) == recipe
    with pytest.raises(k2t.OverrideError):
        read_recipe({"hello": 1})
    with pytest.raises(k2t.OverrideError, match="no such|No such"):
        read_recipe("/nowhere/recipe.json")


def test_the_table_shows_both_sides_and_the_way_of_each_weight():
    table = k2t.plan(convnet()).table().set_index("layer")
    assert table.loc["conv"].keras_shape == "(N, 6, 6, 4)" and table.loc["conv"].torch_shape == "(N, 4, 6, 6)"
    assert table.loc["conv"].keras_layout == "NHWC" and table.loc["conv"].torch_layout == "NCHW"
    assert "permute(3, 2, 0, 1) → conv.weight (4, 3, 3, 3)" in table.loc["conv"].weights
    assert "flatten order" in table.loc["head"].weights and table.loc["flatten"].status == "ambiguous"


def test_awkward_names_become_identifiers():
    x = keras.Input((4,), name="class")
    y = layers.Dense(3, name="1x1-conv.a")(x)
    y = layers.Dense(3, name="forward")(y)
    conversion, _ = check(keras.Model(x, layers.Dense(2, name="self")(y), name="9-lives"))
    assert "class Model9Lives(nn.Module)" in conversion.code.text


@pytest.mark.parametrize(
    "policy, tolerance", [("mixed_float16", 5e-3), ("bfloat16", 4e-2), ("mixed_bfloat16", 4e-2), ("float64", 1e-12)]
)
def test_dtype_policies(policy, tolerance):
    x = keras.Input((4, 4, 3))
    y = layers.Conv2D(4, 3, dtype=policy)(x)
    y = layers.Dense(5, dtype=policy, name="head")(layers.Flatten(dtype=policy)(y))
    conversion, module = check(keras.Model(x, y), tolerance=tolerance)
    assert str(module.head.weight.dtype) == "torch." + policy.removeprefix("mixed_")


@pytest.mark.parametrize("name", ["separable_conv2d", "path", "f", "none"])
def test_a_nested_model_does_not_take_a_helpers_name(name):
    x = keras.Input((6, 6, 3))
    inner = keras.Sequential([keras.Input((6, 6, 3)), layers.SeparableConv2D(4, 3)], name=name)
    compile(write_source(k2t.plan(keras.Model(x, inner(x)))).text, "model.py", "exec")
    check(keras.Model(x, inner(x)))


@pytest.mark.parametrize("form", ["sparse", "ragged"])
def test_sparse_and_ragged_inputs_are_refused(form):
    x = keras.Input((4,), name="x", **{form: True})
    with pytest.raises(k2t.UnsupportedError, match=f"input 'x': it is {form}.*dense Input"):
        k2t.plan(keras.Model(x, layers.Dense(2)(x))).raise_for_problems()


def test_string_inputs_are_refused():
    x = keras.Input((4,), dtype="string", name="x")
    with pytest.raises(k2t.UnsupportedError, match="input 'x': it holds strings.*data pipeline"):
        k2t.plan(keras.Model(x, layers.Identity(dtype="string")(x))).raise_for_problems()
    with pytest.raises(k2t.UnsupportedError, match="^layer 'lookup'"):
        k2t.plan(keras.Model(x, layers.StringLookup(vocabulary=["a"], name="lookup")(x))).raise_for_problems()
