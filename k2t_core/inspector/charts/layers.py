"""The difference of each layer along the depth of the network, alone and accumulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from k2t_core.difference import LAYER_ROUNDINGS, Difference, rounding_unit, roundings
from k2t_core.inspector.charts.depth import LEGEND, add_series, axes
from k2t_core.inspector.charts.style import BLUE, GREY, LIMIT, ORANGE, VERMILION, ZERO, heading, on_log_axis
from k2t_core.words import power_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from k2t_core.verification.report import LayerResult, Run


def layer_chart(run: Run) -> go.Figure:
    """Two lines over the layers. The first divergence is marked, and so is what lies beyond the run's tolerance.

    The first of a point's custom data is its layer.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    layers = [layer.layer for layer in run.layers]
    for name, found, colour, symbol in (
        ("accumulated: on torch's inputs", [layer.cumulative for layer in run.layers], BLUE, "circle"),
        ("alone: on Keras's inputs", [layer.isolated for layer in run.layers], ORANGE, "diamond"),
    ):
        values = [_relative(difference) for difference in found]
        colours = [VERMILION if v is not None and v > run.tolerance else colour for v in values]
        add_series(figure, name, layers, values, colour, symbol, colours)
    _mark_tolerance(figure, run)
    _mark_roundings(figure, run)
    _mark_failures(figure, run)
    diverges = _mark_divergence(figure, run)
    figure.update_layout(
        title={
            **heading("Each layer: |torch − keras| / its max |keras|"),
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 8},
        },
        **axes(figure, [layer.tensor for layer in run.layers], room=2.5 if diverges else 0.7),  # room for the words
        legend=LEGEND,
        margin={"l": 10, "r": 10, "t": 100, "b": 10},  # on a telephone the legend has three rows
        height=420,
    )
    return figure


def first_divergence(layers: Sequence[LayerResult], path: str | None) -> int | None:
    """Where in ``layers`` the layer of that path fails first."""
    found = [index for index, layer in enumerate(layers) if layer.layer == path]
    return next((index for index in found if not layers[index].passed), found[0] if found else None)


def _mark_tolerance(figure: go.Figure, run: Run) -> None:
    at = max(run.tolerance, ZERO)
    figure.add_hline(y=at, line=LIMIT)
    _note(figure, "left", at, f"tolerance {power_text(run.tolerance)}")


def _mark_roundings(figure: go.Figure, run: Run) -> None:
    """What rounding alone may make a layer differ by, in the dtype of the outputs that has the fewest digits."""
    dtypes = (output.keras.dtype for output in run.outputs)
    coarse = next((dtype for dtype in dtypes if dtype.name in ("float16", "bfloat16")), np.dtype("float32"))
    allowed = roundings(coarse, LAYER_ROUNDINGS, 1.0)
    words = f"{allowed / rounding_unit(coarse):.0f} {coarse.name} roundings"
    figure.add_hline(y=allowed, line={"dash": "dot", "width": 1, "color": GREY})
    more = f"Beyond {words}, a float64 run must explain<br>what a layer alone differs by."
    _note(figure, "right", allowed, words, more)


def _note(figure: go.Figure, side: str, at: float, text: str, more: str | None = None) -> None:
    """Words on a line, at one of its ends. Not add_hline's own annotation: it misplaces words on a logarithmic axis."""
    figure.add_annotation(
        x=0 if side == "left" else 1,
        xref="paper",
        xanchor=side,
        y=np.log10(at),
        yanchor="bottom",
        text=text,
        hovertext=more,
        font={"size": 11},
        showarrow=False,
    )


def _mark_failures(figure: go.Figure, run: Run) -> None:
    failed = [(index, layer) for index, layer in enumerate(run.layers) if not layer.passed]
    if failed:
        figure.add_scatter(
            x=[index for index, _ in failed],
            y=[on_log_axis(_relative(layer.isolated) or 0.0) for _, layer in failed],
            customdata=[[layer.layer] for _, layer in failed],
            name="differs alone",
            mode="markers",
            marker={"symbol": "x", "size": 12, "color": VERMILION},
            hovertemplate="%{customdata[0]} differs<extra></extra>",
        )


def _mark_divergence(figure: go.Figure, run: Run) -> bool:
    """Mark the first layer that diverges; whether there is one."""
    at = first_divergence(run.layers, run.first_divergence)
    if at is None:
        return False
    # Plotly draws the words beside the line: on the side that has the room.
    side = "left" if at > len(run.layers) / 2 else "right"
    figure.add_vline(
        x=at,
        line={"color": VERMILION, "width": 2},
        annotation={
            "text": f" first divergence: {run.first_divergence} ",
            "font": {"color": VERMILION, "size": 13},
        },
        annotation_position=f"top {side}",
    )
    return True


def _relative(difference: Difference | None) -> float | None:
    return None if difference is None else difference.relative
