"""Attack k2t with files and kills, and write docs/security.md.

    python benchmarks/security.py attacks                 every attack of tests/security/attacks.py, at every door
    python benchmarks/security.py kills                   conversions and projects, at every step and at 200 moments
    python benchmarks/security.py fuzz --inputs 20000     changed files; one that was interrupted goes on (--results)
    python benchmarks/engines.py | python benchmarks/security.py engine       what that prints, in its section

Each writes its section and leaves the others as they stand. Exit code 1 where something was found; what the fuzzer
finds is made smaller and kept in the folder --findings.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["PYTHONWARNINGS"] = "ignore"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
REPORT = ROOT / "docs" / "security.md"

HEAD = """# Attacks

Written by `python benchmarks/security.py attacks kills fuzz`. What k2t promises about files of strangers, and what it
does not promise, stands in [SECURITY.md](../SECURITY.md); the tests of it are in [tests/security](../tests/security).
"""
SECTIONS = ("attacks", "fuzz", "kills", "engine")
EMPTY = {
    "fuzz": "## Files that are changed at random\n\nThe long run has not been made yet; CI judges a fixed sample.\n",
    "kills": "## Processes that are killed\n\nNot counted yet.\n",
    "engine": "## What the engine costs\n\nNot measured yet.\n",
}


def write(section: str, text: str) -> None:
    """Put a section of the report in its place."""
    old = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
    found = {name: body for name, body in re.findall(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", old, re.DOTALL)}
    found = {name: body for name, body in found.items() if body.strip()} | {section: text}
    parts = [f"<!-- {n} -->\n{(found.get(n) or EMPTY.get(n, '')).rstrip()}\n<!-- /{n} -->\n" for n in SECTIONS]
    REPORT.write_text("\n".join([HEAD, *parts]), encoding="utf-8")


def prose(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 118, break_long_words=False, break_on_hyphens=False)


def table(head: tuple[str, ...], rows: list[tuple]) -> str:
    lines = [
        " | ".join(head),
        " | ".join("--:" if k and rows and isinstance(rows[0][k], int) else "---" for k in range(len(head))),
    ]
    lines += [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def versions() -> str:
    from importlib.metadata import version

    names = ("keras", "tf_keras", "tensorflow-cpu", "h5py")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names)


# --- attacks ---


def attacks(options: argparse.Namespace) -> bool:
    from tests.security import canaries
    from tests.security.attacks import ATTACKS, Bench
    from tests.security.doors import opened

    canaries.prepare()
    listener = canaries.Listener()
    rows, bad = [], []
    with tempfile.TemporaryDirectory(prefix="k2t-attacks-") as folder:
        bench = Bench(Path(folder), listener.port)
        cases = [(attack, form) for attack in ATTACKS for form in attack.forms]
        files = {case: case[0].build(bench, case[1], bench.folder / case[0].name / case[1]) for case in cases}
        results = dict(opened((case, path, "") for case, path in files.items()))
        plain = dict(opened((case, path, case[1][0]) for case, path in files.items() if case[0].real))
    for attack in ATTACKS:
        found = [results[attack, form] for form in attack.forms]
        codes = {door["code"] for result in found for door in result["doors"].values()}
        fired = [what for result in found for what in result["fired"]]
        wanted = {0} if attack.refusal is None else {2}
        outcome = {0: "converts, and agrees", 2: "refused"}.get(max(codes, default=3), "fault")
        if codes != wanted or fired:
            bad.append(attack.name)
            outcome = f"**{outcome}: {'; '.join(fired)[:200] or codes}**"
        seen = {form for form in attack.forms if attack.real and plain[attack, form]["fired"]}
        rows.append(
            (
                attack.kind,
                attack.what,
                ", ".join(attack.advisories) or "–",
                ", ".join(attack.forms),
                ", ".join(sorted(seen)) or ("–" if attack.real else ""),
                outcome,
            )
        )
    memory = max(result["memory"] for result in results.values())
    fired = sum(bool(result["fired"]) for result in results.values())
    said = f"""{len(rows)} attacks in {len(files)} files, each opened by `k2t inspect`, `k2t convert`, `k2t.load`,
    `k2t.plan` and `k2t.convert`; what converts is verified too. Canaries for code, reading, writing, processes, the
    network and the settings of the process fired for **{fired}** files; {listener.came} came to the server on the
    loopback. The process with both frameworks never had more than {memory / 2**30:.1f} GiB. "Plain loader" names the
    forms in which a canary fires where the framework's own `load_model` opens the same file, and was called only
    where something stands there. {versions()}."""
    head = ("harm", "attack", "advisories", "files of", "plain loader", "k2t")
    write("attacks", f"## Files that mean harm\n\n{prose(said)}\n\n{table(head, rows)}\n")
    print(f"{len(files)} files, {len(bad)} bad: {', '.join(bad)}")
    return not bad


# --- kills ---


def kills(options: argparse.Namespace) -> bool:
    """The tests that kill, with all their moments."""
    environment = {**os.environ, "K2T_SWEEP": "all"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "0",
        "-q",
        "-s",
        "-k",
        "killed",
        "tests/emit/test_committing.py",
        "tests/project/test_store.py",
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    found: dict[str, Counter] = {}
    for work, when, count in re.findall(r"deaths (\S+) (steps|\d+) (\d+)", done.stdout):
        found.setdefault(work, Counter())["steps" if when == "steps" else "moments"] += int(count) - 1
    words = {
        "tests.emit.deaths:convert": "a conversion over an older one",
        "tests.project.deaths:another_model": "a project changes its model; the old one becomes a project of its own",
        "tests.project.deaths:another_model_without_overrides": "the same, where the old one has nothing to keep",
        "tests.project.deaths:finish": "a process finishes what one that died had begun",
        "tests.project.deaths:settings": "a setting and the recipe are kept",
        "tests.project.deaths:convert": "a conversion in a project",
        "tests.project.deaths:delete": "a project is deleted",
    }
    rows = [(words[work], count["steps"], count["moments"]) for work, count in found.items()]
    verdict = "Each time" if done.returncode == 0 else "**Not each time**"
    total = sum(a + b for _, a, b in rows)
    said = f"""SIGKILL before every call of the system that opens for writing, renames, makes or removes, and at random
    moments: {total:,} deaths. {verdict} the next process found the old state or the new one, whole, and nothing left
    lying about."""
    head = ("work", "at every step", "at random moments")
    write("kills", f"## Processes that are killed\n\n{prose(said)}\n\n{table(head, rows)}\n")
    print(done.stdout[-600:])
    return done.returncode == 0


# --- fuzz ---


def fuzz(options: argparse.Namespace) -> bool:
    from tests.security import canaries, corpus
    from tests.security.campaign import Judge, is_finding, smaller
    from tests.security.fuzzing import Corpus, Mutant, mutant

    canaries.prepare()
    folder = options.corpus or Path(tempfile.gettempdir()) / "k2t-corpus"
    if not folder.is_dir():
        corpus.build(folder, whole=True)
    files = Corpus(folder)
    kept: dict[int, tuple[Mutant, dict[str, Any]]] = {}
    if options.results.exists():
        for line in options.results.read_text().splitlines():
            seed, told, result = json.loads(line)
            kept[seed] = (Mutant.from_json(told), result)
    seeds = [seed for seed in range(options.seed, options.seed + options.inputs) if seed not in kept]
    start = time.monotonic()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with Judge(folder) as judge, open(options.results, "a", encoding="utf-8") as log:
        for index, seed in enumerate(seeds):
            one = mutant(seed, files)
            result = judge(one)
            kept[seed] = (one, result)
            log.write(json.dumps([seed, one.to_json(), result]) + "\n")
            log.flush()
            if is_finding(result):
                print(f"{seed}: {one}: {result['outcome']} {result['fired']} {result['words'][-300:]}", flush=True)
                keep(options.findings, seed, smaller(judge, one, result), result, files)
            if index % 500 == 499:
                print(f"{index + 1} of {len(seeds)}, {(time.monotonic() - start) / (index + 1):.2f} s each", flush=True)
    chosen = [kept[seed] for seed in sorted(kept) if options.seed <= seed < options.seed + options.inputs]
    findings = [result for _, result in chosen if is_finding(result)]
    write("fuzz", report(chosen, len(files.names), len(findings)))
    print(f"{len(chosen)} inputs, {len(findings)} findings")
    return not findings


def keep(folder: Path, seed: int, one: Any, result: dict[str, Any], files: Any) -> None:
    """A finding: its file, and how it is made."""
    place = folder / str(seed)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    files.write(one, place / "mutant")
    (place / "finding.json").write_text(json.dumps({"mutant": one.to_json(), **result}, indent=2), encoding="utf-8")


def report(chosen: list[tuple[Any, dict[str, Any]]], bases: int, findings: int) -> str:
    ends: tuple[tuple[str, Callable[[dict], bool]], ...] = (
        ("inputs", lambda r: True),
        ("refused", lambda r: r["outcome"] == "refused"),
        ("agree", lambda r: r["outcome"] == "agrees"),
        ("agree, prove nothing", lambda r: r["outcome"] == "proves nothing"),
        ("raw exception", lambda r: r["outcome"] == "raised"),
        ("crash", lambda r: r["outcome"] == "crash"),
        ("over the limits", lambda r: r["outcome"] in ("hang", "memory")),
        ("differ", lambda r: r["outcome"] == "differs"),
        ("canary", lambda r: bool(r["fired"])),
    )

    def row(name: str, results: list[dict]) -> tuple:
        return (name, *(sum(map(fits, results)) for _, fits in ends))

    forms = {"3.keras": "Keras 3, .keras", "3.h5": "Keras 3, .h5", "2.keras": "Keras 2, .keras", "2.h5": "Keras 2, .h5"}
    rows = [
        row(words, [r for one, r in chosen if one.base[0] == form[0] and one.base.endswith(form[1:])])
        for form, words in forms.items()
    ]
    rows.append(row("all", [result for _, result in chosen]))
    steps = Counter(name for one, _ in chosen for name, _ in one.steps)
    slowest = max((r["seconds"] for _, r in chosen), default=0)
    largest = max((r["memory"] for _, r in chosen), default=0)
    said = f"""{len(chosen):,} inputs: {bases} valid files of both versions and formats (the bundled examples and a
    model of every layer), each changed in one to four steps of {len(steps)} kinds: values of the config, classes,
    calls, names, HDF5 objects, members of the archive, bits. A seed makes the same file every time. Each is
    loaded, converted and verified in a process of 4 GiB and 90 s, with the canaries of the attacks.
    **{findings} findings.** The slowest took {slowest:.0f} s of the clock on two busy cores, the largest
    {largest / 2**30:.1f} GiB. {versions()}."""
    drawn = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in steps.most_common())
    head = ("files of", *(name for name, _ in ends))
    return (
        f"## Files that are changed at random\n\n{prose(said)}\n\n{table(head, rows)}\n\n{prose(f'Steps: {drawn}.')}\n"
    )


def engine(options: argparse.Namespace) -> bool:
    """What benchmarks/engines.py prints."""
    write("engine", f"## What the engine costs\n\n{sys.stdin.read().strip()}\n")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    works = {"attacks": attacks, "kills": kills, "fuzz": fuzz, "engine": engine}
    parser.add_argument("work", nargs="+", choices=list(works), metavar="WORK", help=f"of {', '.join(works)}")
    parser.add_argument("--inputs", type=int, default=20_000, help="of the fuzzer (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first input (default: 0)")
    parser.add_argument("--corpus", type=Path, help="a folder with the valid files; made where it is missing")
    temporary = Path(tempfile.gettempdir())
    parser.add_argument("--results", type=Path, default=temporary / "k2t-fuzz.jsonl", help="what was judged already")
    parser.add_argument("--findings", type=Path, default=temporary / "k2t-findings", help="where findings are kept")
    options = parser.parse_args()
    good = [works[name](options) for name in options.work]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
