from __future__ import annotations

import os
import threading

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


def test_without_grace_it_is_killed_at_once(zygote):
    wanted = threading.Event()
    with Child("it", TARGET, Target.CODEC, Limits(), zygote=zygote, grace=0) as child:
        child.call("add")
        with pytest.raises(Cancelled), interruptible(wanted.is_set):
            threading.Timer(0.2, wanted.set).start()
            child.call("long")
        assert not child.alive, "although it asks whether it is cancelled"


def test_what_neither_works_nor_ends_is_ended_by_the_clock(zygote):
    with Child("it", TARGET, Target.CODEC, Limits(wall=1), zygote=zygote) as child:
        assert child.call("add") == 1
        with pytest.raises(ProcessEnded, match="^it has ended: it gave no answer for 1 s$"):
            child.call("endless")


@pytest.mark.parametrize(
    ("kind", "words"), [("own", "Own: x"), ("interrupt", "KeyboardInterrupt: x"), ("cancelled", "nobody asked for")]
)
def test_whatever_is_raised_is_an_answer(child, kind, words):
    with pytest.raises(WorkerFault, match=words):
        child.call("raise_any", kind)
    assert child.call("add") == 1


@pytest.mark.parametrize("message", [[1], None, {"id": 0}], ids=repr)
def test_what_no_worker_says_ends_it(child, message):
    with pytest.raises(ProcessEnded, match="does not speak k2t's language any more"):
        child.call("say", message)
    assert not child.alive


def test_who_can_answer_no_more_is_ended(child):
    with pytest.raises(ProcessEnded, match="the engine has ended: it left with exit code 1"):
        child.call("answer_nothing")


def test_answers_to_nobody_and_twice_are_let_go(child):
    assert child.call("add") == 1
    with pytest.raises(InputError, match="no"):
        child.call("say", {"id": 7, "done": 1}, {"id": 1, "failed": "InputError", "words": "no"}, {"id": 1, "done": 2})
    assert child.call("add") == 2


def test_large_arrays(child):
    values = np.arange(10**6, dtype=np.float32).reshape(10, 100, 1000)
    (got, other), _ = child.call("echo", values, values.transpose(2, 0, 1), a=1)
    assert (got == values).all() and (other == values.transpose(2, 0, 1)).all()
    assert other.strides == values.transpose(2, 0, 1).strides, "as it lay in memory"
    got += 1


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


def test_a_zygote_that_was_killed_is_started_again_and_its_children_end_with_it():
    zygote = Zygote(["numpy"])
    first = Child("one", TARGET, Target.CODEC, Limits(), zygote=zygote)
    assert first.call("add") == 1
    os.kill(_parent_of(first.pid), 9)
    again = Child("two", TARGET, Target.CODEC, Limits(), zygote=zygote)
    assert again.call("add") == 1
    with pytest.raises(ProcessEnded, match="one has ended"):
        first.call("endless")
    again.kill()
    assert _state_of(first.pid) in ("", "Z"), "it runs no more, whether or not somebody has asked how it ended"


def test_a_fork_of_this_process_has_a_zygote_of_its_own(zygote):
    Child("one", TARGET, Target.CODEC, Limits(), zygote=zygote).kill()
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        with Child("two", TARGET, Target.CODEC, Limits(), zygote=zygote) as child:
            os.write(theirs, str(_parent_of(child.pid)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    with Child("three", TARGET, Target.CODEC, Limits(), zygote=zygote) as child:
        assert int(os.read(ours, 100)) != _parent_of(child.pid)


def test_what_it_prints_goes_where_the_parents_stderr_goes_now(child, capfd):
    child.call("print_much")
    assert "xxxxxxxxxx" not in capfd.readouterr().out


def _parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def _state_of(pid: int) -> str:
    """One letter, of a process that is not there none."""
    try:
        return _stat(pid)[0]
    except FileNotFoundError:
        return ""


def _stat(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()
