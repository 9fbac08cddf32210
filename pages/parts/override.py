"""Every way to overrule a layer's mapping where it is shown: a reading, a permutation, arguments, PyTorch code."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from itertools import permutations
from math import factorial
from typing import Any

import streamlit as st

from k2t_core.components.snippet_editor import editor
from k2t_core.errors import OverrideError
from k2t_core.inspector.arguments import Argument
from k2t_core.permissions import permissions
from k2t_core.planning.overrides import parse_axes, permutation_of, permuted_shape
from k2t_core.planning.plan import Row
from k2t_core.project import snippets
from k2t_core.project.project import Project
from k2t_core.rules.registry import UNSUPPORTED
from pages.parts import common

CHOICES = 24  # permutations offered as a list; beyond, they are typed


def controls(project: Project, row: Row, show_layer: Callable[[Project, str], None]) -> None:
    facts = project.facts(row.call)
    reason = st.text_input("Reason", key=f"reason:{row.layer}", placeholder="Why you overrule it (kept in recipe.json)")
    if row.alternatives:
        alternatives(project, row, reason)
    if facts.weights:
        with st.expander(
            "Permute a weight",
            icon=":material/swap_horiz:",
            expanded=any(o.kind == "permutation" for o in row.overrides),
        ):
            permutation(project, row, facts.weights, reason)
    if facts.arguments:
        with st.expander(
            "Change constructor arguments",
            icon=":material/tune:",
            expanded=any(o.kind == "arguments" for o in row.overrides),
        ):
            constructor(project, row, facts.arguments, reason)
    if facts.uncuttable is None:
        with st.expander("Cut it off", icon=":material/content_cut:", expanded=row.status == UNSUPPORTED):
            st.caption(
                "For preprocessing that stays in the data pipeline: the model then starts with what this layer "
                "gives, and Verify takes that for its input."
            )
            st.button(
                "Start the model behind this layer",
                key=f"cut:{row.layer}",
                on_click=common.attempt,
                args=(cut_off, project, row.layer, reason, show_layer),
            )
    snippet(project, row, reason)


def cut_off(project: Project, layer: str, reason: str, show_layer: Callable[[Project, str], None]) -> None:
    project.override(layer, "cut", None, reason)
    show_layer(project, layer)


def alternatives(project: Project, row: Row, reason: str) -> None:
    names = ["default", *(a.name for a in row.alternatives)]
    captions = ["k2t's own reading", *(f"{a.meaning}. Right {a.when}" for a in row.alternatives)]
    key = f"alternative:{row.layer}:{row.choice}"

    def changed() -> None:
        chosen = st.session_state[key]
        current = next((o for o in row.overrides if o.kind == "alternative"), None)
        if chosen == "default" and current is not None:
            common.attempt(project.take_back, current)
        elif chosen != "default":
            common.attempt(project.override, row.layer, "alternative", chosen, reason)

    current = row.choice if row.choice in names else "default"
    st.radio(
        "Reading",
        names,
        index=names.index(current),
        captions=[common.plain(c) for c in captions],
        key=key,
        on_change=changed,
    )


def permutation(project: Project, row: Row, weights: dict[str, Any], reason: str) -> None:
    name = st.selectbox("Weight", list(weights), key=f"weight:{row.layer}")
    weight = weights[name]
    shape, current = permutation_of(weight)
    st.caption(
        f"{common.plain(weight.source)} arrives as {shape}, is permuted by {current}, and becomes "
        f"{permuted_shape(shape, current)}."
    )
    if factorial(len(shape)) <= CHOICES:
        options = list(permutations(range(len(shape))))
        axes = st.selectbox(
            "Permutation",
            options,
            index=options.index(current),
            format_func=lambda axes: f"{axes} → {permuted_shape(shape, axes)}",
            key=f"axes:{row.layer}:{name}:{current}",
        )
    else:
        text = st.text_input(
            "Permutation",
            ", ".join(map(str, current)),
            key=f"axes:{row.layer}:{name}:{current}",
            help="The new order of the axes, such as 4, 3, 0, 1, 2.",
        )
        axes = None
        with common.guarded():
            axes = parse_axes(text)
    if axes is None:
        return
    with common.guarded():
        result, needed = permuted_shape(shape, axes), permuted_shape(shape, current)
        if axes == current:
            st.caption("This is the permutation in force.")
        elif result != needed:
            st.error(f"{axes} gives shape {result}, but the module needs {needed}.", icon=":material/error:")
        else:
            st.caption(f"Gives shape {result}, as the module needs. Shapes cannot tell whether it is right: verify it.")
        st.button(
            "Apply this permutation",
            key=f"permute:{row.layer}",
            disabled=axes == current or result != needed,
            on_click=common.attempt,
            args=(project.override, row.layer, "permutation", {"key": name, "axes": list(axes)}, reason),
        )


def constructor(project: Project, row: Row, fields: Sequence[Argument], reason: str) -> None:
    """The arguments that k2t sets, each as a field of its type, then torch's others as torch has them."""
    in_force = next((o.value for o in row.overrides if o.kind == "arguments"), {})
    with st.form(f"arguments:{row.layer}:{in_force}", border=False):
        typed = {argument.name: field(row.layer, argument) for argument in fields if argument.given}
        others = [argument for argument in fields if not argument.given]
        if others:
            st.caption("As torch has them; k2t sets none of these")
            typed.update({argument.name: field(row.layer, argument) for argument in others})
        if st.form_submit_button("Apply arguments"):
            changed = {}
            try:
                for argument in fields:
                    value = parsed(row.layer, argument, typed[argument.name])
                    if value != argument.value:
                        changed[argument.name] = value
                if changed:
                    project.override(row.layer, "arguments", {**in_force, **changed}, reason)
                    st.rerun()
                st.caption("Nothing was changed.")
            except Exception as error:
                common.show_error(error)


