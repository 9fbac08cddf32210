"""Prove that two checkouts of k2t write the same, byte for byte: convert the same files with both, and compare.

    python benchmarks/compare_checkouts.py OLD NEW                     bundled examples, networks, files of Keras 2
    python benchmarks/compare_checkouts.py OLD NEW --applications all  every network of keras.applications too
    python benchmarks/compare_checkouts.py OLD NEW --only lstm VGG19   these
    python benchmarks/compare_checkouts.py OLD NEW --keep FOLDER       go on from what an earlier run left in FOLDER
    python benchmarks/compare_checkouts.py OLD --keep FOLDER           OLD's side alone, for later

OLD and NEW are folders of git worktrees. OLD builds the models, every variable random; each checkout then converts and
inspects them through its own command line, in a process of its own that imports that checkout's k2t_core. Kept are
FOLDER/models and FOLDER/old-COMMIT, FOLDER/new-COMMIT with a folder per model: what k2t wrote and said, and of the
weights their hash. A commit's output is not made again where the tree is clean; --fresh does, as where this file or a
framework has changed since. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

WEIGHTS, WEIGHTS_HASH = "model.safetensors", "model.safetensors.sha256"
SAID = "said.txt"  # exit codes, stdout and stderr; written last, so that a folder without it is not done
COMPARED = ("model.py", "manifest.json", "recipe.json", WEIGHTS_HASH, "inspect.json", SAID)

# Every kind of override, on the bundled examples; the row of the second for lstm is called "lstm+2".
RECIPES: dict[str, list[list[tuple[str, str, Any]]]] = {
    "dense": [[("hidden", "snippet", "torch.relu(x @ w['kernel'] + w['bias'])")]],
    "convnet": [
        [("flatten", "alternative", "permute first"), ("conv", "alternative", "symmetric padding")],
        [("classes", "permutation", {"key": "weight", "axes": [0, 1]})],  # refused: the shapes do not fit
    ],
    "lstm": [[("lstm", "alternative", "gates i, c, f, o")], [("lstm", "gates", [1, 0, 2, 3])]],
    "unet": [
        [("up2", "alternative", "torch's padding and output_padding"), ("pool1", "arguments", {"ceil_mode": True})],
    ],
    "text_classifier": [
        [("embedding", "cut", None)],  # refused: it has a mask
        [("dropout", "arguments", {"p": 0.5})],
    ],
    "transformer": [
        [("block1_attention", "alternative", "heads transposed"), ("block2_norm2", "arguments", {"eps": 0.1})],
    ],
    "shared": [
        [("encoder/conv1", "alternative", "padding on the other side")],
        [("encoder/flatten", "alternative", "plain flatten")],
    ],
    "two_in_two_out": [[("conv", "cut", None)]],
    "square": [
        [("square1", "permutation", {"key": "weight", "axes": [0, 1]})],
        [("square2", "weights", {"bias": "kernel"})],  # refused: the shapes do not fit
        [("square2", "weights", {"weight": "kernel"})],
    ],
}


def build(checkout: Path, folder: Path, applications: str, only: Sequence[str]) -> list[dict[str, str]]:
    """Build the models that are not in ``folder``, with the checkout's own code. All of them, small ones first."""
    sys.path[:0] = [str(checkout / "benchmarks"), str(checkout / "examples")]
    bundled, models = importlib.import_module("build"), importlib.import_module("models")
    makers = {f"{name}.keras": (name, partial(bundled.build, name)) for name in bundled.EXAMPLES}
    networks: list[str] = []
    if applications != "none" or only:
        networks = [*models.NETWORKS, *(name for name in models.KERAS2 if name.endswith(models.NETWORKS))]
        if applications == "all" or only:
            networks = [*models.networks(), *models.KERAS2]
        makers |= keras2_tests()
    for name in networks:  # on small images: that changes neither layers nor weights, and fewer weights of VGG's
        suffix = "h5" if name in models.KERAS2 else "keras"
        makers[f"{name.replace('/', '-')}.{suffix}"] = (name, partial(models.build, name, models.SMALL_SIZE))
    if unknown := set(only) - {name for name, _ in makers.values()}:
        sys.exit(f"no such model: {', '.join(sorted(unknown))}")
    chosen = {file: maker for file, maker in makers.items() if not only or maker[0] in only}
    for file, (name, make) in chosen.items():
        if not (folder / file).is_file():
            print(f"building {name}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(dir=folder) as part:  # a file that is there is whole
                os.replace(make(part), folder / file)
            forget()
    files = sorted(chosen, key=lambda file: (folder / file).stat().st_size)
    return [{"name": chosen[file][0], "model": str(folder / file)} for file in files]


def _exists(module: str) -> bool:
    """Whether this checkout has the module: its place is another one in an earlier checkout."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def keras2_tests() -> dict[str, tuple[str, Callable[[str], Path]]]:
    """The models that the tests of Keras 2 share, in both formats where tf_keras can read what it writes."""
    import tf_keras

    places = ("tests.keras_side.keras2.models", "tests.keras_side.test_keras2", "tests.test_keras2")
    tests = importlib.import_module(next(place for place in places if _exists(place)))

    def operations() -> Any:
        x = tf_keras.Input((4, 3), name="x")
        return tf_keras.Model(x, list(tests.operations(x).values()))

    made: dict[str, Callable[[], Any]] = {"operations.h5": operations}
    for name, maker in tests.MODELS.items():
        for suffix in ("h5",) if name in ("nested", "MobileNetV2") else ("h5", "keras"):
            made[f"{name}.{suffix}"] = maker
    for name, (shape, layers) in tests.LAYERS.items():
        made[f"layers {name}.{'h5' if len(name) % 2 else 'keras'}"] = partial(tests.functional, [shape], layers)

    def save(maker: Callable[[], Any], file: str, folder: str) -> Path:
        path = Path(folder) / file
        tests.randomised(maker()).save(path)
        return path

    return {f"keras2-test {file}": (f"keras2-test {file}", partial(save, maker, file)) for file, maker in made.items()}


def convert(checkout: Path, tasks: Sequence[dict[str, str]]) -> None:
    """Convert and inspect every file through the command line, whose module the checkout's pyproject.toml names."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    main = importlib.import_module(project["scripts"]["k2t"].partition(":")[0]).main
    for k, task in enumerate(tasks):
        start, out = time.perf_counter(), Path(task["out"])
        shutil.rmtree(out, ignore_errors=True)
        recipe = ["--recipe", task["recipe"]] if task["recipe"] else []
        code, printed, errors = run(main, ["convert", task["model"], "-o", str(out), *recipe])
        out.mkdir(parents=True, exist_ok=True)  # a refused one leaves none
        said = f"convert: exit code {code}\n{printed}{errors}"
        if (out / WEIGHTS).is_file():  # gigabytes of them otherwise
            with open(out / WEIGHTS, "rb") as file:
                (out / WEIGHTS_HASH).write_text(hashlib.file_digest(file, "sha256").hexdigest() + "\n")
            (out / WEIGHTS).unlink()
        if not recipe:
            code, printed, errors = run(main, ["inspect", task["model"], "--json"])
            (out / "inspect.json").write_text(printed, encoding="utf-8")
            said += f"inspect: exit code {code}\n{errors}"
        for path, word in ((out, "OUT"), (Path(task["model"]).parent, "MODELS"), (checkout, "CHECKOUT")):
            said = said.replace(str(path), word)
        (out / SAID).write_text(said, encoding="utf-8")
        forget()
        print(f"{k + 1}/{len(tasks)} {task['name']}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


def run(main: Callable[[list[str]], None], arguments: list[str]) -> tuple[Any, str, str]:
    """(exit code, stdout, stderr) of a command, in this process: TensorFlow takes longer to start than most models."""
    printed, errors, code = io.StringIO(), io.StringIO(), None
    with redirect_stdout(printed), redirect_stderr(errors):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
    return code or 0, printed.getvalue(), errors.getvalue()


def forget() -> None:
    """Free the models: only what is loaded now has to fit into memory."""
    for package in ("keras", "tf_keras"):
        if package in sys.modules:
            sys.modules[package].backend.clear_session()
    gc.collect()


def child(checkout: Path, task: str, **arguments: Any) -> str:
    """Run ``build`` or ``convert`` in a process that imports this checkout's k2t_core; returns its stdout."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),  # goes before the editable install, which is a line at the end of sys.path
        "PYTHONWARNINGS": "ignore",  # they name files and lines
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "",
    }
    data = json.dumps({"checkout": str(checkout), **arguments})
    command = [sys.executable, __file__, "--child", task]
    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, text=True, cwd=checkout, env=environment)
    if done.returncode:
        print(f"{checkout}: the process to {task} ended with {done.returncode}", file=sys.stderr)
        if task == "build":
            sys.exit(2)
    return done.stdout


def in_child(task: str) -> None:
    """What the process of ``child`` does. Its real stdout is for the result alone."""
    arguments = json.load(sys.stdin)
    checkout = Path(arguments.pop("checkout"))
    with redirect_stdout(sys.stderr):
        import k2t_core

        found = Path(k2t_core.__file__).resolve()
        assert found.is_relative_to(checkout), f"k2t_core is {found}, not that of {checkout}"
        import keras  # noqa: F401  # before anything is captured: what a framework says at its start is not k2t's
        import torch  # noqa: F401

        if task == "convert":
            return convert(checkout, **arguments)
        models = build(checkout, Path(arguments.pop("folder")), **arguments)
    print(json.dumps(models))


def state(checkout: Path) -> tuple[str, bool]:
    """(commit, whether the tree is clean)"""
    git = partial(subprocess.check_output, cwd=checkout, text=True)
    return git(["git", "rev-parse", "--short=12", "HEAD"]).strip(), not git(["git", "status", "--porcelain"])


def with_recipes(models: Sequence[dict[str, str]], folder: Path) -> Iterator[dict[str, str]]:
    """A task for each model, and one for each recipe of it."""
    for model in models:
        yield {**model, "recipe": ""}
        for k, overrides in enumerate(RECIPES.get(model["name"], ()), start=1):
            name = f"{model['name']}+{k}"
            listed = [{"layer": layer, "kind": kind, "value": value, "reason": ""} for layer, kind, value in overrides]
            path = folder / f"{name}.recipe.json"
            text = json.dumps({"k2t_recipe": 1, "fingerprint": None, "overrides": listed})
            if not path.is_file() or path.read_text(encoding="utf-8") != text:  # a newer file is converted again
                path.write_text(text, encoding="utf-8")
            yield {**model, "name": name, "recipe": str(path)}


def outputs(side: str, checkout: Path, folder: Path, tasks: Sequence[dict[str, str]], fresh: bool) -> dict[str, Path]:
    """The folder of each task's output, made now where it has to be."""
    commit, clean = state(checkout)
    root = folder / f"{side}-{commit}{'' if clean else '-dirty'}"
    found = {task["name"]: root / task["name"].replace("/", "-") for task in tasks}

    def done(task: dict[str, str]) -> bool:
        said, sources = found[task["name"]] / SAID, [Path(task[key]) for key in ("model", "recipe") if task[key]]
        return said.is_file() and all(path.stat().st_mtime < said.stat().st_mtime for path in sources)

    left = [{**task, "out": str(found[task["name"]])} for task in tasks if fresh or not clean or not done(task)]
    print(f"{root}: {len(left)} of {len(tasks)} to convert", file=sys.stderr, flush=True)
    for task in left:  # what is there when the process has died must not be an earlier run's
        shutil.rmtree(task["out"], ignore_errors=True)
    if left:
        child(checkout, "convert", tasks=left)
    return found


def compared(old: Path, new: Path) -> list[str]:
    """A line for each file that differs."""
    if missing := [side for side, folder in (("OLD", old), ("NEW", new)) if not (folder / SAID).is_file()]:
        return [f"not converted by {' and '.join(missing)}"]
    found = []
    for name in COMPARED:
        a, b = ((folder / name).read_bytes() if (folder / name).is_file() else None for folder in (old, new))
        if a == b:
            continue
        if a is None or b is None:
            found.append(f"{name}: written by {'NEW' if a is None else 'OLD'} alone")
            continue
        # The end of a file is a line too: one may be the other's beginning.
        pairs = zip(*([*data.splitlines(keepends=True), b"(end)"] for data in (a, b)))
        line, was, now = next((k, *pair) for k, pair in enumerate(pairs, start=1) if pair[0] != pair[1])
        found.append(f"{name}:{line}: {shown(was)} → {shown(now)}")
    return found


def shown(line: bytes) -> str:
    text = repr(line.decode("utf-8", "replace").strip(" "))  # a differing line end is seen
    return f"{text[:118]}…" if len(text) > 120 else text


def compare(old: Path, new: Path | None, folder: Path, arguments: argparse.Namespace) -> bool:
    """Print the table; whether everything is the same. Without NEW: whether everything is there to be compared."""
    models_folder = folder / "models"
    models_folder.mkdir(parents=True, exist_ok=True)
    only = [name.partition("+")[0] for name in arguments.only or ()]
    built = child(old, "build", folder=str(models_folder), applications=arguments.applications, only=only)
    tasks = list(with_recipes(json.loads(built), models_folder))
    sides = [outputs("old", old, folder, tasks, arguments.fresh)]
    if new is None:
        return all((output / SAID).is_file() for output in sides[0].values())
    sides.append(outputs("new", new, folder, tasks, arguments.fresh))
    width, different, refused = max(len(task["name"]) for task in tasks), 0, 0
    print(f"| {'model':{width}} | {old} → {new}\n| {'-' * width} | ----")
    for task in tasks:
        a, b = (side[task["name"]] for side in sides)
        found = compared(a, b)
        different += bool(found)
        if not found and not (a / "model.py").is_file():
            refused += 1
            found = ["same: " + (a / SAID).read_text(encoding="utf-8").split("\n", 1)[0]]
        for k, line in enumerate(found or ["same"]):
            print(f"| {'' if k else task['name']:{width}} | {line}")
    print(f"\n{len(tasks)} conversions, {refused} of them refused by both: {different or 'none'} differ")
    return not different


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        return in_child(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD", help="the checkout that is right")
    parser.add_argument("new", type=Path, nargs="?", metavar="NEW", help="the checkout to compare with it")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these models (with their recipes)")
    parser.add_argument("--applications", choices=("none", "small", "all"), default="small", help="the networks")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where models and outputs stay (default: nowhere)")
    parser.add_argument("--fresh", action="store_true", help="convert again what FOLDER has already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="k2t-compare-") as temporary:
        folder = arguments.keep or Path(temporary)
        new = arguments.new.resolve() if arguments.new else None
        same = compare(arguments.old.resolve(), new, folder.resolve(), arguments)
    sys.exit(not same)


if __name__ == "__main__":
    main()
