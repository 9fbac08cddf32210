"""What the rules for keras.ops read of a call: its name, its dtype, its axes and its plain numbers."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

import k2t_core as k2t
from k2t_core.layout import channels_first, identity
from k2t_core.rules import registry
from k2t_core.rules.ops_common import axes_of, name_of, option_literal, result_dtype, torch_axes
from k2t_core.rules.ops_common import ops as ops_rule
from k2t_core.rules.registry import Call, Mapping, Unconvertible
from tests.rules.operations import model_of


def call_of(function, *shapes, dtype="float32") -> Call:
    """The last call of a model of operations, as its rule sees it."""
    graph = k2t.trace(k2t.load(model_of(function, *shapes, dtype=dtype))).graph
    node = graph.nodes[-1]
    return Call(node, graph, [identity(len(graph.tensors[t].shape)) for t in node.inputs])


def test_the_name_and_the_dtype_of_what_comes_out():
    call = call_of(lambda x: ops.argmax(x, axis=1), (3, 4))
    assert name_of(call) == "Argmax" and result_dtype(call) == "int32"


@pytest.mark.parametrize(
    ("axis", "axes"), [(None, [0, 1, 2]), (1, [1]), (-1, [2]), ((2, 0), [0, 2]), ([-1, 1], [1, 2])]
)
def test_axes_are_counted_from_the_front_and_in_order(axis, axes):
    call = call_of(lambda x: ops.sum(x, axis=axis), (3, 4))
    assert axes_of(call, 3) == axes
    assert "axis" not in call.unread(), "reading it marks it as understood"


def test_no_axes_at_all_are_refused():
    call = call_of(lambda x: ops.sum(x, axis=1), (3, 4))
    call.layer.config["axis"] = ()
    with pytest.raises(Unconvertible, match="its axis is empty"):
        axes_of(call, 3)


def test_axes_go_where_torch_has_them():
    image = channels_first(4)
    assert torch_axes(identity(4), [1, 2]) == "(1, 2)" and torch_axes(image, [1, 2]) == "(2, 3)"
    assert torch_axes(image, [3]) == "1" and torch_axes(image, [3, 0]) == "(0, 1)"


@pytest.mark.parametrize(
    ("value", "text"),
    [(2, "2"), (0.5, "0.5"), (True, "True"), (np.float64(0.25), "0.25"), (np.array([3]), "3"), (-np.inf, "-math.inf")],
)
def test_a_number_among_the_options(value, text):
    assert option_literal(call_of(lambda x: ops.relu(x), (3,)), value, "slope") == text


@pytest.mark.parametrize("value", [None, "a", np.ones(2), [1.0]])
def test_what_is_no_single_number_is_refused(value):
    with pytest.raises(Unconvertible, match="its slope is a .*a single number"):
        option_literal(call_of(lambda x: ops.relu(x), (3,)), value, "slope")


def test_a_rule_for_operations_stands_under_their_kinds(monkeypatch):
    monkeypatch.setattr(registry, "registered", dict(registry.registered))
    ops_rule("OfThisTest", "OfThatTest")(lambda call: Mapping(str(call.x)))
    found = registry.find("ops.OfThisTest")
    assert found is not None and found == registry.find("ops.OfThatTest") and registry.find("OfThisTest") is None
