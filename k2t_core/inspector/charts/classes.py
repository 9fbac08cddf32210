"""The largest difference in each class of an output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from k2t_core.inspector.charts.style import FRAME, LIMIT, MOST, ZERO, bars, heading, judged
from k2t_core.inspector.run_view import class_name, per_class

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from k2t_core.verification.report import OutputResult

NAMED = 20  # classes; of more, the axis has numbers


def class_chart(output: OutputResult, tolerance: float, names: Sequence[str] = ()) -> go.Figure:
    """Relative to the output's largest value. ``names``: of the classes, as far as they are known."""
    import plotly.graph_objects as go

    values = per_class(output)
    x = np.arange(len(values))
    told = np.array([class_name(int(unit), names) for unit in x])
    figure = go.Figure()
    for name, chosen, colour, pattern in judged(values > tolerance):
        if chosen.any():
            figure.add_bar(
                x=x[chosen],
                y=np.clip(values[chosen], ZERO, MOST),
                customdata=np.stack([told[chosen], [f"{v:.2e}" for v in values[chosen]]], -1),
                name=name,
                marker=bars(colour, pattern),
                hovertemplate="class %{customdata[0]}: %{customdata[1]}<extra></extra>",
            )
    figure.add_hline(y=tolerance, line=LIMIT)
    figure.update_layout(
        title=heading(f"Largest relative difference in each class of {output.name}"),
        xaxis={"title": "class", **({"tickvals": x, "ticktext": told} if len(values) <= NAMED else {})},
        yaxis={"type": "log", "dtick": 2, "exponentformat": "power"},
        bargap=0.05,
        **FRAME,
        showlegend=False,
        height=300,
    )
    return figure
