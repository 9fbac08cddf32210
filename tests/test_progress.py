"""Work that is cancelled at any of its steps leaves everything as it was."""

from __future__ import annotations

import threading

import pytest

from k2t_core.emit.manifest import FILES
from k2t_core.progress import Cancelled, check, interruptible
from k2t_core.project.project import Project


@pytest.fixture
def project(example, tmp_path, monkeypatch):
    monkeypatch.setenv("K2T_HOME", str(tmp_path / "home"))
    found = Project.create()
    found.load(example("shared"))
    return found


def cancelled_at(step, work):
    """Run ``work`` and cancel it at the given step: whether it came so far."""
    asked = 0

    def wanted():
        nonlocal asked
        asked += 1
        return asked >= step

    try:
        with interruptible(wanted):
            work(lambda share, text: check() if share < 1 else None)  # as `Job` does
    except Cancelled:
        return True
    return False


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nobody_cancels_a_script():
    check()
    with interruptible(lambda: True):
        with pytest.raises(Cancelled):
            check()
    check()


def test_a_conversion_cancelled_at_each_step_is_not_begun(project):
    project.convert()
    project.override("encoder/flatten", "alternative", "plain flatten")
    before, step = files(project.folder), 1
    while cancelled_at(step, project.convert):
        assert files(project.folder) == before and not project.is_converted
        step += 1
    assert step > 10 and project.is_converted


def test_a_verification_cancelled_at_any_step_leaves_the_last_one(project):
    project.set("verify.edge_cases", False)
    project.verify()
    report, before = project.report, files(project.folder)
    steps = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233]
    reached = [step for step in steps if cancelled_at(step, project.verify)]
    assert len(reached) > 6
    if reached == steps:
        assert project.report is report and files(project.folder) == before
    else:  # the later ones came to the end
        assert project.report is not report and len(project.past_runs()) == 1 + len(steps) - len(reached)


def test_a_load_cancelled_at_each_step_keeps_the_model(project, example):
    project.override("encoder/flatten", "alternative", "plain flatten")
    traced, before, step = project.engine.workbench.traced, files(project.folder), 1
    other = example("dense")

    def load(say):
        with open(other, "rb") as file:
            project.load(project.receive("other.keras", file), progress=say)

    while cancelled_at(step, load):
        assert (
            project.engine.workbench.traced is traced
            and project.model_path.name == "shared.keras"
            and len(project.recipe.overrides) == 1
        )
        assert files(project.folder) == before
        step += 1
    assert step > 3 and project.model_path.name == "other.keras"


def test_an_exercise_cancelled_keeps_the_one_before(project):
    project.start_exercise(0).wait()
    before = project.exercise
    project.set("learn.break.answer", before.layer)
    job = project.start_exercise(1)
    job.cancel()
    job.wait()
    assert job.cancelled and job.error is None and project.exercise is before
    assert (project.settings["learn.break.seed"], project.settings["learn.break.answer"]) == (0, before.layer)


def test_a_job_says_that_it_stops_and_the_next_one_starts(project):
    begun, go_on = threading.Event(), threading.Event()

    def work(say):
        begun.set()
        go_on.wait(30)
        say(0.5, "half")

    job = project.start("test", "Testing", work)
    begun.wait(30)
    assert not job.stopping
    job.cancel()
    assert job.running and job.stopping and project.start_convert() is job
    go_on.set()
    job.wait()
    assert job.cancelled and not job.stopping
    assert project.start_convert() is not job
    project.job.wait()
    assert all((project.out / name).is_file() for name in FILES)
