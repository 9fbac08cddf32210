"""Flatten, Reshape, Permute and RepeatVector against Keras on TensorFlow."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from k2t_core.errors import UnsupportedError
from k2t_core.planning.planner import plan
from tests.harness import check, check_layer


def moves(conversion) -> bool:
    text = conversion.code.text
    return ".permute" in text or ".transpose" in text


def conv_net(layer, shape=(5, 5, 5), head=True):
    """Conv → layer → Dense (or nothing): the layer meets a tensor that torch holds channels first."""
    x = keras.Input(shape)
    y = layer(getattr(layers, f"Conv{len(shape) - 1}D")(5, 3, padding="same")(x))
    if head:
        y = layers.Dense(3)(layers.Flatten()(y) if len(y.shape) > 2 else y)
    return keras.Model(x, y)


@pytest.mark.parametrize("shape", [(), (5,), (4, 5), (5, 5, 5), (3, 4, 2, 5), (1, 1, 5), (4, 1, 1), (1, 5, 1)])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_flatten(shape, data_format):
    check_layer(layers.Flatten(data_format=data_format), shape)


@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 5), (4, 4, 4, 4), (1, 1, 5), (1, 5, 5), (5, 1, 5)])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_flatten_after_a_convolution_moves_nothing(shape, data_format):
    conversion, _ = check(conv_net(layers.Flatten(data_format=data_format), shape))
    assert not moves(conversion)


@pytest.mark.parametrize("shape", [(None, 5), (None, None, 5), (None, 1, 5)])
def test_flatten_of_unknown_sizes(shape):
    check(conv_net(layers.Flatten(), shape, head=False))


def test_flatten_twice_and_activation_between_move_nothing():
    x = keras.Input((5, 5, 5))
    y = layers.Flatten()(layers.Conv2D(5, 3)(x))
    y = layers.Flatten()(layers.Activation("relu")(y))
    conversion, _ = check(keras.Model(x, layers.Dense(4)(y)))
    assert not moves(conversion)


TARGETS = [
    (125,),
    (25, 5),
    (5, 25),
    (5, 5, 5),
    (-1,),
    (-1, 5),
    (5, -1),
    (1, 25, 5),
    (25, 1, 5),
    (25, 5, 1),
    (5, 1, 5, 5),
    (5, 5, 5, 1),
    (125, 1),
    (1, 1, 125),
]


@pytest.mark.parametrize("target", TARGETS)
def test_reshape_of_an_input(target):
    conversion, _ = check_layer(layers.Reshape(target), (5, 5, 5))
    assert not moves(conversion)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("head", [True, False])
def test_reshape_after_a_convolution(target, head):
    check(conv_net(layers.Reshape(target), head=head))


@pytest.mark.parametrize("target", [(5, 5, 5), (25, 5, 1), (5, 25, 1), (125, 1, 1), (1, 1, 125), (1, 25, 5)])
def test_reshape_between_convolutions(target):
    check(conv_net(lambda y: layers.Conv2D(4, 1)(layers.Reshape(target)(y))))


@pytest.mark.parametrize("target", [(25, 5), (-1, 5), (5, 5, 1, 5), (5, 5, 5)])
def test_reshape_that_leaves_channels_alone_moves_nothing(target):
    """(H, W, C) → (H·W, C): torch flattens its last axes; the sequence stays channels first for Conv1D."""
    x = keras.Input((5, 5, 5))
    y = layers.Reshape(target)(layers.Conv2D(5, 3, padding="same")(x))
    conv = {2: layers.Conv1D, 3: layers.Conv2D, 4: layers.Conv3D}[len(target)](4, 1)
    conversion, _ = check(keras.Model(x, layers.Dense(3)(layers.Flatten()(conv(y)))))
    assert not moves(conversion)


@pytest.mark.parametrize("target", [(1, 1, 5), (1, 5, 1), (5, 1, 1), (1, 5), (5, 1)])
def test_reshape_of_a_vector_for_a_convolution_moves_nothing(target):
    x = keras.Input((5,))
    y = layers.Reshape(target)(layers.Dense(5)(x))
    conv = {2: layers.Conv1D, 3: layers.Conv2D}[len(target)](4, 1)
    conversion, _ = check(keras.Model(x, conv(y)))
    assert not moves(conversion)


@pytest.mark.parametrize(
    "shape, target",
    [
        ((None, 4), (-1, 2)),
        ((None, 4), (-1, 2, 2)),
        ((None, None, 5), (-1, 5)),
        ((None, 4, 5), (-1, 20)),
        ((None, 4, 5), (-1, 5)),
        ((4, None), (-1, 4)),
        ((None, 6, 5), (-1, 3, 10)),
        ((None,), (-1, 1)),
        ((None, 5), (5, -1)),
    ],
)
def test_reshape_of_unknown_sizes(shape, target):
    check_layer(layers.Reshape(target), shape)
    if len(shape) > 1 and shape[-1]:
        check(conv_net(layers.Reshape(target if shape[-1] == 5 else (-1, 5)), (*shape[:-1], 5), head=False))


def test_reshape_of_a_single_sample():
    model = conv_net(layers.Reshape((-1, 5)))
    check(model, [np.random.default_rng(1).standard_normal((1, 5, 5, 5)).astype("float32")])


@settings(max_examples=20)
@given(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=2, max_size=3), st.data())
def test_reshape_round_trip(spatial, data):
    """Any factorisation of a Conv output, there and back through another Conv."""
    shape = (*spatial, 4)
    sizes = list(shape)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(sizes) - 1))
        action = data.draw(st.sampled_from(["merge", "split", "one"]))
        if action == "merge" and at + 1 < len(sizes):
            sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
        elif action == "split" and sizes[at] % 2 == 0:
            sizes[at : at + 1] = [2, sizes[at] // 2]
        elif action == "one":
            sizes.insert(at, 1)
    x = keras.Input(shape)
    rank = len(spatial)
    conv = {2: layers.Conv2D, 3: layers.Conv3D}[rank]
    y = layers.Reshape(sizes)(conv(4, 1)(x))
    y = conv(3, 1)(layers.Reshape(shape)(layers.Activation("tanh")(y)))
    check(keras.Model(x, [y, layers.Reshape((-1,))(y)]))


@pytest.mark.parametrize("dims", [(1, 2, 3), (3, 1, 2), (2, 1, 3), (3, 2, 1), (1, 3, 2), (2, 3, 1)])
@pytest.mark.parametrize("shape", [(5, 5, 5), (4, 5, 1), (1, 5, 4)])
def test_permute(dims, shape):
    check_layer(layers.Permute(dims), shape)
    check(conv_net(layers.Permute(dims), shape))
    check(conv_net(layers.Permute(dims), shape, head=False))
    check(conv_net(lambda y: layers.Conv2D(4, 1)(layers.Permute(dims)(y)), shape))


def test_permute_to_channels_first_and_flatten_move_nothing():
    conversion, _ = check(conv_net(lambda y: layers.Flatten()(layers.Permute((3, 1, 2))(y))))
    assert not moves(conversion)
    conversion, _ = check(conv_net(layers.Permute((3, 1, 2)), head=False))
    assert not moves(conversion)


def test_permute_there_and_back_moves_nothing():
    conversion, _ = check(
        conv_net(
            lambda y: layers.Conv2D(4, 3)(
                layers.Permute((2, 1, 3))(layers.Activation("relu")(layers.Permute((2, 1, 3))(y)))
            )
        )
    )
    assert not moves(conversion)


def test_permute_before_dense():
    x = keras.Input((4, 5))
    check(keras.Model(x, layers.Dense(3)(layers.Permute((2, 1))(x))))
    check(keras.Model(x, layers.Dense(3)(layers.Permute((2, 1))(layers.Conv1D(5, 1)(x)))))


@settings(max_examples=20)
@given(st.permutations([1, 2, 3]), st.permutations([1, 2, 3]), st.booleans())
def test_permute_round_trip(first, second, dense):
    x = keras.Input((4, 4, 4))
    y = layers.Permute(first)(layers.Conv2D(4, 3, padding="same")(x))
    y = layers.Dense(4)(y) if dense else layers.Conv2D(4, 2, padding="same")(y)
    z = layers.Permute(second)(y)
    check(keras.Model(x, [layers.Add()([y, z]), layers.Flatten()(z)]))


@pytest.mark.parametrize("n", [1, 4])
def test_repeat_vector(n):
    check_layer(layers.RepeatVector(n), (5,))
    x = keras.Input((5,))
    conversion, _ = check(keras.Model(x, layers.Conv1D(3, 1)(layers.RepeatVector(n)(layers.Dense(5)(x)))))
    assert not moves(conversion)


def test_integers_keep_their_dtype():
    for layer in (layers.Flatten(), layers.Reshape((5, 4)), layers.Permute((2, 1))):
        check_layer(layer, (4, 5), dtype="int32")
    check_layer(layers.RepeatVector(3), (5,), dtype="int32")


def test_unknown_option_is_refused():
    model = keras.Model(x := keras.Input((4, 5)), layers.Reshape((20,), name="fold")(x))
    traced = plan(model).traced
    traced.graph.nodes[0].layer.config["order"] = "F"
    with pytest.raises(UnsupportedError, match="fold.*order"):
        plan(traced).raise_for_problems()


def test_reshape_of_a_permuted_image_for_a_sequence_moves_it_once():
    x = keras.Input((5, 5, 5))
    y = layers.Reshape((-1, 5))(layers.Permute((2, 1, 3))(layers.Conv2D(5, 3, padding="same")(x)))
    conversion, _ = check(keras.Model(x, layers.Conv1D(3, 2)(y)))
    text = conversion.code.text
    assert text.count(".transpose") + text.count(".permute") == 1


def test_channel_weights_without_a_convolution_after_them_move_nothing():
    x = keras.Input((5, 5, 5))
    y = layers.Conv2D(5, 3, padding="same")(x)
    s = layers.Reshape((1, 1, 5))(layers.Dense(5)(layers.Flatten()(layers.Conv2D(1, 5)(x))))
    conversion, _ = check(keras.Model(x, layers.Dense(3)(layers.Flatten()(layers.Multiply()([y, s])))))
    assert not moves(conversion) and conversion.code.text.count("[:, :, None, None]") == 1
