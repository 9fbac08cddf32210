"""Two people at work on one server: neither sees the other's model, and long work can be cancelled."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from tests.browser.conftest import button, load, settled, to

pytestmark = pytest.mark.browser


def test_two_at_once_see_their_own(page, serve, example):
    address = serve()
    other = page.context.browser.new_context().new_page()
    other.set_default_timeout(60_000)
    projects = load(page, address, example("convnet")), load(other, address, example("lstm"))
    assert projects[0] != projects[1]
    for one in (page, other):
        to(one, "Verify")
    for one in (page, other):
        button(one, "Verify").click()
    for one in (page, other):
        one.get_by_text("Both compute the same").first.wait_for()
        settled(one)
    for name in ("Mapping", "Convert", "Verify"):
        for one, own, foreign in ((page, "convnet.keras", "lstm.keras"), (other, "lstm.keras", "convnet.keras")):
            to(one, name)
            one.get_by_text(own).first.wait_for()
            assert one.get_by_text(foreign).count() == 0
    # Undone by the one, in force with the other.
    page.goto(f"{address}mapping?project={projects[0]}&layer=flatten")
    page.get_by_text("plain flatten", exact=True).click()
    page.get_by_text("1 override").first.wait_for()
    to(other, "Convert")
    other.get_by_text("no overrides").first.wait_for()
    other.context.close()


def test_a_new_visitor_sees_nothing(page, serve, example):
    address = serve()
    load(page, address, example("dense"))
    other = page.context.browser.new_context().new_page()
    other.set_default_timeout(60_000)
    for name in ("mapping", "convert", "verify"):
        other.goto(f"{address}{name}")
        other.get_by_text("No model is loaded yet.").first.wait_for()
        assert other.get_by_text("dense.keras").count() == 0
    other.context.close()


def test_long_work_is_cancelled(page, serve, tmp_path):
    """Work of many seconds, so that a browser on a machine under load comes in time."""
    y = x = keras.Input((96, 96, 3))
    for _ in range(10):
        y = layers.Conv2D(48, 3, padding="same", activation="relu")(y)
    keras.Model(x, layers.GlobalAveragePooling2D()(y)).save(tmp_path / "slow.keras")
    load(page, serve(), tmp_path / "slow.keras")
    to(page, "Verify")
    button(page, "Verify").click()
    button(page, "Cancel").click()
    page.get_by_text("Cancelled. Everything is as it was before.").first.wait_for()
    settled(page)
    assert page.get_by_text("Both compute the same").count() == 0
    button(page, "Verify").click()
    page.get_by_text("Both compute the same").first.wait_for()
