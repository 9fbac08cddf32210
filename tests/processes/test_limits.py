from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from k2t_core.errors import ProcessEnded
from k2t_core.processes.child import Child
from k2t_core.processes.limits import Limits, briefly, cpu_limit, memory_limit, memory_of_the_machine, wall_limit
from tests.processes.targets import Target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of the Linux kernel")


@pytest.fixture
def limited():
    made = []

    def start(**limits) -> Child:
        made.append(Child("the engine", "tests.processes.targets:Target", Target.CODEC, Limits(**limits)))
        made[-1].call("echo")
        return made[-1]

    yield start
    for child in made:
        child.kill()


def test_memory(limited):
    child = limited(memory=2**30)
    assert child.in_force.on["memory"] == "1.0 GiB"
    assert child.call("hold", 0.25) == 0.25 * 2**27
    with pytest.raises(MemoryError):
        child.call("hold", 2.0)
    assert child.call("add") == 1, "it goes on"


def test_processor_time_of_a_call(limited):
    child = limited(call=1)
    for _ in range(3):
        assert child.call("hold", 0.1)
    with pytest.raises(ProcessEnded, match="took more than 1 s of processor time"):
        child.call("burn")


def test_processor_time_of_all(limited):
    with pytest.raises(ProcessEnded, match="took more than 1 s of processor time"):
        limited(cpu=1).call("burn")


def test_a_library_that_never_comes_back(limited):
    child = limited(call=60)
    assert child.call("hold", 0.1)
    with pytest.raises(ProcessEnded, match="busy far longer than any file does; it is damaged"):
        child.call("burn_briefly", 0.3)


def test_only_a_process_of_k2ts_own_is_ended():
    with briefly(0.01):
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
    script = "from k2t_core.processes.limits import Limits, briefly; Limits().apply()\nwith briefly(0.5): pass\n"
    script += "import time\nwhile time.process_time() < 1: pass\nprint('goes on')"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "goes on\n"


def test_the_size_of_a_file(limited, tmp_path):
    child = limited(file=1000)
    assert child.call("write_much", str(tmp_path / "a"), 5000) == 1000
    assert child.call("add") == 1


@pytest.fixture
def listening():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def needs(child: Child, name: str) -> None:
    if name in child.in_force.off:
        pytest.skip(f"this system does not limit {name}: {child.in_force.off[name]}")


def test_no_network(limited, listening):
    assert limited().call("connect", listening) == "connected"
    child = limited(network=False)
    needs(child, "network")
    assert child.call("connect", listening) == "PermissionError"
    assert child.call("datagram") == "PermissionError"


def test_files_are_written_where_they_may(limited, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    outside = tmp_path / "outside"
    outside.write_text("kept")
    child = limited(writes=(str(own),))
    needs(child, "files")
    assert child.call("write", str(own / "a")) == "written"
    assert child.call("write", str(outside)) == "PermissionError" and outside.read_text() == "kept"
    assert child.call("write", str(tmp_path / "new")) == "PermissionError" and not (tmp_path / "new").exists()
    os.symlink(outside, own / "link")
    assert child.call("write", str(own / "link")) == "PermissionError" and outside.read_text() == "kept"
    assert child.call("read", str(outside)) == "kept", "reading is free"


def test_who_may_write_nothing_reaches_into_no_other_process(limited):
    child = limited(writes=(), network=False)
    needs(child, "files")
    assert child.call("write_into", os.getpid()) == "PermissionError"
    assert child.call("kill_parent") in ("PermissionError", "reached")  # signals are refused from kernel 6.12 on


def test_no_other_processes(limited):
    child = limited(processes=False)
    needs(child, "processes")
    assert [child.call("start", how) for how in ("fork", "program", "exec")] == ["PermissionError"] * 3
    assert child.call("start", "thread") == "started"
    assert child.call("kill_parent") == "PermissionError" and child.call("own_signal") == "sent"
    assert child.call("limit", os.getpid()) == "PermissionError"
    assert child.call("limit", 0) == child.call("limit", child.pid) == "limited"
    with pytest.raises(ProcessEnded, match="it crashed .SIGABRT."):
        child.call("end", "SIGABRT")
    assert limited().call("start", "fork") == "started"


def test_no_metadata_of_files(limited, tmp_path):
    path = tmp_path / "own"
    path.write_text("kept")
    before = path.stat()
    child = limited(processes=False)
    needs(child, "processes")
    assert child.call("metadata", str(path)) == ["PermissionError"] * 4
    assert (path.stat().st_mode, path.stat().st_mtime) == (before.st_mode, before.st_mtime)
    assert limited().call("metadata", str(path))[:2] == ["changed"] * 2


def test_nobody_types_into_the_terminal(limited):
    """What TIOCSTI types is read by the shell as soon as k2t has ended. Refused: no terminal, or not its own."""
    assert limited(processes=False).call("terminal") in ("PermissionError", "OSError")


def test_no_socket_within_the_machine(limited, tmp_path):
    path = str(tmp_path / "service")
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(path)
        service.listen()
        assert limited().call("unix_socket", path) == "connected"
        child = limited(network=False)
        needs(child, "network")
        assert child.call("unix_socket", path) == "PermissionError"


def test_what_is_in_force_is_told(limited):
    child = limited(memory=2**33, cpu=100, file=2**30, network=False, writes=(), processes=False)
    assert {"memory", "cpu", "file"} <= set(child.in_force.on)
    names = {"memory", "cpu", "file", "network", "files", "processes"}
    assert set(child.in_force.on) | set(child.in_force.off) == names


def test_defaults_follow_the_machine(monkeypatch):
    monkeypatch.delenv("K2T_MEMORY", raising=False)
    assert 2**28 < memory_limit() < memory_of_the_machine()
    monkeypatch.setenv("K2T_MEMORY", "2.5")
    monkeypatch.setenv("K2T_CPU_SECONDS", "60")
    monkeypatch.setenv("K2T_WALL_SECONDS", "90")
    assert memory_limit() == int(2.5 * 2**30) and cpu_limit() == 60 and wall_limit() == 90
