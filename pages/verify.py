"""Verify: both frameworks on the same batch, the verdict in words, and where the first difference arises."""

from __future__ import annotations

from typing import Any

import streamlit as st

from k2t_core import charts
from k2t_core.project import Project
from k2t_core.verification.inputs import DISTRIBUTIONS
from k2t_core.verification.report import Report, Run
from pages import common

WEIGHTS = {"both": "As loaded, then randomised in a copy", "model": "As loaded", "randomised": "Randomised, in a copy"}


def main() -> None:
    project = common.project()
    plan = common.need_plan(project)
    common.heading("Verify", "Keras and the PyTorch module that was written, on the same batch, in inference mode, layer by layer.", project)
    common.show_attempt()
    if plan.problems:
        st.error("There is nothing to verify before every layer has a counterpart:\n" + "".join(f"\n- {common.plain(problem)}" for problem in plan.problems), icon=":material/block:")
        common.link("mapping", "Give PyTorch code for them on the Mapping page", project)
        return
    controls(project, plan)
    common.watch(project)
    common.job_error(project, "verify")
    report = project.report
    if report is None:
        return
    if not project.report_is_current:
        st.warning("The overrides have changed since: what follows is the result of an earlier conversion. Verify again.", icon=":material/history:")
    results(project, report)


def controls(project: Project, plan: Any) -> None:
    busy = project.job is not None and project.job.running
    own = project.settings["verify.inputs"]
    with st.container(border=True):
        batch, seed, distribution, weights, tolerance = st.columns([1, 1, 2, 2, 1])
        with batch:
            common.bound(st.number_input, "Batch size", "verify.batch", project, min_value=1, max_value=4096, step=1, disabled=own is not None)
        with seed:
            common.bound(st.number_input, "Seed", "verify.seed", project, min_value=0, step=1)
        with distribution:
            common.bound(st.selectbox, "Inputs", "verify.distribution", project, options=list(DISTRIBUTIONS), format_func=DISTRIBUTIONS.get, disabled=own is not None)
        with weights:
            common.bound(st.selectbox, "Weights", "verify.weights", project, options=list(WEIGHTS), format_func=WEIGHTS.get)
        with tolerance:
            common.bound(
                st.number_input,
                "Tolerance",
                "verify.tolerance",
                project,
                min_value=0.0,
                max_value=1.0,
                step=1e-5,
                format="%.1e",
                help="Largest allowed max |torch − keras| over max |keras| of an output. 1e-4 is a thousand float32 roundings: deep networks drift by tens of them, a wrong mapping by orders more.",
            )
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button("Verify", type="primary", icon=":material/play_arrow:", disabled=busy, on_click=start, args=(project,))
            if own is not None:
                st.button("Use random inputs", icon=":material/close:", on_click=project.set_inputs, args=(None,))
                st.markdown(f":material/dataset: Inputs from **{common.plain(own.replace(chr(92), '/').rsplit('/', 1)[-1])}**")
            else:
                with st.popover("Use my own inputs", icon=":material/dataset:"):
                    names = ", ".join(plan.root.graph.input_names)
                    st.file_uploader(f"A .npy for one input, or a .npz with an array for each of: {names}. In Keras's order of axes.", type=["npy", "npz"], key="inputs", on_change=receive, args=(project,))
            if not project.is_converted:
                st.caption("The overrides have changed since the last conversion: it is made again first." if project.has_conversion else "The model is converted first.")


def start(project: Project, weights: str | None = None) -> None:
    if weights is not None:
        project.set("verify.weights", weights)
        st.session_state.pop("setting:verify.weights", None)
    project.start_verify()


def receive(project: Project) -> None:
    upload = st.session_state["inputs"]
    if upload is not None:
        project.set_inputs(upload.name, upload)


