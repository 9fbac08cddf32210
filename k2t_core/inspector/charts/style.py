"""What the charts have in common: colours, the frame, and how a tolerance, an exact zero and a count are drawn.

Colours are Okabe and Ito's, which every kind of sight tells apart; each series has a shape of its own besides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import plotly.graph_objects as go

BLUE, ORANGE, VERMILION, YELLOW, GREY = "#0072B2", "#E69F00", "#D55E00", "#F0E442", "#8A8A8A"
GREEN, SKY, PINK = "#009E73", "#56B4E9", "#CC79A7"
DIVERGING = [[0, VERMILION], [0.5, "#F7F7F7"], [1, BLUE]]
# Where an exact zero is drawn on a logarithmic axis, below everything that float32 can tell from it; and the end above.
ZERO, MOST = 1e-12, 1e3
FRAME: dict[str, Any] = {"margin": {"l": 10, "r": 10, "t": 50, "b": 10}}
LIMIT = {"dash": "dash", "width": 1.5, "color": GREY}  # the line of a tolerance


def heading(text: str, size: int = 15) -> dict[str, Any]:
    """The title of a figure."""
    return {"text": text, "font": {"size": size}}


def bars(colour: str, pattern: str = "") -> dict[str, Any]:
    """The marker of bars."""
    return {"color": colour, "line": {"width": 0}, "pattern": {"shape": pattern}}


def judged(beyond: np.ndarray) -> Iterator[tuple[str, np.ndarray, str, str]]:
    """(name, which of them, colour, pattern of bars) of what lies within a tolerance, and of what lies beyond."""
    yield "within tolerance", ~beyond, BLUE, ""
    yield "beyond tolerance", beyond, VERMILION, "/"


def on_log_axis(value: float) -> float:
    """Where a relative difference is drawn: an exact zero at `ZERO`, what is infinite at `MOST`."""
    return min(max(value, ZERO), MOST)


def count_axis(figure: go.Figure, log: bool) -> None:
    """The upward axis of a histogram of output elements."""
    figure.update_yaxes(title="output elements", **({"type": "log", "dtick": 1} if log else {"rangemode": "tozero"}))
