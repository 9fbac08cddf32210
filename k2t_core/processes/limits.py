"""What a process of k2t's may use: memory, time, files, network, other processes; each where the system allows it.

Limits of the kernel, put on by the process itself before it reads anything of a user's, and never to be taken off
again: `setrlimit`, Landlock (files and signals; https://docs.kernel.org/userspace-api/landlock.html) and seccomp
(sockets and processes; https://docs.kernel.org/userspace-api/seccomp_filter.html). Both of the latter need no rights
and are there on Linux only. What could not be put on is said in words: `Limits.apply` returns them.

Long because both are spoken to in their own structures and numbers, for which Python has no names.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

SHARE = 0.9  # of the machine's memory, that one process may have
CPU_SECONDS = 4 * 3600
WALL_SECONDS = 3600


@dataclass(frozen=True)
class Limits:
    """memory: bytes; cpu: seconds of all cores together; call: the same for one call; wall: seconds from a call to its
    answer, which the parent counts; file: bytes of the largest file that it writes; writes: the folders and files that
    it may write to. None: no limit. processes: whether it may start others, or reach them with signals.
    """

    memory: int | None = None
    cpu: int | None = None
    call: int | None = None
    file: int | None = None
    network: bool = True
    writes: tuple[str, ...] | None = None
    wall: int | None = None
    processes: bool = True

    def apply(self) -> InForce:
        """Put them on this process and all its children."""
        global _own
        _own = True
        found = InForce()
        _rlimits(self, found)
        if not self.network:
            _try(found, "network", "none", _no_sockets)
        if not self.processes:
            _try(found, "processes", "none but itself", _no_processes)
        if self.writes is not None:
            _try(found, "files", "written in its own folders alone", lambda: _landlock(self.writes or ()))
        return found

    def renew(self) -> None:
        """At the start of a call: what it may use is counted from here."""
        if self.call is not None:
            import resource

            soft = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])) + 1 + self.call
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


# State of the process: whether it is one of k2t's own, which may be ended (`Limits.apply`). A user's script may not.
_own = False


@contextmanager
def briefly(seconds: float) -> Iterator[None]:
    """A process of k2t's own ends where the work within takes more seconds of its processors than that.

    For a library that may never come back, whatever Python does: the timer's signal, SIGPROF, ends the process.
    """
    if not _own or not hasattr(signal, "ITIMER_PROF"):  # not on Windows
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@dataclass
class InForce:
    """What of the limits the system put on, and why not the others; each by its name, in words."""

    on: dict[str, str] = field(default_factory=dict)
    off: dict[str, str] = field(default_factory=dict)


def memory_of_the_machine() -> int:
    """Bytes, as the machine or the container has them."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(path).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return total


def memory_limit() -> int:
    """Bytes that one process may have: K2T_MEMORY (in GiB), or nearly all that the machine has."""
    asked = os.environ.get("K2T_MEMORY")
    return int(float(asked) * 2**30) if asked else int(memory_of_the_machine() * SHARE)


def cpu_limit() -> int:
    """Seconds of processor time that one piece of work may take: K2T_CPU_SECONDS, or four hours."""
    return int(os.environ.get("K2T_CPU_SECONDS", CPU_SECONDS))


def wall_limit() -> int:
    """Seconds that one call may take by the clock: K2T_WALL_SECONDS, or an hour. For what neither works nor ends."""
    return int(os.environ.get("K2T_WALL_SECONDS", WALL_SECONDS))


def how_it_ended(code: int, limits: Limits) -> str:
    """An exit code, or minus a signal, in words."""
    if code >= 0:
        return f"it left with exit code {code}"
    name = signal.Signals(-code).name
    if name == "SIGXCPU":
        return f"its work took more than {limits.call or limits.cpu} s of processor time"
    if name == "SIGPROF":
        return "the file kept its processor busy far longer than any file does; it is damaged: save or copy it again"
    if name == "SIGKILL":
        return "the system killed it, most likely because memory ran out"
    if name == "SIGABRT" and limits.memory is not None:
        return f"it crashed (SIGABRT), as native code does beyond its {limits.memory / 2**30:.1f} GiB of memory"
    return f"it crashed ({name})"


def _try(found: InForce, name: str, words: str, put_on: Callable[[], object]) -> None:
    try:
        put_on()
    except OSError as error:
        found.off[name] = error.strerror or str(error)
    else:
        found.on[name] = words


def _rlimits(limits: Limits, found: InForce) -> None:
    try:
        import resource
    except ImportError:  # Windows
        found.off.update(dict.fromkeys(("memory", "cpu", "file"), "this system has no rlimits"))
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what was in memory is not left lying about
    # RLIMIT_DATA counts what is written to; libraries that are only mapped do not.
    for name, which, value, words in (
        ("memory", resource.RLIMIT_DATA, limits.memory, "{:.1f} GiB"),
        ("cpu", resource.RLIMIT_CPU, limits.cpu, "{:.0f} s"),
        ("file", resource.RLIMIT_FSIZE, limits.file, "{:.1f} GiB"),
    ):
        if value is None:
            continue
        hard = resource.getrlimit(which)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard - 1)

        # Where soft and hard end together, the kernel sends SIGKILL, which says nothing of the reason.
        both = (bound, bound + 1 if name == "cpu" else bound)
        put_on = partial(resource.setrlimit, which, both)
        _try(found, name, words.format(bound if name == "cpu" else bound / 2**30), put_on)


