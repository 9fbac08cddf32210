"""Every case of the conformance suite, as one table: class × cases × right / refused / wrong; writes docs/coverage.md.

    python benchmarks/coverage.py                     everything, two processes
    python benchmarks/coverage.py Conv2D LSTM         these classes; prints their table, leaves docs/coverage.md alone
    python benchmarks/coverage.py --every 8           every 8th case of each class
    python benchmarks/coverage.py --results FILE      keeps the results, and goes on with them after an interruption
    python benchmarks/coverage.py --list Dot          what became of each case that is not simply right

A combination of options that Keras itself cannot build or run is counted as "not in Keras" and is no case. Exit code 1
where a case is wrong, or ends otherwise than tests/conformance/cases.py expects.
"""

from __future__ import annotations

import argparse
import collections
import gc
import json
import os
import queue
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", PYTHONWARNINGS="ignore", ABSL_MIN_LOG_LEVEL="3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
REPORT = ROOT / "docs" / "coverage.md"
PROCESSES, SECONDS, CASES_A_PROCESS = 2, 120, 400  # SECONDS: for one case

DOCUMENT = """# Coverage: every class of keras.layers

Written by `python benchmarks/coverage.py` with {versions}.

Each case is a model of one layer with one combination of options, input shapes, masks and dtype policy, every variable
random: Keras on TensorFlow and the generated module compute the same batch. *right*: equal within the tolerance of the
dtype, shapes and dtypes included. *refused*: k2t says before converting what it cannot do and what to do about it.
*wrong*: converted, and the numbers disagree, or an error without explanation. *not in Keras*: combinations that Keras
itself rejects; they are no cases.

{summary}

{table}

## Why layers are refused

{reasons}

## keras.activations

{activations}
"""


def work() -> None:
    """A worker: reads a case's number on each line, answers with (kind, message, why it is not as the case says)."""
    answers, sys.stdout = sys.stdout, sys.stderr
    import tensorflow as tf
    import torch

    torch.set_num_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from tests.conformance.cases import cases
    from tests.conformance.suite import failure, outcome

    every = cases()
    gc.collect()
    gc.freeze()  # each case collects garbage: the frameworks' own million objects would be most of its time
    for line in sys.stdin:
        case = every[int(line)]
        result = outcome(case)
        print(json.dumps([result.kind, result.message, failure(case, result)]), file=answers, flush=True)


def sweep(numbers: queue.SimpleQueue, done: queue.SimpleQueue, folder: str, until: float) -> None:
    """Hand cases to a worker until none is left.

    A case that kills its worker, or takes too long, is wrong, and another worker goes on.
    """
    worker, handed = None, 0
    while time.perf_counter() < until and (number := numbers.get()) is not None:
        if worker is None:
            command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
            handed = 0
            worker = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "TMPDIR": folder},
            )
        worker.stdin.write(f"{number}\n")
        worker.stdin.flush()
        # The first waits for the frameworks to be imported.
        timer = threading.Timer(SECONDS + 60 * (handed == 0), worker.kill)
        timer.start()
        answer = worker.stdout.readline()
        timer.cancel()
        handed += 1
        if not answer:
            done.put(
                (number, "wrong", f"its process ended with {worker.wait()}", f"its process ended with {worker.wait()}")
            )
            worker = None
            continue
        done.put((number, *json.loads(answer)))
        if handed == CASES_A_PROCESS:
            worker.communicate()
            worker = None
    if worker is not None:
        worker.communicate()
    done.put((None,))


def reason(message: str) -> str:
    """A refusal without the layer's name, with numbers and quoted names left open, so that like ones fall together."""
    text = re.sub(r"^.*?layer '[^']*' \(([\w.]*?)(\w+)\): ", "", message)
    return re.sub(r"\(?\d[\d, ()]*", "… ", text).replace("  ", " ").strip()


