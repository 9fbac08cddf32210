"""An auditor: through the rows by keyboard, to a verdict, to one layer and back, at a tolerance of one's own."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import load, settled, to, verdict

pytestmark = pytest.mark.browser


def heading(page) -> str:
    """The layer whose mapping is shown."""
    return page.get_by_test_id("stHeading").locator("h3").first.inner_text()


def test_an_auditor(page, serve, example):
    address = serve()
    project = load(page, address, example("convnet"))
    page.get_by_text("See what each layer becomes", exact=True).click()
    page.get_by_text("Overrule this mapping").first.wait_for()
    settled(page)

    # Through the rows by keyboard, each an address of its own that the browser's Back returns to.
    page.goto(f"{address}mapping?project={project}&layer=image")
    page.get_by_text("Row 1 of 4").first.wait_for()
    settled(page)
    page.keyboard.press("Alt+ArrowDown")
    page.get_by_text("Row 2 of 4").first.wait_for()
    settled(page)
    assert heading(page).startswith("conv") and "layer=conv" in page.url
    for words in ("Activations on the current sample", "The weights as pictures", "Outlined on both sides"):
        page.get_by_text(words).first.wait_for()
    page.keyboard.press("Alt+ArrowDown")
    page.get_by_text("Row 3 of 4").first.wait_for()
    settled(page)
    page.go_back()
    page.get_by_text("Row 2 of 4").first.wait_for()
    settled(page)
    page.get_by_text("Documentation of both sides").click()
    page.get_by_role("region", name="keras.layers.Conv2D").get_by_text("2D convolution layer").first.wait_for()
    page.get_by_role("region", name="torch.nn.Conv2d").get_by_text("Applies a 2D convolution").first.wait_for()

    # The verdict, and the same numbers at another tolerance.
    verdict(page, "Both compute the same")
    page.get_by_text("Within it: 1 of 1 output and 4 of 4 layers.").first.wait_for()
    slider = page.get_by_role("slider").first
    slider.focus()
    for _ in range(15):
        page.keyboard.press("ArrowLeft")
    page.get_by_text(re.compile("Within it: 0 of 1 output")).first.wait_for()
    page.get_by_text("Both compute the same").first.wait_for()
    page.get_by_text("classes: both say").first.wait_for()
    page.get_by_text("The input, (28, 28, 3)").first.wait_for()
    settled(page)

    # A point of the chart leads to its row, and Back to the chart as it was.
    chart = page.get_by_test_id("stPlotlyChart").filter(has_text="Each layer")
    chart.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    point = chart.locator("path.point").nth(2).bounding_box()
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_timeout(300)
    page.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.get_by_text("Overrule this mapping").first.wait_for()
    settled(page)
    assert heading(page).startswith("classes") and project in page.url
    page.get_by_text("The whole model agrees.").first.wait_for()
    page.go_back()
    page.get_by_text("Both compute the same").first.wait_for()
    page.get_by_text(re.compile("Within it: 0 of 1 output")).first.wait_for()
    page.reload()
    page.get_by_text("Both compute the same").first.wait_for()
    page.get_by_text(re.compile("Within it: 0 of 1 output")).first.wait_for()
    settled(page)
    to(page, "Load")
    page.get_by_role("heading", name="convnet.keras").first.wait_for()
