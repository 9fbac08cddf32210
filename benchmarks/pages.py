"""How fast the app's pages are, measured in a real Chromium: a server of its own, times from a click to the drawn page.

python benchmarks/pages.py          prints the table and writes docs/pages.md
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
HOME = Path(tempfile.mkdtemp(prefix="k2t-pages-"))
os.environ["K2T_HOME"] = str(HOME / "home")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from k2t_core.project.bundled import examples  # noqa: E402
from tests.browser.conftest import CHROMIUM_OPTIONS, button, chromium, load  # noqa: E402
from tests.served import Server, admitted  # noqa: E402

TIMES = 3
DEEP, BRANCHES = 1200, 6  # layers of the model that fills the table
FIRST_PAINT = 2.0  # seconds, once the server is up


def main() -> None:
    server = Server(HOME)
    rows: list[tuple[str, list[float]]] = []

    def measure(
        what: str, action: Callable[[], None], prepare: Callable[[], None] = lambda: None, times: int = TIMES
    ) -> None:
        found = []
        for _ in range(times):
            prepare()
            start = time.perf_counter()
            action()
            found.append(time.perf_counter() - start)
        rows.append((what, found))
        print(f"{what}: {median(found):.2f} s", flush=True)

    try:
        start = time.perf_counter()
        address = server.start()
        rows.append(("The server starts", [time.perf_counter() - start]))
        with sync_playwright() as playwright:
            browser = admitted(playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_OPTIONS), server)
            every_page(browser, address, measure)
            browser.close()
    finally:
        server.stop()
    write(rows)


def every_page(browser: Browser, address: str, measure: Callable[..., None]) -> None:
    page = fresh(browser)

    def paint(name: str, words: str) -> Callable[[], None]:
        def action() -> None:
            page.goto(f"{address}{name}")
            page.get_by_text(words).first.wait_for()

        return action

    measure("First paint of a new server's first visitor", paint("", "Choose a model"), times=1)
    measure("First paint in a new browser: Load", lambda: new_visit(browser, address, "", "Choose a model"))
    measure(
        "First paint in a new browser: Mapping, no model",
        lambda: new_visit(browser, address, "mapping", "No model is loaded yet."),
    )

    convnet, deep = examples().build("convnet", HOME), build_deep(HOME / "deep.keras")
    measure(
        "Load the convolution example: TensorFlow starts", lambda: load(page, address, convnet, upload=False), times=1
    )
    project = load(page, address, convnet, upload=False)
    for name, words in {
        "": "Every layer can be converted.",
        "mapping": "Outlined on both sides",
        "convert": "model.py, as it will be written",
        "verify": "Batch size",
    }.items():
        measure(
            f"{name.capitalize() or 'Load'}, {convnet.stem}",
            drawn(page, f"{address}{name}?project={project}" + ("&layer=conv" if name == "mapping" else ""), words),
        )
    measure(
        "Learn: the first experiment",
        drawn(page, f"{address}learn?project={project}&lesson=lstm", "Predict first."),
        times=1,
    )
    measure("Learn", drawn(page, f"{address}learn?project={project}&lesson=lstm", "Predict first."))
    page.goto(f"{address}convert?project={project}")
    button(page, "Convert").wait_for()
    settle(page)
    measure("Convert, from the click", clicked(page, "Convert", "Converted with the overrides in force."), times=1)
    page.goto(f"{address}verify?project={project}")
    button(page, "Verify").wait_for()
    settle(page)
    measure(
        "Verify with both weights and edge cases, from the click",
        clicked(page, "Verify", "Both compute the same"),
        times=1,
    )
    measure("Verify with its charts", drawn(page, f"{address}verify?project={project}", "Sample by sample"))

    def tightest() -> None:
        page.get_by_role("slider").first.press("Home")
        page.get_by_text("Within it: 0 of 1 output").wait_for()

    def usual() -> None:
        page.get_by_role("slider").first.press("End")
        page.get_by_text("Within it: 1 of 1 output").wait_for()
        settle(page)

    measure("Verify: the tolerance slider recolours everything", tightest, usual)
    page.goto(f"{address}mapping?project={project}&layer=flatten")
    page.get_by_text("plain flatten", exact=True).wait_for()
    settle(page)

    def overrule() -> None:
        page.get_by_text("plain flatten", exact=True).click()
        page.get_by_text("This layer alone differs").wait_for()

    def back() -> None:
        if page.get_by_text("This layer alone differs").count():
            button(page, "Undo").click()
            page.get_by_text("This layer alone agrees").wait_for()
            settle(page)

    measure("An override, until the layer's own verdict", overrule, back)

    project = load(page, address, deep, upload=False)
    measure(
        f"Mapping, {DEEP:,} rows", drawn(page, f"{address}mapping?project={project}&layer=dense600", f"of {DEEP + 2}")
    )

    def following() -> None:
        row = int(re.search(r"Row (\d+)", page.get_by_text(re.compile(r"^Row \d+ of")).inner_text())[1])
        page.keyboard.press("Alt+ArrowDown")
        page.get_by_text(f"Row {row + 1} of").wait_for()

    measure(f"The next of {DEEP:,} rows, by keyboard", following, lambda: settle(page))

    def searched() -> None:
        box = page.get_by_role("textbox", name="Search")
        box.fill(f"dense{next(numbers)}")
        box.press("Enter")
        page.get_by_text("1 rows").or_(page.get_by_text("Row 1 of 1")).first.wait_for()

    numbers = iter((700, 811, 922))
    measure(f"A search among {DEEP:,} rows", searched, lambda: settle(page))


def fresh(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    page.set_default_timeout(120_000)
    return page


def new_visit(browser: Browser, address: str, name: str, words: str) -> None:
    page = fresh(browser)
    page.goto(f"{address}{name}")
    page.get_by_text(words).first.wait_for()
    page.context.close()


def settle(page: Page) -> None:
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")


def drawn(page: Page, address: str, words: str) -> Callable[[], None]:
    """Open an address and wait until the page is drawn to its end."""

    def action() -> None:
        page.goto("about:blank")
        page.goto(address)
        page.get_by_text(words).first.wait_for()
        settle(page)

    return action


def clicked(page: Page, name: str, words: str) -> Callable[[], None]:
    def action() -> None:
        button(page, name).click()
        page.get_by_text(words).first.wait_for()

    return action


def build_deep(path: Path) -> Path:
    import keras
    from keras import layers

    x = keras.Input((8,), name="features")
    branches = [x] * BRANCHES  # Keras itself goes through a model by recursion, and no deeper than a thousand layers
    for index in range(DEEP):
        branches[index % BRANCHES] = layers.Dense(8, name=f"dense{index}")(branches[index % BRANCHES])
    keras.Model(x, layers.Add(name="sum")(branches)).save(path)
    return path


def write(rows: list[tuple[str, list[float]]]) -> None:
    import streamlit

    lines = [
        "# How fast the pages are",
        "",
        f"Written by `benchmarks/pages.py` with Streamlit {streamlit.__version__} and headless Chromium, "
        f"on {os.cpu_count()} cores of a {platform.machine()} machine at a load of {os.getloadavg()[0]:.0f}. "
        "Each time is from the click or the address to what is named on the screen; "
        "the median, and the slowest, of the repetitions. "
        f"The first paint of a server that is up is to stay below {FIRST_PAINT:g} s.",
        "",
        "| What | Times | Median (s) | Slowest (s) |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {what} | {len(found)} | {median(found):.2f} | {max(found):.2f} |" for what, found in rows),
        "",
    ]
    (ROOT / "docs" / "pages.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
