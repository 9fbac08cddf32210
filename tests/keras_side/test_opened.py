"""Layers that no rule knows are opened: what their call() does converts like anything else.

Long because layers of a user's own come in many forms.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import k2t_core as k2t
from k2t_core.keras_side.calls import bind, symbolic_call
from k2t_core.keras_side.internals import set_mask
from k2t_core.keras_side.opened import is_variable
from k2t_core.keras_side.randomise import randomise
from k2t_core.keras_side.recording import open_layer
from tests.harness import check, verified


class TransformerBlock(layers.Layer):
    """As in Keras's own examples."""

    def __init__(self, width=8, heads=2, hidden=16, **kwargs):
        super().__init__(**kwargs)
        self.width, self.heads, self.hidden = width, heads, hidden
        self.att = layers.MultiHeadAttention(num_heads=heads, key_dim=width // heads)
        self.ffn = keras.Sequential([layers.Dense(hidden, activation="relu"), layers.Dense(width)])
        self.norm1 = layers.LayerNormalization(epsilon=1e-6)
        self.norm2 = layers.LayerNormalization(epsilon=1e-6)
        self.drop = layers.Dropout(0.1)
        self.supports_masking = True

    def build(self, shape):
        self.att.build(shape, shape)
        self.ffn.build(shape)
        self.norm1.build(shape)
        self.norm2.build(shape)

    def call(self, x, training=None):
        y = self.norm1(x + self.drop(self.att(x, x), training=training))
        return self.norm2(y + self.drop(self.ffn(y), training=training))

    def get_config(self):
        return {**super().get_config(), "width": self.width, "heads": self.heads, "hidden": self.hidden}


class Positions(layers.Layer):
    """Token and position embedding, as in Keras's own examples."""

    def __init__(self, length=12, words=30, width=8, mask_zero=False, **kwargs):
        super().__init__(**kwargs)
        self.length, self.words, self.width, self.mask_zero = length, words, width, mask_zero
        self.token = layers.Embedding(words, width, mask_zero=mask_zero)
        self.position = layers.Embedding(length, width)

    def build(self, shape):
        self.token.build()
        self.position.build()

    def call(self, x):
        return self.token(x) + self.position(ops.arange(0, self.length))

    def get_config(self):
        return {
            **super().get_config(),
            "length": self.length,
            "words": self.words,
            "width": self.width,
            "mask_zero": self.mask_zero,
        }


class Gated(layers.Layer):
    """Weights of its own, used with operators on either side, reshaped first, and a scalar."""

    def build(self, shape):
        self.gain = self.add_weight(name="gain", shape=(shape[-1],))
        self.table = self.add_weight(name="table", shape=(shape[-1], 3))
        self.scale = self.add_weight(name="scale", shape=())

    def call(self, x):
        gate = ops.sigmoid(ops.expand_dims(self.gain, 0) * 2.0)
        return self.scale * ops.matmul(self.gain * x * gate, self.table)


def model_of(layer, shape=(6,), dtype="float32", **call):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, layers.Dense(3)(layer(inputs, **call)), name="outer")


def test_a_block_of_keras_layers_and_weights_of_its_own(tmp_path):
    result, report = verified(model_of(Gated(name="gated")), tmp_path)
    keys = {weight.key: weight.source for weight in result.plan.weights}
    assert (
        keys["gated_gain"] == "gated/gain"
        and "self.gated_table = nn.Parameter(torch.empty((6, 3)))" in result.code.text
    )
    judged = [layer.layer for layer in report.layers]
    assert "gated/sigmoid" in judged and "gated/matmul" in judged


def test_transformer_blocks_of_a_users_own_class_fold(tmp_path):
    tokens = keras.Input((12,), dtype="int32")
    x = Positions(name="positions")(tokens)
    for k in range(3):
        x = TransformerBlock(name=f"block{k}")(x)
    result, report = verified(
        keras.Model(tokens, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(x)), name="encoder"),
        tmp_path,
    )
    text = result.code.text
    assert (
        "class TransformerBlock(nn.Module)" in text
        and text.count("nn.LayerNorm(") == 2
        and "range(3)" in text
        and "torch.arange(12)" in text
    ), text
    assert {"block1/att", "positions/token"} <= {layer.layer for layer in report.layers}


def test_masks_reach_what_is_inside(tmp_path):
    tokens = keras.Input((12,), dtype="int32")
    x = layers.Embedding(30, 8, mask_zero=True)(tokens)
    verified(keras.Model(tokens, layers.LSTM(4)(TransformerBlock(name="block")(x)), name="masked"), tmp_path)


