"""Projects on disk: project.json, the model files and inputs that were copied in, and the conversion.

project.json decides, whenever the process dies: it is written as a whole, and what it names is on the disk before it. A
change of models moves much more than one file, so project.json first says what is to be moved (`switch`), and whoever
reads the project next does what is left of it (`Store.finish`).

Long because what is kept, how it changes and how a change is finished stand in one place.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from k2t_core.emit import committing
from k2t_core.emit.formats import FORMATS
from k2t_core.emit.manifest import FILES
from k2t_core.project.history import History
from k2t_core.project.settings import SETTINGS

VERSION = 1
KEEP_DAYS = 30
RESULTS = ("out", "report", "inputs", "runs", "runs.jsonl")  # what was made of a model
INPUTS = "verify.inputs"  # the setting that names a file of the project
LEAVING = "leaving"  # in project.json: the model that gave way to another, until all that belongs to it has gone
GONE = ".gone-"  # begins the name of a project that is being deleted
UPLOAD_SECONDS = 3600  # a file that was copied in and is in no use may belong to a load that goes on


@dataclass(frozen=True)
class ModelFile:
    """The file of a project's model. allow_unsafe: whether its own code may run. fingerprint: see `loading.Source`."""

    path: Path
    allow_unsafe: bool
    fingerprint: str


@dataclass(frozen=True)
class Saved:
    """What project.json keeps. settings: all of them, those that stand as they come included."""

    file: ModelFile | None
    history: History
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Recent:
    """A project on disk: its id, its model's file name, when it was changed (seconds), how many overrides it has."""

    id: str
    model: str
    changed: float
    overrides: int

    def age(self, now: float) -> str:
        """``5 minutes ago``."""
        for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
            count = int((now - self.changed) // size)
            if count >= 1:
                return f"{count} {unit}{'s' if count > 1 else ''} ago"
        return "just now"


class Store:
    """The folder of one project. It takes no space before something is kept in it."""

    def __init__(self, folder: Path):
        self.folder = folder

    # project.json

    @property
    def exists(self) -> bool:
        return (self.folder / "project.json").is_file()

    def save(self, saved: Saved) -> None:
        self._write(self._data(saved))

    def read(self) -> Saved:
        """What project.json keeps; first of all `finish`."""
        self.finish()
        data = json.loads((self.folder / "project.json").read_text(encoding="utf-8"))
        model, settings = data["model"], data["settings"]
        file = None
        if model["path"]:
            file = ModelFile(self.folder / model["path"], model["allow_unsafe"], model["fingerprint"])
        known = {name: settings.get(name, value) for name, value in SETTINGS.items()}  # of other versions of k2t too
        if known[INPUTS]:
            known[INPUTS] = str(self.folder / known[INPUTS])
        return Saved(file, History.from_json(data), known)

    def switch(self, saved: Saved, before: Saved | None) -> None:
        """Save the project with another model; what was made of the model before it goes.

        before: the project as it was, where it goes on as one of its own, with results and all, beside this one.
        """
        leaving = {"shelf": new_id(), "project": self._data(before)} if before is not None else {}
        self._write({**self._data(saved), LEAVING: leaving})
        self.finish()

    def finish(self) -> None:
        """Do what a process that died has left undone; mostly there is nothing. Whatever was done is done but once."""
        with committing.alone_in(self.folder):
            data = read_json(self.folder / "project.json")
            if data is not None and LEAVING in data:
                leaving = data.pop(LEAVING)
                if leaving:
                    self._shelve(leaving["project"], Store(self.folder.with_name(leaving["shelf"])), data)
                self._forget_results()
                self._write(data)
            if self.out.is_dir():
                committing.clear(self.out)
                committing.recover(self.out)
            used = [] if data is None else [data["model"]["path"], data["settings"].get(INPUTS)]
            self._clear([self.folder / path for path in used if path])

    def _data(self, saved: Saved) -> dict[str, Any]:
        """What project.json says. Paths in the project are relative, so that it can be moved."""
        file = saved.file
        settings = {name: value for name, value in saved.settings.items() if value != SETTINGS[name]}
        if settings.get(INPUTS):
            settings[INPUTS] = self._relative(Path(settings[INPUTS]))
        return {
            "k2t_project": VERSION,
            "model": {
                "path": file and self._relative(file.path),
                "allow_unsafe": file is not None and file.allow_unsafe,
                "fingerprint": file and file.fingerprint,
            },
            **saved.history.to_json(),
            "settings": settings,
        }

    def _write(self, data: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self.folder / "project.json", json.dumps(data, indent=2, ensure_ascii=False))

    def _clear(self, used: Sequence[Path]) -> None:
        """Delete what a process that died was copying in."""
        for path in (*self.folder.glob("models/*"), *self.folder.glob("inputs/*")):
            if not any(path in (file, *file.parents) for file in used):
                if time.time() - path.stat().st_mtime > UPLOAD_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.folder)) if self.folder in path.parents else str(path)

    def typed(self, path: Path) -> str:
        """How a person names a file: by its path, but by its name where it was copied in, from where they have it."""
        return path.name if self.folder in path.parents else str(path)

    def delete(self) -> None:
        """Delete the project with all that was made of it: in one step it is none any more."""
        gone = self.folder.with_name(f"{GONE}{secrets.token_hex(8)}")
        try:
            os.rename(self.folder, gone)
        except FileNotFoundError:  # it was never kept, or another process was first
            return
        shutil.rmtree(gone, ignore_errors=True)

    # Files that are copied in: each in a folder of its own, in the folder of its kind

    def new_folder(self, kind: str) -> Path:
        folder = self.folder / kind / secrets.token_hex(4)
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def receive(self, name: str, data: BinaryIO, kind: str = "models") -> Path:
        """Copy an uploaded file into the project and return where it is."""
        return _copied(data, self.new_folder(kind) / (_last_part(name) or "upload"))

    def receive_images(self, files: Sequence[tuple[str, BinaryIO]]) -> Path:
        """Copy images into one folder, which lists them in this order, and return where it is."""
        folder = self.new_folder("inputs") / "images"
        folder.mkdir(mode=0o700)
        for index, (name, data) in enumerate(files):
            _copied(data, folder / f"{index:03d} {_last_part(name)}")
        return folder

    def keep_only(self, kind: str, path: Path | None) -> None:
        """Delete what was copied in before ``path``."""
        root = self.folder / kind
        for folder in root.iterdir() if root.is_dir() else ():
            if path is None or folder not in (path, *path.parents):
                shutil.rmtree(folder)

    def discard(self, path: Path) -> None:
        """Delete a model file that was copied in; a file of the user's own stays."""
        own = self._copied_in(path)
        if own is not None:
            shutil.rmtree(own)

    # The conversion

    @property
    def out(self) -> Path:
        """The folder of the conversion."""
        return self.folder / "out"

    @property
    def has_conversion(self) -> bool:
        return (self.out / "manifest.json").is_file()

    @property
    def formats(self) -> dict[str, Path]:
        """Those of `FORMATS` that were asked for and written beside the conversion, each with its file."""
        files = {name: self.out / format.file for name, format in FORMATS.items()}
        return {name: path for name, path in files.items() if path.is_file()}

    def conversion(self) -> tuple[str, str] | None:
        """(manifest.json, recipe.json), as they stand, of a conversion with all its files; None without one."""
        try:
            manifest = (self.out / "manifest.json").read_text(encoding="utf-8")
            recipe = (self.out / "recipe.json").read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None
        return (manifest, recipe) if all((self.out / name).is_file() for name in FILES) else None

    def conversion_key(self) -> str:
        """What a report on the conversion is a report on."""
        written = (self.out / "manifest.json").read_bytes() + (self.out / "recipe.json").read_bytes()
        return hashlib.sha256(written).hexdigest()

    # Results as a whole

    def _forget_results(self) -> None:
        for name in RESULTS:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)

    def _shelve(self, project: Mapping[str, Any], shelf: Store, now: Mapping[str, Any]) -> None:
        """Move a model, its overrides and results into a new project, whose project.json comes last.

        project, now: what project.json said with that model, and says now.
        """
        if shelf.exists:
            return
        moved = [self.folder / name for name in RESULTS]
        own, stays = (self._copied_in(project["model"]["path"]), self._copied_in(now["model"]["path"]))
        if own is not None and own != stays:
            moved.append(own)
        for path in moved:
            if path.exists():
                target = shelf.folder / path.relative_to(self.folder)
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.rename(path, target)
        shelf._write(project)

    def _copied_in(self, path: str | Path | None) -> Path | None:
        """The folder of its own in which a model file lies that was copied in; None for a file of the user's own."""
        models, whole = self.folder / "models", self.folder / (path or "")
        return models / whole.relative_to(models).parts[0] if models in whole.parents else None


