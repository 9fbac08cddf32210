"""The graph as a Streamlit component: bundle/ holds its script, which the app's own server hands to the browser."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

NAME = "k2t.graph"


def graph_view(
    graph: str,
    *,
    key: str,
    place: str,
    selected: str | None,
    colour: str,
    unfolded: Collection[str],
    height: int,
    reveal: bool,
    stale: bool,
    on_select: Callable[[str], None],
    on_colour: Callable[[str], None],
    on_unfold: Callable[[list[str]], None],
) -> None:
    """Draw the JSON of `graph_data`. The callbacks get what a person clicked, before the page runs, as a widget's do.

    place: by which the browser finds its view again after a change of page. reveal: whether a selection made elsewhere
    is brought into view. stale: whether the errors are those of an earlier conversion.
    """
    _register()
    data = {
        "graph": graph,
        "place": place,
        "selected": selected,
        "colour": colour,
        "open": list(unfolded),
        "height": height,
        "reveal": reveal,
        "stale": stale,
    }
    _component()(
        key=key,
        data=data,
        height=height,
        on_selected_change=_told(key, "selected", on_select),
        on_colour_change=_told(key, "colour", on_colour),
        on_open_change=_told(key, "open", on_unfold),
    )


def _told(key: str, event: str, hear: Callable[[Any], None]) -> Callable[[], None]:
    """A callback for Streamlit that hands on what the event carries."""

    def callback() -> None:
        import streamlit as st

        hear(st.session_state[key][event])

    return callback


@cache
def _component() -> Any:
    import streamlit as st

    return st.components.v2.component(NAME, js="graph.js")


def _register() -> None:
    """Tell Streamlit where the component's files lie.

    It looks for them in the pyproject.toml of installed packages only; a wheel has none, and a checkout need not be
    installed.
    """
    from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
    from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

    manager = get_bidi_component_manager()
    if manager.get_component_path(NAME) is None:
        package, component = NAME.split(".")
        manager.register_from_manifest(
            ComponentManifest(package, "1", [ComponentConfig(component, "bundle")]), Path(__file__).parent
        )
