"""Functions of TensorFlow, and layers, that Keras 3 has not: converted by what Keras 2 computes."""

from __future__ import annotations

import pytest

import k2t_core as k2t
from k2t_core.keras_side.keras2.operations import may_run
from tests.keras_side.keras2.models import L, both, tf, tf_keras

IMAGE, SEQUENCE = (8, 6, 3), (6, 8)
MODELS = {
    "a pool": (IMAGE, lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID")),
    "a convolution": (SEQUENCE, lambda x: tf.nn.conv1d(x, tf.ones((3, 8, 2)), 1, "SAME")),
    "an argument": (SEQUENCE, lambda x: tf.cumsum(x, axis=1, reverse=True)),
    "a bias": (SEQUENCE, lambda x: tf.nn.bias_add(x, tf.range(8.0))),
    "patches": (IMAGE, lambda x: tf.image.extract_patches(x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID")),
    "a resize of TensorFlow 1": (IMAGE, lambda x: tf.compat.v1.image.resize_bilinear(x, (12, 16), align_corners=True)),
    "the largest": (SEQUENCE, lambda x: tf.math.top_k(x, 3)[0]),
    "a band": (SEQUENCE, lambda x: tf.linalg.band_part(tf.matmul(x, x, transpose_b=True), -1, 0)),
    "sizes": (SEQUENCE, lambda x: tf.reshape(x, (tf.shape(x)[0], tf.shape(x)[1] // 3, -1, 8))),
    "sizes, computed with": (SEQUENCE, lambda x: tf.reshape(x, (tf.shape(x)[0], tf.shape(x)[1] // 2, 16))),
    "a product of Keras's": (SEQUENCE, lambda x: tf_keras.backend.dot(x, tf.ones((8, 3)))),
    "locally connected": (SEQUENCE, lambda x: L.LocallyConnected1D(3, 2, name="local")(x)),
    "locally connected in two": (IMAGE, lambda x: L.LocallyConnected2D(2, 3, activation="relu", name="local")(x)),
    "a model at each step": (
        (4, 8, 6, 3),
        lambda x: L.TimeDistributed(
            tf_keras.Sequential([L.Conv2D(4, 3), L.BatchNormalization(), L.Flatten(), L.Dense(5)])
        )(x),
    ),
    "spatial dropout": (IMAGE, lambda x: L.SpatialDropout2D(0.3)(L.Conv2D(4, 3)(x))),
    "dropout of sequences": (SEQUENCE, lambda x: L.LSTM(4)(L.SpatialDropout1D(0.3)(x))),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_keras_2_computes(name, tmp_path):
    shape, build = MODELS[name]
    x = tf_keras.Input(shape, name="x")
    both(tf_keras.Model(x, L.Dense(3)(build(x))), tmp_path / "model.h5")


def test_a_random_copy_of_a_layer_of_keras_2_has_its_own_numbers(tmp_path):
    x = tf_keras.Input(SEQUENCE, name="x")
    tf_keras.Model(x, L.LocallyConnected1D(3, 2, name="local")(x)).save(tmp_path / "model.h5")
    k2t.convert(tmp_path / "model.h5", tmp_path / "out")
    report = k2t.verify(tmp_path / "out", tmp_path / "model.h5", weights="both")
    assert report.passed and report.proves, report.verdict


@pytest.mark.parametrize(
    "symbol, may",
    [
        ("nn.conv2d", True),
        ("compat.v1.nn.conv2d", True),
        ("math.special.dawsn", True),
        ("tensor_scatter_nd_update", True),
        ("io.write_file", False),
        ("py_function", False),
        ("compat.v1.py_func", False),
        ("numpy_function", False),
        ("load_op_library", False),
        ("image.decode_png", False),
        ("image.random_flip_up_down", False),
        ("nn.dropout", False),
        ("nn.dynamic_rnn", False),
        ("map_fn", False),
        ("while_loop", False),
        ("raw_ops.ReadFile", False),
        ("debugging.Assert", False),
        ("keras.utils.get_file", False),
        ("math..exp", False),
        ("nn.conv2d.__globals__", False),
        ("", False),
    ],
)
def test_a_file_may_name_what_computes_and_nothing_else(symbol, may):
    assert may_run(symbol) is may
