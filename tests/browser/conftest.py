"""The app on a free port, and a real headless Chromium that opens it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from k2t_core.bundled import app_folder

CHROMIUM_OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def chromium() -> str | None:
    """$K2T_CHROMIUM, or the system's Chromium; None leaves the choice to Playwright's own download."""
    return os.environ.get("K2T_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[..., str]]:
    """``serve()``: start the app and return its address. Called again it starts the server anew on the same data, as after a crash."""
    running: list[subprocess.Popen] = []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def start() -> str:
        stop()
        log = open(tmp_path / "streamlit.log", "ab")
        command = [sys.executable, "-m", "streamlit", "run", str(app_folder() / "app.py"), "--server.headless=true", f"--server.port={port}"]
        # Its own folder as working directory: the app must find its settings wherever it is started.
        running.append(subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "K2T_HOME": str(tmp_path / "home")}, stdout=log, stderr=log))
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=1):
                    return f"http://localhost:{port}/"
            except OSError:
                assert running[-1].poll() is None, Path(tmp_path / "streamlit.log").read_text()
                time.sleep(0.1)
        raise TimeoutError(Path(tmp_path / "streamlit.log").read_text())

    def stop() -> None:
        while running:
            process = running.pop()
            process.terminate()
            process.wait(20)

    yield start
    stop()


@pytest.fixture
def page(tmp_path):
    """A page of a real browser, 1280 × 1000; what it showed last is in the test's folder."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = chromium()
    with sync_api.sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).is_file() and os.environ.get("K2T_BROWSER") != "required":
            pytest.skip("no Chromium: install it (apt-get install chromium), or name it in $K2T_CHROMIUM")
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        context = browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
        page = context.new_page()
        page.set_default_timeout(180_000)
        yield page
        page.screenshot(path=tmp_path / "last.png")
        browser.close()
