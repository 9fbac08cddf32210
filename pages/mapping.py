"""Mapping: what each layer becomes, why, and every way to overrule it.

Long because table, layer, duel and recipe are parts of one page and act on the same chosen layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from k2t_core.errors import K2TError
from k2t_core.inspector import charts
from k2t_core.inspector.mapping_rows import matching
from k2t_core.inspector.weight_picture import is_drawable
from k2t_core.permissions import permissions
from k2t_core.planning.plan import Row, weight_text
from k2t_core.project.planned import Planned
from k2t_core.project.project import Project
from k2t_core.project.settings import LOOKED_AT, SETTINGS
from k2t_core.recipe import Recipe, parsed_recipe
from k2t_core.rules.registry import AMBIGUOUS, CUT_OFF, EXACT, INERT, UNSUPPORTED
from pages.parts import common, layer_view, override

# A shape and a word beside every colour, so that none of them is needed to tell two apart.
STATUS = {
    EXACT: ("✓", ":material/check:", "green", "one reading, and k2t has it"),
    AMBIGUOUS: ("◆", ":material/alt_route:", "orange", "more than one defensible reading: look at the alternatives"),
    INERT: ("–", ":material/remove:", "gray", "does nothing in inference"),
    UNSUPPORTED: ("✕", ":material/block:", "red", "k2t has no counterpart: give PyTorch code, or cut it off"),
    CUT_OFF: ("✂", ":material/content_cut:", "gray", "left to the data pipeline: the model starts with what it gives"),
}
FILTERS = ("mapping.text", "mapping.type", "mapping.status", "mapping.overridden")
NESTED = "\u2003"


def main() -> None:
    project = common.project()
    plan = common.need_plan(project)
    common.heading(
        "Mapping",
        "A row for each Keras layer and operation, with what it becomes in PyTorch. Select a row to see why and to "
        "overrule it.",
        project,
    )
    common.show_attempt()
    found = plan.rows
    from_the_address(project, found)
    drawing(project, plan)
    shown = filtered(project, found)
    table(project, shown, nested=len(shown) == len(found))
    chosen = next((row for row in found if row.call == project.settings["mapping.selected"]), None)
    into_the_address(chosen)
    if chosen is None:
        st.markdown(":gray[Select a row of the table to see its mapping.]")
    else:
        detail(project, plan, chosen)
    st.divider()
    recipe(project, plan)
    python = project.by_hand.inspect_python()
    if chosen is not None and is_layer(chosen):
        python += f"\n\n# {chosen.layer} alone, on Keras's own input\n" + project.by_hand.judge_python(chosen.layer)
    note = "recipe.json holds your overrides: k2t convert takes it with --recipe." if project.recipe.overrides else ""
    common.by_hand(project.by_hand.inspect_command(), python, note)


def from_the_address(project: Project, found: Sequence[Row]) -> None:
    """A link to a layer is followed once, and so is the browser's Back; then the table decides."""
    asked = st.query_params.get("layer")
    if "duel" in st.query_params:  # from a lesson
        common.within("mapping.duel", project, True)
        del st.query_params["duel"]
    if asked is None or asked == st.session_state.get("layer in the address"):
        return
    row = next((row for row in found if row.call == asked), None) or next(
        (row for row in found if row.layer == asked), None
    )
    if row is None:
        st.warning(f"This model has no layer {common.plain(asked)}.", icon=":material/link_off:")
    elif row.call != project.settings["mapping.selected"]:
        select(project, row.call)
        for name in FILTERS:
            common.within(name, project, SETTINGS[name])


def into_the_address(chosen: Row | None) -> None:
    """The selected row, so that the address is a link to it."""
    call = chosen.call if chosen is not None else None
    if st.query_params.get("layer") != call:
        if call is None:
            del st.query_params["layer"]
        else:
            st.query_params["layer"] = call
    st.session_state["layer in the address"] = call


def is_layer(row: Row) -> bool:
    """Whether the row has a counterpart that can be compared with Keras."""
    return row.type != "InputLayer" and row.status not in (UNSUPPORTED, CUT_OFF)


def select(project: Project, call: str | None) -> None:
    """Select a row from outside of the table: the table is made anew, with this row as its first selection."""
    project.set("mapping.selected", call)
    st.session_state["mapping.version"] = st.session_state.get("mapping.version", 0) + 1


