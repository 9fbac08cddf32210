"""An overrider: code read while it is typed and run when asked, arguments, a duel, undo on any page.

And two verifications compared, and a new server.
"""

from __future__ import annotations

import pytest

from tests.browser.conftest import button, load, settled, to, verdict

pytestmark = pytest.mark.browser


def test_an_overrider(page, serve, example):
    address = serve()
    project = load(page, address, example("square"))
    verdict(page, "Both compute the same")

    # Code, read as it is typed; it runs when it is checked, and nothing is in force before it is applied.
    page.goto(f"{address}mapping?project={project}&layer=square1")
    page.get_by_text("Replace by PyTorch code").click()
    editor = page.get_by_role("textbox", name="PyTorch code")
    editor.click()
    page.keyboard.type("torch.tanh(x @ w['kernel']")
    page.get_by_text("Not one Python expression").first.wait_for()
    assert button(page, "Apply this code").is_disabled()
    page.keyboard.type(")")
    page.get_by_text("Nothing of it has run").first.wait_for()
    button(page, "Check").click()
    page.get_by_text("Would differ").first.wait_for()
    editor.click()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.type(" + w['bias']")
    button(page, "Check").click()  # at once, while the last letters are on their way
    page.get_by_text("Would agree").first.wait_for()
    assert editor.locator(".tok-string").count() == 2
    page.get_by_text("no overrides").first.wait_for()
    settled(page)
    button(page, "Apply this code").click()
    page.get_by_text("1 override").first.wait_for()
    page.get_by_text("This layer alone agrees").first.wait_for()
    settled(page)

    # The count is on every page, and what it counts can be undone there.
    for name in ("Load", "Convert", "Verify", "Learn"):
        to(page, name)
        page.get_by_text("1 override").first.wait_for()
    button(page, "Undo").click()
    page.get_by_text("no overrides").first.wait_for()
    button(page, "Redo").click()
    page.get_by_text("1 override").first.wait_for()
    button(page, "Undo").click()
    page.get_by_text("no overrides").first.wait_for()
    settled(page)

    # A wrong permutation, after a duel that says what it would do to every later layer.
    page.goto(f"{address}mapping?project={project}&layer=square1&duel=1")
    page.get_by_text("nearer to Keras").first.wait_for()
    settled(page)
    button(page, "Follow both through the later layers").click()
    page.get_by_text("Accumulated relative difference at square1").first.wait_for()
    settled(page)
    button(page, "Put this in force").click()
    page.get_by_text("This layer alone differs").first.wait_for()
    settled(page)
    verdict(page, "The PyTorch model differs")
    page.get_by_text("From the one to the other").first.wait_for()
    page.get_by_test_id("stPlotlyChart").filter(has_text="Each layer, accumulated").first.wait_for()

    # A new server knows all of it.
    serve(again=True)
    page.goto(f"{address}verify?project={project}")
    page.get_by_text("The PyTorch model differs").first.wait_for()
    page.get_by_text("1 override").first.wait_for()
    settled(page)
    page.get_by_role("button", name="Apply this change").first.click()
    page.get_by_text("convert and verify again").first.wait_for()
    settled(page)
    button(page, "Convert and verify again").click()
    page.get_by_text("Both compute the same").first.wait_for()
