"""Verify: both frameworks on the same batch, the verdict in words, and where the first difference arises.

Long because the controls, the verdict and all that stands behind it are one page, read from top to bottom.
"""

from __future__ import annotations

import json
from functools import partial

import streamlit as st

from k2t_core.keras_side.batches import DISTRIBUTIONS
from k2t_core.keras_side.input_files import IMAGES
from k2t_core.project.planned import Planned
from k2t_core.project.project import Project
from k2t_core.verification.report import Cause, Report, Run
from pages.parts import common, evidence

WEIGHTS = {"both": "As loaded, then randomised in a copy", "model": "As loaded", "randomised": "Randomised, in a copy"}
OWN = ["npy", "npz", "csv", *sorted(kind.removeprefix(".") for kind in IMAGES)]


def main() -> None:
    project = common.project()
    plan = common.need_plan(project)
    common.heading(
        "Verify",
        "Keras and the PyTorch module that was written, on the same batch, in inference mode, layer by layer.",
        project,
    )
    common.show_attempt()
    if plan.problems:
        st.error(
            "There is nothing to verify before every layer has a counterpart:\n"
            + "".join(f"\n- {common.plain(problem)}" for problem in plan.problems),
            icon=":material/block:",
        )
        common.link("mapping", "Give PyTorch code for them on the Mapping page", project)
        return
    controls(project, plan)
    common.watch(project)
    common.job_error(project, "verify")
    report = project.report
    if report is not None:
        if not project.report_is_current:
            outdated(project, report)
        results(project, report)
        evidence.history(project)
    note = "" if project.is_converted else "Convert first: this compares the folder that a conversion wrote."
    common.by_hand(project.by_hand.verify_command(), project.by_hand.verify_python(), note)


def controls(project: Project, plan: Planned) -> None:
    busy = common.busy(project)
    own = project.settings["verify.inputs"]
    with st.container(border=True):
        batch, seed, distribution, weights, tolerance = st.columns([1, 1, 2, 2, 1])
        with batch:
            common.bound(
                st.number_input,
                "Batch size",
                "verify.batch",
                project,
                min_value=1,
                max_value=4096,
                step=1,
                disabled=own is not None,
            )
        with seed:
            common.bound(st.number_input, "Seed", "verify.seed", project, min_value=0, step=1)
        with distribution:
            common.bound(
                st.selectbox,
                "Inputs",
                "verify.distribution",
                project,
                options=list(DISTRIBUTIONS),
                format_func=DISTRIBUTIONS.get,
                disabled=own is not None,
            )
        with weights:
            common.bound(
                st.selectbox, "Weights", "verify.weights", project, options=list(WEIGHTS), format_func=WEIGHTS.get
            )
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
                help="Largest allowed max |torch − keras| over max |keras| of an output. 1e-4 is a thousand float32 "
                "roundings: deep networks drift by tens of them, a wrong mapping by orders more.",
            )
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            common.bound(
                st.toggle,
                "Edge cases",
                "verify.edge_cases",
                project,
                help="Compare on zeros, tiny and large numbers, a batch of 1, in the range that the model's own "
                "preprocessing implies and, where dimensions are free, on other sizes as well.",
            )
            common.bound(
                st.toggle,
                "Gradients and training mode",
                "verify.training",
                project,
                help="Compare the gradients of inputs and weights, and BatchNormalization's statistics after a step "
                "in training mode, as well.",
            )
            common.bound(
                st.number_input,
                "Search for the worst input: starts",
                "verify.search",
                project,
                min_value=0,
                max_value=100,
                step=1,
                width=260,
                help="Look for the input of largest disagreement by gradient steps from this many starts, and "
                "compare on it. 0 does not search.",
            )
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Verify", type="primary", icon=":material/play_arrow:", disabled=busy, on_click=start, args=(project,)
            )
            if own is not None:
                st.button("Use random inputs", icon=":material/close:", on_click=project.use_random_inputs)
                st.markdown(
                    f":material/dataset: Inputs from **{common.plain(own.replace(chr(92), '/').rsplit('/', 1)[-1])}**"
                )
            else:
                with st.popover("Use my own inputs", icon=":material/dataset:"):
                    names = ", ".join(plan.input_names)
                    st.markdown(
                        f"A **.npz** with an array for each of: {common.plain(names)}. Or a **.csv** with a sample in "
                        "each row, its columns named after the inputs or in order; for a model of one input also a "
                        "**.npy**, or **images**. In Keras's order of axes."
                    )
                    st.file_uploader(
                        "Your file",
                        type=OWN,
                        key="inputs",
                        accept_multiple_files=True,
                        on_change=receive,
                        args=(project,),
                        label_visibility="collapsed",
                    )
            if not project.is_converted:
                st.caption(
                    "The overrides have changed since the last conversion: it is made again first."
                    if project.has_conversion
                    else "The model is converted first."
                )


