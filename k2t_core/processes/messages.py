"""Messages between processes: JSON, with arrays as plain bytes behind it. Never pickles.

Who reads a pickle runs what its writer likes, and the writer may be a process in which a stranger's file was opened.
Here the reader decides what can come: numbers, words, lists, arrays, and the dataclasses that it named itself.

A message is the length of its header (8 bytes, little endian), the header, and the bytes of its arrays, C-contiguous,
in the order of the header's ``arrays``: a list of [dtype, shape]. Where they are many they lie in a file of memory that
comes with the first byte (`shared`), and the highest bit of the length says so.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from k2t_core.processes import shared

HEADER = 256 * 2**20  # bytes: more is no message of ours
_CLOSED_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
APART = 2**63  # of the length: the arrays come in a file of memory
TOGETHER = 2**16  # bytes up to which an array travels in one piece with what is beside it
# By name, so that a message names no dtype with objects or fields in it.
DTYPES = {
    **{
        np.dtype(kind).name: np.dtype(kind)
        for kind in "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 "
        "complex128".split()
    },
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


class MessageError(Exception):
    """What arrived is no message, or names what its reader does not know."""


class Codec:
    """Values to and from the bytes of a message. classes: the dataclasses that it may hold, by module and name."""

    def __init__(self, *classes: type):
        self.classes = {_name(cls): cls for cls in classes}

    def encode(self, value: Any) -> list[memoryview]:
        """The pieces of a message. Raises TypeError for what is no data."""
        arrays: list[np.ndarray] = []
        body = self._plain(value, arrays)
        told = [[array.dtype.name, list(array.shape)] for array in arrays]
        header = json.dumps({"body": body, "arrays": told}).encode()
        pieces = [memoryview(struct.pack("<Q", len(header)) + header)]
        return pieces + [array.reshape(-1).view(np.uint8).data for array in arrays if array.size]

    def decode(
        self, header: bytes, make: Callable[[Any, np.dtype], np.ndarray] = np.empty
    ) -> tuple[Any, list[np.ndarray]]:
        """(body, empty arrays to be filled with the bytes that follow): see `value`. Raises MessageError.

        make: what makes an array of a shape and a dtype, where they are not empty.
        """
        try:
            told = json.loads(header)
            arrays = [make(shape, DTYPES[name]) for name, shape in told["arrays"]]
            return told["body"], arrays
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise MessageError(f"no message of k2t's: {error!r}") from error

    def value(self, body: Any, arrays: list[np.ndarray]) -> Any:
        """What a body means. Raises MessageError."""
        try:
            return self._value(body, arrays)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise MessageError(f"no message of k2t's: {error!r}") from error

    def _plain(self, value: Any, arrays: list[np.ndarray]) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)) and type(value).__module__ == "builtins":
            return value
        if isinstance(value, str):  # an enum of words
            return str(value)
        if isinstance(value, np.generic):
            value = np.asarray(value)
            return {"scalar": self._array(value, arrays)}
        if isinstance(value, np.ndarray):
            axes = _in_memory(value)
            if axes is not None:
                return {"moved": [self._array(value.transpose(axes), arrays), axes]}
            return {"array": self._array(value, arrays)}
        if isinstance(value, (bytes, bytearray)):
            return {"bytes": self._array(np.frombuffer(value, np.uint8), arrays)}
        if isinstance(value, Path):
            return {"path": str(value)}
        if isinstance(value, list):
            return [self._plain(item, arrays) for item in value]
        if isinstance(value, dict):
            return {"dict": [[self._plain(k, arrays), self._plain(v, arrays)] for k, v in value.items()]}
        if is_dataclass(value) and self.classes.get(_name(type(value))) is type(value):
            held = {f.name: self._plain(getattr(value, f.name), arrays) for f in fields(value) if f.init}
            return {"data": _name(type(value)), "fields": held}
        for name, kind in (("tuple", tuple), ("set", set), ("frozenset", frozenset)):
            if type(value) is kind:
                return {name: [self._plain(item, arrays) for item in value]}
        raise TypeError(f"a {type(value).__name__} is no data that goes between processes")

    def _array(self, value: np.ndarray, arrays: list[np.ndarray]) -> int:
        if DTYPES.get(value.dtype.name) != value.dtype:
            raise TypeError(f"an array of {value.dtype} is no data that goes between processes")
        arrays.append(np.ascontiguousarray(value).reshape(value.shape))
        return len(arrays) - 1

    def _value(self, body: Any, arrays: list[np.ndarray]) -> Any:
        if isinstance(body, list):
            return [self._value(item, arrays) for item in body]
        if not isinstance(body, dict):
            return body
        if "data" in body:
            cls = self.classes[body["data"]]
            return cls(**{name: self._value(item, arrays) for name, item in body["fields"].items()})
        ((kind, held),) = body.items()
        if kind in ("array", "scalar"):
            return arrays[held] if kind == "array" else arrays[held][()]
        if kind == "moved":
            index, axes = held
            return arrays[index].transpose(np.argsort(axes))
        if kind == "bytes":
            return arrays[held].tobytes()
        if kind == "path":
            return Path(held)
        if kind == "dict":
            return {self._value(key, arrays): self._value(item, arrays) for key, item in held}
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](self._value(item, arrays) for item in held)


def _in_memory(array: np.ndarray) -> list[int] | None:
    """The axes in the order in which they lie in memory, where that is another; None where they lie in none.

    So a transposed view goes as it lies there: nothing is copied, and sums over it add up in the same order.
    """
    if array.flags.c_contiguous:
        return None
    axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    return axes if array.transpose(axes).flags.c_contiguous else None


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


class Channel:
    """One end of a connection. Several threads may send, one reads."""

    def __init__(self, end: socket.socket, codec: Codec):
        self.end, self.codec = end, codec
        self._sending = threading.Lock()

    def send(self, value: Any) -> None:
        """Raises TypeError for what is no data, OSError where the other end is gone."""
        header, *pieces = self.codec.encode(value)
        if sum(map(len, pieces)) >= shared.LEAST and (fd := shared.sealed(pieces)) is not None:
            try:
                self._send_apart(header, fd)
            finally:
                os.close(fd)
            return
        with self._sending:
            waiting = bytearray()
            for piece in (header, *pieces):
                if len(piece) < TOGETHER:
                    waiting += piece
                    continue
                self.end.sendall(waiting)
                waiting.clear()
                self.end.sendall(piece)
            self.end.sendall(waiting)

    def _send_apart(self, header: memoryview, fd: int) -> None:
        with self._sending:
            first = struct.pack("<Q", APART | len(header) - 8)
            sent = socket.send_fds(self.end, [first], [fd])
            self.end.sendall(first[sent:])
            self.end.sendall(header[8:])

    def receive(self) -> Any:
        """The next message; it waits. Raises EOFError where the other end is gone, MessageError for what is none."""
        fds: list[int] = []
        try:
            (length,) = struct.unpack("<Q", self._first(fds))
            apart, length = bool(length & APART), length & ~APART
            if length > HEADER:
                raise MessageError(f"no message of k2t's: {length} bytes of header")
            header = bytes(self._exactly(bytearray(length)))
            if apart:
                body, arrays = self.codec.decode(header, _file(fds).take)
            else:
                body, arrays = self.codec.decode(header)
                for array in arrays:
                    if array.size:
                        self._exactly(array.reshape(-1).view(np.uint8))
        except (ConnectionError, MemoryError) as error:
            raise EOFError(str(error)) from error
        finally:
            for fd in fds:
                os.close(fd)
        return self.codec.value(body, arrays)

    def _first(self, fds: list[int]) -> bytes:
        """The 8 bytes that a message begins with; the file that may come with them is added to ``fds``."""
        if not hasattr(socket, "recv_fds"):
            return bytes(self._exactly(bytearray(8)))
        found, came, _, _ = socket.recv_fds(self.end, 8, 1, _CLOSED_ON_EXEC)
        fds += came
        if not found:
            raise EOFError("the other end is gone")
        return found + bytes(self._exactly(bytearray(8 - len(found))))

    def close(self) -> None:
        self.end.close()

    def _exactly(self, into: Any) -> Any:
        view = memoryview(into)
        while len(view):
            count = self.end.recv_into(view)
            if not count:
                raise EOFError("the other end is gone")
            view = view[count:]
        return into


def _file(fds: list[int]) -> shared.Sealed:
    try:
        return shared.Sealed(fds[0])
    except (IndexError, OSError, ValueError) as error:
        raise MessageError(f"no message of k2t's: {error}") from error
