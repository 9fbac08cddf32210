"""Plotly figures of a verification and of the lessons: pure functions. Values are binned here, so that a page sends bars.

Colours are Okabe and Ito's, which every kind of sight tells apart; each series has a shape of its own besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from k2t_core.difference import apart
from k2t_core.inspector.activations import BARS, LINES, MAPS, MOST_STEPS, MOST_UNITS, Activation, maps, window
from k2t_core.inspector.run_view import class_name, per_class

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from k2t_core.inspector.run_comparison import LayerChange
    from k2t_core.inspector.weight_picture import Band, Side
    from k2t_core.verification.report import LayerResult, OutputResult, Run

BLUE, ORANGE, VERMILION, YELLOW, GREY = "#0072B2", "#E69F00", "#D55E00", "#F0E442", "#8A8A8A"
GREEN, SKY, PINK = "#009E73", "#56B4E9", "#CC79A7"
GATE_COLOURS = {
    "input": ORANGE,
    "update": ORANGE,
    "forget": SKY,
    "reset": SKY,
    "cell": GREEN,
    "new": GREEN,
    "output": PINK,
}
_DIVERGING = [[0, VERMILION], [0.5, "#F7F7F7"], [1, BLUE]]
WIDEST_GAPPED = 40  # beyond, lines between the cells of a heat map would hide it
BINS_PER_DECADE = 4
LINEAR_BINS = 40
POINTS = 5000  # of a scatter plot
BEHIND = 24  # lines of a sequence drawn in grey behind the chosen one
# Where an exact zero is drawn on a logarithmic axis, below everything that float32 can tell from it.
ZERO = 1e-12


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
        a, b = output.keras.astype("float64"), output.torch.astype("float64")
        distance = apart(a, b)
        if relative:
            largest = output.difference.keras_max
            distance = distance / largest if largest else np.where(distance == 0, 0.0, np.inf)
        found.append(distance.ravel())
    return np.concatenate(found) if found else np.zeros(0)


def difference_histogram(run: Run, relative: bool, linear: bool = False, log_counts: bool = False) -> go.Figure:
    """How far the output elements of a run are apart, on a logarithmic axis, where exact zeros have a bar of their own, or on a linear one."""
    figure = _linear_histogram(run, relative) if linear else _log_histogram(run, relative)
    title = "Relative difference: |torch − keras| / max |keras|" if relative else "Absolute difference: |torch − keras|"
    figure.update_layout(
        title={"text": title, "font": {"size": 15}},
        bargap=0.05,
        barmode="overlay",
        **_FRAME,
        showlegend=False,
        height=300,
    )
    _counts(figure, log_counts)
    return figure


def _counts(figure: go.Figure, log: bool) -> None:
    figure.update_yaxes(title="output elements", **({"type": "log", "dtick": 1} if log else {"rangemode": "tozero"}))


def _linear_histogram(run: Run, relative: bool) -> go.Figure:
    """Equal bins from 0 to the largest finite difference."""
    import plotly.graph_objects as go

    values = differences(run.outputs, relative)
    finite = values[np.isfinite(values)]
    most = float(finite.max(initial=0.0)) or 1.0
    counts, edges = np.histogram(finite, np.linspace(0, most, LINEAR_BINS + 1))
    middle = (edges[:-1] + edges[1:]) / 2
    tolerance = run.tolerance if relative else np.inf
    figure = go.Figure()
    text = np.array([f"{a:.2g} to {b:.2g}" for a, b in zip(edges[:-1], edges[1:])])
    for name, chosen, colour, shape in (
        ("within tolerance", middle <= tolerance, BLUE, ""),
        ("beyond tolerance", middle > tolerance, VERMILION, "/"),
    ):
        if counts[chosen].any():
            marker = {"color": colour, "line": {"width": 0}, "pattern": {"shape": shape}}
            figure.add_bar(
                x=middle[chosen],
                y=counts[chosen],
                width=most / LINEAR_BINS,
                customdata=text[chosen],
                name=name,
                marker=marker,
                hovertemplate="%{customdata}: %{y:,} elements<extra></extra>",
            )
    if values.size > finite.size:
        marker = {"color": ORANGE, "line": {"width": 0}, "pattern": {"shape": "x"}}
        figure.add_bar(
            x=[most * 1.08],
            y=[values.size - finite.size],
            width=most / LINEAR_BINS,
            name="not finite",
            marker=marker,
            hovertemplate="NaN or infinite: %{y:,} elements<extra></extra>",
        )
    if tolerance <= most:
        figure.add_vline(
            x=tolerance,
            line={"dash": "dash", "width": 1.5, "color": GREY},
            annotation={"text": f" tolerance {_power(tolerance)} "},
            annotation_position="top right",
        )
    figure.update_xaxes(tickformat=".1e", nticks=6, rangemode="tozero")
    return figure


def _log_histogram(run: Run, relative: bool) -> go.Figure:
    import plotly.graph_objects as go

    bins = log_bins(differences(run.outputs, relative))
    left, right = np.log10(bins.edges[0]), np.log10(bins.edges[-1])
    tolerance = np.log10(run.tolerance) if relative and run.tolerance > 0 else None
    if tolerance is not None:
        left, right = min(left, tolerance), max(right, tolerance)
    middle = (np.log10(bins.edges[:-1]) + np.log10(bins.edges[1:])) / 2
    beyond = middle > tolerance if tolerance is not None else np.zeros(len(middle), bool)
    figure = go.Figure()
    text = [f"{a:.2g} to {b:.2g}" for a, b in zip(bins.edges[:-1], bins.edges[1:])]
    common = {"width": 1 / BINS_PER_DECADE, "hovertemplate": "%{customdata}: %{y:,} elements<extra></extra>"}
    for name, chosen, colour, shape in (
        ("within tolerance" if relative else "elements", ~beyond, BLUE, ""),
        ("beyond tolerance", beyond, VERMILION, "/"),
    ):
        if bins.counts[chosen].any():
            figure.add_bar(
                x=middle[chosen],
                y=bins.counts[chosen],
                customdata=np.array(text)[chosen],
                name=name,
                marker={"color": colour, "line": {"width": 0}, "pattern": {"shape": shape}},
                **common,
            )
    ticks = list(range(int(np.ceil(left)), int(np.floor(right)) + 1))
    ticks = ticks[:: max(1, len(ticks) // 8)]
    labels = [f"1e{tick}" for tick in ticks]
    if bins.zeros:
        at = left - 0.75
        figure.add_bar(
            x=[at],
            y=[bins.zeros],
            customdata=["exactly 0"],
            name="exactly equal",
            marker={"color": GREY, "line": {"width": 0}},
            **{**common, "width": 0.5},
        )
        ticks, labels = [at, *ticks], ["0", *labels]
    if bins.not_finite:
        at = right + 0.75
        figure.add_bar(
            x=[at],
            y=[bins.not_finite],
            customdata=["NaN or infinite"],
            name="not finite",
            marker={"color": ORANGE, "line": {"width": 0}, "pattern": {"shape": "x"}},
            **{**common, "width": 0.5},
        )
        ticks, labels = [*ticks, at], [*labels, "∞"]
    if tolerance is not None:
        near_end = tolerance > (left + right) / 2
        figure.add_vline(
            x=tolerance,
            line={"dash": "dash", "width": 1.5, "color": GREY},
            annotation={"text": f" tolerance {_power(run.tolerance)} "},
            annotation_position="top left" if near_end else "top right",
        )
    figure.update_xaxes(
        tickvals=ticks,
        ticktext=labels,
        range=[left - (1.25 if bins.zeros else 0.25), right + (1.25 if bins.not_finite else 0.25)],
    )
    return figure


def ulp_bins(outputs: Sequence[OutputResult]) -> tuple[list[str], np.ndarray]:
    """How many output elements lie how many representable numbers apart: (names of the bins, counts); powers of two after 0 and 1."""
    from k2t_core.difference import ulps

    found = []
    for output in outputs:
        if output.keras.shape == output.torch.shape and output.keras.dtype.name in (
            "float16",
            "bfloat16",
            "float32",
            "float64",
        ):
            finite = np.isfinite(output.keras).ravel() & np.isfinite(output.torch).ravel()
            found.append(ulps(output.keras, output.torch)[finite])
    values = np.concatenate(found) if found else np.zeros(0)
    power = np.where(values > 0, np.floor(np.log2(np.maximum(values, 1))) + 1, 0).astype(int)
    counts = np.bincount(power, minlength=1)
    return [
        str(lower) if k < 2 else f"{lower:,} to {2 * lower - 1:,}" if lower < 2**20 else f"from 2^{k - 1}"
        for k, lower in ((k, 0 if k == 0 else 2 ** (k - 1)) for k in range(len(counts)))
    ], counts


def ulp_histogram(run: Run, log_counts: bool = False) -> go.Figure:
    """The output elements by how many representable numbers lie between Keras's value and torch's."""
    import plotly.graph_objects as go

    names, counts = ulp_bins(run.outputs)
    figure = go.Figure(
        go.Bar(
            x=list(range(len(names))),
            y=counts,
            customdata=names,
            marker={"color": BLUE, "line": {"width": 0}},
            hovertemplate="%{customdata} apart: %{y:,} elements<extra></extra>",
        )
    )
    step = max(1, len(names) // 8)
    ticks = list(range(0, len(names), step))
    figure.update_layout(
        title={"text": "Representable numbers between the two (ULP)", "font": {"size": 15}},
        xaxis={"tickvals": ticks, "ticktext": ["0" if k == 0 else "1" if k == 1 else f"2^{k - 1}" for k in ticks]},
        bargap=0.05,
        **_FRAME,
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
    _counts(figure, log_counts)
    return figure


def class_chart(output: OutputResult, tolerance: float, names: Sequence[str] = ()) -> go.Figure:
    """The largest difference in each class of an output, relative to the output's largest value."""
    import plotly.graph_objects as go

    values = per_class(output)
    over = values > tolerance
    x = np.arange(len(values))
    told = np.array([class_name(int(unit), names) for unit in x])
    figure = go.Figure()
    for name, chosen, colour, shape in (
        ("within tolerance", ~over, BLUE, ""),
        ("beyond tolerance", over, VERMILION, "/"),
    ):
        if chosen.any():
            marker = {"color": colour, "line": {"width": 0}, "pattern": {"shape": shape}}
            figure.add_bar(
                x=x[chosen],
                y=np.clip(values[chosen], ZERO, 1e3),
                customdata=np.stack([told[chosen], [f"{v:.2e}" for v in values[chosen]]], -1),
                name=name,
                marker=marker,
                hovertemplate="class %{customdata[0]}: %{customdata[1]}<extra></extra>",
            )
    figure.add_hline(y=tolerance, line={"dash": "dash", "width": 1.5, "color": GREY})
    few = len(values) <= 20
    figure.update_layout(
        title={"text": f"Largest relative difference in each class of {output.name}", "font": {"size": 15}},
        xaxis={"title": "class", **({"tickvals": x, "ticktext": told} if few else {})},
        yaxis={"type": "log", "dtick": 2, "exponentformat": "power"},
        bargap=0.05,
        **_FRAME,
        showlegend=False,
        height=300,
    )
    return figure


