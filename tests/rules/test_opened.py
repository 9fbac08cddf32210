"""What opening a layer leaves in the graph, converted and run: variables, constants, sizes read when it runs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.harness import check, verified


def opened(call, shape, variables=None, dtype="float32"):
    """A model of one layer whose call() k2t opens; variables: name → (shape, dtype)."""

    def build(self, shape):
        for name, (size, kind) in (variables or {}).items():
            start = "ones" if kind != "float32" else "glorot_uniform"
            setattr(self, name, self.add_weight(name=name, shape=size, dtype=kind, initializer=start, trainable=False))
        self.built = True

    layer = type("Own", (layers.Layer,), {"build": build, "call": call})(name="own")
    x = keras.Input(shape, dtype=dtype, name="x")
    return keras.Model(x, layer(x))


def test_a_weight_is_a_parameter_and_a_count_a_buffer():
    model = opened(
        lambda self, x: x * self.gain + ops.cast(self.count, "float32"),
        (4,),
        {"gain": ((4,), "float32"), "count": ((4,), "int32")},
    )
    conversion, module = check(model)
    assert dict(module.named_parameters()).keys() == {"own_gain"}
    assert str(module.own_count.dtype) == "torch.int32" and "own_count" in module.state_dict()
    assert "dtype=torch.int32" in conversion.code.text


class Positioned(layers.Layer):
    """Calls a layer on plain numbers."""

    def __init__(self, numbers, **kwargs):
        super().__init__(**kwargs)
        self.numbers, self.table = numbers, layers.Embedding(40, 3, name="table")

    def build(self, shape):
        self.table.build()

    def call(self, x):
        return x + self.table(self.numbers)

    def get_config(self):
        return {**super().get_config(), "numbers": self.numbers.tolist()}


@pytest.mark.parametrize(
    ("numbers", "written"),
    [
        (np.arange(5), "torch.arange(5)"),
        (np.arange(5).reshape(1, 5), "torch.arange(5).view(1, 5)"),
        (np.array([3, 1, 0, 2, 30]), "torch.empty((5,), dtype=torch."),
    ],
)
def test_numbers_are_a_buffer_and_consecutive_ones_are_counted(numbers, written):
    x = keras.Input((5, 3))
    conversion, module = check(keras.Model(x, Positioned(numbers, name="own")(x)))
    assert written in conversion.code.text, conversion.code.text
    ((key, buffer),) = module.named_buffers()
    assert np.array_equal(buffer.numpy(), numbers)
    assert (key in module.state_dict()) != ("arange" in written), "what is counted is not stored"


def test_floats_that_a_layer_is_called_on():
    dense = layers.Dense(3, name="dense")
    numbers = np.linspace(-1, 1, 10, dtype="float32").reshape(5, 2)

    class Own(layers.Layer):
        def build(self, shape):
            dense.build((None, 2))
            self.dense = dense

        def call(self, x):
            return x * self.dense(numbers)

    x = keras.Input((5, 3))
    _, module = check(keras.Model(x, Own(name="own")(x)))
    assert any(np.array_equal(value.numpy(), numbers) for _, value in module.named_buffers())


# --- in layers of a user's own, verified layer by layer -----------------------------------------------------------


class Patches(layers.Layer):
    """As in Keras's own examples: the batch's size is read and only handed on."""

    def __init__(self, size=2, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, x):
        batch, height, width, channels = ops.shape(x)
        x = ops.reshape(x, (batch, height // self.size, self.size, width // self.size, self.size, channels))
        return ops.reshape(
            ops.transpose(x, (0, 1, 3, 2, 4, 5)), (batch, height * width // self.size**2, self.size**2 * channels)
        )


def test_a_reshape_may_hand_on_the_size_of_the_batch(tmp_path):
    x = keras.Input((6, 4, 3))
    result, _ = verified(keras.Model(x, layers.Dense(2)(Patches(name="patches")(x))), tmp_path)
    assert "patches/transpose" in {planned.node.layer.path for _, _, _, planned in result.plan.root.walk()}


@pytest.mark.parametrize("steps", [5, None])
def test_a_reshape_may_infer_a_size_beside_the_batch(steps, tmp_path):
    class SelfAttention(layers.Layer):
        """As in Keras's own example of a transformer."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.query, self.key, self.value = (layers.Dense(8, name=name) for name in ("query", "key", "value"))

        def build(self, shape):
            for layer in (self.query, self.key, self.value):
                layer.build(shape)

        def heads(self, x, batch):
            return ops.transpose(ops.reshape(x, (batch, -1, 2, 4)), (0, 2, 1, 3))

        def call(self, x):
            batch, length, _ = ops.shape(x)
            query, key, value = (self.heads(layer(x), batch) for layer in (self.query, self.key, self.value))
            x = ops.transpose(ops.softmax(query @ ops.transpose(key, (0, 1, 3, 2)) / 2.0) @ value, (0, 2, 1, 3))
            return ops.reshape(ops.reshape(x, (batch, length, 2, 4)), (batch, -1, 8))

    x = keras.Input((steps, 6))
    result, _ = verified(keras.Model(x, layers.Dense(2)(SelfAttention(name="att")(x))), tmp_path)
    assert "reshape(x.shape[0], -1, 2, 4)" in result.code.text, result.code.text