def drawing(project: Project, plan: Planned) -> None:
    """Both models as a graph: its selection is the table's."""
    common.bound(
        st.toggle,
        "Graph",
        "mapping.graph",
        project,
        help="Both models drawn together. A click on a layer selects its row; a row that you select is shown in the "
        "graph.",
    )
    if project.settings["mapping.graph"]:
        common.graph(project, plan, "mapping", lambda call: select(project, call), height=440, reveal=True)


def filtered(project: Project, found: Sequence[Row]) -> list[Row]:
    text, kind, status, overridden = st.columns([2.4, 1.8, 2.8, 2], vertical_alignment="center")
    with text:
        words = common.bound(
            st.text_input,
            "Search",
            "mapping.text",
            project,
            placeholder="Search names, types, shapes, weights",
            label_visibility="collapsed",
        )
    with kind:
        types = list(dict.fromkeys(row.type for row in found))
        common.keep_known("mapping.type", project, types)
        wanted = common.bound(
            st.multiselect,
            "Type",
            "mapping.type",
            project,
            options=types,
            placeholder="All types",
            label_visibility="collapsed",
        )
    with status:
        present = [s for s in STATUS if any(row.status == s for row in found)]
        common.keep_known("mapping.status", project, present)
        kinds = common.bound(
            st.pills,
            "Status",
            "mapping.status",
            project,
            options=present,
            selection_mode="multi",
            format_func=lambda s: f"{STATUS[s][0]} {s} {sum(r.status == s for r in found)}",
            label_visibility="collapsed",
        )
    with overridden:
        only = common.bound(st.toggle, "Overridden", "mapping.overridden", project)
    return matching(found, words, wanted, kinds, only)


def table(project: Project, shown: list[Row], nested: bool) -> None:
    """The rows.

    nested: with the layers of a model inside the model indented below it, which a filter would tear apart.
    """
    if not shown:
        st.info("No row matches the filter.", icon=":material/filter_alt_off:")
        return
    calls = [row.call for row in shown]
    selected = project.settings["mapping.selected"]
    version = st.session_state.get("mapping.version", 0)
    key = f"mapping.table.{version}.{hash(tuple(calls))}"

    def changed() -> None:
        chosen = st.session_state[key].selection.rows
        if version == st.session_state.get(
            "mapping.version", 0
        ):  # the browser may still send what was selected in a table that is gone
            project.set("mapping.selected", calls[chosen[0]] if chosen else None)

    column = st.column_config.TextColumn
    st.dataframe(
        {
            "Status": [
                f"{STATUS[row.status][0]} {row.status}" + (" · overridden" if row.overrides else "") for row in shown
            ],
            "Keras layer": [indented(row.call) if nested else row.call for row in shown],
            "Keras type": [row.type for row in shown],
            "Keras output": [_output(row.keras_shape, row.keras_layout) for row in shown],
            "PyTorch module": [row.module for row in shown],
            "PyTorch output": [_output(row.torch_shape, row.torch_layout) for row in shown],
            "Weights: Keras → PyTorch": ["; ".join(map(weight_text, row.weights)) for row in shown],
        },
        hide_index=True,
        height=min(35 * len(shown) + 38, 430),
        column_config={
            "Status": column(
                width=105,
                help="\n\n".join(f"{mark} **{name}**: {meaning}" for name, (mark, _, _, meaning) in STATUS.items()),
            ),
            "Keras layer": column(width=115),
            "Keras type": column(width=95),
            "Keras output": column(width=160, help="Shape and order of axes; N is the batch."),
            "PyTorch module": column(width=270),
            "PyTorch output": column(width=155, help="Shape and order of axes; N is the batch."),
            "Weights: Keras → PyTorch": column(width=480),
        },
        key=key,
        on_select=changed,
        selection_mode="single-row",
        selection_default={"selection": {"rows": [calls.index(selected)] if selected in calls else []}},
    )
    at = calls.index(selected) if selected in calls else None
    with st.container(horizontal=True, vertical_alignment="center"):
        # The grid lets nobody select a row by keyboard.
        st.button(
            "Previous row",
            icon=":material/arrow_upward:",
            shortcut="Alt+Up",
            disabled=not at,
            on_click=step,
            args=(project, calls, -1),
        )
        st.button(
            "Next row",
            icon=":material/arrow_downward:",
            shortcut="Alt+Down",
            disabled=at == len(calls) - 1,
            on_click=step,
            args=(project, calls, 1),
        )
        st.caption(f"Row {at + 1} of {len(calls)}" if at is not None else f"{len(calls)} rows")


