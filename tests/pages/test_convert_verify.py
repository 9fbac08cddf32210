"""Convert and Verify: source and downloads, verdicts, the warning that proves nothing, inputs of one's own."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tests.pages.conftest import click, texts


def test_convert_writes_and_offers_the_files(show, project):
    found = project("convnet")
    app = show("convert", found)
    assert "model.py, as it will be written" in texts(app)
    click(app, "Convert")
    assert "Converted with the overrides in force." in texts(app)
    labels = [button.label for button in app.get("download_button")]
    assert [label.split(" (")[0] for label in labels] == ["model.py", "model.safetensors", "manifest.json", "recipe.json", "All in a zip"]
    found.override("flatten", "alternative", "plain flatten")
    app.run()
    assert "changed since the last conversion" in texts(app)
    app.selectbox[0].set_value("conv").run()
    assert not app.exception


def test_verify_says_that_both_compute_the_same(show, project):
    app = show("verify", project("convnet"))
    click(app, "Verify")
    assert "**Both compute the same**" in app.success[0].value
    assert len(app.get("plotly_chart")) == 3


def test_verify_names_the_first_layer_that_diverges(show, project):
    found = project("convnet")
    found.override("flatten", "alternative", "plain flatten")
    app = show("verify", found)
    click(app, "Verify")
    assert "**The PyTorch model differs**" in app.error[0].value
    assert found.report.deciding.first_divergence in app.error[0].value


def test_all_ones_prove_nothing_until_randomised(show, project):
    app = show("verify", project("all_ones"))
    next(box for box in app.selectbox if box.label == "Weights").set_value("model").run()
    click(app, "Verify")
    assert "proves nothing" in app.warning[0].value
    click(app, "Verify with randomised weights (in a copy)")
    assert "**Both compute the same**" in app.success[0].value


@pytest.mark.parametrize(("shape", "agrees"), [((3, 16), True), ((3, 15), False)])
def test_inputs_of_ones_own(show, project, shape, agrees):
    found = project("square")
    file = io.BytesIO()
    np.save(file, np.ones(shape, "float32"))
    app = show("verify", found)
    app.file_uploader[0].upload("mine.npy", file.getvalue(), "application/octet-stream").run()
    click(app, "Verify")
    if agrees:
        assert "mine.npy" in texts(app) and app.success
    else:
        (error,) = app.error
        assert "(3, 15)" in error.value and "\n" not in error.value
    click(app, "Use random inputs")
    assert found.settings["verify.inputs"] is None
