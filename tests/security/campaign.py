"""Many mutants, judged in a process that is watched: it may crash, hang or want too much, and the next goes on."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Self

from k2t_core.errors import ProcessEnded
from k2t_core.processes.child import Child, WorkerFault
from k2t_core.processes.limits import Limits
from k2t_core.processes.messages import Codec
from k2t_core.progress import Cancelled, interruptible
from tests.security.fuzzing import GOOD, Mutant

SECONDS = 180  # of a wall clock, for one mutant
MEMORY = 4 * 2**30
LIVES = 400  # mutants that one process judges: what the frameworks keep of each adds up


class Judge:
    """Tells how a mutant ends, as `fuzzing.Worker.judge` does. For use in a ``with``."""

    def __init__(self, corpus: Path, seconds: float = SECONDS):
        self.corpus, self.seconds = corpus, seconds
        self._child: Child | None = None
        self._lived = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()

    def __call__(self, mutant: Mutant) -> dict[str, Any]:
        if self._child is None or self._lived >= LIVES or not self._child.alive:
            self.__exit__()
            limits = Limits(memory=MEMORY, call=int(self.seconds))
            self._child = Child("the fuzzer's process", "tests.security.fuzzing:Worker", Codec(), limits)
            self._lived = 0
        self._lived += 1
        with tempfile.TemporaryDirectory(prefix="k2t-fuzz-", ignore_cleanup_errors=True) as folder:
            return self._result(self._child, mutant, folder)

    def _result(self, child: Child, mutant: Mutant, folder: str) -> dict[str, Any]:
        start = time.monotonic()
        try:
            with interruptible(lambda: time.monotonic() - start > self.seconds):
                return child.call("judge", str(self.corpus), mutant.to_json(), folder)
        except Cancelled:
            child.kill()
            ended = {"outcome": "hang", "words": f"more than {self.seconds:.0f} s"}
        except ProcessEnded as error:
            ends = {"it is damaged": "refused", "processor time": "hang", "memory": "memory"}
            kind = next((kind for words, kind in ends.items() if words in str(error)), "crash")
            ended = {"outcome": kind, "words": str(error)}
        except MemoryError as error:
            ended = {"outcome": "memory", "words": str(error)}
        except WorkerFault as error:
            ended = {"outcome": "raised", "words": error.where or str(error)}
        return {**ended, "fired": [], "seconds": time.monotonic() - start, "memory": 0}


def is_finding(result: dict[str, Any]) -> bool:
    return result["outcome"] not in GOOD or bool(result["fired"])


def smaller(judge: Judge, mutant: Mutant, result: dict[str, Any]) -> Mutant:
    """The mutant without the steps that its end does not need."""
    steps = list(mutant.steps)
    for step in list(steps):
        fewer = Mutant(mutant.base, tuple(s for s in steps if s is not step))
        if len(steps) > 1:
            again = judge(fewer)
            if again["outcome"] == result["outcome"] and bool(again["fired"]) == bool(result["fired"]):
                steps.remove(step)
    return Mutant(mutant.base, tuple(steps))
