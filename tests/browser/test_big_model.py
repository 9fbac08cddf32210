"""A model of 500 MB, by its path: loaded, converted, verified, looked into, and its memory given back. Runs with K2T_SWEEP=all."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import pytest

from tests.browser.conftest import button, load, settled, to

pytestmark = [pytest.mark.browser, pytest.mark.skipif(os.environ.get("K2T_SWEEP") != "all", reason="takes minutes and gigabytes: K2T_SWEEP=all runs it")]
PATIENCE = 300_000  # ms: a verification runs it three times in both frameworks
MEGABYTE = 2**20


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


def resident(server) -> int:
    """Bytes of memory that the server holds."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_big_model(browser, server, example, big):
    server.options = ["--server.disconnectedSessionTTL=2"]
    address = server.start()
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    load(page, address, example("dense"))  # TensorFlow and torch are in memory from here on
    to(page, "Verify")
    button(page, "Verify").click()
    page.get_by_text("Both compute the same").wait_for()
    settled(page)
    before = resident(server)

    load(page, address, big, upload=False)
    to(page, "Convert")
    button(page, "Convert").click()
    page.get_by_text("Converted with the overrides in force.").wait_for()
    settled(page)
    to(page, "Verify")
    button(page, "Verify").click()
    button(page, "Cancel").click()
    page.get_by_text("Cancelled. Everything is as it was before.").wait_for()
    settled(page)
    button(page, "Verify").click()
    page.get_by_text("Both compute the same").wait_for()
    settled(page)
    to(page, "Mapping")
    page.get_by_text("Overrule this mapping").wait_for()
    settled(page)
    button(page, "Compare this layer").click()
    page.get_by_text("This layer alone agrees").wait_for()
    settled(page)
    held = resident(server)
    context.close()

    # The session is forgotten when another one comes, after its time.
    time.sleep(4)
    other = browser.new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(address)
    other.get_by_text("Choose a model").wait_for()
    for _ in range(60):
        if resident(server) < held - 400 * MEGABYTE:
            break
        other.reload()
        settled(other)
        time.sleep(1)
    after = resident(server)
    other.close()
    print(f"resident: {before // MEGABYTE} MB before, {held // MEGABYTE} MB with the model, {after // MEGABYTE} MB after its session ended")
    assert held > before + 450 * MEGABYTE and after < held - 400 * MEGABYTE
