"""What it costs that each project of the app has an engine, a process of its own: prints tables.

    python benchmarks/engines.py                 1 and 20 sessions, each with a model that is loaded and verified
    python benchmarks/engines.py --sessions 5    1 and 5

Times of the same work in this process and in an engine are taken in turns, in one run; their ratio is what counts.
Memory is the proportional set size of each process (/proc/PID/smaps_rollup: Linux), so that shared pages count once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

ROUNDS = 5


def proportional(pid: int) -> float:
    """Megabytes of a process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1000


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def times(path: Path, folder: Path) -> None:
    """The steps of a session in this process and in an engine, in turns."""
    from k2t_core.processes.child import Child
    from k2t_core.progress import silent
    from k2t_core.project.engines import WORKBENCH, Here, limits
    from k2t_core.project.layer_bench import Inputs
    from k2t_core.project.planned import CODEC
    from k2t_core.recipe import Recipe

    inputs = Inputs(None, 0, "normal")
    begun = time.perf_counter()
    engine = Child("the engine", WORKBENCH, CODEC, limits())
    engine.call("start")
    print(
        f"An engine is ready {time.perf_counter() - begun:.1f} s after its start; who finds a warm one does not wait.\n"
    )
    sides = {"here": Here(), "engine": engine}
    steps: dict[str, Callable[[str], object]] = {
        "read the file": lambda side: sides[side].call("load", path, False, None, progress=silent),
        "plan": lambda side: sides[side].call("planned", Recipe()),
        "model.py with its lines": lambda side: sides[side].call("source"),
        "a layer alone, asked again": lambda side: sides[side].call("judge", "lstm", inputs),
        "convert": lambda side: sides[side].call("convert", folder / side, progress=silent),
        "verify": lambda side: sides[side].call("verify", folder / side, {"edge_cases": False}, progress=silent),
        "one question": lambda side: sides[side].call("is_probed", "lstm", inputs),
    }
    for side in sides:  # once for nothing: both are warm from here on
        (folder / side).mkdir()
        for step in steps.values():
            step(side)
    print("| step | in this process, ms | in an engine, ms | ratio |\n| :-- | --: | --: | --: |")
    for name, step in steps.items():
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(ROUNDS):
            for side in sides:
                taken[side].append(seconds(lambda step=step, side=side: step(side)) * 1000)
        here, there = (statistics.median(taken[side]) for side in sides)
        print(f"| {name} | {here:.1f} | {there:.1f} | {there / here:.2f} |", flush=True)
    engine.kill()


def sessions(path: Path, count: int) -> None:
    """Open ``count`` projects at once, then close them."""
    from k2t_core.project.engines import Engines
    from k2t_core.project.project import Project

    Project.engines = Engines()
    open_ones = []
    for _ in range(count):
        project = Project.create()
        project.load(path)
        project.settings["verify.edge_cases"] = False
        project.verify()
        open_ones.append(project)
    living = [project for project in open_ones if project.is_open]
    each = [proportional(project.engine.pid) for project in living]
    server = proportional(os.getpid())
    print(
        f"| {count} | {len(living)} of at most {Project.engines.most} | {statistics.median(each):,.0f} "
        f"| {sum(each):,.0f} | {server:,.0f} |",
        flush=True,
    )
    open_ones.clear()
    del project, living
    Project.engines.end_all()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20)
    arguments = parser.parse_args()
    from k2t_core.project.settings import home

    with tempfile.TemporaryDirectory(prefix="k2t-engines-") as name:
        os.environ["K2T_HOME"] = name
        folder = home() / "projects" / "benchmark"
        folder.mkdir(parents=True)
        path = folder / "lstm.keras"
        build = [sys.executable, str(ROOT / "examples" / "build.py"), "lstm", "-o", str(folder)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)  # what that takes is not the server's
        times(path, folder)
        head = "open sessions | engines that live | one, MB | all, MB | server, MB"
        print(f"\n| {head} |\n| --: | --: | --: | --: | --: |")
        for count in (1, arguments.sessions):
            sessions(path, count)


if __name__ == "__main__":
    main()
