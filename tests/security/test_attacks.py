"""The standing catalogue of attacks, each file through every door: refused in one line, or converted and verified; no
canary fires, and memory stays bounded.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.security import canaries
from tests.security.attacks import ATTACKS, Bench
from tests.security.canaries import Listener
from tests.security.doors import opened

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 2 * 2**30  # of the process with both frameworks, which have most of one themselves
CASES = [(attack, form) for attack in ATTACKS for form in attack.forms]
IDS = [f"{attack.name}-{form}" for attack, form in CASES]
REAL = [(attack, form) for attack, form in CASES if attack.real]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    canaries.prepare()
    listener = Listener()
    found = Bench(tmp_path_factory.mktemp("attacks"), listener.port)
    yield found
    assert listener.came == 0, "somebody came to the server on the loopback"


@pytest.fixture(scope="module")
def files(bench):
    return {case: case[0].build(bench, case[1], bench.folder / case[0].name / case[1]) for case in CASES}


@pytest.fixture(scope="module")
def results(files):
    """What became of each file, opened one after another when it is asked for."""
    found = {}
    coming = opened((case, path, "") for case, path in files.items())

    def get(case):
        while case not in found:
            key, result = next(coming)
            found[key] = result
        return found[case]

    yield get
    coming.close()


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_an_attack_comes_to_nothing(case, results):
    attack, _ = case
    result = results(case)
    assert result["fired"] == []
    for name, door in result["doors"].items():
        if attack.refusal is None:
            assert door["code"] == 0, f"{name}: {door['said']}"
            continue
        lines = door["said"].strip().splitlines()
        assert door["code"] == 2 and re.search(attack.refusal, door["said"]), f"{name}: {door}"
        if name in ("inspect", "convert"):
            assert all(line.startswith("k2t: ") for line in lines), lines
        else:
            assert len(lines) == 1, lines
        assert max(map(len, lines)) < 2000
    assert set(result["doors"]) >= {"inspect", "convert", "load", "plan", "api convert"}
    assert result["memory"] < MEMORY


def test_the_attacks_are_real(bench, tmp_path):
    """The canaries are seen to fire where the frameworks' own loaders open the files, for each kind of harm."""
    made = [
        ((attack, form), attack.build(bench, form, tmp_path / attack.name / form), form[0]) for attack, form in REAL
    ]
    fired = {(attack.name, form): result["fired"] for (attack, form), result in opened(made)}
    kinds = {what.split(":")[0] for found in fired.values() for what in found}
    assert {"code", "read", "state"} <= kinds and sum(map(bool, fired.values())) >= 6, fired


@pytest.mark.parametrize("command", [["inspect"], ["convert", "-o", "out"]], ids=["inspect", "convert"])
def test_as_a_user_runs_it(command, files, tmp_path):
    """In a process of its own, with nothing of the test's in it."""
    path = next(path for (attack, form), path in files.items() if attack.name == "residual_wrapper" and form == "2.h5")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "k2t_core.cli", command[0], str(path), *command[1:]]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2 and re.fullmatch(r"(k2t: [^\n]*ResidualWrapper[^\n]*\n)+", done.stderr), done.stderr
    assert done.stdout == "" and list(tmp_path.iterdir()) == [] and not canaries.FIRED.exists()


def test_every_advisory_has_its_attack():
    """Those that Keras and tf_keras have published on the loading of models, by August 2026."""
    named = {advisory for attack in ATTACKS for advisory in attack.advisories}
    assert named >= {
        "CVE-2024-3660",
        "CVE-2024-55459",
        "CVE-2025-1550",
        "CVE-2025-8747",
        "CVE-2025-9905",
        "CVE-2025-9906",
        "CVE-2025-12058",
        "CVE-2025-12060",
        "CVE-2025-12638",
        "CVE-2025-49655",
        "CVE-2026-0897",
        "CVE-2026-1462",
        "CVE-2026-1669",
        "CVE-2026-12479",
        "CVE-2026-12481",
        "GHSA-27f4-p4xq-cxg8",
        "GHSA-hqp4-2352-xf5r",
    }