# seccomp: filters in the machine language of BPF, run by the kernel at every system call. Each call that one names is
# refused, or looked at: `_Rule`.

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ERRNO
_EPERM, _EACCES, _ENOSYS = 1, 13, 38
_X32 = 0x40000000
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# (x86_64, aarch64); None: not there
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "io_uring_setup": (425, 425),
    "ptrace": (101, 117),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "clone3": (435, 435),
    "execve": (59, 221),
    "execveat": (322, 281),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "prlimit64": (302, 261),
    "ioctl": (16, 29),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
# What a file is called besides its content: its mode, owner, times and attributes. Landlock knows nothing of them.
_METADATA = tuple(name for name in _NUMBERS if any(part in name for part in ("chmod", "chown", "utime", "attr")))
_CLONE_THREAD, _TIOCSTI, _TIOCLINUX = 0x10000, 0x5412, 0x541C


@dataclass(frozen=True)
class _Rule:
    """A system call that is refused with ``error``; but for ``only``, whose values of an argument are let pass (with
    ``bits``: any of these bits), or for all but ``never``.
    """

    name: str
    error: int = _EPERM
    argument: int = 0
    only: tuple[int, ...] = ()
    bits: int = 0
    never: tuple[int, ...] = ()

    def program(self, number: int) -> list[bytes]:
        """It leaves the call's number where it is, unless it is this call."""
        refuse, allow = _step(_RETURN, _REFUSE | self.error), _step(_RETURN, _ALLOW)
        if self.bits:
            tests = [_step(_ANY_BIT, self.bits, no=1), allow]
        else:
            tests = [part for value in self.only for part in (_step(_EQUAL, value, no=1), allow)]
            tests += [part for value in self.never for part in (_step(_EQUAL, value, no=1), refuse)]
        if tests:
            tests.insert(0, _step(_LOAD, 16 + 8 * self.argument))  # its lower half
        body = [*tests, allow if self.never else refuse]
        return [_step(_EQUAL, number, no=len(body)), *body]


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """An instruction; yes and no: how many to leave out where a comparison holds, or does not."""
    return struct.pack("HBBI", code, yes, no, value)


def _no_sockets() -> None:
    """Refuse every socket, those within the machine too (behind one may be a service that starts programs), and to
    reach into other processes. io_uring would make sockets behind the filter's back.
    """
    calls = ("socket", "io_uring_setup", "ptrace", "process_vm_writev", "pidfd_getfd")
    _filter([_Rule(name, _EACCES) for name in calls])


def _no_processes() -> None:
    """Refuse to start processes, to end or limit others, to type into the terminal, and what would outlive this one;
    and to change the mode, owner, times or attributes of a file.

    Threads are made by clone(); its successor, whose options no filter can read, seems not to be there.
    """
    own = os.getpid()
    signals = ("tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")
    shared = ("shmget", "semget", "msgget", "mq_open")
    _filter(
        [
            _Rule("clone", bits=_CLONE_THREAD),
            _Rule("clone3", _ENOSYS),
            *(_Rule(name) for name in ("fork", "vfork", "execve", "execveat", *signals, *shared, *_METADATA)),
            _Rule("kill", only=(own,)),
            _Rule("tgkill", only=(own,)),
            _Rule("prlimit64", only=(0, own)),
            _Rule("ioctl", argument=1, never=(_TIOCSTI, _TIOCLINUX)),
        ]
    )


def _filter(rules: list[_Rule]) -> None:
    """Put rules on this process. Another architecture's numbers would mean other calls: they are refused."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCHITECTURES:
        raise OSError(f"no filter for {sys.platform} on {machine}")
    refuse = _step(_RETURN, _REFUSE | _EACCES)
    program = [
        _step(_LOAD, 4),  # the architecture
        _step(_EQUAL, _ARCHITECTURES[machine], yes=1),
        refuse,
        _step(_LOAD, 0),  # the number of the call
        _step(_AT_LEAST, _X32, no=1),
        refuse,
    ]
    for rule in rules:
        number = _NUMBERS[rule.name][list(_ARCHITECTURES).index(machine)]
        program += rule.program(number) if number is not None else []
    program.append(_step(_RETURN, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(program))
    head = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.c_char_p(head), 0, 0))


# Landlock: rules of file access; system calls have the same numbers everywhere.

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
# WRITE_FILE, REMOVE_DIR, REMOVE_FILE, MAKE_CHAR … MAKE_SYM, REFER, TRUNCATE: all that changes something
_WRITE_FILE, _ONLY_FILES = 1 << 1, (1 << 1) | (1 << 14)
_CHANGES = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1


def _landlock(writes: tuple[str, ...]) -> None:
    """Let files be written below ``writes`` and on /dev/null alone.

    From kernel 6.12 on, no signals to processes outside, nor abstract sockets either.
    """
    if sys.platform != "linux":
        raise OSError(f"no Landlock on {sys.platform}")
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    _checked(version)
    handled = _CHANGES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rules = struct.pack("QQQ", handled, 0, _SIGNALS | _ABSTRACT_SOCKETS)[: 24 if version >= 6 else 8]
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.c_char_p(rules), ctypes.c_size_t(len(rules)), 0)
    _checked(ruleset)
    try:
        for path in (*writes, "/dev/null"):
            at = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                allowed = handled if os.path.isdir(path) else handled & _ONLY_FILES
                rule = struct.pack("=Qi", allowed, at)
                _checked(libc.syscall(_ADD_RULE, ruleset, 1, ctypes.c_char_p(rule), 0))
            finally:
                os.close(at)
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
