"""The forward() methods of a generated file, and what tells whether they still assign what k2t wrote."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator


def forward_hashes(source: str) -> dict[str, str]:
    """Class name → hash of what its forward() assigns, statement by statement.

    Taps hold as long as that is unchanged, whatever else was edited: a changed expression is then named by its layer.
    """
    return {item.name: forward_hash(function) for item, function in forwards(ast.parse(source))}


def forwards(tree: ast.Module) -> Iterator[tuple[ast.ClassDef, ast.FunctionDef]]:
    """The classes of a module that have a forward(), with it."""
    for item in tree.body:
        if isinstance(item, ast.ClassDef):
            for function in item.body:
                if isinstance(function, ast.FunctionDef) and function.name == "forward":
                    yield item, function


def forward_hash(function: ast.FunctionDef) -> str:
    """Hash of the names that a function assigns, statement by statement."""
    steps = []
    for statement in function.body:
        targets = getattr(statement, "targets", None)
        steps.append(" ".join(map(ast.unparse, targets)) if targets else type(statement).__name__)
    return hashlib.sha256("\n".join(steps).encode()).hexdigest()[:16]
