"""Projects of this test alone."""

from __future__ import annotations

import pytest

from k2t_core.project.project import Project


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("K2T_HOME", str(tmp_path / "home"))


@pytest.fixture
def square(example) -> Project:
    """A project with the bundled model ``square`` loaded."""
    project = Project.create()
    project.load(example("square"))
    return project
