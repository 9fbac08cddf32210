"""Operations that reduce, sort or normalise along axes."""

from __future__ import annotations

import keras
import pytest
from keras import layers, ops

from tests.harness import check
from tests.rules.operations import CUBE, between, model_of, moves

REDUCTIONS = [
    "mean",
    "sum",
    "max",
    "min",
    "prod",
    "var",
    "std",
    "any",
    "all",
    "amax",
    "amin",
    "count_nonzero",
    "logsumexp",
    "argmax",
    "argmin",
    "norm",
    "average",
]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axis", [None, 1, 2, 3, -1, (1, 2), (2, 3), (1, -1), (1, 2, 3), 0])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(name, axis, keepdims):
    if name in ("argmax", "argmin", "average") and isinstance(axis, tuple):
        pytest.skip("one axis only")
    if name in ("count_nonzero", "average") and keepdims:
        pytest.skip("no keepdims")
    if name == "norm" and (axis is None or axis == (1, 2, 3)):
        pytest.skip("Keras has no norm over three axes")
    options = {} if name in ("count_nonzero", "average") else {"keepdims": keepdims}

    def function(y):
        if name in ("any", "all", "count_nonzero"):
            y = (
                ops.not_equal(y, ops.max(y)) if name == "all" else ops.equal(y, ops.max(y))
            )  # true, or false, in one place only
        if name == "prod":
            y = 1 + ops.tanh(y) / 5
        return getattr(ops, name)(y, axis=axis, **options)

    conversion, _ = check(between(function), tolerance=1e-4)  # sums and products of up to 375 factors
    assert name in ("argmax", "argmin") and axis is None or not moves(conversion)
    check(model_of(function, CUBE), tolerance=1e-4)


@pytest.mark.parametrize(
    "name", ["mean", "sum", "max", "min", "prod", "var", "std", "any", "all", "argmax", "cumsum", "count_nonzero"]
)
@pytest.mark.parametrize("dtype", ["int32", "int64", "int8", "bool"])
def test_reductions_of_integers(name, dtype):
    if name == "argmax" and dtype == "bool":
        pytest.skip("refused")
    check(model_of(lambda x: getattr(ops, name)(x, axis=1), (4, 5), dtype=dtype))


def test_reductions_with_options():
    check(model_of(lambda x: ops.max(x, axis=1, initial=0.5), (4, 5)))
    check(model_of(lambda x: ops.min(x, axis=1, initial=0.5), (4, 5)))
    for order in (1, 2, 3, float("inf"), float("-inf"), 0):
        check(
            model_of(lambda x, o=order: ops.norm(x, ord=o, axis=1), (4, 5))
            if order
            else model_of(lambda x: ops.norm(x + 1, ord=0, axis=1) + x[:, 0], (4, 5))
        )
    check(model_of(lambda x: ops.cumsum(x), (4, 5)))
    check(model_of(lambda x: ops.norm(x), (5,)))


def test_squeeze_and_excite_with_operators_moves_nothing():
    def block(y):
        s = layers.Dense(5, activation="sigmoid")(ops.mean(y, axis=(1, 2)))
        return y * s[:, None, None, :] + ops.expand_dims(ops.expand_dims(s, 1), 1) - ops.reshape(s, (-1, 1, 1, 5))

    conversion, _ = check(between(block))
    assert not moves(conversion)


def test_arguments_of_argmax_in_a_conv_net():
    """Class maps: argmax over channels, int32, no data moved."""
    conversion, _ = check(model_of(lambda x: ops.argmax(layers.Conv2D(5, 3)(x), axis=-1), CUBE))
    assert not moves(conversion)


@pytest.mark.parametrize("axes", [-1, (1, 2), [0, 2], (0, 1, 2, 3)])
@pytest.mark.parametrize("keepdims", [True, False])
def test_moments(axes, keepdims):
    x = keras.Input((6, 5, 4))
    check(keras.Model(x, ops.moments(layers.Conv2D(3, 2)(x), axes, keepdims=keepdims)))
