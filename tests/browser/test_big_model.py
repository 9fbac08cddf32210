"""A model of 500 MB, by its path: loaded, converted, verified and looked into. Runs with K2T_SWEEP=all."""

from __future__ import annotations

import gc
import os

import pytest

from tests.browser.conftest import button, load, settled, to

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        os.environ.get("K2T_SWEEP") != "all", reason="takes minutes and gigabytes: K2T_SWEEP=all runs it"
    ),
]
PATIENCE = 300_000  # ms: a verification runs it three times in both frameworks


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    import keras
    from keras import layers

    x = keras.Input((64,), name="features")
    y = layers.Dense(8192, name="wide")(x)
    y = layers.Dense(8192, "relu", name="square")(y)
    y = layers.Dense(7200, "relu", name="narrower")(y)
    path = tmp_path_factory.mktemp("big") / "big.keras"
    keras.Model(x, layers.Dense(10, name="classes")(y)).save(path)
    keras.backend.clear_session()
    gc.collect()
    assert path.stat().st_size > 500 * 10**6
    return path


def test_a_big_model(browser, server, big):
    address = server.start()
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE)
    load(page, address, big, upload=False)
    to(page, "Convert")
    button(page, "Convert").click()
    page.get_by_text("Converted with the overrides in force.").first.wait_for()
    settled(page)
    to(page, "Verify")
    button(page, "Verify").click()
    button(page, "Cancel").click()
    page.get_by_text("Cancelled. Everything is as it was before.").first.wait_for()
    settled(page)
    button(page, "Verify").click()
    page.get_by_text("Both compute the same").first.wait_for()
    settled(page)
    to(page, "Mapping")
    page.get_by_text("Overrule this mapping").first.wait_for()
    settled(page)
    button(page, "Compare this layer").click()
    page.get_by_text("This layer alone agrees").first.wait_for()
    settled(page)
    page.context.close()
