"""What explains a difference: each known cause, put in by an override or by hand into the files, is named first."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import torch
from keras import layers
from safetensors.torch import load_file, save_file

import k2t_core as k2t
from k2t_core.cli import main
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification.report_file import read_report, write_report

L = layers


def image(*stack, shape=(9, 9, 3)):
    return lambda: keras.Sequential([keras.Input(shape), *(make() for make in stack)])


def tokens(*stack):
    return lambda: keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            L.Embedding(20, 6, mask_zero=True, name="embed"),
            *(make() for make in stack),
        ]
    )


def masked_attention():
    x = keras.Input((7,), dtype="int32")
    y = L.Embedding(20, 8, mask_zero=True)(x)
    return keras.Model(x, L.Dense(2)(L.MultiHeadAttention(2, 4, name="layer")(y, y)))


def text(pattern, by):
    """model.py with one place changed."""

    def edit(folder):
        code = (folder / "model.py").read_text()
        assert len(re.findall(pattern, code)) >= 1, code
        (folder / "model.py").write_text(re.sub(pattern, by, code, count=1))

    return edit


def state(change):
    """model.safetensors with its entries changed."""

    def edit(folder):
        entries = load_file(folder / "model.safetensors")
        change(entries)
        save_file(
            {k: v.contiguous() for k, v in entries.items()}, folder / "model.safetensors", metadata={"format": "pt"}
        )

    return edit


def swap(entries, a, b):
    entries[a], entries[b] = entries[b], entries[a]


def gates(entries):
    for key in list(entries):
        if key.startswith("layer."):
            i, f, g, o = entries[key].chunk(4)
            entries[key] = torch.cat([f, i, g, o])


def transpose(entries):
    entries["layer.weight"] = entries["layer.weight"].transpose(-1, -2)


# cause → (model, the layer, an override or an edit, what the first cause must say)
CAUSES = {
    "kernel transposed": (
        image(lambda: L.Flatten(), lambda: L.Dense(8), lambda: L.Dense(8, name="layer")),
        ("permutation", {"key": "weight", "axes": [0, 1]}),
        "without your override",
    ),
    "kernel transposed, by hand": (
        image(lambda: L.Conv2D(4, 3, name="layer")),
        state(transpose),
        "weight transposed by (3, 2, 1, 0)",
    ),
    "padding on the other side": (
        image(lambda: L.Conv2D(4, 3, 2, "same", name="layer"), shape=(8, 8, 3)),
        ("alternative", "padding on the other side"),
        "without your override",
    ),
    "padding on the other side, by hand": (
        image(lambda: L.Conv2D(4, 2, 1, "same", name="layer"), shape=(8, 8, 3)),
        text(r"\(0, 1, 0, 1\)", "(1, 0, 1, 0)"),
        "padding on the other side",
    ),
    "causal padding on the other side, by hand": (
        image(lambda: L.Conv1D(4, 3, padding="causal", name="layer"), shape=(9, 3)),
        text(r"\(2, 0\)", "(0, 2)"),
        "padding on the other side",
    ),
    "symmetric padding, by hand": (
        image(lambda: L.Conv2D(4, 3, 2, "same", name="layer"), shape=(8, 8, 3)),
        text(r"F\.pad\(x, \(0, 1, 0, 1\)\)", "F.pad(x, (1, 1, 1, 1))"),
        "symmetric padding",
    ),
    "epsilon": (
        image(lambda: L.BatchNormalization(name="layer")),
        ("arguments", {"eps": 1e-5}),
        "without your override",
    ),
    "epsilon, by hand": (
        image(lambda: L.LayerNormalization(name="layer")),
        text(r"eps=0\.001", "eps=1e-05"),
        "eps=1e-05",
    ),
    "mean and variance swapped": (
        image(lambda: L.BatchNormalization(name="layer")),
        ("weights", {"running_mean": "moving_variance", "running_var": "moving_mean"}),
        "without your override",
    ),
    "mean and variance swapped, by hand": (
        image(lambda: L.BatchNormalization(name="layer")),
        state(lambda s: swap(s, "layer.running_mean", "layer.running_var")),
        "running_mean from moving_variance and running_var from moving_mean, swapped",
    ),
    "Flatten order": (
        image(lambda: L.Conv2D(4, 3), lambda: L.Flatten(name="layer"), lambda: L.Dense(3)),
        ("alternative", "plain flatten"),
        "without your override",
    ),
    "gate order": (
        image(lambda: L.LSTM(5, name="layer"), shape=(7, 3)),
        ("gates", [1, 0, 2, 3]),
        "without your override",
    ),
    "gate order, by hand": (
        image(lambda: L.LSTM(5, name="layer"), shape=(7, 3)),
        state(gates),
        "gates in the order (1, 0, 2, 3)",
    ),
    "gelu variant": (
        image(lambda: L.Dense(8, activation="gelu", name="layer"), shape=(6,)),
        ("arguments", {"approximate": "tanh"}),
        "without your override",
    ),
    "gelu variant, by hand": (
        image(lambda: L.Dense(8, activation="gelu", name="layer"), shape=(6,)),
        text(r"F\.gelu\((.*)\)", r'F.gelu(\1, approximate="tanh")'),
        "approximate='tanh'",
    ),
    "mask ignored": (tokens(lambda: L.LSTM(5, name="layer")), ("alternative", "mask ignored"), "without your override"),
    "mask ignored, by hand": (
        tokens(lambda: L.GRU(5, name="layer")),
        text(r"masked_rnn\(self\.layer, (\w+), .*\)\[", r"self.layer(\1)[0]["),
        "mask ignored",
    ),
    "mask ignored in attention": (masked_attention, ("alternative", "mask ignored"), "without your override"),
    "mask ignored in a mean": (
        tokens(lambda: L.GlobalAveragePooling1D(name="layer")),
        ("alternative", "mask ignored"),
        "without your override",
    ),
    "wrong axis": (
        image(lambda: L.Conv2D(9, 1), lambda: L.Softmax(name="layer")),
        ("arguments", {"dim": 2}),
        "without your override",
    ),
    "wrong axis, by hand": (
        image(lambda: L.Dense(5), lambda: L.Softmax(name="layer"), shape=(4, 3)),
        text(r"dim=-1", "dim=1"),
        "dim=1 instead of -1",
    ),
    "memory order": (
        image(lambda: L.Conv2D(4, 3), lambda: L.Reshape((49, 4), name="layer"), lambda: L.Dense(3)),
        ("alternative", "torch's own order"),
        "without your override",
    ),
}


@pytest.mark.parametrize("case", CAUSES)
def test_the_cause_is_named_first_and_its_change_mends_the_layer(case, tmp_path):
    make, fault, words = CAUSES[case]
    model = make()
    randomise(model)
    if callable(fault):
        k2t.convert(model, tmp_path)
        fault(tmp_path)
    else:
        k2t.convert(model, tmp_path, k2t.Recipe().with_override(k2t.Override("layer", *fault, "a fault on purpose")))
    batch = (
        [np.array([[3, 1, 0, 4, 0, 0, 2], [0, 5, 6, 7, 0, 0, 0], [9, 8, 7, 6, 5, 4, 3]], "int32")]
        if model.input_shape == (None, 7)
        else None
    )
    report = k2t.verify(tmp_path, model, inputs=batch, edge_cases=False)
    assert not report.passed and report.first_divergence == "layer", report.verdict
    assert report.causes, report.notes
    best = report.causes[0]
    assert best.explains and words in best.text, [cause.describe() for cause in report.causes]
    assert best.layer == "layer" and best.factor > 10
    k2t.convert(model, tmp_path, best.recipe)
    assert k2t.verify(tmp_path, model, inputs=batch, edge_cases=False).passed, "one click mends it"


def test_the_known_readings_are_tried_without_an_override_to_take_back(tmp_path, monkeypatch):
    """As if k2t's own rule had swapped gates and statistics: the overrides that mend it are found."""
    from dataclasses import replace

    from k2t_core.planning.overrides import APPLIED
    from k2t_core.rules import registry

    def break_rule(kind, change):
        rule = registry.find(kind)
        monkeypatch.setitem(
            registry.registered, kind, replace(rule, function=lambda call: change(rule.function(call), call))
        )

    break_rule("GRU", lambda mapping, call: APPLIED["gates"](mapping, [0, 2, 1], call))
    break_rule(
        "BatchNormalization",
        lambda mapping, call: APPLIED["weights"](
            mapping, {"running_mean": "moving_variance", "running_var": "moving_mean"}, call
        ),
    )
    for layer, words in (
        (L.GRU(5, name="layer"), "gates in the order (0, 2, 1)"),
        (L.BatchNormalization(name="layer"), "swapped"),
    ):
        x = keras.Input((7, 5))
        model = keras.Model(x, layer(x))
        randomise(model)
        k2t.convert(model, tmp_path)
        report = k2t.verify(tmp_path, model, edge_cases=False)
        assert report.causes[0].explains and words in report.causes[0].text
        k2t.convert(model, tmp_path, report.causes[0].recipe)
        assert k2t.verify(tmp_path, model, edge_cases=False).passed


def test_a_change_by_hand_that_no_known_cause_explains_is_said_to_be_one(tmp_path):
    model = image(lambda: L.Dense(4, name="layer"), shape=(6,))()
    randomise(model)
    k2t.convert(model, tmp_path)
    text(r"self\.layer\(x\)", "self.layer(x * 1.5)")(tmp_path)
    report = k2t.verify(tmp_path, model, edge_cases=False)
    assert (
        not report.passed
        and not report.causes
        and any("None of the known causes explains layer 'layer'" in note for note in report.notes)
    )


# Overrides, weighed against the default


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