def change_chart(changes: Sequence[LayerChange], names: tuple[str, str] = ("before", "after")) -> go.Figure:
    """Each layer's accumulated difference in two verifications, or under two readings."""
    import plotly.graph_objects as go

    positions = list(range(len(changes)))
    figure = go.Figure()
    for label, pick, colour, symbol in (
        (names[0], lambda c: c.before, ORANGE, "diamond"),
        (names[1], lambda c: c.after, BLUE, "circle"),
    ):
        values = [pick(change) for change in changes]
        figure.add_scatter(
            x=positions,
            y=[None if v is None else min(max(v, ZERO), 1e3) for v in values],
            customdata=[
                [change.layer, "no value" if v is None else "exactly 0" if v == 0 else f"{v:.2e}"]
                for change, v in zip(changes, values)
            ],
            name=label,
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"symbol": symbol, "size": 8 if len(changes) < 60 else 4},
            hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
    highest = max((v for series in figure.data for v in series.y if v is not None), default=1.0)
    figure.update_layout(
        title={"text": "Each layer, accumulated: |torch − keras| / its max |keras|", "font": {"size": 15}},
        **_along([change.tensor for change in changes], highest, 0.7),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **{**_FRAME, "margin": {"l": 10, "r": 10, "t": 80, "b": 10}},
        height=380,
    )
    return figure


