"""What test_store.py kills a process in: the changes that a project on disk goes through.

``FOLDER/projects`` is the folder of all projects; the one that changes is `ID`.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

from k2t_core.project.history import History
from k2t_core.project.settings import SETTINGS
from k2t_core.project.store import LEAVING, ModelFile, Saved, Store
from k2t_core.recipe import Override, Recipe
from tests.emit import deaths as conversion

ID = "p" * 32
OVERRIDDEN = History().then(Recipe((Override("dense", "snippet", "x", "why"),)))
REPORT = {"report/report.json": "{}", "report/arrays-0.npz": "a", "runs.jsonl": "", "runs/1.json": "{}"}


def project(folder: Path) -> Store:
    return Store(folder / "projects" / ID)


def saved(store: Store, overrides: bool) -> Saved:
    """A project with a model and a batch that were copied in, and what was made of them."""
    model = store.receive("old.keras", io.BytesIO(b"the old model"))
    inputs = store.receive("mine.npy", io.BytesIO(b"my own batch"), "inputs")
    settings = {**SETTINGS, "verify.batch": 7, "verify.inputs": str(inputs)}
    found = Saved(ModelFile(model, False, "old"), OVERRIDDEN if overrides else History(), settings)
    store.save(found)
    for name, text in {**REPORT, **{f"out/{name}": text for name, text in conversion.OLD.items()}}.items():
        path = store.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return found


def prepare_another_model(folder: Path) -> None:
    saved(project(folder), overrides=True)


def another_model(folder: Path) -> None:
    """As `Project.load` has it."""
    store = project(folder)
    before = store.read()
    path = store.receive("new.keras", io.BytesIO(b"the new model"))
    settings = {**before.settings, "verify.inputs": None}
    store.switch(
        Saved(ModelFile(path, False, "new"), History(), settings), before if before.history.recipe.overrides else None
    )
    store.keep_only("models", path)


def prepare_another_model_without_overrides(folder: Path) -> None:
    saved(project(folder), overrides=False)


another_model_without_overrides = another_model


def prepare_finish(folder: Path) -> None:
    """A process has died right after project.json had said that another model takes the place."""
    store = project(folder)
    before = saved(store, overrides=True)
    path = store.receive("new.keras", io.BytesIO(b"the new model"))
    store.save(before)
    old = json.loads((store.folder / "project.json").read_text())
    store.save(Saved(ModelFile(path, False, "new"), History(), {**before.settings, "verify.inputs": None}))
    new = json.loads((store.folder / "project.json").read_text())
    new[LEAVING] = {"shelf": "s" * 32, "project": old}
    (store.folder / "project.json").write_text(json.dumps(new))


def finish(folder: Path) -> None:
    project(folder).read()


def prepare_settings(folder: Path) -> None:
    saved(project(folder), overrides=True)


def settings(folder: Path) -> None:
    store = project(folder)
    before = store.read()
    store.save(Saved(before.file, before.history.undone(), {**before.settings, "verify.batch": 9}))


def prepare_delete(folder: Path) -> None:
    saved(project(folder), overrides=True)


def delete(folder: Path) -> None:
    project(folder).delete()


def prepare_convert(folder: Path) -> None:
    saved(project(folder), overrides=True)


def convert(folder: Path) -> None:
    conversion.convert(project(folder).out)
