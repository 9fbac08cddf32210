"""What every page needs: the session's project, settings bound to widgets, progress of long work, errors in words.

Long because it is what the pages share: many small functions that know little of one another.
"""

from __future__ import annotations

import html
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from pygments.style import Style
from pygments.token import Comment, Keyword, Name, Number, Operator, String, Token

from k2t_core.components.graph_view.component import graph_view
from k2t_core.errors import K2TError, UnsupportedError
from k2t_core.permissions import declared
from k2t_core.processes.child import WorkerFault
from k2t_core.project.planned import Planned
from k2t_core.project.project import Project

ICONS = {
    "load": ":material/upload_file:",
    "mapping": ":material/table_chart:",
    "convert": ":material/code:",
    "verify": ":material/fact_check:",
    "learn": ":material/school:",
}
PAGES = {name: f"pages/{name}.py" for name in ICONS}


def navigation() -> Any:
    """The app's title, looks and pages; `app.py` runs the page that it returns."""
    if not declared():  # started by Streamlit alone: nothing would have asked for the token
        st.error("Start this app by `k2t app`.", icon=":material/key:")
        st.stop()
    # An icon of our own: Streamlit fetches those that it is given by name from a font server.
    st.set_page_config(
        page_title="k2t: Keras to PyTorch", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide"
    )
    # White words on the light blue of the dark theme could not be read, nor some of Streamlit's greys and colours of
    # code.
    on_dark = """[data-testid*=stBaseButton-primary] :is(p, span) { color: #0E1117; }
        .stCode .token:is(.keyword, .operator) { color: #FFA366 !important; }
        .stCode .token:is(.number, .boolean, .builtin) { color: #8CCBF5 !important; }
        .stCode .token.string { color: #6FD9B5 !important; }
        .stCode .token.comment { color: #BDBDBD !important; }
        .stCode .token:is(.function, .class-name, .decorator) { color: #EBB8D9 !important; }"""
    on_light = """[data-testid=stCaptionContainer], .stMainBlockContainer kbd { opacity: .8 !important; }
        .stCode .token { color: #31333F !important; }
        .stCode .token.comment { color: #4D4D4D !important; }
        .stCode .token.string { color: #00523B !important; }
        .stCode .token:is(.number, .boolean, .builtin) { color: #004F80 !important; }
        .stCode .token:is(.keyword, .operator) { color: #8A2D00 !important; }
        .stCode .token:is(.function, .class-name, .decorator) { color: #62285F !important; }"""
    words = on_dark if st.context.theme.type == "dark" else on_light
    st.html(f"<style>.stMainBlockContainer {{ padding: 4.5rem clamp(1rem, 4vw, 4rem) 3rem; }} {words}</style>")
    return st.navigation(
        [
            st.Page(PAGES[name], title=name.capitalize(), icon=icon, default=name == "load")
            for name, icon in ICONS.items()
        ],
        position="top",
    )


def project() -> Project:
    """The project of this session: that of the URL, so that a reload finds it again, or a new one."""
    if "started by app.py" not in st.session_state:
        # The first session of a new server: Streamlit takes pages/ for the pages of an app without navigation and runs
        # the page by itself; a call of st.navigation tells it better.
        navigation()
        st.rerun()
    if "project" not in st.session_state:
        Project.engines.warm()  # while the user chooses a model
        st.session_state["project"] = Project.restore(st.query_params.get("project", "")) or Project.create()
    found = st.session_state["project"]
    if st.query_params.get("project") != found.id:  # a change of page clears the URL
        st.query_params["project"] = found.id
    return found


def adopt(id: str) -> None:
    """For callbacks: go on with another project."""
    found = Project.restore(id)
    if found is None:
        raise K2TError("this project is gone")
    for key in [key for key in st.session_state if str(key).startswith("setting:")]:
        del st.session_state[key]
    st.session_state["project"] = found


def bound(
    widget: Callable[..., Any],
    label: str,
    name: str,
    project: Project,
    *,
    convert: Callable[[Any], Any] = lambda value: value,
    **options: Any,
) -> Any:
    """A widget that shows the setting ``name`` and writes it back: Streamlit forgets a widget when its page is left."""
    key = f"setting:{name}"
    if key not in st.session_state:
        st.session_state[key] = project.settings[name]
    return widget(label, key=key, on_change=lambda: project.set(name, convert(st.session_state[key])), **options)


