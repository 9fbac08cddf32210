"""How the files of a conversion take their place: all or none, whenever the process dies.

They are written into a folder of their own beside their places and flushed to the disk. Renaming that folder to
COMMITTED is the one step that decides: before it the old conversion is whole, after it the new one is, for whoever
opens the folder next moves what has not been moved (`recover`). Nothing that is not k2t's is touched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

STAGING = ".k2t-{pid}-"  # and random letters: being written by that process
COMMITTED = ".k2t-commit"
GONE = ".gone"  # in a committed folder: names, one a line, of files that the new conversion does not have


def stage(folder: Path) -> Path:
    """A new folder in ``folder``, for the files of a conversion. Raises OSError."""
    clear(folder)
    return Path(tempfile.mkdtemp(prefix=STAGING.format(pid=os.getpid()), dir=folder))


def commit(staging: Path, files: Collection[str], gone: Iterable[str] = ()) -> None:
    """Put these files from ``staging`` into the folder around it, and take away those called ``gone``."""
    folder = staging.parent
    for path in staging.iterdir():  # Python's caches of what was imported there
        if path.name not in files:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (staging / GONE).write_text("\n".join(gone), encoding="utf-8")
    for path in [*staging.iterdir(), staging]:
        _flush(path)
    recover(folder)  # of a process that died
    os.rename(staging, folder / COMMITTED)
    _flush(folder)
    recover(folder)


def recover(folder: Path) -> None:
    """Finish what a process that died had committed; mostly there is nothing. Raises OSError where it may not write."""
    committed = folder / COMMITTED
    if not committed.is_dir():
        return
    try:
        gone = (committed / GONE).read_text(encoding="utf-8").split("\n")
        for name in filter(None, gone):
            (folder / name).unlink(missing_ok=True)
        for path in sorted(committed.iterdir()):
            if path.name != GONE:
                os.replace(path, folder / path.name)
        _flush(folder)
        done = folder / f"{STAGING.format(pid=os.getpid())}done"
        os.rename(committed, done)  # in one step: half of it would not be understood
    except FileNotFoundError:
        if committed.is_dir():
            raise
        return  # another process that looked at the same time has finished it
    shutil.rmtree(done, ignore_errors=True)


def clear(folder: Path) -> None:
    """Remove what processes that are no more had begun to write."""
    for path in folder.glob(STAGING.format(pid="*") + "*"):
        pid = path.name.split("-")[1]
        if path.name != COMMITTED and pid.isdigit() and not _runs(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def _flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