def _along(names: Sequence[str], highest: float, room: float) -> dict:
    """The axes of a chart along the depth of a network: layers across, powers of ten upwards with exact zeros below; ``room`` above, in powers."""
    step = max(1, len(names) // 30)
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


def scatter(run: Run) -> go.Figure:
    """Keras's value of output elements against torch's: what agrees lies on the diagonal. A sample, the worst elements in it."""
    import plotly.graph_objects as go

    keras, torch, beyond = sampled(run)
    figure = go.Figure()
    ends = [float(keras.min()), float(keras.max())] if keras.size else [0.0, 1.0]
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": GREY, "width": 1, "dash": "dot"}, hoverinfo="skip")
    for chosen, colour, symbol, name in (
        (~beyond, BLUE, "circle", "within tolerance"),
        (beyond, VERMILION, "x", "beyond tolerance"),
    ):
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
        title={"text": "Each output element", "font": {"size": 15}},
        xaxis={"title": "Keras"},
        yaxis={"title": "PyTorch"},
        showlegend=False,
        **_FRAME,
        height=300,
    )
    return figure


def sampled(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(Keras's values, torch's, whether beyond the tolerance) of at most `POINTS` finite output elements, the worst among them."""
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


def layer_chart(run: Run) -> go.Figure:
    """The difference of each layer along the depth of the network, alone and accumulated.

    The first divergence is marked, and so is what lies beyond the run's tolerance. The first of a point's custom data is its layer.
    """
    import plotly.graph_objects as go

    from k2t_core.difference import LAYER_ROUNDINGS, rounding_unit, roundings

    names = [layer.tensor for layer in run.layers]
    positions = list(range(len(names)))
    figure = go.Figure()
    for label, pick, colour, symbol in (
        ("accumulated: on torch's inputs", lambda r: r.cumulative, BLUE, "circle"),
        ("alone: on Keras's inputs", lambda r: r.isolated, ORANGE, "diamond"),
    ):
        values = [_relative(pick(layer)) for layer in run.layers]
        figure.add_scatter(
            x=positions,
            y=[None if v is None else min(max(v, ZERO), 1e3) for v in values],
            customdata=[
                [layer.layer, "no value" if v is None else "exactly 0" if v == 0 else f"{v:.2e}"]
                for layer, v in zip(run.layers, values)
            ],
            name=label,
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={
                "symbol": symbol,
                "size": 8 if len(names) < 60 else 4,
                "color": [VERMILION if v is not None and v > run.tolerance else colour for v in values],
            },
            hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
    figure.add_hline(y=max(run.tolerance, ZERO), line={"dash": "dash", "width": 1.5, "color": GREY})
    figure.add_annotation(
        x=0,
        xref="paper",
        xanchor="left",
        y=np.log10(max(run.tolerance, ZERO)),
        yanchor="bottom",
        text=f"tolerance {_power(run.tolerance)}",
        font={"size": 11},
        showarrow=False,
    )
    # Not add_hline's own annotation: it misplaces words on a logarithmic axis.
    few = next(
        (o.keras.dtype for o in run.outputs if o.keras.dtype.name in ("float16", "bfloat16")), np.dtype("float32")
    )
    allowed = roundings(few, LAYER_ROUNDINGS, 1.0)
    figure.add_hline(y=allowed, line={"dash": "dot", "width": 1, "color": GREY})
    words = f"{allowed / rounding_unit(few):.0f} {few.name} roundings"
    more = f"Beyond {words}, a float64 run must explain<br>what a layer alone differs by."
    figure.add_annotation(
        x=1,
        xref="paper",
        xanchor="right",
        y=np.log10(allowed),
        yanchor="bottom",
        text=words,
        hovertext=more,
        font={"size": 11},
        showarrow=False,
    )
    failed = [(index, layer) for index, layer in enumerate(run.layers) if not layer.passed]
    if failed:
        figure.add_scatter(
            x=[index for index, _ in failed],
            y=[min(max(_relative(layer.isolated) or 0.0, ZERO), 1e3) for _, layer in failed],
            customdata=[[layer.layer] for _, layer in failed],
            name="differs alone",
            mode="markers",
            marker={"symbol": "x", "size": 12, "color": VERMILION},
            hovertemplate="%{customdata[0]} differs<extra></extra>",
        )
    at = first_divergence(run.layers, run.first_divergence)
    if at is not None:
        # Plotly draws the words beside the line: on the side that has the room.
        side = "left" if at > len(names) / 2 else "right"
        figure.add_vline(
            x=at,
            line={"color": VERMILION, "width": 2},
            annotation={
                "text": f" first divergence: {run.first_divergence} ",
                "font": {"color": VERMILION, "size": 13},
            },
            annotation_position=f"top {side}",
        )
    highest = max((v for series in figure.data for v in series.y if v is not None), default=1.0)
    figure.update_layout(
        title={
            "text": "Each layer: |torch − keras| / its max |keras|",
            "font": {"size": 15},
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 8},
        },
        **_along(names, highest, 2.5 if at is not None else 0.7),  # room for the words
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **{**_FRAME, "margin": {"l": 10, "r": 10, "t": 100, "b": 10}},  # on a telephone the legend has three rows
        height=420,
    )
    return figure


def first_divergence(layers: Sequence[LayerResult], path: str | None) -> int | None:
    """Where in ``layers`` the layer of that path fails first."""
    found = [index for index, layer in enumerate(layers) if layer.layer == path]
    return next((index for index in found if not layers[index].passed), found[0] if found else None)


def heat_map(
    values: np.ndarray,
    title: str,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    limit: float | None = None,
    text: str = ".2f",
) -> go.Figure:
    """A small matrix as a picture with its numbers. ``limit``: the magnitude of the deepest colour, equal among pictures to compare."""
    import plotly.graph_objects as go

    values = np.atleast_2d(np.asarray(values, "float64"))
    limit = limit or float(np.abs(values).max(initial=0.0)) or 1.0
    numbers = [[format(v, text) for v in row] for row in values] if values.size <= 240 else None
    figure = go.Figure(
        go.Heatmap(
            z=values,
            zmin=-limit,
            zmax=limit,
            colorscale=_DIVERGING,
            showscale=False,
            text=numbers,
            texttemplate="%{text}" if numbers else None,
            textfont={"size": 11},
            xgap=1,
            ygap=1,
            hovertemplate="%{z:.4g}<extra></extra>",
        )
    )
    figure.update_layout(
        title={"text": title, "font": {"size": 14}},
        xaxis={
            "tickvals": list(range(values.shape[1])),
            "ticktext": list(columns) if columns else [""] * values.shape[1],
            "showgrid": False,
            "side": "bottom",
        },
        yaxis={
            "tickvals": list(range(values.shape[0])),
            "ticktext": list(rows) if rows else [""] * values.shape[0],
            "showgrid": False,
            "autorange": "reversed",
        },
        **_FRAME,
        height=90 + 32 * values.shape[0],
    )
    return figure


def weight_figure(side: Side, title: str, limit: float) -> go.Figure:
    """One side of a weight: its matrix with the marked element outlined, and a histogram of its values below.

    limit: the magnitude of the deepest colour and the end of the histogram, equal for both sides.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, row_heights=[0.74, 0.26], vertical_spacing=0.2)
    rows, columns = side.values.shape
    labels = np.array(
        [
            [f"{side.rows + ' ' + r + '<br>' if side.rows else ''}{side.columns} {c}" for c in side.column_labels]
            for r in side.row_labels
        ]
    )
    figure.add_heatmap(
        z=side.values,
        zmin=-limit,
        zmax=limit,
        colorscale=_DIVERGING,
        showscale=False,
        xgap=0.5 if max(rows, columns) <= WIDEST_GAPPED else 0,
        ygap=0.5 if max(rows, columns) <= WIDEST_GAPPED else 0,
        customdata=labels,
        hovertemplate="%{customdata}<br>%{z:.5g}<extra></extra>",
        row=1,
        col=1,
    )
    row, column = side.mark
    figure.add_shape(
        type="rect",
        x0=column - 0.5,
        x1=column + 0.5,
        y0=row - 0.5,
        y1=row + 0.5,
        line={"color": "#000000", "width": 4},
        row=1,
        col=1,
    )
    figure.add_shape(
        type="rect",
        x0=column - 0.5,
        x1=column + 0.5,
        y0=row - 0.5,
        y1=row + 0.5,
        line={"color": YELLOW, "width": 2},
        row=1,
        col=1,
    )
    for bands, length, down in ((side.row_gates, columns, True), (side.column_gates, rows, False)):
        _gate_bands(figure, bands, length, down)
    counts, edges = np.histogram(
        side.sample[np.isfinite(side.sample)].clip(-limit, limit), np.linspace(-limit, limit, 41)
    )
    figure.add_bar(
        x=(edges[:-1] + edges[1:]) / 2,
        y=counts,
        width=limit / 20,
        marker={"color": BLUE, "line": {"width": 0}},
        hovertemplate="%{x:.3g}: %{y:,} values<extra></extra>",
        row=2,
        col=1,
    )
    value = side.values[side.mark]
    if -limit <= value <= limit:
        figure.add_vline(x=value, line={"color": VERMILION, "width": 2, "dash": "dot"}, row=2, col=1)
    figure.update_xaxes(
        title={"text": f"{side.columns} →", "standoff": 6},
        showgrid=False,
        **_ticks(side.column_labels, 8),
        row=1,
        col=1,
    )
    figure.update_yaxes(
        title={"text": f"← {side.rows}" if side.rows else None, "standoff": 14},
        showgrid=False,
        autorange="reversed",
        **_ticks(side.row_labels, 10),
        row=1,
        col=1,
    )
    figure.update_xaxes(title={"text": "value", "standoff": 4}, range=[-limit * 1.05, limit * 1.05], row=2, col=1)
    figure.update_yaxes(title={"text": "count"}, nticks=3, row=2, col=1)
    figure.update_layout(
        title={"text": title, "font": {"size": 14}}, **_FRAME, showlegend=False, height=560 if rows > 1 else 330
    )
    return figure


