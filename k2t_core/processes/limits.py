"""What a process of k2t's may use: memory, processor time, files, network; each where the system allows it.

Limits of the kernel, put on by the process itself before it reads anything of a user's, and never to be taken off
again: `setrlimit`, Landlock (files and signals; https://docs.kernel.org/userspace-api/landlock.html) and seccomp
(sockets; https://docs.kernel.org/userspace-api/seccomp_filter.html). Both of the latter need no rights and are there on
Linux only. What could not be put on is said in words: `Limits.apply` returns them.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

SHARE = 0.9  # of the machine's memory, that one process may have
CPU_SECONDS = 4 * 3600


@dataclass(frozen=True)
class Limits:
    """memory: bytes; cpu: seconds of all cores together; call: the same for one call; file: bytes of the largest file
    that it writes; writes: the folders and files that it may write to. None: no limit.
    """

    memory: int | None = None
    cpu: int | None = None
    call: int | None = None
    file: int | None = None
    network: bool = True
    writes: tuple[str, ...] | None = None

    def apply(self) -> InForce:
        """Put them on this process and all its children."""
        found = InForce()
        _rlimits(self, found)
        if not self.network:
            _try(found, "network", "none", _no_sockets)
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


# seccomp: a filter in the machine language of BPF, run by the kernel at every system call.

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ERRNO
_EACCES = 13
# audit architecture, socket(), io_uring_setup(), ptrace(), process_vm_writev(), pidfd_getfd()
_ARCHITECTURES = {
    "x86_64": (0xC000003E, 41, 425, 101, 311, 438),
    "aarch64": (0xC00000B7, 198, 425, 117, 271, 438),
}
_AF_UNIX, _X32 = 1, 0x40000000


def _no_sockets() -> None:
    """Refuse every socket but those within this machine's file system, and to reach into other processes.

    io_uring would make sockets behind the filter's back, another architecture's numbers would mean other calls.
    """
    known = _ARCHITECTURES.get(platform.machine())
    if sys.platform != "linux" or known is None:
        raise OSError(f"no filter for {sys.platform} on {platform.machine()}")
    architecture, its_socket, *others = known

    def instruction(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    refuse = instruction(_RETURN, 0, 0, _REFUSE | _EACCES)
    program = [
        instruction(_LOAD, 0, 0, 4),  # the architecture
        instruction(_EQUAL, 1, 0, architecture),
        refuse,
        instruction(_LOAD, 0, 0, 0),  # the number of the call
        instruction(0x35, 0, 1, _X32),  # x32's numbers, from here up, are refused
        refuse,
    ]
    for number in others:
        program += [instruction(_EQUAL, 0, 1, number), refuse]
    program += [
        instruction(_EQUAL, 1, 0, its_socket),
        instruction(_RETURN, 0, 0, _ALLOW),
        instruction(_LOAD, 0, 0, 16),  # its first argument: the family
        instruction(_EQUAL, 1, 0, _AF_UNIX),
        refuse,
        instruction(_RETURN, 0, 0, _ALLOW),
    ]
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
_SIGNALS = 1 << 1


def _landlock(writes: tuple[str, ...]) -> None:
    """Let files be written below ``writes`` and on /dev/null alone; no signals to processes outside (kernel 6.12)."""
    if sys.platform != "linux":
        raise OSError(f"no Landlock on {sys.platform}")
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    _checked(version)
    handled = _CHANGES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rules = struct.pack("QQQ", handled, 0, _SIGNALS if version >= 6 else 0)[: 24 if version >= 6 else 8]
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
