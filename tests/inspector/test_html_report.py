"""The report page: whole, offline, and safe to open whatever the model's names are."""

from __future__ import annotations

import json
import re

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.cli import main
from k2t_core.inspector.html_report import html_report


def test_the_page_holds_what_the_verdict_rests_on(example, tmp_path, capsys):
    recipe = k2t.Recipe().with_override(
        k2t.Override("flatten", "alternative", "plain flatten", "our own <trainer> flattens this way")
    )
    k2t.convert(example("convnet"), tmp_path / "out", recipe)
    with pytest.raises(SystemExit) as code:
        main(
            [
                "verify",
                str(tmp_path / "out"),
                "--against",
                str(example("convnet")),
                "--html",
                str(tmp_path / "report.html"),
            ]
        )
    assert code.value.code == 1
    page = (tmp_path / "report.html").read_text()
    assert "differs" in page and "k2t verify" in page and "our own &lt;trainer&gt; flattens this way" in page
    assert k2t.load(example("convnet")).fingerprint in page and keras.__version__ in page
    assert "permute(3, 2, 0, 1)" in page and "conv.weight" in page and "zeros, batch of 1" in page
    outside_of_plotly = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert not re.search(r"(src|href)=", outside_of_plotly), "nothing is fetched from anywhere"
    assert "<script src" not in page


def test_names_in_a_model_are_text_and_not_markup(tmp_path):
    x = keras.Input((3,))
    model = keras.Model(x, layers.Dense(2, name="<img onerror=alert(1)>")(x))
    k2t.convert(model, tmp_path)
    page = html_report(k2t.verify(tmp_path, model), tmp_path, "k2t verify")
    assert "<img onerror" not in page


def test_a_report_that_cannot_be_written(example, converted, capsys):
    with pytest.raises(SystemExit) as code:
        main(
            [
                "verify",
                str(converted("dense")),
                "--against",
                str(example("dense")),
                "--html",
                "/proc/nowhere/report.html",
            ]
        )
    assert code.value.code == 2 and "/proc/nowhere/report.html" in capsys.readouterr().err


def test_gradients_and_the_law_of_dropout_are_on_the_page(tmp_path):
    x = keras.Input((6,))
    model = keras.Model(
        x, layers.Dense(2, name="end")(layers.Dropout(0.3, name="drop")(layers.Dense(40, name="start")(x)))
    )
    k2t.convert(model, tmp_path)
    page = html_report(k2t.verify(tmp_path, model, training=True), tmp_path, "k2t verify --training")
    assert "Gradients and training mode" in page and "share set to 0 in training" in page and "start.weight" in page


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
        data["mapping"]["conv.weight"]["keras"] == ["conv/kernel"]
        and data["mapping"]["conv.weight"]["transform"] == "permute(3, 2, 0, 1)"
    )
    assert data["weights"]["passed"] and data["weights"]["entries"] == len(data["mapping"])
    assert data["command"].startswith("k2t verify ") and "--batch 2" in data["command"]
    assert data["runs"][0]["layers"] and data["verdict"].startswith("agrees")
