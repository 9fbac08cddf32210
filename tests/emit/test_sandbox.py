"""A process that computes and does nothing else; whatever goes wrong in it is one line."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

import numpy as np
import pytest
import torch

from k2t_core.emit import sandbox
from k2t_core.emit.sandbox import Guest, Sandbox
from k2t_core.errors import InputError, OutputError
from k2t_core.progress import Cancelled, interruptible

GUEST = sandbox.expect("tests.emit.test_sandbox:Visitor")


class Visitor(Guest):
    def where(self):
        return os.getpid(), os.getcwd(), sys.path, torch.get_num_threads()

    def twice(self, array):
        return array * 2

    def fail(self, kind):
        if kind == "input":
            raise InputError("no")
        if kind == "of the folder":
            raise OutputError("out/model.safetensors: cannot be read")
        if kind == "lines":
            raise ValueError("one\n\x1b[2J\x1b]0;title\x07two\u202e")
        if kind == "memory":
            raise MemoryError
        os._exit(3)

    def say(self, words):
        print(words)
        os.write(2, b"and so\xff\n")

    def sleep(self):
        time.sleep(60)

    def socket(self):
        socket.socket()

    def write(self, path):
        open(path, "w").close()

    def fork(self):
        os.fork()

    def multiply(self):
        return (torch.ones(200, 200) @ torch.ones(200, 200)).numpy()


@pytest.fixture
def box():
    with Sandbox("out/model.py", GUEST, ("out/",)) as box:
        yield box


def test_it_is_another_process_in_the_same_place(box, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("/somewhere")
    pid, folder, path, threads = box.call("where")
    assert pid != os.getpid() and folder == str(tmp_path) and path[0] == "/somewhere"
    assert threads == torch.get_num_threads()
    assert box.call("where")[0] == pid and (box.call("twice", np.ones(3)) == 2).all()
    assert (box.call("multiply") == 200).all(), "torch works"


def test_the_next_call_after_the_end_has_another_process(box):
    pid = box.call("where")[0]
    box.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert box.call("where")[0] != pid


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("input", "out/model.py: no"),
        ("of the folder", "out/model.safetensors: cannot be read"),
        ("lines", "out/model.py: the process that runs it fails: ValueError: one"),
        ("memory", "out/model.py: the process that runs it has too little memory"),
        ("exit", "out/model.py: the process that runs it has ended: it left with exit code 3"),
    ],
)
def test_every_failure_is_one_line_that_names_the_file(box, kind, words):
    with pytest.raises(OutputError) as error:
        box.call("fail", kind)
    assert type(error.value) is OutputError and str(error.value).startswith(words)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("what", [("socket",), ("write", "/tmp/k2t-test-of-the-sandbox"), ("fork",)])
def test_it_computes_and_nothing_else(box, what):
    box.call("where")
    if {"socket": "network", "write": "files", "fork": "processes"}[what[0]] in box.in_force.off:
        pytest.skip("this system does not limit it")
    with pytest.raises(OutputError, match="PermissionError"):
        box.call(*what)


def test_what_it_prints_is_passed_on_with_its_name_and_obeyed_by_no_terminal(box, capfd):
    box.call("say", "agrees\x1b[8m\r\nwell")
    box.close()
    out, err = capfd.readouterr()
    assert out == "" and sorted(err.splitlines()) == [
        "out/model.py prints: agrees\ufffd[8m",
        "out/model.py prints: and so\ufffd",
        "out/model.py prints: well",
    ]


def test_to_cancel_is_to_end_it_at_once(box):
    wanted = threading.Event()
    with pytest.raises(Cancelled), interruptible(wanted.is_set):
        threading.Timer(0.2, wanted.set).start()
        box.call("sleep")
    with pytest.raises(OutputError, match="has ended: it was stopped in the middle"):
        box.call("where")


def test_the_clock(monkeypatch):
    monkeypatch.setenv("K2T_WALL_SECONDS", "1")
    with Sandbox("out/model.py", GUEST) as box, pytest.raises(OutputError, match="it gave no answer for 1 s"):
        box.call("sleep")


def test_without_a_zygote_it_is_started_afresh(monkeypatch):
    monkeypatch.setattr(sandbox, "ZYGOTE", None)
    with Sandbox("out/model.py", GUEST) as box:
        assert (box.call("multiply") == 200).all()