def results(project: Project, report: Report) -> None:
    run = report.deciding
    verdict(project, report, run)
    for note in report.notes:
        st.info(common.plain(note), icon=":material/info:")
    if len(report.runs) > 1:
        labels = {index: f"{'✓' if one.passed else '✕'} {one.weights.capitalize()} weights, inputs {one.inputs}" for index, one in enumerate(report.runs)}
        picked = st.selectbox("Comparison", list(labels), index=report.runs.index(run), format_func=labels.get, key=f"run:{id(report)}")
        run = report.runs[picked]
    absolute, relative = st.columns(2)
    for column, is_relative in ((absolute, False), (relative, True)):
        with column:
            st.plotly_chart(charts.difference_histogram(run, is_relative), key=f"histogram:{is_relative}", config={"displayModeBar": False})
    if run.layers:
        st.plotly_chart(charts.layer_chart(run), key="layers", config={"displayModeBar": False})
        layers = list(dict.fromkeys(layer.layer for layer in run.layers))
        with st.expander(f"The {len(run.layers)} layers in numbers", icon=":material/table_rows:"):
            st.dataframe(
                {
                    "Layer": [r.tensor for r in run.layers],
                    "Alone": [_number(r.isolated) for r in run.layers],
                    "Accumulated": [_number(r.cumulative) for r in run.layers],
                    "": ["agrees" if r.passed else "differs" for r in run.layers],
                },
                hide_index=True,
                column_config={name: st.column_config.NumberColumn(format="scientific") for name in ("Alone", "Accumulated")},
            )
            chosen = st.selectbox("Show a layer on the Mapping page", layers, index=None, placeholder="Choose a layer")
            if chosen:
                common.go("mapping", project, layer=chosen)
    st.markdown("**Outputs**")
    st.dataframe(
        {
            "Output": [o.name for o in run.outputs],
            "Shape in Keras": [str(o.keras_shape) for o in run.outputs],
            "Shape in PyTorch": [str(o.torch_shape) for o in run.outputs],
            "Largest |Keras|": [o.difference.keras_max for o in run.outputs],
            "Max absolute": [o.difference.max_abs for o in run.outputs],
            "Mean absolute": [o.difference.mean_abs for o in run.outputs],
            "Max relative": [o.difference.relative for o in run.outputs],
            "Verdict": ["✓ agrees" if o.passed else "✕ differs" for o in run.outputs],
        },
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(format="scientific") for name in ("Largest |Keras|", "Max absolute", "Mean absolute", "Max relative")},
    )
    reference = report.reference
    st.caption(f"Inputs: {common.plain(run.inputs)}. Keras side computed by {reference.get('package', 'keras')} {reference.get('version', '')} on {reference.get('backend', '')}.")


def verdict(project: Project, report: Report, run: Run) -> None:
    worst = max((o.difference.relative for o in run.outputs), default=0.0)
    numbers = f"The largest relative difference of an output is **{worst:.2g}**; allowed is {run.tolerance:.2g} of the largest Keras value, {run.tolerance / 2**-23:,.0f} float32 roundings."
    if not report.passed:
        where = f" The first layer that diverges is **{common.plain(run.first_divergence)}**." if run.first_divergence else ""
        st.error(f"**The PyTorch model differs** with {_weights(run.weights)}.{where} {numbers}", icon=":material/cancel:")
        if run.first_divergence and st.button(f"Show {run.first_divergence} on the Mapping page", icon=":material/arrow_forward:", key="diverged"):
            common.go("mapping", project, layer=run.first_divergence)
    elif report.proves:
        kinds = list(dict.fromkeys(r.weights for r in report.runs))
        edges = len(report.runs) - len(kinds)
        more = f", on {edges} edge cases besides (see below)" if edges > 0 else ""
        st.success(f"**Both compute the same**, with {' and with '.join(map(_weights, kinds))}{more}. {numbers}", icon=":material/check_circle:")
    else:
        st.warning(f"**They agree, but this comparison proves nothing**: the weights cannot tell a right mapping from a wrong one. {numbers}", icon=":material/warning:")
    if report.weaknesses:
        told = "\n".join(f"- {common.plain(w.variable)}: {common.plain(w.reason)}" for w in report.weaknesses[:10])
        more = f"\n- and {len(report.weaknesses) - 10} more" if len(report.weaknesses) > 10 else ""
        if not report.proves:
            st.markdown(f"Weights through which a wrong transpose would look right:\n\n{told}{more}")
            st.button("Verify with randomised weights (in a copy)", type="primary", icon=":material/shuffle:", on_click=start, args=(project, "both"))
        else:
            with st.expander("The model's own weights alone would prove nothing", icon=":material/info:"):
                st.markdown(f"{told}{more}\n\nSo the evidence is the comparison with randomised weights. They were put into a copy; your model is unchanged.")


def _weights(name: str) -> str:
    return "the model's own weights" if name == "model" else "randomised weights (in a copy)"


def _number(difference) -> float | None:
    return None if difference is None else difference.relative


main()
