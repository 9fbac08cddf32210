"""Each of TensorFlow's operations that is known, in its forms, against TensorFlow: converted and run in torch."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import k2t_core as k2t
from k2t_core.keras_side.tensorflow_operations import BINARY, OPERATIONS, REFUSED, UNARY
from tests.harness import check
from tests.keras_side.recorded import Own

raw = tf.raw_ops
# Where a function is not defined everywhere, what it is given.
WITHIN = {
    **dict.fromkeys(("Acos", "Asin", "Atanh"), lambda x: tf.tanh(x) * 0.9),
    **dict.fromkeys(("Log", "Log1p", "Sqrt", "Rsqrt", "Inv", "Reciprocal"), lambda x: tf.abs(x) + 0.5),
    "Acosh": lambda x: tf.abs(x) + 1.5,
}


def unary(kind):
    def apply(x):
        x = WITHIN.get(kind, lambda x: x)(x)
        if kind == "LogicalNot":
            return tf.cast(raw.LogicalNot(x=x > 0), "float32")
        name = {"Softmax": "logits", "LogSoftmax": "logits"}.get(
            kind, "features" if kind in ("Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign") else "x"
        )
        return tf.cast(getattr(raw, kind)(**{name: x}), "float32") + 0.1 * x

    return apply


def binary(kind):
    def apply(x, y):
        if kind.startswith("Logical"):
            return tf.cast(getattr(raw, kind)(x=x > 0, y=y > 0), "float32")
        x = tf.abs(x) + 0.5 if kind == "Pow" else x
        y = tf.where(tf.abs(y) < 0.3, tf.ones_like(y), y) if kind in ("RealDiv", "FloorMod", "FloorDiv") else y
        found = getattr(raw, kind)(y=y, x=x)
        return tf.cast(found, "float32") + 0.1 * x

    return apply


def free(x):
    return tf.shape(x)[0]


SHAPE = (6, 5)
ONE = {  # of one tensor (N, 6, 5)
    "Identity": [lambda x: tf.identity(x) * tf.sin(x)],
    "StopGradient": [lambda x: tf.stop_gradient(tf.sin(x))],
    "PreventGradient": [lambda x: raw.PreventGradient(input=tf.sin(x))],
    "Snapshot": [lambda x: raw.Snapshot(input=tf.sin(x))],
    "EnsureShape": [lambda x: tf.ensure_shape(tf.sin(x), (None, 6, 5))],
    "CheckNumerics": [lambda x: tf.debugging.check_numerics(tf.sin(x), "no")],
    "IdentityN": [lambda x: sum(tf.identity_n([tf.sin(x), tf.cos(x)]))],
    "Cast": [
        lambda x: tf.cast(tf.cast(x * 3, "int32"), "float32"),
        lambda x: tf.cast(tf.cast(x, "bool"), "float32") + x,
    ],
    "LeakyRelu": [lambda x: tf.nn.leaky_relu(x, 0.3)],
    "SquaredDifference": [lambda x: tf.math.squared_difference(x, x[:, :1])],
    "AddN": [lambda x: tf.add_n([x, tf.sin(x), x * 2])],
    "BiasAdd": [
        lambda x: tf.nn.bias_add(x, tf.constant([1.0, 2, 3, 4, 5])),
        lambda x: tf.nn.bias_add(x[..., None], tf.constant([1.0, 2, 3, 4, 5, 6]), "NCHW"),
    ],
    "SelectV2": [lambda x: tf.where(x > 0, x, x[:, :1] * 0.1)],
    "Select": [
        lambda x: raw.Select(condition=x > 0, x=x, y=x * 0.1),
        lambda x: raw.Select(condition=x[:, 0, 0] > 0, x=x, y=x * 0.1),
    ],
    "ClipByValue": [lambda x: raw.ClipByValue(t=x, clip_value_min=-0.5, clip_value_max=0.3)],
    "Erfc": [lambda x: tf.math.erfc(x)],
    "ZerosLike": [lambda x: tf.concat([raw.ZerosLike(x=x), x], 1)],
    "OnesLike": [lambda x: tf.concat([raw.OnesLike(x=x), x], 1)],
    **{
        kind: [
            lambda x, f=f: f(x, axis=-1) + tf.sin(f(x, axis=[1])[:, :1]),
            lambda x, f=f: f(x, axis=[1, 2], keepdims=True) * x,
            lambda x, f=f: f(x * 0.1) + tf.sin(x),
        ]
        for kind, f in {
            "Sum": tf.reduce_sum,
            "Mean": tf.reduce_mean,
            "Max": tf.reduce_max,
            "Min": tf.reduce_min,
            "Prod": tf.reduce_prod,
        }.items()
    },
    **{
        kind: [
            lambda x, f=f, s=s: tf.cast(f(x > s, axis=-1), "float32"),
            lambda x, f=f: tf.where(f(x > 3), x, tf.sin(x)),
        ]
        for kind, f, s in (("All", tf.reduce_all, -0.8), ("Any", tf.reduce_any, 0.8))
    },
    "ArgMax": [lambda x: tf.argmax(x, 1), lambda x: tf.argmax(x, -1, output_type="int32")],
    "ArgMin": [lambda x: tf.argmin(x, 1), lambda x: tf.argmin(x, -1, output_type="int32")],
    "Cumsum": [lambda x: tf.cumsum(x, 1), lambda x: tf.cumsum(x, -1, reverse=True)],
    "Cumprod": [lambda x: tf.math.cumprod(x, 1), lambda x: tf.math.cumprod(x, -1, reverse=True)],
    "TopKV2": [lambda x: tf.math.top_k(x, 3).values, lambda x: tf.math.top_k(x, 2).indices],
    "ReverseV2": [lambda x: tf.reverse(x, [1]), lambda x: tf.reverse(x, [1, -1])],
    "OneHot": [lambda x: tf.one_hot(tf.argmax(x, -1), 5), lambda x: tf.one_hot(tf.argmax(x, 1), 6, axis=1)],
    "Shape": [lambda x: tf.reshape(tf.sin(x), tf.shape(x))],
    "ShapeN": [lambda x: tf.reshape(tf.sin(x), raw.ShapeN(input=[x, x])[1])],
    "Rank": [lambda x: tf.sin(x) * tf.cast(raw.Rank(input=x), "float32")],
    "Size": [lambda x: tf.sin(x) / tf.cast(tf.size(x), "float32")],
    "Reshape": [
        lambda x: tf.reshape(x, (-1, 10, 3)),
        lambda x: tf.reshape(x, (free(x) * 2, -1)),
        lambda x: tf.reshape(x, (free(x) * 3, 2, 5)),
        lambda x: tf.reshape(x, (free(x), 3, -1, 5)),
    ],
    "BroadcastTo": [
        lambda x: tf.broadcast_to(x[:, :1], (free(x), 4, 5)),
        lambda x: tf.broadcast_to(x[:1, :1, :1] * 0 + 2.0, (3, 6, 5)) + tf.reduce_mean(x),
    ],
    "Tile": [lambda x: tf.tile(x, (1, 2, 1)), lambda x: tf.tile(tf.reduce_mean(x, 0, True), (free(x), 1, 1)) + x],
    "Fill": [lambda x: tf.fill((free(x), 6, 5), 2.5) * x, lambda x: tf.fill((free(x), 6, 5), tf.reduce_mean(x)) + x],
    "Range": [
        lambda x: x * tf.cast(tf.range(free(x)), "float32")[:, None, None],
        lambda x: x * tf.range(0.0, tf.cast(free(x), "float32"))[:, None, None],
        lambda x: x * tf.cast(tf.range(2, free(x) * 3 + 2, 3), "float32")[:, None, None],
    ],
    "ExpandDims": [lambda x: tf.expand_dims(x, 1), lambda x: tf.expand_dims(tf.sin(x), -1)],
    "Squeeze": [lambda x: tf.squeeze(x[:, :1], 1), lambda x: tf.squeeze(x[:, :1, None], [1, 2])],
    "Transpose": [lambda x: tf.transpose(x, (0, 2, 1)), lambda x: tf.transpose(x)],
    "Pack": [lambda x: tf.stack([x, x * 2], 1), lambda x: tf.stack([x, x * 2], -1)],
    "Unpack": [lambda x: tf.unstack(x, axis=1)[2], lambda x: sum(tf.unstack(x, axis=-1))],
    "ConcatV2": [lambda x: tf.concat([x, x * 2], 1), lambda x: tf.concat([x, tf.sin(x)], -1)],
    "Split": [lambda x: tf.split(x, 3, 1)[1], lambda x: tf.concat(tf.split(x, 2, 1)[::-1], 1)],
    "SplitV": [lambda x: tf.split(x, [1, 4], -1)[1]],
    "GatherV2": [
        lambda x: tf.gather(x, [3, 0, 1], axis=1),
        lambda x: tf.gather(x, [[0, 1], [2, 2]], axis=-1),
        lambda x: tf.gather(x, tf.argsort(x, -1), batch_dims=2, axis=2),
    ],
    "Slice": [lambda x: tf.slice(x, [0, 1, 2], [-1, 3, -1]), lambda x: tf.slice(x, [0, 1, 0], [free(x), 2, 5])],
    "StridedSlice": [
        lambda x: tf.sin(x)[:, ::2],
        lambda x: tf.sin(x)[..., 1:-1],
        lambda x: tf.sin(x)[:, 2],
        lambda x: tf.sin(x)[:, None, 1:3, ..., None, 0],
        lambda x: tf.sin(x)[: free(x) - 1, :, -2:],
        lambda x: tf.concat([tf.sin(x)[free(x) // 2 :], tf.sin(x)[: free(x) // 2]], 0),
    ],
    "Pad": [lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3]])],
    "PadV2": [lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3]], constant_values=1.5)],
    "MirrorPad": [
        lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0]], "REFLECT"),
        lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0]], "SYMMETRIC"),
    ],
    "MatrixBandPart": [
        lambda x: tf.linalg.band_part(x, -1, 0),
        lambda x: tf.linalg.band_part(x, 0, -1),
        lambda x: tf.linalg.band_part(x, 1, 2),
        lambda x: tf.linalg.band_part(x, -1, 2),
        lambda x: tf.linalg.band_part(x, 2, -1),
        lambda x: tf.linalg.band_part(x, -1, -1) + tf.sin(x),
    ],
    "BatchMatMulV2": [
        lambda x: tf.matmul(x, x, transpose_b=True),
        lambda x: tf.matmul(x, x, transpose_a=True),
        lambda x: tf.matmul(x, tf.sin(x), adjoint_a=True),
    ],
    "BatchMatMul": [lambda x: raw.BatchMatMul(x=x, y=x, adj_y=True)],
    "BatchMatMulV3": [lambda x: raw.BatchMatMulV3(x=x, y=x, Tout=tf.float32, adj_y=True)],
    "MatMul": [
        lambda x: tf.matmul(x[:, 0], tf.constant(np.arange(15.0, dtype="float32").reshape(5, 3))),
        lambda x: tf.matmul(x[:, 0], x[:, 1], transpose_b=True),
        lambda x: tf.matmul(x[:, 0], x[:, 1], transpose_a=True),
    ],
    "Einsum": [lambda x: tf.einsum("bij,bkj->bik", x, x), lambda x: tf.einsum("BIJ,JK->BKI", x, tf.eye(5) * 2.0)],
}
IMAGE = {  # of one image (N, 8, 9, 3)
    "Conv2D": [
        lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME"),
        lambda x: tf.nn.conv2d(x, KERNEL, 2, "VALID"),
        lambda x: tf.nn.conv2d(x, KERNEL, 2, "SAME"),
        lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME", dilations=2),
    ],
    "MaxPool": [lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME"), lambda x: tf.nn.max_pool2d(x, (3, 2), (1, 2), "VALID")],
    "AvgPool": [lambda x: tf.nn.avg_pool2d(x, 2, 2, "SAME"), lambda x: tf.nn.avg_pool2d(x, (3, 2), (1, 2), "VALID")],
}
KERNEL = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype("float32"))
TWO = ["Add", "AddV2", "Sub", "Mul", "FloorDiv", "FloorMod", "Maximum", "Minimum", *BINARY]
CASES = [
    *((kind, unary(kind), (SHAPE,)) for kind in UNARY),
    *((kind, binary(kind), (SHAPE, SHAPE)) for kind in TWO),
    *((kind, function, (SHAPE,)) for kind, functions in ONE.items() for function in functions),
    *((kind, function, ((8, 9, 3),)) for kind, functions in IMAGE.items() for function in functions),
]
# Read by tests of weights, where there is a variable to read rows of.
ELSEWHERE = {"ResourceGather"}


def of_graph(function, shapes):
    """The types of operation that TensorFlow makes of a function."""
    specs = [tf.TensorSpec((None, *shape)) for shape in shapes]
    return {
        op.type for op in tf.function(function, autograph=False).get_concrete_function(*specs).graph.get_operations()
    }


def test_every_operation_has_a_case():
    assert {kind for kind, _, _ in CASES} | ELSEWHERE == set(OPERATIONS)
    assert not set(OPERATIONS) & set(REFUSED)


@pytest.mark.parametrize("kind, function, shapes", CASES, ids=[f"{k}-{i}" for i, (k, _, _) in enumerate(CASES)])
def test_it_is_what_tensorflow_computes(kind, function, shapes):
    assert kind in of_graph(function, shapes), "the case is of another operation"
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, Own(function, name="own")(*inputs))
    check(model, tolerance=2e-5)
    rng = np.random.default_rng(1)
    check(model, [rng.normal(size=(5, *shape)).astype("float32") for shape in shapes], tolerance=2e-5)


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: x + tf.random.normal(tf.shape(x)), "RandomStandardNormal, which draws random numbers"),
        (lambda x: tf.ensure_shape(tf.numpy_function(np.sin, [x], "float32"), x.shape), "which runs Python on numbers"),
        (lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x), "decides by a number that only a run knows"),
        (lambda x: tf.while_loop(lambda y: tf.reduce_sum(y) < 9, lambda y: y + 1, [x])[0], "whose length only a run"),
        (lambda x: x[:, : tf.cast(tf.reduce_sum(x), "int32")], "that are computed from numbers"),
        (lambda x: tf.signal.irfft(tf.signal.rfft(x)), "for which k2t has no counterpart"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name_and_line(function, words):
    x = keras.Input(SHAPE)
    model = keras.Model(x, Own(function, name="own")(x))
    with pytest.raises(k2t.UnsupportedError, match=f"'own'.*{words}.*test_tensorflow_operations.py, line") as refused:
        k2t.plan(model).raise_for_problems()
    assert "\n" not in str(refused.value)
