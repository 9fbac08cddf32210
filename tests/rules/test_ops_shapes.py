"""Operations that index, join and rearrange."""

from __future__ import annotations

import operator

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from tests.harness import check
from tests.rules.operations import CUBE, between, model_of, moves, refused

KEYS = [
    np.s_[:, 1:3],
    np.s_[:, ::2],
    np.s_[..., 1:],
    np.s_[:, :, ::-1],
    np.s_[:, ::-1, ::-2],
    np.s_[..., 0],
    np.s_[:, 0],
    np.s_[:, 0, ..., -1],
    np.s_[:, None],
    np.s_[:, :, None, 2:4],
    np.s_[..., None],
    np.s_[:, -2:],
    np.s_[:, :-1, 1:],
    np.s_[1:],
    np.s_[0],
    np.s_[-1, 2],
    np.s_[..., 4:0:-2],
    np.s_[:, 3:1:-1],
    np.s_[None],
    np.s_[:, 0, None, 1],
    np.s_[:, :, :, None, None],
    np.s_[:, -1, :, -1],
    np.s_[::-1],
    np.s_[:, 1:100],
    np.s_[:, -100:3],
    np.s_[:, 2, ::-1, ..., 1::2],
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_get_item(key):
    if not isinstance(key, tuple):
        key = (key,)  # Keras takes an int or a tuple
    check(between(lambda y: y[key]))
    check(model_of(lambda x: x[key], CUBE))


@settings(max_examples=20)
@given(st.data())
def test_get_item_of_anything(data):
    bound = st.one_of(st.none(), st.integers(-6, 6))
    part = st.one_of(
        st.integers(-5, 4), st.just(slice(None)), st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, -1, -2]))
    )
    key = [slice(None), *data.draw(st.lists(part, min_size=0, max_size=3))]
    while data.draw(st.booleans()) and len(key) < 6:
        key.insert(data.draw(st.integers(1, len(key))), None)
    if 0 in keras.ops.zeros((2, *CUBE))[tuple(key)].shape:
        return
    check(between(lambda y: y[tuple(key)] * 2))


def test_get_item_of_unknown_size():
    check(model_of(lambda x: x[:, ::-1, 1:], (None, 5)))
    check(model_of(lambda x: x[:, -2:], (None, 5)))
    refused(lambda x: x[:, 3::-1], (None, 5), match="unknown size")


