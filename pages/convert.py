"""Convert: write the PyTorch model, read its source beside the Keras layers, take the files away."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import streamlit as st

from k2t_core.emit.formats import FORMATS
from k2t_core.emit.manifest import FILES
from k2t_core.project.project import Project
from k2t_core.words import size_text
from pages.parts import common

CONTENTS = {
    "model.py": "the module, in readable PyTorch",
    "model.safetensors": "its weights",
    "manifest.json": "inputs, outputs and where each weight comes from",
    "recipe.json": "your overrides, to replay",
}


def main() -> None:
    project = common.project()
    plan = common.need_plan(project)
    common.heading("Convert", "model.py needs torch and safetensors, nothing else: neither k2t nor Keras.", project)
    common.show_attempt()
    common.watch(project)
    if plan.problems:
        st.error(
            "These layers have no counterpart yet:\n"
            + "".join(f"\n- {common.plain(problem)}" for problem in plan.problems),
            icon=":material/block:",
        )
        common.link("mapping", "Give PyTorch code for them on the Mapping page", project)
        return
    current = project.is_converted
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Convert again" if current else "Convert",
            type="secondary" if current else "primary",
            icon=":material/play_arrow:",
            on_click=common.attempt,
            args=(project.start_convert,),
        )
        if current:
            st.markdown(":material/check_circle: Converted with the overrides in force.")
        elif project.has_conversion:
            st.markdown(":material/history: The overrides have changed since the last conversion.")
    common.job_error(project, "convert")
    if current:
        downloads(project)
    source(project, current)
    note = (
        "recipe.json holds your overrides: it is among the downloads, and on the Mapping page."
        if project.recipe.overrides
        else ""
    )
    common.by_hand(project.by_hand.convert_command(), project.by_hand.convert_python(), note)
    if current:
        common.link("verify", "Verify that both compute the same", project)


def downloads(project: Project) -> None:
    stem = project.model_path.stem
    with st.container(horizontal=True):
        for name in FILES:
            download(project.out / name, CONTENTS[name])
        st.download_button(
            "All in a zip",
            zipped(project.out),
            f"{stem}-pytorch.zip",
            "application/zip",
            icon=":material/folder_zip:",
            on_click="ignore",
            type="primary",
        )
        for name, format in FORMATS.items():
            if name not in project.formats:
                st.button(
                    format.title,
                    icon=":material/deployed_code:",
                    help=f"Make {format.file}, {format.proof}",
                    on_click=common.attempt,
                    args=(project.start_format, name),
                )
            else:
                download(project.formats[name], format.use)
    for name in FORMATS:
        common.job_error(project, name)


def download(path: Path, contents: str) -> None:
    st.download_button(
        f"{path.name} ({size_text(path.stat().st_size)})",
        partial(open, path, "rb"),
        path.name,
        "application/octet-stream",
        icon=":material/download:",
        help=contents,
        on_click="ignore",
    )


def zipped(folder: Path) -> Callable[[], io.BytesIO]:
    """Packed when it is asked for; weights hardly shrink, so they are stored as they are."""

    def pack() -> io.BytesIO:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in FILES:
                archive.write(folder / name, name)
        file.seek(0)
        return file

    return pack


def source(project: Project, current: bool) -> None:
    st.subheader("model.py" if current else "model.py, as it will be written")
    code = project.code
    by_line = code.by_line
    layers = list(dict.fromkeys(layer for number in sorted(by_line) for layer in by_line[number]))
    if project.settings["convert.layer"] not in layers:
        project.set("convert.layer", None)
        st.session_state["setting:convert.layer"] = None
    chosen = common.bound(
        st.selectbox,
        "Highlight the lines of a Keras layer",
        "convert.layer",
        project,
        options=layers,
        index=None,
        placeholder="None",
        width=420,
    )
    st.html(common.listing(code.text, by_line, chosen))


main()
