"""A report on disk: whole or not at all, of one version, with arrays of every dtype."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification.report_file import read_report, report_key, write_report
from tests.killing import deaths, random_deaths
from tests.verification.deaths import OLD


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of a model whose outputs are bfloat16, which .npz does not know."""
    folder = tmp_path_factory.mktemp("out")
    x = keras.Input((6,))
    model = keras.Model(x, layers.Dense(3, dtype="bfloat16")(x))
    randomise(model)
    k2t.convert(model, folder)
    return k2t.verify(folder, model, batch=2)


def test_what_is_written_is_read(report, tmp_path):
    write_report(report, tmp_path / "new", "what it was on")
    found = read_report(tmp_path / "new")
    assert found.to_json() == report.to_json() and report_key(tmp_path / "new") == "what it was on"
    assert found.outputs[0].keras.dtype.name == "bfloat16"
    for mine, its in zip(found.runs, report.runs, strict=True):
        assert all(np.array_equal(a.torch, b.torch) for a, b in zip(mine.outputs, its.outputs, strict=True))


def test_none_of_this_version_is_none(report, tmp_path):
    assert read_report(tmp_path) is None and report_key(tmp_path) is None
    write_report(report, tmp_path, "key")
    data = json.loads((tmp_path / "report.json").read_text())
    (tmp_path / "report.json").write_text(json.dumps({**data, "k2t_report": data["k2t_report"] - 1}))
    assert read_report(tmp_path) is None and report_key(tmp_path) is None


def test_a_write_that_fails_leaves_the_old_report(report, tmp_path, monkeypatch):
    write_report(report, tmp_path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            write_report(report, tmp_path, "new")
    assert report_key(tmp_path) == "old" and read_report(tmp_path).to_json() == report.to_json()
    write_report(report, tmp_path, "new")
    assert report_key(tmp_path) == "new" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("when", ["steps", random_deaths()])
def test_who_dies_while_writing_leaves_the_old_report_or_the_new_one(when, report, tmp_path, monkeypatch):
    write_report(report, tmp_path / "old", "old")
    monkeypatch.setenv(OLD, str(tmp_path / "old"))
    found = deaths("tests.verification.deaths", "report", tmp_path / "deaths", when)
    keys = {report_key(folder / "report") for folder in found}
    assert keys == {"old", "new"} if when == "steps" else keys <= {"old", "new"}
    assert all(read_report(folder / "report").to_json() == report.to_json() for folder in found)


def test_a_report_on_training_with_dropout_is_written(tmp_path):
    """Its verdicts are Python's own bools, which JSON takes."""
    x = keras.Input((6,))
    model = keras.Model(x, layers.Dense(3)(layers.Dropout(0.3)(x)))
    k2t.convert(model, tmp_path / "out")
    found = k2t.verify(tmp_path / "out", model, training=True, edge_cases=False)
    write_report(found, tmp_path / "report", "key")
    assert read_report(tmp_path / "report").training == found.training
