"""The framework-free picture of a model: layers and variables, calls and tensors, what leads to an output."""

import pytest

from k2t_core.graph import Graph, Layer, Node, Ref, Tensor, Variable, policy_name, refs


def variable(name, path=""):
    return Variable(path or f"model/{name}", name, (2,), "float32")


def layer(name, *variables, **more):
    return Layer(name, name, "Dense", {}, tuple(variable(v) for v in variables), **more)


def node(name, inputs, outputs, of=None):
    return Node(name, of or layer(name), {"x": [Ref(t) for t in inputs]}, outputs)


def graph(*nodes, inputs=("x",), outputs=("y",), names=()):
    tensors = {t: Tensor(t, (None, 2), "float32") for n in nodes for t in (*n.inputs, *n.outputs)}
    return Graph("model", inputs, outputs, nodes, tensors, inputs, names)


# --- arguments -------------------------------------------------------------------------------------------------


def test_refs_lie_in_any_nest_and_come_in_order():
    nest = {"a": [Ref("1"), 2, (Ref("2"), {"b": Ref("1")})], "c": slice(Ref("3"), None, Ref("4")), "d": "Ref"}
    assert [ref.tensor for ref in refs(nest)] == ["1", "2", "1", "3", "4"]


def test_inputs_of_a_call_keep_repeats():
    assert node("add", ["x", "x", "z"], ("y",)).inputs == ("x", "x", "z")


# --- layers ----------------------------------------------------------------------------------------------------


def test_a_wrapper_has_the_variables_of_what_it_wraps():
    wrapper = layer("outer", "own", children={"forward": layer("in", "cell/kernel"), "backward": layer("in", "bias")})
    assert [v.name for v in wrapper.all_variables()] == ["own", "forward/cell/kernel", "backward/bias"]


def test_a_nested_model_has_the_variables_of_its_layers_once():
    shared = layer("dense", "kernel")
    inner = graph(node("1", ["x"], ("z",), shared), node("2", ["z"], ("y",), shared))
    assert [v.name for v in layer("model", graph=inner).all_variables()] == ["dense/kernel"]


@pytest.mark.parametrize(
    "name, found",
    [("kernel", "kernel"), ("cell/kernel", "cell/kernel"), ("bias", "cell/bias"), ("gamma", None), ("twice", None)],
)
def test_a_variable_is_found_by_its_name_or_its_end(name, found):
    """The whole name comes first; an end that several names have finds none."""
    variables = layer("lstm", "kernel", "cell/kernel", "cell/bias", "a/twice", "b/twice")
    assert getattr(variables.variable(name), "name", None) == found


@pytest.mark.parametrize(
    "policy, name",
    [
        ("mixed_float16", "mixed_float16"),
        ({"class_name": "DTypePolicy", "config": {"name": "bfloat16"}}, "bfloat16"),
    ],
)
def test_the_name_of_a_policy(policy, name):
    assert policy_name(policy) == name
    assert Layer("a", "a", "Dense", {"dtype": policy}).policy == name


# --- graphs ----------------------------------------------------------------------------------------------------


def test_layers_are_distinct_and_in_the_order_of_their_first_call():
    first, second = layer("first"), layer("second")
    calls = [node("1", ["x"], ("a",), first), node("2", ["a"], ("b",), second), node("3", ["b"], ("y",), first)]
    assert graph(*calls).layers() == [first, second]


def test_a_consumer_counts_once_however_often_it_takes_a_tensor():
    double, other = node("double", ["x", "x"], ("a",)), node("other", ["x", "a"], ("y",))
    assert graph(double, other).consumers() == {"x": [double, other], "a": [other], "y": []}


def test_pruning_keeps_what_leads_to_the_first_outputs():
    """A node with several outputs stays for one of them; the inputs stay, all of them."""
    a, b, c = node("a", ["x"], ("s", "t")), node("b", ["s"], ("y",)), node("c", ["t", "w"], ("z",))
    pruned = graph(a, b, c, inputs=("x", "w"), outputs=("y", "z"), names=("first", "second")).pruned(1)
    assert pruned.nodes == (a, b)
    assert (pruned.outputs, pruned.output_names) == (("y",), ("first",))
    assert set(pruned.tensors) == {"x", "w", "s", "t", "y"}


def test_a_walk_enters_nested_models_behind_their_call():
    inner = graph(node("deep", ["x"], ("y",)))
    outer = graph(node("before", ["x"], ("a",)), node("model", ["a"], ("y",), layer("model", graph=inner)))
    assert [(scope, n.id) for scope, _, n in outer.walk()] == [("", "before"), ("", "model"), ("model/", "deep")]
    assert [g for _, g, _ in outer.walk()] == [outer, outer, inner]
