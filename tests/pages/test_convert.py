"""Convert: the source, the files to download, and the formats that are made on demand."""

from __future__ import annotations

import pytest

from tests.pages.conftest import click, texts


def test_convert_writes_and_offers_the_files(show, project):
    found = project("convnet")
    app = show("convert", found)
    assert "model.py, as it will be written" in texts(app)
    click(app, "Convert")
    assert "Converted with the overrides in force." in texts(app)
    assert (
        "k2t convert " in app.code[0].value
        and "k2t.convert(" in app.code[1].value
        and "recipe.json" not in app.code[0].value
    )
    labels = [button.label for button in app.get("download_button")]
    assert [label.split(" (")[0] for label in labels] == [
        "model.py",
        "model.safetensors",
        "manifest.json",
        "recipe.json",
        "All in a zip",
    ]
    found.override("flatten", "alternative", "plain flatten")
    app.run()
    assert "changed since the last conversion" in texts(app) and app.code[0].value.endswith("--recipe recipe.json")
    app.selectbox[0].set_value("conv").run()
    assert not app.exception


def test_onnx_is_made_on_demand(show, project):
    pytest.importorskip("onnxscript")
    found = project("dense")
    app = show("convert", found)
    click(app, "Convert")
    assert found.formats == {} and "--onnx" not in app.code[0].value
    click(app, "ONNX")
    assert list(found.formats) == ["onnx"] and "--onnx" in app.code[0].value and "onnx=True" in app.code[1].value
    assert any(button.label.startswith("model.onnx (") for button in app.get("download_button"))
    assert not [button for button in app.button if button.label == "ONNX"]


def test_without_the_packages_the_page_says_what_to_install(show, project, monkeypatch):
    found = project("dense")
    app = show("convert", found)
    click(app, "Convert")
    monkeypatch.setattr("k2t_core.emit.onnx.PACKAGES", ("onnx_that_nobody_has",))
    click(app, "ONNX")
    assert "k2t\\[onnx\\]" in texts(app) or "k2t[onnx]" in texts(app)
    assert found.formats == {} and found.is_converted


def test_work_that_ends_while_the_page_is_drawn_leaves_no_button_behind(show, project, monkeypatch):
    """The page asks several times whether a job runs; here the answer changes after the first."""
    from k2t_core.project.jobs import Job

    found = project("dense")
    found.start_convert().wait()
    answers = iter([True])
    monkeypatch.setattr(Job, "running", property(lambda job: next(answers, False)))
    app = show("convert", found)
    answers = iter([True])
    app.switch_page("pages/verify.py").run()
    assert not next(button for button in app.button if button.label == "Verify").disabled
    answers = iter([True, True, True])  # Undo, Redo and the button itself
    app.run()
    assert not next(button for button in app.button if button.label == "Verify").disabled
