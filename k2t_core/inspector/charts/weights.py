"""One side of a weight: its matrix with the marked element outlined, and a histogram of its values below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from k2t_core.inspector.charts.style import (
    BLUE,
    DIVERGING,
    FRAME,
    GREEN,
    ORANGE,
    PINK,
    SKY,
    VERMILION,
    YELLOW,
    bars,
    heading,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from k2t_core.inspector.weight_picture import Band, Side

GATE_COLOURS = {
    "input": ORANGE,
    "update": ORANGE,
    "forget": SKY,
    "reset": SKY,
    "cell": GREEN,
    "new": GREEN,
    "output": PINK,
}
WIDEST_GAPPED = 40  # beyond, lines between the cells of a heat map would hide it
BINS = 40
MATRIX, HISTOGRAM = {"row": 1, "col": 1}, {"row": 2, "col": 1}  # the two parts of the figure


def weight_figure(side: Side, title: str, limit: float) -> go.Figure:
    """limit: the magnitude of the deepest colour and the end of the histogram, equal for both sides."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, row_heights=[0.74, 0.26], vertical_spacing=0.2)
    _add_matrix(figure, side, limit)
    _add_histogram(figure, side, limit)
    figure.update_layout(
        title=heading(title, 14), **FRAME, showlegend=False, height=560 if len(side.values) > 1 else 330
    )
    return figure


def _add_matrix(figure: go.Figure, side: Side, limit: float) -> None:
    rows, columns = side.values.shape
    gap = 0.5 if max(rows, columns) <= WIDEST_GAPPED else 0
    row_words = [f"{side.rows} {label}<br>" if side.rows else "" for label in side.row_labels]
    figure.add_heatmap(
        z=side.values,
        zmin=-limit,
        zmax=limit,
        colorscale=DIVERGING,
        showscale=False,
        xgap=gap,
        ygap=gap,
        customdata=np.array([[f"{row}{side.columns} {c}" for c in side.column_labels] for row in row_words]),
        hovertemplate="%{customdata}<br>%{z:.5g}<extra></extra>",
        **MATRIX,
    )
    row, column = side.mark
    for line in ({"color": "#000000", "width": 4}, {"color": YELLOW, "width": 2}):
        figure.add_shape(type="rect", x0=column - 0.5, x1=column + 0.5, y0=row - 0.5, y1=row + 0.5, line=line, **MATRIX)
    for bands, length, down in ((side.row_gates, columns, True), (side.column_gates, rows, False)):
        for band in bands:
            _add_band(figure, band, length, down)
    figure.update_xaxes(
        title={"text": f"{side.columns} →", "standoff": 6}, showgrid=False, **_ticks(side.column_labels, 8), **MATRIX
    )
    figure.update_yaxes(
        title={"text": f"← {side.rows}" if side.rows else None, "standoff": 14},
        showgrid=False,
        autorange="reversed",
        **_ticks(side.row_labels, 10),
        **MATRIX,
    )


def _add_histogram(figure: go.Figure, side: Side, limit: float) -> None:
    """The values of the side, and where the marked one lies among them."""
    finite = side.sample[np.isfinite(side.sample)]
    counts, edges = np.histogram(finite.clip(-limit, limit), np.linspace(-limit, limit, BINS + 1))
    figure.add_bar(
        x=(edges[:-1] + edges[1:]) / 2,
        y=counts,
        width=2 * limit / BINS,
        marker=bars(BLUE),
        hovertemplate="%{x:.3g}: %{y:,} values<extra></extra>",
        **HISTOGRAM,
    )
    value = side.values[side.mark]
    if -limit <= value <= limit:
        figure.add_vline(x=value, line={"color": VERMILION, "width": 2, "dash": "dot"}, **HISTOGRAM)
    figure.update_xaxes(title={"text": "value", "standoff": 4}, range=[-limit * 1.05, limit * 1.05], **HISTOGRAM)
    figure.update_yaxes(title={"text": "count"}, nticks=3, **HISTOGRAM)


def _add_band(figure: go.Figure, band: Band, length: int, down: bool) -> None:
    """A coloured band with the gate's letter beside the rows or above the columns of a gate, and a line before it.

    length: of the matrix in the other direction.
    """
    thick = 0.05 * length
    first, last = band.start - 0.5, band.stop - 0.5
    middle = (band.start + band.stop - 1) / 2
    # Along and across, where gates run down; the other way round where they run across.
    if down:
        place = {"y0": first, "y1": last, "x0": length - 0.5, "x1": length - 0.5 + thick}
        letter = {"x": length - 0.5 + thick / 2, "y": middle}
        border = {"x0": -0.5, "x1": length - 0.5, "y0": first, "y1": first}
    else:
        place = {"x0": first, "x1": last, "y0": -0.5 - thick, "y1": -0.5}
        letter = {"x": middle, "y": -0.5 - thick / 2}
        border = {"y0": -0.5, "y1": length - 0.5, "x0": first, "x1": first}
    figure.add_shape(
        type="rect", **place, fillcolor=GATE_COLOURS[band.meaning], line={"color": "#FFFFFF", "width": 1}, **MATRIX
    )
    figure.add_annotation(
        **letter,
        text=f"<b>{band.gate}</b>",
        hovertext=f"{band.gate}: the {band.meaning} gate",
        showarrow=False,
        font={"color": "#000000", "size": 12},
        **MATRIX,
    )
    if band.start:
        figure.add_shape(type="line", **border, line={"color": "#000000", "width": 1}, **MATRIX)


def _ticks(labels: Sequence[str], most: int) -> dict[str, Any]:
    step = -(-len(labels) // most)
    return {"tickvals": list(range(0, len(labels), step)), "ticktext": list(labels[::step])}
