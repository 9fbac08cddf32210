"""Every error a user can cause. Each message is one line: what is wrong, where, and the way out."""

from __future__ import annotations

import re

from k2t_core.words import printable

# What code of a user's own can raise: sys.exit() in it may end neither k2t, with its exit code, nor a job of the app.
RAISED = (Exception, SystemExit)


class K2TError(Exception):
    """Base of all errors that a user can cause and mend."""


class ModelFileError(K2TError):
    """The model file cannot be read: missing, truncated, foreign, or of an unknown version."""


class UnsafeModelError(K2TError):
    """The file holds Python code (a Lambda layer) and the user has not allowed it to run."""


class UnsupportedError(K2TError):
    """The model holds layers, options or operations that k2t does not convert.

    ``problems`` lists all of them, not only the first, so that everything wrong is seen at once.
    """

    def __init__(self, problems: list[str]):
        self.problems = list(problems)
        head = f"{len(self.problems)} unsupported: " if len(self.problems) > 1 else ""
        super().__init__(head + " | ".join(self.problems))


class OverrideError(K2TError):
    """An override of the recipe is impossible: unknown layer, wrong shape, not a permutation."""


class InputError(K2TError):
    """Verification inputs do not fit the model: wrong count, shape or dtype."""


class OutputError(K2TError):
    """A folder of converted files is incomplete, or its model.py cannot be loaded or run."""


class ProcessEnded(K2TError):
    """A process that k2t works in has ended: it crashed, was killed, or met a limit."""


def one_line(error: object, limit: int = 200) -> str:
    """An error's message, or any text, on one line of at most ``limit`` characters, without Keras's colours.

    Nor with what would do something to a terminal. An error without words says its type.
    """
    words = printable(" ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split()))
    if not words and isinstance(error, BaseException):
        return type(error).__name__
    return words if len(words) <= limit else words[: limit - 1] + "…"


def own_words(error: BaseException) -> str:
    """An error's message without what Keras writes around it: its own words are bold there."""
    bold = re.search(r"\x1b\[1m(.*?)\x1b\[0m", str(error), re.DOTALL)
    return bold[1] if bold else str(error)


def named(error: BaseException, limit: int = 200) -> str:
    """`one_line` behind the error's type: the words of foreign code alone may say little (``KeyError: 'x'``)."""
    kind, words = type(error).__name__, one_line(own_words(error), limit)
    return kind if words in ("", kind) else f"{kind}: {words}"
