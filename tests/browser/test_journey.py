"""The whole journey in a real browser: upload, override, convert, read the verdict, undo, and find everything again."""

from __future__ import annotations

import py_compile
import re
import zipfile

import pytest

from tests.browser.conftest import button, load, settled, to

pytestmark = pytest.mark.browser


def test_a_wrong_override_is_caught_and_undone(page, serve, example, tmp_path):
    address = serve()
    project = load(page, address, example("convnet"))
    page.get_by_text("251,786").first.wait_for()

    # A row selected through the address; the wrong reading chosen.
    page.goto(f"{address}mapping?project={project}&layer=flatten")
    page.get_by_text("Overrule this mapping").first.wait_for()
    settled(page)
    page.get_by_label("Reason").fill("to see it caught")
    page.get_by_label("Reason").press("Enter")
    settled(page)
    page.get_by_text("plain flatten", exact=True).click()
    page.get_by_text("Overrides in force: 1").first.wait_for()
    page.get_by_text("This layer alone differs").first.wait_for()  # judged at once, without being asked
    settled(page)
    page.get_by_text("to see it caught").first.wait_for()

    to(page, "Convert")
    button(page, "Convert").click()
    page.get_by_text("Converted with the overrides in force.").first.wait_for()
    settled(page)
    with page.expect_download() as download:
        page.get_by_text("All in a zip").click()
    archive = tmp_path / "all.zip"
    download.value.save_as(archive)
    with zipfile.ZipFile(archive) as files:
        assert sorted(files.namelist()) == ["manifest.json", "model.py", "model.safetensors", "recipe.json"]
        assert "to see it caught" in files.read("recipe.json").decode()
        py_compile.compile(files.extract("model.py", tmp_path), doraise=True)

    to(page, "Verify")
    button(page, "Verify").click()
    page.get_by_text("The PyTorch model differs").first.wait_for()
    settled(page)
    page.get_by_text("The first layer that diverges is").first.wait_for()
    page.get_by_role("button", name=re.compile("on the Mapping page")).click()
    page.get_by_text("Overrule this mapping").first.wait_for()
    settled(page)
    assert "project=" in page.url

    # A change of page and a reload keep the override; so does a new server.
    to(page, "Learn")
    to(page, "Mapping")
    page.get_by_text("Overrides in force: 1").first.wait_for()
    page.reload()
    page.get_by_text("Overrides in force: 1").first.wait_for()
    assert project in page.url
    serve(again=True)
    page.goto(f"{address}mapping?project={project}")
    page.get_by_text("Overrides in force: 1").first.wait_for()
    settled(page)
    page.get_by_text("to see it caught").first.wait_for()

    button(page, "Take back").click()
    page.get_by_text("Overrides in force: 0").first.wait_for()
    to(page, "Convert")
    page.get_by_text("The overrides have changed since the last conversion.").first.wait_for()
    button(page, "Convert").click()
    page.get_by_text("Converted with the overrides in force.").first.wait_for()
    settled(page)
    to(page, "Verify")
    page.get_by_text(
        re.compile("what follows is the result", re.IGNORECASE)
    ).first.wait_for()  # of an earlier conversion
    button(page, "Verify").click()
    page.get_by_text("Both compute the same").first.wait_for()

    to(page, "Learn")
    settled(page)
    assert page.get_by_text("Agrees.").count() == 0  # the reader predicts first
    page.get_by_text("It runs, and nearly all of its numbers are others").click()
    page.get_by_text("As you predicted.").first.wait_for()
    page.get_by_text("Differs.").first.wait_for()
    page.get_by_text("Agrees.").first.wait_for()


def test_a_bad_file_is_explained_and_the_model_stays(page, serve, example, tmp_path):
    load(page, serve(), example("dense"))
    bad = tmp_path / "notes.keras"
    bad.write_text("not a model")
    page.locator("input[type=file]").first.set_input_files(bad)
    page.get_by_text("not a Keras model").first.wait_for()
    settled(page)
    assert page.get_by_text("Traceback").count() == 0
    page.get_by_role("heading", name="dense.keras").first.wait_for()
