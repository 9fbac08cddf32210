"""Every case of the conformance suite, as one table: class × cases × right / refused / wrong; writes docs/coverage.md.

    python benchmarks/coverage.py                     everything, two processes
    python benchmarks/coverage.py Conv2D LSTM         these classes; prints their table and leaves docs/coverage.md alone
    python benchmarks/coverage.py --list Dot          what became of each case that is not simply right

A combination of options that Keras itself cannot build or run is counted as "not in Keras" and is no case. Exit code 1 where a
case is wrong, or ends otherwise than tests/conformance/cases.py expects.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", PYTHONWARNINGS="ignore", ABSL_MIN_LOG_LEVEL="3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
REPORT = ROOT / "docs" / "coverage.md"
CHUNK, PROCESSES = 60, 2

DOCUMENT = """# Coverage: every class of keras.layers

Written by `python benchmarks/coverage.py` with {versions}.

Each case is a model of one layer with one combination of options, input shapes, masks and dtype policy, every variable random: Keras
on TensorFlow and the generated module compute the same batch. *right*: equal within the tolerance of the dtype, shapes and dtypes
included. *refused*: k2t says before converting what it cannot do and what to do about it. *wrong*: converted, and the numbers
disagree, or an error without explanation. *not in Keras*: combinations that Keras itself rejects; they are no cases.

{summary}

{table}

## Why layers are refused

{reasons}

## keras.activations

{activations}
"""


def run(indices: list[int], folder: str) -> list[tuple[int, str, str, str | None]]:
    """In a worker: (index, kind, message, why it is not what the case says) of each case."""
    import tempfile as its

    its.tempdir = folder
    import tensorflow as tf
    import torch

    if not torch.get_num_threads() == 1:
        torch.set_num_threads(1)
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    from tests.conformance.cases import cases
    from tests.conformance.suite import failure, outcome

    every = cases()
    done = []
    for index in indices:
        result = outcome(every[index])
        done.append((index, result.kind, result.message, failure(every[index], result)))
    return done


def reason(message: str) -> str:
    """A refusal without the name of the layer and with numbers and quoted names left open, so that like ones fall together."""
    text = re.sub(r"^.*?layer '[^']*' \(([\w.]*?)(\w+)\): ", "", message)
    return re.sub(r"\(?\d[\d, ()]*", "… ", text).replace("  ", " ").strip()


def markdown(rows: list[list], head: list[str]) -> str:
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layers", nargs="*", help="classes of keras.layers; default: all")
    parser.add_argument("--list", action="store_true", help="print every case that is not simply right")
    arguments = parser.parse_args()
    import keras
    import tensorflow as tf
    import torch

    from tests.conformance.cases import cases
    from tests.conformance.suite import ABSENT, REFUSED, RIGHT, WRONG, activations

    every = cases()
    chosen = [i for i, case in enumerate(every) if not arguments.layers or case.layer in arguments.layers]
    chunks = [chosen[k : k + CHUNK] for k in range(0, len(chosen), CHUNK)]
    started, results = time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), max_tasks_per_child=10) as pool:
        for number, done in enumerate(pool.map(run, chunks, [folder] * len(chunks)), 1):
            results.update({index: rest for index, *rest in done})
            for index, kind, message, why in done:
                if why or arguments.list and kind != RIGHT:
                    print(f"{'UNEXPECTED ' if why else ''}{every[index]}: {why or f'{kind}: {message}'}", flush=True)
            print(f"{number} of {len(chunks)} parts, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - started
    counts, reasons, unexpected = collections.defaultdict(collections.Counter), collections.defaultdict(collections.Counter), 0
    for index, (kind, message, why) in results.items():
        counts[every[index].layer][kind] += 1
        unexpected += why is not None
        if kind == REFUSED:
            reasons[reason(message)][every[index].layer] += 1
    total = sum(counts.values(), collections.Counter())
    kinds = [RIGHT, REFUSED, WRONG, ABSENT]
    rows = [[name, tally.total() - tally[ABSENT], *(tally[k] for k in kinds)] for name, tally in [*sorted(counts.items()), ("**total**", total)]]
    table = markdown(rows, ["class", "cases", *kinds])
    grouped = [[text.replace("|", "\\|"), sum(c.values()), ", ".join(f"{n}" for n in sorted(c))] for text, c in sorted(reasons.items(), key=lambda item: -sum(item[1].values()))]
    why_refused = markdown(grouped, ["reason", "cases", "classes"])
    summary = f"{len(counts)} classes, {total.total() - total[ABSENT]} cases: {total[RIGHT]} right, {total[REFUSED]} refused, {total[WRONG]} wrong ({total[ABSENT]} combinations are not in Keras). {seconds / 60:.0f} minutes with {PROCESSES} processes on {os.cpu_count()} cores."
    print(table, why_refused, summary, sep="\n\n")
    if not arguments.layers:
        versions = f"Keras {keras.__version__}, TensorFlow {tf.__version__}, torch {torch.__version__}"
        of_names = []
        for name in activations():
            tally = collections.Counter(results[i][0] for i in results if every[i].layer == "Activation" and f"'{name}'" in every[i].name)
            of_names.append([name, tally.total() - tally[ABSENT], *(tally[k] for k in kinds)])
        REPORT.write_text(DOCUMENT.format(versions=versions, summary=summary, table=table, reasons=why_refused, activations=markdown(of_names, ["name", "cases", *kinds])))
    return 1 if total[WRONG] or unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
