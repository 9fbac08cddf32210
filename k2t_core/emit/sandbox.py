"""Where a model.py runs: in a process of its own, which may compute and nothing else.

Whatever it patches, prints, starts or breaks is there, and gone with it. The process in which a verdict is reached
sends data and gets data; it does not even import what works on the other side.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any, Self

from k2t_core.errors import K2TError, OutputError, one_line
from k2t_core.processes.child import Child, WorkerFault, Zygote
from k2t_core.processes.limits import InForce, Limits, cpu_limit, memory_limit, wall_limit
from k2t_core.processes.messages import Codec
from k2t_core.words import printable

# Of the whole process, so that torch is imported once. Elsewhere than on Linux the system's own libraries may not be
# forked after they were loaded: there each sandbox is started afresh.
ZYGOTE = Zygote(["torch", "k2t_core.emit.module"]) if sys.platform == "linux" else None
WORDS = 1000  # characters of an error that comes from there
LINE = 1000  # characters of a line that is printed there


def expect(guest: str) -> str:
    """A guest ("module:Class") that there will be: its module is imported beforehand too."""
    if ZYGOTE is not None:
        ZYGOTE.add(guest.partition(":")[0])
    return guest


def warm() -> None:
    """Have torch ready by the time when a sandbox is needed; it is imported in the background."""
    if ZYGOTE is not None:
        ZYGOTE.warm()


class Guest:
    """What works in a sandbox: the methods of a subclass are called by name, with data, and give data."""

    CODEC = Codec()

    def enter(self, folder: str, path: list[str]) -> None:
        """Be where the process that asks is, so that the same files and modules have the same names."""
        os.chdir(folder)
        sys.path[:] = path

    def do(self, name: str, args: list[Any], named: dict[str, Any], threads: int) -> Any:
        """threads: that torch is to use, 0 for as many as it likes."""
        import torch

        # Each call has a thread of its own, and OpenMP a number for each thread.
        if threads and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        return getattr(self, name)(*args, **named)


class Sandbox:
    """A process with a `Guest` in it, from the first call on until `close`. Cancelling a call ends it at once.

    blamed: whose code runs there; every error names it, or has one of the words ``known`` (such as its folder) in it.
    """

    def __init__(self, blamed: str, guest: str, known: tuple[str, ...] = ()):
        self.blamed, self._known, self._guest = blamed, (blamed, *known), guest
        self._child: Child | None = None
        self._prints: threading.Thread | None = None

    @property
    def in_force(self) -> InForce:
        return self._child.in_force if self._child is not None else InForce()

    def call(self, name: str, *args: Any, **named: Any) -> Any:
        """What the guest's method gives. Raises OutputError for whatever goes wrong there."""
        try:
            if self._child is None:
                self._child = self._started()
                self._child.call("enter", os.getcwd(), [str(Path(entry).absolute()) for entry in sys.path])
            return self._child.call("do", name, list(args), named, _threads())
        except MemoryError as error:
            raise OutputError(f"{self.blamed}: the process that runs it has too little memory") from error
        except WorkerFault as error:
            raise OutputError(f"{self.blamed}: the process that runs it fails: {one_line(error, WORDS)}") from error
        except K2TError as error:  # ProcessEnded too; nobody but the file's own code chooses a class there
            words = one_line(error, WORDS)
            told = any(known in words for known in self._known)
            raise OutputError(words if told else f"{self.blamed}: {words}") from error

    def close(self) -> None:
        """End the process. The next call starts another one."""
        if self._child is not None:
            self._child.kill()
            self._child = None
        if self._prints is not None:
            self._prints.join(1.0)  # more only where what it started lives on: not on Linux
            self._prints = None

    def _started(self) -> Child:
        limits = Limits(
            memory=memory_limit(), call=cpu_limit(), wall=wall_limit(), network=False, writes=(), processes=False
        )
        reads, writes = os.pipe()
        self._prints = threading.Thread(target=_pass_on, args=(reads, self.blamed), daemon=True)
        self._prints.start()
        name = f"{self.blamed}: the process that runs it"
        try:
            return Child(name, self._guest, Guest.CODEC, limits, zygote=ZYGOTE, grace=0, stderr=writes)
        finally:
            os.close(writes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pass_on(reads: int, who: str) -> None:
    """In a thread: what the process prints, to stderr, so that it is seen who says it and no terminal obeys it."""
    with open(reads, encoding="utf-8", errors="replace") as file:
        while line := file.readline(LINE):
            words = printable(line.rstrip())
            if words and sys.stderr is not None:
                print(f"{who} prints: {words}", file=sys.stderr, flush=True)


def _threads() -> int:
    """How many torch uses here, where it was imported and told how many; the process beside it uses as many."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else 0
