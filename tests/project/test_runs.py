"""Verifications that were made: the last one whole, the ones before as a line each."""

from __future__ import annotations

from dataclasses import replace

import pytest

import k2t_core as k2t
from k2t_core.project.project import Project
from k2t_core.project.runs import Runs


def test_past_verifications_are_kept(square):
    square.verify()
    square.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    square.verify()
    first, second = Project.read(square.folder).past_runs()
    assert (first.verdict, first.overrides, first.first_divergence) == ("agrees", (), None)
    assert (second.verdict, second.overrides, second.first_divergence) == (
        "differs",
        ("square1: weight permuted by (0, 1)",),
        "square1",
    )
    assert first.worst < 1e-5 < second.worst and first.at <= second.at and "k2t verify" in first.command


@pytest.fixture
def report(example, converted):
    return k2t.verify(converted("dense"), example("dense"), weights="model", edge_cases=False)


def test_the_last_report_is_read_again(report, tmp_path):
    runs = Runs(tmp_path)
    assert runs.last is None and not runs.is_of("key")
    runs.write(report, "key")
    assert runs.last is report and runs.is_of("key") and not runs.is_of("other")
    again = Runs(tmp_path)
    assert again.last.to_json() == report.to_json() and again.last is again.last
    again.forget()
    assert again.last is not None, "the file is still there"


def test_of_many_the_last_are_kept_with_their_numbers(report, tmp_path, monkeypatch):
    monkeypatch.setattr("k2t_core.project.runs.KEPT_RUNS", 3)
    runs = Runs(tmp_path)
    for number in range(5):
        runs.keep(report, (f"override {number}",), f"k2t verify {number}")
    past = runs.past()
    assert [run.command for run in past] == ["k2t verify 2", "k2t verify 3", "k2t verify 4"]
    assert past[0].overrides == ("override 2",) and past[0].verdict == "agrees"
    assert all(runs.numbers(run) == past_numbers for run in past for past_numbers in [runs.numbers(past[0])])
    assert len(list((tmp_path / "runs").iterdir())) == 3
    assert runs.numbers(replace(past[0], id="")) is None and runs.numbers(replace(past[0], id="gone")) is None