def within(name: str, project: Project, value: Any) -> None:
    """Before a widget is bound: bring a setting to a value that the widget takes."""
    if project.settings[name] != value:
        project.set(name, value)
        st.session_state.pop(f"setting:{name}", None)


def keep_known(name: str, project: Project, options: Collection[Any]) -> None:
    """Before a widget of several choices is bound: drop the chosen ones that are no option any more."""
    key = f"setting:{name}"
    st.session_state[key] = [value for value in st.session_state.get(key, project.settings[name]) if value in options]


def link(page: str, label: str, project: Project, **parameters: str) -> None:
    """A link to another page of the same project."""
    st.page_link(
        PAGES[page], label=label, icon=":material/arrow_forward:", query_params={"project": project.id, **parameters}
    )


def go(page: str, project: Project, **parameters: str) -> None:
    st.switch_page(PAGES[page], query_params={"project": project.id, **parameters})


def show_error(error: Exception) -> None:
    """An error the user can mend in its own words; any other in a plain sentence, its details folded away."""
    if isinstance(error, UnsupportedError):
        st.error(
            "k2t cannot convert this model:\n" + "".join(f"\n- {plain(problem)}" for problem in error.problems),
            icon=":material/block:",
        )
    elif isinstance(error, K2TError):
        st.error(plain(str(error)), icon=":material/error:")
    elif isinstance(error, MemoryError):
        st.error(
            f"There is not enough memory ({plain(str(error)) or 'an allocation failed'}): give fewer samples, or a "
            "machine with more. What you had before is unchanged.",
            icon=":material/memory:",
        )
    else:
        st.error(
            "Something failed inside k2t or one of the frameworks. What you had before is unchanged.",
            icon=":material/error:",
        )
        with st.expander("Details for a bug report"):
            where = error.where if isinstance(error, WorkerFault) else "".join(traceback.format_exception(error))
            st.code(where, language=None)


@contextmanager
def guarded() -> Iterator[None]:
    """Show an error of what runs inside instead of raising it. Streamlit's own stop and rerun pass through."""
    try:
        yield
    except Exception as error:
        show_error(error)


def safety_net() -> AbstractContextManager[None]:
    """Around a page as a whole: what it does not expect ends in plain words.

    The tests of the pages take it away, to see errors as they are.
    """
    return guarded()


def attempt(action: Callable[..., None], *arguments: Any) -> None:
    """For callbacks: run an action; its error is shown by `show_attempt` on the run that follows."""
    try:
        action(*arguments)
    except Exception as error:
        st.session_state["attempt"] = error


def show_attempt() -> None:
    """The error of the callback that led to this run, once."""
    error = st.session_state.pop("attempt", None)
    if error is not None:
        show_error(error)


DRAWN_BUSY = "drawn while it ran"


def busy(project: Project) -> bool:
    """Whether a job runs, for what cannot be used meanwhile. `watch` draws the page anew when it has ended."""
    job = project.job
    if job is None or not job.running:
        return False
    st.session_state[DRAWN_BUSY] = job
    return True


def watch(project: Project, *kinds: str) -> None:
    """While a job of these kinds (all, where none is named) runs, show its progress; then run the page anew.

    The job has a thread of its own: leaving the page or touching a widget ends this loop, not the work.
    """
    job = project.job
    if job is None or kinds and job.kind not in kinds:
        return
    drawn = st.session_state.pop(DRAWN_BUSY, None)
    if not job.running:
        if drawn is job:  # it has ended since
            st.rerun()
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(job.share, text=job.text, width="stretch")
        st.button(
            "Stopping…" if job.stopping else "Cancel",
            key="cancel",
            icon=":material/stop_circle:",
            disabled=job.stopping,
            on_click=job.cancel,
        )
    while job.running:
        bar.progress(job.share, text=f"{job.text}…")
        time.sleep(0.1)
    st.rerun()


def came_to_nothing(project: Project, kind: str) -> bool:
    """Whether the last job was of this kind and failed or was cancelled."""
    job = project.job
    return job is not None and job.kind == kind and (job.error is not None or job.cancelled)


