"""Recurrent layers, their cells and Bidirectional against Keras on TensorFlow."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

from k2t_core.errors import UnsupportedError
from k2t_core.planning.planner import plan
from k2t_core.recipe import Override
from tests.harness import check, check_layer, functional

LAYERS = {"LSTM": layers.LSTM, "GRU": layers.GRU, "SimpleRNN": layers.SimpleRNN}
CELLS = {"LSTM": layers.LSTMCell, "GRU": layers.GRUCell, "SimpleRNN": layers.SimpleRNNCell}
KINDS = list(LAYERS)
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


# --- torch's own modules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5, 4), (None, 4), (1, 1), (4, 4)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True},
        {"use_bias": False},
        {"go_backwards": True, "return_sequences": True},
        {"go_backwards": True},
    ],
)
def test_layer(kind, shape, options):
    conversion, _ = check_layer(LAYERS[kind](3, name="layer", **options), shape)
    assert f"self.layer = nn.{kind.removeprefix('Simple')}({shape[1]}, 3" in text(conversion)


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_units_as_features(kind):
    """A missing transpose would go unseen by shape."""
    check_layer(LAYERS[kind](4, return_sequences=True), (4, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_batch_of_one_and_an_open_time_axis(kind):
    layer = LAYERS[kind](3, return_sequences=True)
    check_layer(layer, (None, 2), arrays=[steps(1, 1, 2)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_states_out(kind, sequences, backwards):
    check_layer(LAYERS[kind](3, return_sequences=sequences, return_state=True, go_backwards=backwards), (5, 4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"return_sequences": True, "return_state": True}, {"go_backwards": True}, {"activation": "elu"}]
)
def test_states_in(kind, options):
    layer = LAYERS[kind](3, **options)
    check(with_states(layer, *(3,) * (2 if kind == "LSTM" else 1)))


def test_encoder_and_decoder():
    source, target = keras.Input((None, 4)), keras.Input((None, 2))
    _, hidden, cell = layers.LSTM(3, return_state=True, name="encoder")(source)
    y = layers.LSTM(3, return_sequences=True, name="decoder")(target, initial_state=[hidden, cell])
    conversion, _ = check(keras.Model([source, target], y))
    assert "_, (hidden, cell) = self.encoder(" in text(conversion)


def test_a_decoder_with_initial_states_gets_no_mask_in_keras():
    """Layer.__call__ hands a mask on where a call has one tensor argument only (keras/src/layers/layer.py)."""
    x, state = keras.Input((4,), dtype="int32"), keras.Input((3,))
    y = layers.GRU(3, return_sequences=True)(layers.Embedding(6, 4, mask_zero=True)(x), initial_state=state)
    conversion, _ = check(
        keras.Model([x, state], y), [np.array([[1, 0, 2, 0], [3, 4, 5, 1]], "int32"), np.ones((2, 3), "float32")]
    )
    assert "masked_rnn" not in text(conversion)


def test_an_encoder_whose_second_state_only_is_read():
    source = keras.Input((5, 4))
    _, _, cell = layers.LSTM(3, return_state=True)(source)
    check(keras.Model(source, cell))


@pytest.mark.parametrize("kind", KINDS)
def test_unrolling_and_dropout_change_nothing(kind):
    check_layer(LAYERS[kind](3, unroll=True, dropout=0.3, recurrent_dropout=0.2, return_sequences=True), (5, 4))


def test_lstm_weights():
    conversion, module = check_layer(layers.LSTM(3, name="lstm"), (5, 4))
    weights = {w.key: w for w in conversion.plan.weights}
    assert weights["lstm.bias_hh_l0"].source is None and not module.lstm.bias_hh_l0.any()
    assert weights["lstm.weight_ih_l0"].transform == ".T"


def test_gru_weights():
    conversion, _ = check_layer(layers.GRU(3, name="gru"), (5, 4))
    assert {w.key: w.transform for w in conversion.plan.weights}["gru.bias_hh_l0"] == "[1], then gates z, r, h→r, z, n"


@pytest.mark.parametrize("kind, name", [("LSTM", "gates i, c, f, o"), ("GRU", "gates r, z, h")])
@pytest.mark.parametrize("wrapped", [False, True])
def test_other_gate_orders_are_offered_and_differ(kind, name, wrapped):
    layer = layers.Bidirectional(LAYERS[kind](3), name="layer") if wrapped else LAYERS[kind](3, name="layer")
    recipe = [Override("layer", "alternative", name)]
    with pytest.raises(AssertionError, match="relative difference"):
        check(functional(layer, (5, 4)), recipe=recipe)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy, tolerance", [("mixed_float16", 2e-2), ("mixed_bfloat16", 5e-2), ("float64", 1e-12)])
def test_other_dtypes(kind, policy, tolerance):
    check_layer(LAYERS[kind](3, dtype=policy, return_sequences=True), (3, 4), tolerance=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_integer_steps(kind):
    check_layer(LAYERS[kind](3), (5, 4), dtype="int32")


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_layer(kind):
    a, b = keras.Input((5, 4)), keras.Input((3, 4))
    layer = LAYERS[kind](3)
    check(keras.Model([a, b], layer(a) + layer(b)))


@pytest.mark.parametrize("kind", KINDS)
def test_stateful_is_refused_with_the_way_out(kind):
    x = keras.Input(batch_shape=(2, 5, 4))
    with pytest.raises(UnsupportedError, match="stateful"):
        check(keras.Model(x, LAYERS[kind](3, stateful=True)(x)))


def test_after_an_image_layer():
    x = keras.Input((6, 4, 2))
    y = layers.Reshape((2, 8))(layers.Conv2D(2, 3)(x))
    check(keras.Model(x, layers.LSTM(3)(y)))


@pytest.mark.parametrize("tool", ["export", "jit.trace"])
@pytest.mark.parametrize(
    "layer",
    [layers.LSTM(3), layers.GRU(3, reset_after=False), layers.Bidirectional(layers.LSTM(3))],
    ids=["lstm", "gru", "bidirectional"],
)
def test_torch_tools_take_masks(layer, tool):
    layer = layer.from_config(layer.get_config())
    _, module = check_masked(layer)
    inputs = (torch.from_numpy(steps(4, 5, 4, seed=9)), torch.from_numpy(MASK))
    with torch.no_grad():
        other = torch.export.export(module, inputs).module() if tool == "export" else torch.jit.trace(module, inputs)
        torch.testing.assert_close(other(*inputs), module(*inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [layers.LSTM(3), layers.Bidirectional(layers.GRU(3))], ids=["lstm", "bidirectional"])
def test_an_export_with_masks_takes_any_batch(layer):
    _, module = check_masked(layer.from_config(layer.get_config()))
    x, mask = torch.from_numpy(steps(4, 5, 4, seed=9)), torch.from_numpy(MASK)
    program = torch.export.export(module, (x, mask), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},) * 2).module()
    twice = (torch.cat([x, -x]), torch.cat([mask, mask.roll(1, 0)]))
    with torch.no_grad():
        torch.testing.assert_close(program(*twice), module(*twice), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow(kind):
    _, module = check_masked(LAYERS[kind](3))
    x = torch.from_numpy(steps(4, 5, 4)).requires_grad_()
    module.train()(x, torch.from_numpy(MASK)).sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad[0, 0].any() and not x.grad[0, 1].any()


# --- cells that model.py carries -------------------------------------------------------------------------------


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


# --- masks -----------------------------------------------------------------------------------------------------

CARRIED = [{}, {"activation": "elu"}]


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


# --- Bidirectional ---------------------------------------------------------------------------------------------

MODES = ["concat", "sum", "mul", "ave", None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("state", [False, True])
def test_bidirectional(kind, mode, sequences, state):
    inner = LAYERS[kind](3, return_sequences=sequences, return_state=state)
    conversion, module = check_layer(layers.Bidirectional(inner, merge_mode=mode, name="both_ways"), (5, 4))
    assert "bidirectional=True" in text(conversion)
    assert "both_ways.weight_ih_l0_reverse" in module.state_dict()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("carried", CARRIED, ids=["torch", "carried"])
def test_bidirectional_with_masks(kind, mode, sequences, state, carried):
    check_masked(
        layers.Bidirectional(
            LAYERS[kind](3, return_sequences=sequences, return_state=state, **carried), merge_mode=mode
        )
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("use_mask", [False, True])
@pytest.mark.parametrize("carried", CARRIED, ids=["torch", "carried"])
@pytest.mark.parametrize("state", [False, True])
def test_bidirectional_with_initial_states(kind, sequences, use_mask, carried, state):
    layer = layers.Bidirectional(LAYERS[kind](3, return_sequences=sequences, return_state=state, **carried))
    states = (3,) * (4 if kind == "LSTM" else 2)
    if use_mask:
        check_masked(layer, states=[(n,) for n in states])
    else:
        check(with_states(layer, *states))


@pytest.mark.parametrize("mode", ["concat", None])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("use_mask", [False, True])
def test_bidirectional_with_a_backward_layer_of_its_own(mode, sequences, state, use_mask):
    forward = layers.LSTM(3, return_sequences=sequences, return_state=state)
    if state:
        backward = layers.LSTM(2, return_sequences=sequences, return_state=True, go_backwards=True, activation="relu")
    else:
        backward = layers.GRU(2, return_sequences=sequences, go_backwards=True, reset_after=False)
    layer = layers.Bidirectional(forward, backward_layer=backward, merge_mode=mode)
    check_masked(layer) if use_mask else check_layer(layer, (5, 4))


def test_two_directions_with_different_numbers_of_states_are_refused():
    layer = layers.Bidirectional(
        layers.LSTM(3, return_state=True), backward_layer=layers.GRU(3, return_state=True, go_backwards=True)
    )
    with pytest.raises(UnsupportedError, match="numbers of states"):
        check_layer(layer, (5, 4))


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("mode", ["sum", "concat"])
def test_bidirectional_whose_forward_layer_goes_backwards(sequences, mode):
    forward = layers.LSTM(3, return_sequences=sequences, go_backwards=True)
    backward = layers.LSTM(3, return_sequences=sequences)
    check_layer(layers.Bidirectional(forward, backward_layer=backward, merge_mode=mode), (5, 4))
    check_masked(
        layers.Bidirectional(
            layers.LSTM.from_config(forward.get_config()),
            backward_layer=layers.LSTM.from_config(backward.get_config()),
            merge_mode=mode,
        )
    )


@pytest.mark.parametrize("options", [{"use_bias": False}, {"activation": "relu"}, {"unroll": True}])
def test_bidirectional_options(options):
    check_layer(layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True, **options)), (5, 4))


@pytest.mark.parametrize("cells", [layers.LSTMCell(3), [layers.GRUCell(3), layers.LSTMCell(2)]], ids=["one", "stack"])
@pytest.mark.parametrize("sequences", [False, True])
def test_bidirectional_around_cells(cells, sequences):
    cells = [c.from_config(c.get_config()) for c in (cells if isinstance(cells, list) else [cells])]
    check_layer(
        layers.Bidirectional(layers.RNN(cells if len(cells) > 1 else cells[0], return_sequences=sequences)), (5, 4)
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_bidirectional_in_other_dtypes(policy):
    keras.config.set_dtype_policy(policy)
    try:
        check_masked(
            layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
            tolerance=2e-2 if policy != "float64" else 1e-12,
        )
    finally:
        keras.config.set_dtype_policy("float32")


def test_the_text_classifier_of_the_examples():
    x = keras.Input((None,), dtype="int32", name="tokens")
    y = layers.Embedding(9, 4, mask_zero=True, name="embedding")(x)
    y = layers.Bidirectional(layers.LSTM(3), name="bidirectional")(y)
    conversion, _ = check(
        keras.Model(x, layers.Dense(2, "softmax")(y)), [np.array([[3, 4, 0, 0], [1, 0, 2, 0], [5, 6, 7, 8]], "int32")]
    )
    assert "self.bidirectional = nn.LSTM(4, 3, batch_first=True, bidirectional=True)" in text(conversion)


# --- RNN and cells ---------------------------------------------------------------------------------------------


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


def test_a_cell_of_ones_own_is_refused_by_name():
    class Minimal(layers.Layer):
        state_size = 3

        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")

        def call(self, x, states):
            y = x @ self.kernel + states[0]
            return y, [y]

    x = keras.Input((5, 4))
    (problem,) = plan(keras.Model(x, layers.RNN(Minimal())(x))).problems
    assert "Minimal" in problem and "LSTMCell" in problem


# --- convolutional LSTM ----------------------------------------------------------------------------------------

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
