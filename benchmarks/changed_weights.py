"""Change entries of model.safetensors by hand and count what verification catches; write docs/changed_weights.md.

    python benchmarks/changed_weights.py                       every model, dtype policy, entry and kind of change
    python benchmarks/changed_weights.py transformer dense     these models; prints, leaves the page alone

model.py and the recipe stay as k2t wrote them, one entry of the state_dict is another. It is caught where the verdict
is "differs", located where the proof of the weights names that entry and no other. Exit code 1 where one is missed, or
where a folder that nobody changed does not agree.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
REPORT = ROOT / "docs" / "changed_weights.md"
MODELS = ("dense", "convnet", "recurrent", "transformer", "squeeze_excite", "dead_relu")
POLICIES = ("float32", "mixed_bfloat16", "bfloat16", "mixed_float16", "float16", "float64")


def dead_relu() -> Any:
    """A kernel behind a ReLU that never fires: no output depends on it."""
    import keras
    from keras import layers

    x = keras.Input((8,), name="x")
    model = keras.Model(x, layers.Dense(3, name="last")(layers.Dense(8, activation="relu", name="dead")(x)))
    return model


def recurrent() -> Any:
    """Keras has no orthogonal matrices in half precision, which are its initial weights of a recurrence."""
    import keras
    from keras import layers

    x = keras.Input((6, 5), name="x")
    gru = layers.GRU(4, return_sequences=True, recurrent_initializer="zeros")
    y = layers.LSTM(4, recurrent_initializer="zeros", name="lstm")(layers.Bidirectional(gru, name="both")(x))
    return keras.Model(x, layers.Dense(2, name="head")(y))


def built(name: str, policy: str) -> Any:
    """A model with random weights, computed in ``policy``."""
    import keras

    from benchmarks.mutations import models
    from k2t_core.keras_side.randomise import randomise

    keras.backend.clear_session()
    keras.config.set_dtype_policy(policy)
    try:
        own = {"dead_relu": dead_relu, "recurrent": recurrent}
        model = {**models(), **own}[name]()
    finally:
        keras.config.set_dtype_policy("float32")
    randomise(model, seed=7)
    if name == "dead_relu":
        model.get_layer("dead").bias.assign([-1e4] * 8)
    return model


def last_bit(tensor: Any) -> Any:
    """The last digit of the first number."""
    import torch

    tensor.reshape(-1)[:1].view(torch.uint8)[0] ^= 1
    return tensor


def transposed(tensor: Any) -> Any:
    """The first two axes of one size, swapped."""
    axes = next(((a, b) for a in range(tensor.dim()) for b in range(a) if tensor.shape[a] == tensor.shape[b] > 1), None)
    return tensor.transpose(*axes).contiguous() if axes else tensor


def scaled(tensor: Any) -> Any:
    return (tensor.float() * 1.04).to(tensor.dtype) if tensor.is_floating_point() else tensor


KINDS: dict[str, Callable[[Any], Any]] = {
    "the last bit of one number": last_bit,
    "every number times 1.04": scaled,
    "every number 0": lambda tensor: tensor * 0,
    "two axes of one size swapped": transposed,
}


def measure(name: str, policy: str) -> Iterator[dict[str, Any]]:
    """Every change of every entry of one model in one dtype policy; first, the folder as it is."""
    import torch
    from safetensors.torch import load_file, save_file

    import k2t_core as k2t
    from k2t_core.keras_side.remembering import remembering

    traced = k2t.trace(k2t.load(built(name, policy)))
    plan = k2t.plan(traced)
    sources = {weight.key: weight.source or "" for weight in plan.weights}
    with tempfile.TemporaryDirectory() as folder, remembering():
        path = Path(folder) / "model.safetensors"
        k2t.convert(plan, folder)
        clean = load_file(path)
        options: dict[str, Any] = {"batch": 2, "edge_cases": False, "explain": False, "weights": "model"}
        report = k2t.verify(folder, traced, **options)
        yield {"model": name, "policy": policy, "kind": None, "caught": not report.passed, "detail": report.verdict}
        for key, value in clean.items():
            for kind, change in KINDS.items():
                other = change(value.clone())
                if torch.equal(other.reshape(-1).view(torch.uint8), value.contiguous().reshape(-1).view(torch.uint8)):
                    continue
                save_file({**clean, key: other}, path, metadata={"format": "pt"})
                report = k2t.verify(folder, traced, **options)
                yield {
                    "model": name,
                    "policy": policy,
                    "kind": kind,
                    "entry": key,
                    "key bias": sources[key].endswith("key/bias"),
                    "caught": not report.passed,
                    "located": [one.key for one in report.weights.unequal] == [key],
                    "computed": not report.computes_the_same,
                    "detail": report.verdict,
                }


def table(rows: list[dict[str, Any]]) -> str:
    clean = [row for row in rows if row["kind"] is None]
    changed = [row for row in rows if row["kind"] is not None]

    def total(what: str) -> int:
        return sum(row[what] for row in changed)

    def line(title: str, own: list[dict[str, Any]]) -> str:
        counts = (len(own), *(sum(row[what] for row in own) for what in ("caught", "located", "computed")))
        return f"| {title} | {' | '.join(map(str, counts))} |"

    def head(title: str) -> list[str]:
        return ["", f"| {title} | changes | caught | located | function proof alone |", "|---|--:|--:|--:|--:|"]

    groups = [
        ("change", [(kind, [r for r in changed if r["kind"] == kind]) for kind in KINDS]),
        ("dtype policy", [(policy, [r for r in changed if r["policy"] == policy]) for policy in POLICIES]),
        ("model", [(name, [r for r in changed if r["model"] == name]) for name in MODELS]),
        ("of these", [("key biases of attention", [r for r in changed if r["key bias"]])]),
    ]
    missed = [row for row in changed if not (row["caught"] and row["located"])]
    return "\n".join(
        [
            "# Changed weights",
            "",
            "Written by `python benchmarks/changed_weights.py`. One entry of model.safetensors is changed by hand in a "
            "right conversion, and `k2t.verify` compares it on one batch with the model's own weights: the proof of "
            "the weights compares every entry bit for bit, and what is computed alone shows less than that. Faults in "
            "the mapping are in [mutations.md](mutations.md).",
            "",
            f"{len(changed)} changes in {len({r['model'] for r in rows})} models and "
            f"{len({r['policy'] for r in rows})} dtype policies: **{total('caught')} caught, {total('located')} "
            f"located, {total('computed')} shown by what is computed alone**. {len(clean)} folders that nobody "
            f"changed: **{sum(r['caught'] for r in clean)} false alarms**.",
            *(text for title, own in groups for text in [*head(title), *(line(*pair) for pair in own if pair[1])]),
            "",
            "## Missed, or another entry named",
            "",
            *(
                [f"- {r['model']} in {r['policy']}: {r['kind']}, {r['entry']}: {r['detail'][:200]}" for r in missed]
                or ["None."]
            ),
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "POLICY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        for row in measure(*options.worker):
            print("ROW " + json.dumps(row), flush=True)
        return 0
    rows: list[dict[str, Any]] = []
    for name in options.names or MODELS:
        for policy in POLICIES:
            done = subprocess.run(
                [sys.executable, __file__, "--worker", name, policy], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"{name} in {policy}: {done.stderr[-2000:]}")
            found = [json.loads(text[4:]) for text in done.stdout.splitlines() if text.startswith("ROW ")]
            print(
                f"{name} in {policy}: {len(found) - 1} changes, {sum(r['caught'] for r in found[1:])} caught",
                flush=True,
            )
            rows += found
    text = table(rows)
    print(text)
    if not options.names:
        REPORT.write_text(text, encoding="utf-8")
    return int(any(row["caught"] == (row["kind"] is None) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
