from __future__ import annotations

import os
import socket
import struct
import sys

import numpy as np
import pytest

from k2t_core.processes.messages import APART, Channel, Codec, MessageError
from k2t_core.processes.shared import LEAST, Sealed, sealed

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="files of memory are Linux's")


def bytes_of(array):
    return memoryview(array.reshape(-1).view(np.uint8))


def test_arrays_one_behind_the_other():
    arrays = [np.arange(5, dtype=np.int8), np.ones((2, 3)), np.arange(300_000, dtype=np.float32)]
    fd = sealed([bytes_of(array) for array in arrays])
    reader = Sealed(fd)
    os.close(fd)
    for array in arrays:
        np.testing.assert_array_equal(reader.take(array.shape, array.dtype), array)
    assert reader.take((0, 3), np.dtype("float32")).shape == (0, 3)
    with pytest.raises(ValueError, match="ends before"):
        reader.take((2,), np.dtype("float64"))


def test_nobody_changes_it_any_more_and_the_reader_may_write_into_what_it_has():
    fd = sealed([bytes_of(np.arange(4.0))])
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 1)
    mine, other = (Sealed(fd).take((4,), np.dtype("float64")) for _ in range(2))
    mine[0] = 7
    assert other[0] == 0
    os.close(fd)


@pytest.mark.parametrize("kind", ["no seals", "some seals", "pipe", "file"])
def test_what_its_writer_could_change_is_not_read(kind, tmp_path):
    import fcntl

    made = []
    if kind == "pipe":
        made = list(os.pipe())
    elif kind == "file":
        (tmp_path / "a").write_bytes(bytes(100))
        made = [os.open(tmp_path / "a", os.O_RDONLY)]
    else:
        made = [os.memfd_create("x", os.MFD_ALLOW_SEALING)]
        os.ftruncate(made[0], 100)
        if kind == "some seals":
            fcntl.fcntl(made[0], fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    with pytest.raises(OSError):
        Sealed(made[0])
    for fd in made:
        os.close(fd)


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        yield Channel(one, Codec()), Channel(other, Codec())


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
def test_large_messages_and_no_file_stays_open(pair):
    before = open_files()
    big = np.random.default_rng(0).standard_normal(LEAST // 8)
    for _ in range(3):
        pair[0].send({"a": [big, big[:3], big[:0], np.float32(2)], "b": b"x" * LEAST})
        got = pair[1].receive()
        assert got["a"][0].tobytes() == big.tobytes() and got["a"][1].tolist() == big[:3].tolist()
        assert got["a"][2].size == 0 and got["a"][3] == 2 and got["b"] == b"x" * LEAST
    del got  # what was read holds its file, as long as it is there
    pair[1].send("and back")
    assert pair[0].receive() == "and back" and open_files() == before


def test_a_message_without_its_file_or_with_a_shorter_one(pair):
    header = b'{"body": {"array": 0}, "arrays": [["float64", [1000]]]}'
    start = struct.pack("<Q", APART | len(header))
    pair[0].end.sendall(start + header)
    with pytest.raises(MessageError):
        pair[1].receive()
    fd = sealed([bytes_of(np.arange(4.0))])
    socket.send_fds(pair[0].end, [start], [fd])
    pair[0].end.sendall(header)
    with pytest.raises(MessageError, match="ends before"):
        pair[1].receive()
    os.close(fd)


def test_where_a_limit_allows_no_file_the_socket_does(pair, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    assert sealed([memoryview(b"x")]) is None
