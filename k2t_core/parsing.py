"""Python source as a tree, in several threads at once.

CPython 3.11 keeps the depth of the tree that it makes in one place for all threads, so that two that parse at a time
may end with ``SystemError: AST constructor recursion depth mismatch``: two verifications met it, and so did Streamlit,
which parses a page whenever it is drawn.
"""

from __future__ import annotations

import ast
from functools import wraps
from threading import RLock
from typing import Any

TRIES = 100
_parse, _lock = ast.parse, RLock()  # of the whole process: one thread at a time


@wraps(ast.parse)
def parse(*args: Any, **kwargs: Any) -> Any:
    """``ast.parse``, one thread at a time, and once more where another way of parsing came in between.

    Raises SyntaxError and ValueError, as ``ast.parse`` does.
    """
    with _lock:
        for _ in range(TRIES):
            try:
                return _parse(*args, **kwargs)
            except SystemError as error:
                if "recursion depth mismatch" not in str(error):
                    raise
        return _parse(*args, **kwargs)


def guard() -> None:
    """From here on ``ast.parse`` is `parse` in the whole process: the app's, in which Streamlit parses too."""
    ast.parse = parse
