"""From which time step a layer over time diverges: the step at which the module was broken is the one that is named."""

from __future__ import annotations

import json
import re

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification.report_file import read_report, write_report

STEPS = 9
LATE = "(x * (torch.arange(x.shape[1]) < 4).float().reshape(1, -1, *[1] * (x.dim() - 2)))"  # steps 5 to 9 read zeros
LAYERS = {
    "LSTM": (lambda: layers.LSTM(5, return_sequences=True, name="rnn"), (STEPS, 3), LATE, "from time step 5 of 9 on"),
    "LSTM, last output": (lambda: layers.LSTM(5, name="rnn"), (STEPS, 3), LATE, "from time step 5 of 9 on"),
    "GRU, reset before": (
        lambda: layers.GRU(5, reset_after=False, name="rnn"),
        (STEPS, 3),
        LATE,
        "from time step 5 of 9 on",
    ),
    "backwards": (
        lambda: layers.SimpleRNN(5, go_backwards=True, name="rnn"),
        (STEPS, 3),
        "x.flip(1) * (torch.arange(x.shape[1]) < 4).float()[None, :, None]",
        "from time step 5 of 9 on, counted from the end",
    ),
    "RNN of a cell": (
        lambda: layers.RNN(layers.GRUCell(4), return_sequences=True, name="rnn"),
        (STEPS, 3),
        LATE,
        "from time step 5 of 9 on",
    ),
    "Bidirectional": (
        lambda: layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="rnn"),
        (STEPS, 3),
        LATE,
        "from time step 5 of 9 of its forward half on "
        "and from time step 1 of 9 of its backward half on, counted from the end",
    ),
    "TimeDistributed": (
        lambda: layers.TimeDistributed(layers.Dense(4), name="rnn"),
        (STEPS, 3),
        LATE,
        "from time step 5 of 9 on",
    ),
    "ConvLSTM": (
        lambda: layers.ConvLSTM2D(2, 3, padding="same", name="rnn"),
        (STEPS, 6, 6, 3),
        LATE,
        "from time step 5 of 9 on",
    ),
}


def broken(case: str, folder):
    make, shape, expression, _ = LAYERS[case]
    x = keras.Input(shape)
    model = keras.Model(x, layers.Activation("linear")(make()(x)))
    randomise(model)
    k2t.convert(model, folder)
    lines = (folder / "model.py").read_text().splitlines()
    at = next(k for k, line in enumerate(lines) if "self.rnn(" in line)
    before = "x.flip(1)" if "x.flip(1)" in lines[at] else "x"
    lines[at] = lines[at].replace(f"self.rnn({before}", f"self.rnn({expression}")
    at = next(k for k, line in enumerate(lines) if line.startswith(("import", "from pathlib")))
    (folder / "model.py").write_text("\n".join([*lines[:at], "import torch", *lines[at:]]) + "\n")
    return model


@pytest.mark.parametrize("case", LAYERS)
def test_the_step_where_it_was_broken_is_named(case, tmp_path):
    model = broken(case, tmp_path)
    report = k2t.verify(tmp_path, model)
    assert not report.passed and report.first_divergence == "rnn"
    assert report.diverges_from == LAYERS[case][3] and report.diverges_from in report.verdict
    assert json.loads(json.dumps(report.to_json()))["diverges_from"] == report.diverges_from
    write_report(report, tmp_path / "report", "key")
    assert read_report(tmp_path / "report").diverges_from == report.diverges_from


def test_long_sequences_are_halved_and_masks_cut_along(tmp_path):
    x = keras.Input((None,), dtype="int32")
    y = layers.Embedding(20, 6, mask_zero=True)(x)
    model = keras.Model(x, layers.Dense(2)(layers.LSTM(5, name="rnn")(y)))
    randomise(model)
    k2t.convert(model, tmp_path)
    text = (tmp_path / "model.py").read_text()
    call = re.search(r"masked_rnn\(self\.rnn, (\w+),", text)
    late = f"{call[1]} * (torch.arange({call[1]}.shape[1]) < 20).float()[None, :, None]"
    (tmp_path / "model.py").write_text(text.replace(call[0], f"masked_rnn(self.rnn, {late},"))
    tokens = keras.ops.convert_to_numpy(keras.random.randint((2, 40), 1, 20, seed=1)).astype("int32")
    report = k2t.verify(tmp_path, model, inputs=[tokens])
    assert not report.passed and report.diverges_from == "from time step 21 of 40 on", report.verdict


def test_a_layer_inside_a_nested_model(tmp_path):
    inner = keras.Sequential([keras.Input((STEPS, 4)), layers.LSTM(5, name="rnn")], name="encoder")
    x = keras.Input((STEPS, 3))
    model = keras.Model(x, layers.Dense(2)(inner(layers.Dense(4)(x))))
    randomise(model)
    k2t.convert(
        model,
        tmp_path,
        k2t.Recipe().with_override(k2t.Override("encoder/rnn", "alternative", "gates i, c, f, o", "wrong")),
    )
    report = k2t.verify(tmp_path, model)
    assert report.first_divergence == "encoder/rnn" and report.diverges_from == "from time step 1 of 9 on"


@keras.saving.register_keras_serializable("steps")
class Reader(layers.Layer):
    """A layer of one's own, which k2t opens."""

    def __init__(self, **options):
        super().__init__(**options)
        self.before, self.rnn, self.end = (
            layers.Dense(4),
            layers.LSTM(5, return_sequences=True),
            layers.Dense(3, activation="sigmoid"),
        )

    def build(self, shape):
        self.before.build(shape)
        self.rnn.build((*shape[:-1], 4))
        self.end.build((*shape[:-1], 5))

    def call(self, x):
        return self.end(self.rnn(keras.ops.tanh(self.before(x))))


@pytest.mark.parametrize(
    ("at", "kind", "value", "when"),
    [
        ("rnn", "gates", [1, 0, 2, 3], "from time step 1 of 9 on"),
        ("before", "permutation", {"key": "weight", "axes": [0, 1]}, ""),
    ],
)
def test_inside_an_opened_layer(at, kind, value, when, tmp_path):
    x = keras.Input((STEPS, 4))
    model = keras.Model(x, layers.Dense(2)(Reader(name="reader")(x)))
    randomise(model)
    plan = k2t.plan(model)
    layer = next(row for row in plan.table()["layer"] if row.endswith(at))
    k2t.convert(model, tmp_path)
    clean = k2t.verify(tmp_path, model)
    assert clean.passed and any("before sigmoid" in r.tensor for r in clean.layers)
    k2t.convert(model, tmp_path, k2t.Recipe().with_override(k2t.Override(layer, kind, value, "wrong")))
    report = k2t.verify(tmp_path, model)
    assert report.first_divergence == layer and report.diverges_from == when, report.verdict
    assert report.causes[0].explains and not report.causes[0].recipe.overrides
