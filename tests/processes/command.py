"""A command as `limited` runs one: it puts its limits on and does what it is told."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

from k2t_core.processes.limited import put_on, writable
from k2t_core.processes.limits import Limits

if __name__ == "__main__":
    what, where = sys.argv[1:]
    put_on(Limits(network=False, writes=(writable(Path(where)),)))
    if what == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "wait":
        print(os.getpid(), flush=True)
        time.sleep(60)
    for path in (Path(where) / "a", Path(where).parent / "b"):
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
            print(path.name, "written")
        except OSError as error:
            print(path.name, type(error).__name__)
    try:
        socket.socket(socket.AF_INET).close()
        print("socket made")
    except OSError as error:
        print("socket", type(error).__name__)
    sys.exit(5)
