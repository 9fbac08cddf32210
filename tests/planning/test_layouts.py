"""Each tensor has the order of axes that most of its readers want, so that networks of images need no permute."""

from __future__ import annotations

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.graph import Graph
from k2t_core.layout import channels_first, identity
from k2t_core.planning.layouts import absorbs_flat, demands, layout_of
from k2t_core.rules.registry import FIRST, LAST
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


def graph_of(inputs, outputs) -> Graph:
    return k2t.trace(k2t.load(keras.Model(inputs, outputs))).graph


def wishes(graph: Graph) -> dict[str, str | None]:
    """Input or layer → the wish for what it gives."""
    found = demands(graph)
    named = {name: tensor for name, tensor in zip(graph.input_names, graph.inputs)}
    named |= {node.layer.name: node.outputs[0] for node in graph.nodes}
    return {name: found[tensor] for name, tensor in named.items()}


def test_a_wish_travels_against_the_data_through_what_takes_any_order():
    x = keras.Input((6, 6, 3), name="image")
    y = layers.ReLU(name="relu")(layers.Dropout(0.1, name="drop")(x))
    y = layers.Conv2D(4, 3, name="conv")(y)
    found = wishes(graph_of(x, layers.Softmax(name="softmax")(y)))
    assert found["image"] == found["drop"] == found["relu"] == FIRST
    assert found["softmax"] is None, "nobody reads it"


@pytest.mark.parametrize(("images", "sequences", "wish"), [(2, 1, FIRST), (1, 1, FIRST), (1, 2, LAST)])
def test_the_majority_has_its_wish(images, sequences, wish):
    x = keras.Input((6, 6), name="x")
    outputs = [layers.Conv1D(2, 3)(x) for _ in range(images)] + [layers.LSTM(2)(x) for _ in range(sequences)]
    assert wishes(graph_of(x, outputs))["x"] == wish


def test_a_nested_model_wants_what_the_layers_in_it_want():
    inner = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(2, 3)], name="inner")
    x = keras.Input((6, 6, 3), name="x")
    assert wishes(graph_of(x, inner(x)))["x"] == FIRST


def test_the_layout_of_a_wish():
    assert layout_of(None, 4) is None
    assert layout_of(FIRST, 4) == channels_first(4) and layout_of(LAST, 4) == identity(4)
    assert layout_of(FIRST, 2) == identity(2), "without axes between the batch and the channels there is one order"


def absorbed(build, *shapes) -> bool:
    """Whether what reads the Flatten takes it in torch's order."""
    inputs = [keras.Input(shape) for shape in shapes]
    graph = graph_of(inputs, build(*inputs))
    consumers = {t: [node for node in graph.nodes if t in node.inputs] for t in graph.tensors}
    (flat,) = (node.outputs[0] for node in graph.nodes if node.layer.kind == "Flatten")
    return absorbs_flat(flat, graph, consumers)


FLATTENED = {
    "Dense": (lambda x: layers.Dense(2)(layers.Flatten()(x)), True),
    "Dense behind what passes it on": (lambda x: layers.Dense(2)(layers.ReLU()(layers.Flatten()(x))), True),
    "an output": (lambda x: layers.Flatten()(x), False),
    "an output behind what passes it on": (lambda x: layers.ReLU()(layers.Flatten()(x)), False),
    "an order that is seen": (lambda x: layers.Dense(2)(layers.Reshape((9, 4))(layers.Flatten()(x))), False),
}


@pytest.mark.parametrize("readers", FLATTENED)
def test_who_takes_a_flattened_image_in_torchs_order(readers):
    build, want = FLATTENED[readers]
    assert absorbed(build, (3, 3, 4)) == want


def test_a_dense_that_is_called_twice_takes_none():
    def build(x, v):
        shared = layers.Dense(2)
        return [shared(layers.Flatten()(x)), shared(v)]

    assert not absorbed(build, (3, 3, 4), (36,))


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
