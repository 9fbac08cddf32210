"""Learn: the traps between the frameworks, each computed by both of them while you watch.

Long because each lesson is shown in a function of its own, with its controls and its words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import streamlit as st

from k2t_core.inspector import charts, lessons
from k2t_core.inspector.exercise import Exercise
from k2t_core.inspector.lessons import LESSONS, OUTCOMES, Answer, Experiment
from k2t_core.project.by_hand import lesson_python
from k2t_core.project.project import Project
from k2t_core.project.settings import SETTINGS
from k2t_core.rules import registry
from pages.parts import common

BREAK = "break"


def main() -> None:
    project = common.project()
    text = (
        "Where Keras and PyTorch differ. Each experiment builds a Keras layer and PyTorch modules with your numbers "
        "and runs both, now. Predict first, then look."
    )
    common.heading("Learn", text, project)
    common.show_attempt()
    from_the_address(project)
    titles = {name: lesson.title for name, lesson in LESSONS.items()} | {BREAK: "Break it: find the fault"}
    name = common.bound(
        st.pills,
        "Lesson",
        "learn.lesson",
        project,
        options=list(titles),
        format_func=titles.get,
        label_visibility="collapsed",
        required=True,
    )
    st.subheader(titles[name])
    if name == BREAK:
        with common.guarded():
            exercise(project)
    else:
        with common.guarded():
            SHOWN[name](project)
            by_hand()
        of_your_model(project, LESSONS[name].kinds)
    into_the_address(project, name)


def settings_of(lesson: str) -> dict[str, str]:
    """Name in the address → setting, of a lesson: what a teacher's link carries."""
    return (
        {}
        if lesson == BREAK
        else {setting.rsplit(".", 1)[-1]: setting for setting in SETTINGS if setting.startswith(f"learn.{lesson}.")}
    )


def from_the_address(project: Project) -> None:
    """A link to a lesson, and to a state of it, is followed once: then the page's own widgets decide."""
    asked = {name: value for name, value in st.query_params.items() if name != "project"}
    lesson = asked.get("lesson")
    if asked == st.session_state.get("lesson in the address") or lesson not in (*LESSONS, BREAK):
        return
    changed = {
        "learn.lesson": lesson,
        **{
            setting: parsed(asked[name], SETTINGS[setting])
            for name, setting in settings_of(lesson).items()
            if name in asked
        },
    }
    for setting, value in changed.items():
        if value is not None:
            project.set(setting, value)
            st.session_state.pop(f"setting:{setting}", None)


def parsed(text: str, default: Any) -> Any:
    """A value of the address in the type of the setting; None for what is none."""
    if isinstance(default, bool):
        return {"True": True, "False": False}.get(text)
    try:
        return type(default)(text)
    except ValueError:
        return None


def into_the_address(project: Project, lesson: str) -> None:
    """The lesson as it stands, so that the address is a link to it."""
    changed = {
        name: str(project.settings[setting])
        for name, setting in settings_of(lesson).items()
        if project.settings[setting] != SETTINGS[setting]
    }
    wanted = {"lesson": lesson, **changed}
    if {name: value for name, value in st.query_params.items() if name != "project"} != wanted:
        st.query_params.from_dict({"project": project.id, **wanted})
    st.session_state["lesson in the address"] = wanted


def of_your_model(project: Project, kinds: Sequence[str]) -> None:
    """The loaded model's own layer as the example."""
    if not project.is_open:
        return
    found = next((row for row in project.plan.rows if row.type in kinds), None)
    if found is not None:
        common.link(
            "mapping",
            f"Take your own layer: {common.plain(found.call)} ({found.type}), right and wrong on its own input",
            project,
            layer=found.call,
            duel="1",
        )


def compute(experiment: str, **settings: Any) -> Experiment:
    st.session_state["experiment"] = (experiment, settings)
    return computed(experiment, settings, common.project())


@st.cache_data(show_spinner="Starting TensorFlow and PyTorch for the experiment…", max_entries=200)
def computed(experiment: str, settings: dict[str, Any], _project: Project) -> Experiment:
    return _project.lesson(experiment, settings)


