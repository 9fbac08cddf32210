"""Verify: the verdict, what explains it, the warning that proves nothing, inputs of one's own."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tests.pages.conftest import click, texts


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


def test_several_files_that_are_no_images_are_refused_in_words(show, project):
    found = project("square")
    app = show("verify", found)
    app.file_uploader[0].upload("a.npy", b"", "application/octet-stream").upload(
        "b.npy", b"", "application/octet-stream"
    ).run()
    assert "several files at once can only be images" in app.error[0].value and found.settings["verify.inputs"] is None
