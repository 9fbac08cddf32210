"""A command that works in a process of its own, with limits: how it is started, and how it puts them on.

The parent parses nothing and imports no framework: it waits, and says in a sentence how the command ended where it did
not end by itself. Both share the terminal.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from k2t_core.errors import ProcessEnded
from k2t_core.processes.child import Child, environment
from k2t_core.processes.limits import InForce, Limits, how_it_ended
from k2t_core.processes.messages import Codec

MARK = "K2T_LIMITED"  # in the environment of a process that is to put limits on
_PR_SET_PDEATHSIG = 1


def run(module: str, arguments: Sequence[str], limits: Limits) -> int:
    """``python -m module arguments`` in a process that is to put limits on (`put_on`); its exit code.

    limits: those that it will put on, for the words. Raises ProcessEnded where a signal ended it.
    """
    process = subprocess.Popen([sys.executable, "-P", "-m", module, *arguments], env={**environment(), MARK: "1"})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command, which knows what to do
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if code < 0:
        raise ProcessEnded(f"the command has ended: {how_it_ended(code, limits)}")
    return code


def put_on(limits: Limits) -> None:
    """Put limits on this process, where its parent asked for it; it ends with the parent from here on."""
    if os.environ.pop(MARK, None) is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    limits.apply()


def writable(path: Path) -> str:
    """Where a process must be let write, so that it can make the file or folder at ``path``."""
    path = path.expanduser().absolute()
    return str(next(found for found in (path, *path.parents) if found.is_dir()))


class _Nothing:
    """What a process that only tells its limits works on."""

    CODEC = Codec()

    def here(self) -> None:
        """It has started."""


def in_force(limits: Limits) -> InForce:
    """Which of the limits this system puts on, as a process that has them tells."""
    with Child("the command", f"{__name__}:_Nothing", _Nothing.CODEC, limits) as child:
        child.call("here")
        return child.in_force
