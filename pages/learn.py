"""Learn: the traps between the frameworks, each computed by both of them while you watch."""

from __future__ import annotations

import numpy as np
import streamlit as st

from k2t_core import charts, lessons
from k2t_core.lessons import Answer, Experiment
from k2t_core.project import Project
from pages import common


def main() -> None:
    project = common.project()
    st.title("Learn")
    st.caption("Where Keras and PyTorch differ. Each experiment builds a Keras layer and PyTorch modules with your numbers and runs both, now.")
    tabs = st.tabs(["Flatten runs through other axes", "Ones hide a wrong transpose", "LSTM: three arrays or four", "SAME padding is not symmetric"])
    for tab, lesson in zip(tabs, (flatten, ones, lstm, same)):
        with tab, common.guarded():
            lesson(project)


@st.cache_data(show_spinner="Starting TensorFlow and PyTorch for the experiment…", max_entries=200)
def compute(name: str, **settings) -> Experiment:
    return getattr(lessons, name)(**settings)


def number(label: str, name: str, project: Project, low: int, high: int) -> int:
    return common.bound(st.slider, label, name, project, min_value=low, max_value=high)


def flatten(project: Project) -> None:
    st.markdown(
        "Keras keeps an image as height × width × **channels**, PyTorch as **channels** × height × width. `Flatten` strings the numbers up in that order, so the same image "
        "becomes another list. The `Dense` layer that follows has one row of its kernel for each place in the list. Converted row by row, each weight meets the wrong pixel: "
        "every shape fits, every number is wrong. The remedy is to re-order the rows of the kernel once, when it is converted."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        size = {part: number(part.capitalize(), f"learn.flatten.{part}", project, 1, 4) for part in ("height", "width", "channels")}
        seed = number("Seed", "learn.flatten.seed", project, 0, 20)
    with show:
        experiment = compute("flatten_order", **size, seed=seed)
        count = len(experiment.pictures["keras order"])
        for name, who in (("keras order", "Keras"), ("torch order", "PyTorch, the same image channels first")):
            picture = charts.heat_map(experiment.pictures[name][None], f"Order in which {who} flattens the values 0 to {count - 1}", limit=count, text=".0f")
            chart(picture, f"flatten:{name}")
        sides(experiment, "flatten", "With one channel, or an image of one pixel, both orders are the same: that is why such a test proves nothing." if experiment.wrong.agrees else None)


def ones(project: Project) -> None:
    st.markdown(
        "`Dense` multiplies by its kernel of shape (in, out), `nn.Linear` by the transpose of its weight of shape (out, in). If the layer is **square**, a forgotten transpose "
        "raises no error. And if all weights are **one**, as in many a quick test, the transpose changes nothing: a wrong conversion passes. Random weights tell them apart."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        size = number("Size of the kernel", "learn.ones.size", project, 2, 6)
        seed = number("Seed", "learn.ones.seed", project, 0, 20)
    with show:
        for is_ones, title in ((True, "Every weight is one"), (False, "Random weights")):
            st.markdown(f"**{title}**")
            experiment = compute("transposed_kernel", size=size, seed=seed, ones=is_ones)
            sides(experiment, f"ones:{is_ones}", "The wrong version agrees as well as the right one: this comparison proves nothing." if is_ones else None)


def lstm(project: Project) -> None:
    st.markdown(
        "An LSTM computes four gates at once, stacked in one matrix. Keras stacks **i f c o**, PyTorch **i f g o**: the same order under another name, since g is c. "
        "So no block moves; but other frameworks use other orders, and a swapped pair fits every shape. Keras has **three** arrays: kernel, recurrent_kernel, bias. "
        "PyTorch has **four**, with two biases that are added: the Keras bias goes into one, and zeros into the other."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        order = common.bound(st.selectbox, "Order of the gates in the wrong version", "learn.lstm.order", project, options=lessons.GATE_ORDERS)
        bias = common.bound(st.selectbox, "Its bias", "learn.lstm.bias", project, options=list(lessons.BIASES), format_func=lessons.BIASES.get)
        units = number("Units", "learn.lstm.units", project, 1, 4)
        features = number("Features", "learn.lstm.features", project, 1, 4)
        steps = number("Steps", "learn.lstm.steps", project, 1, 20)
        seed = number("Seed", "learn.lstm.seed", project, 0, 20)
    with show:
        experiment = compute("lstm_gates", units=units, features=features, steps=steps, seed=seed, order=order, bias=bias)
        sides(experiment, "lstm", "This choice computes the same: two halves add up to the whole bias." if experiment.wrong.agrees else None)
        keras, torch = st.columns(2)
        gates = {"Keras": [f"{g}{k}" for g in lessons.KERAS_GATES for k in range(units)], "PyTorch": [f"{g}{k}" for g in lessons.TORCH_GATES for k in range(units)]}
        picture = experiment.pictures
        limit = max(float(np.abs(v).max()) for v in picture.values())
        with keras:
            st.caption("Keras's three arrays, gates in the columns")
            for name in ("kernel", "recurrent_kernel", "bias"):
                chart(charts.heat_map(picture[name], f"{name} {picture[name].shape}", columns=gates["Keras"], limit=limit, text=".1f"), f"lstm:{name}")
        with torch:
            st.caption("PyTorch's four, transposed here to show the gates in the columns")
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
                chart(charts.heat_map(picture[name].T, f"{name} {picture[name].shape}", columns=gates["PyTorch"], limit=limit, text=".1f"), f"lstm:{name}")


def same(project: Project) -> None:
    st.markdown(
        "`padding=\"same\"` means as many outputs as size ÷ stride, rounded up. The zeros this takes may be an **odd** number. Keras then puts one more at the end; PyTorch's "
        "`padding=` puts the same number on both sides. The shapes are often equal, and every output is shifted by a pixel. The remedy is `F.pad` before the convolution."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        size = number("Size", "learn.same.size", project, 4, 12)
        kernel = number("Kernel", "learn.same.kernel", project, 1, 5)
        stride = number("Stride", "learn.same.stride", project, 1, 3)
        seed = number("Seed", "learn.same.seed", project, 0, 20)
    with show:
        experiment = compute("same_padding", size=size, kernel=kernel, stride=stride, seed=seed)
        for name, who in (("torch", "PyTorch, both sides alike"), ("keras", "Keras")):
            before, after = experiment.pictures[f"{name} pads"]
            row = experiment.pictures[f"{name} row"]
            chart(charts.heat_map(row, f"The row as padded by {who}: {before} before, {after} after", columns=["0"] * before + ["x"] * size + ["0"] * after), f"same:{name}")
        sides(experiment, "same", "With these sizes the padding is symmetric, and both agree." if experiment.wrong.agrees else None)


def sides(experiment: Experiment, key: str, note: str | None) -> None:
    """Keras's answer, the wrong and the right version's, side by side."""
    answers = [("Keras", experiment.keras, None), ("Wrong", experiment.wrong.output, experiment.wrong), ("Right", experiment.right.output, experiment.right)]
    limit = max(float(np.abs(values).max()) for _, values, _ in answers)
    for column, (title, values, answer) in zip(st.columns(3), answers):
        with column:
            chart(charts.heat_map(values.reshape(-1, values.shape[-1]), f"{title}: output", limit=limit), f"{key}:{title}")
            if answer is not None:
                judged(answer)
    if note:
        st.info(note, icon=":material/lightbulb:")


def judged(answer: Answer) -> None:
    words = f"{common.plain(answer.title)}: largest difference {answer.difference.max_abs:.2g}"
    if answer.agrees:
        st.success(f"Agrees. {words}", icon=":material/check_circle:")
    else:
        st.error(f"Differs. {words}", icon=":material/cancel:")


def chart(figure, key: str) -> None:
    st.plotly_chart(figure, key=key, config={"displayModeBar": False})


main()
