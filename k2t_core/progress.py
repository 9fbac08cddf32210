"""Long work: how it tells how far it is, and how it ends where its user has had enough and nothing is half done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[float, str], None]  # called with the share that is done and with what is being done

_here = threading.local()  # how each thread learns that its work is not wanted any more


def silent(share: float, text: str) -> None:
    """Tells nobody."""


class Cancelled(BaseException):
    """Raised by `check`.

    Not an Exception: code that catches whatever a framework or an override raises must let it pass.
    """


@contextmanager
def interruptible(wanted: Callable[[], bool]) -> Iterator[None]:
    """In this thread, `check` raises Cancelled from the moment when ``wanted()`` is true."""
    before = getattr(_here, "wanted", None)
    _here.wanted = wanted
    try:
        yield
    finally:
        _here.wanted = before


def check() -> None:
    """Called by long loops. Does nothing where nobody can cancel: in a script, or at the command line."""
    wanted = getattr(_here, "wanted", None)
    if wanted is not None and wanted():
        raise Cancelled
