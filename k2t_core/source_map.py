"""Which lines of a generated model.py belong to which Keras layer."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2t_core.emit.source import Code


def lines_by_layer(code: Code) -> dict[str, list[int]]:
    """Layer path → 1-based lines: the statements of forward that compute it and the constructors that they use."""
    statements, constructors = _read(code.text)
    found: dict[str, set[int]] = {}
    for tap in code.taps:
        statement = statements.get((tap.class_name, tap.statement))
        if statement is None:
            continue
        lines = found.setdefault(tap.layer, set())
        lines.update(range(statement.lineno, statement.end_lineno + 1))
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                lines.update(constructors.get((tap.class_name, node.attr), ()))
    return {layer: sorted(lines) for layer, lines in found.items()}


def layers_by_line(code: Code) -> dict[int, list[str]]:
    """1-based line → the layers it computes: several where a block class stands for repeated layers."""
    found: dict[int, list[str]] = {}
    for layer, lines in lines_by_layer(code).items():
        for line in lines:
            found.setdefault(line, []).append(layer)
    return found


def _read(text: str) -> tuple[dict[tuple[str, int], ast.stmt], dict[tuple[str, str], range]]:
    """Statement k of each class's forward, and the lines on which each class assigns each attribute of self."""
    statements: dict[tuple[str, int], ast.stmt] = {}
    constructors: dict[tuple[str, str], range] = {}
    for item in ast.parse(text).body:
        if not isinstance(item, ast.ClassDef):
            continue
        for function in item.body:
            if not isinstance(function, ast.FunctionDef):
                continue
            body = [s for s in function.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
            for index, statement in enumerate(body):
                if function.name == "forward":
                    statements[item.name, index] = statement
                elif function.name == "__init__" and isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Attribute):
                    constructors[item.name, statement.targets[0].attr] = range(statement.lineno, statement.end_lineno + 1)
    return statements, constructors
