"""The graph as a Streamlit component: its script is whole, and Streamlit finds it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from streamlit.testing.v1 import AppTest

from k2t_core.components.graph_view import component

FOLDER = Path(component.__file__).parent


def test_the_script_that_is_shipped_is_built_from_its_sources():
    digest = hashlib.sha256()
    for name in sorted(
        ["build.mjs", "package-lock.json", *(f"src/{path.name}" for path in (FOLDER / "src").iterdir())]
    ):
        digest.update(f"{name}\n{(FOLDER / name).read_text(encoding='utf-8')}".encode())
    with open(FOLDER / "bundle" / "graph.js", encoding="utf-8") as script:
        assert digest.hexdigest() in script.readline(), (
            "run npm ci --ignore-scripts && npm run build in k2t_core/components/graph_view"
        )
    for path in (FOLDER / "bundle").glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert "cdn." not in text and "unpkg" not in text


def draws() -> None:
    from k2t_core.components.graph_view.component import graph_view

    graph_view(
        "{}",
        key="graph",
        place="here",
        selected=None,
        colour="status",
        unfolded=(),
        height=200,
        reveal=False,
        stale=False,
        on_select=lambda call: None,
        on_colour=lambda colour: None,
        on_unfold=lambda folds: None,
    )


def test_streamlit_finds_the_script_wherever_k2t_is_installed():
    app = AppTest.from_function(draws).run()
    assert not app.exception
