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
    kept: dict[str, set[str]] = {}  # the variables of each class that hold a Keras tensor
    for tap in code.taps:
        kept.setdefault(tap.class_name, set()).add(tap.variable)
    for tap in code.taps:
        statement = statements.get((tap.class_name, tap.statement))
        if statement is None:
            continue
        lines = found.setdefault(tap.layer, set())
        before = [statements[tap.class_name, k] for k in range(tap.statement)]
        for part in (statement, *_leading_to(statement, before, kept[tap.class_name])):
            lines.update(range(part.lineno, part.end_lineno + 1))
            for node in ast.walk(part):
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


def _leading_to(statement: ast.stmt, before: list[ast.stmt], kept: set[str]) -> list[ast.stmt]:
    """The statements directly before that compute what ``statement`` uses and no Keras tensor: ``_, (hidden, _) = self.lstm(x)``."""
    found, needed = [], _names(statement, ast.Load)
    for earlier in reversed(before):
        given = _names(earlier, ast.Store) - {"_"}
        if given & kept or not given & needed:
            break
        found.append(earlier)
        needed |= _names(earlier, ast.Load)
    return found


def _names(statement: ast.stmt, context: type) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


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
