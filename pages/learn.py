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
    asked = st.query_params.get("lesson")
    if asked in LESSONS and asked != st.session_state.get("lesson in the address"):
        project.set("learn.lesson", asked)
        st.session_state.pop("setting:learn.lesson", None)
    name = common.bound(st.pills, "Lesson", "learn.lesson", project, options=list(LESSONS), format_func=lambda n: LESSONS[n][0], label_visibility="collapsed", required=True)
    st.query_params["lesson"] = st.session_state["lesson in the address"] = name  # a link to this lesson
    title, lesson = LESSONS[name]
    st.subheader(title)
    with common.guarded():
        lesson(project)


@st.cache_data(show_spinner="Starting TensorFlow and PyTorch for the experiment…", max_entries=200)
def compute(experiment: str, **settings) -> Experiment:
    return getattr(lessons, experiment)(**settings)


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


def kernel_axes(project: Project) -> None:
    st.markdown(
        "Keras stores a convolution kernel as (height, width, in, out), PyTorch as (out, in, height, width). A plain `.T` **reverses** all axes: out and in come first, as "
        "they should, but height and width change places, and every filter is mirrored along its diagonal. With a square kernel no shape tells."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        kernel = number("Kernel", "learn.kernel.size", project, 1, 4)
        channels = number("Channels", "learn.kernel.channels", project, 1, 4)
        seed = number("Seed", "learn.kernel.seed", project, 0, 20)
    with show:
        experiment = compute("convolution_kernel", kernel=kernel, channels=channels, seed=seed)
        limit = max(float(np.abs(v).max()) for v in experiment.pictures.values())
        for column, (name, who) in zip(st.columns(3), (("keras kernel", "Keras: the first filter"), ("wrong kernel", "Wrong: all axes reversed"), ("right kernel", "Right: (3, 2, 0, 1)"))):
            with column:
                chart(charts.heat_map(experiment.pictures[name], who, limit=limit), f"kernel:{name}")
        sides(experiment, "kernel", "A kernel of one pixel has no height and width to confuse." if experiment.wrong.agrees else None)


def pooling(project: Project) -> None:
    st.markdown(
        "At the border part of the window lies outside of the image. Keras averages the values that are there; PyTorch counts the padding's zeros as values unless told not to. "
        "Inside, both agree, so a glance at the middle of a picture shows nothing. The remedy is `count_include_pad=False`."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        size = number("Size", "learn.pooling.size", project, 5, 12)
        window = common.bound(st.select_slider, "Window", "learn.pooling.window", project, options=[1, 3, 5])
        seed = number("Seed", "learn.pooling.seed", project, 0, 20)
    with show:
        experiment = compute("average_pooling", size=size, window=window, seed=seed)
        chart(charts.heat_map(experiment.pictures["row"].reshape(1, -1), "The row"), "pooling:row")
        chart(charts.heat_map(experiment.pictures["divided by"], f"By how many values Keras divides; torch divides by {window} everywhere", text=".0f", limit=window), "pooling:counts")
        sides(experiment, "pooling", "A window of one value has no border." if experiment.wrong.agrees else None)


def epsilon(project: Project) -> None:
    st.markdown(
        "BatchNormalization divides by √(variance + ε). Keras's default ε is **1e-3**, PyTorch's **1e-5**. Where the variance is large nobody notices; where it is small, "
        "as behind a deep stack of layers, the outputs are off by a good part of themselves. Keras's LayerNormalization has 1e-3 too, `nn.LayerNorm` 1e-5."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        variance = common.bound(st.select_slider, "Variance", "learn.epsilon.variance", project, options=[1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0], format_func="{:g}".format)
        seed = number("Seed", "learn.epsilon.seed", project, 0, 20)
    with show:
        sides(compute("batch_norm_epsilon", variance=variance, seed=seed), "epsilon", None)


def momentum(project: Project) -> None:
    st.markdown(
        "Both keep a moving mean while they train. Keras's **momentum** is the share that stays: mean ← 0.99 · mean + 0.01 · new. PyTorch's is the share that comes: "
        "mean ← (1 − m) · mean + m · new. Copied as it stands, 0.99 makes PyTorch forget everything but the last batch. Inference does not show it; training on does. "
        "The moving variance differs besides: PyTorch divides by n − 1, Keras by n."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        steps = number("Steps of training", "learn.momentum.steps", project, 1, 50)
        seed = number("Seed", "learn.momentum.seed", project, 0, 20)
    with show:
        experiment = compute("batch_norm_momentum", steps=steps, seed=seed)
        chart(charts.heat_map(experiment.pictures["mean of the data"][None], "Mean of the data; the moving mean starts at 0"), "momentum:data")
        sides(experiment, "momentum", None, what="moving mean")


def gru(project: Project) -> None:
    st.markdown(
        "A GRU has three gates. Keras stacks **z r h**, PyTorch **r z n**: the first two blocks must change places, and every shape fits if they do not. And there are two GRUs: "
        "with `reset_after=True` (Keras's default, the only one PyTorch has) the reset gate acts after the recurrent product and there are two biases; with `False`, before, and there is one. "
        "No arrangement of weights turns one into the other."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        after = common.bound(st.toggle, "reset_after", "learn.gru.after", project)
        reordered = common.bound(st.toggle, "Gates re-ordered", "learn.gru.reordered", project)
        units = number("Units", "learn.gru.units", project, 1, 4)
        features = number("Features", "learn.gru.features", project, 1, 4)
        steps = number("Steps", "learn.gru.steps", project, 1, 20)
        seed = number("Seed", "learn.gru.seed", project, 0, 20)
    with show:
        experiment = compute("gru_reset", units=units, features=features, steps=steps, seed=seed, reset_after=after, reordered=reordered)
        sides(experiment, "gru", "With the gates re-ordered it is the right version." if experiment.wrong.agrees else None)
        gates = [f"{gate}{k}" for gate in "zrh" for k in range(units)]
        for name in ("kernel", "recurrent_kernel", "bias"):
            chart(charts.heat_map(experiment.pictures[name], f"Keras's {name}: gates z r h in the columns", columns=gates, text=".1f"), f"gru:{name}")


def activations(project: Project) -> None:
    st.markdown(
        "Functions of one name have other defaults, or other habits around them. No weight is wrong, no shape is: only the numbers. k2t writes every argument that differs from PyTorch's default."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        name = common.bound(st.selectbox, "Activation", "learn.activation.name", project, options=list(lessons.ACTIVATIONS))
        seed = number("Seed", "learn.activation.seed", project, 0, 20)
    with show:
        experiment = compute("activation_default", name=name, seed=seed)
        st.caption(f"Keras computes {common.plain(lessons.ACTIVATIONS[name][0])} of this, a sorted and a shuffled row:")
        chart(charts.heat_map(experiment.pictures["x"], "x", text=".0f"), "activation:x")
        sides(experiment, "activation", None)


def sides(experiment: Experiment, key: str, note: str | None, what: str = "output") -> None:
    """Keras's answer, the wrong and the right version's, side by side."""
    answers = [("Keras", experiment.keras, None), ("Wrong", experiment.wrong.output, experiment.wrong), ("Right", experiment.right.output, experiment.right)]
    limit = max(float(np.abs(values).max()) for _, values, _ in answers)
    for column, (title, values, answer) in zip(st.columns(3), answers):
        with column:
            chart(charts.heat_map(values.reshape(-1, values.shape[-1]), f"{title}: {what}", limit=limit), f"{key}:{title}")
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


LESSONS = {
    "flatten": ("Flatten runs through other axes", flatten),
    "ones": ("Ones hide a wrong transpose", ones),
    "kernel": ("A kernel is not just reversed", kernel_axes),
    "same": ("SAME padding is not symmetric", same),
    "pooling": ("Average pooling at the border", pooling),
    "epsilon": ("BatchNorm: another epsilon", epsilon),
    "momentum": ("BatchNorm: momentum upside down", momentum),
    "lstm": ("LSTM: three arrays or four", lstm),
    "gru": ("GRU: gates and reset_after", gru),
    "activations": ("Activations of one name", activations),
}

main()