def activation_figures(shown: Activation, plane: int, channel: int) -> list[go.Figure]:
    """Keras, PyTorch and their difference, each a figure of its own: a map as a picture, a sequence as lines, a vector as bars."""
    draw = {MAPS: _maps, LINES: _lines, BARS: _bars}[shown.kind]
    figures = draw(shown, plane, channel)
    for figure, title in zip(figures, ("Keras", "PyTorch", f"Difference, at most {shown.largest(plane, channel):.2g}")):
        figure.update_layout(title={"text": title, "font": {"size": 14}}, **_FRAME, showlegend=False, height=300)
    return figures


def _maps(shown: Activation, plane: int, channel: int) -> list[go.Figure]:
    import plotly.graph_objects as go

    keras, torch, difference, step = maps(shown, plane, channel)
    values = np.stack([keras, torch])
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    limit = max(abs(low), abs(high)) or 1.0
    scale = (
        {"colorscale": _DIVERGING, "zmin": -limit, "zmax": limit}
        if low < 0
        else {"colorscale": "Cividis", "zmin": 0.0, "zmax": limit}
    )
    most = float(difference[np.isfinite(difference)].max(initial=0.0))
    figures = []
    for picture, colours in (
        (keras, scale),
        (torch, scale),
        (difference, {"colorscale": "Cividis", "zmin": 0.0, "zmax": most or 1.0}),
    ):
        figure = go.Figure(
            go.Heatmap(
                z=picture.astype("float32"),
                x=np.arange(picture.shape[1]) * step,
                y=np.arange(picture.shape[0]) * step,
                **colours,
                colorbar={"thickness": 8, "len": 0.9, "nticks": 5, "tickformat": ".2g", "x": 1.02},
                hovertemplate="row %{y}, column %{x}<br>%{z:.5g}<extra></extra>",
            )
        )
        figure.update_xaxes(showgrid=False, zeroline=False, constrain="domain", nticks=5)
        figure.update_yaxes(
            showgrid=False, zeroline=False, constrain="domain", nticks=5, autorange="reversed", scaleanchor="x"
        )
        figures.append(figure)
    return figures