def step(project: Project, calls: list[str], by: int) -> None:
    """From the row that is selected now: a key held down presses the button of an earlier run of the page again."""
    selected = project.settings["mapping.selected"]
    at = calls.index(selected) if selected in calls else -1
    select(project, calls[min(max(at + by, 0), len(calls) - 1)])


def indented(call: str) -> str:
    """``encoder/conv`` below ``encoder``."""
    *above, name = call.split("/")
    return f"{NESTED * (len(above) - 1)}└ {name}" if above else name


def detail(project: Project, plan: Planned, row: Row) -> None:
    mark, icon, colour, meaning = STATUS[row.status]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"{common.plain(row.call)} :gray[{common.plain(row.type)}]", width="content")
        st.badge(row.status, icon=icon, color=colour, help=meaning)
        for kind in (o.kind for o in row.overrides):
            st.badge(f"overridden: {kind}", icon=":material/edit:", color="violet")
    left, right = st.columns([3, 2], gap="large")
    with left:
        if row.why:
            st.markdown(common.plain(row.why))
        if row.keras_formula or row.torch_formula:
            keras, torch = st.columns(2)
            with keras:
                st.caption("Keras computes")
                st.code(row.keras_formula or "—", language=None, wrap_lines=True)
            with torch:
                st.caption("PyTorch computes")
                st.code(row.torch_formula or "—", language=None, wrap_lines=True)
        if row.weights:
            st.caption("Weights")
            st.dataframe(
                {
                    "Keras variable": [w.source or "(none)" for w in row.weights],
                    "Shape": [str(w.keras_shape) if w.keras_shape is not None else "" for w in row.weights],
                    "Transform": [w.transform for w in row.weights],
                    "state_dict key": [w.key for w in row.weights],
                    "Shape in PyTorch": [str(w.shape) for w in row.weights],
                },
                hide_index=True,
            )
        if is_layer(row):
            numbers(project, plan, row)
        layer_view.source(project, plan, row)
    with right:
        st.markdown("**Overrule this mapping**")
        if row.type == "InputLayer":
            st.caption("An input has nothing to overrule.")
        elif row.status == CUT_OFF:
            st.button("Put it back", icon=":material/undo:", on_click=common.attempt, args=(put_back, project, row))
        else:
            override.controls(project, row, show_layer)
    layer_view.documentation(project, row)
    if is_layer(row):
        layer_view.activations(project, row)
        duel(project, row)
    drawn = [weight for weight in row.weights if is_drawable(weight)]
    if drawn:
        layer_view.pictures(project, row, drawn)


def numbers(project: Project, plan: Planned, row: Row) -> None:
    """What this layer computes against Keras, by itself and in the whole model, with the overrides in force."""
    st.caption("The numbers, with the overrides in force")
    alone(project, row)
    if plan.problems:
        return
    common.watch(project, "verify")
    if not project.report_is_current:
        common.job_error(project, "verify")
        st.button(
            "Verify the whole model", icon=":material/play_arrow:", key="verify-here", on_click=project.start_verify
        )
        return
    report = project.report
    run = report.deciding
    if run.passed and not report.passed:
        st.markdown(
            ":red[:material/cancel:] In inference the whole model agrees, in training it **differs**, at "
            f"**{common.plain(str(report.first_divergence))}**."
        )
    elif run.passed:
        st.markdown(
            ":green[:material/check_circle:] The whole model agrees."
            if report.proves
            else ":orange[:material/warning:] The whole model agrees, which with these weights proves nothing."
        )
    elif run.first_divergence == row.layer:
        st.markdown(":red[:material/cancel:] The whole model **differs**, from this layer on.")
    else:
        where = f", first at **{common.plain(run.first_divergence)}**" if run.first_divergence else ""
        st.markdown(f":red[:material/cancel:] The whole model **differs**{where}.")


