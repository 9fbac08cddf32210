"""Load: choose a model and see what it is."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import streamlit as st

from k2t_core.permissions import permissions
from k2t_core.project.bundled import examples
from k2t_core.project.planned import Planned
from k2t_core.project.project import Project
from k2t_core.words import size_text
from pages.parts import common


def main() -> None:
    project = common.project()
    common.heading(
        "Keras to PyTorch",
        "Load a Keras model, see what each layer becomes in PyTorch, change what you know better, and prove that "
        "both compute the same.",
        project,
    )
    common.show_attempt()
    open_argument(project)
    choose, show = st.columns([2, 3], gap="large")
    with choose:
        st.subheader("Choose a model")
        choices(project)
        if permissions().projects:
            recent(project)
    with show:
        common.watch(project)
        if project.is_open or not project.has_model:
            common.job_error(project, "load")
        if project.has_model:
            model_card(project)
        elif project.job is None:
            st.subheader("The model")
            st.markdown(":gray[Its inputs, outputs, layers and whatever k2t cannot convert appear here.]")


def open_argument(project: Project) -> None:
    """`k2t app MODEL` and `k2t app --example NAME` open a model in every new project."""
    arguments = sys.argv[1:]
    if project.has_model or project.job is not None or not arguments:
        return
    if arguments[0] == "--example" and len(arguments) == 2 and arguments[1] in examples().EXAMPLES:
        project.start_example(arguments[1])
    elif len(arguments) == 1 and not arguments[0].startswith("-"):
        project.start_load(arguments[0])


def choices(project: Project) -> None:
    known = examples().EXAMPLES
    busy = common.busy(project)
    names = ["Bundled example", "Upload"] + (["Path"] if permissions().paths else [])
    tabs = dict(zip(names, st.tabs(names, key="ways to load")))
    with tabs["Bundled example"]:
        name = common.bound(
            st.selectbox,
            "Example",
            "example",
            project,
            options=[None, *known],
            format_func=lambda n: known[n].title if n else "Choose an example",
            label_visibility="collapsed",
        )
        st.caption(
            known[name].description
            if name
            else "Small models with the traps of real ones, built on your machine with random weights."
        )
        st.button(
            "Load example", type="primary", disabled=name is None or busy, on_click=project.start_example, args=(name,)
        )
    with tabs["Upload"]:
        st.file_uploader(
            "A .keras or .h5 file",
            type=["keras", "h5", "hdf5"],
            key="upload",
            on_change=receive,
            args=(project,),
            disabled=busy,
        )
        st.caption(
            f"Up to {size_text(st.get_option('server.maxUploadSize') * 2**20)}."
            + (" Of a larger file, give the path." if permissions().paths else "")
        )
    if "Path" in tabs:
        with tabs["Path"], st.form("path", border=False):
            path = st.text_input(
                "Path of a file on this computer",
                placeholder="/home/me/model.keras",
                help="Read where it is: no copy is made, whatever its size.",
            )
            if st.form_submit_button("Load file", type="primary", disabled=busy) and path.strip():
                project.start_load(path.strip())
                st.rerun()
    refused = project.refused
    if refused is not None and permissions().unsafe:
        leave(project, refused, busy)


def leave(project: Project, refused: Path, busy: bool) -> None:
    """Ask for leave to run the code of the file that was refused, and of no other."""
    st.divider()
    allowed = st.toggle(
        f"{common.plain(refused.name)} may run its own Python code (Lambda)",
        key=f"leave:{project.refused_as}",
        help=f"Only where you trust who made it. It is for this file alone: SHA-256 {project.refused_as[:16]}…",
    )
    if allowed:
        st.button(
            f"Load {common.plain(refused.name)} with its code",
            type="primary",
            on_click=common.attempt,
            args=(project.start_refused,),
            disabled=busy,
        )


def recent(project: Project) -> None:
    """The projects on disk, to go on with."""
    others = [r for r in Project.recent() if r.id != project.id]
    if not others:
        return
    st.markdown("**Continue where you left off**")
    for other in others:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                common.plain(other.model),
                key=f"continue:{other.id}",
                icon=":material/history:",
                type="tertiary",
                on_click=common.attempt,
                args=(common.adopt, other.id),
            )
            count = f"{other.overrides} override{'s' if other.overrides != 1 else ''} · " if other.overrides else ""
            st.caption(f"{count}{other.age(time.time())}")
            st.button(
                "",
                key=f"forget:{other.id}",
                icon=":material/delete:",
                type="tertiary",
                help=f"Forget {common.plain(other.model)} and what was made of it",
                on_click=Project.forget,
                args=(other.id,),
            )


def receive(project: Project) -> None:
    upload = st.session_state["upload"]
    if upload is not None:
        path = project.receive(upload.name, upload)
        project.start_load(path)


def model_card(project: Project) -> None:
    plan = common.need_plan(project)
    model = plan.card
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader(common.plain(model.name), width="content")
        common.link("mapping", "See what each layer becomes", project)
    for column, (label, value) in zip(
        st.columns(4),
        {
            "Parameters": f"{model.parameters:,}",
            "Layers": f"{sum(model.kinds.values()):,}",
            "Size on disk": size_text(model.bytes),
            "Keras version": str(model.keras_version or "unknown"),
        }.items(),
    ):
        column.metric(label, value)
    if model.problems:
        st.error(
            "Not convertible as it is:\n" + "".join(f"\n- {common.plain(problem)}" for problem in model.problems),
            icon=":material/block:",
        )
        st.caption("Everything unsupported is listed. On the Mapping page you can give PyTorch code for these layers.")
    else:
        st.success("Every layer can be converted.", icon=":material/check_circle:")
    if model.code:
        st.warning(
            f"Runs Python code of its own in {', '.join(map(common.plain, model.code))}, because you allowed it.",
            icon=":material/warning:",
        )
    left, right = st.columns(2)
    with left:
        st.markdown("**Inputs and outputs**")
        sides = [("in", side) for side in model.inputs] + [("out", side) for side in model.outputs]
        st.dataframe(
            {
                "": [way for way, _ in sides],
                "Name": [s.name for _, s in sides],
                "Shape in Keras": [side.text for _, side in sides],
                "Type": [s.dtype for _, s in sides],
            },
            hide_index=True,
        )
        st.caption(f"{model.trainable:,} of {model.parameters:,} parameters are trainable. Format {model.format}.")
    with right:
        st.markdown("**Layer kinds**")
        st.dataframe(
            {"Kind": list(model.kinds), "Count": list(model.kinds.values())},
            hide_index=True,
            height="auto" if len(model.kinds) < 9 else 320,
        )
    drawing(project, plan)
    common.by_hand(project.by_hand.inspect_command(), project.by_hand.inspect_python())


def drawing(project: Project, plan: Planned) -> None:
    """Both models as a graph; a click on a layer offers its row on the Mapping page."""
    chosen = project.settings["mapping.selected"]
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown("**Graph**", width="content")
        if chosen is not None:
            common.link("mapping", f"{common.plain(chosen)} on the Mapping page", project, layer=chosen)
    common.graph(project, plan, "load", lambda call: project.set("mapping.selected", call))


main()
