"""The app on a free port, and a real headless Chromium that opens it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.served import Server, admitted

CHROMIUM_OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def chromium() -> str | None:
    """$K2T_CHROMIUM, or the system's Chromium; None leaves the choice to Playwright's own download."""
    return (
        os.environ.get("K2T_CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """The app's server, not yet started."""
    found = Server(tmp_path_factory.mktemp("server"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def serve(server) -> Callable[..., str]:
    """``serve()``: the address of the app, started once for a module.

    ``serve(again=True)`` starts it anew on the same data, as after a crash.
    """
    return server.start


@pytest.fixture(scope="module")
def browser(server):
    """A real headless Chromium, which the app's server lets in."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = chromium()
    with sync_api.sync_playwright() as playwright:
        if (
            path is None
            and not Path(playwright.chromium.executable_path).is_file()
            and os.environ.get("K2T_BROWSER") != "required"
        ):
            pytest.skip("no Chromium: install it (apt-get install chromium), or name it in $K2T_CHROMIUM")
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield admitted(browser, server)
        browser.close()


@pytest.fixture
def page(browser, tmp_path):
    """A page of the browser, 1280 × 1000. It may ask nobody but this machine for anything.

    What it showed last is in the test's folder.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(180_000)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("page", lambda new: new.on("websocket", lambda socket: asked.append(socket.url)))
    page.on("websocket", lambda socket: asked.append(socket.url))
    yield page
    page.screenshot(path=tmp_path / "last.png")
    context.close()
    outside = [
        url for url in asked if urlsplit(url).hostname not in (None, "localhost", "127.0.0.1")
    ]  # None: data: and blob:
    assert asked and not outside, outside


# Rest is a stretch of time, not a moment: several quick inputs make several runs, one after the other, and between two
# of them the page is "not running" while it still holds elements of the one before, some of them twice.
AT_REST = """() => {
    const resting = document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
        && !document.querySelector('[data-testid=stSkeleton], [data-testid=stElementContainer][data-stale=true]');
    window.restingSince = resting ? window.restingSince ?? performance.now() : null;
    return resting && performance.now() - window.restingSince > 400;
}"""


def settled(page) -> None:
    """Wait until Streamlit has drawn the page to its end, and has stayed there."""
    page.evaluate("window.restingSince = null")
    page.wait_for_function(AT_REST)


def to(page, name: str) -> None:
    page.get_by_test_id("stTopNavLink").filter(has_text=name).click()
    page.wait_for_url(re.compile(r"project="))
    settled(page)


def load(page, address: str, path: Path, upload: bool = True) -> str:
    """Load a model file into a new project, by upload or by its path; returns the project's id."""
    page.goto(address)
    if upload:
        page.get_by_role("tab", name="Upload").click()
        page.locator("input[type=file]").first.set_input_files(path)
    else:
        page.get_by_role("tab", name="Path").click()
        page.get_by_role("textbox", name="Path of a file").fill(str(path))
        button(page, "Load file").click()
    page.get_by_text("Every layer can be converted.").first.wait_for()
    settled(page)
    return re.search(r"project=([\w-]+)", page.url)[1]


def verdict(page, words: str) -> None:
    """Verify, and wait for the verdict."""
    to(page, "Verify")
    button(page, "Verify").click()
    page.get_by_text(words).first.wait_for()
    settled(page)


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


@pytest.fixture(scope="module")
def opened(serve, browser, example):
    """The address of the app, and a project in it that is overruled, converted and verified: (address, project)."""
    address = serve()
    page = browser.new_page()
    page.set_default_timeout(180_000)
    project = load(page, address, example("convnet"))
    page.goto(f"{address}mapping?project={project}&layer=flatten")
    page.get_by_text("plain flatten", exact=True).click()
    page.get_by_text("This layer alone differs").first.wait_for()
    page.get_by_text("Duel: two readings").click()
    page.get_by_text("nearer to Keras").first.wait_for()
    page.goto(f"{address}verify?project={project}")
    page.get_by_role("button", name="Verify", exact=True).click()
    page.get_by_text("Likely causes").first.wait_for()
    page.goto(f"{address}learn?project={project}&lesson=attention")
    page.get_by_text("It raises an error").click()
    page.get_by_text("Not as you predicted.").first.wait_for()
    page.close()
    return address, project
