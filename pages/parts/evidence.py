"""What the Verify page shows of one comparison: charts at a tolerance of one's own, samples, what changed since.

Long because each way to look at a comparison is a function, and all of them look at the same part of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import streamlit as st

from k2t_core.difference import Rounding, measures
from k2t_core.inspector import charts
from k2t_core.inspector.run_comparison import changes, comparisons, worst_output
from k2t_core.inspector.run_view import (
    TOP,
    at_tolerance,
    beyond,
    class_name,
    classes,
    image,
    labels,
    narrowed,
    predictions,
)
from k2t_core.project.project import Project
from k2t_core.project.runs import PastRun
from k2t_core.verification.report import Report, Run
from k2t_core.words import power_text
from pages.parts import common

STEPS = tuple(float(f"{digit}e{power}") for power in range(-9, 0) for digit in (1, 2, 5)) + (1.0,)
VERDICTS = {"agrees": "✓", "differs": "✕", "proves nothing": "?"}
SCIENTIFIC = st.column_config.NumberColumn(format="scientific")
FROM_FLOAT64 = {
    name: st.column_config.NumberColumn(
        format="scientific",
        help="Largest distance to a run of the same module in float64: two sides that only round are about equally "
        "far from it.",
    )
    for name in ("Keras from float64", "PyTorch from float64")
}
MEASURES = {"cosine": "Cosine similarity", "top1_agreement": "First class alike", "top5_agreement": "First five alike"}
SHOWN = 24  # values of a sample that is no image


@st.fragment
def evidence(project: Project, report: Report) -> None:
    """The charts, in a part of the page that runs by itself: a touch of the slider draws them anew and nothing else."""
    run = report.deciding
    if len(report.runs) > 1:
        told = {
            index: f"{'✓' if one.passed else '✕'} {one.weights.capitalize()} weights, inputs {one.inputs}"
            for index, one in enumerate(report.runs)
        }
        picked = st.selectbox(
            "Comparison", list(told), index=report.runs.index(run), format_func=told.get, key=f"run:{id(report)}"
        )
        run = report.runs[picked]
    run = looked_at(project, run)
    output, unit = part(project, run)
    shown = narrowed(run, output, unit)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        linear = common.bound(st.toggle, "Linear axis of differences", "verify.linear", project)
        log_counts = common.bound(st.toggle, "Logarithmic counts", "verify.log_counts", project)
    figures = {
        "absolute": charts.difference_histogram(shown, False, linear, log_counts),
        "relative": charts.difference_histogram(shown, True, linear, log_counts),
        "scatter": charts.scatter(shown),
        "ulp": charts.ulp_histogram(shown, log_counts),
    }
    for pair in (("absolute", "relative"), ("scatter", "ulp")):
        for column, name in zip(st.columns(2), pair):
            with column:
                common.chart(figures[name], f"chart:{name}")
    for index, one in enumerate(run.outputs):
        if classes(one) and output in (None, index) and (output is not None or len(run.outputs) == 1):
            common.chart(
                charts.class_chart(one, run.tolerance, labels(project.settings["verify.labels"])), "chart:classes"
            )
    by_layer(project, run)
    by_output(run)
    samples(project, run)


def looked_at(project: Project, run: Run) -> Run:
    """The run at the tolerance of the slider, and what that makes of it."""
    own = run.own_tolerance
    options = sorted({*STEPS, own})
    current = project.settings["verify.look"]
    common.within("verify.look", project, own if current not in options else current)
    tolerance = common.bound(
        st.select_slider,
        "Look at it with a tolerance of",
        "verify.look",
        project,
        options=options,
        format_func=power_text,
        help="Colours the charts and tables below anew; nothing is run again, and the verdict above stays that of "
        "the verification.",
    )
    looked = at_tolerance(run, tolerance)
    inside = sum(o.difference.relative <= tolerance for o in looked.outputs)
    far = [layer for layer in looked.layers if beyond(layer, tolerance)]
    words = (
        f"Within it: {inside} of {len(looked.outputs)} output{'s' if len(looked.outputs) != 1 else ''} and "
        f"{len(looked.layers) - len(far)} of {len(looked.layers)} layers"
    )
    st.caption(words + (f"; the first beyond it is {common.plain(far[0].tensor)}." if far else "."))
    return looked


def part(project: Project, run: Run) -> tuple[int | None, int | None]:
    """Which output, and which of its classes, the charts speak of; None for all."""
    names = [output.name for output in run.outputs]
    common.within("verify.output", project, chosen(project.settings["verify.output"], len(names)))
    left, right = st.columns(2)
    output = 0 if len(names) == 1 else None
    if len(names) > 1:
        with left:
            output = common.bound(
                st.selectbox,
                "Output",
                "verify.output",
                project,
                options=range(len(names)),
                format_func=lambda k: names[k],
                index=None,
                placeholder="All outputs together",
            )
    count = classes(run.outputs[output]) if output is not None else 0
    if not count:
        return output, None
    common.within("verify.class", project, chosen(project.settings["verify.class"], count))
    known = labels(project.settings["verify.labels"])
    with left if len(names) == 1 else right:
        unit = common.bound(
            st.selectbox,
            "Class",
            "verify.class",
            project,
            options=range(count),
            format_func=lambda k: class_name(k, known),
            index=None,
            placeholder=f"All {count} classes together",
        )
    return output, unit


def chosen(value: int | None, count: int) -> int | None:
    return value if value is not None and value < count else None


def by_layer(project: Project, run: Run) -> None:
    """Along the depth of the network; a click on a point leads to its row of the Mapping page."""
    if not run.layers:
        return
    event = common.chart(charts.layer_chart(run), "layers", on_select="rerun", selection_mode="points")
    clicked = next((point["customdata"][0] for point in event.selection.points if point.get("customdata")), None)
    if clicked:
        common.go("mapping", project, layer=clicked)
    st.caption("Click on a point to see the layer on the Mapping page.")
    with st.expander(f"The {len(run.layers)} layers in numbers", icon=":material/table_rows:"):
        st.dataframe(
            {
                "Layer": [r.tensor for r in run.layers],
                "Alone": [r.isolated and r.isolated.relative for r in run.layers],
                "Accumulated": [r.cumulative and r.cumulative.relative for r in run.layers],
                **from_float64([r.rounding for r in run.layers]),
                "Verdict": ["✓ agrees" if r.passed else "✕ differs" for r in run.layers],
                "At this tolerance": ["✕ beyond" if beyond(r, run.tolerance) else "✓ within" for r in run.layers],
            },
            hide_index=True,
            column_config={"Alone": SCIENTIFIC, "Accumulated": SCIENTIFIC, **FROM_FLOAT64},
        )
        layers = list(dict.fromkeys(layer.layer for layer in run.layers))
        wanted = st.selectbox("Show a layer on the Mapping page", layers, index=None, placeholder="Choose a layer")
        if wanted:
            common.go("mapping", project, layer=wanted)


def from_float64(found: Iterable[Rounding | None]) -> dict[str, list[float | None]]:
    """How far either side lies from a float64 run of the module, as columns of a table."""
    found = list(found)
    return {
        "Keras from float64": [r and r.keras for r in found],
        "PyTorch from float64": [r and r.torch for r in found],
    }


def by_output(run: Run) -> None:
    st.markdown("**Outputs**")
    measured = [measures(o.keras, o.torch) for o in run.outputs]
    more = {
        words: [m.get(name) for m in measured] for name, words in MEASURES.items() if any(name in m for m in measured)
    }
    st.dataframe(
        {
            "Output": [o.name for o in run.outputs],
            "Shape in Keras": [str(o.keras_shape) for o in run.outputs],
            "Shape in PyTorch": [str(o.torch_shape) for o in run.outputs],
            "Largest |Keras|": [o.difference.keras_max for o in run.outputs],
            "Max absolute": [o.difference.max_abs for o in run.outputs],
            "Mean absolute": [o.difference.mean_abs for o in run.outputs],
            "Max relative": [o.difference.relative for o in run.outputs],
            "At this tolerance": ["✓ agrees" if o.passed else "✕ differs" for o in run.outputs],
            **more,
            **from_float64([o.rounding for o in run.outputs]),
        },
        hide_index=True,
        column_config={
            **{name: SCIENTIFIC for name in ("Largest |Keras|", "Max absolute", "Mean absolute")},
            "Max relative": st.column_config.NumberColumn(
                format="scientific", help="Max |torch − keras| over the largest |Keras| of the output."
            ),
            **{
                words: st.column_config.NumberColumn(format="%.8f" if words == MEASURES["cosine"] else "percent")
                for words in more
            },
            **FROM_FLOAT64,
        },
    )


def samples(project: Project, run: Run) -> None:
    """One sample of the batch: what went in, and the first classes of either side."""
    count = min((len(array) for array in run.batch), default=0)
    if not count:
        return
    st.markdown("**Sample by sample**")
    common.within("verify.sample", project, min(project.settings["verify.sample"], count - 1))
    left, right = st.columns([2, 3], gap="large")
    with left:
        sample = (
            common.bound(
                st.number_input,
                f"Sample, 0 to {count - 1}",
                "verify.sample",
                project,
                min_value=0,
                max_value=count - 1,
                step=1,
            )
            if count > 1
            else 0
        )
        for index, array in enumerate(run.batch):
            went_in(array[sample], f"Input {index + 1} of {len(run.batch)}" if len(run.batch) > 1 else "The input")
    with right:
        known = labels(project.settings["verify.labels"])
        scored = False
        for output in run.outputs:
            found = predictions(output, sample) if sample < len(output.keras) else []
            if found:
                scored = True
                first = [
                    next(p.unit for p in found if rank(p) == 1)
                    for rank in (lambda p: p.keras_rank, lambda p: p.torch_rank)
                ]
                same = (
                    f"both say **{common.plain(class_name(first[0], known))}**"
                    if first[0] == first[1]
                    else f"Keras says **{common.plain(class_name(first[0], known))}**, PyTorch "
                    f"**{common.plain(class_name(first[1], known))}**"
                )
                st.markdown(
                    f"{':green[:material/check_circle:]' if first[0] == first[1] else ':red[:material/cancel:]'} "
                    f"{common.plain(output.name)}: {same}"
                )
                st.dataframe(
                    {
                        "Class": [class_name(p.unit, known) for p in found],
                        "Keras": [p.keras for p in found],
                        "PyTorch": [p.torch for p in found],
                        "Difference": [abs(p.torch - p.keras) for p in found],
                        "Rank in Keras": [p.keras_rank for p in found],
                        "Rank in PyTorch": [p.torch_rank for p in found],
                    },
                    hide_index=True,
                    column_config={
                        "Keras": st.column_config.NumberColumn(format="%.5f"),
                        "PyTorch": st.column_config.NumberColumn(format="%.5f"),
                        "Difference": SCIENTIFIC,
                    },
                )
        if scored:
            st.caption(f"The first {TOP} classes of either side.")
            common.bound(
                st.text_input,
                "Names of the classes",
                "verify.labels",
                project,
                placeholder="cat, dog, horse",
                help="In the order of the output, with commas between them.",
            )
        else:
            for output in run.outputs:
                if sample < len(output.keras) and output.keras.shape == output.torch.shape:
                    values(output.name, output.keras[sample].ravel(), output.torch[sample].ravel())


def went_in(array: Any, words: str) -> None:
    pixels = image(array)
    if pixels is not None:
        st.image(
            pixels,
            caption=f"{words}, {array.shape}",
            width=max(224, min(pixels.shape[1], 380)),
            alt=f"{words} as a picture",
        )
        return
    flat = array.ravel()
    told = ", ".join(f"{value:.4g}" for value in flat[:SHOWN]) + (" …" if flat.size > SHOWN else "")
    st.caption(f"{words}, {array.shape}")
    st.code(told, language=None, wrap_lines=True)


def values(name: str, keras: Any, torch: Any) -> None:
    st.caption(f"{common.plain(name)}: the first {min(SHOWN, keras.size)} of {keras.size} values")
    st.dataframe({"Keras": keras[:SHOWN], "PyTorch": torch[:SHOWN]}, hide_index=True, height=300)


def history(project: Project) -> None:
    """The verifications of this project, the last one first, and what changed between two of them, layer by layer."""
    past = project.past_runs()
    if len(past) < 2:
        return
    last = past[-1]
    changed = last.overrides != past[-2].overrides
    with st.expander(f"Verifications of this model: {len(past)}", icon=":material/history:", expanded=changed):
        shown = past[::-1]
        st.dataframe(
            {
                "When": [datetime.fromtimestamp(one.at) for one in shown],
                "Verdict": [f"{VERDICTS[one.verdict]} {one.verdict}" for one in shown],
                "Worst relative": [one.worst for one in shown],
                "Diverges first": [one.first_divergence or "" for one in shown],
                "Overrides": ["; ".join(one.overrides) or "none" for one in shown],
                "Command": [one.command for one in shown],
            },
            hide_index=True,
            column_config={
                "When": st.column_config.DatetimeColumn(format="D MMM, HH:mm:ss", width=120),
                "Worst relative": st.column_config.NumberColumn(format="scientific", width=110),
                "Overrides": st.column_config.TextColumn(width=330),
            },
        )
        left, right = st.columns(2)
        newest = last.id or str(last.at)
        with left:
            before = st.selectbox(
                "Compare", range(len(shown)), index=1, format_func=lambda k: named(shown[k]), key=f"before:{newest}"
            )
        with right:
            after = st.selectbox(
                "with", range(len(shown)), index=0, format_func=lambda k: named(shown[k]), key=f"after:{newest}"
            )
        if before == after:
            st.caption("Choose two different ones.")
        else:
            change(project, shown[before], shown[after])


def named(run: PastRun) -> str:
    count = len(run.overrides)
    return (
        f"{datetime.fromtimestamp(run.at):%H:%M:%S} {VERDICTS[run.verdict]} {run.verdict}, "
        f"{f'{count} overrides' if count > 1 else run.overrides[0] if count else 'no overrides'}"
    )


def change(project: Project, before: PastRun, after: PastRun) -> None:
    """From one verification to another: the overrides that came and went, and each layer's difference."""
    added, gone = (
        [o for o in after.overrides if o not in before.overrides],
        [o for o in before.overrides if o not in after.overrides],
    )
    words = (
        "; ".join([f"with {common.plain(o)}" for o in added] + [f"without {common.plain(o)}" for o in gone])
        or "with the same overrides"
    )
    st.markdown(
        f"**From the one to the other**, {words}: {before.verdict} → **{after.verdict}**, largest relative difference "
        f"{before.worst:.2g} → **{after.worst:.2g}**."
    )
    reports = project.past_report(before), project.past_report(after)
    if None in reports:
        st.caption("The numbers of an older one were not kept.")
        return
    common_runs = comparisons(*reports)
    if not common_runs:
        st.caption("They share no comparison (weights and inputs), so their layers cannot be set side by side.")
        return
    which = (
        st.selectbox(
            "On",
            common_runs,
            format_func=lambda pair: f"{pair[0]} weights, inputs {pair[1]}",
            key=f"which:{before.id}:{after.id}",
        )
        if len(common_runs) > 1
        else common_runs[0]
    )
    found = changes(*reports, which)
    st.caption(
        f"Largest relative difference of an output here: {worst_output(reports[0], which):.2g} → "
        f"{worst_output(reports[1], which):.2g}"
    )
    if not found:
        return
    common.chart(charts.change_chart(found), "changes")
    st.dataframe(
        {
            "Layer": [c.tensor for c in found],
            "Before": [c.before for c in found],
            "After": [c.after for c in found],
            "Before, alone": [c.before_alone for c in found],
            "After, alone": [c.after_alone for c in found],
        },
        hide_index=True,
        height=min(35 * len(found) + 38, 300),
        column_config={name: SCIENTIFIC for name in ("Before", "After", "Before, alone", "After, alone")},
    )
