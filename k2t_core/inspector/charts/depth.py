"""What charts along the depth of a network have in common: layers across, powers of ten upwards, exact zeros below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from k2t_core.inspector.charts.style import ZERO, on_log_axis

if TYPE_CHECKING:
    import plotly.graph_objects as go

LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
NAMES = 30  # of layers along the axis, about
NAME = 22  # letters of one
FEW = 60  # layers; of more, their points are small


def add_series(
    figure: go.Figure,
    name: str,
    layers: Sequence[str],
    values: Sequence[float | None],
    colour: str,
    symbol: str,
    colours: Sequence[str] | None = None,
) -> None:
    """A line through the relative differences of the layers, with gaps where there is none.

    A point's custom data is its layer and its value in words. colours: of the points, where not all have the line's.
    """
    figure.add_scatter(
        x=list(range(len(values))),
        y=[None if v is None else on_log_axis(v) for v in values],
        customdata=[[layer, _words(v)] for layer, v in zip(layers, values)],
        name=name,
        mode="lines+markers",
        line={"color": colour, "width": 1.5},
        marker={"symbol": symbol, "size": 8 if len(values) < FEW else 4, "color": colours or colour},
        hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
    )


def axes(figure: go.Figure, names: Sequence[str], room: float) -> dict[str, Any]:
    """The layout's axes, for what has been drawn. names: of the layers. room: above the values, in powers of ten."""
    highest = max((v for series in figure.data for v in series.y if v is not None), default=1.0)
    step = max(1, len(names) // NAMES)
    powers = list(range(-10, int(np.ceil(np.log10(max(highest, 1e-3)))) + 1, 2))
    return {
        "xaxis": {
            "tickvals": list(range(0, len(names), step)),
            "ticktext": [_short(name) for name in names[::step]],
            "tickangle": -40,
            "range": [-0.5, len(names) - 0.5],
        },
        "yaxis": {
            "type": "log",
            "title": None,
            "tickvals": [ZERO, *(10.0**power for power in powers)],
            "ticktext": ["0", *("1" if power == 0 else f"1e{power}" for power in powers)],
            "range": [np.log10(ZERO) - 0.5, powers[-1] + room],
        },
    }


def _words(value: float | None) -> str:
    return "no value" if value is None else "exactly 0" if value == 0 else f"{value:.2e}"


def _short(name: str) -> str:
    return name if len(name) <= NAME else f"…{name[1 - NAME :]}"
