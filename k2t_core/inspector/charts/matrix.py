"""A small matrix as a picture with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from k2t_core.inspector.charts.style import DIVERGING, FRAME, heading

if TYPE_CHECKING:
    import plotly.graph_objects as go

NUMBERED = 240  # cells; of more, the numbers would not be read


def heat_map(
    values: np.ndarray,
    title: str,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    limit: float | None = None,
    text: str = ".2f",
) -> go.Figure:
    """limit: the magnitude of the deepest colour, equal among pictures to compare. text: the format of the numbers."""
    import plotly.graph_objects as go

    values = np.atleast_2d(np.asarray(values, "float64"))
    limit = limit or float(np.abs(values).max(initial=0.0)) or 1.0
    numbers = [[format(v, text) for v in row] for row in values] if values.size <= NUMBERED else None
    figure = go.Figure(
        go.Heatmap(
            z=values,
            zmin=-limit,
            zmax=limit,
            colorscale=DIVERGING,
            showscale=False,
            text=numbers,
            texttemplate="%{text}" if numbers else None,
            textfont={"size": 11},
            xgap=1,
            ygap=1,
            hovertemplate="%{z:.4g}<extra></extra>",
        )
    )
    height, width = values.shape
    figure.update_layout(
        title=heading(title, 14),
        xaxis={**_labelled(columns, width), "side": "bottom"},
        yaxis={**_labelled(rows, height), "autorange": "reversed"},
        **FRAME,
        height=90 + 32 * height,
    )
    return figure


def _labelled(labels: Sequence[str] | None, count: int) -> dict[str, Any]:
    return {"tickvals": list(range(count)), "ticktext": list(labels) if labels else [""] * count, "showgrid": False}
