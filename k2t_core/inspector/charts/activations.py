"""What a layer makes of a sample: Keras, PyTorch and their difference, each a figure of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from k2t_core.inspector.activations import BARS, LINES, MAPS, MOST_STEPS, MOST_UNITS, Activation, maps, window
from k2t_core.inspector.charts.style import BLUE, DIVERGING, FRAME, GREY, ORANGE, VERMILION, bars, heading

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = (BLUE, ORANGE, VERMILION)  # of Keras, PyTorch, their difference
BEHIND = 24  # lines of a sequence drawn in grey behind the chosen one
DOTTED = 60  # steps; of more, the points of a line would hide it


def activation_figures(shown: Activation, plane: int, channel: int) -> list[go.Figure]:
    """A map as a picture, a sequence as lines, a vector as bars."""
    draw = {MAPS: _maps, LINES: _lines, BARS: _bars}[shown.kind]
    figures = draw(shown, plane, channel)
    for figure, title in zip(figures, ("Keras", "PyTorch", f"Difference, at most {shown.largest(plane, channel):.2g}")):
        figure.update_layout(title=heading(title, 14), **FRAME, showlegend=False, height=300)
    return figures


def _maps(shown: Activation, plane: int, channel: int) -> list[go.Figure]:
    keras, torch, difference, step = maps(shown, plane, channel)
    values = np.stack([keras, torch])
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    limit = max(abs(low), abs(high)) or 1.0
    most = float(difference[np.isfinite(difference)].max(initial=0.0)) or 1.0
    return [
        _picture(keras, step, low < 0, limit),
        _picture(torch, step, low < 0, limit),
        _picture(difference, step, False, most),
    ]


def _picture(values: np.ndarray, step: int, signed: bool, limit: float) -> go.Figure:
    """step: between the pixels that are drawn. limit: the magnitude of the end of the scale."""
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Heatmap(
            z=values.astype("float32"),
            x=np.arange(values.shape[1]) * step,
            y=np.arange(values.shape[0]) * step,
            colorscale=DIVERGING if signed else "Cividis",
            zmin=-limit if signed else 0.0,
            zmax=limit,
            colorbar={"thickness": 8, "len": 0.9, "nticks": 5, "tickformat": ".2g", "x": 1.02},
            hovertemplate="row %{y}, column %{x}<br>%{z:.5g}<extra></extra>",
        )
    )
    figure.update_xaxes(showgrid=False, zeroline=False, constrain="domain", nticks=5)
    figure.update_yaxes(
        showgrid=False, zeroline=False, constrain="domain", nticks=5, autorange="reversed", scaleanchor="x"
    )
    return figure


def _lines(shown: Activation, plane: int, channel: int) -> list[go.Figure]:
    import plotly.graph_objects as go

    steps, channels = shown.keras.shape
    drawn = window(steps, int(shown.difference[:, channel].argmax()), MOST_STEPS)
    x = np.arange(steps)[drawn]
    others = [k for k in window(channels, channel, BEHIND) if k != channel]
    figures = []
    for values, colour in zip((shown.keras, shown.torch, shown.difference), COLOURS):
        figure = go.Figure()
        for k in others:
            figure.add_scatter(
                x=x,
                y=values[drawn, k],
                mode="lines",
                line={"color": GREY, "width": 0.7},
                opacity=0.35,
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=x,
            y=values[drawn, channel],
            mode="lines+markers" if len(x) <= DOTTED else "lines",
            line={"color": colour, "width": 2.5},
            hovertemplate="step %{x}: %{y:.5g}<extra></extra>",
        )
        figures.append(figure)
    return _scaled(figures, "step")


def _bars(shown: Activation, plane: int, channel: int) -> list[go.Figure]:
    import plotly.graph_objects as go

    drawn = window(shown.keras.size, shown.worst[1], MOST_UNITS)
    x = np.arange(shown.keras.size)[drawn]
    return _scaled(
        [
            go.Figure(
                go.Bar(x=x, y=values[drawn], marker=bars(colour), hovertemplate="unit %{x}: %{y:.5g}<extra></extra>")
            )
            for values, colour in zip((shown.keras, shown.torch, shown.difference), COLOURS)
        ],
        "unit",
    )


def _scaled(figures: list[go.Figure], across: str) -> list[go.Figure]:
    """The axes of the three: one scale for the two to compare, the difference's from 0."""
    for figure in figures:
        figure.update_xaxes(title={"text": across, "standoff": 4})
    _alike(figures[:2])
    figures[2].update_yaxes(rangemode="tozero", tickformat=".1e")
    return figures


def _alike(figures: Sequence[go.Figure]) -> None:
    """One scale for figures to compare."""
    values = np.concatenate([np.asarray(trace.y, "float64") for figure in figures for trace in figure.data])
    values = values[np.isfinite(values)]
    low, high = (min(0.0, float(values.min())), max(0.0, float(values.max()))) if values.size else (0.0, 1.0)
    space = (high - low) * 0.05 or 1.0
    for figure in figures:
        figure.update_yaxes(range=[low - space, high + space])
