"""How the files of a conversion take their place: all or none, whenever the process dies.

They are written into a folder of their own beside their places and flushed to the disk. Renaming that folder to
COMMITTED is the one step that decides: before it the old conversion is whole, after it the new one is, for whoever
opens the folder next moves what has not been moved (`recover`). Nothing that is not k2t's is touched.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

STAGING = ".k2t-{pid}-"  # and random letters: being written by that process
COMMITTED = ".k2t-commit"
# What a conversion can consist of. Nothing else is moved or taken away, whatever stands in a committed folder.
# State of the process: `formats.Format` adds its file.
KNOWN = {"model.py", "model.safetensors", "manifest.json", "recipe.json", "model.onnx"}
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
        flush(path)
    with alone_in(folder):
        _finish(folder)  # of a process that died
        os.rename(staging, folder / COMMITTED)
        flush(folder)
        _finish(folder)


def recover(folder: Path) -> None:
    """Finish what a process that died had committed; mostly there is nothing. Raises OSError where it may not write."""
    if _is_own(folder / COMMITTED):
        with alone_in(folder):
            _finish(folder)


def _finish(folder: Path) -> None:
    committed = folder / COMMITTED
    if not _is_own(committed):
        return
    coming = [name for name in sorted(KNOWN) if _is_plain(committed / name)]
    gone = (committed / GONE).read_bytes().decode("utf-8", "replace").split("\n")
    # First the old ones go: in between a missing file is an error, where one of each would be a wrong model.
    for name in sorted(KNOWN):
        if name in coming or name in gone:
            (folder / name).unlink(missing_ok=True)
    for name in coming:
        os.replace(committed / name, folder / name)
    flush(folder)
    done = folder / f"{STAGING.format(pid=os.getpid())}done"
    os.rename(committed, done)  # in one step: half of it would not be understood
    shutil.rmtree(done, ignore_errors=True)


def _is_own(committed: Path) -> bool:
    """Whether it is a committed folder as `commit` makes one: whoever hands a folder on can put anything there."""
    return committed.is_dir() and not committed.is_symlink() and _is_plain(committed / GONE)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """One process at a time in a folder; the system lets go of the lock of one that dies. Windows has no such lock."""
    if os.name == "nt":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def clear(folder: Path) -> None:
    """Remove what processes that are no more had begun to write."""
    for path in folder.glob(STAGING.format(pid="*") + "*"):
        pid = path.name.split("-")[1]
        if path.name != COMMITTED and re.fullmatch("[0-9]{1,10}", pid) and not _runs(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
