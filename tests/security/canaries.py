"""Canaries: harmless things that tell when a file has done what no file may.

Code: stored code that would write a file. Reading: a secret file, whose bytes may not come out anywhere. Writing: files
outside the folders of the work. Network: a listener on the loopback. Processes: any but k2t's own, and ruff, which
formats model.py. An audit hook sees what Python does (https://docs.python.org/3/library/audit_events.html),
inotify sees who opens the secret from below Python, and what is left on the disk is looked at.
"""

from __future__ import annotations

import base64
import ctypes
import marshal
import os
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The same place every time, so that the same seed makes the same file; another for each who works at the same time.
_WHO = os.environ.get("K2T_CANARIES") or os.environ.get("PYTEST_XDIST_WORKER") or ""
FOLDER = Path(tempfile.gettempdir()) / f"k2t-canaries-{os.getuid()}{_WHO}"
SECRET = FOLDER / "secret.bin"
FIRED = FOLDER / "fired"
MARK = "k2t canary"
NUMBERS = [3.14159 + k for k in range(64)]  # the secret, as weights would have it
SECRET_BYTES = struct.pack("<64f", *NUMBERS)
MODULE = "k2t_canary_module"  # importing it is running it
SAVED_MODEL = FOLDER / "saved_model"  # nobody may open it
WORDS = "\n".join(f"secret word {k}" for k in range(20))  # the secret, as a vocabulary would have it
VOCABULARY = FOLDER / "secret.txt"


def prepare() -> None:
    """Make what the canaries need, where it is not there: who is watched meanwhile has opened nothing."""
    SAVED_MODEL.mkdir(mode=0o700, parents=True, exist_ok=True)
    module = f"open({str(FIRED)!r}, 'a').write('module\\n')\n".encode()
    wanted = {SECRET: SECRET_BYTES, VOCABULARY: WORDS.encode(), FOLDER / f"{MODULE}.py": module}
    for path, data in {**wanted, SAVED_MODEL / "saved_model.pb": b"\x08\x01"}.items():
        if not path.exists():
            path.write_bytes(data)
    FIRED.unlink(missing_ok=True)
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))


def payload() -> str:
    """Code of a function of one argument that writes a file, as Keras keeps the code of a Lambda."""
    scope: dict[str, Any] = {}
    text = f"def stolen(x, *args, **kwargs):\n    open({str(FIRED)!r}, 'a').write({MARK!r} + '\\n')\n    return x\n"
    exec(compile(text, MARK, "exec"), scope)
    return base64.b64encode(marshal.dumps(scope["stolen"].__code__)).decode() + "\n"


CODE = payload()

_CODE_EVENTS = ("marshal.loads", "exec", "compile", "code.__new__", "function.__new__", "pickle.find_class")
_WRITING = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")
_PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile", "pty.spawn")


class Watch:
    """What fires in this process. One for each process: a hook cannot be taken off again.

    writes: folders in which files may be written; ``allowed`` may be set anew for each piece of work.
    """

    def __init__(self, writes: Sequence[Path]):
        prepare()
        self.allowed = tuple(map(str, writes))
        self.fired: list[str] = []
        self._own = threading.local()
        self._secrets = _Inotify([SECRET, VOCABULARY, SAVED_MODEL / "saved_model.pb", SAVED_MODEL])
        sys.addaudithook(self._hook)

    def taken(self) -> list[str]:
        """What has fired since it was asked last."""
        with self.aside():
            found = [*self.fired, *(f"read: {path} was opened" for path in self._secrets.opened())]
            if FIRED.exists():
                found.append(f"code: {FIRED.read_text().splitlines()} ran")
                FIRED.unlink()
            self._secrets.opened()
        self.fired.clear()
        return list(dict.fromkeys(found))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """While this is in force, what this thread does is the test's own."""
        before = getattr(self._own, "aside", False)
        self._own.aside = True
        try:
            yield
        finally:
            self._own.aside = before

    def _hook(self, event: str, args: tuple) -> None:
        if event not in _WATCHED or getattr(self._own, "aside", False):
            return
        with self.aside():
            found = self._found(event, args)
            if found:
                self.fired.append(found[:300])

    def _found(self, event: str, args: tuple) -> str:
        if event == "open":
            return self._opened(*args)
        if event == "import":
            return f"code: the module {args[0]} was imported" if args[0] == MODULE else ""
        if event in _CODE_EVENTS:
            return f"code: {event} of stored code" if _is_marked(args) else ""
        if event in _NETWORK:
            address = args[1] if event == "socket.connect" else args[0]
            return (
                ""
                if isinstance(address, bytes | str) and event == "socket.connect"
                else f"network: {event} {address!r}"
            )
        if event in _PROCESSES:
            told = str(args[:2])
            own = "ruff" in told or f"'{sys.executable}', '-P', '-m', 'k2t_core." in told
            return "" if own and MARK not in told else f"process: {event} {told}"
        if event == "os.rename":
            return self._written(args[0], args[2]) or self._written(args[1], args[3])
        return self._written(args[0], args[-1] if event in ("os.remove", "os.rmdir", "os.mkdir", "os.chmod") else -1)

    def _opened(self, path: Any, mode: Any, flags: Any) -> str:
        if not isinstance(path, bytes | str | os.PathLike):
            return ""
        text = os.fsdecode(path)
        if text.startswith(str(FOLDER)) and not text.startswith(self.allowed):
            return f"read: {text}"
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        return self._written(text) if writes else ""

    def _written(self, path: Any, folder: Any = -1) -> str:
        """folder: the descriptor of the one that the path starts from."""
        if isinstance(path, int):
            return ""
        text = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0:
            text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
        text = os.path.abspath(text)
        own = text.startswith((*self.allowed, "/dev/", "/proc/")) or "__pycache__" in text
        return "" if own else f"write: {text}"


_WATCHED = frozenset({"open", "import", *_CODE_EVENTS, *_WRITING, *_NETWORK, *_PROCESSES})


def _is_marked(value: Any) -> bool:
    """Whether code, or what becomes code, is that of a canary."""
    if isinstance(value, bytes):
        return MARK.encode() in value
    if isinstance(value, str):
        return MARK in value
    if isinstance(value, tuple):
        return any(map(_is_marked, value))
    return MARK in getattr(value, "co_filename", "") or MARK in getattr(
        getattr(value, "__code__", None), "co_filename", ""
    )


class _Inotify:
    """Who opens these paths, from Python or from below it; on Linux."""

    OPENED = 0x20

    def __init__(self, paths: Sequence[Path]):
        self._paths: dict[int, Path] = {}
        self._handle = -1
        if sys.platform == "linux":
            libc = ctypes.CDLL(None, use_errno=True)
            self._handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            for path in paths:
                self._paths[libc.inotify_add_watch(self._handle, os.fsencode(path), self.OPENED)] = path

    def opened(self) -> list[str]:
        try:
            data = os.read(self._handle, 65536) if self._handle >= 0 else b""
        except BlockingIOError:
            return []
        found = []
        while data:
            watch, _, _, length = struct.unpack_from("iIII", data)
            found.append(str(self._paths.get(watch, "")))
            data = data[16 + length :]
        return list(dict.fromkeys(found))


class Listener:
    """A server on the loopback that counts who comes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.came = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self._socket.accept()
            except OSError:
                return
            self.came += 1
            with visitor:
                visitor.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")


def secrets_in(data: bytes) -> bool:
    """Whether bytes of a secret stand in an output."""
    return SECRET_BYTES[:16] in data or b"secret word 1" in data


def memory() -> int:
    """The most memory that this process had since `forget_memory`, in bytes; on Linux."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def forget_memory() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
