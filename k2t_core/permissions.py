"""What the owner of a server lets those who use it do. It comes from the command that started it, never from a request.

A process that nobody serves (the command line, a Python program) is its owner's own: everything is allowed. `k2t app`
declares something else in the environment, so that every process it starts is under the same rule.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from k2t_core.errors import K2TError

VARIABLE = "K2T_PERMISSIONS"


@dataclass(frozen=True)
class Permissions:
    """What is allowed.

    paths: open any model file of this machine by its path. unsafe: run Python code that a model file holds, where the
    user allows it for that file. snippets: replace a layer by PyTorch code. projects: list what everybody has worked
    on. model: the path of the one file that the owner's command names, which may be opened all the same.
    """

    paths: bool = True
    unsafe: bool = True
    snippets: bool = True
    projects: bool = True
    model: str | None = None

    def declare(self) -> None:
        """Put them in force, for this process and those that it starts."""
        os.environ[VARIABLE] = json.dumps(asdict(self))

    def need(self, what: str, refusal: str) -> None:
        """Raises K2TError, with how the owner turns it on, where ``what`` is off."""
        if not getattr(self, what):
            raise K2TError(f"{refusal}: on this server that is off (its owner turns it on by `k2t app --allow-{what}`)")


def permissions() -> Permissions:
    """Those in force."""
    return Permissions(**json.loads(os.environ[VARIABLE])) if declared() else Permissions()


def declared() -> bool:
    """Whether `k2t app` has started this process."""
    return VARIABLE in os.environ
