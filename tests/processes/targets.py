"""What the processes of these tests work on."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.errors import InputError, UnsupportedError
from k2t_core.processes.limits import briefly
from k2t_core.processes.messages import Codec
from k2t_core.progress import Cancelled, Progress, check


@dataclass(frozen=True)
class Told:
    words: str
    values: np.ndarray


@dataclass(frozen=True)
class Unknown:
    words: str


class Target:
    CODEC = Codec(Told)

    def __init__(self) -> None:
        self.count = 0

    def echo(self, *values: Any, **named: Any) -> Any:
        return [list(values), named] if named else list(values)

    def add(self) -> int:
        self.count += 1
        return self.count

    def modules(self) -> list[str]:
        return sorted(sys.modules)

    def raise_it(self, kind: str) -> None:
        if kind == "exit":
            sys.exit(0)
        raise {
            "input": InputError("layer 'a': no"),
            "unsupported": UnsupportedError(["one", "two"]),
            "value": ValueError("a fault"),
            "memory": MemoryError("8 GiB"),
        }[kind]

    def raise_any(self, kind: str) -> None:
        class Own(BaseException):
            pass

        raise {"own": Own("x"), "interrupt": KeyboardInterrupt("x"), "cancelled": Cancelled()}[kind]

    def answer_nothing(self) -> None:
        """Whatever is to be answered from here on, there is no way to."""
        for one in gc.get_objects():
            if type(one).__name__ == "Worker":
                one.channel.send = None

    def say(self, *messages: Any) -> None:
        """Send what no worker sends, in its name."""
        worker = next(one for one in gc.get_objects() if type(one).__name__ == "Worker")
        for message in messages:
            worker.channel.send(message)
        time.sleep(60)

    def big(self, count: int) -> np.ndarray:
        return np.arange(count, dtype=np.float64)

    def unknown(self) -> Unknown:
        return Unknown("no data")

    def steps(self, count: int, progress: Progress) -> str:
        for index in range(count):
            progress(index / count, f"step {index}")
        return "done"

    def long(self) -> None:
        while True:
            check()
            time.sleep(0.01)

    def endless(self) -> None:
        while True:
            time.sleep(0.01)

    def end(self, how: str) -> None:
        if how == "exit":
            os._exit(7)
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(60)  # another thread may be the one that it reaches

    def crash(self) -> None:
        ctypes.string_at(0)

    def burn_briefly(self, seconds: float) -> None:
        with briefly(seconds):
            self.burn()

    def burn(self) -> None:
        while True:
            pass

    def hold(self, gigabytes: float) -> int:
        return int(np.ones(int(gigabytes * 2**27), np.float64).sum())

    def write(self, path: str) -> str:
        try:
            Path(path).write_text("x")
        except OSError as error:
            return type(error).__name__
        return "written"

    def write_much(self, path: str, count: int) -> int:
        try:
            with open(path, "wb") as file:
                file.write(bytes(count))
        except OSError:
            pass
        return os.path.getsize(path)

    def read(self, path: str) -> str:
        return Path(path).read_text()

    def connect(self, port: int) -> str:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                return "connected"
        except OSError as error:
            return type(error).__name__

    def datagram(self) -> str:
        try:
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        except OSError as error:
            return type(error).__name__
        return "made"

    def kill_parent(self) -> str:
        try:
            os.kill(os.getppid(), 0)
        except OSError as error:
            return type(error).__name__
        return "reached"

    def own_signal(self) -> str:
        os.kill(os.getpid(), 0)
        return "sent"

    def limit(self, pid: int) -> str:
        import resource

        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE)
        except OSError as error:
            return type(error).__name__
        return "limited"

    def start(self, how: str) -> str:
        """Another process, or a thread."""
        try:
            if how == "fork":
                if os.fork() == 0:
                    os._exit(0)
            elif how == "program":
                subprocess.run(["true"])
            elif how == "exec":
                os.execv("/bin/true", ["true"])
            else:
                thread = threading.Thread(target=self.add)
                thread.start()
                thread.join()
        except OSError as error:
            return type(error).__name__
        return "started"

    def terminal(self) -> str:
        """Type a letter into the terminal of this process's stdin or stderr, as if its user had."""
        import fcntl
        import termios

        try:
            fcntl.ioctl(2, termios.TIOCSTI, b"x")
        except OSError as error:
            return type(error).__name__
        return "typed"

    def metadata(self, path: str) -> list[str]:
        """Change what is known of a file besides its content, each way: what came of it."""
        found = []
        for change in (
            lambda: os.chmod(path, 0o777),
            lambda: os.utime(path, (0, 0)),
            lambda: os.chown(path, os.getuid(), os.getgid()),
            lambda: os.setxattr(path, "user.k2t", b"x"),
        ):
            try:
                change()
                found.append("changed")
            except OSError as error:
                found.append(type(error).__name__)
        return found

    def unix_socket(self, path: str) -> str:
        try:
            with socket.socket(socket.AF_UNIX) as end:
                end.connect(path)
        except OSError as error:
            return type(error).__name__
        return "connected"

    def write_into(self, pid: int) -> str:
        try:
            open(f"/proc/{pid}/mem", "r+b").close()
        except OSError as error:
            return type(error).__name__
        return "opened"

    def garbage(self) -> None:
        """Speak another language on every socket of this process."""
        for fd in range(3, 64):
            try:
                os.write(fd, b"\xff" * 64)
            except OSError:
                continue

    def print_much(self) -> str:
        print("x" * 10)
        return "printed"

    def leave_a_thread(self) -> None:
        threading.Thread(target=self.endless).start()