def job_error(project: Project, kind: str) -> None:
    """How the last job ended, if it was of this kind and came to nothing."""
    job = project.job
    if job is None or job.kind != kind:
        return
    if job.error is not None:
        show_error(job.error)
    elif job.cancelled:
        st.info("Cancelled. Everything is as it was before.", icon=":material/stop_circle:")


def need_plan(project: Project) -> Planned:
    """The plan of the loaded model. Without one the page ends here, saying what to do."""
    watch(project, "load")
    if not project.has_model:
        st.info("No model is loaded yet.", icon=":material/info:")
        link("load", "Load a model", project)
        st.stop()
    if not project.is_open:
        if came_to_nothing(project, "load"):
            job_error(project, "load")
            st.button("Read the model again", icon=":material/refresh:", on_click=project.start_open)
            link("load", "Load a model", project)
            st.stop()
        project.start_open()
        watch(project, "load")
        st.rerun()
    try:
        return project.plan
    except K2TError as error:  # a recipe of an older k2t may not fit any more
        show_error(error)
        st.button("Undo all overrides", on_click=attempt, args=(project.reset,))
        st.stop()


def heading(title: str, text: str, project: Project) -> None:
    """The page's title; on which model it works and what is overruled in it, to be taken back on every page."""
    st.title(title)
    st.caption(text)
    if not project.has_model:
        return
    count = len(project.recipe.overrides)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f":gray[Model] **{plain(project.model_path.name)}**", width="content")
        st.badge(
            f"{count} override{'s' if count != 1 else ''}" if count else "no overrides",
            icon=":material/edit:" if count else None,
            color="violet" if count else "gray",
        )
        waits = busy(project)
        st.button(
            "Undo",
            icon=":material/undo:",
            type="tertiary",
            key="undo",
            disabled=waits or not project.can_undo,
            on_click=attempt,
            args=(project.undo,),
        )
        st.button(
            "Redo",
            icon=":material/redo:",
            type="tertiary",
            key="redo",
            disabled=waits or not project.can_redo,
            on_click=attempt,
            args=(project.redo,),
        )


def graph(
    project: Project, plan: Planned, page: str, select: Callable[[str], None], height: int = 480, reveal: bool = False
) -> None:
    """Both models drawn together. Folding and colouring run the graph's own part of the page alone.

    select: what a click on a node does with the row that it stands for; the page is run anew after it. reveal: whether
    a row that is selected elsewhere is brought into view.
    """
    st.session_state.pop("graph clicked", None)  # this is a run of the whole page
    _graph(project, plan, page, select, height, reveal)


@st.fragment
def _graph(
    project: Project, plan: Planned, page: str, select: Callable[[str], None], height: int, reveal: bool
) -> None:
    if st.session_state.pop("graph clicked", False):
        st.rerun()
    report, settings = project.report, project.settings
    drawn = st.session_state.get("graph")
    if drawn is None or drawn[0] is not plan or drawn[1] is not report:
        drawn = st.session_state["graph"] = (plan, report, project.graph(report))

    def clicked(call: str) -> None:
        select(call)
        st.session_state["graph clicked"] = True

    graph_view(
        drawn[2],
        key=f"graph:{page}",
        place=f"{project.id}:{project.fingerprint}:{page}",
        selected=settings["mapping.selected"],
        colour=settings["graph.colour"],
        unfolded=settings["graph.open"],
        height=height,
        reveal=reveal,
        stale=settings["graph.colour"] in ("error", "alone") and report is not None and not project.report_is_current,
        on_select=clicked,
        on_colour=lambda colour: project.set("graph.colour", colour),
        on_unfold=lambda folds: project.set("graph.open", folds),
    )


def by_hand(command: str, python: str, note: str = "") -> None:
    """How to do the same without the app, folded away."""
    with st.expander("The same by hand", icon=":material/terminal:"):
        st.code(command, language="bash", wrap_lines=True)
        st.code(python, language="python", wrap_lines=True)
        if note:
            st.caption(note)


def chart(figure: Any, key: str, **options: Any) -> Any:
    """A figure without Plotly's own buttons; its title is what a screen reader says."""
    return st.plotly_chart(figure, key=key, config={"displayModeBar": False}, alt=figure.layout.title.text, **options)


def amount(difference: Any) -> str:
    return f"{difference.relative:.1e}" if difference.relative else "exactly 0"