def field(layer: str, argument: Argument) -> Any:
    """A field for an argument, of its type; what is no switch, number or choice is typed as Python."""
    name, value = argument.name, argument.value
    key = f"argument:{layer}:{name}:{value!r}"
    if argument.choices:
        return st.selectbox(name, argument.choices, index=argument.choices.index(value), key=key)
    if isinstance(value, bool):
        return st.toggle(name, value, key=key)
    if isinstance(value, int):
        return st.number_input(name, value=value, step=1, key=key)
    if isinstance(value, float):
        return st.number_input(name, value=value, step=abs(value) / 10 or 0.1, format="%.6g", key=key)
    return st.text_input(
        name,
        value if isinstance(value, str) else repr(value),
        key=key,
        help=None if isinstance(value, str) else f"A Python value such as {value!r}",
    )


def parsed(layer: str, argument: Argument, value: Any) -> Any:
    """What was typed, as the argument takes it. Raises OverrideError."""
    if not isinstance(value, str) or isinstance(argument.value, str):
        return value
    try:
        result = ast.literal_eval(value)
    except (ValueError, SyntaxError) as error:
        raise OverrideError(
            f"layer {layer!r}: {argument.name} must be a value such as {argument.value!r}, not {value!r}"
        ) from error
    return tuple(result) if isinstance(argument.value, tuple) and isinstance(result, list) else result


def snippet(project: Project, row: Row, reason: str) -> None:
    """The editor; opened by itself where nothing else can help. What is typed is read, and runs when a person asks."""
    if not permissions().snippets:
        return
    current = next((o.value for o in row.overrides if o.kind == "snippet"), "")
    folded = st.expander(
        "Replace by PyTorch code",
        icon=":material/code_blocks:",
        expanded=row.status == UNSUPPORTED or bool(current),
        key=f"snippet:{row.layer}:{bool(current)}",
        on_change="rerun",
    )
    if not folded.open:
        return
    with folded:
        st.caption(
            "One expression over the inputs x (or x0, x1, …) in Keras's order of axes; torch, nn and F are at hand, "
            "the layer's weights are w['kernel'] and so on."
        )
        place = f"code:{row.layer}:{current}"
        code = st.session_state.setdefault(place, current)
        asked, found = st.session_state.get(CHECKED, (None, None))
        known = found if asked == (project.id, project.fingerprint, place, code) else None
        told = None if not code.strip() or code == current else known or snippets.read(code)
        key = f"editor:{place}"
        editor()(
            key=key,
            data={
                "code": code,
                "checked": code,
                "problem": {"message": told.problem, "line": told.line, "column": told.column}
                if told is not None and told.problem
                else None,
                "place": place,
                "label": "PyTorch code",
                "placeholder": "torch.tanh(x) * 2",
                "dark": st.context.theme.type == "dark",
            },
            on_code_change=lambda: st.session_state.update({place: st.session_state[key].code}),
        )
        tell(told, ran=known is not None)
        ready, unusable = project.can_check(row.layer), told is None or bool(told.problem)
        with st.container(horizontal=True):
            st.button(
                "Check",
                key=f"check-snippet:{row.layer}",
                help="Runs the code on this layer alone; nothing is put in force."
                if ready
                else "Compare this layer first: the code runs on what Keras gives it.",
                on_click=common.attempt,
                args=(check_typed, project, row.layer, place),
                disabled=unusable or not ready,
            )
            st.button(
                "Apply this code",
                key=f"apply-snippet:{row.layer}",
                on_click=common.attempt,
                args=(apply_typed, project, row.layer, place, reason),
                disabled=unusable,
            )


CHECKED = "snippet that was run"  # (project, model, place, code) and what came of it: the last one


def typed(place: str) -> str:
    """What stands in the editor, where the last letters have come with the click itself."""
    sent = st.session_state.get(f"editor:{place}") or {}
    return sent.get("code") or st.session_state[place]


def check_typed(project: Project, layer: str, place: str) -> None:
    code = st.session_state[place] = typed(place)
    found = project.check_snippet(layer, code)
    st.session_state[CHECKED] = ((project.id, project.fingerprint, place, code), found)


def apply_typed(project: Project, layer: str, place: str, reason: str) -> None:
    project.override(layer, "snippet", typed(place), reason)


def tell(told: snippets.Check | None, ran: bool) -> None:
    """What is known of the code, below the editor."""
    if told is None:
        return
    if told.problem:
        st.markdown(f":red[:material/error:] Line {told.line}: {common.plain(told.problem)}")
    elif told.verdict is not None:
        word = (
            ":green[:material/check_circle:] Would agree"
            if told.verdict.passed
            else ":red[:material/cancel:] Would differ"
        )
        st.markdown(f"{word}: {told.verdict.shapes or f'relative difference {common.amount(told.verdict.difference)}'}")
    elif not ran:
        st.caption("It is one Python expression. Nothing of it has run.")
