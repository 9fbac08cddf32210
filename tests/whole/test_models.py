"""Whole models of many layers: what single-layer tests cannot show, masks that travel and layouts that meet."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops

from tests.harness import check

TOKENS = np.array([[3, 1, 4, 1, 5, 0, 0], [2, 7, 1, 8, 2, 8, 1], [6, 0, 0, 0, 0, 0, 0]], "int32")
TARGET = np.array([[1, 6, 1, 8, 0], [3, 3, 0, 0, 0], [2, 6, 4, 5, 7]], "int32")


def encoder(x, width, dropout):
    y = layers.MultiHeadAttention(2, width // 2, dropout=dropout)(x, x)
    x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(dropout)(y))
    y = layers.Dense(width)(layers.Dense(2 * width, "gelu")(x))
    return layers.LayerNormalization(epsilon=1e-6)(x + y)


def decoder(x, memory, width):
    y = layers.MultiHeadAttention(2, width // 2)(x, x, use_causal_mask=True)
    x = layers.LayerNormalization()(x + y)
    y = layers.MultiHeadAttention(2, width // 2)(x, memory)
    x = layers.LayerNormalization()(x + y)
    y = layers.Dense(width)(layers.Dense(2 * width, "relu")(x))
    return layers.LayerNormalization()(x + y)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("length", [7, None])
def test_encoder(dropout, mask_zero, length):
    tokens = keras.Input((length,), dtype="int32")
    x = layers.Embedding(9, 8, mask_zero=mask_zero)(tokens)
    x = encoder(encoder(x, 8, dropout), 8, dropout)
    check(keras.Model(tokens, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(x))), [TOKENS])


@pytest.mark.parametrize("mask_zero", [False, True])
def test_encoder_and_decoder(mask_zero):
    source, target = (
        keras.Input((None,), dtype="int32", name="source"),
        keras.Input((None,), dtype="int32", name="target"),
    )
    memory = encoder(layers.Embedding(9, 8, mask_zero=mask_zero)(source), 8, 0.0)
    x = layers.Embedding(9, 8, mask_zero=mask_zero)(target)
    x = decoder(decoder(x, memory, 8), memory, 8)
    check(keras.Model([source, target], layers.Dense(9)(x)), [TOKENS, TARGET])


@pytest.mark.parametrize("pooled", [True, False])
def test_vision_transformer(pooled):
    image = keras.Input((12, 8, 3))
    x = layers.Conv2D(8, 4, strides=4)(image)
    x = layers.Reshape((6, 8))(x)
    x = x + layers.Embedding(6, 8)(ops.arange(6)[None])
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(2, 4)(y, y)
        y = layers.LayerNormalization()(x)
        x = x + layers.Dense(8)(layers.Dense(16, "gelu")(y))
    x = layers.GlobalAveragePooling1D()(x) if pooled else layers.Flatten()(x)
    check(keras.Model(image, layers.Dense(3)(x)))


@pytest.mark.parametrize("how", ["cumsum", "arange", "constant", "sines"])
def test_positions(how):
    tokens = keras.Input((7,), dtype="int32")
    x = layers.Embedding(9, 8)(tokens)
    if how == "cumsum":
        x = x + layers.Embedding(7, 8)(ops.cumsum(ops.ones_like(tokens), axis=1) - 1)
    elif how == "arange":
        x = x + layers.Embedding(7, 8)(ops.arange(7)[None] + 0 * tokens)
    elif how == "constant":
        x = x + np.random.default_rng(0).standard_normal((7, 8)).astype("float32")
    else:
        steps, rates = ops.arange(7, dtype="float32")[:, None], ops.exp(ops.arange(0, 4, dtype="float32") * -0.7)[None]
        x = x + ops.concatenate([ops.sin(steps * rates), ops.cos(steps * rates)], axis=-1)
    check(keras.Model(tokens, encoder(x, 8, 0.0)), [TOKENS])


def by_matmul(q, k, v):
    scores = ops.matmul(q, ops.transpose(k, (0, 2, 1))) / np.sqrt(8).astype("float32")
    return ops.matmul(ops.softmax(scores, axis=-1), v)


def by_einsum(q, k, v):
    q, k, v = (ops.reshape(x, (-1, 5, 2, 4)) for x in (q, k, v))
    weights = ops.softmax(ops.einsum("btnh,bsnh->bnts", q, k) * 0.5)
    return ops.reshape(ops.einsum("bnts,bsnh->btnh", weights, v), (-1, 5, 8))


def by_heads(q, k, v):
    q, k, v = (ops.transpose(ops.reshape(x, (-1, 5, 2, 4)), (0, 2, 1, 3)) for x in (q, k, v))
    scores = q @ ops.swapaxes(k, -1, -2)
    allowed = ops.arange(5)[:, None] >= ops.arange(5)[None]
    scores = ops.where(allowed, scores, -1e9)
    return ops.reshape(ops.transpose(ops.softmax(scores, axis=-1) @ v, (0, 2, 1, 3)), (-1, 5, 8))


def by_layers(q, k, v):
    return layers.Dot((2, 1))([layers.Softmax()(layers.Dot((2, 2))([q, k])), v])


def by_fused_operation(q, k, v):
    q, k, v = (ops.reshape(x, (-1, 5, 2, 4)) for x in (q, k, v))
    return ops.reshape(ops.dot_product_attention(q, k, v, is_causal=True), (-1, 5, 8))


def test_where_a_constant_chooses():
    x, y = keras.Input((3, 5, 4)), keras.Input((5, 4))
    rows, long = np.array([[True], [False], [True], [False], [True]]), np.random.default_rng(0).random((3, 5, 4)) < 0.5
    outputs = [
        ops.where(rows, x, 0.0),
        ops.where(long, x, -1e9),
        ops.where(rows, y, ops.relu(y)),
        ops.where(np.array([1, 0, 2, 0]), x, 3),
    ]
    image = layers.Conv2D(4, 1)(x)
    check(keras.Model([x, y], [*outputs, layers.Conv2D(2, 1)(ops.where(long, image, 0.0))]))


@pytest.mark.parametrize("attend", [by_matmul, by_einsum, by_heads, by_layers, by_fused_operation])
@pytest.mark.parametrize("projection", ["Dense", "EinsumDense"])
def test_attention_by_hand(attend, projection):
    x = keras.Input((5, 6))
    project = (
        (lambda: layers.Dense(8))
        if projection == "Dense"
        else (lambda: layers.EinsumDense("btd,de->bte", (None, 8), bias_axes="e"))
    )
    check(keras.Model(x, layers.Dense(3)(attend(project()(x), project()(x), project()(x)))))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_encoder_of_other_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        tokens = keras.Input((7,), dtype="int32")
        x = encoder(layers.Embedding(9, 8, mask_zero=True)(tokens), 8, 0.0)
        model = keras.Model(tokens, layers.Dense(3, dtype="float32")(layers.GlobalAveragePooling1D()(x)))
    finally:
        keras.config.set_dtype_policy("float32")
    check(model, [TOKENS], {"mixed_float16": 5e-3, "mixed_bfloat16": 4e-2, "float64": 1e-5}[policy])


def test_masked_encoder_exports():
    tokens = keras.Input((7,), dtype="int32")
    x = encoder(layers.Embedding(9, 8, mask_zero=True)(tokens), 8, 0.0)
    conversion, module = check(keras.Model(tokens, x), [TOKENS])
    assert "mask=(" in conversion.code.text
    given = torch.from_numpy(TOKENS)
    with torch.no_grad():
        expected = module(given)
        assert torch.equal(torch.export.export(module, (given,)).module()(given), expected)
        assert torch.equal(torch.jit.trace(module, (given[:1],))(given), expected)
