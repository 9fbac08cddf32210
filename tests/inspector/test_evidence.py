"""What the verdict rests on: the ranges that a model expects, weak weights, the effect of overrides, and it as data."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.cli import main
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification.report_file import read_report, write_report

L = layers


def model_of(*stack, shape=(8, 8, 3), **options):
    model = keras.Sequential([keras.Input(shape, name="image", **options), *stack])
    randomise(model)
    return model


# Ranges


def test_the_implied_range_is_compared_with_the_models_own_weights(tmp_path):
    model = model_of(L.Rescaling(1 / 255, name="scale"), L.Conv2D(2, 3))
    k2t.convert(model, tmp_path)
    runs = [(run.weights, run.inputs) for run in k2t.verify(tmp_path, model).runs]
    assert [weights for weights, inputs in runs if inputs.startswith("pixels 0…255, as the Rescaling")] == [
        "model",
        "randomised",
    ]
    assert not any("pixels" in run.inputs for run in k2t.verify(tmp_path, model, edge_cases=False).runs)


# Weights that prove nothing


def weaknesses(model, folder) -> dict[str, str]:
    k2t.convert(model, folder)
    report = k2t.verify(folder, model, weights="model", edge_cases=False)
    assert report.passed and report.proves == (not report.weaknesses)
    return {w.variable.rsplit("/", 1)[-1]: w.reason for w in report.weaknesses}


def test_statistics_as_before_training(tmp_path):
    x = keras.Input((4, 4, 3))
    found = weaknesses(keras.Model(x, L.BatchNormalization()(x)), tmp_path)
    assert (
        found["moving_mean"] == "every value is 0, as before any training"
        and found["moving_variance"] == "every value is 1, as before any training"
    )
    assert found["gamma"] == "every value is 1" and found["beta"] == "every value is 0"


def test_symmetric_in_any_two_axes(tmp_path):
    model = model_of(L.Conv2D(4, 3, name="conv"))
    kernel = np.array(model.get_layer("conv").kernel)
    model.get_layer("conv").kernel.assign((kernel + kernel.transpose(1, 0, 2, 3)) / 2)
    assert weaknesses(model, tmp_path) == {"kernel": "symmetric: swapping its axes 0 and 1 changes nothing"}


@pytest.mark.parametrize("make", [lambda: L.LSTM(5), lambda: L.GRU(5), lambda: L.Bidirectional(L.LSTM(5))])
def test_gates_that_are_alike(make, tmp_path):
    layer = make()
    model = model_of(layer, shape=(6, 3))
    assert weaknesses(model, tmp_path / "strong") == {}
    kernel = next(v for v in model.variables if v.path.endswith("/kernel"))
    value = np.array(kernel)
    value[:, 5:10] = value[:, :5]
    kernel.assign(value)
    assert weaknesses(model, tmp_path / "weak") == {
        "kernel": "two of its gates are the same: swapping them changes nothing"
    }


def test_a_single_zero_bias(tmp_path):
    x = keras.Input((4,))
    model = keras.Model(x, L.Dense(1)(x))
    assert weaknesses(model, tmp_path) == {"bias": "every value is 0"}


def test_the_verdict_says_what_carries_it(tmp_path):
    x = keras.Input((4,))
    model = keras.Model(x, L.Dense(3)(x))
    k2t.convert(model, tmp_path)
    assert "the randomised weights carry the verdict" in k2t.verify(tmp_path, model).verdict
    randomise(model)
    k2t.convert(model, tmp_path)
    assert "carry" not in k2t.verify(tmp_path, model).verdict


# Overrides


def test_each_override_is_weighed_against_the_default(tmp_path, capsys):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            L.Conv2D(3, 3, name="conv"),
            L.Flatten(name="flatten"),
            L.Dense(4, name="dense"),
            L.Dense(4, name="square"),
        ]
    )
    randomise(model)
    model.save(tmp_path / "m.keras")
    recipe = k2t.Recipe().with_override(
        k2t.Override("flatten", "alternative", "permute first", "for our <other> program")
    )
    recipe = recipe.with_override(
        k2t.Override("square", "permutation", {"key": "weight", "axes": [0, 1]}, "by mistake")
    )
    k2t.convert(tmp_path / "m.keras", tmp_path / "out", recipe)
    report = k2t.verify(tmp_path / "out", tmp_path / "m.keras", edge_cases=False)
    right, wrong = report.effects
    assert right.agrees and right.default.relative < 1e-5 and right.override.reason == "for our <other> program"
    assert not wrong.agrees and wrong.chosen.relative > 0.1 > 1e-5 > wrong.default.relative
    write_report(report, tmp_path / "kept", "key")
    assert read_report(tmp_path / "kept").effects == report.effects
    with pytest.raises(SystemExit) as code:
        main(
            [
                "verify",
                str(tmp_path / "out"),
                "--against",
                str(tmp_path / "m.keras"),
                "--html",
                str(tmp_path / "r.html"),
            ]
        )
    assert code.value.code == 1
    out = capsys.readouterr().out
    assert (
        "override of square: weight permuted by (0, 1): differs, the layer's error is" in out
        and "override of flatten: alternative permute first: agrees" in out
    )
    page = (tmp_path / "r.html").read_text()
    assert (
        "for our &lt;other&gt; program" in page and f"{wrong.chosen.relative:.1e}" in page and "error with it" in page
    )


def test_a_snippet_for_a_layer_without_a_rule_has_no_default(tmp_path):
    @keras.saving.register_keras_serializable("evidence")
    class Twice(L.Layer):
        def call(self, x):
            return x * 2

    x = keras.Input((4,))
    model = keras.Model(x, L.Dense(3)(Twice(name="twice")(x)))
    k2t.convert(model, tmp_path, k2t.Recipe().with_override(k2t.Override("twice", "snippet", "x * 2", "")))
    (effect,) = k2t.verify(tmp_path, model, edge_cases=False).effects
    assert effect.agrees and effect.default is None and "no rule" in effect.note


# The report as data


def test_json_holds_what_the_page_holds(example, converted, capsys):
    with pytest.raises(SystemExit):
        main(["verify", str(converted("convnet")), "--against", str(example("convnet")), "--json", "--batch", "2"])
    data = json.loads(capsys.readouterr().out)
    assert data["model"]["sha256"] == k2t.load(example("convnet")).fingerprint
    assert data["versions"]["keras"] == keras.__version__ and {"python", "torch", "numpy"} <= set(data["versions"])
    assert (
        set(data["module"]["sha256"]) == {"model.py", "model.safetensors"} and data["module"]["edited_by_hand"] is False
    )
    assert data["recipe"]["overrides"] == [] and data["overrides"] == []
    assert (
        data["weights"]["conv.weight"]["keras"] == ["conv/kernel"]
        and data["weights"]["conv.weight"]["transform"] == "permute(3, 2, 0, 1)"
    )
    assert data["command"].startswith("k2t verify ") and "--batch 2" in data["command"]
    assert data["runs"][0]["layers"] and data["verdict"].startswith("agrees")
