"""Keyword arguments of the functions in a rule's code: ``dim=-1`` in ``F.softmax(⟦0⟧, dim=-1)``."""

from __future__ import annotations

import ast
import re
from typing import Any

# Arguments that a call may have and that rules leave at torch's default.
OPTIONAL = {"approximate": "gelu", "eps": "layer_norm", "negative_slope": "leaky_relu"}


def keywords(code: str) -> dict[str, list[Any]]:
    """Each keyword argument in an expression or statement that is a literal → its values, in order."""
    found: dict[str, list[Any]] = {}
    for call in _calls(_parsed(code)):
        for keyword in call.keywords:
            try:
                found.setdefault(keyword.arg, []).append(ast.literal_eval(keyword.value))
            except ValueError:  # a tensor or an expression
                continue
        for name, function in OPTIONAL.items():
            if _name(call) == function and not any(k.arg == name for k in call.keywords):
                found.setdefault(name, []).append(None)
    return found


def with_keyword(code: str, name: str, value: Any) -> str:
    """The code with ``name`` set to ``value`` in every call that has it; as it is where none has."""
    tree = _parsed(code)
    changed = False
    for call in _calls(tree):
        at = next((k for k in call.keywords if k.arg == name), None)
        if at is None and OPTIONAL.get(name) == _name(call):
            at = ast.keyword(name)
            call.keywords.append(at)
        if at is not None:
            at.value, changed = ast.parse(repr(value), mode="eval").body, True
    if not changed:
        return code
    text = ast.unparse(ast.fix_missing_locations(tree))
    return re.sub(r"__k2t_(\w+?)__", r"⟦\1⟧", text)


def _parsed(code: str) -> ast.Module:
    return ast.parse(re.sub(r"⟦(\w+)⟧", r"__k2t_\1__", code))


def _calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
