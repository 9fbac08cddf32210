"""The app under Streamlit's AppTest, on projects of this test alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext

import pytest
from streamlit.testing.v1 import AppTest

from k2t_core.permissions import VARIABLE
from k2t_core.project.bundled import app_folder
from k2t_core.project.project import Project
from pages.parts import common

APP = str(app_folder() / "app.py")
TIMEOUT = 120


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("K2T_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(os.path.dirname(APP))
    monkeypatch.setattr(common, "safety_net", nullcontext)
    monkeypatch.setenv(VARIABLE, "{}")  # as `k2t app` declares it to one user's own server


@pytest.fixture
def project(example) -> Callable[[str], Project]:
    """``project("convnet")``: a project with a bundled model loaded."""

    def get(name: str) -> Project:
        found = Project.create()
        found.load(example(name))
        return found

    return get


@pytest.fixture
def show() -> Callable[..., AppTest]:
    """``show("mapping", project, layer="conv")``: the page, run once, with no exception on it."""

    def run(page: str, project: Project | None = None, **parameters: str) -> AppTest:
        app = AppTest.from_file(APP, default_timeout=TIMEOUT)
        if project is not None:
            app.query_params["project"] = project.id
        for name, value in parameters.items():
            app.query_params[name] = value
        app.run()
        if page != "load":
            app.switch_page(f"pages/{page}.py")
            # A change of page clears the address; the session keeps its project.
            for name, value in parameters.items():
                app.query_params[name] = value
            app.run()
        assert not app.exception, [e.value for e in app.exception]
        return app

    return run


def texts(app: AppTest) -> str:
    """Everything in words on the page."""
    kinds = (
        app.title,
        app.header,
        app.subheader,
        app.markdown,
        app.caption,
        app.error,
        app.warning,
        app.info,
        app.success,
    )
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def click(app: AppTest, label: str, index: int = 0) -> AppTest:
    [button for button in app.button if button.label == label][index].click()
    app.run()
    assert not app.exception, [e.value for e in app.exception]
    return app
