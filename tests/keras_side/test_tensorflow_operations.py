"""Each of TensorFlow's operations that is known, in its forms, against TensorFlow: converted and run in torch."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import k2t_core as k2t
from k2t_core.keras_side.tensorflow_operations import BINARY, OPERATIONS, REFUSED, UNARY
from k2t_core.rules.native import NATIVE
from tests.keras_side import test_image_operations
from tests.keras_side.recorded import Own, agrees

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
    "Neg": [lambda x: -tf.sin(x), lambda x: x + tf.cast(-free(x), "float32")],
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
    "Bitcast": [lambda x: tf.bitcast(tf.bitcast(x, "int32") + 1, "float32")],
    "Reciprocal": [lambda x: raw.Reciprocal(x=tf.abs(x) + 0.5)],
    "Inv": [lambda x: raw.Inv(x=tf.abs(x) + 0.5)],
    "Roll": [lambda x: tf.roll(x, [1, -2], [1, 2]), lambda x: tf.roll(x, [2, 2], [1, 1])],
    "L2Loss": [lambda x: tf.nn.l2_loss(x) * x],
    "SoftmaxCrossEntropyWithLogits": [
        lambda x: tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(x[:, 1]), x[:, 0]),
        lambda x: raw.SoftmaxCrossEntropyWithLogits(features=x[:, 0], labels=tf.nn.softmax(x[:, 1]))[1],
    ],
    "SparseSoftmaxCrossEntropyWithLogits": [
        lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(tf.argmax(x[:, 1], -1), x[:, 0]),
    ],
    "BroadcastArgs": [lambda x: tf.linspace(x[:, 0], x[:, 1] * 2, 4)],
    "XlaDynamicUpdateSlice": [lambda x: keras.ops.slice_update(x, (0, 1, 2), x[:1, :2, :2] * 2)],
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

LOOPS = {  # in which a list of tensors is kept
    "TensorListReserve": [lambda x: tf.map_fn(lambda row: tf.reduce_sum(row, -1), tf.transpose(x, (1, 0, 2)))],
    "TensorListFromTensor": [lambda x: tf.scan(lambda a, b: a * 0.5 + b, tf.transpose(x, (1, 0, 2)))],
    "TensorListSetItem": [lambda x: tf.map_fn(tf.sin, tf.transpose(x, (1, 0, 2)))],
    "TensorListGetItem": [lambda x: tf.foldl(lambda a, b: a * 0.5 + tf.tanh(b), tf.transpose(x, (1, 0, 2)))],
    "TensorListStack": [lambda x: tf.map_fn(lambda row: row * row, tf.transpose(x, (1, 0, 2)))],
    "EmptyTensorList": [lambda x: pushed(x)],
    "TensorListPushBack": [lambda x: pushed(x)],
    "TensorListLength": [lambda x: pushed(x) * tf.cast(raw.TensorListLength(input_handle=listed(x)), "float32")],
}


def listed(x):
    handle = raw.EmptyTensorList(element_shape=tf.constant([-1, 5]), max_num_elements=4, element_dtype=tf.float32)
    for k in range(3):
        handle = raw.TensorListPushBack(input_handle=handle, tensor=x[:, k] * (k + 1))
    return handle


def pushed(x):
    return raw.TensorListStack(
        input_handle=listed(x), element_shape=tf.constant([-1, 5]), element_dtype=tf.float32, num_elements=3
    )


TWO = ["Add", "AddV2", "Sub", "Mul", "FloorDiv", "FloorMod", "Maximum", "Minimum", *BINARY]
CASES = [
    *((kind, unary(kind), (SHAPE,)) for kind in UNARY),
    *((kind, binary(kind), (SHAPE, SHAPE)) for kind in TWO),
    *((kind, function, (SHAPE,)) for kind, functions in ONE.items() for function in functions),
    *((kind, function, (SHAPE,)) for kind, functions in LOOPS.items() for function in functions),
]
# Read by tests of weights, where there is a variable to read rows of.
ELSEWHERE = {"ResourceGather"}


def test_every_operation_has_a_case():
    others = {*NATIVE, *test_image_operations.CASES}
    assert {kind for kind, _, _ in CASES} | ELSEWHERE | others == set(OPERATIONS)
    assert not set(OPERATIONS) & set(REFUSED)


@pytest.mark.parametrize("kind, function, shapes", CASES, ids=[f"{k}-{i}" for i, (k, _, _) in enumerate(CASES)])
def test_it_is_what_tensorflow_computes(kind, function, shapes):
    agrees(kind, function, shapes)


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: x + tf.random.normal(tf.shape(x)), "RandomStandardNormal, which draws random numbers"),
        (lambda x: tf.ensure_shape(tf.numpy_function(np.sin, [x], "float32"), x.shape), "which runs Python on numbers"),
        (lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x), "decides by a number that only a run knows"),
        (lambda x: tf.while_loop(lambda y: tf.reduce_sum(y) < 9, lambda y: y + 1, [x])[0], "whose length only a run"),
        (lambda x: x[:, : tf.cast(tf.reduce_sum(x), "int32")], "that are computed from numbers"),
        (lambda x: tf.math.special.dawsn(x), "for which k2t has no counterpart"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name_and_line(function, words):
    x = keras.Input(SHAPE)
    model = keras.Model(x, Own(function, name="own")(x))
    with pytest.raises(k2t.UnsupportedError, match=f"'own'.*{words}.*test_tensorflow_operations.py, line") as refused:
        k2t.plan(model).raise_for_problems()
    assert "\n" not in str(refused.value)