def alone(project: Project, row: Row) -> None:
    """The layer's own verdict, on what Keras gives it: a few hundredths of a second once Keras has run for it."""
    if not (project.is_quick or project.is_probed(row.layer)):
        if row.overrides and not common.came_to_nothing(project, "probe"):
            project.start_probe(row.layer)
        common.watch(project, "probe")
        common.job_error(project, "probe")
        st.button(
            "Compare this layer",
            icon=":material/play_arrow:",
            help="Keras runs the model once; then every change of this layer is judged at once.",
            on_click=project.start_probe,
            args=(row.layer,),
        )
        return
    try:
        verdict = project.judge(row.layer)
    except K2TError as error:
        st.markdown(f":gray[:material/info:] {common.plain(str(error))}")
        return
    difference = verdict.difference
    if not verdict.passed:
        numbers = verdict.shapes or f"relative difference **{common.amount(difference)}**"
        st.markdown(f":red[:material/cancel:] This layer alone **differs**: {numbers}.")
        return
    st.markdown(
        f":green[:material/check_circle:] This layer alone agrees: relative difference {common.amount(difference)}."
    )
    weak = project.weak(row.layer)
    if weak is not None:
        st.caption(
            f"Its weights could hide a wrong mapping ({common.plain(weak)}). Verify compares with randomised ones as "
            "well."
        )


def duel(project: Project, row: Row) -> None:
    """Two readings of a layer on identical inputs, with their code and their error."""
    common.bound(st.toggle, "Duel: two readings on the same input", "mapping.duel", project)
    if not project.settings["mapping.duel"]:
        return
    try:
        readings = {"in force": project.recipe, **dict(project.readings(row.layer))}
    except K2TError as error:
        st.markdown(f":gray[:material/info:] {common.plain(str(error))}")
        return
    if len(readings) == 1:
        st.caption("k2t knows no other reading of this layer.")
        return
    results, chosen = [], []
    for index, (column, side) in enumerate(zip(st.columns(2, gap="large", border=True), ("One", "The other"))):
        with column:
            text = st.selectbox(
                side, list(readings), index=index, key=f"duel:{index}:{row.layer}:{hash(tuple(readings))}"
            )
            chosen.append(readings[text])
            results.append(duellist(project, row, readings[text], f"{index}"))
    one, other = results
    if one is not None and one == other:
        st.markdown(":material/balance: On this input both are equally near to Keras.")
    elif one is not None and other is not None:
        nearer = "one" if one < other else "other"
        factor = max(one, other) / min(one, other) if min(one, other) else float("inf")
        words = "and it is exact" if factor == float("inf") else f"by a factor of {factor:,.3g}"
        st.markdown(f":material/trophy: The **{nearer}** is nearer to Keras, {words}.")
    if None not in results and chosen[0] != chosen[1]:
        later(project, row, *chosen)


def later(project: Project, row: Row, one: Recipe, other: Recipe) -> None:
    """What either reading does to the error of each later layer, before one is chosen."""
    common.watch(project, "duel")
    common.job_error(project, "duel")
    found = project.followed(row.layer, one, other)
    if found is None:
        busy = common.busy(project)
        st.button(
            "Follow both through the later layers",
            icon=":material/conversion_path:",
            disabled=busy,
            on_click=project.start_duel,
            args=(row.layer, one, other),
        )
        return
    common.chart(charts.change_chart(found, ("the one", "the other")), "duel-later")
    scientific = st.column_config.NumberColumn(format="scientific")
    st.dataframe(
        {
            "Layer": [c.tensor for c in found],
            "The one": [c.before for c in found],
            "The other": [c.after for c in found],
            "Change": [c.factor for c in found],
        },
        hide_index=True,
        height=min(35 * len(found) + 38, 300),
        column_config={
            "The one": scientific,
            "The other": scientific,
            "Change": st.column_config.NumberColumn(
                format="compact", help="The error with the other, over that with the one"
            ),
        },
    )
    st.caption(
        f"Accumulated relative difference at {common.plain(row.call)} and each later layer, the whole model on the "
        f"first {LOOKED_AT} samples."
    )