def _lines(shown: Activation, plane: int, channel: int) -> list[go.Figure]:
    import plotly.graph_objects as go

    steps, channels = shown.keras.shape
    drawn = window(steps, int(shown.difference[:, channel].argmax()), MOST_STEPS)
    x = np.arange(steps)[drawn]
    others = [k for k in range(*window(channels, channel, BEHIND).indices(channels)) if k != channel]
    figures = []
    for values, colour in ((shown.keras, BLUE), (shown.torch, ORANGE), (shown.difference, VERMILION)):
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
            mode="lines+markers" if len(x) <= 60 else "lines",
            line={"color": colour, "width": 2.5},
            hovertemplate="step %{x}: %{y:.5g}<extra></extra>",
        )
        figure.update_xaxes(title={"text": "step", "standoff": 4})
        figures.append(figure)
    _alike(figures[:2])
    figures[2].update_yaxes(rangemode="tozero", tickformat=".1e")
    return figures


def _bars(shown: Activation, plane: int, channel: int) -> list[go.Figure]:
    import plotly.graph_objects as go

    drawn = window(shown.keras.size, shown.worst[1], MOST_UNITS)
    x = np.arange(shown.keras.size)[drawn]
    figures = []
    for values, colour in ((shown.keras, BLUE), (shown.torch, ORANGE), (shown.difference, VERMILION)):
        figure = go.Figure(
            go.Bar(
                x=x,
                y=values[drawn],
                marker={"color": colour, "line": {"width": 0}},
                hovertemplate="unit %{x}: %{y:.5g}<extra></extra>",
            )
        )
        figure.update_xaxes(title={"text": "unit", "standoff": 4})
        figures.append(figure)
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


