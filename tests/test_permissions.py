"""What the owner of a server allows, asked where it would happen and not only on the pages."""

from __future__ import annotations

import json

import keras
import pytest

from k2t_core.errors import K2TError, UnsafeModelError
from k2t_core.keras_side.loading import load
from k2t_core.permissions import VARIABLE, Permissions, declared, permissions
from k2t_core.planning.planner import plan
from k2t_core.progress import silent
from k2t_core.project.layer_bench import Inputs
from k2t_core.project.project import Project
from k2t_core.recipe import Override, Recipe

NOTHING = Permissions(paths=False, unsafe=False, snippets=False, projects=False)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("K2T_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(VARIABLE, "")  # to be put back as it was
    monkeypatch.delenv(VARIABLE)


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "code.keras"
    layer = keras.layers.Lambda(lambda x: x * 2, output_shape=(3,), name="code")
    keras.Sequential([keras.Input((3,)), layer]).save(path)
    return path


def uploaded(path) -> Project:
    project = Project.create()
    with open(path, "rb") as file:
        project.load(project.receive(path.name, file))
    return project


def test_a_process_that_nobody_serves_may_do_everything():
    assert not declared() and permissions() == Permissions(True, True, True, True, None)


def test_they_reach_every_process_that_is_started(monkeypatch):
    NOTHING.declare()
    assert declared() and permissions() == NOTHING
    monkeypatch.setenv(VARIABLE, json.dumps({"nonsense": True}))
    with pytest.raises(TypeError):
        permissions()


def test_files_of_the_machine_are_opened_where_the_owner_allows_it(example, tmp_path):
    path, other = example("dense"), tmp_path / "other.keras"
    other.write_bytes(path.read_bytes())
    Permissions(paths=False, model=str(path)).declare()
    project = Project.create()
    for refused in (other, tmp_path / "missing.keras", project.folder / "models" / ".." / ".." / "x.keras"):
        with pytest.raises(K2TError, match="--allow-paths"):
            project.load(refused)
    project.load(path)  # the owner's command names it
    assert uploaded(other).has_model
    Permissions(paths=True).declare()
    project.load(other)


def test_a_link_in_a_project_leads_nowhere(example):
    NOTHING.declare()
    project = uploaded(example("dense"))
    link = project.model_path.with_name("link.keras")
    link.symlink_to(example("square"))
    with pytest.raises(K2TError, match="--allow-paths"):
        project.load(link)


def test_a_project_that_a_path_was_loaded_into_is_not_opened_any_more(example):
    project = Project.create()
    project.load(example("dense"))
    NOTHING.declare()
    with pytest.raises(K2TError, match="--allow-paths"):
        Project.read(project.folder).open()


def test_code_in_a_model_runs_where_the_owner_allows_it(code):
    Permissions(unsafe=False).declare()
    project = Project.create()
    for attempt in (lambda: load(code, allow_unsafe=True), lambda: project.load(code, allow_unsafe=True)):
        with pytest.raises(K2TError, match="--allow-unsafe") as refused:
            attempt()
        assert not isinstance(refused.value, UnsafeModelError)
    with pytest.raises(UnsafeModelError, match="the owner of this server has not allowed that"):
        project.load(code)
    with pytest.raises(K2TError, match="--allow-unsafe"):
        project.load(project.refused, allow_unsafe=True)
    Permissions(unsafe=True).declare()
    project.load(project.refused, allow_unsafe=True)
    Permissions(unsafe=False).declare()
    with pytest.raises(K2TError, match="--allow-unsafe"):
        Project.read(project.folder).open()


def test_snippets_run_where_the_owner_allows_it(example, tmp_path):
    text = f"open({str(tmp_path / 'ran')!r}, 'w').write('') and x or torch.tanh(x @ w['kernel'] + w['bias'])"
    recipe = Recipe((Override("square1", "snippet", text),))
    project = uploaded(example("square"))
    inputs = Inputs.of(project.settings)
    Permissions(snippets=False).declare()
    for attempt in (
        lambda: project.override("square1", "snippet", text),
        lambda: project.apply(recipe),
        lambda: project.import_recipe(json.dumps({"k2t_recipe": 1, "overrides": [vars(recipe.overrides[0])]})),
        lambda: plan(example("square"), recipe),
        lambda: project.duellist("square1", recipe),
        lambda: project.engine.call("follow", "square1", recipe, Recipe(), inputs, progress=silent),
    ):
        with pytest.raises(K2TError, match="--allow-snippets"):
            attempt()
    assert "--allow-snippets" in project.check_snippet("square1", text).problem
    assert not (tmp_path / "ran").exists() and not project.recipe.overrides

    # One that was in force before is not run, and can be taken back.
    Permissions(snippets=True).declare()
    project.override("square1", "snippet", text)
    Permissions(snippets=False).declare()
    again = Project.read(project.folder)
    with pytest.raises(K2TError, match="--allow-snippets"):
        again.open()
    assert not (tmp_path / "ran").exists()
    again.reset()
    assert not again.plan.problems


def test_what_others_work_on_is_listed_where_nobody_else_is_served(example):
    project = uploaded(example("dense"))
    assert [recent.id for recent in Project.recent()] == [project.id]
    NOTHING.declare()
    with pytest.raises(K2TError, match="not listed"):
        Project.recent()
    assert Project.restore(project.id) is project, "an id is the key to its project"
