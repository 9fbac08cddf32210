"""A process that has imported what others need, and forks into them: a start of hundredths of a second.

It has run nobody's code, so each of them begins untouched by the one before. Only for modules that start no threads
when they are imported (torch does not, TensorFlow does). ``python -m k2t_core.processes.zygote FD MODULE…``.

Requests and answers are lines of JSON: ``{"start": setup}`` with a socket and a file for stderr → ``{"pid"}``;
``{"end": pid}``, which kills it where it still lives → ``{"status"}`` as of `os.waitstatus_to_exitcode`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys

from k2t_core.processes import worker

LINE = 2**16  # bytes of a request
_PR_SET_PDEATHSIG = 1
IDLE = 600.0  # seconds without a request and without children, after which it ends: it is soon started again


def serve(control: socket.socket, idle: float = IDLE) -> None:
    """Fork for whoever holds the other end; when that is gone, all that were forked are ended too."""
    living: set[int] = set()
    while True:
        if not living and not select.select([control], [], [], idle)[0]:
            break
        request, ends, _, _ = socket.recv_fds(control, LINE, 2)
        if not request:
            break
        told = json.loads(request)
        if "start" in told:
            pid = os.fork()
            if pid == 0:
                _end_with_the_parent()
                control.close()
                for fd in ends[1:]:
                    os.dup2(fd, 2)
                    os.close(fd)
                worker.run(socket.socket(fileno=ends[0]), told["start"])
            for fd in ends:
                os.close(fd)
            living.add(pid)
            answer = {"pid": pid}
        elif told["end"] in living:
            answer = {"status": ended(told["end"])}
            living.discard(told["end"])
        else:  # of another zygote, which was killed
            answer = {"status": -signal.SIGKILL}
        control.sendall(json.dumps(answer).encode() + b"\n")
    for pid in living:
        ended(pid)


def _end_with_the_parent() -> None:
    """Where this process's parent is killed, so is this one (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def ended(pid: int) -> int:
    """Kill a child, where it lives still, and give its exit code or minus its signal."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # no collection in a child touches, and so copies, all that was imported here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    serve(socket.socket(fileno=int(sys.argv[1])))
