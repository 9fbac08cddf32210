"""The lessons' experiments: the right version agrees with Keras, the wrong one differs where it should."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.inspector import lessons


@pytest.mark.parametrize("size", [(3, 2, 3), (2, 2, 2), (4, 5, 2)])
def test_flatten_order_right_and_wrong(size):
    experiment = lessons.flatten_order(*size, seed=1)
    assert experiment.right.agrees
    assert not experiment.wrong.agrees
    assert experiment.wrong.difference.relative > 0.01
    count = int(np.prod(size))
    assert experiment.pictures["keras order"].tolist() == list(range(count))
    assert sorted(experiment.pictures["torch order"]) == list(range(count))


def test_flatten_order_makes_no_difference_with_one_channel():
    experiment = lessons.flatten_order(3, 4, 1, seed=0)
    assert experiment.right.agrees and experiment.wrong.agrees


def test_ones_hide_a_missing_transpose():
    hidden, seen = lessons.transposed_kernel(4, 0, ones=True), lessons.transposed_kernel(4, 0, ones=False)
    assert hidden.right.agrees and hidden.wrong.agrees
    assert seen.right.agrees and not seen.wrong.agrees


@pytest.mark.parametrize("order", [order for order in lessons.GATE_ORDERS if order != "i f g o"])
def test_every_other_gate_order_is_wrong(order):
    experiment = lessons.lstm_gates(3, 2, 4, seed=0, order=order, bias="first")
    assert experiment.right.agrees
    assert not experiment.wrong.agrees


def test_lstm_biases_add_up():
    assert lessons.lstm_gates(3, 2, 4, 0, "i f g o", "split").wrong.agrees
    assert not lessons.lstm_gates(3, 2, 4, 0, "i f g o", "doubled").wrong.agrees


def test_lstm_has_three_arrays_in_keras_and_four_in_torch():
    pictures = lessons.lstm_gates(3, 2, 4, 0).pictures
    assert {k: v.shape for k, v in pictures.items()} == {
        "kernel": (2, 12),
        "recurrent_kernel": (3, 12),
        "bias": (12,),
        "weight_ih_l0": (12, 2),
        "weight_hh_l0": (12, 3),
        "bias_ih_l0": (12,),
        "bias_hh_l0": (12,),
    }


@pytest.mark.parametrize(("size", "kernel", "stride"), [(6, 3, 2), (8, 5, 2), (7, 3, 3), (5, 3, 1), (9, 2, 1)])
def test_same_padding(size, kernel, stride):
    experiment = lessons.same_padding(size, kernel, stride, seed=0)
    assert experiment.right.agrees
    alike = experiment.pictures["torch pads"].tolist() == experiment.pictures["keras pads"].tolist()
    assert experiment.wrong.agrees == alike


@pytest.mark.parametrize(("kernel", "channels"), [(2, 1), (3, 2)])
def test_reversed_kernel_axes_are_wrong(kernel, channels):
    experiment = lessons.convolution_kernel(kernel, channels, seed=0)
    assert experiment.right.agrees and not experiment.wrong.agrees
    assert np.array_equal(experiment.pictures["keras kernel"], experiment.pictures["right kernel"])
    assert np.array_equal(experiment.pictures["keras kernel"].T, experiment.pictures["wrong kernel"])


def test_a_kernel_of_one_pixel_has_no_axes_to_confuse():
    assert lessons.convolution_kernel(1, 2, seed=0).wrong.agrees


@pytest.mark.parametrize("window", [3, 5])
def test_average_pooling_differs_at_the_border_only(window):
    experiment = lessons.average_pooling(9, window, seed=0)
    assert experiment.right.agrees and not experiment.wrong.agrees
    inside = slice(window // 2, -(window // 2))
    assert np.allclose(experiment.wrong.output[..., inside], experiment.keras[..., inside], atol=1e-5)
    assert experiment.pictures["divided by"][0, 0] == window // 2 + 1


def test_batch_norm_epsilon_matters_for_small_variances():
    small, large = lessons.batch_norm_epsilon(1e-3, 0), lessons.batch_norm_epsilon(1e4, 0)
    assert small.right.agrees and large.right.agrees
    assert small.wrong.difference.relative > 100 * large.wrong.difference.relative


def test_batch_norm_momentum_is_the_complement():
    experiment = lessons.batch_norm_momentum(3, 0)
    assert experiment.right.agrees and not experiment.wrong.agrees


def test_gru_gates_and_reset():
    assert lessons.gru_reset(3, 2, 4, 0, reset_after=True).right.agrees
    assert not lessons.gru_reset(3, 2, 4, 0, reset_after=True).wrong.agrees
    assert lessons.gru_reset(3, 2, 4, 0, reset_after=True, reordered=True).wrong.agrees
    before = lessons.gru_reset(3, 2, 4, 0, reset_after=False, reordered=True)
    assert before.right.agrees and not before.wrong.agrees


@pytest.mark.parametrize("name", lessons.ACTIVATIONS)
def test_activation_defaults(name):
    experiment = lessons.activation_default(name, seed=0)
    assert experiment.right.agrees and not experiment.wrong.agrees


@pytest.mark.parametrize(("inputs", "units", "outcome"), [(4, 3, "error"), (3, 3, "all"), (1, 1, "same")])
def test_dense_kernel_raises_only_where_the_shapes_tell(inputs, units, outcome):
    experiment = lessons.dense_kernel(inputs, units, seed=0)
    assert experiment.right.agrees and experiment.outcome == outcome
    assert (experiment.wrong.error is not None) == (outcome == "error")


@pytest.mark.parametrize(
    ("wrong", "heads", "key_dim", "outcome"),
    [
        ("heads", 2, 3, "all"),
        ("mask", 2, 3, "all"),
        ("heads", 1, 3, "same"),
        ("heads", 3, 1, "same"),
        ("mask", 1, 2, "all"),
    ],
)
def test_attention_heads_and_mask(wrong, heads, key_dim, outcome):
    experiment = lessons.attention(heads, key_dim, 4, seed=1, wrong=wrong)
    assert experiment.right.agrees and experiment.outcome == outcome


@pytest.mark.parametrize(
    ("wrong", "size", "outcome"),
    [("reshape", (3, 4, 2), "all"), ("reshape", (3, 4, 1), "same"), ("declare", (3, 4, 2), "error")],
)
def test_a_memory_format_is_no_layout(wrong, size, outcome):
    experiment = lessons.memory_format(*size, seed=0, wrong=wrong)
    assert experiment.right.agrees and experiment.outcome == outcome
    assert sorted(experiment.pictures["channels_last"]) == experiment.pictures["contiguous"].tolist()


@pytest.mark.parametrize("layer", ["Dropout", "BatchNormalization"])
def test_a_fresh_module_trains(layer):
    experiment = lessons.inference_mode(layer, seed=0)
    assert experiment.right.agrees and not experiment.wrong.agrees