def start(project: Project, weights: str | None = None) -> None:
    if weights is not None:
        project.set("verify.weights", weights)
        st.session_state.pop("setting:verify.weights", None)
    project.start_verify()


def receive(project: Project) -> None:
    uploads = st.session_state["inputs"]
    if len(uploads) == 1:
        project.set_inputs(uploads[0].name, uploads[0])
    elif uploads:
        common.attempt(project.set_images, [(upload.name, upload) for upload in uploads])


def outdated(project: Project, report: Report) -> None:
    """The overrides are not those of the report: what was done since, and what to do now."""
    applied = next((cause for cause in report.causes if cause.recipe.overrides == project.recipe.overrides), None)
    if applied is None or report.passed:
        st.warning(
            "The overrides have changed since: what follows is the result of an earlier conversion. Verify again.",
            icon=":material/history:",
        )
        return
    with st.container(border=True):
        st.markdown(
            f":green[:material/check:] **In force now** for {common.plain(applied.layer)}: "
            f"{common.plain(applied.text)}. What follows is the result from before it: convert and verify again."
        )
        with st.container(horizontal=True):
            st.button(
                "Convert and verify again",
                type="primary",
                icon=":material/play_arrow:",
                on_click=start,
                args=(project,),
                disabled=common.busy(project),
            )
            st.button(
                "Undo this change",
                icon=":material/undo:",
                on_click=common.attempt,
                args=(project.undo,),
                disabled=not project.can_undo,
            )


