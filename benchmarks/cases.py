"""Models that people asked about in public, converted and verified; writes docs/cases.md.

    python benchmarks/cases.py FOLDER             the files of models in FOLDER (default: ../shared/cases)
    python benchmarks/cases.py FOLDER 05_vae      those of these files; prints, leaves the page alone

A file has ``MODELS``: name → {"build": function, "keras2": whether tf_keras builds it, to be saved as .h5}. Every
variable is random; the file that Keras writes is converted, code in it allowed, and verified with its own and with
random weights, without edge cases. Exit code 1 where one differs or raises what is no refusal.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["KERAS_BACKEND"] = "tensorflow"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
REPORT = ROOT / "docs" / "cases.md"


def models(folder: Path, names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.glob("*.py")):
        if names and path.stem not in names:
            continue
        spec = importlib.util.spec_from_file_location(f"case_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        yield from ((f"{path.stem}/{name}", model) for name, model in module.MODELS.items())


def randomised(model: Any) -> None:
    """Random numbers in every variable of a model of Keras 2."""
    import numpy as np

    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.dtype.is_floating:
            value = rng.normal(scale=0.3, size=variable.shape)
            variable.assign(abs(value) + 0.5 if "variance" in variable.name else value)


def end_of(case: dict[str, Any]) -> str:
    import keras

    import k2t_core as k2t
    from k2t_core.keras_side.randomise import randomise

    keras.backend.clear_session()
    old = case.get("keras2")
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/model.{'h5' if old else 'keras'}"
        try:
            model = case["build"]()
            randomised(model) if old else randomise(model)
            model.save(file)
        except Exception as error:  # of Keras's own
            return f"not built: {type(error).__name__}"
        try:
            k2t.convert(file, f"{folder}/out", allow_unsafe=True)
            report = k2t.verify(f"{folder}/out", file, allow_unsafe=True, edge_cases=False)
        except k2t.K2TError as error:
            return f"refused: {error}".replace(folder, "").replace("|", "/")
        except Exception as error:  # what this is here to find
            return f"raises {type(error).__name__}: {error}"
        return "agrees" if report.passed and report.proves else report.verdict


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "cases"
    names = sys.argv[2:]
    ends = []
    for name, case in models(folder, names):
        ends.append((name, end_of(case)))
        print(f"{name}: {ends[-1][1][:200]}", flush=True)
    agree = sum(end == "agrees" for _, end in ends)
    built = sum(not end.startswith("not built") for _, end in ends)
    lines = [
        "# Models that people asked about",
        "",
        "Written by `python benchmarks/cases.py`: small equivalents, rebuilt from public questions and bug reports, of "
        f"models whose owners wanted them in PyTorch. **{agree} of {built} convert and agree**; the others:",
        "",
        *(f"- {name}: {end[:400]}" for name, end in ends if end != "agrees"),
        "",
        f"Those that agree: {', '.join(name for name, end in ends if end == 'agrees')}.",
        "",
    ]
    if not names:
        REPORT.write_text("\n".join(lines), encoding="utf-8")
    return int(any(end.startswith(("differs", "raises")) for _, end in ends))


if __name__ == "__main__":
    sys.exit(main())
