"""Convert and verify real networks, and write the table of docs/models.md.

    python benchmarks/models.py                    the bundled examples and six networks of keras.applications
    python benchmarks/models.py --all              every network of keras.applications, beside the six on small images
    python benchmarks/models.py ResNet50 lstm      these; prints the table and leaves docs/models.md alone
    python benchmarks/models.py keras2/ResNet50    the network as Keras 2 has it, saved by tf_keras
    python benchmarks/models.py --size 96          smaller images, where the network allows them
    python benchmarks/models.py --all --rows FILE  keep the rows in FILE: an interrupted run goes on from there

The networks have ``weights=None`` and then a random value in every variable, BatchNorm statistics included. Each is
saved, converted and verified in another process, a few networks to a process, through the same two functions that a
user calls. docs/models.md is written after every row. Exit code 1 where a network is refused, differs or fails.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "models.md"
NETWORKS = ("ResNet50", "MobileNetV2", "VGG16", "InceptionV3", "EfficientNetB0", "DenseNet121")
# As Keras 2 has them, on small images. Its ConvNeXt has a layer of its own, LayerScale, and is refused.
KERAS2 = tuple(
    f"keras2/{name}"
    for name in (
        *NETWORKS,
        *("EfficientNetV2B0", "MobileNet", "MobileNetV3Small", "NASNetMobile", "ResNet50V2", "Xception"),
    )
)
# These go last and one to a process, for their memory.
LARGE = (
    "ResNet101", "ResNet101V2", "ConvNeXtBase", "DenseNet201", "EfficientNetV2M", "EfficientNetB5", "EfficientNetB6",
    "ResNet152", "ResNet152V2", "EfficientNetB7", "EfficientNetV2L", "NASNetLarge", "ConvNeXtLarge", "ConvNeXtXLarge",
)  # fmt: skip
SMALL_SIZE, SMALL_BATCH = 96, 1  # of the networks that --all adds to the six
BATCH = 2
PER_PROCESS = 8
TIMEOUT = 1800

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "model": lambda r: r["name"],
    "input": lambda r: r["input"],
    "batch": lambda r: str(r["batch"]),
    "layers": lambda r: f"{r['layers']:,}",
    "parameters": lambda r: f"{r['parameters']:,}",
    "lines of model.py": lambda r: f"{r['lines']:,}",
    "convert, s": lambda r: f"{r['seconds']:.1f}",
    "max abs": lambda r: f"{r['max_abs']:.1e}",
    "max relative": lambda r: f"{r['relative']:.1e}",
    "worst layer": lambda r: f"{r['cumulative']:.1e}",
    "worst layer alone": lambda r: f"{r['isolated']:.1e}",
    "verdict": lambda r: r["verdict"],
}


def measure(name: str, size: int | None, batch: int) -> dict[str, Any]:
    """A row of the table: build, save, convert, verify. Raises K2TError where k2t refuses."""
    import torch  # noqa: F401  # before the clock starts

    import k2t_core as k2t
    from k2t_core.project.bundled import examples

    row: dict[str, Any] = {"name": name, "batch": batch}
    with tempfile.TemporaryDirectory(prefix="k2t-benchmark-") as folder:
        path = examples().build(name, folder) if name in examples().EXAMPLES else build(name, size, folder)
        start = time.perf_counter()
        result = k2t.convert(path, Path(folder) / "out")
        row["seconds"] = time.perf_counter() - start
        graph = result.plan.root.graph
        row["input"] = ", ".join(
            "×".join("?" if n is None else str(n) for n in graph.tensors[t].shape[1:]) for t in graph.inputs
        )
        row["layers"] = sum(planned.child is None for _, _, _, planned in result.plan.root.walk())
        row["parameters"] = result.plan.source.model.count_params()
        row["lines"] = len(result.code.text.splitlines())
        # The weights are random already. Those of all_ones are not: there both kinds are judged.
        report = k2t.verify(
            result.folder, path, batch=batch, weights="both" if name == "all_ones" else "model", edge_cases=False
        )
    outputs = [output.difference for output in report.outputs]
    row["max_abs"] = max(difference.max_abs for difference in outputs)
    row["relative"] = max(difference.relative for difference in outputs)
    row["cumulative"] = max(layer.cumulative.relative for layer in report.layers if layer.cumulative is not None)
    row["isolated"] = max(layer.isolated.relative for layer in report.layers if layer.isolated is not None)
    row["verdict"] = "agrees" if report.passed and report.proves else report.verdict
    return row


def build(name: str, size: int | None, folder: str) -> Path:
    """Save a network of keras.applications with random weights."""
    import keras

    from k2t_core.keras_side.randomise import random_value, randomise

    old = name.startswith("keras2/")
    if old:
        import tf_keras
    constructor = getattr((tf_keras if old else keras).applications, name.removeprefix("keras2/"))
    model = constructor(weights=None, **({"input_shape": (size, size, 3)} if size else {}))
    path = Path(folder) / f"{name.replace('/', '-')}.{'h5' if old else 'keras'}"
    if old:
        for variable in model.weights:
            path_of = variable.name.split(":")[0]
            variable.assign(random_value(path_of, tuple(variable.shape), variable.dtype.name, seed=1))
    else:
        randomise(model, seed=1)
    model.save(path)
    return path


def networks() -> list[str]:
    """Every network of keras.applications: the functions there that take ``weights``."""
    quiet()
    import keras

    found = [
        name
        for name, value in vars(keras.applications).items()
        if inspect.isfunction(value) and "weights" in inspect.signature(value).parameters
    ]
    return sorted(found)


def quiet() -> None:
    from k2t_core.cli import load_frameworks

    load_frameworks()


def scale(name: str, size: int | None, batch: int | None) -> tuple[int | None, int]:
    """(image size, None for the network's own; batch) of a model."""
    if name in NETWORKS or name not in (*networks(), *KERAS2):
        return size, batch or BATCH
    return size or SMALL_SIZE, batch or SMALL_BATCH


def measured(names: Sequence[str], size: int | None, batch: int | None) -> Iterator[dict[str, Any]]:
    """The rows of the models, each as soon as it is there. A process that dies is a row and not the end."""
    left = [name for name in names if name not in LARGE]
    groups = [left[k : k + PER_PROCESS] for k in range(0, len(left), PER_PROCESS)] + [
        [name] for name in LARGE if name in names
    ]
    for group in groups:
        while group:
            found = 0
            for row in processed(group, size, batch):
                found += 1
                yield row
            group = group[found:]


def processed(names: Sequence[str], size: int | None, batch: int | None) -> Iterator[dict[str, Any]]:
    """The rows of one process; the last says so where it ended before its time."""
    options = [f"--{key}={value}" for key, value in (("size", size), ("batch", batch)) if value]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, __file__, "--worker", *names, *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
        )
        for name in names:
            clock = threading.Timer(TIMEOUT, process.kill)
            clock.start()
            row = next((json.loads(line) for line in process.stdout if line.startswith('{"name"')), None)
            late = not clock.is_alive()
            clock.cancel()
            if row is None:
                code = process.wait()
                errors.seek(0)
                reason = (
                    f"not done after {TIMEOUT} s"
                    if late
                    else (errors.read().strip().splitlines() or [f"ended with {code}"])[-1]
                )
                yield {"name": name, "problem": f"failed: {reason}"}
                return
            yield row
        process.wait()


