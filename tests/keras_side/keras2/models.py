"""Models of Keras 2, and how a file of one is proven: what the tests of this room share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import k2t_core as k2t
from k2t_core.emit.manifest import Manifest

tf_keras = pytest.importorskip("tf_keras")
tf = pytest.importorskip("tensorflow")
L = tf_keras.layers


def randomised(model, seed=0):
    """Every variable random, at a scale that keeps activations sane."""
    rng = np.random.default_rng(seed)
    for v in model.weights:
        name, shape = v.name.rsplit("/", 1)[-1], tuple(v.shape)
        if "variance" in name or "gamma" in name:
            v.assign(rng.uniform(0.5, 1.5, shape))
        elif v.dtype.is_floating:
            v.assign(
                rng.normal(0, 1 / np.sqrt(max(np.prod(shape[:-1]), 1)), shape)
                if len(shape) > 1
                else rng.normal(0, 0.2, shape)
            )
    for layer in model._flatten_layers():
        if isinstance(layer, L.Normalization):
            layer.finalize_state()
    return model


def functional(inputs, build):
    """A functional model of what ``build`` makes of inputs of these shapes."""
    tensors = [tf_keras.Input(shape, name=f"in{k}") for k, shape in enumerate(inputs)]
    return tf_keras.Model(tensors, build(*tensors))


def both(model, path: Path, tolerance=1e-5):
    """Save, convert and verify; the torch outputs are compared with tf_keras's here too, by a way of the test's own."""
    import torch

    from k2t_core.emit.module import import_model

    randomised(model).save(path)
    out = path.parent / f"{path.stem}-out"
    k2t.convert(path, out)
    report = k2t.verify(out, path)
    assert report.passed, report.verdict
    assert report.reference["package"] == "tf_keras"
    manifest = Manifest.read(out)
    rng = np.random.default_rng(1)
    arrays, moved = [], []
    for side in manifest.inputs:
        shape = [2 if k == 0 else n or 8 for k, n in enumerate(side.keras_shape)]
        array = (
            rng.normal(size=shape).astype("float32")
            if "float" in side.dtype
            else rng.integers(0, 5, shape).astype(side.dtype)
        )
        arrays.append(array)
        moved.append(torch.from_numpy(array.transpose(side.permutation or range(array.ndim)).copy()))
    want = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    want = [
        np.asarray(y)
        for y in (
            want
            if isinstance(want, (list, tuple))
            else [want[key] for key in sorted(want)]
            if isinstance(want, dict)
            else [want]
        )
    ]
    with torch.no_grad():
        got = import_model(out).load_model()(*moved)
    got = list(got) if isinstance(got, tuple) else [got]
    assert len(want) == len(got)
    for side, a, b in zip(manifest.outputs, want, got):
        b = b.numpy()
        b = b.transpose(np.argsort(side.permutation)) if side.permutation else b
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= tolerance * max(np.abs(a).max(), 1e-6), side.name
    return out


IMAGE, SEQUENCE, VECTOR = (8, 9, 3), (6, 5), (10,)
LAYERS = {
    "dense": (VECTOR, lambda x: L.Dense(4, activation="softmax")(L.Dense(7, activation="relu")(x))),
    "conv": (IMAGE, lambda x: L.Dense(3)(L.Flatten()(L.Conv2D(4, 3, strides=2, padding="same", activation="elu")(x)))),
    "conv1d causal": (SEQUENCE, lambda x: L.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="swish")(x)),
    "conv3d": ((5, 6, 7, 2), lambda x: L.Conv3D(3, 2)(x)),
    "transposed": (IMAGE, lambda x: L.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(x)),
    "depthwise": (IMAGE, lambda x: L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)),
    "separable": (IMAGE, lambda x: L.SeparableConv2D(5, 3, activation="tanh")(x)),
    "batchnorm": (IMAGE, lambda x: L.ReLU(6.0)(L.BatchNormalization(epsilon=1e-2)(x))),
    "batchnorm axis 1": (IMAGE, lambda x: L.BatchNormalization(axis=1, scale=False)(x)),
    "layernorm": (IMAGE, lambda x: L.LayerNormalization(axis=[2, 3])(x)),
    "groupnorm": ((8, 9, 4), lambda x: L.GroupNormalization(2)(x)),
    "unitnorm": (VECTOR, lambda x: L.UnitNormalization()(x)),
    "pooling": (
        IMAGE,
        lambda x: L.Concatenate()([L.MaxPooling2D(2, padding="same")(x), L.AveragePooling2D(2, padding="same")(x)]),
    ),
    "global pooling": (IMAGE, lambda x: [L.GlobalAveragePooling2D(keepdims=True)(x), L.GlobalMaxPooling2D()(x)]),
    "shapes": (
        IMAGE,
        lambda x: L.Reshape((-1, 3))(
            L.Permute((2, 1, 3))(
                L.Cropping2D(((1, 0), (2, 1)))(L.ZeroPadding2D((1, 2))(L.UpSampling2D(2, interpolation="bilinear")(x)))
            )
        ),
    ),
    "activations": (
        VECTOR,
        lambda x: [
            L.LeakyReLU(0.1)(x),
            L.ELU(0.5)(x),
            L.ThresholdedReLU(0.3)(x),
            L.PReLU()(x),
            L.Softmax()(x),
            L.Activation("gelu")(x),
        ],
    ),
    "hard_sigmoid": (VECTOR, lambda x: [L.Activation("hard_sigmoid")(x), L.Dense(4, activation="hard_sigmoid")(x)]),
    "merging": (
        VECTOR,
        lambda x: [
            L.Add()([x, x]),
            L.Average()([x, x]),
            L.Maximum()([x, L.ReLU()(x)]),
            L.Dot(1)([x, x]),
            L.Subtract()([x, L.ReLU()(x)]),
        ],
    ),
    "lstm": (SEQUENCE, lambda x: L.LSTM(4, return_sequences=True, go_backwards=True)(x)),
    "lstm hard_sigmoid": (SEQUENCE, lambda x: L.LSTM(4, recurrent_activation="hard_sigmoid")(x)),
    "gru": (SEQUENCE, lambda x: [L.GRU(4)(x), L.GRU(4, reset_after=False, recurrent_activation="hard_sigmoid")(x)]),
    "simple rnn": (SEQUENCE, lambda x: L.SimpleRNN(4, activation="relu")(x)),
    "bidirectional": (
        SEQUENCE,
        lambda x: [
            L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="sum")(x),
            L.Bidirectional(L.GRU(3))(x),
        ],
    ),
    "rnn of cells": (SEQUENCE, lambda x: L.RNN([L.LSTMCell(3), L.GRUCell(4)])(x)),
    "conv lstm": ((4, 6, 6, 2), lambda x: L.ConvLSTM2D(3, 3, padding="same")(x)),
    "states": (
        SEQUENCE,
        lambda x: (lambda y, h, c: L.LSTM(4)(y, initial_state=[h, c]))(
            *L.LSTM(4, return_sequences=True, return_state=True)(x)
        ),
    ),
    "time distributed": (
        (4, 8, 8, 3),
        lambda x: L.LSTM(3)(L.TimeDistributed(L.Flatten())(L.TimeDistributed(L.Conv2D(2, 3))(x))),
    ),
    "masking": (SEQUENCE, lambda x: L.LSTM(4)(L.Masking()(x))),
    "attention": (SEQUENCE, lambda x: L.MultiHeadAttention(2, 3)(x, x)),
    "dot attention": (SEQUENCE, lambda x: [L.Attention(use_scale=True)([x, x]), L.AdditiveAttention()([x, x])]),
    "einsum": (SEQUENCE, lambda x: L.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(x)),
    "noise": (VECTOR, lambda x: L.Dropout(0.5)(L.GaussianNoise(0.2)(L.AlphaDropout(0.1)(x)))),
    "rescaling": (IMAGE, lambda x: L.Resizing(5, 7)(L.Rescaling(1 / 255, offset=-1)(x))),
    "repeat": (VECTOR, lambda x: L.RepeatVector(3)(x)),
    "operators": (IMAGE, lambda x: -(((x * 2.0 + 1.0) / 3.0 - 0.5) ** 2)),
}


# Each entry of k2t_core.keras_side.keras2.operations, on a (batch, 4, 3) tensor; a list where it needs several calls.
def operations(x):
    y = tf.reverse(x, [1])
    positive = tf.abs(x) + 0.1
    number = tf.cast(x > y, "float32")
    return {
        "__operators__.add": x + y,
        "__operators__.getitem": x[:, 1:, ::2],
        "math.add": tf.add(x, 2.0),
        "math.subtract": 1.0 - x,
        "math.multiply": x * y,
        "math.truediv": x / 3.0,
        "math.divide": tf.divide(x, positive),
        "math.floordiv": x // 0.3,
        "math.floormod": x % 0.3,
        "math.pow": positive**2.5,
        "math.negative": -x,
        "math.squared_difference": tf.math.squared_difference(x, y),
        "math.maximum": tf.maximum(x, 0.2),
        "math.minimum": tf.minimum(x, y),
        **{
            f"math.{name}": tf.cast(getattr(tf.math, name)(number, tf.reverse(number, [2])), "float32")
            for name in ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")
        },
        **{
            f"math.{name}": tf.cast(getattr(tf.math, name)(x > 0.1, y > 0.2), "float32")
            for name in ("logical_and", "logical_or")
        },
        "math.logical_not": tf.cast(tf.logical_not(x > 0.0), "float32"),
        **{
            f"math.{name}": getattr(tf.math, name)(positive) for name in ("sqrt", "rsqrt", "reciprocal", "log", "log1p")
        },
        **{
            f"math.{name}": getattr(tf.math, name)(x)
            for name in (
                "abs",
                "square",
                "exp",
                "sin",
                "cos",
                "tan",
                "tanh",
                "sigmoid",
                "sign",
                "floor",
                "ceil",
                "round",
                "erf",
                "expm1",
                "log_sigmoid",
                "softplus",
                "atan",
            )
        },
        **{f"math.{name}": getattr(tf.math, name)(tf.tanh(x)) for name in ("asin", "acos")},
        **{
            f"nn.{name}": getattr(tf.nn, name)(x)
            for name in ("relu", "relu6", "elu", "selu", "softsign", "softmax", "log_softmax", "gelu", "silu")
        },
        "nn.leaky_relu": tf.nn.leaky_relu(x, 0.1),
        **{
            f"math.reduce_{name}": getattr(tf.math, f"reduce_{name}")(x, axis=[1], keepdims=True)
            for name in ("mean", "sum", "max", "min", "prod", "logsumexp", "std", "variance")
        },
        **{
            f"math.reduce_{name}": tf.cast(getattr(tf, f"reduce_{name}")(x > 0.0, axis=-1), "float32")
            for name in ("all", "any")
        },
        "math.argmax": tf.cast(tf.argmax(x, axis=-1), "float32"),
        "math.argmin": tf.cast(tf.argmin(x, axis=1, output_type="int32"), "float32"),
        "math.add_n": tf.add_n([x, y, x]),
        "math.cumsum": tf.cumsum(x, axis=1),
        "math.l2_normalize": tf.math.l2_normalize(x, axis=-1),
        "linalg.matmul": tf.matmul(x, y, transpose_b=True),
        "norm": tf.norm(x, axis=-1, keepdims=True),
        "concat": tf.concat([x, y], 1),
        "stack": tf.stack([x, y], axis=2),
        "unstack": tf.unstack(x, axis=2)[1],
        "split": tf.split(x, [1, 3], axis=1)[1] + tf.split(x, 4, axis=1)[0],
        "reshape": tf.reshape(x, [-1, 6, 2]),
        "transpose": tf.transpose(x, [0, 2, 1]),
        "expand_dims": tf.expand_dims(x, -1),
        "squeeze": tf.squeeze(x[:, :1], axis=1),
        "tile": tf.tile(x, [1, 2, 1]),
        "repeat": tf.repeat(x, 2, axis=1),
        "roll": tf.roll(x, 1, axis=2),
        "reverse": y,
        "pad": tf.pad(x, [[0, 0], [1, 2], [0, 1]], constant_values=0.5),
        "broadcast_to": tf.broadcast_to(x[:1, :1], [2, 4, 3]),
        "gather": tf.gather(x, [2, 0], axis=1),
        "where": tf.where(x > 0.0, x, y),
        "one_hot": tf.one_hot(tf.argmax(x, axis=-1), 3),
        "cast": tf.cast(tf.cast(x * 10.0, "int32"), "float32"),
        "clip_by_value": tf.clip_by_value(x, -0.5, 0.5),
        "identity": tf.identity(x),
        "stop_gradient": tf.stop_gradient(x),
        "zeros_like": tf.zeros_like(x) + x,
        "ones_like": tf.ones_like(x) + x,
        "nn.depth_to_space": tf.nn.depth_to_space(tf.reshape(x, [-1, 1, 3, 4]), 2),
        "nn.space_to_depth": tf.nn.space_to_depth(tf.reshape(x, [-1, 2, 6, 1]), 2),
        "image.resize": tf.image.resize(tf.reshape(x, [-1, 4, 3, 1]), (7, 5)),
    }


def sequential():
    return tf_keras.Sequential(
        [
            L.Input(IMAGE),
            L.Conv2D(4, 3, activation="relu"),
            L.BatchNormalization(),
            L.Flatten(),
            L.Dense(3, activation="softmax"),
        ],
        name="plain",
    )


def nested():
    """A model that is used twice, and a layer that is used inside and outside."""
    shared = L.Dense(4, activation="relu", name="shared")
    x = tf_keras.Input(VECTOR)
    inner = tf_keras.Model(x, L.Dense(4, name="inside")(shared(x)), name="inner")
    a, b = tf_keras.Input(VECTOR, name="a"), tf_keras.Input(VECTOR, name="b")
    return tf_keras.Model([a, b], [L.Dot(1, normalize=True)([inner(a), inner(b)]), shared(a)])


def text():
    x = tf_keras.Input((None,), dtype="int32")
    return tf_keras.Model(
        x, L.Dense(1, activation="sigmoid")(L.Bidirectional(L.LSTM(5))(L.Embedding(20, 6, mask_zero=True)(x)))
    )


def normalized():
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).normal(2, 3, (50, 10)))
    return tf_keras.Sequential([L.Input(VECTOR), layer, L.Dense(3)])


MODELS = {
    "sequential": sequential,
    "nested": nested,
    "text": text,
    "normalized": normalized,
    "dictionaries": lambda: (lambda a, b: tf_keras.Model({"a": a, "b": b}, {"sum": a + b, "first": L.Dense(2)(a)}))(
        tf_keras.Input(VECTOR, name="a"), tf_keras.Input(VECTOR, name="b")
    ),
    "initial values of TensorFlow's": lambda: tf_keras.Sequential(
        [L.Input(VECTOR), L.Dense(3, bias_initializer=tf.constant_initializer(0.5))]
    ),
    "names with slashes": lambda: (
        lambda x: tf_keras.Model(
            x,
            L.Add(name="b/add")(
                [L.Dense(3, name="a/dense")(x), L.Activation("relu", name="a/relu")(L.Dense(3, name="c")(x))]
            ),
            name="of/old",
        )
    )(tf_keras.Input(VECTOR, name="the/input")),
    "names that collide": lambda: (lambda x: tf_keras.Model(x, L.Add(name="add")([x + 1.0, x * 2.0]) + 3.0))(
        tf_keras.Input(VECTOR)
    ),
    "MobileNetV2": lambda: tf_keras.applications.MobileNetV2(
        weights=None, input_shape=(64, 64, 3), classes=7, alpha=0.35
    ),
}