def test_a_size_is_inferred_from_the_tensor_it_was_read_of(tmp_path):
    class Regrouped(layers.Layer):
        def call(self, x):
            rows = ops.tanh(ops.reshape(x, (-1, 2)))  # its first axis is free and not the batch
            return ops.reshape(rows, (ops.shape(x)[0], -1, 2))

    x = keras.Input((3, 4))
    verified(keras.Model(x, layers.Dense(2)(Regrouped(name="regrouped")(x))), tmp_path)


def test_weights_are_sliced_as_arrays_are(tmp_path):
    class Positions(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(name="table", shape=(9, shape[-1]))

        def call(self, x):
            return x + self.table[: x.shape[1]][None]

    x = keras.Input((5, 8))
    verified(keras.Model(x, layers.Dense(2)(Positions(name="positions")(x))), tmp_path)


@pytest.mark.parametrize("steps", [5, None])
@pytest.mark.parametrize(
    "count",
    [lambda n: ops.arange(n), lambda n: ops.arange(start=0, stop=n, step=1), lambda n: ops.arange(0, n, dtype="int64")],
)
def test_positions_of_a_sequence_of_any_length(count, steps, tmp_path):
    class Positions(layers.Layer):
        """As in Keras's own examples, with an input whose length is free."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.token, self.position = layers.Embedding(30, 8), layers.Embedding(90, 8)

        def build(self, shape):
            self.token.build()
            self.position.build()

        def call(self, x):
            return self.token(x) + self.position(count(ops.shape(x)[-1]))

    x = keras.Input((steps,), dtype="int32")
    verified(keras.Model(x, layers.Dense(2)(Positions(name="positions")(x))), tmp_path)


@pytest.mark.parametrize(
    "begin",
    [
        lambda table, n: table[:n],
        lambda table, n: table[1:n],
        lambda table, n: ops.transpose(ops.transpose(table)[:, :n]),
    ],
)
def test_the_beginning_of_a_table_for_a_sequence_of_any_length(begin, tmp_path):
    class Positions(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(name="table", shape=(99, shape[-1]))

        def call(self, x):
            return x + ops.sum(begin(self.table, ops.shape(x)[1]), axis=0)

    x = keras.Input((None, 8))
    verified(keras.Model(x, layers.Dense(2)(Positions(name="positions")(x))), tmp_path)


def test_numbers_are_repeated_for_each_sample(tmp_path):
    class SinePositions(layers.Layer):
        """As in keras_hub: a table of no batch is broadcast to the shape of the input."""

        def call(self, x):
            angles = ops.outer(ops.arange(x.shape[1], dtype="float32"), ops.arange(x.shape[2], dtype="float32") / 9)
            return x + ops.broadcast_to(ops.sin(angles), ops.shape(x))

    x = keras.Input((5, 8))
    verified(keras.Model(x, layers.Dense(2)(SinePositions(name="positions")(x))), tmp_path)


@pytest.mark.parametrize(
    "repeated",
    [
        lambda token, batch: ops.broadcast_to(token, (batch, 1, 8)),
        lambda token, batch: ops.tile(token, [batch, 1, 1]),
        lambda token, batch: ops.repeat(token, batch, axis=0),
    ],
)
def test_a_class_token_is_repeated_for_each_sample(repeated, tmp_path):
    class ClassToken(layers.Layer):
        def build(self, shape):
            self.token = self.add_weight(name="token", shape=(1, 1, shape[-1]))

        def call(self, x):
            return ops.concatenate([repeated(self.token, ops.shape(x)[0]), x], axis=1)

    x = keras.Input((5, 8))
    result, _ = verified(keras.Model(x, layers.Dense(2)(ClassToken(name="cls")(x))), tmp_path)
    assert ".expand(" in result.code.text and ".repeat(" not in result.code.text, result.code.text
