"""A recorded graph on symbolic tensors: pieces where they cover it, operations where they do not, lines in refusals."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf
from keras import layers, ops

import k2t_core as k2t
from tests.keras_side.recorded import Own


def kinds(function, shape=(6, 4)):
    """The kinds of the calls that a layer becomes."""
    x = keras.Input(shape)
    traced = k2t.trace(k2t.load(keras.Model(x, Own(function, name="own")(x))))
    return [node.layer.kind for node in traced.graph.nodes]


def test_the_largest_known_piece_covers_the_graph():
    dense = layers.Dense(3)

    class Holder(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = dense

        def call(self, x):
            return ops.softmax(self.dense(tf.tanh(x)))

    x = keras.Input((6, 4))
    traced = k2t.trace(k2t.load(keras.Model(x, Holder(name="own")(x))))
    assert [node.layer.kind for node in traced.graph.nodes] == ["ops.Tanh", "Dense", "ops.Softmax"]
    assert traced.graph.nodes[1].layer.path == "own/dense"


def test_what_nobody_reads_is_not_there():
    assert kinds(lambda x: (tf.sin(x), tf.cos(x))[0]) == ["ops.Sin"]


def test_numbers_are_computed_and_sizes_that_are_fixed_are_numbers():
    assert kinds(lambda x: tf.sin(x) * tf.cast(tf.shape(x)[1] * 2 + 1, "float32")) == ["ops.Sin", "ops.Multiply"]
    assert kinds(lambda x: tf.reshape(tf.sin(x), (tf.shape(x)[0], 24))) == ["ops.Sin", "ops.Reshape"]


def test_sizes_that_are_free_are_formulas():
    assert kinds(lambda x: tf.reshape(tf.sin(x), (tf.shape(x)[0] * 2, -1))) == ["ops.Sin", "k2t.SizedReshape"]


def test_a_refusal_names_the_line():
    x = keras.Input((6, 4))
    model = keras.Model(x, Own(lambda x: tf.math.special.dawsn(x), name="own")(x))
    with pytest.raises(k2t.UnsupportedError, match=r"operation Dawsn, .*test_tensorflow_graph.py, line"):
        k2t.plan(model).raise_for_problems()


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: x + tf.reduce_sum(tf.zeros((2**14, 2**14))), "more than 134,217,728 numbers by Fill"),
        (lambda x: tf.compat.v1.image.resize_bilinear(x[:, None, :, None], (1, 9000)), None),
        (
            lambda x: tf.compat.v1.image.resize_bilinear(tf.tile(x, [1, 2000])[:, None, :, None], (1, 9)),
            "resizes an axis",
        ),
    ],
)
def test_no_more_is_computed_than_can_be_written(function, words):
    x = keras.Input((4,))
    plan = k2t.plan(keras.Model(x, Own(function, name="own")(x)))
    assert plan.problems == [] if words is None else words in plan.problems[0]
