from __future__ import annotations

import json
import socket
import struct
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from k2t_core.processes.messages import DTYPES, Channel, Codec, MessageError
from tests.processes.targets import Told, Unknown


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        yield Channel(one, Codec(Told)), Channel(other, Codec(Told))


def through(pair, value):
    sender = threading.Thread(target=pair[0].send, args=(value,))
    sender.start()
    got = pair[1].receive()
    sender.join()
    return got


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        10**40,
        1.5,
        float("inf"),
        "ä\n\u2028",
        b"\x00\xff",
        Path("/a b/c"),
        [1, [2, ()]],
        (1, (2, [3])),
        {"a": 1, 2: (3,), (4, 5): None},
        {1, 2},
        frozenset({"x"}),
        {"array": 1, "data": "Told"},
    ],
    ids=repr,
)
def test_data_comes_out_as_it_went_in(pair, value):
    got = through(pair, value)
    assert got == value and type(got) is type(value)


def test_numbers_that_are_none(pair):
    assert np.isnan(through(pair, float("nan")))


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3), (70_000,)])
def test_arrays_of_every_kind_and_shape(pair, name, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(DTYPES[name])
    got = through(pair, {"a": [array, array.T]})["a"]
    assert got[0].dtype == array.dtype and got[0].shape == array.shape
    np.testing.assert_array_equal(got[0], array)
    np.testing.assert_array_equal(got[1], array.T)


def test_bits_are_kept(pair):
    bits = np.array([0x7FC00001, 0xFFC12345, 0x80000000], np.uint32).view(np.float32)
    assert through(pair, bits).tobytes() == bits.tobytes()
    half = np.array([1.5, -0.0], ml_dtypes.bfloat16)
    assert through(pair, half).tobytes() == half.tobytes()


def test_scalars_of_numpy(pair):
    got = through(pair, [np.float32(0.1), np.int64(3), np.bool_(True)])
    assert [type(value) for value in got] == [np.float32, np.int64, np.bool_] and got[0] == np.float32(0.1)


def test_dataclasses_that_are_known(pair):
    got = through(pair, Told("x", np.arange(3)))
    assert type(got) is Told and got.words == "x" and got.values.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "value",
    [Unknown("x"), object(), print, np.array([object()]), np.array(["a"]), Told],
    ids=["a dataclass", "an object", "a function", "objects", "words", "a class"],
)
def test_what_is_no_data_is_not_sent(pair, value):
    with pytest.raises(TypeError, match="is no data"):
        pair[0].send([value])
    assert through(pair, "still in step") == "still in step"


@pytest.mark.parametrize(
    "body",
    [
        {"data": "tests.processes.targets.Unknown", "fields": {"words": "x"}},
        {"data": "tests.processes.targets.Told", "fields": {"more": 1}},
        {"data": "builtins.__import__", "fields": {"name": "os"}},
        {"array": 0},
        {"pickle": [1]},
        {"array": 0, "more": 1},
        {},
        {"set": [{"dict": []}]},
        {"path": 3},
    ],
    ids=repr,
)
def test_what_the_reader_does_not_know_is_refused(pair, body):
    header = json.dumps({"body": body, "arrays": []}).encode()
    pair[0].end.sendall(struct.pack("<Q", len(header)) + header)
    with pytest.raises(MessageError):
        pair[1].receive()


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"body": 1, "arrays": [["object", [1]]]}',
        b'{"body": 1, "arrays": [["O", [1]]]}',
        b'{"body": 1, "arrays": [["float32", [-1]]]}',
        b'{"body": 1, "arrays": [["float32", 3, 4]]}',
        b"[" * 100_000,
    ],
    ids=lambda header: header[:50],
)
def test_garbage(pair, header):
    pair[0].end.sendall(struct.pack("<Q", len(header)) + header)
    with pytest.raises(MessageError):
        pair[1].receive()


def test_a_header_without_end(pair):
    pair[0].end.sendall(struct.pack("<Q", 2**60))
    with pytest.raises(MessageError, match="bytes of header"):
        pair[1].receive()


def test_an_array_that_no_memory_holds(pair):
    header = json.dumps({"body": None, "arrays": [["float64", [2**55]]]}).encode()
    pair[0].end.sendall(struct.pack("<Q", len(header)) + header)
    with pytest.raises(EOFError):
        pair[1].receive()


def test_the_other_end_gone(pair):
    pair[0].end.sendall(struct.pack("<Q", 100) + b"{")
    pair[0].end.close()
    with pytest.raises(EOFError):
        pair[1].receive()
