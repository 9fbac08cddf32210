"""How many representable numbers (ULP) the output elements are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from k2t_core.difference import ulps
from k2t_core.inspector.charts.style import BLUE, FRAME, bars, count_axis, heading

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from k2t_core.verification.report import OutputResult, Run

COUNTED = ("float16", "bfloat16", "float32", "float64")  # what `difference.ulps` knows
LARGEST_TOLD = 2**20  # a bin from here on is named by its power of two
TICKS = 8  # about


def ulp_bins(outputs: Sequence[OutputResult]) -> tuple[list[str], np.ndarray]:
    """How many output elements lie how far apart: (names of the bins, counts); powers of two after 0 and 1."""
    found = []
    for output in outputs:
        if output.keras.shape == output.torch.shape and output.keras.dtype.name in COUNTED:
            finite = np.isfinite(output.keras).ravel() & np.isfinite(output.torch).ravel()
            found.append(ulps(output.keras, output.torch)[finite])
    values = np.concatenate(found) if found else np.zeros(0)
    power = np.where(values > 0, np.floor(np.log2(np.maximum(values, 1))) + 1, 0).astype(int)
    counts = np.bincount(power, minlength=1)
    return [_bin(k) for k in range(len(counts))], counts


def ulp_histogram(run: Run, log_counts: bool = False) -> go.Figure:
    """The output elements by how many representable numbers lie between Keras's value and torch's."""
    import plotly.graph_objects as go

    names, counts = ulp_bins(run.outputs)
    figure = go.Figure(
        go.Bar(
            x=list(range(len(names))),
            y=counts,
            customdata=names,
            marker=bars(BLUE),
            hovertemplate="%{customdata} apart: %{y:,} elements<extra></extra>",
        )
    )
    ticks = list(range(0, len(names), max(1, len(names) // TICKS)))
    figure.update_layout(
        title=heading("Representable numbers between the two (ULP)"),
        xaxis={"tickvals": ticks, "ticktext": [str(k) if k < 2 else f"2^{k - 1}" for k in ticks]},
        bargap=0.05,
        **FRAME,
        height=300,
    )
    if not counts.any():
        figure.add_annotation(
            x=0.5,
            y=0.5,
            xref="paper",
            yref="paper",
            text="No finite floating-point numbers of one shape to count",
            showarrow=False,
        )
    count_axis(figure, log_counts)
    return figure


def _bin(k: int) -> str:
    """What bin k holds: 0, 1, 2 to 3, 4 to 7 …"""
    if k < 2:
        return str(k)
    lower = 2 ** (k - 1)
    return f"{lower:,} to {2 * lower - 1:,}" if lower < LARGEST_TOLD else f"from 2^{k - 1}"
