"""Recurrent layers and Bidirectional against Keras on TensorFlow."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

from k2t_core.errors import UnsupportedError
from k2t_core.recipe import Override
from tests.harness import check, check_layer, functional
from tests.rules.sequences import CARRIED, KINDS, LAYERS, MASK, check_masked, steps, text, with_states

# --- torch's own modules -----------------------------------------------------------------------------------------


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


# --- Bidirectional -----------------------------------------------------------------------------------------------

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
