"""Projects on disk: what is written is read again, by this k2t and from an earlier one, and nothing else is touched."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from k2t_core.project import store
from k2t_core.project.history import History
from k2t_core.project.project import Project
from k2t_core.project.settings import SETTINGS, home
from k2t_core.project.store import ModelFile, Saved, Store
from k2t_core.recipe import Override, Recipe
from tests.emit import deaths as conversion
from tests.killing import deaths, random_deaths
from tests.project.deaths import ID, OVERRIDDEN, REPORT


def test_old_projects_are_deleted(square, monkeypatch):
    monkeypatch.setattr("k2t_core.project.store.KEEP_DAYS", -1)
    Project.create()
    assert not square.folder.exists()


def test_projects_with_a_model_are_listed_last_used_first(square, example):
    other = Project.create()
    other.load(example("dense"))
    square.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    Project.create().set("verify.batch", 3)  # no model: nothing to continue
    found = Project.recent()
    assert [(r.id, r.model, r.overrides) for r in found] == [
        (square.id, "square.keras", 1),
        (other.id, "dense.keras", 0),
    ]
    assert found[0].age(found[0].changed + 125) == "2 minutes ago"
    assert [r.id for r in Project.recent(limit=1)] == [square.id]
    (home() / "projects" / other.id / "project.json").write_text("{")
    assert [r.id for r in Project.recent()] == [square.id]


HISTORY = History().then(Recipe((Override("a", "snippet", "x", "why"),)))


def test_what_is_saved_is_read(tmp_path):
    found = Store(tmp_path / "project")
    assert not found.exists and not found.folder.exists()
    inside, outside = found.folder / "models" / "1" / "m.keras", tmp_path / "mine.keras"
    for path in (inside, outside):
        saved = Saved(ModelFile(path, True, "print"), HISTORY, {**SETTINGS, "verify.batch": 7})
        found.save(saved)
        assert found.exists and found.read() == saved
    assert (found.typed(inside), found.typed(outside)) == ("m.keras", str(outside))
    assert not list(found.folder.glob("*.new"))


def test_a_project_of_an_earlier_k2t_opens(tmp_path):
    data = {
        "k2t_project": 1,
        "model": {"path": "models/1a/m.keras", "allow_unsafe": False, "fingerprint": "print"},
        "history": [[], [{"layer": "a", "kind": "snippet", "value": "x", "reason": "why"}]],
        "position": 1,
        "settings": {"verify.batch": 9, "a setting that is gone": 1},
    }
    (tmp_path / "project.json").write_text(json.dumps(data))
    saved = Store(tmp_path).read()
    assert saved.file == ModelFile(tmp_path / "models/1a/m.keras", False, "print")
    assert saved.history == HISTORY and saved.settings == {**SETTINGS, "verify.batch": 9}
    empty = {"model": {"path": None, "allow_unsafe": False, "fingerprint": None}, "history": [[]], "position": 0}
    (tmp_path / "project.json").write_text(json.dumps({**data, **empty}))
    assert Store(tmp_path).read().file is None


@pytest.mark.parametrize("name", ["../../m.keras", "C:\\\\models\\\\m.keras", "m.keras"])
def test_an_upload_lies_in_the_project_whatever_its_name(tmp_path, name):
    found = Store(tmp_path)
    path = found.receive(name, io.BytesIO(b"data"))
    assert path.name == "m.keras" and path.parent.parent == tmp_path / "models" and path.read_bytes() == b"data"
    later = found.receive(name, io.BytesIO(b"later"))
    found.keep_only("models", later)
    assert later.exists() and not path.exists()
    own = tmp_path.parent / "own.keras"
    own.write_bytes(b"mine")
    found.discard(own)
    found.discard(later)
    assert own.exists() and not later.exists()


def test_a_conversion_is_one_only_with_all_its_files(tmp_path):
    found = Store(tmp_path)
    assert found.conversion() is None and not found.has_conversion
    out = found.out
    out.mkdir()
    for name in ("model.py", "model.safetensors", "recipe.json"):
        (out / name).write_text("{}")
    assert found.conversion() is None
    (out / "manifest.json").write_text('{"a": 1}')
    assert found.conversion() == ('{"a": 1}', "{}") and found.has_conversion and found.formats == {}
    (out / "model.py").unlink()
    assert found.conversion() is None
    (out / "manifest.json").write_bytes(b"\xff")
    assert found.conversion() is None


def test_ids_cannot_be_guessed():
    assert len({store.new_id() for _ in range(50)}) == 50 and all(len(store.new_id()) == 32 for _ in range(5))


# --- killed ---


def others(folder):
    """The projects beside the one that changes, as a new process finds them."""
    return [Store(path) for path in sorted((folder / "projects").iterdir()) if path.name != ID]


def whole(found: Store, overrides: bool) -> bool:
    """Whether a project has the old model, its overrides, settings and all that was made of it."""
    kept = found.read()
    results = {**REPORT, **{f"out/{name}": text for name, text in conversion.OLD.items()}}
    return (
        kept.file.path.read_bytes() == b"the old model"
        and found.folder in kept.file.path.parents
        and kept.history == (OVERRIDDEN if overrides else History())
        and kept.settings["verify.batch"] == 7
        and Path(kept.settings["verify.inputs"]).read_bytes() == b"my own batch"
        and found.folder in Path(kept.settings["verify.inputs"]).parents
        and all((found.folder / name).read_text() == text for name, text in results.items())
    )


def is_new(found: Store) -> bool:
    """Whether it has the new model and nothing of the old one."""
    kept = found.read()
    return (
        kept.file.path.read_bytes() == b"the new model"
        and kept.history == History()
        and kept.settings["verify.batch"] == 7
        and kept.settings["verify.inputs"] is None
        and not any((found.folder / name).exists() for name in store.RESULTS)
    )


MOMENTS = pytest.mark.parametrize("when", ["steps", "at random"])


def killed(work, folder, when):
    return deaths("tests.project.deaths", work, folder, random_deaths() if when == "at random" else when)


@MOMENTS
@pytest.mark.parametrize("work", ["another_model", "another_model_without_overrides", "finish"])
def test_killed_while_the_model_changes_the_project_has_the_old_one_or_the_new_one(tmp_path, work, when):
    overrides = work != "another_model_without_overrides"
    found = []
    for folder in killed(work, tmp_path, when):
        project = Store(folder / "projects" / ID)
        kept = project.read()
        found.append(kept.file.fingerprint)
        if kept.file.fingerprint == "old":
            assert whole(project, overrides) and others(folder) == []
        else:
            assert is_new(project)
            assert [whole(other, overrides) for other in others(folder)] == [True] * overrides
        assert (
            not list(project.folder.rglob("*.k2t*")) and "leaving" not in (project.folder / "project.json").read_text()
        )
        assert [r.overrides for r in store.recent(folder / "projects", 5)] == sorted(
            [1] * overrides + [0] * (kept.file.fingerprint == "new" or not overrides)
        )
    assert len(found) > 10 and found[-1 if when == "steps" else 0] == "new"
    assert when == "at random" or work == "finish" or "old" in found


@MOMENTS
def test_killed_while_settings_are_kept_they_are_the_old_or_the_new(tmp_path, when):
    found = set()
    for folder in killed("settings", tmp_path, when):
        kept = Store(folder / "projects" / ID).read()
        assert kept.file.path.read_bytes() == b"the old model"
        found.add((kept.history.position, kept.settings["verify.batch"]))
    assert found <= {(1, 7), (0, 9)} and (0, 9) in found
    assert when == "at random" or len(found) == 2


@MOMENTS
def test_killed_while_it_is_deleted_a_project_is_whole_or_gone(tmp_path, when):
    found = set()
    for folder in killed("delete", tmp_path, when):
        project = Store(folder / "projects" / ID)
        found.add(project.exists)
        assert whole(project, True) if project.exists else store.recent(folder / "projects", 5) == []
        store.prune(folder / "projects")
        assert [path.name for path in (folder / "projects").iterdir()] == [ID] * project.exists
    assert False in found


@MOMENTS
def test_killed_while_it_is_converted_a_project_has_the_old_conversion_or_the_new_one(tmp_path, when):
    found = []
    for folder in killed("convert", tmp_path, when):
        project = Store(folder / "projects" / ID)
        project.read()
        found.append({path.name: path.read_text() for path in project.out.iterdir() if path.is_file()})
        assert found[-1] in (conversion.OLD, conversion.NEW) and not list(project.out.glob(".k2t-*"))
    assert conversion.NEW in found
    assert when == "at random" or conversion.OLD in found


def test_what_a_dead_process_was_copying_in_is_cleared_but_not_what_is_being_copied(tmp_path):
    found = Store(tmp_path / "project")
    model = found.receive("old.keras", io.BytesIO(b"the old model"))
    found.save(Saved(ModelFile(model, False, "old"), History(), SETTINGS))
    stale, fresh = (found.receive("upload.keras", io.BytesIO(b"half")) for _ in range(2))
    for path in (stale.parent, model.parent):
        os.utime(path, (0, 0))
    found.read()
    assert model.exists() and fresh.exists() and not stale.exists()
