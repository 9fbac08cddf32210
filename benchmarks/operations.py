"""Every function of keras.ops, keras.activations and keras.random in its call forms; writes docs/operations.md.

    python benchmarks/operations.py                    all, two processes
    python benchmarks/operations.py sum norm           these; prints, leaves the page alone

A form is called on the tensors of a functional model, and in the call() of a layer; Keras on TensorFlow and the
generated module compute the same batch (tests/conformance/operations.py). Beside that the page names the operations of
TensorFlow that k2t knows, each of which tests/keras_side compares with TensorFlow. Exit code 1 where one is wrong.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", PYTHONWARNINGS="ignore", ABSL_MIN_LOG_LEVEL="3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
REPORT = ROOT / "docs" / "operations.md"
PROCESSES = 2


def work(part: int, names: list[str]) -> None:
    """Print (function, form, kind, message) of every PROCESSES-th case, a JSON line each."""
    answers, sys.stdout = sys.stdout, sys.stderr
    from tests.conformance.operations import cases
    from tests.conformance.suite import failure, outcome

    chosen = [case for case in cases() if not names or case.layer in names]
    for case in chosen[part::PROCESSES]:
        result = outcome(case)
        line = [case.layer, case.name, result.kind, result.message, failure(case, result)]
        print(json.dumps(line), file=answers, flush=True)


def results(names: list[str]) -> list[list[Any]]:
    command = [sys.executable, __file__, *names]

    def part(number: int) -> str:
        done = subprocess.run([*command, "--part", str(number)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.stdout.decode()

    with ThreadPoolExecutor(PROCESSES) as pool:  # each reads its process, which would wait for a full pipe
        return [json.loads(line) for text in pool.map(part, range(PROCESSES)) for line in text.splitlines()]


def reason(message: str) -> str:
    """Why a form is refused, without the layer and the ways out."""
    inner = message.partition("could not open it: ")[2] or message.partition("): ")[2] or message
    return re.sub(r" \([^()]*, line \d+[^)]*\)+$", "", inner).rstrip(")")[:200].replace("|", "/")


def table(rows: list[list[Any]]) -> str:
    import keras
    import tensorflow as tf

    from k2t_core.keras_side.complex_operations import COMPLEX
    from k2t_core.keras_side.tensorflow_graph import FUNCTIONS
    from k2t_core.keras_side.tensorflow_operations import OPERATIONS, REFUSED

    kinds = collections.Counter(row[2] for row in rows)
    forms = sum(count for kind, count in kinds.items() if kind != "not in Keras")
    by_name = collections.defaultdict(collections.Counter)
    for name, _, kind, _, _ in rows:
        by_name[name][kind] += 1
    lines = [
        "# Operations",
        "",
        f"Written by `python benchmarks/operations.py`, Keras {keras.__version__}, TensorFlow {tf.__version__}.",
        "",
        f"{len(by_name)} functions of `keras.ops`, `keras.activations` and `keras.random`, each in its call forms, on "
        f"the tensors of a functional model and in the `call()` of a layer: **{kinds['right']} of {forms} convert and "
        f"agree**, {kinds['refused']} are refused by name, {kinds['wrong']} are wrong "
        f"({kinds['not in Keras']} forms more are none that Keras computes).",
        "",
        "| function | agree | refused |",
        "|---|--:|--:|",
    ]
    lines += [f"| {name} | {found['right']} | {found['refused']} |" for name, found in sorted(by_name.items())]
    lines += ["", "## Refused", "", "| function | form | why |", "|---|---|---|"]
    seen = set()
    for name, form, kind, message, _ in rows:
        why = reason(message)
        if kind == "refused" and (name, why) not in seen:
            seen.add((name, why))
            lines.append(f"| {name} | `{form.replace('|', '/')}` | {why} |")
    known = sorted({*OPERATIONS, *COMPLEX, *FUNCTIONS})
    lines += [
        "",
        "## Operations of TensorFlow",
        "",
        f"{len(known)}, of graphs that code makes; what is computed of numbers alone is computed by TensorFlow, "
        "whatever it is:",
        "",
        ", ".join(known) + ".",
        "",
        "Refused with a reason of their own:",
        "",
        *(f"- {why}: {', '.join(n for n in REFUSED if REFUSED[n] == why)}" for why in dict.fromkeys(REFUSED.values())),
    ]  # fmt: skip
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is not None:
        work(options.part, options.names)
        return 0
    rows = results(options.names)
    for name, form, kind, message, why in rows:
        if why or options.names:
            print(f"{name}: {form}: {why or kind}{'' if why else f' {message[:160]}'}")
    text = table(rows)
    if not options.names:
        REPORT.write_text(text, encoding="utf-8")
    return int(any(kind == "wrong" for _, _, kind, _, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