SHAPES = {
    "expand 1": lambda y: ops.expand_dims(y, 1),
    "expand -1": lambda y: ops.expand_dims(y, -1),
    "expand two": lambda y: ops.expand_dims(y, (1, 3)),
    "expand 0": lambda y: ops.expand_dims(y, 0),
    "squeeze": lambda y: ops.squeeze(ops.mean(y, 2, keepdims=True), 2),
    "squeeze two": lambda y: ops.squeeze(ops.mean(y, (1, 3), keepdims=True), (1, -1)),
    "squeeze all": lambda y: ops.squeeze(ops.mean(y, (1, 3), keepdims=True)),
    "reshape": lambda y: ops.reshape(y, (-1, 25, 5)),
    "reshape 2": lambda y: ops.reshape(y, (-1, 5, 25)),
    "reshape flat": lambda y: ops.reshape(y, (-1,)),
    "reshape rows": lambda y: ops.reshape(y, (-1, 5)),
    "reshape image": lambda y: ops.reshape(y, (-1, 25, 1, 5)),
    "reshape odd": lambda y: ops.reshape(y, (-1, 1, 125)),
    "ravel": ops.ravel,
    "transpose": lambda y: ops.transpose(y, (0, 3, 1, 2)),
    "transpose 2": lambda y: ops.transpose(y, (0, 2, 1, 3)),
    "transpose all": lambda y: ops.transpose(y),
    "transpose batch": lambda y: ops.transpose(y, (1, 0, 2, 3)),
    "swapaxes": lambda y: ops.swapaxes(y, 1, -1),
    "moveaxis": lambda y: ops.moveaxis(y, -1, 1),
    "moveaxis 2": lambda y: ops.moveaxis(y, (1, 2), (2, 3)),
    "concatenate": lambda y: ops.concatenate([y, y * 2], 1),
    "concatenate -1": lambda y: ops.concatenate([y, y * 2], -1),
    "concatenate dtypes": lambda y: ops.concatenate([y, ops.cast(y, "int32")], 2),
    "concatenate layouts": lambda y: ops.concatenate([y, layers.Dense(5)(y)], 2),
    "stack": lambda y: ops.stack([y, y * 2], 1),
    "stack -1": lambda y: ops.stack([y, y * 2], -1),
    "stack rows": lambda y: ops.stack([y[:, 0], y[:, 1], y[:, 2]], 1),
    "stack columns": lambda y: ops.stack([y[:, :, 0], y[:, :, 1]], 2),
    "stack channels": lambda y: ops.stack([y[..., 0], y[..., 3]], -1),
    "split": lambda y: ops.split(y, 5, 1)[2],
    "split uneven": lambda y: ops.split(y, [1, 4], -1)[1],
    "split add": lambda y: operator.add(*ops.split(ops.concatenate([y, y * 2], -1), 2, -1)),
    "split one": lambda y: ops.split(y, 1, 1)[0],
    "unstack": lambda y: operator.sub(*ops.unstack(y[:, :2], axis=1)),
    "unstack channels": lambda y: ops.unstack(y, axis=-1)[3],
    "array_split": lambda y: ops.array_split(y, 2, axis=1)[0],
    "repeat": lambda y: ops.repeat(y, 2, 1),
    "repeat -1": lambda y: ops.repeat(y, 3, -1),
    "repeat list": lambda y: ops.repeat(y, [1, 2, 0, 1, 3], 2),
    "repeat flat": lambda y: ops.repeat(y, 2),
    "tile": lambda y: ops.tile(y, (1, 2, 1, 3)),
    "tile short": lambda y: ops.tile(y, (2, 3)),
    "tile int": lambda y: ops.tile(y, 2),
    "tile long": lambda y: ops.tile(y, (2, 1, 1, 2, 1)),
    "fliplr": ops.fliplr,
    "flipud": ops.flipud,
    "hstack": lambda y: ops.hstack([y, y * 2]),
    "vstack": lambda y: ops.vstack([y, y * 2]),
    "flip": lambda y: ops.flip(y, 1),
    "flip two": lambda y: ops.flip(y, (1, -1)),
    "flip all": lambda y: ops.flip(y),
    "roll": lambda y: ops.roll(y, 2, 1),
    "roll -1": lambda y: ops.roll(y, -1, -1),
    "roll two": lambda y: ops.roll(y, (1, 2), (1, 2)),
    "roll flat": lambda y: ops.roll(y, 3),
    "pad": lambda y: ops.pad(y, [[0, 0], [1, 2], [0, 1], [0, 0]]),
    "pad value": lambda y: ops.pad(y, [[0, 0], [0, 0], [2, 0], [1, 1]], constant_values=1.5),
    "pad reflect": lambda y: ops.pad(y, [[0, 0], [1, 2], [4, 0], [0, 0]], mode="reflect"),
    "pad symmetric": lambda y: ops.pad(y, [[0, 0], [5, 2], [0, 1], [1, 0]], mode="symmetric"),
    "pad reflect all": lambda y: ops.pad(y, [[1, 0], [0, 2], [0, 0], [1, 3]], mode="reflect"),
    "slice": lambda y: ops.slice(y, (0, 1, 0, 2), (3, 2, 5, 2)),
    "tril": ops.tril,
    "triu": lambda y: ops.triu(y, 1),
    "take": lambda y: ops.take(y, [0, -1, 2], 1),
    "take one": lambda y: ops.take(y, 2, -1),
    "take table": lambda y: ops.take(y, np.array([[0, 1], [2, -1]]), 2),
}
PLAIN = {
    "fliplr",
    "flipud",
    "hstack",
    "vstack",
    "expand 1",
    "expand -1",
    "expand two",
    "expand 0",
    "squeeze",
    "squeeze two",
    "transpose",
    "swapaxes",
    "moveaxis",
    "concatenate",
    "concatenate -1",
    "stack",
    "stack -1",
    "split",
    "split uneven",
    "split add",
    "split one",
    "unstack",
    "unstack channels",
    "repeat",
    "repeat -1",
    "repeat list",
    "tile",
    "tile short",
    "tile int",
    "flip",
    "flip two",
    "flip all",
    "roll",
    "roll -1",
    "roll two",
    "pad",
    "pad value",
    "pad reflect",
    "pad symmetric",
    "slice",
    "array_split",
    "reshape image",
}


