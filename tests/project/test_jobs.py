"""Long work: one job at a time, its error kept for the page."""

from __future__ import annotations

import threading

from k2t_core.errors import K2TError
from k2t_core.project.jobs import Job, Jobs


def test_a_job_keeps_its_error():
    def work(say):
        raise K2TError("not like this")

    job = Job("load", "Loading", work)
    job.wait()
    assert str(job.error) == "not like this"


def test_a_fault_is_kept_like_an_error():
    def work(say):
        raise ZeroDivisionError("boom")

    job = Job("load", "Loading", work)
    job.wait()
    assert isinstance(job.error, ZeroDivisionError) and not job.cancelled


def test_one_at_a_time_whoever_asks():
    jobs, go, started = Jobs(), threading.Event(), []

    def work(say):
        started.append(1)
        go.wait(30)

    found = []
    askers = [threading.Thread(target=lambda: found.append(jobs.start("test", "Testing", work))) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(set(map(id, found))) == 1 and jobs.last is found[0]
    go.set()
    found[0].wait()
    assert started == [1]
    assert jobs.start("test", "Testing", work) is not found[0]
