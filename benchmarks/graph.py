"""How long the graph takes to be drawn, in a real browser on the real app: writes the table of docs/graph.md.

    python benchmarks/graph.py             ResNet152, NASNetLarge and a transformer of 24 blocks
    python benchmarks/graph.py ResNet50    these, of keras.applications; prints the table and leaves docs/graph.md alone

Building, saving and planning a model takes minutes and is not measured: the clock starts when the browser has the data.
The browser is headless and draws without a GPU. Exit code 1 where a drawing on the Load page takes two seconds or more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
HOME = Path(tempfile.mkdtemp(prefix="k2t-graph-"))
os.environ["K2T_HOME"] = str(HOME / "home")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from k2t_core.project.project import Project  # noqa: E402
from tests.browser.conftest import CHROMIUM_OPTIONS, chromium  # noqa: E402
from tests.served import Server, admitted  # noqa: E402

REPORT = ROOT / "docs" / "graph.md"
TRANSFORMER = "transformer, 24 blocks"
MODELS = ("ResNet152", "NASNetLarge", TRANSFORMER)
LIMIT = 2.0  # seconds

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "model": lambda r: r["name"],
    "layers": lambda r: f"{r['layers']:,}",
    "data, KB": lambda r: f"{r['bytes'] / 1024:,.0f}",
    "folded: boxes": lambda r: f"{r['folded']['boxes']:,}",
    "drawn, s": lambda r: f"{r['folded']['seconds']:.2f}",
    "all unfolded: boxes": lambda r: f"{r['unfolded']['boxes']:,}",
    "drawn, s ": lambda r: f"{r['unfolded']['seconds']:.2f}",
    "from the click, s": lambda r: f"{r['click']:.2f}",
    "drawn on Mapping, s": lambda r: f"{r['mapping']['seconds']:.2f}",
    "dragged, ms a frame": lambda r: f"{r['near']:.0f}",
    "dragged with all of it in view": lambda r: f"{r['far']:.0f}",
}

# Seconds from the click on Unfold all to the frame that shows it.
UNFOLD = """graph => new Promise(done => {
    const start = performance.now(), before = graph.dataset.drawn;
    graph.querySelector('[aria-label="Unfold all"]').click();
    const look = () => graph.dataset.drawn === before
        ? requestAnimationFrame(look) : done((performance.now() - start) / 1000);
    look();
})"""
# Milliseconds between the frames while the mouse moves.
FRAMES = """() => {
    const times = window.times = [];
    let last = performance.now();
    const tick = now => { times.push(now - last); last = now; window.ticking = requestAnimationFrame(tick); };
    window.ticking = requestAnimationFrame(tick);
}"""


def transformer() -> Any:
    """An encoder: 24 blocks of attention and a network of two layers, each with its residual and normalisation."""
    import keras
    from keras import layers

    tokens = keras.Input((128,), dtype="int32", name="tokens")
    x = layers.Embedding(1000, 128, name="embedding")(tokens)
    for k in range(24):
        y = layers.LayerNormalization(name=f"block{k}_norm1")(x)
        y = layers.MultiHeadAttention(4, 32, name=f"block{k}_attention")(y, y)
        x = layers.Add(name=f"block{k}_add1")([x, y])
        y = layers.LayerNormalization(name=f"block{k}_norm2")(x)
        y = layers.Dense(512, "gelu", name=f"block{k}_up")(y)
        y = layers.Dense(128, name=f"block{k}_down")(y)
        x = layers.Add(name=f"block{k}_add2")([x, y])
    return keras.Model(
        tokens, layers.Dense(10, name="classes")(layers.GlobalAveragePooling1D(name="pool")(x)), name="transformer"
    )


def prepared(name: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """A project with the model, its id, and how much there is to draw."""
    import keras

    path = folder / f"{name.split(',')[0]}.keras"
    (transformer() if name == TRANSFORMER else getattr(keras.applications, name)(weights=None)).save(path)
    keras.backend.clear_session()
    project = Project.create()
    project.load(path)
    graph = json.loads(project.graph(None))
    return project.id, {
        "name": name,
        "layers": sum(node["kind"] == "layer" for node in graph["nodes"].values()),
        "bytes": len(json.dumps(graph)),
    }


def measure(browser: Browser, address: str) -> dict[str, Any]:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(600_000)
    page.goto(address)
    row: dict[str, Any] = {"folded": first(page)}
    row["click"] = page.locator(".k2t-graph").evaluate(UNFOLD)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.wait_for_timeout(1000)
    page.reload()
    row["unfolded"] = first(page)
    row["near"] = dragged(page)
    page.get_by_role("button", name="Fit all").click()
    page.wait_for_timeout(2000)
    row["far"] = dragged(page)
    page.goto(address.replace("?", "mapping?"))
    row["mapping"] = first(page)
    page.close()
    return row


def first(page: Page) -> dict[str, Any]:
    """The component's own measurement: from its first data to the frame that shows it."""
    page.wait_for_selector(".k2t-graph[data-drawn]")
    entry = page.evaluate(
        "performance.getEntriesByName('k2t graph drawn')"
        ".map(e => ({seconds: e.duration / 1000, boxes: e.detail.boxes}))"
    )
    assert len(entry) == 1, entry
    page.wait_for_timeout(2000)
    return entry[0]


