"""Overrides: what they make of a mapping, and what is impossible refused with the reason."""

from __future__ import annotations

import keras
import pytest
import torch
from keras import layers

import k2t_core as k2t
from k2t_core.emit.module import load_module
from k2t_core.errors import OverrideError
from k2t_core.planning.overrides import APPLIED, parse_axes, permutable, permutation_of, permuted_shape
from k2t_core.recipe import KINDS, Override
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


def of_one_layer(layer, shape):
    return keras.Sequential([keras.Input(shape), layer])


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


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (("weights", {"running_mean": "nothing"}), "no variable 'nothing'"),
        (("weights", {"nothing": "gamma"}), "no weight 'nothing'"),
        (("weights", {"running_mean": "moving_variance"}), "layer/moving_mean would be lost"),
        (("gates", [0, 1]), "has no gates"),
        (("arguments", ["eps"]), "cannot be"),
        (("permutation", {"key": "weight", "axes": None}), "cannot be"),
        (("permutation", 7), "cannot be"),
        (("weights", 7), "cannot be"),
        (("gates", ["i", "f"]), "cannot be"),
        (("snippet", None), "cannot be"),
        (("alternative", 7), "cannot be"),
    ],
)
def test_an_impossible_override_is_refused_with_the_reason(override, words):
    model = of_one_layer(layers.BatchNormalization(name="layer"), (9, 9, 3))
    with pytest.raises(k2t.OverrideError, match=words):
        k2t.plan(model, k2t.Recipe().with_override(k2t.Override("layer", *override)))


def test_gates_in_an_order_that_is_none():
    model = of_one_layer(layers.LSTM(4, name="layer"), (5, 3))
    with pytest.raises(k2t.OverrideError, match="no order of 4"):
        k2t.plan(model, k2t.Recipe().with_override(k2t.Override("layer", "gates", [0, 1, 2, 2])))


def test_an_argument_that_a_module_does_not_take_writes_nothing(tmp_path):
    model = of_one_layer(layers.Dense(4, name="layer"), (3,))
    with pytest.raises(k2t.K2TError, match="cannot be built: TypeError"):
        k2t.convert(
            model,
            tmp_path / "out",
            k2t.Recipe().with_override(k2t.Override("layer", "arguments", {"in_features": "x"})),
        )
    assert not (tmp_path / "out").exists()


def test_permutations_of_a_weight(example):
    weights = permutable(k2t.plan(example("square")), "square1")
    assert list(weights) == ["weight", "bias"]
    assert permutation_of(weights["weight"]) == ((16, 16), (1, 0))
    assert permutation_of(weights["bias"]) == ((16,), (0,))
    assert permuted_shape((2, 3, 4), (2, 0, 1)) == (4, 2, 3)
    assert parse_axes("(3, 2 0;1)") == (3, 2, 0, 1)
    for wrong in ("", "a, b", "1.5", "-1"):
        with pytest.raises(OverrideError):
            parse_axes(wrong)
    with pytest.raises(OverrideError, match="not a permutation"):
        permuted_shape((2, 3), (0, 0))


def test_every_kind_of_override_is_one_of_the_recipes():
    assert set(APPLIED) < set(KINDS)
    assert set(KINDS) - set(APPLIED) == {"alternative", "snippet", "cut"}, "these act before there is a mapping"


def test_an_argument_of_a_module_and_one_of_a_function():
    x = keras.Input((4, 4, 3))
    y = layers.Softmax(name="softmax")(layers.BatchNormalization(name="norm")(x))
    overrides = [Override("norm", "arguments", {"eps": 0.5}), Override("softmax", "arguments", {"dim": 3})]
    plan = k2t.plan(keras.Model(x, y), overrides)
    norm, softmax = (planned.mapped for planned in plan.root.nodes)
    assert norm.module is not None and norm.module.args["eps"] == 0.5
    assert softmax.module is None and softmax.forward.endswith(", dim=3)")


def test_an_argument_of_a_function_may_be_given_the_value_it_has():
    """It is not taken for one of the module beside the function."""
    layer = layers.Dense(5, activation="leaky_relu", name="layer")
    model = of_one_layer(layer, (6,))
    check(model, recipe=[Override("layer", "arguments", {"negative_slope": 0.2})])


def test_weights_may_be_fed_by_other_variables():
    model = of_one_layer(layers.BatchNormalization(name="layer"), (6, 3))
    swapped = Override("layer", "weights", {"weight": "beta", "bias": "gamma"})
    weights = k2t.plan(model, [swapped]).weights
    sources = {weight.key: weight.source.rsplit("/", 1)[-1] for weight in weights if weight.source}
    assert sources["layer.weight"] == "beta" and sources["layer.bias"] == "gamma"
    assert sources["layer.running_mean"] == "moving_mean"


def test_gates_in_another_order_are_one_more_step_of_each_weight():
    model = of_one_layer(layers.GRU(4, name="layer"), (5, 3))
    plain, turned = (k2t.plan(model, o).weights for o in ([], [Override("layer", "gates", [1, 0, 2])]))
    assert len(plain) == len(turned)
    for before, after in zip(plain, turned):
        assert after.steps[: len(before.steps)] == before.steps
        assert len(after.steps) == len(before.steps) + (before.source is not None)


def test_an_argument_may_be_infinite(tmp_path):
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.ELU(0.5, name="elu")(x))
    k2t.convert(model, tmp_path, [Override("elu", "arguments", {"alpha": float("inf")})])
    module = load_module(tmp_path)
    assert "math.inf" in (tmp_path / "model.py").read_text()
    assert module(torch.tensor([[-1.0, 1.0, -2.0, 2.0]])).tolist() == [[-float("inf"), 1.0, -float("inf"), 2.0]]
