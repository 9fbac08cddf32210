from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from k2t_core.errors import InputError, ProcessEnded, UnsupportedError
from k2t_core.processes.child import Child, WorkerFault, Zygote
from k2t_core.processes.limits import Limits
from k2t_core.progress import Cancelled, interruptible
from tests.processes.targets import Target, Told

TARGET = "tests.processes.targets:Target"


@pytest.fixture(scope="module")
def zygote():
    return Zygote(["numpy", "tests.processes.targets"])


@pytest.fixture(params=["fresh", "forked"])
def child(request, zygote):
    made = Child("the engine", TARGET, Target.CODEC, Limits(), zygote=zygote if request.param == "forked" else None)
    yield made
    made.kill()


def test_values_and_arrays_there_and_back(child):
    values = np.arange(300_000, dtype=np.float32).reshape(3, -1)
    got, named = child.call("echo", 1, (2, None), values, Told("x", values), more={"a": 1})
    assert got[:2] == [1, (2, None)] and named == {"more": {"a": 1}}
    assert (got[2] == values).all() and got[3].words == "x" and (got[3].values == values).all()


def test_the_object_lives_from_call_to_call(child):
    assert [child.call("add"), child.call("add")] == [1, 2]


def test_errors_of_k2t_arrive_as_they_are(child):
    with pytest.raises(InputError, match="^layer 'a': no$"):
        child.call("raise_it", "input")
    with pytest.raises(UnsupportedError) as refused:
        child.call("raise_it", "unsupported")
    assert refused.value.problems == ["one", "two"]
    with pytest.raises(MemoryError, match="8 GiB"):
        child.call("raise_it", "memory")
    assert child.call("add") == 1


def test_a_fault_comes_with_its_traceback(child):
    with pytest.raises(WorkerFault, match="ValueError: a fault") as fault:
        child.call("raise_it", "value")
    assert "in raise_it" in fault.value.where
    with pytest.raises(WorkerFault, match="SystemExit: 0"):
        child.call("raise_it", "exit")
    with pytest.raises(WorkerFault, match="Unknown is no data"):
        child.call("unknown")
    with pytest.raises(WorkerFault, match="no attribute 'nothing'"):
        child.call("nothing")
    assert child.call("add") == 1


def test_progress_is_passed_on(child):
    told = []
    assert child.call("steps", 3, progress=lambda share, text: told.append((round(share, 2), text))) == "done"
    assert told == [(0.0, "step 0"), (0.33, "step 1"), (0.67, "step 2")]


def test_what_asks_whether_it_is_cancelled_ends_and_the_process_goes_on(child):
    child.call("add")
    wanted = threading.Event()
    with pytest.raises(Cancelled), interruptible(wanted.is_set):
        threading.Timer(0.2, wanted.set).start()
        child.call("long")
    assert child.call("add") == 2


def test_what_does_not_ask_is_killed(child):
    wanted = threading.Event()
    wanted.set()
    with pytest.raises(Cancelled), interruptible(wanted.is_set):
        child.call("endless")
    assert not child.alive
    with pytest.raises(ProcessEnded, match="^the engine has ended: it was stopped in the middle of its work$"):
        child.call("add")
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("exit", "it left with exit code 7"),
        ("SIGKILL", "the system killed it, most likely because memory ran out"),
        ("SIGABRT", "it crashed (SIGABRT)"),
        ("SIGXCPU", "its work took more than None s of processor time"),
    ],
)
def test_how_it_ended_is_a_sentence(child, how, words):
    with pytest.raises(ProcessEnded) as ended:
        child.call("end", how)
    assert str(ended.value) == f"the engine has ended: {words}"
    assert not child.alive


def test_a_crash_in_native_code(child):
    with pytest.raises(ProcessEnded, match="it crashed .SIGSEGV."):
        child.call("crash")


def test_who_waits_elsewhere_is_told_too(child):
    ended = []

    def wait() -> None:
        with pytest.raises(ProcessEnded) as error:
            child.call("endless")
        ended.append(str(error.value))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert child.call("add") == 1, "while the others wait"
    child.kill("it was closed")
    for thread in threads:
        thread.join(10)
    assert ended == ["the engine has ended: it was closed"] * 3


def test_who_speaks_another_language_is_ended(child):
    with pytest.raises(ProcessEnded, match="does not speak k2t's language|has ended"):
        child.call("garbage")
    assert not child.alive


def test_a_print_is_not_taken_for_an_answer(child):
    assert child.call("print_much") == "printed"


@pytest.mark.parametrize("forked", [False, True])
def test_it_ends_with_the_block_whatever_still_runs_in_it(zygote, forked):
    with Child("the engine", TARGET, Target.CODEC, Limits(), zygote=zygote if forked else None) as child:
        child.call("leave_a_thread")
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_forked_ones_begin_untouched(zygote):
    one = Child("one", TARGET, Target.CODEC, Limits(), zygote=zygote)
    other = Child("other", TARGET, Target.CODEC, Limits(), zygote=zygote)
    assert one.call("add") == 1 and one.call("add") == 2 and other.call("add") == 1
    one.kill()
    other.kill()


def test_a_zygote_that_was_killed_is_started_again():
    zygote = Zygote(["numpy"])
    first = Child("one", TARGET, Target.CODEC, Limits(), zygote=zygote)
    assert first.call("add") == 1
    os.kill(_parent_of(first.pid), 9)
    with pytest.raises(ProcessEnded, match="try again"):
        for _ in range(50):
            Child("two", TARGET, Target.CODEC, Limits(), zygote=zygote).kill()
            time.sleep(0.05)
    again = Child("three", TARGET, Target.CODEC, Limits(), zygote=zygote)
    assert again.call("add") == 1
    again.kill()
    first.kill()


def _parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])
