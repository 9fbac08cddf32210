"""The parent's side: start a process that works, call what it offers, and end it.

A call waits for its answer; meanwhile others may call from other threads. Whatever ends the process ends in one
sentence (`ProcessEnded`), and the parent goes on.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Self

from k2t_core import errors
from k2t_core.errors import K2TError, ProcessEnded, UnsupportedError
from k2t_core.processes.answers import check_answer
from k2t_core.processes.limits import InForce, Limits, how_it_ended
from k2t_core.processes.messages import Channel, Codec, MessageError
from k2t_core.progress import Cancelled, Progress, check

GRACE = 2.0  # seconds in which cancelled work may end by itself, so that what the process holds is not lost
AHEAD = 1000  # words of progress that wait to be read; more are dropped
LOOK = 0.1  # seconds between two looks at whether somebody has cancelled


class WorkerFault(Exception):
    """A fault of k2t or a framework in the process that worked. where: its traceback there."""

    def __init__(self, words: str, where: str):
        super().__init__(words)
        self.where = where


class Zygote:
    """A process that forks into others: see `k2t_core.processes.zygote`. It ends with this one."""

    def __init__(self, imports: Sequence[str]):
        self.imports = tuple(imports)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = os.getpid()

    def add(self, module: str) -> None:
        """One more module to import, where it does not run yet: a room above names what it needs."""
        self.imports = tuple(dict.fromkeys((*self.imports, module)))

    def warm(self) -> None:
        """Start it, where it does not run; it imports in the background."""
        with self._lock:
            self._running()

    def start(self, setup: dict[str, Any], end: socket.socket, stderr: int = 2) -> int:
        """Fork one that works on ``end``, and has a file of this process for stderr; its pid."""
        ends = [end.fileno(), *([stderr] if _is_open(stderr) else [])]
        with self._lock:
            try:
                return _asked(self._running(), {"start": setup}, ends)["pid"]
            except OSError:  # it was killed, or had been idle for long and has left just now
                self._process = None
            try:
                return _asked(self._running(), {"start": setup}, ends)["pid"]
            except OSError as error:
                self._process = None
                raise ProcessEnded(f"the process that starts others has ended ({error}); try again") from error

    def end(self, pid: int) -> int:
        """Kill a child where it lives still; its exit code, or minus its signal."""
        with self._lock:
            try:
                if self._control is not None and self._owner == os.getpid():
                    return _asked(self._control, {"end": pid}, [])["status"]
            except OSError:  # it is gone, and its children with it
                self._process = None
        return -signal.SIGKILL

    def _running(self) -> socket.socket:
        forked = self._owner != os.getpid()  # this process from another one, to which the zygote belongs
        if forked or self._process is None or self._process.poll() is not None or self._control is None:
            self._owner = os.getpid()
            self._control, theirs = socket.socketpair()
            with theirs:
                self._process = _python(["k2t_core.processes.zygote", str(theirs.fileno()), *self.imports], theirs)
        return self._control


class Child:
    """A process that works. It ends with `kill`, with the block that it is entered for, or with the parent.

    name: what it is, for sentences ("the engine"). target: "module:Class" of the object that it makes, whose public
    methods can be called; its ``CODEC`` is the codec here too. zygote: forks it; without one it is started afresh.
    grace: seconds in which cancelled work may end by itself, so that what the process holds is not lost. stderr: where
    it prints.
    """

    def __init__(
        self,
        name: str,
        target: str,
        codec: Codec,
        limits: Limits,
        *,
        imports: Sequence[str] = (),
        zygote: Zygote | None = None,
        grace: float = GRACE,
        stderr: int = 2,
    ):
        self.name, self.limits, self.in_force = name, limits, InForce()
        self.pid = 0
        self._zygote, self._process, self._grace = zygote, None, grace
        ours, theirs = socket.socketpair()
        setup = {"target": target, "limits": asdict(limits), "imports": list(imports)}
        with theirs:
            if zygote is not None:
                self.pid = zygote.start(setup, theirs, stderr)
            else:
                arguments = ["k2t_core.processes.worker", str(theirs.fileno()), json.dumps(setup)]
                self._process = _python(arguments, theirs, stderr)
                self.pid = self._process.pid
        self._channel = Channel(ours, codec)
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._gone: str | None = None  # why it has ended
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, name=f"k2t-{name}", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        return self._gone is None

    @property
    def ready(self) -> bool:
        """Whether it has started: a call before that waits."""
        return self._ready.is_set()

    def call(self, name: str, *args: Any, progress: Progress | None = None, **named: Any) -> Any:
        """What the method gives. progress: passed on, for a method that takes it.

        Raises what it raises: errors of k2t as they are, others as `WorkerFault`; Cancelled where this thread's work is
        not wanted any more; ProcessEnded where the process has ended, or ends.
        """
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._lock:
            if self._gone is not None:
                raise ProcessEnded(self._gone)
            id = next(self._ids)
            self._answers[id] = answers
        message = {"id": id, "call": name, "args": list(args), "named": named, "tells": progress is not None}
        try:
            self._channel.send(message)
        except OSError:  # it has just ended: the reader knows why, and answers
            self._reader.join()
        try:
            return self._wait(id, answers, progress)
        finally:
            self._answers.pop(id, None)

    def _wait(self, id: int, answers: queue.SimpleQueue[dict[str, Any]], progress: Progress | None) -> Any:
        until = float("inf")  # when it is too late for it to end by itself
        late = time.monotonic() + self.limits.wall if self.limits.wall is not None else float("inf")
        while True:
            try:
                answer = answers.get(timeout=LOOK)
            except queue.Empty:
                answer = {}
            if "done" in answer:
                return answer["done"]
            if "failed" in answer:
                if answer["failed"] == "Cancelled" and until == float("inf"):
                    raise WorkerFault("it says that it was cancelled, and nobody asked for that", "")
                raise error_of(answer)
            try:
                if "share" in answer and progress is not None and until == float("inf"):
                    progress(answer["share"], answer["text"])
                if until == float("inf"):
                    check()
            except Cancelled:
                until = time.monotonic() + self._grace
                self._send_quietly({"cancel": id})
            if time.monotonic() >= until:
                self.kill("it was stopped in the middle of its work")
                raise Cancelled
            if time.monotonic() > late:
                self.kill(f"it gave no answer for {self.limits.wall} s")

    def kill(self, why: str = "it was ended") -> None:
        """End it, now."""
        self._end(why)
        self._reader.join()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _send_quietly(self, message: dict[str, Any]) -> None:
        try:
            self._channel.send(message)
        except OSError:  # it has ended: the reader answers who waits
            pass

    def _read(self) -> None:
        """In a thread: hand each answer to who waits for it, until the process has ended."""
        while True:
            try:
                message = self._channel.receive()
                check_answer(message)
            except EOFError:
                self._end(None)
                break
            except (MessageError, OSError) as error:
                self._end(f"it does not speak k2t's language any more ({error})")
                break
            if "ready" in message:
                self.in_force = InForce(message["on"], message["off"])
                self._ready.set()
                continue
            if "share" not in message:
                waiting = self._answers.pop(message["id"], None)  # it is answered once
            else:
                waiting = self._answers.get(message["id"])
            if waiting is not None and ("share" not in message or waiting.qsize() < AHEAD):
                waiting.put(message)
        for waiting in list(self._answers.values()):
            waiting.put({"failed": "ProcessEnded", "words": self._gone})

    def _end(self, why: str | None) -> None:
        with self._lock:
            if self._gone is not None:
                return
            code = self._code()
            self._gone = f"{self.name} has ended: {why or how_it_ended(code, self.limits)}"
            self._ready.set()
        try:
            self._channel.end.shutdown(socket.SHUT_RDWR)
        except OSError:  # it is closed already
            pass

    def _code(self) -> int:
        """Kill it where it lives still; its exit code, or minus its signal."""
        if self._zygote is not None:
            return self._zygote.end(self.pid)
        assert self._process is not None  # there is no zygote
        try:
            return self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def error_of(answer: dict[str, Any]) -> BaseException:
    """The exception that a failed call raises here: only classes of k2t's own are made, by name."""
    kind, words = answer["failed"], answer.get("words", "")
    if kind == "Cancelled":
        return Cancelled()
    if kind == "UnsupportedError":
        return UnsupportedError([str(problem) for problem in words])
    words = str(words)
    if kind == "MemoryError":
        return MemoryError(words)
    cls = getattr(errors, kind, None) if kind else None
    if isinstance(cls, type) and issubclass(cls, K2TError):
        return cls(words)
    return WorkerFault(words, answer.get("where", ""))


def _asked(control: socket.socket, request: dict[str, Any], ends: list[int]) -> dict[str, Any]:
    """A zygote's answer. Raises OSError where it is gone."""
    socket.send_fds(control, [json.dumps(request).encode()], ends)
    answer = b""
    while not answer.endswith(b"\n"):
        piece = control.recv(4096)
        if not piece:
            raise ConnectionError("it is gone")
        answer += piece
    return json.loads(answer)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def environment() -> dict[str, str]:
    """Of a Python that finds what this one finds, and with ``-P`` nothing that lies in the folder it is started in."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _python(arguments: list[str], end: socket.socket, stderr: int = 2) -> subprocess.Popen[bytes]:
    """A Python with k2t as this one has it, that holds one end of a socket and nothing else of this process's."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", *arguments],
        pass_fds=[end.fileno()],
        stdin=subprocess.DEVNULL,
        stderr=stderr if stderr != 2 else None,
        env=environment(),
    )
