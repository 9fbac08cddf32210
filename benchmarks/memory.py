"""What closed sessions leave behind in a server's memory: prints a table.

    python benchmarks/memory.py    five sessions after each other, a model of 400 MB in each, converted and verified

A session's project is dropped as Streamlit drops it, and the memory of the process is read before and after.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import weakref
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def resident() -> float:
    """Megabytes of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def build(path: Path) -> None:
    import keras
    from keras import layers

    keras.Sequential([keras.Input((16,)), layers.Dense(1000), layers.Dense(100_000), layers.Dense(2)]).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=5)
    arguments = parser.parse_args()
    from k2t_core.cli import load_frameworks

    load_frameworks()
    from k2t_core.project.project import Project

    with tempfile.TemporaryDirectory() as folder:
        os.environ["K2T_HOME"] = folder
        path = Path(folder) / "big.keras"
        if (child := os.fork()) == 0:  # what building the model takes is not the server's
            build(path)
            os._exit(0)
        os.waitpid(child, 0)
        print(f"before: {resident():,.0f} MB\n")
        print("| session | open, MB | closed, MB | its model is gone |\n| --: | --: | --: | :-: |")
        for number in range(arguments.sessions):
            project = Project.create()
            project.load(path)
            project.convert()
            project.verify()
            model, most = weakref.ref(project.traced.source.model), resident()
            del project
            gc.collect()
            gone = "yes" if model() is None else "no"
            print(f"| {number + 1} | {most:,.0f} | {resident():,.0f} | {gone} |", flush=True)


if __name__ == "__main__":
    main()
