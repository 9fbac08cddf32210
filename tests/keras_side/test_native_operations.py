"""Operations of TensorFlow that keras.ops has not, in their forms, against TensorFlow."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import k2t_core as k2t
from k2t_core.rules.native import NATIVE
from tests.keras_side.recorded import Own, agrees

raw = tf.raw_ops
SHAPE, SQUARE = (4, 5), (4, 4)


def positive(x):
    return x * x + 1.0


def definite(x):
    return tf.matmul(x, x, transpose_b=True) + 3 * tf.eye(4)


def lower(x):
    return tf.linalg.cholesky(definite(x))


def whole(x):
    return tf.cast(x, "int32")


def color(x):
    return tf.sigmoid(tf.stack([x, x[:, ::-1], tf.sin(x)], -1))


ONE = {name: lambda x, name=name: getattr(raw, name)(x=positive(x)) for name in ("Lgamma", "Digamma")}
ONE |= {f"Bessel{k}": lambda x, k=k: getattr(raw, f"Bessel{k}")(x=x) for k in ("I0", "I0e", "I1", "I1e", "J0", "J1")}
CASES = {
    **{kind: [(function, [SHAPE])] for kind, function in ONE.items()},
    "Erfinv": [(lambda x: tf.math.erfinv(0.9 * tf.tanh(x)), [SHAPE])],
    "Ndtri": [(lambda x: tf.math.ndtri(tf.sigmoid(x)), [SHAPE])],
    "Igamma": [(lambda x, y: tf.math.igamma(positive(x), positive(y)), [SHAPE, SHAPE])],
    "Igammac": [(lambda x, y: tf.math.igammac(positive(x), positive(y[:, :1])), [SHAPE, SHAPE])],
    "Zeta": [(lambda x, y: tf.math.zeta(positive(x) + 1, positive(y)), [SHAPE, SHAPE])],
    "Xlogy": [(lambda x, y: tf.math.xlogy(tf.nn.relu(x), positive(y)), [SHAPE, SHAPE])],
    "Xlog1py": [(lambda x, y: tf.math.xlog1py(x, positive(y)), [SHAPE, SHAPE])],
    "Xdivy": [(lambda x, y: tf.math.xdivy(tf.nn.relu(x), y), [SHAPE, SHAPE])],
    "MulNoNan": [(lambda x, y: tf.math.multiply_no_nan(x, tf.nn.relu(y)), [SHAPE, SHAPE])],
    "DivNoNan": [(lambda x, y: tf.math.divide_no_nan(x, tf.nn.relu(y)), [SHAPE, SHAPE])],
    "NextAfter": [(lambda x, y: tf.math.nextafter(x, y), [SHAPE, SHAPE])],
    "Invert": [(lambda x: tf.bitwise.invert(x), [SHAPE], "int32")],
    "BitwiseAnd": [(tf.bitwise.bitwise_and, [SHAPE, SHAPE], "int32")],
    "BitwiseOr": [(tf.bitwise.bitwise_or, [SHAPE, SHAPE], "int32")],
    "BitwiseXor": [(tf.bitwise.bitwise_xor, [SHAPE, SHAPE], "int32")],
    "LeftShift": [(tf.bitwise.left_shift, [SHAPE, SHAPE], "int32")],
    "RightShift": [(tf.bitwise.right_shift, [SHAPE, SHAPE], "int32")],
    "TruncateDiv": [(lambda x, y: tf.truncatediv(-x, y + 1), [SHAPE, SHAPE], "int32")],
    "TruncateMod": [(lambda x, y: tf.truncatemod(-x, y + 1), [SHAPE, SHAPE], "int32")],
    "Mod": [(lambda x, y: raw.Mod(x=-x, y=y + 1), [SHAPE, SHAPE], "int32")],
    "Cholesky": [(lower, [SQUARE])],
    "MatrixInverse": [(lambda x: tf.linalg.inv(definite(x)), [SQUARE])],
    "MatrixDeterminant": [(lambda x: tf.linalg.det(definite(x)), [SQUARE])],
    "LogMatrixDeterminant": [(lambda x: tf.linalg.slogdet(definite(x))[1], [SQUARE])],
    "MatrixSolve": [(lambda x, y: tf.linalg.solve(definite(x), y), [SQUARE, (4, 2)])],
    "MatrixTriangularSolve": [
        (lambda x, y: tf.linalg.triangular_solve(lower(x), y), [SQUARE, (4, 2)]),
        (lambda x, y: tf.linalg.triangular_solve(lower(x), y, adjoint=True), [SQUARE, (4, 2)]),
        (lambda x, y: tf.linalg.triangular_solve(tf.linalg.adjoint(lower(x)), y, lower=False), [SQUARE, (4, 2)]),
        (lambda x, y: tf.linalg.cholesky_solve(lower(x), y), [SQUARE, (4, 2)]),
    ],
    "MatrixDiagV3": [(lambda x: tf.linalg.diag(x), [(4,)]), (lambda x: tf.linalg.diag(x, k=-1), [(4,)])],
    "MatrixDiagPartV3": [(tf.linalg.diag_part, [SHAPE]), (lambda x: tf.linalg.diag_part(x, k=1), [SHAPE])],
    "MatrixSetDiagV3": [(lambda x, y: tf.linalg.set_diag(x, y), [SHAPE, (4,)])],
    "LRN": [(lambda x: tf.nn.local_response_normalization(x, 2, 1.0, 0.5, 0.7), [(5, 6, 8)])],
    "Svd": [(lambda x: tf.linalg.svd(x, compute_uv=False), [SHAPE])],
    "SelfAdjointEigV2": [(lambda x: tf.linalg.eigvalsh(definite(x)), [SQUARE])],
    "Qr": [(lambda x: tf.linalg.qr(x)[1], [SHAPE]), (lambda x: tf.linalg.qr(x, full_matrices=True)[0], [(5, 3)])],
    "Cross": [(tf.linalg.cross, [(4, 3), (4, 3)])],
    "GatherNd": [
        (lambda x: tf.gather_nd(x, tf.stack([tf.zeros_like(whole(x[:, 0])), whole(x[:, 0]) % 4], -1)), [SHAPE])
    ],
    "ScatterNd": [(lambda x: tf.scatter_nd([[1], [0], [1]], x[0, :3], [4, 5]), [SHAPE])],
    "TensorScatterUpdate": [(lambda x: tf.tensor_scatter_nd_update(x[0], [[1], [0]], x[0, :2] * 2), [SHAPE])],
    "TensorScatterAdd": [(lambda x: tf.tensor_scatter_nd_add(x[0], [[1], [1]], x[0, :2] * 2), [SHAPE])],
    "TensorScatterSub": [(lambda x: tf.tensor_scatter_nd_sub(x[0], [[1], [1]], x[0, :2] * 2), [SHAPE])],
    "UnsortedSegmentSum": [(lambda x: tf.math.unsorted_segment_sum(x[0], [1, 0, -1, 1], 3), [SHAPE])],
    "UnsortedSegmentProd": [(lambda x: tf.math.unsorted_segment_prod(x[0], [1, 0, -1, 1], 3), [SHAPE])],
    "UnsortedSegmentMax": [(lambda x: tf.math.unsorted_segment_max(x[0], [1, 0, -1, 1], 2), [SHAPE])],
    "UnsortedSegmentMin": [(lambda x: tf.math.unsorted_segment_min(x[0], [1, 0, -1, 1], 2), [SHAPE])],
    "LowerBound": [(lambda x: tf.searchsorted(tf.sort(x), tf.round(x)), [SHAPE])],
    "UpperBound": [(lambda x: tf.searchsorted(tf.sort(x), tf.round(x), "right"), [SHAPE])],
    "Bucketize": [(lambda x: raw.Bucketize(input=tf.round(x), boundaries=[-1.0, 0.0, 0.5]), [SHAPE])],
    "CumulativeLogsumexp": [(lambda x: tf.math.cumulative_logsumexp(x, 1), [SHAPE])],
    "InTopKV2": [(lambda x: tf.math.in_top_k(tf.argmax(x[:, 0], -1), x[:, 1], 2), [SHAPE])],
    "ReverseSequence": [
        (lambda x: tf.reverse_sequence(x, whole(tf.abs(x[:, 0, 0])) + 1, 1, 0), [(6, 3)]),
        (lambda x: tf.reverse_sequence(x, tf.constant([1, 3, 2, 4]), 2, 1), [(4, 5)]),
    ],
    "HistogramFixedWidth": [(lambda x: tf.histogram_fixed_width(x, [-1.0, 1.0], 5), [SHAPE])],
    "RGBToHSV": [(lambda x: tf.image.rgb_to_hsv(color(x)), [SHAPE])],
    "HSVToRGB": [(lambda x: tf.image.hsv_to_rgb(color(x)), [SHAPE])],
    "AdjustHue": [(lambda x: tf.image.adjust_hue(color(x), 0.2), [SHAPE])],
    "AdjustSaturation": [(lambda x: tf.image.adjust_saturation(color(x), 1.7), [SHAPE])],
    "AdjustContrastv2": [(lambda x: tf.image.adjust_contrast(color(x), 1.7), [SHAPE])],
    "Conv2DBackpropInput": [
        (lambda x: tf.nn.conv2d_transpose(x, KERNEL, (tf.shape(x)[0], 16, 12, 2), 2, "SAME"), [(8, 6, 3)]),
        (lambda x: tf.nn.conv2d_transpose(x, KERNEL, (tf.shape(x)[0], 15, 11, 2), 2, "SAME"), [(8, 6, 3)]),
        (lambda x: tf.nn.conv2d_transpose(x, KERNEL, (tf.shape(x)[0], 18, 14, 2), 2, "VALID"), [(8, 6, 3)]),
    ],
}
KERNEL = np.random.default_rng(0).normal(size=(3, 3, 2, 3)).astype("float32")
EACH = [(kind, *case) for kind, cases in CASES.items() for case in cases]


def test_every_operation_has_a_case():
    assert set(CASES) == set(NATIVE)


@pytest.mark.parametrize("case", EACH, ids=[f"{case[0]}-{k}" for k, case in enumerate(EACH)])
def test_it_is_what_tensorflow_computes(case):
    kind, function, shapes, *dtype = case
    agrees(kind, function, shapes, *dtype, tolerance=1e-4 if kind in ("Zeta", "Digamma", "RGBToHSV") else 2e-5)


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: tf.linalg.svd(x)[1], "Svd with compute_uv=True"),
        (lambda x: tf.linalg.diag(tf.stack([x, x], -2), k=(0, 1)), "a matrix of several diagonals"),
        (lambda x: tf.linalg.inv(x[:, :, :4], adjoint=True), "MatrixInverse with adjoint=True"),
    ],
)
def test_what_is_not_written_is_refused_by_name(function, words):
    x = keras.Input(SHAPE)
    with pytest.raises(k2t.UnsupportedError, match=words):
        k2t.plan(keras.Model(x, Own(function, name="own")(x))).raise_for_problems()