def worker(names: Sequence[str], size: int | None, batch: int | None) -> None:
    """Print the rows as JSON, a line each."""
    quiet()
    import keras

    import k2t_core as k2t

    for name in names:
        try:
            row = measure(name, *scale(name, size, batch))
        except k2t.UnsupportedError as error:
            row = {"name": name, "problem": "refused: " + " | ".join(shortened(problem) for problem in error.problems)}
        except k2t.K2TError as error:
            row = {"name": name, "problem": f"refused: {error}"}
        print(json.dumps(row), flush=True)
        keras.backend.clear_session()
        gc.collect()


def shortened(problem: str) -> str:
    """``layers 'a', 'b', … (BatchNormalization): reason`` with the first of many names."""
    names, _, rest = problem.partition(" (")
    many = names.split(", ")
    return f"{many[0]} and {len(many) - 1} more ({rest}" if len(many) > 3 else problem


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown, columns aligned; models without numbers are listed below it."""
    cells = [list(COLUMNS)] + [[show(row) for show in COLUMNS.values()] for row in rows if "problem" not in row]
    widths = [max(len(line[k]) for line in cells) for k in range(len(COLUMNS))]
    right = [k for k, name in enumerate(COLUMNS) if name not in ("model", "input", "verdict")]
    lines = [
        "| " + " | ".join(c.rjust(w) if k in right else c.ljust(w) for k, (c, w) in enumerate(zip(line, widths))) + " |"
        for line in cells
    ]
    lines.insert(
        1, "| " + " | ".join("-" * (w - 1) + ":" if k in right else "-" * w for k, w in enumerate(widths)) + " |"
    )
    problems = [f"- **{row['name']}** {row['problem']}" for row in rows if "problem" in row]
    return "\n".join(lines + ([""] + problems if problems else []))


def document(
    examples: Sequence[dict[str, Any]],
    applications: Sequence[dict[str, Any]],
    keras2: Sequence[dict[str, Any]],
    missing: Sequence[str],
    command: str,
) -> str:
    import keras
    import tensorflow
    import torch

    versions = (
        f"Keras {keras.__version__} on TensorFlow {tensorflow.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} CPU cores"
    )
    left = f"\n\nNot run yet: {', '.join(missing)}." if missing else ""
    return f"""# Models converted and verified

