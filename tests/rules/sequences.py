"""What the tests of recurrent layers share: layers by name, a mask with gaps, models with masks and states."""

import keras
import numpy as np
from keras import layers

from tests.harness import check

LAYERS = {"LSTM": layers.LSTM, "GRU": layers.GRU, "SimpleRNN": layers.SimpleRNN}
CELLS = {"LSTM": layers.LSTMCell, "GRU": layers.GRUCell, "SimpleRNN": layers.SimpleRNNCell}
KINDS = list(LAYERS)
CARRIED = [{}, {"activation": "elu"}]  # torch's own module, and a cell that model.py carries
# Gaps at the start, in the middle and at the end; nothing masked; everything masked.
MASK = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)


def steps(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def masked(layer, shape=(5, 4), states=(), dtype="bool"):
    """A model of one layer with its mask and its initial states as inputs."""
    x, keep = (
        keras.Input(shape, name="x"),
        keras.Input((None,) if shape[0] is None else shape[:1], dtype=dtype, name="keep"),
    )
    inputs = [keras.Input(s, name=f"state_{k}") for k, s in enumerate(states)]
    given = {"initial_state": inputs} if inputs else {}
    return keras.Model([x, keep, *inputs], layer(x, mask=keep, **given))


def check_masked(layer, states=(), mask=MASK, features=4, **more):
    arrays = [steps(*mask.shape, features), mask, *(steps(len(mask), *s, seed=k + 1) for k, s in enumerate(states))]
    return check(masked(layer, (mask.shape[1], features), states), arrays, **more)


def with_states(layer, *states, shape=(5, 4)):
    x = keras.Input(shape)
    inputs = [keras.Input((n,)) for n in states]
    return keras.Model([x, *inputs], layer(x, initial_state=inputs))


def text(conversion) -> str:
    return conversion.code.text
