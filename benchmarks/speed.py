"""How long Keras and the generated module take for the same batch, side by side; writes the table of docs/speed.md.

    python benchmarks/speed.py                   the default models
    python benchmarks/speed.py convnet ResNet50  these; prints the table and leaves docs/speed.md alone

Keras runs `Model.predict_on_batch`, its compiled graph; torch runs the module as `load_model` gives it, under
`torch.inference_mode`. Runs alternate, so that whatever else the machine does falls on both; the ratio is the median
over the pairs. Ratios carry over to other machines better than times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
REPORT = ROOT / "docs" / "speed.md"
# With their batch.
MODELS = {"dense": 64, "convnet": 64, "lstm": 64, "transformer": 64, "MobileNetV2": 4, "ResNet50": 4}
WARM_UP = 3
SAMPLE = 0.1  # seconds: a timed sample repeats a run that is shorter

DOCUMENT = """# Keras and the generated module, side by side

Written by `python benchmarks/speed.py` with {versions}.

Median time of one batch on the CPU, in float32; runs of both sides alternate. *torch / Keras* is the median ratio of
the pairs: below 1, torch is faster. Keras runs `predict_on_batch`, torch the generated module as it is, not compiled.

{table}
"""


def measure(name: str, batch: int, pairs: int) -> dict[str, float]:
    """Median seconds of each side and the median and extremes of the pairwise ratio torch / Keras."""
    import numpy as np
    import torch

    import k2t_core as k2t
    from benchmarks.models import build
    from k2t_core.emit.module import load_module
    from k2t_core.project.bundled import examples

    with tempfile.TemporaryDirectory(prefix="k2t-benchmark-") as folder:
        path = examples().build(name, folder) if name in examples().EXAMPLES else build(name, None, folder)
        result = k2t.convert(path, Path(folder) / "out")
        module = load_module(result.folder)
    arrays = k2t.random_batch(result.plan.root.graph, batch)
    tensors = [
        torch.from_numpy(np.ascontiguousarray(layout.to_torch(a)))
        for layout, a in zip(result.plan.root.input_layouts, arrays)
    ]
    model = result.plan.source.model

    def keras_run() -> None:
        model.predict_on_batch(arrays if len(arrays) > 1 else arrays[0])

    def torch_run() -> None:
        with torch.inference_mode():
            module(*tensors)

    repeat = 1
    for _ in range(WARM_UP):
        repeat = max(1, round(SAMPLE / min(seconds(keras_run), seconds(torch_run))))
    times = [(seconds(keras_run, repeat), seconds(torch_run, repeat)) for _ in range(pairs)]
    ratios = sorted(b / a for a, b in times)
    return {
        "keras": statistics.median(a for a, _ in times),
        "torch": statistics.median(b for _, b in times),
        "ratio": statistics.median(ratios),
        "low": ratios[len(ratios) // 10],
        "high": ratios[-1 - len(ratios) // 10],
    }


def seconds(run: Callable[[], None], repeat: int = 1) -> float:
    """The mean time of ``repeat`` runs."""
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - start) / repeat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL", help="bundled examples or networks of keras.applications")
    parser.add_argument("--pairs", type=int, default=15, help="timed runs of each side (default: 15)")
    arguments = parser.parse_args()
    from k2t_core.cli import load_frameworks

    load_frameworks()
    import keras
    import tensorflow
    import torch

    cores = os.cpu_count()
    tensorflow.config.threading.set_intra_op_parallelism_threads(cores)
    torch.set_num_threads(cores)
    lines = [
        "| model | batch | Keras, ms | torch, ms | torch / Keras | 10 % to 90 % |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name in arguments.names or MODELS:
        batch = MODELS.get(name, 4)
        row = measure(name, batch, arguments.pairs)
        lines.append(
            f"| {name} | {batch} | {row['keras'] * 1000:.1f} | {row['torch'] * 1000:.1f} | {row['ratio']:.2f} "
            f"| {row['low']:.2f} to {row['high']:.2f} |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))
    if not arguments.names:
        versions = (
            f"Keras {keras.__version__} on TensorFlow {tensorflow.__version__}, "
            f"torch {torch.__version__}, {cores} CPU cores"
        )
        REPORT.write_text(DOCUMENT.format(versions=versions, table="\n".join(lines)), encoding="utf-8")
        print(f"written: {REPORT.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
