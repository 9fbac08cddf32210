"""Projects on disk: what is written is read again, by this k2t and from an earlier one, and nothing else is touched."""

from __future__ import annotations

import io
import json

import pytest

from k2t_core.project import store
from k2t_core.project.history import History
from k2t_core.project.project import Project
from k2t_core.project.settings import SETTINGS, home
from k2t_core.project.store import ModelFile, Saved, Store
from k2t_core.recipe import Override, Recipe


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("K2T_HOME", str(tmp_path / "home"))


@pytest.fixture
def square(example):
    project = Project.create()
    project.load(example("square"))
    return project


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
    out = found.empty_out()
    for name in ("model.py", "model.safetensors", "recipe.json"):
        (out / name).write_text("{}")
    assert found.conversion() is None
    (out / "manifest.json").write_text('{"a": 1}')
    assert found.conversion() == ('{"a": 1}', "{}") and found.has_conversion and found.onnx is None
    (out / "model.py").unlink()
    assert found.conversion() is None
    (out / "manifest.json").write_bytes(b"\xff")
    assert found.conversion() is None
    (out / ".k2t-left").mkdir()
    assert found.empty_out() == out and not (out / ".k2t-left").exists()
    found.forget_results()
    assert not out.exists()


def test_ids_cannot_be_guessed():
    assert len({store.new_id() for _ in range(50)}) == 50 and all(len(store.new_id()) == 32 for _ in range(5))
