"""Dense, EinsumDense, Identity and Lambda against Keras on TensorFlow."""

import keras
import pytest
import tensorflow as tf
import torch
from keras import layers

import k2t_core as k2t
from tests.harness import check, check_layer, functional


@pytest.mark.parametrize("shape", [(4,), (1,), (5, 4), (None, 4), (3, 2, 4), (2, 3, 1, 4), (None, None, 4)])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", [None, "relu", "softmax"])
def test_dense(shape, use_bias, activation):
    _, module = check_layer(layers.Dense(3, use_bias=use_bias, activation=activation, name="dense"), shape)
    assert type(module.dense) is torch.nn.Linear and (module.dense.bias is not None) == use_bias


def test_dense_on_the_channels_of_an_image():
    x = keras.Input((6, 5, 3))
    check(keras.Model(x, layers.Conv2D(2, 1)(layers.Dense(4, activation="softmax")(layers.Conv2D(3, 2)(x)))))


def test_dense_shared_by_two_calls():
    dense = layers.Dense(4)
    x = keras.Input((4,))
    check(keras.Model(x, dense(dense(x))))


@pytest.mark.parametrize("policy, tolerance", [("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2), ("float64", 1e-12)])
def test_dense_dtype(policy, tolerance):
    check_layer(layers.Dense(3, activation="tanh", dtype=policy), (5, 4), tolerance=tolerance)
    check_layer(layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", dtype=policy), (5, 4), tolerance=tolerance)
    check_layer(layers.EinsumDense("abc,cd->adb", (3, 5), bias_axes="d", dtype=policy), (5, 4), tolerance=tolerance)


def test_lora_is_refused():
    model = functional(layers.Dense(3, name="adapted"), (4,))
    model.get_layer("adapted").enable_lora(2)
    with pytest.raises(k2t.UnsupportedError, match="adapted.*LoRA"):
        k2t.plan(model).raise_for_problems()


LINEAR = [
    ("ab,bc->ac", (4,), (3,), ["c", None]),
    ("ab,cb->ac", (4,), (3,), ["c", None]),
    ("abc,cd->abd", (5, 4), (None, 3), ["d", None]),
    ("abc,dc->abd", (5, 4), (5, 3), ["d", None]),
    ("...x,xy->...y", (5, 4), (3,), ["y", None]),
    ("...x,xy->...y", (6, 5, 4), (3,), ["y"]),
    ("abc,cde->abde", (5, 4), (5, 2, 3), ["de", None]),
    ("abc,cde->abed", (5, 4), (5, 3, 2), ["ed", None]),
    ("abde,dec->abc", (5, 2, 3), (5, 4), ["c", None]),
    ("abde,ecd->abc", (5, 2, 3), (5, 4), ["c"]),
    ("abcd,cde->abe", (None, 2, 3), (None, 4), ["e"]),
    ("abc,bcd->ad", (5, 4), 3, ["d", None]),
    ("abc,bcde->ade", (5, 4), (3, 2), ["de", None]),
]


@pytest.mark.parametrize(
    "equation, shape, output_shape, bias_axes", [(e, s, o, b) for e, s, o, bs in LINEAR for b in bs]
)
def test_einsum_dense_as_a_linear_layer(equation, shape, output_shape, bias_axes):
    _, module = check_layer(
        layers.EinsumDense(equation, output_shape, bias_axes=bias_axes, activation="relu", name="dense"), shape
    )
    assert type(module.dense) is torch.nn.Linear


OTHERS = [
    ("abc,cd->adb", (5, 4), (3, 5), ["d", "b", "db", None]),
    ("abc,bd->adc", (5, 4), (3, 4), ["d", "c", "dc"]),
    ("abc,cd->ad", (5, 4), (3,), ["d"]),
    ("abc,cde->abde", (5, 4), (5, 2, 3), ["d", "e", "bde", "b", "be"]),
    ("abc,bcd->abd", (5, 4), (5, 3), ["d", "bd", None]),
    ("abc,abc->abc", None, None, []),
    ("...xy,xz->...zy", (2, 5, 4), (3, 4), ["z", "zy"]),
    ("ab...,bc->ac...", (5, 4), (3,), ["c"]),
    ("abc,c->abc", (5, 4), (5, 4), [None, "c", "b"]),
]


@pytest.mark.parametrize(
    "equation, shape, output_shape, bias_axes", [(e, s, o, b) for e, s, o, bs in OTHERS for b in bs]
)
def test_einsum_dense_by_einsum(equation, shape, output_shape, bias_axes):
    check_layer(layers.EinsumDense(equation, output_shape, bias_axes=bias_axes, activation="tanh"), shape)


@pytest.mark.parametrize(
    "equation, output_shape, axes",
    [
        ("abcd,de->abce", (None, None, 4), "e"),
        ("abcd,ce->abed", (None, 4, 3), "e"),
        ("abcd,bce->ade", (3, 4), "e"),
        ("abcd,de->aebc", (4, None, None), "e"),
    ],
)
def test_einsum_dense_between_convolutions(equation, output_shape, axes):
    x = keras.Input((6, 5, 3))
    shape = [
        n if n is not None else {"b": 6, "c": 5, "d": 3}[letter]
        for n, letter in zip(output_shape, equation.split("->a")[1])
    ]
    y = layers.EinsumDense(equation, shape, bias_axes=axes if equation != "abcd,de->aebc" else None)(
        layers.Conv2D(3, 1)(x)
    )
    check(keras.Model(x, layers.Conv2D(2, 1)(y) if len(y.shape) == 4 else y))


def test_identity():
    x = keras.Input((6, 5, 3))
    y = layers.Identity()(layers.Conv2D(4, 3)(x))
    conversion, _ = check(keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.Identity()(y)))))
    assert "permute" not in conversion.code.text
    check_layer(layers.Identity(), (4,))


def test_a_lambda_is_refused_where_it_cannot_be_opened_and_a_snippet_takes_its_place():
    model = functional(layers.Lambda(lambda t: 2 * t + 1 + 0 * tf.math.special.dawsn(t), name="double"), (4,))
    with pytest.raises(k2t.UnsupportedError, match="double.*snippet"):
        k2t.plan(model).raise_for_problems()
    check(model, recipe={"k2t_recipe": 1, "overrides": [{"layer": "double", "kind": "snippet", "value": "2 * x + 1"}]})
