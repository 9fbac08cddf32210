"""Keras run node by node gives what Keras gives, and leaves its layers as they were."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side import running
from k2t_core.keras_side.batches import random_batch
from k2t_core.keras_side.internals import patched
from k2t_core.keras_side.randomise import randomise
from k2t_core.keras_side.reading import read


def tokens_model():
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    inside = keras.Input((6,), dtype="int32", name="inside")
    y = layers.Embedding(9, 4, mask_zero=True, name="embedding")(inside)
    encoder = keras.Model(inside, layers.LSTM(3, return_sequences=True, name="lstm")(y), name="encoder")
    y = layers.GRU(4, name="gru")(encoder(tokens))
    model = keras.Model(tokens, {"class": layers.Dense(3, activation="softmax", name="dense")(y), "state": y})
    randomise(model)
    return model


@pytest.fixture(scope="module")
def traced():
    return read(tokens_model())


@pytest.fixture(scope="module")
def arrays(traced):
    return random_batch(traced.graph, 3, seed=1)


def nodes(traced):
    return {scope + node.id: (scope, node) for scope, _, node in traced.graph.walk()}


def test_outputs_are_those_of_the_model(traced, arrays):
    found = traced.source.model(arrays[0], training=False)
    for run in (running.predict, running.streamed):
        for got, want in zip(run(traced, arrays), (found["class"], found["state"])):
            assert np.array_equal(got, np.asarray(want))


def test_every_tensor_is_known_by_its_name(traced, arrays):
    record = running.tensors(traced, arrays)
    assert {"gru", "dense", "encoder:0", "encoder/embedding", "encoder/lstm"} <= set(record)
    assert np.array_equal(record["encoder:0"], record["encoder/lstm"])
    assert set(running.tensors(traced, arrays, {"gru"})) == {"gru"}


def test_a_call_alone_on_what_it_is_given_computes_the_same(traced, arrays):
    record = running.tensors(traced, arrays)
    for name in ("encoder/lstm", "gru", "dense"):
        scope, node = nodes(traced)[name]
        values = running.arguments(traced, scope, node, arrays, record)
        (found,) = running.call(traced, scope, node, values)
        assert np.allclose(found, record[name], atol=1e-6)


def test_a_mask_is_computed_where_it_is_not_recorded(traced, arrays):
    scope, node = nodes(traced)["encoder/lstm"]
    mask = running.value(traced, scope, node.arguments["mask"].tensor, arrays, {})
    assert np.array_equal(mask, arrays[0] != 0)


def test_a_mask_that_leaves_a_nested_model_is_computed_inside(traced, arrays):
    scope, node = nodes(traced)["gru"]
    mask = running.value(traced, scope, node.arguments["mask"].tensor, arrays, {})
    assert np.array_equal(mask, arrays[0] != 0)


def test_the_inputs_of_a_nested_graph_are_tensors_of_the_one_around_it(traced):
    inner = nodes(traced)["encoder"][1].layer.graph
    assert running.source(traced.graph, "encoder/", inner.inputs[0]) == ("", "tokens")
    assert running.source(traced.graph, "encoder/", "lstm") == ("encoder/", "lstm")


def test_before_its_activation(traced, arrays):
    scope, node = nodes(traced)["dense"]
    values = running.arguments(traced, scope, node, arrays, running.tensors(traced, arrays))
    dense = running.live(traced, scope, node)
    before = vars(dense)["activation"]
    logits = running.before_activation(traced, scope, node, values)
    assert np.allclose(logits, values["gru"] @ np.asarray(dense.kernel) + np.asarray(dense.bias), atol=1e-5)
    assert vars(dense)["activation"] is before
    scope, node = nodes(traced)["encoder/embedding"]
    assert running.before_activation(traced, scope, node, {}) is None


def test_in_float64(traced, arrays):
    scope, node = nodes(traced)["dense"]
    values = running.arguments(traced, scope, node, arrays, running.tensors(traced, arrays))
    (exact,) = running.in_float64(traced, scope, node, values)
    assert exact.dtype == np.float64
    assert np.allclose(exact, running.call(traced, scope, node, values)[0], atol=1e-6)
    whole = running.outputs_in_float64(traced, arrays)
    assert [y.dtype for y in whole] == [np.float64, np.float64]
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(whole, running.predict(traced, arrays)))


def test_a_copy_in_float64_takes_the_statistics_of_what_it_wraps():
    norm = layers.Normalization(mean=None)
    norm.adapt(np.random.default_rng(0).normal(30, 2, (100, 3)))
    steps = keras.Input((5, 3), name="steps")
    traced = read(keras.Model(steps, layers.TimeDistributed(norm)(steps)))
    batch = random_batch(traced.graph)
    assert np.allclose(running.outputs_in_float64(traced, batch)[0], running.predict(traced, batch)[0], atol=1e-5)


def test_a_layer_that_does_not_rebuild_says_so(traced):
    scope, node = nodes(traced)["gru"]
    layer = running.live(traced, scope, node)
    with patched(layer, get_config=lambda: {"units": "many"}):
        with pytest.raises(k2t.K2TError, match="layer 'gru': Keras cannot rebuild it in float64"):
            running.in_float64(traced, scope, node, {})


def test_gradients_are_those_of_a_tape():
    import tensorflow as tf

    x, ids = keras.Input((3,), name="x"), keras.Input((), dtype="int32", name="ids")
    y = layers.Dense(2, name="dense")(x) * layers.Embedding(4, 2, name="table")(ids)
    traced = read(keras.Model([x, ids], y))
    randomise(traced.source.model)
    arrays = [np.ones((5, 3), "float32"), np.array([0, 1, 2, 3, 0], "int32")]
    by_input, by_variable = running.gradients(traced, arrays, {0: np.ones((5, 2), "float32")})
    assert by_input[1] is None and set(by_variable) == {"dense/kernel", "dense/bias", "table/embeddings"}
    with tf.GradientTape() as tape:
        given = tf.convert_to_tensor(arrays[0])
        tape.watch(given)
        total = tf.reduce_sum(traced.source.model([given, tf.convert_to_tensor(arrays[1])]))
    assert np.allclose(by_input[0], tape.gradient(total, given), atol=1e-6)


def test_what_the_model_refuses_is_an_input_error(traced):
    with pytest.raises(k2t.InputError, match="Keras itself refuses this batch"):
        running.predict(traced, [np.full((2, 6), 99, "int32")])
