"""The graph as a Streamlit component: bundle/ holds its script, which the app's own server hands to the browser."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from k2t_core.components.files import component

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
    component(NAME, Path(__file__).parent, "graph.js")(
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
