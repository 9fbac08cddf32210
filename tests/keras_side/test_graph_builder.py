"""The graph of a run: its order, its names, and what is left out."""

import keras
from keras import layers

from k2t_core.keras_side.reading import read


def graph_of(inputs, outputs):
    return read(keras.Model(inputs, outputs)).graph


def test_nodes_come_branch_by_branch():
    x = keras.Input((4,), name="in")
    left = layers.Dense(3, name="left1")(x)
    right = layers.Dense(3, name="right1")(x)
    left = layers.Dense(3, name="left2")(left)
    right = layers.Dense(3, name="right2")(right)
    graph = graph_of(x, layers.Concatenate(name="join")([right, left]))
    assert [node.id for node in graph.nodes] == ["right1", "right2", "left1", "left2", "join"]


def test_outputs_of_one_call_are_numbered():
    x = keras.Input((5, 3), name="in")
    y, state = layers.GRU(2, return_state=True, name="gru")(x)
    graph = graph_of(x, [y, state])
    assert graph.nodes[0].outputs == graph.outputs == ("gru:0", "gru:1")


def test_what_a_mask_makes_is_told_apart():
    x = keras.Input((5,), dtype="int32", name="in")
    read = [layers.LSTM(3)(layers.Embedding(9, 4, mask_zero=True)(x)) for _ in range(2)]
    graph = graph_of(x, read)
    assert [n.id for n in graph.nodes if n.layer.kind == "ops.NotEqual"] == ["not_equal", "not_equal_1"]


def test_a_name_that_keras_has_for_two_outputs_names_neither():
    x = keras.Input((4,), name="in")
    dense = layers.Dense(4, name="dense")
    graph = graph_of(x, [dense(x), dense(dense(x)), layers.Dense(2, name="last")(x)])
    assert graph.output_names == (*graph.outputs[:2], "last")


def test_sparse_inputs_are_said_to_be():
    x = keras.Input((4,), sparse=True, name="in")
    graph = graph_of(x, layers.Dense(2)(x))
    assert graph.tensors["in"].form == "sparse"


def test_a_mask_that_leaves_a_nested_model_is_an_output_only_where_it_is_read():
    def nested(last):
        tokens = keras.Input((5,), dtype="int32", name="tokens")
        inside = keras.Input((5,), dtype="int32")
        encoder = keras.Model(inside, layers.Embedding(9, 4, mask_zero=True)(inside), name="encoder")
        graph = graph_of(tokens, last(encoder(tokens)))
        return next(node for node in graph.nodes if node.id == "encoder").layer.graph

    assert len(nested(layers.LSTM(3)).outputs) == 2
    unread = nested(layers.Conv1D(3, 2))
    assert len(unread.outputs) == 1 and [node.layer.kind for node in unread.nodes] == ["Embedding"]