def duellist(project: Project, row: Row, recipe: Recipe, key: str) -> float | None:
    """One side of a duel; returns its relative difference, None where torch refuses it."""
    try:
        found = project.duellist(row.layer, recipe)
    except K2TError as error:
        st.error(common.plain(str(error)), icon=":material/block:")
        return None
    verdict = found.verdict
    st.code("\n".join(found.lines) or "# nothing", wrap_lines=True)
    difference = verdict.difference
    words = verdict.shapes or f"relative difference **{common.amount(difference)}**, largest {difference.max_abs:.2g}"
    st.markdown(
        f":green[:material/check_circle:] Agrees: {words}"
        if verdict.passed
        else f":red[:material/cancel:] Differs: {words}"
    )
    if recipe.overrides != project.recipe.overrides:
        st.button(
            "Put this in force",
            key=f"duel-apply:{key}",
            icon=":material/done:",
            on_click=common.attempt,
            args=(project.apply, recipe),
        )
    return difference.relative


def recipe(project: Project, plan: Planned) -> None:
    in_force = project.recipe.overrides
    st.subheader(f"Overrides in force: {len(in_force)}")
    with st.container(horizontal=True):
        st.button(
            "Reset all",
            icon=":material/restart_alt:",
            disabled=not in_force,
            on_click=common.attempt,
            args=(project.reset,),
        )
        st.download_button(
            "recipe.json",
            plan.recipe,
            "recipe.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
        )
        with st.popover("Use a recipe", icon=":material/upload:"):
            st.file_uploader(
                "A recipe.json. Of one made for another model, what fits is taken.",
                type=["json"],
                key="recipe",
                on_change=import_recipe,
                args=(project,),
            )
    left_out()
    code_in_recipe(project)
    for index, one in enumerate(in_force):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Take back",
                key=f"take-back:{index}",
                help=f"Undo {one.describe()}",
                on_click=common.attempt,
                args=(project.take_back, one),
            )
            st.button(
                one.layer,
                key=f"show:{index}",
                type="tertiary",
                help="Show this layer",
                on_click=show_layer,
                args=(project, one.layer),
            )
            words = replace(one, layer="").describe().removeprefix(": ")
            st.markdown(f"{common.plain(words)}" + (f" :gray[· {common.plain(one.reason)}]" if one.reason else ""))
    if in_force:
        common.link("verify", "Verify what these overrides do to the numbers", project)


def put_back(project: Project, row: Row) -> None:
    project.take_back(row.overrides[0])
    show_layer(project, row.layer)


def show_layer(project: Project, layer: str) -> None:
    select(project, next((row.call for row in project.plan.rows if row.layer == layer), None))


WAITING = "recipe that waits"


def import_recipe(project: Project) -> None:
    upload = st.session_state["recipe"]
    if upload is not None:
        common.attempt(lambda: take_recipe(project, upload.getvalue()))


def take_recipe(project: Project, text: bytes, trusted: bool = False) -> None:
    """Put a recipe in force; one that holds code waits for the user's word. Raises OverrideError."""
    st.session_state.pop(WAITING, None)
    if parsed_recipe(text).snippets and not trusted and permissions().snippets:
        st.session_state[WAITING] = (project.id, text)
    else:
        st.session_state["left out"] = project.import_recipe(text)


def code_in_recipe(project: Project) -> None:
    """The code of a recipe that was uploaded, before any of it runs."""
    owner, text = st.session_state.get(WAITING, (None, None))
    if owner != project.id:
        return
    st.warning(
        "This recipe holds Python code. It runs on this machine as soon as the recipe is in force: read it, and use "
        "it only if you trust who wrote it.",
        icon=":material/gpp_maybe:",
    )
    for one in parsed_recipe(text).snippets:
        st.caption(f"{common.plain(one.layer)}{' · ' + common.plain(one.reason) if one.reason else ''}")
        st.code(one.value, language="python")
    with st.container(horizontal=True):
        st.button(
            "Use it with its code",
            icon=":material/done:",
            on_click=common.attempt,
            args=(take_recipe, project, text, True),
        )
        st.button("Leave it", icon=":material/close:", on_click=st.session_state.pop, args=(WAITING, None))


def left_out() -> None:
    """What the import that led to this run could not take over, once."""
    left = st.session_state.pop("left out", None)
    if left:
        reasons = "".join(f"\n- {common.plain(reason)}" for reason in left)
        st.warning(
            f"The recipe was made for another model. What fits this one is in force; left out:\n{reasons}",
            icon=":material/rule:",
        )


def _output(shape: str, layout: str) -> str:
    return f"{shape} {layout}".strip()


main()