def dragged(page: Page) -> float:
    """The median time of a frame, in milliseconds, while the graph follows the mouse."""
    page.locator(".canvas").scroll_into_view_if_needed()
    box = page.locator(".canvas").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.evaluate(FRAMES)
    for step in range(60):
        page.mouse.move(box["x"] + 60 + step * 3, box["y"] + 60 + step * 3)
    page.evaluate("cancelAnimationFrame(window.ticking)")
    page.mouse.up()
    return median(page.evaluate("window.times"))


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        [heading.strip() for heading in COLUMNS],
        ["---"] * len(COLUMNS),
        *([text(row) for text in COLUMNS.values()] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(rows: list[dict[str, Any]]) -> str:
    machine = f"{os.cpu_count()} cores ({platform.machine()})"
    return f"""# How long the graph takes

Written by `python benchmarks/graph.py`: the app's own Load page in headless Chromium, without a GPU, on {machine}
that the server, the browser and whatever else ran had to share (load average {os.getloadavg()[0]:.0f}).

{table(rows)}

*Drawn* counts from the moment the browser has the data, in a page that was just opened, to the frame that shows the
graph: the layout engine is started, every fold is laid out, the boxes are drawn. *On Mapping* is the same with all
unfolded, while the page loads its table and charts and the server judges the selected layer. *From the click* counts
from Unfold all to the frame that shows all of the model. *Dragged* is the median time between two frames of the page's
main thread while the mouse drags the graph, at reading size and with all of it in view.

A repeated block is laid out once, by itself, and stands in the graph around it as one box; so the time follows the
number of different blocks and not of layers. Boxes out of view are not drawn.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="names in keras.applications")
    names = parser.parse_args().models
    rows = []
    server = Server(HOME)
    with tempfile.TemporaryDirectory(prefix="k2t-graph-models-") as folder:
        projects = [prepared(name, Path(folder)) for name in names or MODELS]
        try:
            address = server.start()
            with sync_playwright() as playwright:
                browser = admitted(
                    playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_OPTIONS), server
                )
                for id, row in projects:
                    rows.append(row | measure(browser, f"{address}?project={id}"))
                    print(table(rows[-1:]), flush=True)
                browser.close()
        finally:
            server.stop()
    print(table(rows))
    if not names:
        REPORT.write_text(report(rows), encoding="utf-8")
    return 1 if any(row[kind]["seconds"] >= LIMIT for row in rows for kind in ("folded", "unfolded")) else 0


if __name__ == "__main__":
    sys.exit(main())
