"""Long work in a thread of its own, one piece at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from k2t_core.errors import K2TError
from k2t_core.progress import Cancelled, Progress, check, interruptible

log = logging.getLogger("k2t")


class Job:
    """Long work in a thread of its own: a rerun or a change of page neither stops it nor starts it again."""

    def __init__(self, kind: str, text: str, work: Callable[[Progress], object]):
        self.kind = kind
        self.share, self.text = 0.0, text
        self.error: Exception | None = None
        self.cancelled = False  # it has ended, because its user wanted it to
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(work,), name=f"k2t-{kind}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether it was cancelled and goes on to the next place where nothing is half done."""
        return self._unwanted.is_set() and self.running

    def cancel(self) -> None:
        """Ask it to end; it does so at its next step, and leaves everything as it was."""
        self._unwanted.set()

    def wait(self) -> None:
        """Block until it has ended."""
        self._thread.join()

    def _run(self, work: Callable[[Progress], object]) -> None:
        try:
            with interruptible(self._unwanted.is_set):
                work(self._say)
        except Cancelled:
            self.cancelled = True
        except K2TError as error:
            self.error = error
        except Exception as error:  # the page shows it: a framework's crash must not take the app down
            log.exception("%s failed", self.kind)
            self.error = error

    def _say(self, share: float, text: str) -> None:
        if share < 1:  # what is done stays done
            check()
        self.share, self.text = min(max(share, 0.0), 1.0), text


class Jobs:
    """The long work of one project: one job at a time."""

    def __init__(self) -> None:
        self.last: Job | None = None  # the one that runs, or the one that has ended last
        self._lock = threading.Lock()

    def start(self, kind: str, text: str, work: Callable[[Progress], object]) -> Job:
        """Start ``work`` in a thread; while another job runs, that one is returned and nothing starts."""
        with self._lock:
            if self.last is None or not self.last.running:
                self.last = Job(kind, text, work)
            return self.last