def causes(project: Project, report: Report) -> None:
    """What would bring the first layer that diverges nearer to Keras, each a click away."""
    if not report.causes:
        return
    current = project.report_is_current
    st.markdown("**Likely causes**")
    for index, cause in enumerate(report.causes):
        with st.container(border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(cause_text(cause), width="stretch")
            st.button(
                "Apply this change",
                key=f"cause:{index}",
                type="primary" if current and index == 0 else "secondary",
                disabled=not current,
                on_click=common.attempt,
                args=(project.apply, cause.recipe),
            )


def cause_text(cause: Cause) -> str:
    verdict = (
        ":green[:material/check_circle:] Explains the difference"
        if cause.explains
        else ":orange[:material/trending_down:] Comes nearer"
    )
    text = cause.text.replace(f" {cause.layer}: ", " ")  # an override names its layer once more
    return (
        f"**{common.plain(cause.layer)}**: {common.plain(text)}  \n{verdict}: the layer's error falls from "
        f"**{cause.before.relative:.2g}** to **{cause.after.relative:.2g}**"
    )


def effects(report: Report) -> None:
    """Each override against the default, on Keras's own input to its layer."""
    if not report.effects:
        return
    with st.expander(
        f"What the overrides do: {len(report.effects)}",
        icon=":material/balance:",
        expanded=not all(e.agrees for e in report.effects),
    ):
        st.dataframe(
            {
                "Override": [e.override.describe() for e in report.effects],
                "Reason": [e.override.reason for e in report.effects],
                "Error with it": [e.chosen and e.chosen.relative for e in report.effects],
                "By default": [e.default and e.default.relative for e in report.effects],
                "Verdict": [
                    ("✓ agrees" if e.agrees else "✕ differs") + (f" ({e.note})" if e.note else "")
                    for e in report.effects
                ],
            },
            hide_index=True,
            column_config={
                name: st.column_config.NumberColumn(format="scientific") for name in ("Error with it", "By default")
            },
        )


def training(report: Report) -> None:
    """Gradients and statistics of training mode, those that differ first."""
    if not report.training:
        return
    wrong = [result for result in report.training if not result.passed]
    if wrong:
        told = "".join(
            f"\n- {common.plain(r.what)} {common.plain(r.name)}: relative difference {r.difference.relative:.2g}"
            for r in wrong[:5]
        )
        more = f"\n- and {len(wrong) - 5} more, in the table" if len(wrong) > 5 else ""
        st.error(
            f"**{len(wrong)} of {len(report.training)} comparisons in training differ:**\n{told}{more}",
            icon=":material/cancel:",
        )
    title = f"Gradients and training mode: {len(report.training) - len(wrong)} of {len(report.training)} agree"
    with st.expander(title, icon=":material/model_training:"):
        ordered = sorted(report.training, key=lambda r: (r.passed, -r.difference.relative))
        st.dataframe(
            {
                "Compared": [r.what for r in ordered],
                "Of": [r.name for r in ordered],
                "Max absolute": [r.difference.max_abs for r in ordered],
                "Max relative": [r.difference.relative for r in ordered],
                "Verdict": ["✓ agrees" if r.passed else "✕ differs" for r in ordered],
            },
            hide_index=True,
            column_config={
                name: st.column_config.NumberColumn(format="scientific") for name in ("Max absolute", "Max relative")
            },
        )


def downloads(project: Project, report: Report) -> None:
    stem = project.model_path.stem
    with st.container(horizontal=True):
        page = partial(one_page, project, report)
        current = project.report_is_current
        why = (
            "Everything the verdict rests on, in one self-contained page."
            if current
            else "The conversion has changed since this verification: verify again."
        )
        st.download_button(
            "HTML report",
            page,
            f"{stem}-verification.html",
            "text/html",
            icon=":material/download:",
            help=why,
            disabled=not current,
            on_click="ignore",
        )
        st.download_button(
            "report.json",
            partial(as_data, project, report),
            "report.json",
            "application/json",
            icon=":material/download:",
            help="The same, for programs.",
            disabled=not current,
            on_click="ignore",
        )


def one_page(project: Project, report: Report) -> str:
    from k2t_core.inspector.html_report import html_report

    return html_report(report, project.out, project.by_hand.verify_command())


def as_data(project: Project, report: Report) -> str:
    from k2t_core.inspector.html_report import facts

    return json.dumps(facts(report, project.out, project.by_hand.verify_command()), indent=2, ensure_ascii=False)


def results(project: Project, report: Report) -> None:
    verdict(project, report, report.worst_run)
    weights(report)
    unseen(report)
    causes(project, report)
    effects(report)
    training(report)
    for note in report.notes:
        st.info(common.plain(note), icon=":material/info:")
    evidence.evidence(project, report)
    reference = report.reference
    st.caption(
        f"Inputs: {common.plain(report.deciding.inputs)}. Keras side computed by {reference.get('package', 'keras')} "
        f"{reference.get('version', '')} on {reference.get('backend', '')}, {common.plain(report.execution)}."
    )
    downloads(project, report)


def verdict(project: Project, report: Report, run: Run) -> None:
    worst = run.worst
    numbers = (
        f"The largest relative difference of an output is **{worst.difference.relative:.2g}**; allowed is "
        f"{worst.allowed(run.tolerance):.2g} of the largest Keras value, {run.tolerance / 2**-23:,.0f} "
        f"{worst.keras.dtype.name} roundings."
    )
    if run.why_worst:
        numbers += f" {common.plain(run.why_worst[0].upper() + run.why_worst[1:])}."
    if report.computes_the_same and not report.weights.passed:
        st.error(
            f"**The weights are not those of the Keras model**, though on what was compared both compute "
            f"the same. {numbers}",
            icon=":material/cancel:",
        )
    elif not report.passed:
        layer = report.first_divergence
        when = f", {report.diverges_from}" if report.diverges_from else ""
        where = f" The first layer that diverges is **{common.plain(layer)}**{when}." if layer else ""
        if run.passed:
            st.error(
                f"**The PyTorch model differs in training**; in inference it agrees.{where} {numbers}",
                icon=":material/cancel:",
            )
        else:
            st.error(
                f"**The PyTorch model differs** with {_weights(run.weights)}.{where} {numbers}",
                icon=":material/cancel:",
            )
        if layer and st.button(
            f"Show {common.plain(layer)} on the Mapping page", icon=":material/arrow_forward:", key="diverged"
        ):
            common.go("mapping", project, layer=layer)
    elif report.proves:
        kinds = list(dict.fromkeys(r.weights for r in report.runs))
        edges = len(report.runs) - len(kinds)
        more = f", on {edges} other {'batch' if edges == 1 else 'batches'} besides (see below)" if edges > 0 else ""
        st.success(
            f"**Both compute the same**, with {' and with '.join(map(_weights, kinds))}{more}. {numbers}",
            icon=":material/check_circle:",
        )
    else:
        st.warning(
            "**They agree, but this comparison proves nothing**: the weights cannot tell a right mapping from a "
            f"wrong one. {numbers}",
            icon=":material/warning:",
        )
    if report.weaknesses:
        told = "\n".join(f"- {common.plain(w.variable)}: {common.plain(w.reason)}" for w in report.weaknesses[:10])
        more = f"\n- and {len(report.weaknesses) - 10} more" if len(report.weaknesses) > 10 else ""
        if not report.proves:
            st.markdown(f"Weights through which a wrong transpose would look right:\n\n{told}{more}")
            st.button(
                "Verify with randomised weights (in a copy)",
                type="primary",
                icon=":material/shuffle:",
                on_click=start,
                args=(project, "both"),
            )
        else:
            with st.expander("The model's own weights alone would prove nothing", icon=":material/info:"):
                st.markdown(
                    f"{told}{more}\n\nSo the evidence is the comparison with randomised weights. They were put into a "
                    "copy; your model is unchanged."
                )


def weights(report: Report) -> None:
    """The first of the two proofs, which needs no numbers of either framework."""
    proof = report.weights
    st.markdown(
        f":{'green' if proof.passed else 'red'}[:material/{'check_circle' if proof.passed else 'cancel'}:] "
        f"**Weights**: {common.plain(proof.describe())}."
    )
    if len(proof.unequal) > 1:
        with st.expander(f"All {len(proof.unequal)} entries that are not equal"):
            st.markdown("\n".join(f"- {common.plain(one.describe())}" for one in proof.unequal[:100]))


def unseen(report: Report) -> None:
    """The layers of which the second proof says nothing."""
    if report.unseen:
        told = "".join(
            f"\n- {common.plain(layer)}: {common.plain(why)}" for layer, why in list(report.unseen.items())[:10]
        )
        more = f"\n- and {len(report.unseen) - 10} more" if len(report.unseen) > 10 else ""
        st.warning(
            "**No evidence for these layers**: in all that was compared, nearly any weights would have given the "
            f"same. Compare with randomised weights and random inputs as well.\n{told}{more}",
            icon=":material/visibility_off:",
        )


def _weights(name: str) -> str:
    return "the model's own weights" if name == "model" else "randomised weights (in a copy)"


main()