Written by `{command}` with {versions}.

Every variable of every model is random, BatchNorm statistics included (k2t_core/keras_side/randomise.py), so that no
wrong transpose can hide. Both frameworks run on the CPU in float32. *max abs* is the largest absolute difference of any
output, *max relative* that over the largest absolute Keras output. *worst layer* is the largest relative difference of
any layer on the way, everything before it accumulated (a softmax at the end makes differences small), *worst layer
alone* that of any layer on Keras's own input. *input* and *batch* are those of the row: networks beside the usual six
are built for small images, which changes neither their layers nor their weights, so that the whole list runs on a small
machine. *layers* counts calls of layers and operations. *convert* is `k2t.convert` on the saved file, from reading it
to the four files on disk, in one process with the frameworks loaded.

## The bundled examples

{table(examples)}

## keras.applications

{table(applications)}

## Files of Keras 2

Written by tf_keras as .h5, and compared with tf_keras.

{table(keras2)}{left}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL", help="bundled examples or networks of keras.applications")
    parser.add_argument("--all", action="store_true", help="every network of keras.applications")
    parser.add_argument("--size", type=int, help="height and width of the images (default: the network's own)")
    parser.add_argument(
        "--batch",
        type=int,
        help=f"samples that are compared (default: {BATCH}, {SMALL_BATCH} for the networks that --all adds)",
    )
    parser.add_argument(
        "--rows", type=Path, metavar="FILE", help="rows that are there already, in JSON; new ones are added"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if arguments.worker:
        return worker(arguments.names, arguments.size, arguments.batch)
    from k2t_core.project.bundled import examples

    bundled, applications, keras2 = (
        list(examples().EXAMPLES),
        networks() if arguments.all else list(NETWORKS),
        list(KERAS2) if arguments.all else [],
    )
    if arguments.names:
        bundled, keras2 = (
            [n for n in arguments.names if n in bundled],
            [n for n in arguments.names if n.startswith("keras2/")],
        )
        applications = [n for n in arguments.names if n not in bundled + keras2]
    if unknown := set(applications) - set(networks()) | set(keras2) - set(KERAS2):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    rows: dict[str, dict[str, Any]] = {}
    if arguments.rows and arguments.rows.exists():
        rows = {row["name"]: row for row in json.loads(arguments.rows.read_text(encoding="utf-8"))}
    wanted = bundled + applications + keras2

    def write() -> None:
        if arguments.rows:
            arguments.rows.write_text(json.dumps(list(rows.values()), indent=1), encoding="utf-8")
        if not arguments.names:
            command = (
                "python benchmarks/models.py"
                + " --all" * arguments.all
                + (f" --size {arguments.size}" if arguments.size else "")
            )
            REPORT.parent.mkdir(exist_ok=True)
            there = [[rows[n] for n in names if n in rows] for names in (bundled, applications, keras2)]
            REPORT.write_text(document(*there, [n for n in wanted if n not in rows], command), encoding="utf-8")

    write()
    for row in measured([n for n in wanted if n not in rows], arguments.size, arguments.batch):
        rows[row["name"]] = row
        print(f"{row['name']}: {row.get('problem') or row['verdict']}", file=sys.stderr, flush=True)
        write()
    print(table([rows[n] for n in wanted]))
    if not arguments.names:
        print(f"written: {REPORT.relative_to(ROOT)}", file=sys.stderr)
    sys.exit(any(rows[n].get("verdict") != "agrees" for n in wanted))


if __name__ == "__main__":
    main()