class Residual(layers.Layer):
    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, shape):
        if not self.inner.built:
            self.inner.build(shape)

    def call(self, x, mask=None):
        y = self.inner(x)
        return x + y if mask is None else x + y * ops.cast(ops.expand_dims(mask, -1), y.dtype)

    def get_config(self):
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("inner")), **config)


def test_an_opened_layer_in_an_opened_layer_with_a_mask_as_argument(tmp_path):
    x = keras.Input((5, 8))
    y = Residual(Residual(layers.Dense(8, activation="tanh", name="dense"), name="within"), name="around")(
        layers.Masking()(x)
    )
    with keras.saving.custom_object_scope({"Residual": Residual}):
        verified(keras.Model(x, y), tmp_path)


def test_images_stay_channels_first(tmp_path):
    class Block(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.conv, self.norm = (
                layers.Conv2D(4, 3, padding="same", name="conv"),
                layers.BatchNormalization(name="norm"),
            )

        def build(self, shape):
            self.conv.build(shape)
            self.norm.build((*shape[:-1], 4))

        def call(self, x):
            return ops.relu(self.norm(self.conv(x)))

    x = keras.Input((9, 8, 3))
    result, _ = verified(
        keras.Model(x, layers.Dense(2)(layers.Flatten()(Block(name="two")(Block(name="one")(x))))), tmp_path
    )
    assert "permute" not in result.code.text.replace("permutation", "")


def test_a_lambda_that_was_allowed_is_opened():
    x = keras.Input((5, 5, 3))
    y = layers.Lambda(lambda t: ops.tanh(t) * 2 + t[:, :, :, :1], name="scale")(layers.Conv2D(4, 3)(x))
    check(keras.Model(x, layers.Dense(2)(layers.Flatten()(y))))


def test_a_snippet_still_replaces_an_opened_layer_as_a_whole(tmp_path):
    model = model_of(Gated(name="gated"))
    randomise(model)
    snippet = k2t.Override(
        "gated", "snippet", "w['scale'] * ((w['gain'] * x * torch.sigmoid(w['gain'] * 2)) @ w['table'])"
    )
    result = k2t.convert(model, tmp_path / "out", [snippet])
    report = k2t.verify(tmp_path / "out", model)
    assert report.passed and report.proves and [layer.layer for layer in report.layers][0] == "gated"
    assert "gated" in {planned.node.layer.path for _, _, _, planned in result.plan.root.walk()}
    wrong = k2t.convert(
        model, tmp_path / "wrong", [k2t.Override("gated", "snippet", "w['scale'] * ((w['gain'] * x) @ w['table'])")]
    )
    assert k2t.verify(wrong.folder, model).first_divergence == "gated"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda self, x: x + keras.random.normal((6,)), "random"),
        (lambda self, x: x + keras.random.normal(ops.shape(x), seed=1), "draws random numbers"),
        (lambda self, x: x * 2.0 if float(ops.sum(x)) > 0 else x, "does not run in a TensorFlow graph"),
        (lambda self, x: x * 2.0 if ops.sum(x) > 0 else x, "only a run knows"),
        (lambda self, x: x * 2.0 if ops.shape(x)[0] == 1 else x, "only a run knows"),
    ],
)
def test_what_cannot_be_followed_stays_closed_and_says_why(call, reason):
    odd = type("Odd", (layers.Layer,), {"call": call, "compute_output_shape": lambda self, shape: shape})
    with pytest.raises(k2t.UnsupportedError, match=f"'odd'.*no rule.*could not open it.*{reason}"):
        k2t.plan(model_of(odd(name="odd"))).raise_for_problems()


class Hidden(layers.Layer):
    def __init__(self, use, **kwargs):
        super().__init__(**kwargs)
        self.use = use

    def build(self, shape):
        self.many = [self.add_weight(name=f"w{k}", shape=(shape[-1],)) for k in range(2)]

    def call(self, x):
        return self.use(x, self.many)

    def get_config(self):
        return {**super().get_config(), "use": None}


def test_a_weight_that_inference_does_not_read_is_left_out(tmp_path):
    """KerasHub's mask tokens are such."""
    result, _ = verified(model_of(Hidden(lambda x, w: x * w[0], name="hidden")), tmp_path)
    assert [weight.source for weight in result.plan.weights if "hidden" in weight.key] == ["hidden/w0"]


def test_weights_that_are_read_as_plain_numbers_are_named():
    def use(x, many):
        with tf.init_scope():
            numbers = many[1].value + 0.0
        return x * many[0] + numbers

    with pytest.raises(k2t.UnsupportedError, match="'hidden'.*could not open it.*'hidden.*w1' for plain numbers"):
        k2t.plan(model_of(Hidden(use, name="hidden"))).raise_for_problems()


