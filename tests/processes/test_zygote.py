from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from k2t_core.processes import zygote
from k2t_core.processes.child import Child, Zygote
from k2t_core.processes.limits import Limits
from tests.processes.targets import Target


def test_what_it_imported_is_there_and_nothing_of_the_parent():
    import typer  # noqa: F401

    child = Child("it", "tests.processes.targets:Target", Target.CODEC, Limits(), zygote=Zygote(["ast", "numpy"]))
    modules = child.call("modules")
    assert "numpy" in modules and "typer" not in modules and "pytest" not in modules
    child.kill()


def test_its_children_end_with_it():
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-m", "k2t_core.processes.zygote", str(theirs.fileno()), "tests.processes.targets"],
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    mine, its = socket.socketpair()
    setup = {"target": "tests.processes.targets:Target", "limits": {}, "imports": []}
    socket.send_fds(ours, [json.dumps({"start": setup}).encode()], [its.fileno()])
    pid = json.loads(ours.recv(4096))["pid"]
    os.kill(pid, 0)
    ours.close()
    assert process.wait(30) == 0
    its.close()
    mine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_with_nothing_to_do_it_ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        zygote.serve(theirs, idle=0.05)
