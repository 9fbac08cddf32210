"""Cells that model.py carries, RNN around cells and their stacks, against Keras."""

import keras
import pytest
from keras import layers

from k2t_core.planning.planner import plan
from tests.harness import check, check_layer
from tests.rules.sequences import CELLS, KINDS, LAYERS, check_masked, text


@pytest.mark.parametrize(
    "activation, recurrent",
    [
        ("tanh", "hard_sigmoid"),
        ("relu", "sigmoid"),
        ("linear", "sigmoid"),
        ("softmax", "tanh"),
        ("leaky_relu", "hard_sigmoid"),
        (None, None),
    ],
)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_other_activations(kind, activation, recurrent):
    check_layer(LAYERS[kind](3, activation=activation, recurrent_activation=recurrent, return_sequences=True), (4, 2))


@pytest.mark.parametrize("activation", ["relu", "linear", "sigmoid", "softmax", "gelu"])
def test_other_activations_of_simple_rnn(activation):
    conversion, _ = check_layer(layers.SimpleRNN(3, activation=activation), (4, 2))
    assert ("nn.RNN(" in text(conversion)) == (activation == "relu")


@pytest.mark.parametrize("activation, recurrent", [("tanh", "sigmoid"), ("relu", "hard_sigmoid")])
@pytest.mark.parametrize(
    "options", [{}, {"use_bias": False}, {"return_sequences": True, "go_backwards": True}, {"return_state": True}]
)
def test_gru_with_the_reset_before(activation, recurrent, options):
    check_layer(
        layers.GRU(3, reset_after=False, activation=activation, recurrent_activation=recurrent, **options), (5, 4)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {"use_bias": False},
        {"go_backwards": True},
        {"return_state": True},
        {"return_sequences": True, "return_state": True},
    ],
)
def test_options_of_carried_cells(kind, options):
    check_layer(LAYERS[kind](3, activation="softsign", **options), (5, 4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True, "return_state": True},
        {"go_backwards": True},
        {"zero_output_for_mask": True, "return_sequences": True},
    ],
)
def test_rnn_around_a_cell(kind, options):
    conversion, _ = check_layer(layers.RNN(CELLS[kind](3), name="rnn", **options), (5, 4))
    assert f"self.rnn = nn.{kind.removeprefix('Simple')}(4, 3, batch_first=True)" in text(conversion)
    check_masked(layers.RNN(CELLS[kind](3), **options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "return_state": True}, {"return_state": True}])
def test_a_stack_of_equal_cells_is_one_module(kind, options):
    conversion, _ = check_layer(layers.RNN([CELLS[kind](3), CELLS[kind](3)], name="rnn", **options), (5, 4))
    assert "num_layers=2, batch_first=True" in text(conversion)
    check_masked(layers.RNN([CELLS[kind](3), CELLS[kind](3)], **options))


@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "return_state": True}])
def test_a_stack_of_different_cells(options):
    cells = [layers.LSTMCell(3), layers.GRUCell(2, reset_after=False), layers.SimpleRNNCell(4, activation="elu")]
    check_layer(layers.RNN(cells, **options), (5, 4))
    check_masked(layers.RNN([c.from_config(c.get_config()) for c in cells], **options))


def test_stacked_cells_by_name_with_equal_names():
    check_layer(
        layers.RNN(layers.StackedRNNCells([layers.LSTMCell(3, name="cell"), layers.LSTMCell(2, name="cell")])), (5, 4)
    )


@pytest.mark.parametrize("options", [{}, {"return_sequences": True}, {"go_backwards": True}, {"return_state": True}])
def test_a_cell_of_ones_own_is_opened(options):
    class Minimal(layers.Layer):
        state_size = 3

        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")

        def call(self, x, states):
            y = x @ self.kernel + states[0]
            return y, [y]

    x = keras.Input((5, 4))
    check(keras.Model(x, layers.RNN(Minimal(), **options)(x)))
    x = keras.Input((None, 4))
    (problem,) = plan(keras.Model(x, layers.RNN(Minimal())(x))).problems
    assert "Minimal" in problem and "LSTMCell" in problem
