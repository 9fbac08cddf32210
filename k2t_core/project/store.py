"""Projects on disk."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1
KEEP_DAYS = 30


@dataclass(frozen=True)
class Recent:
    """A project on disk: its id, the name of its model's file, when it was last changed (seconds), how many overrides are in force."""

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


def read_json(path: Path) -> dict[str, Any] | None:
    """A project.json, None where it is gone or of another version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and data.get("k2t_project") == VERSION else None


def prune(root: Path) -> None:
    """Delete projects that nobody has touched for KEEP_DAYS: their models would fill the disk."""
    if not root.is_dir():
        return
    for folder in root.iterdir():
        stamp = folder / "project.json"
        if stamp.is_file() and time.time() - stamp.stat().st_mtime > KEEP_DAYS * 86400:
            shutil.rmtree(folder, ignore_errors=True)  # another process may be doing the same
