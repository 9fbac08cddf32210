"""What a rule left unread or forgot is refused by name; a module computes in its layer's dtype."""

from __future__ import annotations

from dataclasses import replace

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.errors import UnsupportedError
from k2t_core.rules import registry
from k2t_core.rules.registry import Mapping, Module, Weight
from tests.harness import check


def refusal(layer, shape=(4,), **call) -> str:
    x = keras.Input(shape)
    (problem,) = k2t.plan(keras.Model(x, layer(x, **call))).problems
    return problem


@pytest.fixture
def ruled(monkeypatch):
    """``ruled(kind, function)``: while the test runs, the rule of a kind is this function."""

    def put(kind, function):
        monkeypatch.setitem(registry.registered, kind, replace(registry.registered[kind], function=function))

    return put


def test_an_option_that_the_rule_did_not_read_is_refused_by_name(ruled):
    ruled("ReLU", lambda call: Mapping(f"F.relu({call.x})"))
    found = refusal(layers.ReLU(max_value=6.0, name="relu"))
    assert "'relu'" in found and "its option" in found and "max_value" in found and "not known to k2t" in found


def test_an_argument_of_the_call_that_the_rule_did_not_read_is_refused(ruled):
    def deaf(call):
        return Mapping(f"F.softmax({call.x}, dim={call.option('axis')})")

    ruled("Softmax", deaf)
    x, mask = keras.Input((4,)), keras.Input((4,), dtype="bool")
    (problem,) = k2t.plan(keras.Model([x, mask], layers.Softmax()(x, mask=mask))).problems
    assert "its option mask (in the call) is not known to k2t" in problem


def test_a_weight_that_the_rule_forgot_is_refused_by_name(ruled):
    def forgetful(call):
        for name in call.layer.config:
            call.option(name)
        module = Module("nn.Linear", {"in_features": 4, "out_features": 2}, 2)
        return Mapping(f"{registry.SELF}({call.x})", module, (Weight("weight", "kernel"),))

    ruled("Dense", forgetful)
    assert "its variables dense/bias have no place in the PyTorch module" in refusal(layers.Dense(2, name="dense"))


def test_a_lora_update_is_refused_with_what_to_do():
    layer = layers.Dense(3, name="dense")
    layer.build((None, 4))
    layer.enable_lora(2)
    assert "LoRA" in refusal(layer) and "save and load the model in Keras" in refusal(layer)


def test_a_quantised_policy_is_refused():
    layer = layers.Dense(4, name="dense")
    layer.build((None, 4))
    layer.quantize("int8")
    with pytest.raises(UnsupportedError, match="'dense'"):
        x = keras.Input((4,))
        k2t.plan(keras.Model(x, layer(x))).raise_for_problems()


def test_a_layer_without_a_rule_says_what_can_be_done():
    odd = type("Odd", (layers.Layer,), {"call": lambda self, x: __import__("tensorflow").math.special.dawsn(x)})
    found = refusal(odd(name="odd"))
    assert "no rule for this layer class" in found and "snippet" in found and "--rules FILE" in found
    assert "k2t could not open it" in found


@pytest.mark.parametrize(
    "policy, tolerance", [("mixed_float16", 5e-3), ("bfloat16", 4e-2), ("mixed_bfloat16", 4e-2), ("float64", 1e-12)]
)
def test_dtype_policies(policy, tolerance):
    x = keras.Input((4, 4, 3))
    y = layers.Conv2D(4, 3, dtype=policy)(x)
    y = layers.Dense(5, dtype=policy, name="head")(layers.Flatten(dtype=policy)(y))
    conversion, module = check(keras.Model(x, y), tolerance=tolerance)
    assert str(module.head.weight.dtype) == "torch." + policy.removeprefix("mixed_")


def test_a_rule_that_sets_the_dtype_is_left_alone():
    x = keras.Input((5, 4))
    plan = k2t.plan(keras.Model(x, layers.LayerNormalization(dtype="mixed_float16")(x)))
    modules = [planned.mapped.module for planned in plan.root.nodes if planned.mapped.module is not None]
    assert {module.dtype for module in modules} == {"float32"}
