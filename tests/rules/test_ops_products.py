"""Products and Fourier transforms."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.harness import check
from tests.rules.operations import CUBE, between, model_of

PRODUCTS = [
    (ops.matmul, ((4, 5), (5, 6))),
    (ops.matmul, ((5, 5, 5), (5, 5, 5))),
    (ops.matmul, ((4, 5, 6), (1, 6, 5))),
    (lambda x: ops.matmul(x, np.linspace(0, 1, 30, dtype="float32").reshape(5, 6)), ((4, 5),)),
    (lambda x: ops.matmul(np.linspace(0, 1, 24, dtype="float32").reshape(6, 4), x), ((4, 5),)),
    (lambda x: ops.matmul(x, np.linspace(0, 1, 5, dtype="float32")), ((4, 5),)),
    (lambda x: x @ np.eye(5, dtype="float32")[:, :3], ((4, 5),)),
    (lambda x, y: ops.einsum("bij,bjk->bik", x, y), ((4, 5), (5, 6))),
    (lambda x, y: ops.einsum("bhqd,bhkd->bhqk", x, y), (CUBE, CUBE)),
    (lambda x: ops.einsum("bij->bji", x), ((4, 5),)),
    (lambda x: ops.einsum("...i,ij->...j", x, np.ones((5, 2), "float32")) + x[..., :2], ((4, 5),)),
    (lambda x: ops.dot(x, np.linspace(0, 1, 30, dtype="float32").reshape(5, 6)), ((4, 5),)),
    (lambda x: ops.dot(x, np.linspace(0, 1, 60, dtype="float32").reshape(2, 5, 6)), ((4, 5),)),
    (lambda x: ops.dot(x, np.linspace(0, 1, 5, dtype="float32")), ((4, 5),)),
    (lambda x: ops.tensordot(x, np.linspace(0, 1, 60, dtype="float32").reshape(4, 5, 3), axes=2), ((4, 5),)),
    (
        lambda x: ops.tensordot(x, np.linspace(0, 1, 60, dtype="float32").reshape(5, 4, 3), axes=[[1, 2], [1, 0]]),
        ((4, 5),),
    ),
]


@pytest.mark.parametrize("function, shapes", PRODUCTS)
def test_products(function, shapes):
    check(model_of(function, *shapes))


def test_products_of_convolutions():
    """Attention between pixels, written by hand: reshape, matmul, softmax."""
    for function in (
        lambda y: ops.matmul(y, y),
        lambda y: ops.einsum("bijc,bjkc->bikc", y, y),
        lambda y: y @ ops.swapaxes(y, -1, -2),
        lambda y: ops.reshape(
            ops.softmax(ops.matmul(ops.reshape(y, (-1, 25, 5)), ops.transpose(ops.reshape(y, (-1, 25, 5)), (0, 2, 1))))
            @ ops.reshape(y, (-1, 25, 5)),
            (-1, 5, 5, 5),
        ),
    ):
        check(between(function), tolerance=5e-5)


@pytest.mark.parametrize("dtypes", [("int32", "int32"), ("int32", "float32"), ("float16", "float32")])
def test_products_of_other_dtypes(dtypes):
    check(model_of(ops.matmul, (4, 5), (5, 6), dtype=dtypes), tolerance=1e-3 if "float16" in dtypes else 1e-5)
    check(
        model_of(lambda x, y: ops.einsum("bij,bjk->bik", x, y), (4, 5), (5, 6), dtype=dtypes),
        tolerance=1e-3 if "float16" in dtypes else 1e-5,
    )


def test_outer():
    model = keras.Model(x := keras.Input(batch_shape=(4, 5)), ops.outer(x, x))
    check(model, [np.random.default_rng(0).standard_normal((4, 5)).astype("float32")])


@pytest.mark.parametrize(
    "transform",
    [
        lambda y: ops.fft2((y, ops.zeros_like(y))),
        lambda y: ops.fft((y, y * 2)),
        ops.rfft,
        lambda y: ops.rfft(y, 6),
        lambda y: ops.rfft(y, 3),
    ],
    ids=["fft2", "fft", "rfft", "rfft longer", "rfft shorter"],
)
def test_fourier(transform):
    x = keras.Input((6, 5, 2))
    check(keras.Model(x, transform(layers.Conv2D(5, 2)(x))))
