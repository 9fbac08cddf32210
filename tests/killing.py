"""Processes that die in the middle of their work: before each of their steps, or at random moments.

    python -m tests.killing tests.emit.deaths commit FOLDER steps
    python -m tests.killing tests.emit.deaths commit FOLDER 200

The module has ``prepare_NAME(folder)``, which makes a folder as it was before, and ``NAME(folder)``, the work in which
the process is killed. It may import no framework: a process that has threads of its own cannot be forked. Each death
leaves a folder of its own in FOLDER, ``0``, ``1`` …; what stands in it then is for the test to say, which is the
process that comes after.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Calls of the system that write: to open for writing, to rename, to make and to take away.
STEPS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")


def deaths(module: str, name: str, folder: Path, when: str | int) -> list[Path]:
    """The folders that killed processes have left: one for each step ("steps"), or so many at random moments."""
    command = [sys.executable, "-m", "tests.killing", module, name, str(folder), str(when)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = sorted(folder.iterdir(), key=lambda path: int(path.name))
    print(f"deaths {module}:{name} {when} {len(found)}")  # benchmarks/security.py counts them
    return found


def random_deaths() -> int:
    """How many random moments a test tries: a sample, or 200 with ``K2T_SWEEP=all``."""
    return 200 if os.environ.get("K2T_SWEEP") == "all" else 15


def _forked(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return child


def _ended(child: int) -> bool:
    """Whether it did its work to the end; False where it was killed. Raises for anything else."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"the work itself failed with {code}")
    return code == 0


def _die_at(step: int, folder: Path) -> None:
    """Kill this process before the step of that number in the folder."""
    count = 0

    def hook(event: str, args: tuple) -> None:
        nonlocal count
        if event in STEPS and str(folder) in str(args[0]):
            if event == "open" and not (args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)):
                return
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(hook)


def main(module: str, name: str, root: str, when: str) -> None:
    found = import_module(module)
    prepare, work = getattr(found, f"prepare_{name}"), getattr(found, name)

    template = Path(root).with_name(f"{Path(root).name}.before")
    template.mkdir()
    prepare(template)

    def begun(index: int) -> Path:
        return Path(shutil.copytree(template, Path(root) / str(index)))

    if when == "steps":
        for step in range(10_000):
            folder = begun(step)
            if _ended(_forked(lambda at=step, folder=folder: (_die_at(at, folder), work(folder)))):
                return
        raise SystemExit("it never ended")
    whole = begun(0)
    start = time.perf_counter()
    if not _ended(_forked(lambda: work(whole))):
        raise SystemExit("it was killed by somebody else")
    duration, moments = time.perf_counter() - start, random.Random(0)
    for index in range(1, int(when) + 1):
        folder = begun(index)
        child = _forked(lambda folder=folder: work(folder))
        time.sleep(moments.uniform(0, 1.1 * duration))
        os.kill(child, signal.SIGKILL)
        _ended(child)


if __name__ == "__main__":
    main(*sys.argv[1:])
