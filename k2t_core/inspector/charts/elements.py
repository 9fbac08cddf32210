"""Keras's value of output elements against torch's: what agrees lies on the diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from k2t_core.inspector.charts.differences import differences
from k2t_core.inspector.charts.style import FRAME, GREY, heading, judged

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from k2t_core.verification.report import Run

POINTS = 5000  # that are drawn


def scatter(run: Run) -> go.Figure:
    """A sample of the elements, the worst of them in it."""
    import plotly.graph_objects as go

    keras, torch, beyond = sampled(run)
    figure = go.Figure()
    ends = [float(keras.min()), float(keras.max())] if keras.size else [0.0, 1.0]
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": GREY, "width": 1, "dash": "dot"}, hoverinfo="skip")
    for (name, chosen, colour, _), symbol in zip(judged(beyond), ("circle", "x")):
        if chosen.any():
            figure.add_scatter(
                x=keras[chosen],
                y=torch[chosen],
                mode="markers",
                name=name,
                marker={"color": colour, "symbol": symbol, "size": 5},
                hovertemplate="Keras %{x:.6g}<br>PyTorch %{y:.6g}<extra></extra>",
            )
    figure.update_layout(
        title=heading("Each output element"),
        xaxis={"title": "Keras"},
        yaxis={"title": "PyTorch"},
        showlegend=False,
        **FRAME,
        height=300,
    )
    return figure


def sampled(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(Keras's values, torch's, whether beyond the tolerance) of at most `POINTS` finite elements, the worst in it."""
    pairs = [o for o in run.outputs if o.keras.shape == o.torch.shape]
    keras = np.concatenate([o.keras.ravel().astype("float64") for o in pairs]) if pairs else np.zeros(0)
    torch = np.concatenate([o.torch.ravel().astype("float64") for o in pairs]) if pairs else np.zeros(0)
    distance = differences(pairs, relative=True)
    finite = np.isfinite(keras) & np.isfinite(torch)
    keras, torch, distance = keras[finite], torch[finite], distance[finite]
    if keras.size > POINTS:
        worst = np.argpartition(-distance, POINTS // 10)[: POINTS // 10]
        others = np.random.default_rng(0).choice(keras.size, POINTS - len(worst), replace=False)
        chosen = np.unique(np.concatenate([worst, others]))
        keras, torch, distance = keras[chosen], torch[chosen], distance[chosen]
    return keras, torch, distance > run.tolerance
