"""What the Mapping page shows of one layer: its lines on both sides, their documentation, activations and weights."""

from __future__ import annotations

from typing import Any

import streamlit as st

from k2t_core.errors import K2TError
from k2t_core.inspector import charts
from k2t_core.inspector.activations import BARS, LINES, MAPS
from k2t_core.inspector.weight_picture import first_element
from k2t_core.planning.plan import Row
from k2t_core.project.planned import Planned
from k2t_core.project.project import Project
from k2t_core.project.settings import LOOKED_AT
from pages.parts import common

AROUND = 3  # lines of context in the source
CHOOSER = {MAPS: "Channel", LINES: "Feature"}


def source(project: Project, plan: Planned, row: Row) -> None:
    """The Keras call, and the lines of model.py that it became, in their surroundings."""
    call = project.facts(row.call).keras
    if call is not None:
        st.caption("In Keras")
        st.code(call, wrap_lines=True)
    if plan.problems:
        return
    code = project.code
    numbers = code.by_layer.get(row.layer, [])
    if not numbers:
        st.caption("In PyTorch this layer needs no line of its own.")
        return
    st.caption(f"In PyTorch: model.py, line{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}")
    around = {near for number in numbers for near in range(number - AROUND, number + AROUND + 1)}
    st.html(common.listing(code.text, code.by_line, row.layer, only=around))


def documentation(project: Project, row: Row) -> None:
    """What the installed Keras and PyTorch say of their sides; read when it is opened."""
    if project.facts(row.call).keras is None:
        return
    folded = st.expander(
        "Documentation of both sides", icon=":material/menu_book:", key="documentation", on_change="rerun"
    )
    if not folded.open:
        return
    with folded:
        sides = zip(("Keras", "PyTorch"), project.documentation(row.call))
        for column, (side, found) in zip(st.columns(2, gap="large"), sides):
            with column:
                if not found:
                    st.caption(f"{side} has no documentation of its own for this.")
                    continue
                name = (
                    st.selectbox(
                        f"{side} name", [entry.name for entry in found], key=f"documentation:{side}:{row.call}"
                    )
                    if len(found) > 1
                    else found[0].name
                )
                st.caption(f"As installed: {common.plain(name)}")
                common.scrolling(next(entry.text for entry in found if entry.name == name), 420, name)


def activations(project: Project, row: Row) -> None:
    """What both frameworks make of the current sample in this layer, on the same input, and the difference."""
    if not project.is_probed(row.layer):
        return  # the verdict above offers to run Keras, or says why it cannot
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.markdown("**Activations on the current sample**", width="content")
        samples = project.samples(row.layer)
        sample = min(project.settings["mapping.sample"], samples - 1)
        if samples > 1:
            common.within("mapping.sample", project, sample)
            common.bound(
                st.segmented_control,
                "Sample",
                "mapping.sample",
                project,
                options=list(range(samples)),
                format_func=lambda k: f"Sample {k + 1}",
                required=True,
                label_visibility="collapsed",
            )
    try:
        outputs = project.activations(row.layer, sample)
    except K2TError:  # told above, with the verdict
        st.caption("With the override in force torch refuses this input: there is nothing to draw.")
        return
    index = (
        st.selectbox("Output of the layer", range(len(outputs)), key=f"activation:{row.call}")
        if len(outputs) > 1
        else 0
    )
    shown = outputs[index]
    if shown is None:
        st.caption("The two sides have other shapes, or nothing in them: there is nothing to compare.")
        return
    worst_plane, worst_channel = shown.worst
    plane, channel = 0, worst_channel
    if shown.kind != BARS:
        left, right = st.columns(2)
        with left:
            channel = chooser(
                CHOOSER[shown.kind], shown.channels, worst_channel, f"channel:{row.call}:{index}:{worst_channel}"
            )
        with right:
            plane = chooser("Plane", shown.planes, worst_plane, f"plane:{row.call}:{index}:{worst_plane}")
    for column, name, figure in zip(
        st.columns(3), ("keras", "torch", "difference"), charts.activation_figures(shown, plane, channel)
    ):
        with column:
            common.chart(figure, f"activation-{name}")
    where = ""
    if not shown.difference.any():
        where = " Every number is the same."
    elif shown.kind != BARS:
        where = f" The largest difference is in {CHOOSER[shown.kind].lower()} {worst_channel}" + (
            f", plane {worst_plane}." if shown.planes > 1 else "."
        )
    st.caption(
        f"This layer alone, on what Keras gives it from the first {LOOKED_AT} samples of Verify's inputs; PyTorch's "
        f"values are shown in Keras's order of axes, {shown.shape} {shown.kind}.{where}"
    )


def chooser(label: str, count: int, start: int, key: str) -> int:
    return st.slider(label, 0, count - 1, start, key=key) if count > 1 else 0


def pictures(project: Project, row: Row, drawn: list[Any]) -> None:
    """A weight before and after its transform; the reader moves a mark and sees the same element on both sides."""
    st.markdown("**The weights as pictures**")
    picked, *fields = st.columns([2, *[1] * max(len(weight.shape) for weight in drawn), 3], vertical_alignment="bottom")
    with picked:
        key = st.selectbox("Weight", [weight.key for weight in drawn], key=f"picture:{row.call}")
    weight = next(weight for weight in drawn if weight.key == key)
    element = []
    for axis, (column, size, first) in enumerate(zip(fields, weight.shape, first_element(weight))):
        with column:
            element.append(
                st.number_input(
                    f"PyTorch axis {axis}", 0, size - 1, first, key=f"element:{weight.key}:{axis}:{weight.shape}"
                )
            )
    picture = project.picture(weight.key, element)
    name = weight.source.rsplit("/", 1)[-1]
    left, middle, right = st.columns([10, 2, 10], vertical_alignment="center")
    with left:
        common.chart(
            charts.weight_figure(picture.keras, f"Keras: {name} {picture.keras.sizes}", picture.limit),
            "picture-keras",
        )
    with middle:
        st.markdown(f":material/arrow_forward:  \n**{common.plain(weight.transform)}**", text_alignment="center")
    with right:
        common.chart(
            charts.weight_figure(
                picture.torch, f"PyTorch: {key.rsplit('.', 1)[-1]} {picture.torch.sizes}", picture.limit
            ),
            "picture-torch",
        )
    value = picture.torch.values[picture.torch.mark]
    part = " The pictures show the part around it." if picture.keras.more or picture.torch.more else ""
    st.caption(
        f"Outlined on both sides: {name}{list(picture.keras.index)} = "
        f"{key.rsplit('.', 1)[-1]}{list(picture.torch.index)} = {value:.5g}.{part}"
    )
