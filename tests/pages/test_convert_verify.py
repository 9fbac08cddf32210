"""Convert and Verify: source and downloads, verdicts, the warning that proves nothing, inputs of one's own."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
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


def test_verify_says_that_both_compute_the_same(show, project):
    app = show("verify", project("convnet"))
    click(app, "Verify")
    assert "**Both compute the same**" in app.success[0].value
    assert len(app.get("plotly_chart")) == 6 and "classes: both say" in texts(app)
    found = app.select_slider[0]
    assert found.value == 1e-4 and "Within it: 1 of 1 output and 4 of 4 layers." in texts(app)
    found.set_value(1e-9).run()
    assert (
        not app.exception
        and "Within it: 0 of 1 output" in texts(app)
        and "**Both compute the same**" in app.success[0].value
    )
    for toggle in ("Linear axis of differences", "Logarithmic counts"):
        next(t for t in app.toggle if t.label == toggle).set_value(True).run()
    next(box for box in app.selectbox if box.label == "Class").set_value(3).run()
    next(field for field in app.text_input if field.label == "Names of the classes").set_value("a, b, c, d").run()
    next(field for field in app.number_input if field.label.startswith("Sample")).set_value(2).run()
    assert not app.exception
    assert {"8", "3 d"} & set(next(frame.value for frame in app.dataframe if "Rank in Keras" in frame.value)["Class"])
    app.switch_page("pages/load.py").run()
    app.switch_page("pages/verify.py").run()
    assert app.select_slider[0].value == 1e-9 and next(box for box in app.selectbox if box.label == "Class").value == 3


def test_a_difference_is_explained_and_mended(show, project):
    found = project("square")
    found.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    wrong = found.recipe
    app = show("verify", found)
    click(app, "Verify")
    assert "**The PyTorch model differs**" in app.error[0].value
    assert "square1" in app.error[0].value and found.report.first_divergence == "square1"
    assert found.report.causes and found.report.causes[0].explains
    words = texts(app)
    assert "Likely causes" in words and "Explains the difference" in words and "the layer's error falls from" in words
    click(app, "Apply this change")
    assert found.recipe.overrides == found.report.causes[0].recipe.overrides != wrong.overrides
    assert "convert and verify again" in texts(app)
    assert all(button.disabled for button in app.button if button.label == "Apply this change")
    click(app, "Undo this change")
    assert found.recipe.overrides == wrong.overrides
    click(app, "Apply this change")
    click(app, "Convert and verify again")
    assert app.success[0].value.startswith("**Both compute the same**") and "Likely causes" not in texts(app)
    assert "**From the one to the other**, without square1" in texts(app) and "differs → **agrees**" in texts(app)
    by_layer = next(frame.value for frame in app.dataframe if "Before, alone" in frame.value)
    assert by_layer["Before"][0] > 0.1 > 1e-5 > by_layer["After"][0]
    next(box for box in app.selectbox if box.label == "Compare").set_value(0).run()
    assert "Choose two different ones." in texts(app) and not app.exception
    past = next(frame.value for frame in app.dataframe if "Command" in frame.value)
    assert past["Verdict"].tolist() == ["✓ agrees", "✕ differs"]


def test_settings_of_the_evidence_are_kept_and_used(show, project):
    found = project("square")
    app = show("verify", found)
    app.toggle[0].set_value(False).run()
    app.toggle[1].set_value(True).run()
    next(field for field in app.number_input if field.label.startswith("Search")).set_value(1).run()
    assert (
        found.settings["verify.edge_cases"],
        found.settings["verify.training"],
        found.settings["verify.search"],
    ) == (False, True, 1)
    command, python = (code.value for code in app.code)
    assert command.split()[:3] == ["k2t", "verify", "out"] and command.endswith(
        "square.keras --search 1 --no-edge-cases --training"
    ), command
    assert "search=1, edge_cases=False, training=True" in python
    click(app, "Verify")
    outputs = next(frame.value for frame in app.dataframe if "Mean absolute" in frame.value)
    assert (
        outputs["Cosine similarity"][0] > 0.999999
        and 0 <= outputs["Keras from float64"][0] < 1e-4 > outputs["PyTorch from float64"][0] >= 0
    )
    assert len(found.report.runs) == 3 and "search" in found.report.runs[-1].inputs
    assert any(f"of {len(found.report.training)} agree" in expander.label for expander in app.expander)
    assert [button.label for button in app.get("download_button")] == ["HTML report", "report.json"]
    result = found.report.training[0]
    wrong = replace(found.report, training=(replace(result, passed=False), *found.report.training[1:]))
    found.runs.write(wrong, found.store.conversion_key())
    app.run()
    assert (
        "differs in training" in app.error[0].value
        and "1 of " in app.error[1].value
        and result.what in app.error[1].value
    )


def test_the_time_step_and_what_an_override_does(show, project):
    found = project("lstm")
    found.override("lstm", "gates", [1, 0, 2, 3], "our trainer wrote them so")
    app = show("verify", found)
    click(app, "Verify")
    assert "**lstm**, from time step 1 of 10 on" in app.error[0].value
    table = next(frame.value for frame in app.dataframe if "By default" in frame.value)
    assert table["Reason"].tolist() == ["our trainer wrote them so"] and table["Verdict"].tolist() == ["✕ differs"]
    assert table["Error with it"][0] > 0.1 > 1e-5 > table["By default"][0]


def test_all_ones_prove_nothing_until_randomised(show, project):
    app = show("verify", project("all_ones"))
    next(box for box in app.selectbox if box.label == "Weights").set_value("model").run()
    click(app, "Verify")
    assert "proves nothing" in app.warning[0].value
    click(app, "Verify with randomised weights (in a copy)")
    assert "**Both compute the same**" in app.success[0].value


@pytest.mark.parametrize(("name", "shape", "agrees"), [("mine.csv", (3, 16), True), ("mine.npy", (3, 15), False)])
def test_inputs_of_ones_own(show, project, name, shape, agrees):
    found = project("square")
    file = io.BytesIO()
    if name == "mine.npy":
        np.save(file, np.ones(shape, "float32"))
    else:
        np.savetxt(file, np.ones(shape), delimiter=",")
    app = show("verify", found)
    app.file_uploader[0].upload(name, file.getvalue(), "application/octet-stream").run()
    click(app, "Verify")
    if agrees:
        assert name in texts(app) and app.success and any(f"--inputs {name}" in code.value for code in app.code)
    else:
        (error,) = app.error
        assert "(3, 15)" in error.value and "\n" not in error.value
    click(app, "Use random inputs")
    assert found.settings["verify.inputs"] is None


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


def test_several_files_that_are_no_images_are_refused_in_words(show, project):
    found = project("square")
    app = show("verify", found)
    app.file_uploader[0].upload("a.npy", b"", "application/octet-stream").upload(
        "b.npy", b"", "application/octet-stream"
    ).run()
    assert "several files at once can only be images" in app.error[0].value and found.settings["verify.inputs"] is None


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