def _gate_bands(figure: go.Figure, bands: Sequence[Band], length: int, down: bool) -> None:
    """A coloured band with the gate's letter beside the rows or above the columns of each gate, and a line between gates."""
    thick = 0.05 * length
    for band in bands:
        ends = (
            {"y0": band.start - 0.5, "y1": band.stop - 0.5} if down else {"x0": band.start - 0.5, "x1": band.stop - 0.5}
        )
        across = {"x0": length - 0.5, "x1": length - 0.5 + thick} if down else {"y0": -0.5 - thick, "y1": -0.5}
        figure.add_shape(
            type="rect",
            **ends,
            **across,
            fillcolor=GATE_COLOURS[band.meaning],
            line={"color": "#FFFFFF", "width": 1},
            row=1,
            col=1,
        )
        middle = (band.start + band.stop - 1) / 2
        place = {"x": length - 0.5 + thick / 2, "y": middle} if down else {"x": middle, "y": -0.5 - thick / 2}
        figure.add_annotation(
            **place,
            text=f"<b>{band.gate}</b>",
            hovertext=f"{band.gate}: the {band.meaning} gate",
            showarrow=False,
            font={"color": "#000000", "size": 12},
            row=1,
            col=1,
        )
        if band.start:
            line = {"x0": -0.5, "x1": length - 0.5, "y0": band.start - 0.5, "y1": band.start - 0.5}
            figure.add_shape(
                type="line",
                **(line if down else {f"{'y' if name[0] == 'x' else 'x'}{name[1]}": at for name, at in line.items()}),
                line={"color": "#000000", "width": 1},
                row=1,
                col=1,
            )


def _ticks(labels: Sequence[str], most: int) -> dict:
    step = -(-len(labels) // most)
    return {"tickvals": list(range(0, len(labels), step)), "ticktext": list(labels[::step])}


def _power(value: float) -> str:
    """1e-4 for 0.0001: as a person writes a tolerance."""
    text = f"{value:.0e}" if float(f"{value:.0e}") == value else f"{value:.2e}"
    return text.replace("e-0", "e-").replace("e+0", "e")


_FRAME = {"margin": {"l": 10, "r": 10, "t": 50, "b": 10}}


def _relative(difference) -> float | None:
    return None if difference is None else difference.relative


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"…{name[-21:]}"
