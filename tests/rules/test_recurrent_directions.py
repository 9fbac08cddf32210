"""Masks, states and order of a layer in one direction, against Keras."""

import keras
import numpy as np
import pytest
from keras import layers

from k2t_core.errors import UnsupportedError
from tests.harness import check
from tests.rules.sequences import CARRIED, KINDS, LAYERS, MASK, check_masked, masked, steps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("carried", CARRIED, ids=["torch", "carried"])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_masks(kind, carried, sequences, state, backwards, zero):
    check_masked(
        LAYERS[kind](
            3,
            return_sequences=sequences,
            return_state=state,
            go_backwards=backwards,
            zero_output_for_mask=zero,
            **carried,
        )
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("carried", CARRIED, ids=["torch", "carried"])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("state", [False, True])
def test_masks_with_initial_states(kind, carried, sequences, state):
    """A sequence that is masked altogether gives zeros and keeps its state."""
    check_masked(
        LAYERS[kind](3, return_sequences=sequences, return_state=state, **carried),
        states=[(3,)] * (2 if kind == "LSTM" else 1),
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"return_sequences": True}, {"return_sequences": True, "zero_output_for_mask": True}, {"go_backwards": True}],
)
def test_masks_of_unrolled_layers(options):
    check_masked(layers.LSTM(3, unroll=True, **options))


def test_an_unrolled_layer_that_zeroes_the_wrong_steps_is_refused():
    with pytest.raises(UnsupportedError, match="unroll=False"):
        check_masked(layers.LSTM(3, unroll=True, go_backwards=True, return_sequences=True, zero_output_for_mask=True))


def test_a_mask_of_numbers():
    check(masked(layers.GRU(3), dtype="float32"), [steps(4, 5, 4), MASK.astype("float32")])


@pytest.mark.parametrize("kind", KINDS)
def test_masks_over_an_open_time_axis(kind):
    x = keras.Input((None,), dtype="int32")
    y = layers.Embedding(6, 4, mask_zero=True)(x)
    y = LAYERS[kind](3, return_sequences=True)(y)
    y = LAYERS[kind](2)(layers.Dropout(0.1)(y))
    check(keras.Model(x, y), [np.array([[0, 1, 0, 2, 3, 0], [1, 2, 3, 4, 5, 1], [0, 0, 0, 0, 0, 0]], "int32")])
