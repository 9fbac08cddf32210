"""What ordinary numbers hide is looked at closely: before an activation, at a normalisation's epsilon, under rounding."""

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


NORMS = {
    "BatchNormalization": (lambda: L.BatchNormalization(epsilon=1.001e-5, name="norm"), "norm without variance"),
    "frozen": (lambda: L.BatchNormalization(trainable=False, epsilon=1.001e-5, name="norm"), "norm without variance"),
    "LayerNormalization": (lambda: L.LayerNormalization(epsilon=1.001e-5, name="norm"), "norm of a thousandth"),
    "GroupNormalization": (lambda: L.GroupNormalization(2, epsilon=1.001e-5, name="norm"), "norm of a thousandth"),
    "RMSNormalization": (lambda: L.RMSNormalization(epsilon=1.001e-5, name="norm"), "norm of a thousandth"),
}


@pytest.mark.parametrize("case", NORMS)
def test_an_epsilon_that_is_a_little_wrong_is_seen(case, tmp_path):
    make, name = NORMS[case]
    x = keras.Input((6, 6, 4))
    model = keras.Model(x, make()(x))
    randomise(model)
    before = [np.array(v) for v in model.variables]
    k2t.convert(model, tmp_path)
    assert k2t.verify(tmp_path, model).passed
    k2t.convert(
        model, tmp_path, k2t.Recipe().with_override(k2t.Override("norm", "arguments", {"eps": 1.02e-5}, "nearly right"))
    )
    report = k2t.verify(tmp_path, model, edge_cases=False)
    assert not report.passed and report.first_divergence == "norm"
    assert name in [r.tensor for r in report.layers if not r.passed]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.variables)), "the user's model is as it was"


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("case", ["BatchNormalization", "LayerNormalization"])
def test_each_call_of_a_shared_normalisation_is_compared_on_its_own_input(case, nested, tmp_path):
    make, name = NORMS[case]
    x = keras.Input((6, 6, 4))
    shared = keras.Sequential([keras.Input((6, 6, 4)), make()], name="inner") if nested else make()
    model = keras.Model(x, shared(L.Conv2D(4, 3, padding="same")(shared(x))))
    randomise(model)
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model)
    assert report.passed, report.verdict
    assert len([r for r in report.runs[0].layers if r.tensor.endswith(name.removeprefix("norm"))]) == 2, "both calls"


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("then", [lambda: L.Activation("linear"), lambda: L.Dense(3)])
def test_a_normalisation_over_one_number_is_rounding_in_keras_and_no_difference(then, initial, tmp_path):
    x = keras.Input((5, 1))
    model = keras.Model(x, then()(L.LayerNormalization(name="norm")(x)))
    if not initial:
        randomise(model)
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, edge_cases=True)
    assert report.passed, report.verdict


def test_a_layer_of_lower_precision_is_not_taken_for_rounding(tmp_path):
    """Its float64 run is right, and it is far from its float64 run: that excuses Keras's rounding and not its own."""
    x = keras.Input((16,))
    model = keras.Model(x, L.Dense(4)(L.Dense(16, name="coarse")(x)))
    randomise(model)
    k2t.convert(model, tmp_path)
    text = (tmp_path / "model.py").read_text()
    (tmp_path / "model.py").write_text(text.replace("self.coarse(x)", "self.coarse(x.half().float())", 1))
    report = k2t.verify(tmp_path, model, edge_cases=False)
    assert not report.passed and report.first_divergence == "coarse"


def test_overflow_at_the_end_of_the_range_is_no_difference(tmp_path):
    """torch's hard swish multiplies by 6 before it divides; the same layer in the middle of the range is judged as ever."""
    x = keras.Input((4,))
    model = keras.Model(x, L.Dense(3)(L.Activation("hard_silu", name="swish")(x)))
    randomise(model)
    k2t.convert(model, tmp_path)
    batch = [np.array([[1e38, 2e38, -1e38, 1.0]], "float32")]
    report = k2t.verify(tmp_path, model, inputs=batch, weights="model", edge_cases=False)
    assert next(r for r in report.layers if r.layer == "swish").passed
    text = (tmp_path / "model.py").read_text()
    assert "F.hardswish(x)" in text
    (tmp_path / "model.py").write_text(text.replace("F.hardswish(x)", "F.silu(x)"))
    assert k2t.verify(tmp_path, model, inputs=batch, weights="model", edge_cases=False).first_divergence == "swish"


def test_a_softmax_of_large_equal_numbers_is_no_difference(tmp_path):
    """All weights 1: Keras adds every column up alike, torch in another order; softmax makes a twentieth of that."""
    x = keras.Input((28, 28, 32))
    model = keras.Model(x, L.Dense(10, activation="softmax", name="classes")(L.Flatten()(x)))
    for v in model.variables:
        v.assign(np.ones(v.shape))
    k2t.convert(model, tmp_path)
    batch = [np.random.default_rng(0).uniform(5, 8, (2, 28, 28, 32)).astype("float32")]
    assert k2t.verify(tmp_path, model, inputs=batch, weights="model", edge_cases=False).passed
