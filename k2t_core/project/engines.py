"""The engines of a server: a process for each open project, which holds the frameworks and the file.

A warm one waits for the next project, so that nobody waits for TensorFlow to start; engines that nobody has used for a
while end, and so do the longest unused ones where the machine's memory holds no more.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from k2t_core.processes.child import Child
from k2t_core.processes.limits import InForce, Limits, cpu_limit, memory_limit, memory_of_the_machine
from k2t_core.progress import Progress, check
from k2t_core.project.planned import CODEC
from k2t_core.project.settings import home

WORKBENCH = "k2t_core.project.workbench:Workbench"
IDLE = 30 * 60  # seconds after which an engine that nobody uses ends: its project is read again when it is needed
EACH = 2 * 2**30  # bytes that an engine with a common model takes
LOOK = 60.0  # seconds between two looks at which are idle


class Engine(Protocol):
    """What a project asks for all that takes a framework: the methods of `workbench.Workbench`, by name."""

    @property
    def alive(self) -> bool: ...

    def call(self, name: str, *args: Any, progress: Progress | None = None, **named: Any) -> Any: ...

    def kill(self, why: str = ...) -> None: ...


def limits() -> Limits:
    """What an engine may use. It may write to the folder of the projects and to the temporary one."""
    projects = home() / "projects"
    projects.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Limits(memory=memory_limit(), call=cpu_limit(), network=False, writes=(str(projects), tempfile.gettempdir()))


class Here:
    """The same methods in this very process, for tests and scripts that open no stranger's file.

    What goes in and comes out passes through the codec as it would between processes.
    """

    def __init__(self) -> None:
        from k2t_core.project.workbench import Workbench

        self.workbench = Workbench()
        self.alive = True

    def call(self, name: str, *args: Any, progress: Progress | None = None, **named: Any) -> Any:
        told = {"progress": progress} if progress is not None else {}
        given, options = _through((args, named))
        check()
        return _through(getattr(self.workbench, name)(*given, **options, **told))

    def kill(self, why: str = "") -> None:
        self.alive = False


def _through(value: Any) -> Any:
    header, *pieces = CODEC.encode(value)
    body, arrays = CODEC.decode(bytes(header[8:]))
    for array, piece in zip((array for array in arrays if array.size), pieces):
        array.reshape(-1).view("uint8")[:] = piece
    return CODEC.value(body, arrays)


class Engines:
    """Gives each project an engine. most: how many there may be; by default as many as fit into the memory."""

    def __init__(self, make: Callable[[], Engine] | None = None, most: int | None = None, idle: float = IDLE):
        self._make = make or _started
        self.most = most if most is not None else max(2, memory_of_the_machine() // EACH)
        self.idle = idle
        self._spare: Engine | None = None
        self._lent: dict[int, tuple[weakref.ref[Engine], float]] = {}  # id → engine, when it was used last
        self._lock = threading.RLock()
        self._watch: threading.Thread | None = None

    def warm(self) -> None:
        """Have one ready for the next project, where there is room for it.

        Two that start at once take twice as long: a project asks for the next one's when its own model is loaded.
        """
        with self._lock:
            if len(self._living()) < self.most:
                self._ready()

    def _ready(self) -> Engine:
        if self._spare is None or not self._spare.alive:
            self._spare = self._make()
        return self._spare

    def take(self) -> Engine:
        """An engine for a project. Where there are too many, the one that was not used for longest ends."""
        with self._lock:
            found, self._spare = self._ready(), None
            lent = sorted(self._living(), key=lambda one: one[1])
            for engine, _ in lent[: max(0, len(lent) + 1 - self.most)]:
                self.end(engine, "others needed its memory")
            self._lent[id(found)] = (weakref.ref(found), time.monotonic())
            if self._watch is None:
                self._watch = threading.Thread(target=self._look, name="k2t-engines", daemon=True)
                self._watch.start()
            return found

    def used(self, engine: Engine) -> None:
        """Somebody asked it for something."""
        with self._lock:
            if id(engine) in self._lent:
                self._lent[id(engine)] = (weakref.ref(engine), time.monotonic())

    def end(self, engine: Engine, why: str) -> None:
        with self._lock:
            self._lent.pop(id(engine), None)
        engine.kill(why)

    def end_idle(self) -> None:
        """End those that nobody has used for a while."""
        for engine, since in self._living():
            if time.monotonic() - since > self.idle:
                self.end(engine, "nobody used it for a while")

    def end_all(self) -> None:
        for engine, _ in self._living():
            self.end(engine, "it was ended")
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.kill()

    def _living(self) -> list[tuple[Engine, float]]:
        with self._lock:
            found = [(ref(), since) for ref, since in self._lent.values()]
            return [(engine, since) for engine, since in found if engine is not None and engine.alive]

    def _look(self) -> None:
        while True:
            time.sleep(LOOK)
            self.end_idle()


def _started() -> Child:
    """An engine that imports the frameworks while nobody waits for it yet."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the reference, whatever the user's own default is
    engine = Child("the engine", WORKBENCH, CODEC, limits())
    threading.Thread(target=_warm, args=(engine,), name="k2t-warm", daemon=True).start()
    return engine


def _warm(engine: Child) -> None:
    """Ask it to import Keras; whoever loads a model next asks for the same, and is told what went wrong."""
    if engine.alive:
        engine.call("start")


def in_force(engine: Child) -> InForce:
    """Which limits the system has put on an engine."""
    engine.call("start")
    return engine.in_force
