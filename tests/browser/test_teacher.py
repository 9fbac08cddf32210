"""A teacher: a link to a lesson in a given state, opened by a pupil; a fault to find in a model.

And the model's own layer as the example.
"""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import button, load, settled, to

pytestmark = pytest.mark.browser


def test_a_teacher_and_a_pupil(page, serve, example):
    address = serve()
    page.goto(f"{address}learn?lesson=dense&inputs=5&units=5")
    page.get_by_text("Predict first.").first.wait_for()
    settled(page)
    page.get_by_role("slider", name="Seed").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile("seed=1"))
    page.get_by_text("It runs, and nearly all of its numbers are others").click()
    page.get_by_text("As you predicted.").first.wait_for()
    settled(page)
    link = re.sub(r"project=[\w-]+&?", "", page.url)  # a project is nobody else's

    pupil = page.context.browser.new_context().new_page()
    pupil.set_default_timeout(60_000)
    pupil.goto(link)
    pupil.get_by_text("Predict first.").first.wait_for()
    settled(pupil)
    assert [pupil.get_by_role("slider", name=name).input_value() for name in ("In", "Out", "Seed")] == ["5", "5", "1"]
    assert pupil.get_by_text("As you predicted.").count() == 0 and pupil.get_by_text("Agrees.").count() == 0
    pupil.get_by_text("It raises an error").click()
    pupil.get_by_text("Not as you predicted.").first.wait_for()
    assert page.get_by_text("Not as you predicted.").count() == 0
    pupil.context.close()

    # A fault in a copy of a model: which layer, and why.
    load(page, address, example("convnet"))
    to(page, "Learn")
    page.get_by_text("Break it: find the fault").click()
    button(page, "Break my model").click()
    page.get_by_text("Which layer diverges first?").first.wait_for()
    settled(page)
    for question in ("Which layer diverges first?", "What is wrong with it?"):
        page.get_by_role("radiogroup", name=question).locator("label").first.click()
        settled(page)
    page.get_by_text(re.compile("Found|Not ")).first.wait_for()
    page.get_by_test_id("stPlotlyChart").filter(has_text="Each layer").first.wait_for()
    page.get_by_text("no overrides").first.wait_for()

    # The loaded model's own layer, its right and its wrong reading side by side.
    page.get_by_text("Flatten runs through other axes").click()
    page.get_by_text("Take your own layer: flatten").click()
    page.get_by_text("nearer to Keras").first.wait_for()
