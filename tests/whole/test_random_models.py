"""Random graphs: layouts, flattening, merges, slices, nested and shared layers in combinations nobody would think of.

K2T_RANDOM_MODELS=500 python -m pytest tests/whole/test_random_models.py  tries 500 of them.
"""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest
from keras import layers, ops

import k2t_core as k2t
from tests.harness import convert_and_run, relative_difference

COUNT = int(os.environ.get("K2T_RANDOM_MODELS", "40"))


class Maker:
    """Grows a graph from image, sequence and vector inputs by steps that fit the rank of a tensor already there."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        keras.utils.clear_session()

    def pick(self, items):
        return items[int(self.rng.integers(len(items)))]

    def size(self, low=1, high=5) -> int:
        return int(self.rng.integers(low, high + 1))

    def model(self) -> keras.Model:
        shapes = [
            self.pick([(6, 5, 3), (4, 6, 2), (5, 4), (7, 3), (6,), (1, 3, 4), (3, 4, 2, 3)])
            for _ in range(self.size(1, 2))
        ]
        inputs = [keras.Input(shape, name=f"in{k}") for k, shape in enumerate(shapes)]
        pool = list(inputs)
        for _ in range(self.size(4, 12)):
            x = self.pick(pool[-4:])
            y = self.step(x, pool)
            if y is not None and 0 < int(np.prod(y.shape[1:])) <= 4000:
                pool.append(y)
        outputs = [pool[-1]] + (
            [self.pick(pool[len(inputs) :])] if len(pool) > len(inputs) + 1 and self.rng.random() < 0.4 else []
        )
        outputs = [y for y in outputs if not any(y is x for x in inputs)] or [layers.Dense(3)(inputs[0])]
        return keras.Model(inputs, outputs, name="random_model")

    def step(self, x, pool):
        rank = len(x.shape)
        options = [
            self.dense,
            self.activation,
            self.unary,
            self.merge,
            self.norm,
            self.softmax,
            self.shared,
            self.broadcast,
            self.along,
            self.split,
            self.shared_norm,
        ]
        if rank == 4:
            options += [
                self.conv,
                self.conv,
                self.pool2d,
                self.flatten,
                self.permute,
                self.reshape,
                self.reduce,
                self.slice,
                self.spatial,
                self.nested,
                self.excite,
                self.channels_first,
                self.sizes,
            ]
        elif rank == 3:
            options += [
                self.conv1d,
                self.flatten,
                self.permute,
                self.reshape,
                self.reduce,
                self.slice,
                self.recurrent,
                self.matmul,
                self.masked,
                self.attention,
            ]
        elif rank == 5:
            options += [self.conv3d, self.flatten, self.permute, self.reduce, self.slice, self.each_step]
        else:
            options += [self.repeat, self.reshape]
        return self.pick(options)(x, pool)

    def dense(self, x, pool):
        return layers.Dense(self.size(), activation=self.pick([None, "relu", "tanh", "softmax"]))(x)

    def activation(self, x, pool):
        return self.pick(
            [
                layers.ReLU(),
                layers.LeakyReLU(),
                layers.ELU(),
                layers.Activation("swish"),
                layers.PReLU(shared_axes=self.pick([None, [1]]) if len(x.shape) > 2 else None),
            ]
        )(x)

    def unary(self, x, pool):
        return self.pick(
            [
                lambda t: t * 2 - 1,
                ops.tanh,
                ops.square,
                lambda t: 1 / (ops.abs(t) + 1),
                lambda t: t[:, ::-1],
                lambda t: ops.flip(t, axis=-1),
            ]
        )(x)

    def merge(self, x, pool):
        same = [t for t in pool if t.shape == x.shape]
        if len(same) > 1 and self.rng.random() < 0.6:
            return self.pick([layers.Add(), layers.Multiply(), layers.Maximum(), layers.Subtract()])(
                [x, self.pick([t for t in same if t is not x])]
            )
        close = [t for t in pool if len(t.shape) == len(x.shape) and t.shape[1:-1] == x.shape[1:-1]]
        if self.rng.random() < 0.3 and len(x.shape) > 2:
            return layers.Concatenate(axis=1)([x, x * 0.5])
        return layers.Concatenate(axis=-1)([x, self.pick(close)])

    def norm(self, x, pool):
        axis = self.pick([-1, 1]) if len(x.shape) > 2 else -1
        if 1 in (x.shape[-1], x.shape[1]):  # normalising a single number leaves Keras's rounding, and nothing else
            axis, x = -1, layers.Dense(3)(x)
        return self.pick(
            [
                layers.BatchNormalization(axis=axis),
                layers.LayerNormalization(
                    axis=self.pick([-1, axis]) if len(x.shape) < 4 else self.pick([-1, [-2, -1], 1])
                ),
            ]
        )(x)

    def softmax(self, x, pool):
        return layers.Softmax(axis=self.pick([-1, 1]))(x)

    def shared(self, x, pool):
        layer = layers.Dense(int(x.shape[-1]))
        return layer(ops.tanh(layer(x)))

    def conv(self, x, pool):
        padding, stride = self.pick(["same", "valid"]), self.pick([1, 1, 2, (2, 1)])
        kernel = (self.size(1, min(3, x.shape[1])), self.size(1, min(3, x.shape[2])))
        kind = self.pick([layers.Conv2D, layers.Conv2D, layers.Conv2DTranspose, layers.SeparableConv2D])
        if kind is layers.SeparableConv2D and stride == (2, 1):
            stride = 2
        return kind(self.size(), kernel, stride, padding, activation=self.pick([None, "relu"]))(x)

    def conv1d(self, x, pool):
        return layers.Conv1D(
            self.size(),
            self.size(1, min(3, x.shape[1])),
            padding=self.pick(["same", "causal", "valid"]),
            activation="relu",
        )(x)

    def conv3d(self, x, pool):
        return layers.Conv3D(self.size(), 2, padding="same")(x)

    def pool2d(self, x, pool):
        return self.pick(
            [
                layers.MaxPooling2D(2, padding="same"),
                layers.AveragePooling2D(2, 1, "same"),
                layers.GlobalAveragePooling2D(keepdims=self.pick([True, False])),
                layers.GlobalMaxPooling2D(),
            ]
        )(x)

    def flatten(self, x, pool):
        y = layers.Flatten()(x)
        return self.pick([lambda t: t, layers.Dense(self.size()), layers.ReLU(), layers.Dropout(0.5)])(y)

    def permute(self, x, pool):
        return layers.Permute(tuple(int(i) + 1 for i in self.rng.permutation(len(x.shape) - 1)))(x)

    def reshape(self, x, pool):
        count = int(np.prod(x.shape[1:]))
        divisors = [d for d in range(1, count + 1) if count % d == 0]
        a = self.pick(divisors)
        b = self.pick([d for d in divisors if (count // a) % d == 0])
        return layers.Reshape(self.pick([(a, count // a), (a, b, count // a // b), (-1, a), (count,)]))(x)

    def reduce(self, x, pool):
        axis = self.pick([1, -1, *([(1, 2)] if len(x.shape) > 3 else [])])
        return self.pick([ops.mean, ops.max, ops.sum])(x, axis=axis, keepdims=self.pick([True, False]))

    def slice(self, x, pool):
        return self.pick(
            [
                lambda t: t[:, 1:] if t.shape[1] > 1 else t,
                lambda t: t[..., :1],
                lambda t: t[:, 0],
                lambda t: t[:, :, -1:],
            ]
        )(x)

    def spatial(self, x, pool):
        return self.pick(
            [
                layers.ZeroPadding2D(((1, 0), (0, 2))),
                layers.UpSampling2D((2, 1)),
                layers.UpSampling2D(2, interpolation="bilinear"),
                layers.Cropping2D(((1, 0), (0, 0))) if x.shape[1] > 1 else layers.ReLU(),
            ]
        )(x)

    def nested(self, x, pool):
        inner = keras.Input(x.shape[1:])
        y = layers.Conv2D(self.size(), 1)(inner)
        y = self.pick([lambda t: layers.Flatten()(t), lambda t: t, lambda t: layers.Dense(2)(layers.Flatten()(t))])(y)
        model = keras.Model(inner, y, name=f"inner{len(pool)}")
        return layers.Add()([model(x), model(x * 0.5)])

    def recurrent(self, x, pool):
        return self.pick(
            [
                layers.LSTM(self.size(), return_sequences=self.pick([True, False])),
                layers.GRU(self.size()),
                layers.Bidirectional(layers.SimpleRNN(self.size(), return_sequences=True)),
            ]
        )(x)

    def matmul(self, x, pool):
        return ops.matmul(x, ops.transpose(x, (0, 2, 1)))

    def repeat(self, x, pool):
        return layers.RepeatVector(self.size())(x)

    def broadcast(self, x, pool):
        """With a constant of another rank, and with itself along one axis."""
        shape = self.pick([(x.shape[-1],), (1, *x.shape[1:]), (1,)])
        constant = self.rng.standard_normal(shape).astype("float32")
        return self.pick(
            [
                lambda: x * constant,
                lambda: ops.subtract(constant, x),
                lambda: x + ops.mean(x, axis=1, keepdims=True),
                lambda: ops.maximum(x, ops.mean(x, axis=-1, keepdims=True)),
            ]
        )()

    def along(self, x, pool):
        axis = self.pick([*range(1, len(x.shape)), *range(1 - len(x.shape), 0)])
        return self.pick(
            [
                lambda: ops.softmax(x, axis=axis),
                lambda: ops.cumsum(x, axis=axis),
                lambda: ops.roll(x, 1, axis=axis),
                lambda: ops.logsumexp(x, axis=axis, keepdims=True),
                lambda: ops.stack([x, ops.tanh(x)], axis=axis),
                lambda: ops.moveaxis(x, axis, 1),
                lambda: ops.repeat(x, 2, axis=axis),
            ]
        )()

    def split(self, x, pool):
        axis = self.pick([*range(1, len(x.shape)), -1])
        return layers.Concatenate(axis=axis)(ops.split(x, [1], axis=axis)[::-1]) if x.shape[axis] > 1 else None

    def shared_norm(self, x, pool):
        if x.shape[-1] == 1:
            return None
        layer = self.pick([layers.BatchNormalization, layers.LayerNormalization])()
        return layer(ops.tanh(layer(x)))

    def excite(self, x, pool):
        scale = self.pick(
            [
                layers.GlobalAveragePooling2D(keepdims=True),
                lambda t: layers.Reshape((1, 1, t.shape[-1]))(layers.GlobalMaxPooling2D()(t)),
            ]
        )(x)
        return layers.Multiply()([x, layers.Dense(x.shape[-1], "sigmoid")(scale)])

    def channels_first(self, x, pool):
        kind, options = self.pick(
            [
                (layers.MaxPooling2D, {"padding": "same"}),
                (layers.GlobalAveragePooling2D, {}),
                (layers.Flatten, {}),
                (layers.UpSampling2D, {}),
                (layers.Conv2D, {"filters": 2, "kernel_size": 1}),
            ]
        )
        return kind(**options, data_format="channels_first")(self.pick([x, layers.Permute((3, 1, 2))(x)]))

    def sizes(self, x, pool):
        """One nested model on two sizes."""
        inner = keras.Input((None, None, x.shape[-1]))
        model = keras.Model(
            inner,
            layers.GlobalMaxPooling2D()(layers.BatchNormalization()(layers.Conv2D(2, 2, padding="same")(inner))),
            name=f"sizes{len(pool)}",
        )
        return layers.Concatenate()([model(x), model(layers.ZeroPadding2D(1)(x))])

    def masked(self, x, pool):
        y = layers.Masking()(ops.relu(x))
        return self.pick(
            [
                layers.LSTM(2),
                layers.Bidirectional(layers.GRU(2, return_sequences=True)),
                layers.TimeDistributed(layers.Dense(2)),
                lambda t: layers.MultiHeadAttention(2, 2)(t, t),
            ]
        )(y)

    def attention(self, x, pool):
        return layers.MultiHeadAttention(2, 2)(
            x, self.pick([t for t in pool if len(t.shape) == 3]), use_causal_mask=self.pick([True, False])
        )

    def each_step(self, x, pool):
        return layers.TimeDistributed(
            self.pick(
                [
                    layers.Flatten(),
                    layers.Conv2D(2, 2, padding="same"),
                    layers.GlobalAveragePooling2D(),
                    keras.Sequential([layers.Conv2D(2, 1), layers.MaxPooling2D(2, padding="same"), layers.Flatten()]),
                ]
            )
        )(x)


@pytest.mark.parametrize("seed", range(COUNT))
def test_random_model(seed):
    model = Maker(seed).model()
    try:
        conversion, _, expected, actual = convert_and_run(model)
    except k2t.UnsupportedError as error:
        # The refusals that these graphs may meet.
        assert "need different modules" in str(error) or "adds the bias along the width" in str(error), error
        return
    for want, got in zip(expected, actual):
        assert want.shape == got.shape
        assert relative_difference(want, got) <= 2e-5 or np.abs(want).max() < 1e-6, conversion.code.text


def test_a_layer_that_does_nothing_does_not_free_its_inputs_name():
    """The permutation is none, so its output goes by the name of its input, which lives on after it."""
    x = keras.Input((3, 1, 2))
    y = layers.Conv2D(1, 1)(x)
    still = layers.Permute((1, 3, 2))(y)
    model = keras.Model(x, [layers.Multiply()([still, y]), y[:, ::-1]])
    _, _, expected, actual = convert_and_run(model)
    assert all(relative_difference(want, got) < 1e-5 for want, got in zip(expected, actual))
