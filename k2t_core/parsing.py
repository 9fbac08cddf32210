"""Python source as a tree, in several threads at once."""

from __future__ import annotations

import ast

TRIES = 100


def parse(source: str) -> ast.Module:
    """``ast.parse``, once more where another thread was at it.

    CPython 3.11 keeps the depth of the tree that it makes in one place for all threads (``AST constructor recursion
    depth mismatch``, raised as SystemError): two verifications at a time met it.

    Raises SyntaxError and ValueError, as ``ast.parse`` does.
    """
    for _ in range(TRIES):
        try:
            return ast.parse(source)
        except SystemError as error:
            if "recursion depth mismatch" not in str(error):
                raise
    return ast.parse(source)
