"""Large arrays on their way between processes: in a file of memory that its writer has sealed (memfd_create(2), Linux).

Through a socket every few hundred KiB would wait for both processes to take turns. A sealed file is changed by nobody
any more, its writer included, so that the reader may look at it as it lies there.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

LEAST = 2**20  # bytes of arrays in a message from which on it is worth while
ALIGNED = 64  # bytes, at a multiple of which each array begins


def sealed(pieces: Sequence[memoryview]) -> int | None:
    """A file with the pieces one behind the other, to be closed; None where the system, or a limit, allows none."""
    if not hasattr(os, "memfd_create"):
        return None
    import fcntl

    fd = -1
    try:
        fd = os.memfd_create("k2t", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        place = 0
        for piece in pieces:
            end = place + len(piece)
            while place < end:
                place += os.pwrite(fd, piece[place - end :], place)
            place = _next(place)
        os.ftruncate(fd, place)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _seals())
    except OSError:
        if fd >= 0:
            os.close(fd)
        return None
    return fd


class Sealed:
    """The reader's side of such a file. Raises OSError where it is none, or not sealed."""

    def __init__(self, fd: int):
        import fcntl

        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _seals() != _seals():
            raise OSError("a file of memory that is not sealed")
        self._size, self._place = os.fstat(fd).st_size, 0
        self._bytes = mmap.mmap(fd, self._size, access=mmap.ACCESS_COPY)  # whoever writes writes into a copy

    def take(self, shape: Any, dtype: np.dtype) -> np.ndarray:
        """The next array. Raises ValueError where the file ends before it."""
        count = 1
        for n in shape:
            if n < 0:
                raise ValueError("a negative size")
            count *= n
        if not count:
            return np.empty(shape, dtype)
        if self._place + count * dtype.itemsize > self._size:
            raise ValueError("the file of memory ends before its arrays")
        found = np.frombuffer(self._bytes, dtype, count, self._place).reshape(shape)
        self._place = _next(self._place + found.nbytes)
        return found


def _next(place: int) -> int:
    return -(-place // ALIGNED) * ALIGNED


def _seals() -> int:
    import fcntl

    return fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
