"""What test_committing.py kills a process in: a second conversion over a first."""

from __future__ import annotations

from pathlib import Path

from k2t_core.emit.committing import commit, stage

NAMES = ("manifest.json", "model.py", "model.safetensors", "recipe.json")
OLD = {**{name: f"old {name}" for name in (*NAMES, "model.onnx")}, "notes.txt": "old notes.txt"}
NEW = {**{name: f"new {name}" for name in NAMES}, "notes.txt": "old notes.txt"}


def prepare_convert(folder: Path) -> None:
    for name, text in OLD.items():
        (folder / name).write_text(text)


def convert(folder: Path) -> None:
    staging = stage(folder)
    for name in NAMES:
        (staging / name).write_text(NEW[name])
    (staging / "__pycache__").mkdir()
    commit(staging, NAMES, ["model.onnx"])
