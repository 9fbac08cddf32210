"""Layers of a user's own that are opened by recording: code of TensorFlow, and sizes that are free."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from safetensors.torch import load_file

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise
from tests.keras_side.recorded import Own

CASES = {}


def case(*shapes, dtype="float32"):
    def register(cls):
        CASES[cls.__name__] = (cls, shapes, dtype)
        return cls

    return register


@case((8, 8, 3))
class Patches(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.proj = layers.Dense(5)

    def call(self, x):
        b = ops.shape(x)[0]
        h = ops.shape(x)[1]
        w = ops.shape(x)[2]
        x = ops.reshape(x, (b, h // 2, 2, w // 2, 2, 3))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = ops.reshape(x, (b, h // 2 * (w // 2), 12))
        return self.proj(x)


@case((None, None, 3))
class FreePatches(Patches):
    pass


@case((6, 4))
class Doubling(layers.Layer):
    def call(self, x):
        return ops.reshape(x, (ops.shape(x)[0] * 2, -1))


@case((7, 8))
class Rotary(layers.Layer):
    def call(self, x):
        n = tf.shape(x)[1]
        d = x.shape[-1] // 2
        pos = tf.cast(tf.range(n), "float32")
        freq = 1.0 / 10000 ** (tf.range(d, dtype="float32") / d)
        a = tf.einsum("i,j->ij", pos, freq)
        c, sn = (tf.cos(a), tf.sin(a))
        x1, x2 = tf.split(x, 2, axis=-1)
        return tf.concat([x1 * c - x2 * sn, x1 * sn + x2 * c], axis=-1)


@case((None, 8))
class FreeRotary(Rotary):
    pass


@case((None, 12))
class CausalAttention(layers.Layer):
    def __init__(self, **k):
        super().__init__(**k)
        self.qkv = layers.Dense(36)
        self.out = layers.Dense(12)

    def call(self, x):
        b, t = (tf.shape(x)[0], tf.shape(x)[1])
        q, k, v = tf.unstack(tf.transpose(tf.reshape(self.qkv(x), (b, t, 3, 3, 4)), (2, 0, 3, 1, 4)))
        sc = tf.matmul(q, k, transpose_b=True) / tf.sqrt(4.0)
        i = tf.range(t)[:, None]
        j = tf.range(t)[None]
        sc = tf.where(i >= j, sc, -1000000000.0)
        y = tf.matmul(tf.nn.softmax(sc), v)
        return self.out(tf.reshape(tf.transpose(y, (0, 2, 1, 3)), (b, t, 12)))


@case((8, 8, 3))
class TFNN(layers.Layer):
    def build(self, sh):
        self.k = self.add_weight(shape=(3, 3, 3, 4), name="k")
        self.b = self.add_weight(shape=(4,), name="b")

    def call(self, x):
        y = tf.nn.conv2d(x, self.k, strides=2, padding="SAME")
        y = tf.nn.bias_add(y, self.b)
        y = tf.nn.relu6(y)
        y = tf.nn.max_pool2d(y, 2, 2, "SAME")
        return tf.reduce_mean(y, axis=[1, 2])


@case((6, 5))
class Sliced(layers.Layer):
    def call(self, x):
        return tf.concat([x[..., ::2], x[:, :, 1:2], tf.zeros_like(x[..., :1])], -1)


@case((5,), dtype="int32")
class Tied(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.emb = layers.Embedding(11, 6)

    def call(self, x):
        y = self.emb(x)
        return tf.matmul(y, self.emb.embeddings, transpose_b=True)


@case((5, 4))
class ListOf(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.ds = [layers.Dense(4, name=f"d{i}") for i in range(3)]

    def call(self, x):
        for d in self.ds:
            x = tf.nn.gelu(d(x)) + x
        return x


@case((None, None, 4))
class Shuffle(layers.Layer):
    def call(self, x):
        h, w = (tf.shape(x)[1], tf.shape(x)[2])
        y = tf.reshape(x, (-1, h, w, 2, 2))
        return tf.reshape(tf.transpose(y, (0, 1, 3, 2, 4)), (-1, h * 2, w, 2))


@case((5, 4))
class Cls(layers.Layer):
    def build(self, sh):
        self.c = self.add_weight(shape=(1, 1, 4), name="cls")
        self.p = self.add_weight(shape=(1, 20, 4), name="pos")

    def call(self, x):
        b = tf.shape(x)[0]
        y = tf.concat([tf.tile(self.c, [b, 1, 1]), x], 1)
        return y + self.p[:, : tf.shape(y)[1]]


@case((5, 4))
class Mean(layers.Layer):
    def call(self, x):
        return tf.reduce_sum(x, 1) / tf.cast(tf.shape(x)[1], x.dtype)


@case((5, 4))
class Dropped(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.d = layers.Dropout(0.5)
        self.n = layers.LayerNormalization()

    def call(self, x, training=None):
        return tf.nn.elu(self.n(self.d(x, training=training)))


@case((6, 5))
class Norms(layers.Layer):
    def call(self, x):
        m, v = tf.nn.moments(x, [-1], keepdims=True)
        y = (x - m) * tf.math.rsqrt(v + 1e-05)
        y = tf.clip_by_value(y, -1.0, 1.0) + tf.math.squared_difference(x, y)
        return tf.pow(tf.abs(y) + 0.1, 2.5) - tf.math.log1p(tf.abs(x))


@case((6, 5))
class Ints(layers.Layer):
    def call(self, x):
        i = tf.argmax(x, -1)
        o = tf.one_hot(i, 5)
        j = tf.cast(i, tf.float32)[..., None]
        c = tf.cumsum(x, axis=1, reverse=True)
        t = tf.math.top_k(x, 3).values
        return tf.concat([o, j, c, t, tf.cast(x > 0, tf.float32), tf.where(x > 0, x, x * 0.1)], -1)


@case((6, 5))
class Shapes(layers.Layer):
    def call(self, x):
        a, b = tf.split(x, [2, 3], -1)
        c = tf.stack([a, a * 2], axis=2)
        d = tf.unstack(c, axis=2)
        p = tf.pad(b, [[0, 0], [1, 1], [0, 0]])
        q = tf.pad(b, [[0, 0], [1, 1], [0, 0]], mode="REFLECT")
        r = tf.reverse(x, [1])
        e = tf.expand_dims(a, -1)
        f = tf.squeeze(e, -1)
        g = tf.gather(x, [0, 2, 1], axis=1)
        h = tf.tile(g, [1, 2, 1])
        return tf.concat([d[0], d[1], f, r, h], -1) + tf.reduce_mean(p + q, [1, 2])[:, None, None]


@case((None, 5))
class Free2(layers.Layer):
    def call(self, x):
        n = tf.shape(x)[1]
        w = tf.ones([n, n]) / tf.cast(n, tf.float32)
        y = tf.matmul(tf.broadcast_to(w, [tf.shape(x)[0], n, n]), x)
        z = x[:, : n // 2]
        z = tf.concat([z, x[:, n // 2 :]], 1)
        return y + z + tf.fill([tf.shape(x)[0], n, 5], 2.0)


@case((None, 5))
class RelPos(layers.Layer):
    def build(self, sh):
        self.t = self.add_weight(shape=(31, 5), name="table")

    def call(self, x):
        n = ops.shape(x)[1]
        i = ops.arange(n)[:, None] - ops.arange(n)[None]
        i = ops.clip(i, -15, 15) + 15
        b = ops.take(self.t, i, axis=0)
        return ops.einsum("bnc,nmc->bmc", x, b)


@case((8, 8, 4))
class SE(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.a = layers.Dense(2, activation="relu")
        self.b = layers.Dense(4, activation="sigmoid")
        self.c = layers.Conv2D(4, 3, padding="same")
        self.n = layers.BatchNormalization()

    def call(self, x, training=False):
        y = self.n(self.c(x), training=training)
        z = tf.reduce_mean(y, [1, 2], keepdims=True)
        return tf.nn.swish(x + y * self.b(self.a(z)))


@case((10,), dtype="int32")
class Masked(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.e = layers.Embedding(20, 6, mask_zero=True)
        self.r = layers.LSTM(4)

    def call(self, x):
        return self.r(tf.nn.tanh(self.e(x)))


@case((10,), dtype="int32")
class Masked2(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.e = layers.Embedding(20, 6, mask_zero=True)
        self.r = layers.LSTM(4)
        self.d = layers.Dense(6)

    def call(self, x):
        return tf.identity(self.r(self.d(self.e(x)))) * tf.cast(tf.shape(x)[0], tf.float32)


@case((10,), dtype="int32")
class HandMask(layers.Layer):
    def __init__(self, **k):
        super().__init__(**k)
        self.e = layers.Embedding(20, 6)
        self.r = layers.GRU(4)

    def call(self, x):
        return self.r(self.e(x), mask=tf.not_equal(x, 0))


@case((6, 4))
class Cell(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.w = layers.Dense(4, activation="tanh")

    def call(self, x):
        h = tf.zeros([tf.shape(x)[0], 4])
        for t in range(x.shape[1]):
            h = self.w(tf.concat([x[:, t], h], -1))
        return h


@case((5,), (5,))
class Two(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.d = layers.Dense(3)

    def call(self, a, b):
        return tf.linalg.matmul(self.d(a)[:, :, None], self.d(b)[:, None, :])


@case((6, 6, 3))
class Attn2D(layers.Layer):
    def __init__(self, **k):
        super().__init__(**k)
        self.q = layers.Conv2D(2, 1)
        self.k = layers.Conv2D(2, 1)
        self.v = layers.Conv2D(3, 1)

    def build(self, sh):
        self.g = self.add_weight(name="gamma", shape=())
        super().build(sh)

    def call(self, x):
        b, h, w, c = [tf.shape(x)[i] for i in range(4)]
        q = tf.reshape(self.q(x), [b, h * w, 2])
        k = tf.reshape(self.k(x), [b, h * w, 2])
        v = tf.reshape(self.v(x), [b, h * w, c])
        a = tf.nn.softmax(tf.matmul(q, k, transpose_b=True))
        return self.g * tf.reshape(tf.matmul(a, v), tf.shape(x)) + x


@case((None, None, 3))
class FreeAttn2D(Attn2D):
    pass


@case((6, 4))
class NumpyConst(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.c = np.random.RandomState(0).randn(4, 3).astype("float32")
        self.t = tf.constant(self.c * 2)

    def call(self, x):
        return tf.matmul(x, self.c) + tf.matmul(x, self.t)


@case((6, 4))
class Bidir(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.b = layers.Bidirectional(layers.LSTM(3, return_sequences=True))
        self.td = layers.TimeDistributed(layers.Dense(2))

    def call(self, x):
        return self.td(self.b(tf.math.sin(x)))


@case((5, 4))
class Doubled(layers.Dense):
    """A subclass that calls the layer that it is."""

    def __init__(self, units=4, **options):
        super().__init__(units, **options)

    def call(self, x):
        return super().call(tf.nn.l2_normalize(x, -1)) * 2.0


@case((5, 4))
class Activated(layers.Layer):
    """A layer with a function of a user's own for its activation stays that layer; the function comes after it."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(5, activation=lambda x: tf.nn.softplus(x) * tf.tanh(x))
        self.conv = layers.Conv1D(3, 2, activation=lambda x: tf.nn.relu(x) - 0.1)

    def call(self, x):
        return self.conv(tf.identity(self.dense(x)))


