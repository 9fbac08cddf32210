"""How far the output elements of a run are apart: a histogram on a logarithmic or a linear axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from k2t_core.difference import apart
from k2t_core.inspector.charts.style import FRAME, GREY, LIMIT, ORANGE, bars, count_axis, heading, judged
from k2t_core.words import power_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from k2t_core.verification.report import OutputResult, Run

BINS_PER_DECADE = 4
LINEAR_BINS = 40
TICKS = 8  # of powers of ten, about
BESIDE = 0.75  # where a bar of its own stands beside a logarithmic axis, in powers of ten from its end


@dataclass(frozen=True)
class Bins:
    """A histogram over powers of ten. ``edges`` has one element more than ``counts``."""

    edges: np.ndarray
    counts: np.ndarray
    zeros: int
    not_finite: int

    @property
    def total(self) -> int:
        return int(self.counts.sum()) + self.zeros + self.not_finite


def log_bins(values: np.ndarray) -> Bins:
    """Count positive values in logarithmic bins; zeros and what is not finite are counted apart."""
    values = np.asarray(values, "float64").ravel()
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    zeros, not_finite = int((finite == 0).sum()), int(values.size - finite.size)
    if positive.size == 0:
        return Bins(np.array([1e-8, 1e-7]), np.zeros(1, int), zeros, not_finite)
    low = int(np.floor(np.log10(positive.min()) * BINS_PER_DECADE))
    high = max(int(np.ceil(np.log10(positive.max()) * BINS_PER_DECADE)), low + 1)
    edges = 10.0 ** (np.arange(low, high + 1) / BINS_PER_DECADE)
    # Rounding may leave the extremes a hair outside of their own bins.
    counts, _ = np.histogram(positive.clip(edges[0], edges[-1]), edges)
    return Bins(edges, counts, zeros, not_finite)


def differences(outputs: Sequence[OutputResult], relative: bool) -> np.ndarray:
    """|torch − keras| of every output element; ``relative``: over the largest |keras| of its output."""
    found = []
    for output in outputs:
        if output.keras.shape != output.torch.shape:
            found.append(np.full(output.keras.size, np.inf))
            continue
        distance = apart(output.keras.astype("float64"), output.torch.astype("float64"))
        if relative:
            largest = output.difference.keras_max
            distance = distance / largest if largest else np.where(distance == 0, 0.0, np.inf)
        found.append(distance.ravel())
    return np.concatenate(found) if found else np.zeros(0)


def difference_histogram(run: Run, relative: bool, linear: bool = False, log_counts: bool = False) -> go.Figure:
    """On a logarithmic axis, where exact zeros have a bar of their own, or on a linear one."""
    figure = _linear(run, relative) if linear else _logarithmic(run, relative)
    title = "Relative difference: |torch − keras| / max |keras|" if relative else "Absolute difference: |torch − keras|"
    figure.update_layout(title=heading(title), bargap=0.05, barmode="overlay", **FRAME, showlegend=False, height=300)
    count_axis(figure, log_counts)
    return figure


def _linear(run: Run, relative: bool) -> go.Figure:
    """Equal bins from 0 to the largest finite difference."""
    import plotly.graph_objects as go

    values = differences(run.outputs, relative)
    finite = values[np.isfinite(values)]
    most = float(finite.max(initial=0.0)) or 1.0
    counts, edges = np.histogram(finite, np.linspace(0, most, LINEAR_BINS + 1))
    middle = (edges[:-1] + edges[1:]) / 2
    tolerance = run.tolerance if relative else np.inf
    figure = go.Figure()
    _add_counts(figure, middle, counts, edges, middle > tolerance, most / LINEAR_BINS)
    if values.size > finite.size:
        _add_one(
            figure,
            most * 1.08,
            values.size - finite.size,
            most / LINEAR_BINS,
            name="not finite",
            words="NaN or infinite",
            marker=bars(ORANGE, "x"),
        )
    if tolerance <= most:
        _mark_tolerance(figure, tolerance, tolerance, "top right")
    figure.update_xaxes(tickformat=".1e", nticks=6, rangemode="tozero")
    return figure


def _logarithmic(run: Run, relative: bool) -> go.Figure:
    """Bins of a quarter of a power of ten. The axis is one of exponents, so that other bars can stand beside it."""
    import plotly.graph_objects as go

    bins = log_bins(differences(run.outputs, relative))
    exponents = np.log10(bins.edges)
    left, right = exponents[0], exponents[-1]
    tolerance = np.log10(run.tolerance) if relative and run.tolerance > 0 else None
    if tolerance is not None:
        left, right = min(left, tolerance), max(right, tolerance)
    middle = (exponents[:-1] + exponents[1:]) / 2
    beyond = middle > tolerance if tolerance is not None else np.zeros(len(middle), bool)
    figure = go.Figure()
    names = {} if relative else {"within tolerance": "elements"}
    _add_counts(figure, middle, bins.counts, bins.edges, beyond, 1 / BINS_PER_DECADE, names)
    ticks: list[float] = list(range(int(np.ceil(left)), int(np.floor(right)) + 1))
    ticks = ticks[:: max(1, len(ticks) // TICKS)]
    labels = [f"1e{tick}" for tick in ticks]
    if bins.zeros:
        at = left - BESIDE
        _add_one(figure, at, bins.zeros, 0.5, name="exactly equal", words="exactly 0", marker=bars(GREY))
        ticks, labels = [at, *ticks], ["0", *labels]
    if bins.not_finite:
        at = right + BESIDE
        _add_one(figure, at, bins.not_finite, 0.5, name="not finite", words="NaN or infinite", marker=bars(ORANGE, "x"))
        ticks, labels = [*ticks, at], [*labels, "∞"]
    if tolerance is not None:
        near_end = tolerance > (left + right) / 2
        _mark_tolerance(figure, tolerance, run.tolerance, "top left" if near_end else "top right")
    figure.update_xaxes(
        tickvals=ticks,
        ticktext=labels,
        range=[left - (1.25 if bins.zeros else 0.25), right + (1.25 if bins.not_finite else 0.25)],
    )
    return figure


def _add_counts(
    figure: go.Figure,
    middle: np.ndarray,
    counts: np.ndarray,
    edges: np.ndarray,
    beyond: np.ndarray,
    width: float,
    names: dict[str, str] | None = None,
) -> None:
    """The bars of the bins, those beyond the tolerance in a series of their own. ``names``: other names of series."""
    words = np.array([f"{a:.2g} to {b:.2g}" for a, b in zip(edges[:-1], edges[1:])])
    for name, chosen, colour, pattern in judged(beyond):
        if counts[chosen].any():
            figure.add_bar(
                x=middle[chosen],
                y=counts[chosen],
                width=width,
                customdata=words[chosen],
                name=(names or {}).get(name, name),
                marker=bars(colour, pattern),
                hovertemplate="%{customdata}: %{y:,} elements<extra></extra>",
            )


def _add_one(
    figure: go.Figure, at: float, count: int, width: float, name: str, words: str, marker: dict[str, Any]
) -> None:
    """A bar of what has no place among the bins."""
    figure.add_bar(
        x=[at],
        y=[count],
        width=width,
        customdata=[words],
        name=name,
        marker=marker,
        hovertemplate="%{customdata}: %{y:,} elements<extra></extra>",
    )


def _mark_tolerance(figure: go.Figure, at: float, tolerance: float, position: str) -> None:
    figure.add_vline(
        x=at,
        line=LIMIT,
        annotation={"text": f" tolerance {power_text(tolerance)} "},
        annotation_position=position,
    )
