"""What goes wrong while somebody works: files that are too large or disappear, a server that dies in the middle."""

from __future__ import annotations

import os
import time

import pytest

from tests.browser.conftest import button, load, settled, to

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def sizeable(tmp_path_factory):
    """A model whose conversion takes long enough to be interrupted: 160 MB."""
    import keras
    from keras import layers

    x = keras.Input((2000,), name="features")
    y = layers.Dense(10_000, "relu", name="wide")(x)
    path = tmp_path_factory.mktemp("sizeable") / "sizeable.keras"
    keras.Model(x, layers.Dense(2_000, name="narrow")(y)).save(path)
    return path


def test_a_file_beyond_the_limit_is_refused_before_it_is_sent(page, serve, example, tmp_path):
    load(page, serve(), example("dense"))
    huge = tmp_path / "huge.keras"
    with open(huge, "wb") as file:
        file.truncate(2049 * 2**20)  # sparse: it takes no space
    page.locator("input[type=file]").first.set_input_files(huge)
    page.locator("[role=alert]").filter(has_text="2.0GB or smaller").first.wait_for(state="attached")
    page.get_by_text("Up to 2.0 GiB. Of a larger file, give the path.").first.wait_for()
    page.get_by_role("heading", name="dense.keras").first.wait_for()


def test_a_file_that_disappears_is_told_and_found_again(page, serve, example, tmp_path):
    address = serve()
    path = tmp_path / "moved.keras"
    path.write_bytes(example("square").read_bytes())
    project = load(page, address, path, upload=False)
    page.goto(f"{address}mapping?project={project}&layer=square1")
    page.get_by_text("Permute a weight").click()
    page.get_by_text("Overrule this mapping").first.wait_for()
    settled(page)
    path.rename(tmp_path / "elsewhere.keras")

    # The model is in memory: work goes on.
    to(page, "Convert")
    button(page, "Convert").click()
    page.get_by_text("Converted with the overrides in force.").first.wait_for()
    settled(page)

    # A new server has to read it again.
    serve(again=True)
    page.goto(f"{address}verify?project={project}")
    page.get_by_text("moved.keras: no such file").first.wait_for()
    assert page.get_by_text("Traceback").count() == 0
    settled(page)
    (tmp_path / "elsewhere.keras").rename(path)
    button(page, "Read the model again").click()
    button(page, "Verify").click()
    page.get_by_text("Both compute the same").first.wait_for()


def test_a_server_that_dies_in_a_conversion_leaves_no_half(page, server, sizeable):
    address = server.start()
    project = load(page, address, sizeable, upload=False)
    page.goto(f"{address}mapping?project={project}&layer=narrow")
    page.get_by_text("Overrule this mapping").first.wait_for()
    settled(page)
    to(page, "Convert")
    out = server.folder / "home" / "projects" / project / "out"
    button(page, "Convert").click()
    for _ in range(6000):
        if list(out.glob(".k2t-*")):
            break
        time.sleep(0.005)
    server.stop(kill=True)
    assert list(out.glob(".k2t-*")), "it was killed too late"
    assert not (out / "manifest.json").exists()

    server.start()
    page.goto(f"{address}convert?project={project}")
    button(page, "Convert").first.wait_for()
    settled(page)
    assert page.get_by_text("Converted with the overrides in force.").count() == 0
    button(page, "Convert").click()
    page.get_by_text("Converted with the overrides in force.").first.wait_for()
    assert sorted(os.listdir(out)) == [
        "manifest.json",
        "model.py",
        "model.safetensors",
        "recipe.json",
    ]  # nothing of the first attempt