def by_hand() -> None:
    """The experiment on the page as Python lines, and its source."""
    name, settings = st.session_state["experiment"]
    with st.expander("The same by hand", icon=":material/terminal:"):
        st.code(lesson_python(name, settings), wrap_lines=True)
        st.caption("The experiment itself")
        st.code(inspect.getsource(getattr(lessons, name)), wrap_lines=True)


def number(label: str, name: str, project: Project, low: int, high: int) -> int:
    common.within(name, project, min(max(project.settings[name], low), high))
    return common.bound(st.slider, label, name, project, min_value=low, max_value=high)


def one_of(
    widget: Callable[..., Any], label: str, name: str, project: Project, options: Sequence[Any], **more: Any
) -> Any:
    common.within(name, project, project.settings[name] if project.settings[name] in options else SETTINGS[name])
    return common.bound(widget, label, name, project, options=options, **more)


def flatten(project: Project) -> None:
    st.markdown(
        "Keras keeps an image as height × width × **channels**, PyTorch as **channels** × height × width. `Flatten` "
        "strings the numbers up in that order, so the same image becomes another list. The `Dense` layer that "
        "follows has one row of its kernel for each place in the list. Converted row by row, each weight meets the "
        "wrong pixel: every shape fits, every number is wrong. The remedy is to re-order the rows of the kernel "
        "once, when it is converted."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        size = {
            part: number(part.capitalize(), f"learn.flatten.{part}", project, 1, 4)
            for part in ("height", "width", "channels")
        }
        seed = number("Seed", "learn.flatten.seed", project, 0, 20)
    with show:
        experiment = compute("flatten_order", **size, seed=seed)
        count = len(experiment.pictures["keras order"])
        for name, who in (("keras order", "Keras"), ("torch order", "PyTorch, the same image channels first")):
            picture = charts.heat_map(
                experiment.pictures[name][None],
                f"Order in which {who} flattens the values 0 to {count - 1}",
                limit=count,
                text=".0f",
            )
            common.chart(picture, f"flatten:{name}")
        sides(
            project,
            "flatten",
            experiment,
            "With one channel, or an image of one pixel, both orders are the same: that is why such a test proves "
            "nothing."
            if experiment.wrong.agrees
            else None,
        )


def ones(project: Project) -> None:
    st.markdown(
        "`Dense` multiplies by its kernel of shape (in, out), `nn.Linear` by the transpose of its weight of shape "
        "(out, in). If the layer is **square**, a forgotten transpose raises no error. And if all weights are "
        "**one**, as in many a quick test, the transpose changes nothing: a wrong conversion passes. Random weights "
        "tell them apart."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        size = number("Size of the kernel", "learn.ones.size", project, 2, 6)
        seed = number("Seed", "learn.ones.seed", project, 0, 20)
    with show:
        both = {
            title: compute("transposed_kernel", size=size, seed=seed, ones=is_ones)
            for title, is_ones in (("Random weights", False), ("Every weight is one", True))
        }
        if predicted(project, "ones", both["Every weight is one"], " where every weight is one"):
            for title, experiment in both.items():
                st.markdown(f"**{title}**")
                answers(experiment, f"ones:{title}")
            st.info(
                "Where every weight is one, the wrong version agrees as well as the right one: such a comparison "
                "proves nothing.",
                icon=":material/lightbulb:",
            )


def dense(project: Project) -> None:
    st.markdown(
        "`Dense` computes x · kernel, with a kernel of shape (in, out). `nn.Linear` computes x · weightᵀ, with a "
        "weight of shape (out, in). So the kernel must be **transposed**. Where in and out are different numbers, "
        "torch refuses the kernel as it is. Where they are equal, nobody refuses anything."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        inputs = number("In", "learn.dense.inputs", project, 1, 6)
        units = number("Out", "learn.dense.units", project, 1, 6)
        seed = number("Seed", "learn.dense.seed", project, 0, 20)
    with show:
        experiment = compute("dense_kernel", inputs=inputs, units=units, seed=seed)
        limit = float(np.abs(experiment.pictures["kernel"]).max())
        for column, (name, title, axes) in zip(
            st.columns(2),
            (("kernel", "Keras's kernel", (inputs, units)), ("weight", "nn.Linear's weight", (units, inputs))),
        ):
            with column:
                common.chart(
                    charts.heat_map(experiment.pictures[name], f"{title} {axes}", limit=limit), f"dense:{name}"
                )
        note = "With one number in and one out there is nothing to transpose." if experiment.wrong.agrees else None
        sides(
            project,
            "dense",
            experiment,
            note
            or (
                "Shapes told: this is the harmless case. Set In and Out to one number."
                if experiment.wrong.error
                else None
            ),
        )


def attention(project: Project) -> None:
    st.markdown(
        "`MultiHeadAttention` keeps a kernel of shape (features, **heads**, key_dim), torch one matrix in which the "
        "heads follow each other: heads and key_dim must be joined in that order. The other order fits every shape. "
        "And the **mask** is turned round: Keras's True means *look here*, torch's True means *do not*. Here the "
        "mask is causal: a place sees itself and what came before."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        wrong = one_of(
            st.selectbox,
            "The wrong version",
            "learn.attention.wrong",
            project,
            options=list(lessons.ATTENTION),
            format_func=lessons.ATTENTION.get,
        )
        heads = number("Heads", "learn.attention.heads", project, 1, 4)
        key_dim = number("key_dim", "learn.attention.key_dim", project, 1, 4)
        steps = number("Steps", "learn.attention.steps", project, 1, 6)
        seed = number("Seed", "learn.attention.seed", project, 0, 20)
    with show:
        experiment = compute("attention", heads=heads, key_dim=key_dim, steps=steps, seed=seed, wrong=wrong)
        columns = [f"h{head}·{part}" for head in range(heads) for part in range(key_dim)]
        common.chart(
            charts.heat_map(
                experiment.pictures["query kernel"],
                "Keras's query kernel: heads and their parts in the columns",
                columns=columns,
                text=".1f",
            ),
            "attention:kernel",
        )
        for column, (name, title) in zip(
            st.columns(2),
            (("keras mask", "Keras's mask: 1 looks"), ("torch mask", "torch's attn_mask: 1 does not look")),
        ):
            with column:
                common.chart(charts.heat_map(experiment.pictures[name], title, text=".0f"), f"attention:{name}")
        sides(
            project,
            "attention",
            experiment,
            "With one head, or heads of one part, there is nothing to mix up." if experiment.wrong.agrees else None,
        )


def memory(project: Project) -> None:
    st.markdown(
        "**Layout** says what an axis means: N × H × W × C or N × C × H × W. **Memory format** says how the same "
        "tensor lies in memory; its shape, its indices and its meaning stay. `torch.channels_last` is a memory "
        "format: it does not make torch read channels last. Nor does `reshape`: it reads the numbers on in their "
        "order and puts them in other places. Only `permute` moves axes."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        wrong = one_of(
            st.selectbox,
            "The wrong version",
            "learn.memory.wrong",
            project,
            options=list(lessons.FORMATS),
            format_func=lessons.FORMATS.get,
        )
        size = {
            part: number(part.capitalize(), f"learn.memory.{part}", project, 1, 4)
            for part in ("height", "width", "channels")
        }
        seed = number("Seed", "learn.memory.seed", project, 0, 20)
    with show:
        experiment = compute("memory_format", **size, seed=seed, wrong=wrong)
        count = size["height"] * size["width"] * size["channels"]
        for name in ("contiguous", "channels_last"):
            common.chart(
                charts.heat_map(
                    experiment.pictures[name][None],
                    f"One tensor N × C × H × W, its elements 0 to {count - 1} as they lie in memory: {name}",
                    limit=count,
                    text=".0f",
                ),
                f"memory:{name}",
            )
        sides(
            project, "memory", experiment, "With one channel both orders are one." if experiment.wrong.agrees else None
        )


def inference(project: Project) -> None:
    st.markdown(
        "Call a Keras layer and it **infers**, unless you say `training=True`. Make a torch module and it "
        "**trains**, until you say `.eval()`: Dropout drops, BatchNorm takes the mean of this batch. So k2t's "
        "`load_model` returns the module in `.eval()`, and Verify compares that. For training on, call `.train()`."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        layer = one_of(
            st.selectbox, "Layer", "learn.inference.layer", project, options=["BatchNormalization", "Dropout"]
        )
        seed = number("Seed", "learn.inference.seed", project, 0, 20)
    with show:
        experiment = compute("inference_mode", layer=layer, seed=seed)
        common.chart(charts.heat_map(experiment.pictures["x"], "The input"), "inference:x")
        sides(project, "inference", experiment)


def lstm(project: Project) -> None:
    st.markdown(
        "An LSTM computes four gates at once, stacked in one matrix. Keras stacks **i f c o**, PyTorch **i f g o**: "
        "the same order under another name, since g is c. So no block moves; but other frameworks use other orders, "
        "and a swapped pair fits every shape. Keras has **three** arrays: kernel, recurrent_kernel, bias. PyTorch "
        "has **four**, with two biases that are added: the Keras bias goes into one, and zeros into the other."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        order = one_of(
            st.selectbox,
            "Order of the gates in the wrong version",
            "learn.lstm.order",
            project,
            options=lessons.GATE_ORDERS,
        )
        bias = one_of(
            st.selectbox,
            "Its bias",
            "learn.lstm.bias",
            project,
            options=list(lessons.BIASES),
            format_func=lessons.BIASES.get,
        )
        units = number("Units", "learn.lstm.units", project, 1, 4)
        features = number("Features", "learn.lstm.features", project, 1, 4)
        steps = number("Steps", "learn.lstm.steps", project, 1, 20)
        seed = number("Seed", "learn.lstm.seed", project, 0, 20)
    with show:
        experiment = compute(
            "lstm_gates", units=units, features=features, steps=steps, seed=seed, order=order, bias=bias
        )
        sides(
            project,
            "lstm",
            experiment,
            "This choice computes the same: two halves add up to the whole bias." if experiment.wrong.agrees else None,
        )
        keras, torch = st.columns(2)
        gates = {
            "Keras": [f"{g}{k}" for g in lessons.KERAS_GATES for k in range(units)],
            "PyTorch": [f"{g}{k}" for g in lessons.TORCH_GATES for k in range(units)],
        }
        picture = experiment.pictures
        limit = max(float(np.abs(v).max()) for v in picture.values())
        with keras:
            st.caption("Keras's three arrays, gates in the columns")
            for name in ("kernel", "recurrent_kernel", "bias"):
                common.chart(
                    charts.heat_map(
                        picture[name], f"{name} {picture[name].shape}", columns=gates["Keras"], limit=limit, text=".1f"
                    ),
                    f"lstm:{name}",
                )
        with torch:
            st.caption("PyTorch's four, transposed here to show the gates in the columns")
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
                common.chart(
                    charts.heat_map(
                        picture[name].T,
                        f"{name} {picture[name].shape}",
                        columns=gates["PyTorch"],
                        limit=limit,
                        text=".1f",
                    ),
                    f"lstm:{name}",
                )


def same(project: Project) -> None:
    st.markdown(
        '`padding="same"` means as many outputs as size ÷ stride, rounded up. The zeros this takes may be an **odd** '
        "number. Keras then puts one more at the end; PyTorch's "
        "`padding=` puts the same number on both sides. The shapes are often equal, and every output is shifted by a "
        "pixel. The remedy is `F.pad` before the convolution."
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
            common.chart(
                charts.heat_map(
                    row,
                    f"The row as padded by {who}: {before} before, {after} after",
                    columns=["0"] * before + ["x"] * size + ["0"] * after,
                ),
                f"same:{name}",
            )
        sides(
            project,
            "same",
            experiment,
            "With these sizes the padding is symmetric, and both agree." if experiment.wrong.agrees else None,
        )


def kernel_axes(project: Project) -> None:
    st.markdown(
        "Keras stores a convolution kernel as (height, width, in, out), PyTorch as (out, in, height, width). A plain "
        "`.T` **reverses** all axes: out and in come first, as they should, but height and width change places, and "
        "every filter is mirrored along its diagonal. With a square kernel no shape tells."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        kernel = number("Kernel", "learn.kernel.size", project, 1, 4)
        channels = number("Channels", "learn.kernel.channels", project, 1, 4)
        seed = number("Seed", "learn.kernel.seed", project, 0, 20)
    with show:
        experiment = compute("convolution_kernel", kernel=kernel, channels=channels, seed=seed)
        limit = max(float(np.abs(v).max()) for v in experiment.pictures.values())
        for column, (name, who) in zip(
            st.columns(3),
            (
                ("keras kernel", "Keras: the first filter"),
                ("wrong kernel", "Wrong: all axes reversed"),
                ("right kernel", "Right: (3, 2, 0, 1)"),
            ),
        ):
            with column:
                common.chart(charts.heat_map(experiment.pictures[name], who, limit=limit), f"kernel:{name}")
        sides(
            project,
            "kernel",
            experiment,
            "A kernel of one pixel has no height and width to confuse." if experiment.wrong.agrees else None,
        )


def pooling(project: Project) -> None:
    st.markdown(
        "At the border part of the window lies outside of the image. Keras averages the values that are there; "
        "PyTorch counts the padding's zeros as values unless told not to. Inside, both agree, so a glance at the "
        "middle of a picture shows nothing. The remedy is `count_include_pad=False`."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        size = number("Size", "learn.pooling.size", project, 5, 12)
        window = one_of(st.select_slider, "Window", "learn.pooling.window", project, options=[1, 3, 5])
        seed = number("Seed", "learn.pooling.seed", project, 0, 20)
    with show:
        experiment = compute("average_pooling", size=size, window=window, seed=seed)
        common.chart(charts.heat_map(experiment.pictures["row"].reshape(1, -1), "The row"), "pooling:row")
        common.chart(
            charts.heat_map(
                experiment.pictures["divided by"],
                f"By how many values Keras divides; torch divides by {window} everywhere",
                text=".0f",
                limit=window,
            ),
            "pooling:counts",
        )
        sides(
            project, "pooling", experiment, "A window of one value has no border." if experiment.wrong.agrees else None
        )


def epsilon(project: Project) -> None:
    st.markdown(
        "BatchNormalization divides by √(variance + ε). Keras's default ε is **1e-3**, PyTorch's **1e-5**. Where the "
        "variance is large nobody notices; where it is small, as behind a deep stack of layers, the outputs are off "
        "by a good part of themselves. Keras's LayerNormalization has 1e-3 too, `nn.LayerNorm` 1e-5."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        variance = one_of(
            st.select_slider,
            "Variance",
            "learn.epsilon.variance",
            project,
            options=[1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0],
            format_func="{:g}".format,
        )
        seed = number("Seed", "learn.epsilon.seed", project, 0, 20)
    with show:
        sides(project, "epsilon", compute("batch_norm_epsilon", variance=variance, seed=seed))


def momentum(project: Project) -> None:
    st.markdown(
        "Both keep a moving mean while they train. Keras's **momentum** is the share that stays: mean ← 0.99 · mean "
        "+ 0.01 · new. PyTorch's is the share that comes: mean ← (1 − m) · mean + m · new. Copied as it stands, 0.99 "
        "makes PyTorch forget everything but the last batch. Inference does not show it; training on does. The "
        "moving variance differs besides: PyTorch divides by n − 1, Keras by n."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        steps = number("Steps of training", "learn.momentum.steps", project, 1, 50)
        seed = number("Seed", "learn.momentum.seed", project, 0, 20)
    with show:
        experiment = compute("batch_norm_momentum", steps=steps, seed=seed)
        common.chart(
            charts.heat_map(
                experiment.pictures["mean of the data"][None], "Mean of the data; the moving mean starts at 0"
            ),
            "momentum:data",
        )
        sides(project, "momentum", experiment, what="moving mean")


def gru(project: Project) -> None:
    st.markdown(
        "A GRU has three gates. Keras stacks **z r h**, PyTorch **r z n**: the first two blocks must change places, "
        "and every shape fits if they do not. And there are two GRUs: with `reset_after=True` (Keras's default, the "
        "only one PyTorch has) the reset gate acts after the recurrent product and there are two biases; with "
        "`False`, before, and there is one. No arrangement of weights turns one into the other."
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
        experiment = compute(
            "gru_reset", units=units, features=features, steps=steps, seed=seed, reset_after=after, reordered=reordered
        )
        sides(
            project,
            "gru",
            experiment,
            "With the gates re-ordered it is the right version." if experiment.wrong.agrees else None,
        )
        known = registry.known("GRU").gates
        assert known is not None  # of its rule
        order = " ".join(known.keras)
        gates = [f"{gate}{k}" for gate in known.keras for k in range(units)]
        for name in ("kernel", "recurrent_kernel", "bias"):
            common.chart(
                charts.heat_map(
                    experiment.pictures[name],
                    f"Keras's {name}: gates {order} in the columns",
                    columns=gates,
                    text=".1f",
                ),
                f"gru:{name}",
            )


def activations(project: Project) -> None:
    st.markdown(
        "Functions of one name have other defaults, or other habits around them. No weight is wrong, no shape is: "
        "only the numbers. k2t writes every argument that differs from PyTorch's default."
    )
    settings, show = st.columns([1, 4], gap="large")
    with settings:
        name = one_of(st.selectbox, "Activation", "learn.activations.name", project, options=list(lessons.ACTIVATIONS))
        seed = number("Seed", "learn.activations.seed", project, 0, 20)
    with show:
        experiment = compute("activation_default", name=name, seed=seed)
        st.caption(f"Keras computes {common.plain(lessons.ACTIVATIONS[name][0])} of this, a sorted and a shuffled row:")
        common.chart(charts.heat_map(experiment.pictures["x"], "x", text=".0f"), "activation:x")
        sides(project, "activations", experiment)


def predicted(project: Project, lesson: str, experiment: Experiment, where: str = "") -> bool:
    """Ask what the wrong version will do; once it is answered, say whether it does."""
    given = project.settings["learn.predictions"].get(lesson)
    key = f"prediction:{lesson}"
    if key not in st.session_state:
        st.session_state[key] = given

    def changed() -> None:
        project.set("learn.predictions", {**project.settings["learn.predictions"], lesson: st.session_state[key]})

    with st.container(border=True):
        st.markdown(
            f"**Predict first.** The wrong version: {common.plain(experiment.wrong.title)}. What will it do{where}?"
        )
        chosen = st.radio(
            "Your prediction",
            list(OUTCOMES),
            format_func=OUTCOMES.get,
            key=key,
            on_change=changed,
            index=None,
            label_visibility="collapsed",
        )
        if chosen is None:
            st.caption("The result appears when you have chosen.")
        elif chosen == experiment.outcome:
            st.markdown(":green[:material/check_circle:] **As you predicted.**")
        else:
            st.markdown(f":orange[:material/change_circle:] **Not as you predicted.** {OUTCOMES[experiment.outcome]}.")
    return chosen is not None


def sides(project: Project, lesson: str, experiment: Experiment, note: str | None = None, what: str = "output") -> None:
    """The prediction, then Keras's answer, the wrong and the right version's, side by side."""
    if predicted(project, lesson, experiment):
        answers(experiment, lesson, what)
        if note:
            st.info(note, icon=":material/lightbulb:")


def answers(experiment: Experiment, key: str, what: str = "output") -> None:
    three = [
        ("Keras", experiment.keras, None),
        ("Wrong", experiment.wrong.output, experiment.wrong),
        ("Right", experiment.right.output, experiment.right),
    ]
    limit = max(float(np.abs(values).max()) for _, values, answer in three if answer is None or answer.error is None)
    for column, (title, values, answer) in zip(st.columns(3), three):
        with column:
            if answer is not None and answer.error is not None:
                st.code(answer.error, language=None, wrap_lines=True)
            else:
                common.chart(
                    charts.heat_map(values.reshape(-1, values.shape[-1]), f"{title}: {what}", limit=limit),
                    f"{key}:{title}",
                )
            if answer is not None:
                judged(answer)


def judged(answer: Answer) -> None:
    words = f"{common.plain(answer.title)}: largest difference {answer.difference.max_abs:.2g}"
    if answer.error is not None:
        st.warning(f"Refused by torch. {common.plain(answer.title)}", icon=":material/block:")
    elif answer.agrees:
        st.success(f"Agrees. {words}", icon=":material/check_circle:")
    else:
        st.error(f"Differs. {words}", icon=":material/cancel:")


def exercise(project: Project) -> None:
    """A fault in a copy of the loaded model's conversion: guess the layer, then see."""
    st.markdown(
        "k2t breaks **one layer** of a copy of your model's conversion, in a way that every shape hides, and "
        "verifies it. You are told how far the model is off, and nothing else: which layer diverges first, and why? "
        "Your model and your overrides stay as they are."
    )
    if not project.has_model:
        st.info("The exercise works on a model of yours.", icon=":material/info:")
        common.link("load", "Load a model", project)
        return
    common.need_plan(project)
    common.watch(project, "exercise")
    common.job_error(project, "exercise")
    found, seed = project.exercise, project.settings["learn.break.seed"]
    busy = common.busy(project)
    if found is None:
        st.button(
            "Break my model",
            type="primary",
            icon=":material/heart_broken:",
            disabled=busy,
            on_click=project.start_exercise,
            args=(seed,),
        )
        return
    run = found.report.deciding
    worst = max((o.difference.relative for o in run.outputs), default=0.0)
    st.markdown(f"The model's output is off by **{worst:.2g}** of its largest value.")
    where, why = st.columns(2, gap="large")
    with where:
        layer = guess(
            "Which layer diverges first?",
            "learn.break.answer",
            project,
            list(found.choices),
            [common.plain(words) for words in found.choices.values()],
        )
    with why:
        reason = guess("What is wrong with it?", "learn.break.reason", project, list(found.reasons))
    if layer is None or reason is None:
        st.caption("You see it when you have answered both.")
    else:
        where_and_why(found, layer, reason)
        if run.layers:
            common.chart(charts.layer_chart(run), "break:layers")
        common.link("mapping", f"See {common.plain(found.layer)} on the Mapping page", project, layer=found.layer)
    st.button(
        "Another fault",
        icon=":material/refresh:",
        disabled=busy,
        on_click=project.start_exercise,
        args=(found.seed + 1,),
    )


def guess(
    question: str, setting: str, project: Project, options: list[str], captions: list[str] | None = None
) -> str | None:
    """A choice that is kept, and forgotten with the exercise that it was made for."""
    common.within(setting, project, project.settings[setting] if project.settings[setting] in options else None)
    if st.session_state.get(f"setting:{setting}") != project.settings[setting]:
        st.session_state.pop(f"setting:{setting}", None)  # another exercise began
    return common.bound(
        st.radio, question, setting, project, options=options, index=None, captions=captions, format_func=common.plain
    )


def where_and_why(found: Exercise, layer: str, reason: str) -> None:
    if layer == found.layer:
        st.success(f"**Found.** It is {common.plain(found.layer)}.", icon=":material/check_circle:")
    else:
        st.warning(
            f"**Not {common.plain(layer)}**: it is {common.plain(found.layer)}. What comes before it is right, what "
            "comes after it only passes the error on.",
            icon=":material/change_circle:",
        )
    if reason == found.fault:
        st.success(f"**And that is why**: {common.plain(found.fault)}.", icon=":material/check_circle:")
    else:
        st.warning(f"**Not that**: {common.plain(found.fault)}.", icon=":material/change_circle:")


# How each of `LESSONS` looks: its words, its settings, its pictures.
SHOWN: dict[str, Callable[[Project], None]] = {
    "flatten": flatten,
    "dense": dense,
    "ones": ones,
    "kernel": kernel_axes,
    "same": same,
    "pooling": pooling,
    "memory": memory,
    "epsilon": epsilon,
    "momentum": momentum,
    "inference": inference,
    "lstm": lstm,
    "gru": gru,
    "attention": attention,
    "activations": activations,
}

main()
