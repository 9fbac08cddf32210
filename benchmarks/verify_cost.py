"""What `k2t verify` takes in two checkouts, run in turns: seconds by the clock and of the processors, ratios.

    python benchmarks/verify_cost.py OLD NEW                     the dense example and MobileNetV2 with random weights
    python benchmarks/verify_cost.py OLD NEW convnet --rounds 5

The folders are converted by NEW. Seconds of the processors count every process that the command starts (Linux); they
tell more than the clock on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("dense", "MobileNetV2")
_PR_SET_CHILD_SUBREAPER = 36


def environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}


def built(name: str, checkout: Path, folder: Path) -> tuple[Path, Path]:
    """A model's file and the folder of its conversion."""
    code = """
import sys
from k2t_core.project.bundled import examples
from benchmarks.models import build
name, folder = sys.argv[1:]
print("FILE", examples().build(name, folder) if name in examples().EXAMPLES else build(name, None, folder))
"""
    command = [sys.executable, "-P", "-c", code, name, str(folder)]
    said = subprocess.run(command, env=environment(checkout), check=True, capture_output=True, text=True).stdout
    path = Path(next(line for line in said.splitlines() if line.startswith("FILE ")).removeprefix("FILE "))
    command = [sys.executable, "-P", "-m", "k2t_core.cli", "convert", str(path), "-o", str(folder / "out")]
    subprocess.run(command, env=environment(checkout), check=True, stdout=subprocess.DEVNULL)
    return path, folder / "out"


def verified(checkout: Path, path: Path, out: Path) -> tuple[float, float]:
    """(seconds by the clock, seconds of the processors) of the command."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-P", "-m", "k2t_core.cli", "verify", str(out), "--against", str(path)]
    subprocess.run(command, env=environment(checkout), check=True, stdout=subprocess.DEVNULL)
    clock = time.perf_counter() - begun
    try:
        while True:  # what it left behind, which ends by itself
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("names", nargs="*", metavar="MODEL", help="bundled examples or networks of keras.applications")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    print("| model | clock: old, new (s) | ratio | processors: old, new (s) | ratio |")
    print("| --- | --- | ---: | --- | ---: |")
    for name in arguments.names or MODELS:
        with tempfile.TemporaryDirectory(prefix="k2t-benchmark-") as folder:
            path, out = built(name, arguments.new.resolve(), Path(folder))
            pairs = []
            for _ in range(arguments.rounds):
                pairs.append([verified(side.resolve(), path, out) for side in (arguments.old, arguments.new)])
                print(name, pairs[-1], file=sys.stderr, flush=True)
        cells = []
        for kind in (0, 1):
            old, new = (statistics.median(pair[side][kind] for pair in pairs) for side in (0, 1))
            ratio = statistics.median(pair[1][kind] / pair[0][kind] for pair in pairs)
            cells += [f"{old:.1f}, {new:.1f}", f"{ratio:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