def new_id() -> str:
    """The key to a project: unguessable, and never listed."""
    return secrets.token_urlsafe(24)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there as a whole or as it was before, after a failure of power too."""
    staging = path.with_name(f"{path.name}.new")
    staging.write_text(text, encoding="utf-8")
    committing.flush(staging)
    os.replace(staging, path)
    committing.flush(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """A project.json, None where it is gone or of another version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and data.get("k2t_project") == VERSION else None


def recent(root: Path, limit: int) -> list[Recent]:
    """The projects in a folder that hold a model, last used first."""
    paths = [path for path in root.glob("*/project.json") if not path.parent.name.startswith(GONE)]
    stamps = [(path.stat().st_mtime, path) for path in paths]
    found: list[Recent] = []
    for changed, path in sorted(stamps, reverse=True):
        data = read_json(path)
        if data is None or not data["model"]["path"] or not (path.parent / data["model"]["path"]).is_file():
            continue
        overrides = data["history"][data["position"]]
        found.append(Recent(path.parent.name, Path(data["model"]["path"]).name, changed, len(overrides)))
        if len(found) == limit:
            break
    return found


def prune(root: Path) -> None:
    """Delete projects that nobody has touched for KEEP_DAYS: their models would fill the disk."""
    if not root.is_dir():
        return
    for folder in root.iterdir():
        stamp = folder / "project.json"
        if folder.name.startswith(GONE):  # a process died while it deleted it
            shutil.rmtree(folder, ignore_errors=True)
        elif stamp.is_file() and time.time() - stamp.stat().st_mtime > KEEP_DAYS * 86400:
            Store(folder).delete()


def _last_part(name: str) -> str:
    """The file's name, of an upload that may come from Windows or mean harm."""
    return Path(name.replace("\\", "/")).name


def _copied(data: BinaryIO, path: Path) -> Path:
    with open(path, "wb") as file:
        shutil.copyfileobj(data, file)
    committing.flush(path)
    committing.flush(path.parent)
    return path
