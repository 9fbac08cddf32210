"""The doors by which a file comes in, each opened in a process that is watched: `k2t inspect`, `k2t convert` and
`k2t verify` as the command line runs them, and `k2t.load`, `k2t.plan` and `k2t.convert` as a program does.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from k2t_core.errors import ProcessEnded
from k2t_core.processes.child import Child, WorkerFault
from k2t_core.processes.limits import Limits
from k2t_core.processes.messages import Codec
from k2t_core.progress import Cancelled, interruptible
from tests.security import canaries
from tests.security.canaries import Watch

SECONDS, MEMORY = 120, 6 * 2**30  # more is a hang, or too much


class Doors:
    """In the process that is watched."""

    CODEC = Codec()

    def __init__(self) -> None:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras  # noqa: F401
        import tf_keras  # noqa: F401

        from tests.security.fuzzing import global_state

        self._folder = Path(tempfile.mkdtemp(prefix="k2t-doors-"))
        for name in ("cwd", "home", "tmp"):
            (self._folder / name).mkdir()
        os.chdir(self._folder / "cwd")
        os.environ.update(HOME=str(self._folder / "home"), TMPDIR=str(self._folder / "tmp"))
        tempfile.tempdir = str(self._folder / "tmp")
        self._watch = Watch([])
        self._state = global_state()
        self._opened = 0
        gc.collect()
        gc.freeze()

    def end(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, path: str) -> dict[str, Any]:
        """What becomes of a file at each door, and what fired."""
        out = self._folder / "out"
        with self._watched(out) as found:
            doors = found["doors"]
            doors["inspect"] = self._command("inspect", path)
            doors["convert"] = self._command("convert", path, "-o", str(out / "cli"))
            if doors["convert"]["code"] == 0:
                page = ("--html", str(out / "report.html"))
                doors["verify"] = self._command("verify", str(out / "cli"), "--against", path, *page)
            doors["load"] = self._call("load", path)
            doors["plan"] = self._call("plan", path)
            doors["api convert"] = self._call("convert", path, out / "api")
        return found

    def plain(self, path: str, version: str) -> dict[str, Any]:
        """What the loader of the framework itself does with the file, and a call of what it gives."""
        import keras
        import numpy as np
        import tf_keras

        package = tf_keras if version == "2" else keras
        with self._watched(self._folder / "out") as found:
            try:
                model = package.models.load_model(path, compile=False)
                for array in model.get_weights():
                    if canaries.secrets_in(np.asarray(array).tobytes()):
                        self._watch.fired.append("read: the secret is in the weights")
                model(np.zeros((1, 4), "float32"))
                found["doors"]["plain"] = {"code": 0, "said": "loaded"}
            except BaseException as error:  # stored code raises what it likes
                found["doors"]["plain"] = {"code": 1, "said": f"{type(error).__name__}: {str(error)[:300]}"}
        return found

    @contextlib.contextmanager
    def _watched(self, out: Path) -> Iterator[dict[str, Any]]:
        from tests.security.fuzzing import global_state, restore_state, tidy

        with self._watch.aside():
            out.mkdir()
            self._watch.allowed = (str(out), str(self._folder / "tmp"))
            self._watch.taken()
            canaries.forget_memory()
        start = time.perf_counter()
        found: dict[str, Any] = {"doors": {}}
        yield found
        with self._watch.aside():
            found.update(seconds=time.perf_counter() - start, memory=canaries.memory())
            fired = self._watch.taken()
            if global_state() != self._state:
                fired.append(f"state: {global_state()} instead of {self._state}")
                restore_state(self._state)
            for door in found["doors"].values():
                if canaries.secrets_in(door["said"].encode()):
                    fired.append("read: the secret was printed")
                if any(not letter.isprintable() and letter not in "\n\t" for letter in door["said"]):
                    fired.append(f"terminal: {ascii(door['said'])}")
            for file in (p for p in out.rglob("*") if p.is_file()):
                data = file.read_bytes()
                if canaries.secrets_in(data):
                    fired.append(f"read: the secret is in {file.name}")
                if file.suffix == ".html" and b"<script>k2t_canary" in data:
                    fired.append("code: a name is markup in report.html")
            for name in ("cwd", "home", "tmp"):
                left = [p.name for p in (self._folder / name).iterdir() if p.name != ".keras"]
                fired += [f"write: {name}/{file}" for file in left]
                for file in left:
                    shutil.rmtree(self._folder / name / file, ignore_errors=True)
            shutil.rmtree(out)
            found["fired"] = list(dict.fromkeys(fired))
            self._opened += 1
            if self._opened % 20 == 0:
                tidy()

    def _command(self, *arguments: str) -> dict[str, Any]:
        from k2t_core.cli import main

        said = io.StringIO()
        code: Any = None
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                main(list(arguments))
                code = 0
            except SystemExit as error:
                code = error.code
        return {"code": code or 0, "said": said.getvalue()}

    def _call(self, name: str, *arguments: Any) -> dict[str, Any]:
        import k2t_core as k2t

        try:
            getattr(k2t, name)(*arguments)
        except k2t.K2TError as error:
            return {"code": 2, "said": str(error)}
        except Exception as error:
            return {"code": 3, "said": f"{type(error).__name__}: {error}"}
        return {"code": 0, "said": ""}


def opened(files: Iterable[tuple[Any, Path, str]]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """(key, what became of it) for each (key, path, version): "3" or "2" for the plain loader of that Keras, "" for
    k2t's doors. One process for all; one that ends is followed by another.
    """
    child: Child | None = None
    try:
        for key, path, version in files:
            if child is None or not child.alive:
                limits = Limits(memory=MEMORY, call=SECONDS)
                child = Child("the doors' process", "tests.security.doors:Doors", Codec(), limits)
            yield key, _result(child, str(path), version)
        if child is not None and child.alive:
            child.call("end")
    finally:
        if child is not None:
            child.kill()


def _result(child: Child, path: str, version: str) -> dict[str, Any]:
    start = time.monotonic()
    try:
        with interruptible(lambda: time.monotonic() - start > SECONDS):
            return child.call("plain", path, version) if version else child.call("open", path)
    except Cancelled:
        child.kill()
        why = f"hang: more than {SECONDS} s"
    except (ProcessEnded, WorkerFault, MemoryError) as error:
        why = f"crash: {error}"
    return {"doors": {}, "fired": [why], "seconds": time.monotonic() - start, "memory": 0}