def listing(text: str, by_line: dict[int, list[str]], chosen: str | None, only: Collection[int] | None = None) -> str:
    """The source as a table: line number, code, and the Keras layers it computes.

    chosen: the layer whose lines are marked. only: the lines shown, where not all are.
    """
    formatter = HtmlFormatter(nowrap=True, noclasses=True, style=OnDark if st.context.theme.type == "dark" else OnLight)
    lines = highlight(text, PythonLexer(stripnl=False), formatter).split("\n")
    rows, before = [], 0
    for number, code in enumerate(lines[: text.count("\n")], 1):
        if only is not None and number not in only:
            continue
        if number != before + 1:
            rows.append(
                f'<tr><td style="{_CELL}text-align:right;opacity:.6;padding-right:1rem">⋮</td><td '
                f'style="{_CELL}"></td><td style="{_CELL}"></td></tr>'
            )
        before = number
        layers = by_line.get(number, [])
        words = ", ".join(layers[:3]) + (f" and {len(layers) - 3} more" if len(layers) > 3 else "")
        mark = f"background:{MARKED};box-shadow:inset 3px 0 #E69F00;" if chosen is not None and chosen in layers else ""
        rows.append(
            f'<tr style="{mark}"><td '
            f'style="{_CELL}text-align:right;opacity:.8;user-select:none;padding-right:1rem">{number}</td><td '
            f'style="{_CELL}white-space:pre;width:100%">{code}</td><td '
            f'style="{_CELL}opacity:.75;white-space:nowrap;padding-left:1.5rem;font-style:italic">{html.escape(words)}</td></tr>'
        )
    head = (
        f'<tr><td style="{_CELL}"></td><td style="{_CELL}opacity:.75;padding-bottom:.4rem">PyTorch</td><td '
        f'style="{_CELL}opacity:.75;white-space:nowrap;padding-left:1.5rem">Keras layer</td></tr>'
    )
    table = (
        "<table style=\"border-collapse:collapse;width:100%;font-family:'Source Code "
        f"Pro',ui-monospace,monospace;font-size:.82rem;line-height:1.5\">{head}{''.join(rows)}</table>"
    )
    return (
        '<div tabindex="0" style="overflow-x:auto;border:1px solid '
        f'rgba(128,128,128,.25);border-radius:.5rem;padding:.75rem">{table}</div>'
    )


def scrolling(text: str, height: int, label: str) -> None:
    """Plain text in a part of the page that scrolls by itself, by keyboard too."""
    style = (
        f"max-height:{height}px;overflow:auto;white-space:pre-wrap;font-family:'Source Code "
        "Pro',ui-monospace,monospace;font-size:.82rem;line-height:1.5"
    )
    frame = "border:1px solid rgba(128,128,128,.25);border-radius:.5rem;padding:.75rem;margin:0"
    st.html(
        f'<div tabindex="0" role="region" aria-label="{html.escape(label)}" '
        f'style="{style};{frame}">{html.escape(text)}</div>'
    )


def _style(keyword: str, number: str, string: str, comment: str, name: str) -> type[Style]:
    """Colours for source code, each readable on the page and on its marked lines."""
    tokens = {
        Token: "",
        Keyword: f"bold {keyword}",
        Operator.Word: f"bold {keyword}",
        Number: number,
        String: string,
        String.Doc: f"italic {comment}",
        Comment: f"italic {comment}",
    }
    return type(
        "Colours",
        (Style,),
        {
            "styles": {
                **tokens,
                Name.Class: f"bold {name}",
                Name.Function: f"bold {name}",
                Name.Namespace: name,
                Name.Builtin: number,
                Name.Builtin.Pseudo: "",
            }
        },
    )


OnLight = _style("#8A2D00", "#004F80", "#00523B", "#4D4D4D", "#62285F")
OnDark = _style("#FFA366", "#8CCBF5", "#6FD9B5", "#BDBDBD", "#EBB8D9")
MARKED = "rgba(230,159,0,.22)"

_CELL = "border:none;padding:0 .5rem;vertical-align:top;"


def plain(text: str) -> str:
    """Text as it is, with nothing that Markdown would take for its own."""
    for mark in "\\`*_[]$<>~#|":
        text = text.replace(mark, f"\\{mark}")
    return text.replace(":", "\\:")
