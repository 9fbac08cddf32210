"""The side of the process that works: it puts its limits on, makes the object that it is for, and answers calls.

``python -m k2t_core.processes.worker FD SETUP`` does that on the socket FD; `zygote` forks into the same.
SETUP is JSON: ``target`` ("module:Class"), ``limits`` (as `Limits`), ``imports`` (modules to have ready).
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NoReturn

from k2t_core import errors
from k2t_core.errors import K2TError, UnsupportedError, named
from k2t_core.processes.limits import Limits
from k2t_core.processes.messages import Channel, MessageError
from k2t_core.progress import Cancelled, check, interruptible


class Worker:
    """Answers the calls that come through a channel on an object, each in a thread of its own."""

    def __init__(self, channel: Channel, target: Any, limits: Limits):
        self.channel, self.target, self.limits = channel, target, limits
        self._unwanted: dict[int, threading.Event] = {}

    def serve(self) -> None:
        """Until the parent is gone."""
        while True:
            try:
                message = self.channel.receive()
            except (EOFError, MessageError):
                return
            if "cancel" in message:
                unwanted = self._unwanted.get(message["cancel"])
                if unwanted is not None:
                    unwanted.set()
                continue
            self._unwanted[message["id"]] = threading.Event()
            threading.Thread(target=self._answer_or_end, args=(message,), name=message["call"], daemon=True).start()

    def _answer_or_end(self, message: dict[str, Any]) -> None:
        """Who called waits: a process that can make no answer any more, whatever was done to it, ends."""
        try:
            self._answer(message)
        except BaseException:
            _end_badly()

    def _answer(self, message: dict[str, Any]) -> None:
        id, unwanted = message["id"], self._unwanted[message["id"]]

        def say(share: float, text: str) -> None:
            if share < 1:  # what is done stays done
                check()
            self.channel.send({"id": id, "share": share, "text": text})

        told = {"progress": say} if message["tells"] else {}
        try:
            self.limits.renew()
            with interruptible(unwanted.is_set):
                value = getattr(self.target, message["call"])(*message["args"], **message["named"], **told)
            answer: dict[str, Any] = {"id": id, "done": value}
        except Cancelled:
            answer = {"id": id, "failed": "Cancelled"}
        except BaseException as error:  # code of a user's own can raise anything, and who called waits
            answer = {"id": id, **failed(error)}
        finally:
            del self._unwanted[id]
        try:
            self.channel.send(answer)
        except (TypeError, MemoryError) as error:  # what came out is no data, or too much of it
            self.channel.send({"id": id, **failed(error)})
        except OSError:  # the parent is gone, and `serve` ends
            return


def failed(error: BaseException) -> dict[str, Any]:
    """An error as data: its class where that is one of k2t's, else its words and where it was raised."""
    if isinstance(error, UnsupportedError):
        return {"failed": "UnsupportedError", "words": error.problems}
    if isinstance(error, K2TError) and getattr(errors, type(error).__name__, None) is type(error):
        return {"failed": type(error).__name__, "words": str(error)}
    if isinstance(error, K2TError):
        return {"failed": "K2TError", "words": str(error)}
    if isinstance(error, MemoryError):
        return {"failed": "MemoryError", "words": str(error)}
    return {"failed": "", "words": named(error, 1000), "where": "".join(traceback.format_exception(error))}


def run(end: socket.socket, setup: dict[str, Any]) -> None:
    """Work on a socket until the parent is gone, and end this process, whatever still runs in it."""
    try:
        _work(end, setup)
    except BaseException:
        _end_badly()
    sys.stderr.flush()
    os._exit(0)


def _work(end: socket.socket, setup: dict[str, Any]) -> None:
    """stdout goes to stderr: it is the parent's. Ctrl-C in a terminal is the parent's to answer; nor may what runs here
    type into that terminal.
    """
    os.dup2(2, 1)
    if hasattr(os, "setsid") and os.getpid() != os.getpgrp():
        os.setsid()
    told = dict(setup["limits"])
    if told.get("writes") is not None:
        told["writes"] = tuple(told["writes"])
    limits = Limits(**told)
    in_force = limits.apply()
    module, _, name = setup["target"].partition(":")
    for ready in setup.get("imports", ()):
        importlib.import_module(ready)
    target: Callable[[], Any] = getattr(importlib.import_module(module), name)
    made = target()
    channel = Channel(end, made.CODEC)
    channel.send({"ready": os.getpid(), **asdict(in_force)})
    Worker(channel, made, limits).serve()


def _end_badly() -> NoReturn:
    try:
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    run(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
