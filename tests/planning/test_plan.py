"""A plan as data: what it refuses, its rows, and the row to see first."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf
from keras import layers

import k2t_core as k2t
from k2t_core.planning.plan import of_interest, rows, weight_text
from k2t_core.recipe import Override


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


def test_the_table_shows_both_sides_and_the_way_of_each_weight():
    table = k2t.plan(convnet()).table().set_index("layer")
    assert table.loc["conv"].keras_shape == "(N, 6, 6, 4)" and table.loc["conv"].torch_shape == "(N, 4, 6, 6)"
    assert table.loc["conv"].keras_layout == "NHWC" and table.loc["conv"].torch_layout == "NCHW"
    assert "permute(3, 2, 0, 1) → conv.weight (4, 3, 3, 3)" in table.loc["conv"].weights
    assert "flatten order" in table.loc["head"].weights and table.loc["flatten"].status == "ambiguous"


def test_everything_unsupported_is_listed_at_once_and_nothing_is_written(tmp_path):
    x = keras.Input((8,))
    y = layers.Lambda(lambda t: tf.math.special.dawsn(t), name="twice")(x)
    y = layers.Lambda(lambda t: tf.math.special.spence(t), name="plus")(y)
    model = keras.Model(x, layers.Dense(2)(y))
    with pytest.raises(k2t.UnsupportedError) as error:
        k2t.convert(model, tmp_path / "out")
    assert "'twice'" in str(error.value) and "'plus'" in str(error.value) and "snippet" in str(error.value)
    assert not (tmp_path / "out").exists()
    assert list(k2t.plan(model).table().status) == ["exact", "unsupported", "unsupported", "exact"]


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


def test_what_a_layer_is_refused_for_is_said_once_for_all_of_them():
    x = keras.Input((4,))
    first, second = (layers.Lambda(lambda t: tf.math.special.dawsn(t), name=name) for name in "ab")
    y = second(first(x))
    (problem,) = k2t.plan(keras.Model(x, y)).problems
    assert problem.startswith("layers 'a', 'b' (Lambda): ")


def test_a_call_has_a_mapping_where_there_is_no_problem():
    plan = k2t.plan(convnet())
    assert [planned.mapped is planned.mapping for planned in plan.root.nodes] == [True, True, True]
    x = keras.Input((4,))
    plan = k2t.plan(keras.Model(x, layers.Lambda(lambda t: tf.math.special.dawsn(t), name="odd")(x)))
    with pytest.raises(AssertionError, match="Python code of its own"):
        _ = plan.root.nodes[0].mapped


def nested():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="within")], name="inner")
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.Dense(2, name="head")(inner(inner(x))))


def test_calls_are_walked_with_their_scope_and_their_prefix():
    plan = k2t.plan(nested())
    walked = [(scope, prefix, planned.node.layer.name) for scope, prefix, _, planned in plan.root.walk()]
    assert walked == [
        ("", "", "inner"),
        ("inner/", "inner.", "within"),
        ("", "", "inner"),
        ("inner#2/", "inner.", "within"),
        ("", "", "head"),
    ]
    assert [scope.class_name for scope in plan.root.scopes()] == ["Inner", plan.root.class_name]


def test_a_nested_model_that_is_called_twice_has_its_rows_once():
    found = rows(k2t.plan(nested()))
    assert [row.layer for row in found] == ["x", "inner", "inner/within", "inner", "head"]
    assert [weight.key for weight in found[2].weights] == ["inner.within.weight", "inner.within.bias"]


def test_a_row_for_what_is_cut_off():
    x = keras.Input((1,), dtype="string", name="x")
    y = layers.Embedding(5, 3, name="embed")(layers.StringLookup(vocabulary=["a"], name="lookup")(x))
    first, second, *_ = rows(k2t.plan(keras.Model(x, y), [Override("lookup", "cut", None)]))
    assert (first.layer, first.status) == ("lookup", "cut off") and "data pipeline" in first.why
    assert second.type == "InputLayer" and second.layer == "lookup"


def test_the_way_of_a_weight():
    weights = {weight.key: weight for weight in k2t.plan(convnet()).weights}
    assert weight_text(weights["conv.bias"]) == "bias (4,) → as it is → conv.bias (4,)"
    assert weight_text(weights["conv.weight"]).startswith("kernel (3, 3, 3, 4) → permute(3, 2, 0, 1) → ")


def test_the_row_to_see_first():
    assert of_interest(k2t.plan(convnet())) == "flatten", "it is ambiguous"
    x = keras.Input((4,))
    assert of_interest(k2t.plan(keras.Model(x, layers.Dense(2, name="head")(x)))) == "head", "it has weights"
    y = layers.Lambda(lambda t: tf.math.special.dawsn(t), name="odd")(layers.Dense(2)(x))
    assert of_interest(k2t.plan(keras.Model(x, y))) == "odd"
    assert of_interest(k2t.plan(keras.Model(x, layers.ReLU()(x)))) is None
