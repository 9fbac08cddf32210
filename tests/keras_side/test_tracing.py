"""Tracing: the graph says what Keras runs, masks included, and the model is left as it was."""

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.graph import Ref
from k2t_core.keras_side import running
from k2t_core.keras_side.tracing import trace
from tests.harness import check


def graph_of(model):
    return trace(k2t.load(model)).graph


def node(graph, name):
    return next(n for n in graph.nodes if n.id == name)


def test_a_shared_layer_is_one_layer_and_two_nodes():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    dense = layers.Dense(3, name="dense")
    graph = graph_of(keras.Model([a, b], dense(a) + dense(b)))
    calls = [n for n in graph.nodes if n.layer.name == "dense"]
    assert [n.id for n in calls] == ["dense", "dense#2"] and calls[0].layer is calls[1].layer
    assert graph.input_names == ("a", "b")


def test_the_model_is_left_as_it_was():
    x = keras.Input((5,), dtype="int32")
    embedding = layers.Embedding(9, 4, mask_zero=True)
    model = keras.Model(x, layers.LSTM(3)(embedding(x)))
    before = [(len(op._inbound_nodes), len(op._outbound_nodes)) for op in model.operations]
    attributes = [set(vars(op)) for op in model.operations]
    trace(k2t.load(model))
    assert before == [(len(op._inbound_nodes), len(op._outbound_nodes)) for op in model.operations]
    assert attributes == [set(vars(op)) for op in model.operations]
    assert embedding.output.shape == (None, 5, 4)  # raises where a layer has several calls


def test_masks_arrive_as_arguments():
    x = keras.Input((5,), dtype="int32", name="tokens")
    y = layers.Embedding(9, 4, mask_zero=True)(x)
    y = layers.LSTM(3, return_sequences=True, name="first")(y)
    graph = graph_of(keras.Model(x, layers.LSTM(3, name="second")(layers.Dropout(0.1)(y))))
    mask = node(graph, "first").arguments["mask"]
    assert isinstance(mask, Ref) and node(graph, "second").arguments["mask"] == mask
    assert graph.tensors[mask.tensor].dtype == "bool"
    producer = next(n for n in graph.nodes if mask.tensor in n.outputs)
    assert producer.layer.kind == "ops.NotEqual"


def test_attention_takes_the_mask_off_its_inputs():
    """What MultiHeadAttention.call does to its query is seen by layers called after it, as in Keras."""
    x = keras.Input((5,), dtype="int32")
    y = layers.Embedding(9, 4, mask_zero=True)(x)
    graph = graph_of(keras.Model(x, layers.MultiHeadAttention(2, 3, name="attention")(y, y)))
    assert isinstance(node(graph, "attention").arguments["query_mask"], Ref)


def test_masks_cross_the_border_of_a_nested_model():
    tokens = keras.Input((5,), dtype="int32")
    encoder = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(9, 4, mask_zero=True)], name="encoder"
    )
    reader = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3, name="inner")], name="reader")
    traced = trace(k2t.load(keras.Model(tokens, reader(encoder(tokens)))))
    outer = traced.graph
    inner = node(outer, "reader").layer.graph
    assert len(node(outer, "encoder").outputs) == 2 and len(node(outer, "reader").inputs) == 2
    assert "mask" in node(inner, "inner").arguments


def test_a_mask_that_nobody_reads_leaves_no_trace():
    tokens = keras.Input((5,), dtype="int32")
    encoder = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(9, 4, mask_zero=True)], name="encoder"
    )
    graph = graph_of(keras.Model(tokens, layers.Dense(2)(encoder(tokens))))
    assert [n.layer.kind for n in node(graph, "encoder").layer.graph.nodes] == ["Embedding"]


def test_reference_tensors_end_in_the_model_s_own_outputs():
    tokens = keras.Input((5,), dtype="int32")
    encoder = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(9, 4, mask_zero=True)], name="encoder"
    )
    lstm = layers.LSTM(3, return_sequences=True)
    y = encoder(tokens)
    model = keras.Model(tokens, [layers.Dense(2)(lstm(y)), layers.GlobalAveragePooling1D()(lstm(y))])
    traced = trace(k2t.load(model))
    arrays = [np.array([[1, 2, 0, 3, 0], [0, 0, 0, 0, 0]], "int32")]
    record = running.tensors(traced, arrays)
    for tensor, expected in zip(traced.graph.outputs, running.predict(traced, arrays)):
        np.testing.assert_allclose(record[tensor], expected, rtol=1e-6, atol=1e-7)
    assert "encoder/embedding" in "".join(record) or any(key.startswith("encoder/") for key in record)


def test_tracing_twice_gives_the_same_graph():
    x = keras.Input((5,), dtype="int32")
    y = layers.Embedding(9, 4, mask_zero=True)(x)
    model = keras.Model(x, layers.Bidirectional(layers.LSTM(3))(y))
    first, second = graph_of(model), graph_of(model)
    assert [n.id for n in first.nodes] == [n.id for n in second.nodes] and first.outputs == second.outputs


def test_a_subclassed_model_of_unknown_input_is_refused_with_the_way_out():
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    with pytest.raises(k2t.UnsupportedError, match="call it once.*functional API"):
        trace(k2t.load(Mine()))


def test_a_layer_in_two_scopes_is_refused_by_name():
    x = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    inner = keras.Sequential([keras.Input((4,)), shared], name="inner")
    with pytest.raises(k2t.UnsupportedError, match="'shared'"):
        trace(k2t.load(keras.Model(x, inner(shared(x)))))


def test_training_true_as_a_layers_own_default_is_dropped():
    x = keras.Input((8, 8, 3))
    assert not k2t.plan(keras.Model(x, layers.RandomFlip()(x))).problems


def test_training_true_is_refused():
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dropout(0.5, name="always_on")(x, training=True))
    assert any("always_on" in problem for problem in k2t.plan(model).problems)


def test_a_variable_without_a_name_is_called_alike_in_every_process(tmp_path):
    @keras.saving.register_keras_serializable("tracing")
    class Scale(layers.Layer):
        def build(self, shape):
            self.a, self.b = self.add_weight(shape=(shape[-1],)), self.add_weight(shape=(1,))

        def call(self, x):
            return x * self.a + self.b

    model = keras.Sequential([keras.Input((4,)), Scale(name="one"), Scale(name="two")])
    model.save(tmp_path / "m.keras")
    found = [trace(k2t.load(keras.saving.load_model(tmp_path / "m.keras"))).variables for _ in range(2)]
    assert list(found[0]) == list(found[1]) == ["one/variable", "one/variable_1", "two/variable", "two/variable_1"]
    keras.saving.get_custom_objects().pop("tracing>Scale")


@pytest.mark.parametrize("shapes", [((), (1,)), ((5, 1), (5,))])
def test_a_nested_model_is_given_the_axis_that_its_input_has(shapes):
    """Keras adds an axis of one entry, or takes it away (functional.py, _adjust_input_rank)."""
    given, taken = shapes
    inner_input = keras.Input(taken)
    inner = keras.Model(inner_input, layers.Dense(3)(inner_input), name="inner")
    x = keras.Input(given)
    check(keras.Model(x, inner(x)))
