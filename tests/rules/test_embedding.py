"""Embedding, ReversibleEmbedding and Masking against Keras."""

import keras
import numpy as np
import pytest
from keras import layers

from k2t_core.errors import UnsupportedError
from tests.harness import check, check_layer


@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(5,), (None,), (1,), (3, 4), ()])
def test_embedding(shape, dtype, mask_zero):
    arrays = [
        np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 6, (3, *(n or 7 for n in shape))).astype(dtype)
    ]
    conversion, _ = check_layer(
        layers.Embedding(6, 3, mask_zero=mask_zero, name="embedding"), shape, dtype=dtype, arrays=arrays
    )
    assert "self.embedding = nn.Embedding(6, 3)" in conversion.code.text
    assert "padding_idx" not in conversion.code.text


def test_row_zero_is_not_zero():
    check_layer(
        layers.Embedding(6, 3, mask_zero=True), (4,), dtype="int32", arrays=[np.zeros((2, 4), "int32") + [[0, 0, 0, 5]]]
    )


def test_floats_are_cut_to_integers_as_in_keras():
    check_layer(layers.Embedding(6, 3), (4,), arrays=[np.array([[0.2, 1.9, 4.5, 5.0]], "float32")])


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16"])
def test_embedding_in_half_precision(policy):
    check_layer(layers.Embedding(6, 3, dtype=policy), (4,), dtype="int32")


def test_a_shared_embedding_is_one_module():
    a, b = keras.Input((4,), dtype="int32"), keras.Input((3,), dtype="int32")
    embedding = layers.Embedding(6, 2, name="embedding")
    conversion, _ = check(keras.Model([a, b], layers.Concatenate(axis=1)([embedding(a), embedding(b)])))
    assert conversion.code.text.count("nn.Embedding(") == 1


def test_an_embedding_into_an_image_layer():
    x = keras.Input((8, 8), dtype="int32")
    check(keras.Model(x, layers.Conv2D(2, 3)(layers.Embedding(6, 3)(x))))


def test_an_embedding_with_lora_is_refused_by_name():
    x = keras.Input((4,), dtype="int32")
    embedding = layers.Embedding(6, 3)
    model = keras.Model(x, embedding(x))
    embedding.enable_lora(2)
    with pytest.raises(UnsupportedError, match="LoRA"):
        check(model)


@pytest.mark.parametrize("soft_cap", [None, 1.5])
@pytest.mark.parametrize("tied", [True, False])
def test_reversible_embedding_both_ways(tied, soft_cap):
    x = keras.Input((4,), dtype="int32")
    embedding = layers.ReversibleEmbedding(6, 3, tie_weights=tied, logit_soft_cap=soft_cap, name="tokens")
    y = layers.Dense(3, name="dense")(embedding(x))
    conversion, module = check(keras.Model(x, embedding(y, reverse=True)))
    assert set(dict(module.named_parameters())) == {"tokens.weight", "dense.weight", "dense.bias"} | (
        set() if tied else {"tokens.reverse_weight"}
    )


def test_reversible_embedding_one_way_only():
    check_layer(layers.ReversibleEmbedding(6, 3), (4,), dtype="int32")


def test_reversible_embedding_makes_a_mask():
    x = keras.Input((4,), dtype="int32")
    check(keras.Model(x, layers.LSTM(3)(layers.ReversibleEmbedding(6, 3, mask_zero=True)(x))))


def test_reverse_dtype():
    x = keras.Input((4,), dtype="int32")
    embedding = layers.ReversibleEmbedding(6, 3, reverse_dtype="float32", dtype="float16")
    model = keras.Model(x, embedding(embedding(x), reverse=True))
    check(model, tolerance=1e-3)
    with pytest.raises(UnsupportedError, match="reverse_dtype"):
        check(keras.Model(x, layers.ReLU()(embedding(embedding(x), reverse=True))))


def masked_steps(shape, value, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape).astype("float32")
    x[0, 1] = value
    x[1, :2] = value
    x[2, 0, 0] = value  # not the whole step
    return x


@pytest.mark.parametrize("value", [0.0, -1.5, 2])
@pytest.mark.parametrize("shape", [(4, 3), (None, 3), (4, 1)])
def test_masking_zeroes_masked_steps(shape, value):
    steps = shape[0] or 4
    check_layer(layers.Masking(value), shape, arrays=[masked_steps((3, steps, shape[1]), value)])


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_masking_reaches_the_layers_that_read_it(value):
    x = keras.Input((4, 3))
    y = layers.LSTM(2)(layers.Dense(3)(layers.Masking(value)(x)))
    check(keras.Model(x, y), [masked_steps((3, 4, 3), value)])
