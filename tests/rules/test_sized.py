"""What is as large as computed sizes say: the source, and its numbers at several sizes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.harness import check
from tests.keras_side.recorded import Own

CASES = {
    "sized_reshape": (lambda x: tf.reshape(x, (tf.shape(x)[0], tf.shape(x)[1] * 2, -1)), ".shape[1] * 2, "),
    "sized_broadcast": (lambda x: tf.broadcast_to(tf.reduce_mean(x, 1, True), tf.shape(x)), ".expand("),
    "sized_tile": (lambda x: tf.tile(x, (1, tf.shape(x)[1], 1)), ".repeat(1, "),
    "sized_slice": (lambda x: tf.sin(x)[:, (tf.shape(x)[1] - 1) // 2 :], ".shape[1] - 1) // 2"),
    "sized_arange": (lambda x: x + tf.cast(tf.range(tf.shape(x)[1]), "float32")[:, None], "torch.arange(x.shape[1],"),
    "sized_full": (lambda x: x * tf.fill((tf.shape(x)[1], 4), 2.5), "torch.full((x.shape[1], 4), 2.5,"),
    "sized_number": (lambda x: x / tf.cast(tf.shape(x)[1], "float32"), "torch.full((), x.shape[1],"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_written_and_right_at_any_size(name):
    function, words = CASES[name]
    x = keras.Input((None, 4))
    model = keras.Model(x, Own(function, name="own")(x))
    for batch, steps in ((3, 7), (1, 1), (2, 10)):
        array = np.random.default_rng(steps).normal(size=(batch, steps, 4)).astype("float32")
        conversion, _ = check(model, [array])
    assert words in conversion.code.text


def test_in_keras_s_order_of_axes_among_images():
    """An image is channels first in torch: sizes are of Keras's axes, whatever the layout."""

    def function(x):
        return tf.reshape(tf.sin(x), (tf.shape(x)[0], tf.shape(x)[1] * tf.shape(x)[2], 3))

    x = keras.Input((None, None, 3))
    y = Own(function, name="own")(keras.layers.Conv2D(3, 3)(x))
    for height, width in ((6, 9), (8, 5)):
        check(keras.Model(x, y), [np.random.default_rng(0).normal(size=(2, height, width, 3)).astype("float32")])
