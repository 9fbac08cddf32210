from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from k2t_core.errors import ProcessEnded
from k2t_core.processes import limited
from k2t_core.processes.child import environment
from k2t_core.processes.limited import in_force, run, writable
from k2t_core.processes.limits import Limits

COMMAND = "tests.processes.command"


def test_a_command_has_its_limits_and_its_exit_code(tmp_path, capfd):
    own = tmp_path / "own"
    own.mkdir()
    assert run(COMMAND, ["work", str(own)], Limits()) == 5
    said = capfd.readouterr().out.split("\n")
    on = in_force(Limits(network=False, writes=(str(own),))).on
    assert said[0] == "a written"
    assert said[1] == ("b PermissionError" if "files" in on else "b written")
    assert said[2] == ("socket PermissionError" if "network" in on else "socket made")


def test_without_a_parent_that_asks_there_are_none(tmp_path, monkeypatch):
    monkeypatch.delenv(limited.MARK, raising=False)
    limited.put_on(Limits(network=False, writes=()))
    (tmp_path / "a").write_text("this process may write still")


def test_how_it_ended_is_a_sentence(tmp_path):
    with pytest.raises(ProcessEnded, match="^the command has ended: it crashed .SIGSEGV.$"):
        run(COMMAND, ["die", str(tmp_path)], Limits())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux sends the signal")
def test_it_ends_with_its_parent(tmp_path):
    script = "from k2t_core.processes.limited import run; from k2t_core.processes.limits import Limits; "
    script += f"run({COMMAND!r}, ['wait', {str(tmp_path)!r}], Limits())"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment())
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("it goes on without its parent")


def test_nothing_is_imported_from_the_folder_it_is_started_in(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('code of a stranger')")
    monkeypatch.chdir(tmp_path)
    assert run(COMMAND, ["work", str(tmp_path / "own")], Limits()) == 5


def test_where_a_file_that_is_not_there_yet_is_made(tmp_path):
    assert writable(tmp_path / "a" / "b" / "c") == str(tmp_path)
    assert writable(tmp_path) == str(tmp_path)