@pytest.mark.parametrize("name", list(SHAPES))
def test_shapes(name):
    conversion, _ = check(between(SHAPES[name]))
    nodes = conversion.plan.root.graph.nodes
    if name in PLAIN - {"transpose", "swapaxes", "moveaxis"} and (
        nodes[-1].layer.kind == "Dense" or name.startswith(("squeeze", "split", "unstack"))
    ):
        assert not moves(conversion)
    check(model_of(SHAPES[name], CUBE))


@settings(max_examples=20)
@given(st.permutations([0, 1, 2, 3]), st.permutations([0, 1, 2, 3]))
def test_transpose_of_anything(first, second):
    x = keras.Input((4, 4, 4), batch_size=4)
    y = ops.transpose(layers.Conv2D(4, 3, padding="same")(x), first)
    z = ops.transpose(ops.cumsum(y, 1), second)
    model = keras.Model(x, [z, ops.softmax(z + y * 2, 1), ops.sum(z, 2)])
    check(model, [np.random.default_rng(0).standard_normal((4, 4, 4, 4)).astype("float32")])


@settings(max_examples=20)
@given(st.integers(1, 3), st.lists(st.integers(1, 3), min_size=2, max_size=3), st.integers(1, 3), st.data())
def test_concatenate_and_split_round_trip(axis, sizes, last, data):
    x = keras.Input((4, 4, 4))
    parts = []
    for size in sizes:
        key = [slice(None)] * 4
        key[axis] = slice(0, size)
        parts.append((layers.Conv2D(4, 1)(x) if data.draw(st.booleans()) else layers.Dense(4)(x))[tuple(key)])
    whole = ops.concatenate(parts, axis)
    pieces = ops.split(whole, np.cumsum(sizes)[:-1].tolist(), axis if data.draw(st.booleans()) else axis - 4)
    check(keras.Model(x, [layers.Conv2D(3, 1)(pieces[0]) if axis != 3 else pieces[0], *pieces[1:]]))


def test_split_outputs_used_once_or_never():
    x = keras.Input((6,))
    a, b, c = ops.split(x, 3, axis=-1)
    check(keras.Model(x, a * c))
    check(keras.Model(x, [b, a]))
    check(keras.Model(x, ops.split(x, 2, axis=-1)))


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_one_hot(axis, dtype):
    model = model_of(lambda x: ops.one_hot(x - 1, 3, axis=axis, dtype=dtype), (5,), dtype="int32")
    check(model, [np.random.default_rng(0).integers(0, 6, (4, 5)).astype("int32")])  # −1, 3 and 4 are out of range
    check(
        model_of(lambda x: ops.one_hot(x, 4, dtype=dtype), (5,)),
        [np.random.default_rng(0).uniform(0, 4, (4, 5)).astype("float32")],
    )


def test_flattened_image_with_more_axes_is_refused():
    def function(x):
        y = layers.Flatten()(layers.Conv2D(5, 1)(x))
        return layers.Dense(3)(ops.multiply(y, np.ones((1, 1, 125), "float32")))

    refused(function, CUBE, match="flattened image")


def test_take_with_tensors():
    rng = np.random.default_rng(0)
    table = np.linspace(0, 1, 50, dtype="float32").reshape(10, 5)
    model = model_of(lambda x, i: ops.take_along_axis(x, i, axis=1), (4, 5), (2, 5), dtype=("float32", "int32"))
    check(model, [rng.standard_normal((3, 4, 5)).astype("float32"), rng.integers(-4, 4, (3, 2, 5)).astype("int32")])
    model = model_of(lambda x, i: ops.take(x, i[0], axis=2), (4, 5), (4,), dtype=("float32", "int32"))
    check(model, [rng.standard_normal((3, 4, 5)).astype("float32"), rng.integers(-5, 5, (3, 4)).astype("int32")])
    model = model_of(lambda i: ops.take(table, i, axis=0), (4,), dtype="int32")
    check(model, [rng.integers(0, 10, (3, 4)).astype("int32")])