def markdown(rows: list[list], head: list[str]) -> str:
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layers", nargs="*", help="classes of keras.layers; default: all")
    parser.add_argument("--list", action="store_true", help="print every case that is not simply right")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th case of each class")
    parser.add_argument(
        "--minutes",
        type=float,
        default=float("inf"),
        help="start no case after so many minutes; the classes take turns then",
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="keep the results here as JSON lines; what is there already is not run again",
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work()
        return 0
    import keras
    import tensorflow as tf
    import torch

    from tests.conformance.cases import cases
    from tests.conformance.suite import ABSENT, REFUSED, RIGHT, WRONG, activations

    every = cases()
    places: dict[str, int] = collections.Counter()  # every N-th case of a class, its first always
    chosen = []
    for number, case in enumerate(every):
        if (not arguments.layers or case.layer in arguments.layers) and places[case.layer] % arguments.every == 0:
            chosen.append(number)
        places[case.layer] += 1
    started, results = time.perf_counter(), {}
    if arguments.results and arguments.results.exists():
        known = {name: rest for name, *rest in map(json.loads, arguments.results.read_text().splitlines())}
        results = {number: known[str(every[number])] for number in chosen if str(every[number]) in known}
    until = started + 60 * arguments.minutes
    if arguments.minutes < float("inf"):
        # The first case of every class, then a second of each, and so on: what is left out is spread over all classes.
        random.Random(0).shuffle(chosen)
        turns: dict[str, int] = collections.Counter()
        order = {}
        for number in chosen:
            order[number] = turns[every[number].layer]
            turns[every[number].layer] += 1
        chosen.sort(key=order.__getitem__)
    numbers, done = queue.SimpleQueue(), queue.SimpleQueue()
    for number in [*(n for n in chosen if n not in results), *[None] * PROCESSES]:
        numbers.put(number)
    with tempfile.TemporaryDirectory() as folder:
        threads = [
            threading.Thread(target=sweep, args=(numbers, done, folder, until), daemon=True) for _ in range(PROCESSES)
        ]
        for thread in threads:
            thread.start()
        running = PROCESSES
        while running:
            number, *rest = done.get()
            if number is None:
                running -= 1
                continue
            results[number] = rest
            if arguments.results:
                with arguments.results.open("a") as file:
                    file.write(json.dumps([str(every[number]), *rest]) + "\n")
            kind, message, why = rest
            if why or arguments.list and kind != RIGHT:
                print(f"{'UNEXPECTED ' if why else ''}{every[number]}: {why or f'{kind}: {message}'}", flush=True)
            if len(results) % 50 == 0:
                print(
                    f"{len(results)} of {len(chosen)} cases, {time.perf_counter() - started:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
        for thread in threads:
            thread.join()
    seconds = time.perf_counter() - started
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    reasons: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    unexpected = 0
    for index, (kind, message, why) in results.items():
        counts[every[index].layer][kind] += 1
        unexpected += why is not None
        if kind == REFUSED:
            reasons[reason(message)][every[index].layer] += 1
    total = sum(counts.values(), collections.Counter())
    kinds = [RIGHT, REFUSED, WRONG, ABSENT]
    rows = [
        [name, tally.total() - tally[ABSENT], *(tally[k] for k in kinds)]
        for name, tally in [*sorted(counts.items()), ("**total**", total)]
    ]
    table = markdown(rows, ["class", "cases", *kinds])
    grouped = [
        [text.replace("|", "\\|"), sum(c.values()), ", ".join(f"{n}" for n in sorted(c))]
        for text, c in sorted(reasons.items(), key=lambda item: -sum(item[1].values()))
    ]
    why_refused = markdown(grouped, ["reason", "cases", "classes"])
    share = (
        ""
        if len(results) == len(every)
        else f" This is a sample: {len(results)} of the {len(every)} cases were run (`{' '.join(sys.argv[1:])}`)."
    )
    summary = (
        f"{len(counts)} classes, {total.total() - total[ABSENT]} cases: "
        f"{total[RIGHT]} right, {total[REFUSED]} refused, {total[WRONG]} wrong "
        f"({total[ABSENT]} combinations are not in Keras).{share}"
    )
    summary += f" {seconds / 60:.0f} minutes with {PROCESSES} processes on {os.cpu_count()} cores."
    print(table, why_refused, summary, sep="\n\n")
    if not arguments.layers:
        versions = f"Keras {keras.__version__}, TensorFlow {tf.__version__}, torch {torch.__version__}"
        of_names = []
        for name in activations():
            tally = collections.Counter(
                results[i][0] for i in results if every[i].layer == "Activation" and f"'{name}'" in every[i].name
            )
            of_names.append([name, tally.total() - tally[ABSENT], *(tally[k] for k in kinds)])
        REPORT.write_text(
            DOCUMENT.format(
                versions=versions,
                summary=summary,
                table=table,
                reasons=why_refused,
                activations=markdown(of_names, ["name", "cases", *kinds]),
            )
        )
    return 1 if total[WRONG] or unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
