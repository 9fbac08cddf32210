"""The gates and biases of an LSTM."""

from __future__ import annotations

import pytest

from k2t_core.inspector.lessons.lstm import GATE_ORDERS, lstm_gates


@pytest.mark.parametrize("order", [order for order in GATE_ORDERS if order != "i f g o"])
def test_every_other_gate_order_is_wrong(order):
    experiment = lstm_gates(3, 2, 4, seed=0, order=order, bias="first")
    assert experiment.right.agrees
    assert not experiment.wrong.agrees


def test_lstm_biases_add_up():
    assert lstm_gates(3, 2, 4, 0, "i f g o", "split").wrong.agrees
    assert not lstm_gates(3, 2, 4, 0, "i f g o", "doubled").wrong.agrees


def test_lstm_has_three_arrays_in_keras_and_four_in_torch():
    pictures = lstm_gates(3, 2, 4, 0).pictures
    assert {k: v.shape for k, v in pictures.items()} == {
        "kernel": (2, 12),
        "recurrent_kernel": (3, 12),
        "bias": (12,),
        "weight_ih_l0": (12, 2),
        "weight_hh_l0": (12, 3),
        "bias_ih_l0": (12,),
        "bias_hh_l0": (12,),
    }
