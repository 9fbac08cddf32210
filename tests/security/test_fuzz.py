"""A fixed sample of the fuzzer's mutants: each is refused in one line, or converts and verifies, and no canary fires.

The long run is ``python benchmarks/security.py fuzz``; what it once found has a test beside the mechanism that was
wrong.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.security import canaries, corpus
from tests.security.campaign import Judge, is_finding, smaller
from tests.security.fuzzing import MUTATORS, Corpus, Mutant, mutant

COUNT = 1000 if os.environ.get("K2T_SWEEP") == "all" else 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A few valid files of both versions and both formats."""
    canaries.prepare()
    found = tmp_path_factory.mktemp("corpus")
    corpus.build(found, whole=False)
    return found


@pytest.fixture(scope="module")
def judge(folder):
    with Judge(folder) as found:
        yield found


def test_the_sample(folder, judge):
    files = Corpus(folder)
    assert {(name[0], Path(name).suffix) for name in files.names} == {(v, s) for v in "23" for s in (".keras", ".h5")}
    mutants = [mutant(seed, files) for seed in range(COUNT)]
    results = [(one, judge(one)) for one in mutants]
    assert [f"{one}: {result}" for one, result in results if is_finding(result)] == []
    ends = [result["outcome"] for _, result in results]
    assert ends.count("refused") > COUNT / 2 and ends.count("agrees") > COUNT / 20


def test_the_same_seed_is_the_same_file(folder, tmp_path):
    files = Corpus(folder)
    for seed in range(60):
        one = mutant(seed, files)
        assert one == Mutant.from_json(json.loads(json.dumps(one.to_json())))
        written = [Corpus(folder).write(one, tmp_path / name).read_bytes() for name in ("a", "b")]
        assert written[0] == written[1], one


@pytest.mark.parametrize("name", list(MUTATORS))
def test_every_mutator_changes_a_file(folder, tmp_path, name):
    files = Corpus(folder)
    for base in files.names:
        plain = files.write(Mutant(base, ()), tmp_path / "plain").read_bytes()
        for seed in range(10):
            if files.write(Mutant(base, ((name, seed),)), tmp_path / "mutant").read_bytes() != plain:
                return
    raise AssertionError(f"{name} changes nothing")


def test_a_file_that_is_not_changed_agrees_and_a_finding_is_made_smaller(judge):
    """A canary that fires is a finding; the step that it needs is all that is left."""
    base = "3.dense.keras"
    plain = judge(Mutant(base, ()))
    assert plain["outcome"] == "agrees" and plain["fired"] == []
    assert not is_finding(plain) and is_finding({**plain, "fired": ["read: a secret"]})
    assert all(is_finding({**plain, "outcome": end}) for end in ("raised", "crash", "hang", "memory", "differs"))
    noisy = Mutant(base, (("compressed", 1), ("truncated", 2), ("compressed", 3)))
    result = judge(noisy)
    assert result["outcome"] == "refused"
    assert smaller(judge, noisy, result).steps == (("truncated", 2),)