def test_the_layers_inside_are_left_as_they_were():
    block = TransformerBlock(name="block")
    model = model_of(block, (5, 8))
    counts = [len(layer._inbound_nodes) for layer in block._flatten_layers()]
    for _ in range(2):
        k2t.plan(model).raise_for_problems()
    assert [len(layer._inbound_nodes) for layer in block._flatten_layers()] == counts


def test_the_model_is_left_as_it_was(tmp_path):
    layer = Gated(name="gated")
    model = model_of(layer)
    gain, nodes = layer.gain, len(layer._inbound_nodes)
    before = np.asarray(model(np.ones((2, 6), "float32")))
    verified(model, tmp_path)
    assert layer.gain is gain and len(layer._inbound_nodes) == nodes and "symbolic_call" not in vars(layer)
    assert before.shape == np.asarray(model(np.ones((2, 6), "float32"))).shape


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_dtype_policies(policy):
    inputs = keras.Input((6,), dtype="float64" if policy == "float64" else "float32")
    check(keras.Model(inputs, Gated(name="gated", dtype=policy)(inputs)), tolerance=5e-3)


@keras.saving.register_keras_serializable("opening")
class Classifier(keras.Model):
    """A subclassed model with two inputs and a layer of one's own in it."""

    def __init__(self, width=8, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.conv = layers.Conv2D(width, 3, padding="same")
        self.norm = layers.BatchNormalization()
        self.pool = layers.GlobalAveragePooling2D()
        self.gated = Gated()
        self.head = layers.Dense(3, activation="softmax")

    def call(self, inputs, training=None):
        image, extra = inputs
        x = self.pool(ops.relu(self.norm(self.conv(image), training=training)))
        return self.head(ops.concatenate([self.gated(x), extra], axis=-1))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def test_a_subclassed_model_is_opened(tmp_path):
    with keras.saving.custom_object_scope({"Gated": Gated}):
        model = Classifier(name="classifier")
        model([np.ones((2, 6, 5, 3), "float32"), np.ones((2, 4), "float32")])
        randomise(model)
        model.save(tmp_path / "subclassed.keras")
        result = k2t.convert(tmp_path / "subclassed.keras", tmp_path / "out")
        report = k2t.verify(tmp_path / "out", tmp_path / "subclassed.keras", training=True)
    assert report.passed and report.proves, report.verdict
    assert "self.conv = nn.Conv2d(3, 8, kernel_size=3, padding=1)" in result.code.text, result.code.text
    assert {"conv", "norm", "matmul", "head"} <= {layer.layer for layer in report.layers}, [
        layer.layer for layer in report.layers
    ]


def test_a_subclassed_model_that_cannot_be_followed_says_why():
    class Odd(keras.Model):
        def call(self, x):
            return __import__("tensorflow").math.special.dawsn(x)

    model = Odd(name="odd")
    model(np.ones((2, 3), "float32"))
    with pytest.raises(k2t.UnsupportedError, match="'odd' is a subclassed Odd.*Dawsn"):
        k2t.trace(k2t.load(model))


# --- what opening comes to ---


class Gain(layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones", name="gain")
        self.inner = layers.Dense(2, name="inner")

    def call(self, x, mask=None):
        return self.inner(x * self.gain), keras.ops.cast(mask, "float32")


def test_its_function_gives_what_the_layer_gives():
    layer = Gain(name="outer")
    x, mask = keras.Input((4, 3)), keras.Input((4,), dtype="bool")
    set_mask(x, mask)
    layer(x)
    one, outputs = open_layer(layer, (x,), {}, symbolic_call, bind, lambda inner: inner is not layer)
    assert {type(node.operation).__name__ for node in one.nodes()} == {"Multiply", "Dense", "Cast"}
    assert [s.name for _, s in one.sources] == ["gain"] and one.sources[0][1].variable is layer.gain
    assert one.names[id(layer.inner)] == "inner" and len(outputs) == 2
    value = keras.ops.ones((2, 4, 3))
    arguments = {"x": value, "mask": keras.ops.ones((2, 4), "bool")}
    set_mask(value, arguments["mask"])
    layer.gain.assign([1, 2, 3])
    result = one.function(one.values(keras.tree.flatten(arguments)))
    want = np.array([1.0, 2, 3]) @ np.asarray(layer.inner.kernel)
    assert np.allclose(result[0], np.broadcast_to(want, (2, 4, 2)), atol=1e-6) and np.all(np.asarray(result[1]) == 1)


def test_variables():
    assert is_variable(keras.Variable(1.0)) and not is_variable(np.ones(2)) and not is_variable(keras.Input((2,)))