@pytest.mark.parametrize("name", CASES)
def test_it_agrees(name, tmp_path):
    cls, shapes, dtype = CASES[name]
    inputs = [keras.Input(shape, dtype=dtype) for shape in shapes]
    model = keras.Model(inputs, cls(name="own")(*inputs))
    randomise(model)
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model)
    assert report.passed and report.proves, report.verdict
    assert report.weights.entries >= len(model.weights) - sum("seed" in v.path for v in model.weights)


def text(model, folder):
    randomise(model)
    return k2t.convert(model, folder).code.text


def test_the_source_reads_as_a_person_would_write_it(tmp_path):
    cls, (shape,), _ = CASES["FreePatches"]
    x = keras.Input(shape)
    written = text(keras.Model(x, cls(name="own")(x)), tmp_path)
    assert "y = x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, 3)" in written
    assert "self.own_proj = nn.Linear(12, 5)" in written


def test_it_runs_without_k2t_at_other_sizes(tmp_path):
    cls, (shape,), _ = CASES["CausalAttention"]
    x = keras.Input(shape)
    model = keras.Model(x, cls(name="own")(x))
    text(model, tmp_path)
    array = np.random.default_rng(0).normal(size=(3, 11, 12)).astype("float32")
    np.save(tmp_path / "x.npy", array)
    code = (
        "import sys; sys.modules['k2t_core'] = sys.modules['keras'] = None\n"
        "import numpy as np, torch, model\n"
        "net = model.load_model(); x = torch.from_numpy(np.load('x.npy'))\n"
        "np.save('y.npy', net(x).detach().numpy())\n"
        "batch, steps = torch.export.Dim('b', min=2), torch.export.Dim('t', min=2)\n"
        "program = torch.export.export(net, (x,), dynamic_shapes=({0: batch, 1: steps},))\n"
        "other = torch.randn(2, 5, 12)\n"
        "assert torch.allclose(program.module()(other), net(other), atol=1e-6)\n"
        "assert torch.allclose(torch.jit.script(net)(other), net(other), atol=1e-6)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(array), rtol=1e-4, atol=1e-5)


def test_one_variable_in_two_places_is_one(tmp_path):
    cls, (shape,), dtype = CASES["Tied"]
    x = keras.Input(shape, dtype=dtype)
    model = keras.Model(x, cls(name="own")(x))
    text(model, tmp_path)
    state = list(load_file(tmp_path / "model.safetensors").values())
    assert all((one.numpy() == state[0].numpy()).all() for one in state)
    assert k2t.verify(tmp_path, model, weights="randomised").passed


def test_layers_of_one_name_in_two_places(tmp_path):
    class Block(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.inner = layers.Dense(4, name="inner")

        def call(self, x):
            return tf.tanh(self.inner(x))

    class Stack(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.blocks = [Block(name=f"block{index}") for index in range(3)]

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    x = keras.Input((4,))
    model = keras.Model(x, Stack(name="stack")(x))
    randomise(model)
    k2t.convert(model, tmp_path)
    assert k2t.verify(tmp_path, model).passed


def test_what_is_other_each_time_is_refused():
    x = keras.Input((6, 4))
    drawn = np.random.default_rng(0)
    model = keras.Model(x, Own(lambda x: tf.sin(x) * drawn.normal(size=4).astype("float32"), name="own")(x))
    with pytest.raises(k2t.UnsupportedError, match="it draws random numbers"):
        k2t.plan(model).raise_for_problems()


def test_a_function_of_keras_that_does_not_fit_is_taken_apart(tmp_path):
    """ops.reshape takes no tensor for a size; its operation does."""

    def function(x):
        return ops.reshape(tf.sin(x), (ops.shape(x)[0] * 2, -1, ops.shape(x)[2]))

    x = keras.Input((6, 4))
    model = keras.Model(x, Own(function, name="own")(x))
    assert ".shape[0] * 2, -1, 4)" in text(model, tmp_path)
