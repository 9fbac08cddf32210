"""Each layer's accumulated difference in two verifications, or under two readings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from k2t_core.inspector.charts.depth import LEGEND, add_series, axes
from k2t_core.inspector.charts.style import BLUE, ORANGE, heading

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from k2t_core.inspector.run_comparison import LayerChange


def change_chart(changes: Sequence[LayerChange], names: tuple[str, str] = ("before", "after")) -> go.Figure:
    """Two lines along the depth of the network. ``names``: of the two."""
    import plotly.graph_objects as go

    figure = go.Figure()
    layers = [change.layer for change in changes]
    add_series(figure, names[0], layers, [change.before for change in changes], ORANGE, "diamond")
    add_series(figure, names[1], layers, [change.after for change in changes], BLUE, "circle")
    figure.update_layout(
        title=heading("Each layer, accumulated: |torch − keras| / its max |keras|"),
        **axes(figure, [change.tensor for change in changes], room=0.7),
        legend=LEGEND,
        margin={"l": 10, "r": 10, "t": 80, "b": 10},
        height=380,
    )
    return figure
