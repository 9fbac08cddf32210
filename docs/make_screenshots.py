"""The pictures of the app in docs/screenshots: a server of its own, a real Chromium, a wrong override that Verify catches.

    python docs/make_screenshots.py          writes load, mapping, convert, verify and learn as .png, 1280 pixels wide
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["K2T_HOME"] = tempfile.mkdtemp(prefix="k2t-screenshots-")

from playwright.sync_api import Page, sync_playwright  # noqa: E402

from k2t_core.bundled import examples  # noqa: E402
from k2t_core.project import Project  # noqa: E402
from tests.browser.conftest import CHROMIUM_OPTIONS, chromium  # noqa: E402

FOLDER = ROOT / "docs" / "screenshots"
# page: (example, override, words that show it is complete, height, more of the address)
SHOTS = {
    "load": ("shared", None, "Every layer can be converted.", 1360, ""),
    "mapping": ("convnet", None, "Outlined on both sides", 2450, "layer=conv"),
    "convert": ("convnet", None, "All in a zip", 1130, ""),
    "verify": ("convnet", ("flatten", "alternative", "plain flatten", "to see it caught"), "Likely causes", 1990, ""),
    "learn": ("convnet", None, "Agrees.", 1000, "lesson=kernel"),
}


def prepared(name: str, override: tuple | None) -> Project:
    """A project with an example loaded, converted and verified."""
    project = Project.create()
    path = examples().build(name, Path(os.environ["K2T_HOME"]) / "examples")
    project.load(project.receive(path.name, open(path, "rb")))
    if override is not None:
        project.override(*override)
    project.set("example", name)
    project.verify()
    return project


def take(page: Page, address: str, name: str) -> None:
    example, override, words, height, more = SHOTS[name]
    project = prepared(example, override)
    page.set_viewport_size({"width": 1280, "height": height})
    page.goto(f"{address}{'' if name == 'load' else name}?project={project.id}&{more}")
    page.get_by_text(words).first.wait_for()
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.wait_for_function("document.querySelectorAll('[data-testid=stSkeleton]').length === 0")
    page.wait_for_timeout(3000)  # charts fade in
    page.screenshot(path=FOLDER / f"{name}.png")
    print(FOLDER / f"{name}.png")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), "--server.headless=true", f"--server.port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://localhost:{port}/"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_OPTIONS)
            page = browser.new_context(color_scheme="light").new_page()
            page.set_default_timeout(120_000)
            for name in sys.argv[1:] or SHOTS:
                take(page, address, name)
            browser.close()
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    main()
