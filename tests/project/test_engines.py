"""Engines as they are in the app: processes with limits, whose end is a sentence and loses nothing."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time

import pytest

from k2t_core.errors import ProcessEnded
from k2t_core.project import engines
from k2t_core.project.engines import Engines
from k2t_core.project.project import Project


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """One set of engines for this module: each takes seconds to start."""
    before = os.environ.get("K2T_HOME")
    os.environ["K2T_HOME"] = str(tmp_path_factory.mktemp("home"))
    found = Engines(most=1)
    yield found
    found.end_all()
    if before is None:
        del os.environ["K2T_HOME"]
    else:
        os.environ["K2T_HOME"] = before


@pytest.fixture
def project(processes, monkeypatch, example):
    monkeypatch.setattr(Project, "engines", processes)
    found = Project.create()
    found.start_load(example("square")).wait()
    assert found.job.error is None, found.job.error
    return found


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_project_from_load_to_verdict(project):
    assert project.is_open and len(project.plan.rows) == 3
    project.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    assert not project.judge("square1").passed
    project.start_verify().wait()
    assert project.job.error is None and not project.report.passed and project.report.causes
    project.undo()
    project.start_verify().wait()
    assert project.report.passed and project.is_converted
    assert project.activations("square1", 0)[0].keras.size and "square1" in project.code.text


def test_it_writes_where_it_may_and_reaches_no_network(project):
    assert project.engine.in_force.on["memory"].endswith("GiB")
    missing = set(project.engine.in_force.off)
    assert missing <= {"network", "files"}, "of an old kernel, or of another system"


def test_a_crash_is_a_sentence_and_the_project_goes_on(project):
    project.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    os.kill(project.engine.pid, 11)
    with pytest.raises(ProcessEnded, match="the engine has ended"):
        for _ in range(100):
            project.judge("square1")
            time.sleep(0.1)
    assert not project.is_open and project.has_model and len(project.recipe.overrides) == 1
    project.start_open().wait()
    assert project.is_open and not project.judge("square1").passed


def test_a_crash_in_the_middle_of_work_ends_the_work(project):
    job = project.start_verify()
    while job.share < 0.1 and job.running:
        time.sleep(0.01)
    os.kill(project.engine.pid, 9)
    job.wait()
    assert isinstance(job.error, ProcessEnded) and "killed it" in str(job.error)
    project.start_open().wait()
    project.start_verify().wait()
    assert project.report.passed


def test_cancel_reaches_what_never_asks(project):
    pid = project.engine.pid
    job = project.start("probe", "hangs", lambda say: project.engine.call("hang"))
    job.wait()
    assert "no attribute 'hang'" in str(job.error), "the engine offers what the workbench has and nothing else"
    assert project.engine.pid == pid


def test_it_ends_with_its_project(project, processes):
    pid = project.engine.pid
    processes.end(project.engine, "its project was closed")
    assert gone(pid) and not project.is_open
    del project
    gc.collect()


def test_idle_ones_end_and_the_project_is_read_again(project, processes, monkeypatch):
    pid = project.engine.pid
    processes.end_idle()
    assert not gone(pid)
    with monkeypatch.context() as patched:
        patched.setattr(processes, "idle", -1.0)
        processes.end_idle()
    assert gone(pid) and not project.is_open and project.has_model
    project.start_open().wait()
    assert project.is_open


def test_where_memory_holds_no_more_the_longest_unused_one_ends():
    made = []

    def make():
        made.append(engines.Here())
        return made[-1]

    lent = Engines(make, most=2)
    first, second = lent.take(), lent.take()
    lent.used(first)
    third = lent.take()
    assert [one.alive for one in (first, second, third)] == [True, False, True]
    lent.warm()
    assert len(made) == 3, "none waits where there is no room for it"


def test_one_waits_for_the_next_project():
    made = []

    def make():
        made.append(engines.Here())
        return made[-1]

    lent = Engines(make, most=4)
    lent.warm()
    lent.warm()
    assert len(made) == 1
    assert lent.take() is made[0] and len(made) == 1, "the next one waits until this one has its model"
    lent.warm()
    assert len(made) == 2 and lent.take() is made[1]
    lent.warm()
    made[2].kill()
    assert lent.take() is made[3], "not one that has ended meanwhile"


def test_the_server_imports_no_framework():
    """All that the pages import, and what they call to draw a model that is not open."""
    script = """
import sys
from pathlib import Path
sys.argv = ["app.py"]
from streamlit.testing.v1 import AppTest
for page in ("load", "mapping", "convert", "verify", "learn"):
    app = AppTest.from_file("app.py", default_timeout=60)
    app.run()
    if page not in ("load", "learn"):
        app.switch_page(f"pages/{page}.py").run()
    assert not app.exception, app.exception
import pages.parts.evidence, pages.parts.layer_view, pages.parts.override
print([name for name in ("tensorflow", "torch", "keras", "tf_keras") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.strip().splitlines()[-1] == "[]", done.stdout + done.stderr
