"""ConvLSTM1D, 2D and 3D against Keras."""

import keras
import pytest
from keras import layers

from k2t_core.recipe import Override
from tests.harness import check, check_layer
from tests.rules.sequences import MASK, masked, steps, text

SPACE = {1: (7,), 2: (7, 6), 3: (4, 3, 5)}
CONV = {1: layers.ConvLSTM1D, 2: layers.ConvLSTM2D, 3: layers.ConvLSTM3D}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True},
        {"return_sequences": True, "return_state": True},
        {"go_backwards": True},
        {"use_bias": False},
    ],
)
def test_conv_lstm(rank, options):
    check_layer(CONV[rank](3, 3, **options), (4, *SPACE[rank], 2))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kernel, stride, dilation", [(2, 1, 1), (3, 1, 1), (3, 2, 1), (2, 2, 1), (2, 1, 2), (1, 1, 1)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_conv_lstm_padding(rank, kernel, stride, dilation, padding):
    if stride > 1 and rank == 3 and padding == "valid" and kernel == 3:
        pytest.skip("leaves one pixel")
    check_layer(
        CONV[rank](2, kernel, strides=stride, dilation_rate=dilation, padding=padding, return_sequences=True),
        (3, *SPACE[rank], 2),
    )


def test_conv_lstm_with_a_kernel_that_is_not_square():
    check_layer(layers.ConvLSTM2D(3, (2, 3), strides=(1, 2), padding="same"), (None, 6, 5, 2))


def test_conv_lstm_activations():
    check_layer(layers.ConvLSTM2D(3, 2, activation="softmax", recurrent_activation="hard_sigmoid"), (3, 5, 4, 2))


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True},
        {"return_sequences": True, "zero_output_for_mask": True, "go_backwards": True},
        {"return_state": True},
    ],
)
def test_conv_lstm_masks(rank, options):
    shape = (5, *SPACE[rank], 2)
    check(masked(CONV[rank](3, 2, **options), shape), [steps(4, *shape), MASK])


@pytest.mark.parametrize("rank", [1, 2])
def test_conv_lstm_states_in(rank):
    x, states = keras.Input((4, *SPACE[rank], 2)), [keras.Input((*SPACE[rank], 3)) for _ in range(2)]
    check(keras.Model([x, *states], CONV[rank](3, 3, padding="same", return_state=True)(x, initial_state=states)))


def test_conv_lstm_after_a_convolution_of_each_step():
    x = keras.Input((4, 8, 8, 3))
    y = layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu"))(x)
    y = layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True)(y)
    y = layers.ConvLSTM2D(2, 3, padding="same")(layers.BatchNormalization()(y))
    conversion, _ = check(keras.Model(x, layers.Dense(2)(layers.Flatten()(y))))
    assert text(conversion).count("permute") <= 3, text(conversion)


def test_other_gate_order_of_conv_lstm():
    with pytest.raises(AssertionError, match="relative difference"):
        check_layer(
            layers.ConvLSTM2D(3, 2, name="layer"),
            (3, 4, 4, 2),
            recipe=[Override("layer", "alternative", "gates i, c, f, o")],
        )


@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "return_state": True}])
def test_conv_lstm_channels_first(options):
    check_layer(layers.ConvLSTM2D(3, 3, data_format="channels_first", **options), (4, 2, 6, 5))
