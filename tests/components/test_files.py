"""A component's script is a file that Streamlit serves, wherever k2t is installed."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest


def draws(kind: str) -> None:
    from pathlib import Path

    import k2t_core.components
    from k2t_core.components.files import component

    folder = Path(k2t_core.components.__file__).parent / kind
    script = next(path.name for path in (folder / "bundle").glob("*.js") if path.name in ("graph.js", "editor.js"))
    component(f"k2t.{kind}_of_a_test", folder, script)(key=kind, data={}, height=100)


@pytest.mark.parametrize("kind", ["graph_view", "snippet_editor"])
def test_streamlit_finds_the_script(kind):
    app = AppTest.from_function(draws, args=(kind,)).run()
    assert not app.exception, [error.value for error in app.exception]
    assert len(app.get("bidi_component")) == 1


def names_a_file_that_is_not_there() -> None:
    from pathlib import Path

    import k2t_core.components
    from k2t_core.components.files import component

    component("k2t.nothing", Path(k2t_core.components.__file__).parent / "graph_view", "nothing.js")(key="nothing")


def test_a_script_that_is_missing_is_told():
    app = AppTest.from_function(names_a_file_that_is_not_there).run()
    assert app.exception and not app.get("bidi_component")
