"""An error behind a saturated activation is seen before it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise

L = layers
SATURATED = {
    "Dense softmax": (lambda: L.Dense(5, activation="softmax", name="end"), (7,)),
    "Dense tanh over steps": (lambda: L.Dense(5, activation="tanh", name="end"), (4, 7)),
    "Dense sparsemax": (lambda: L.Dense(5, activation="sparsemax", name="end"), (7,)),
    "Conv2D sigmoid": (lambda: L.Conv2D(3, 3, activation="sigmoid", name="end"), (8, 8, 2)),
    "Conv2D softmax": (lambda: L.Conv2D(3, 3, activation="softmax", name="end"), (8, 8, 2)),
    "Conv1D hard_sigmoid": (lambda: L.Conv1D(3, 3, activation="hard_sigmoid", name="end"), (8, 2)),
    "Conv2DTranspose relu6": (lambda: L.Conv2DTranspose(3, 3, activation="relu6", name="end"), (8, 8, 2)),
    "SeparableConv2D tanh": (lambda: L.SeparableConv2D(3, 3, activation="tanh", name="end"), (8, 8, 2)),
    "TimeDistributed softmax": (lambda: L.TimeDistributed(L.Dense(5, activation="softmax"), name="end"), (4, 7)),
    "EinsumDense sigmoid": (
        lambda: L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d", activation="sigmoid", name="end"),
        (4, 7),
    ),
}


def saturated(case: str, nested: bool = False):
    """A model whose last layer is so far in saturation that a wrong bias is not seen behind its activation."""
    make, shape = SATURATED[case]
    layer = make()
    x = inner = keras.Input(shape)
    if nested:
        x = keras.Input(shape)
        model = keras.Model(x, keras.Model(inner, layer(inner), name="head")(x))
    else:
        model = keras.Model(x, layer(x))
    randomise(model)
    biases = [v for v in model.variables if v.name == "bias"]
    biases[-1].assign(np.linspace(300, 900, biases[-1].shape[0]))
    return model


def loosen(folder):
    """A bias that is wrong by a hundredth, in the file itself."""
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    key = next(k for k in state if k.endswith("bias"))
    state[key] = state[key] * 1.01
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("case", SATURATED)
def test_an_error_behind_a_saturated_activation_is_seen_before_it(case, tmp_path):
    model = saturated(case)
    k2t.convert(model, tmp_path)
    assert k2t.verify(tmp_path, model, edge_cases=False).passed
    loosen(tmp_path)
    report = k2t.verify(tmp_path, model, weights="model", edge_cases=False)
    assert all(o.passed for o in report.outputs), "the outputs hide the error, or the test proves nothing"
    assert not report.passed and report.first_divergence == "end"
    assert [r.tensor for r in report.layers if not r.passed] == [f"end before {case.split()[1]}"]


def test_within_a_nested_model_too(tmp_path):
    model = saturated("Conv2D sigmoid", nested=True)
    k2t.convert(model, tmp_path)
    loosen(tmp_path)
    assert k2t.verify(tmp_path, model, weights="model", edge_cases=False).first_divergence == "head/end"


@pytest.mark.parametrize("softmax", [lambda: L.Activation("softmax"), lambda: L.Softmax()])
def test_the_logits_before_a_softmax_of_its_own_are_a_layer_as_any_other(softmax, tmp_path):
    x = keras.Input((7,))
    model = keras.Model(x, softmax()(L.Dense(5, name="logits")(x)))
    randomise(model)
    model.get_layer("logits").bias.assign(np.linspace(300, 900, 5))
    k2t.convert(model, tmp_path)
    loosen(tmp_path)
    report = k2t.verify(tmp_path, model, weights="model", edge_cases=False)
    assert all(o.passed for o in report.outputs) and report.first_divergence == "logits"
