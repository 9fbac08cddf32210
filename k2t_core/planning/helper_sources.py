"""Which helpers there are, and their text, read without importing torch."""

from __future__ import annotations

import ast
from collections.abc import Set
from dataclasses import dataclass
from functools import cache
from importlib import resources

from k2t_core.errors import K2TError
from k2t_core.parsing import parse


@dataclass(frozen=True)
class _Helper:
    source: str
    mentions: frozenset[str]
    module: str


@cache
def helper_sources() -> dict[str, _Helper]:
    """Every helper, by name, read from the text of its module: torch is not imported for it."""
    found: dict[str, _Helper] = {}
    folder = resources.files("k2t_core.helpers")
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".py") or file.name == "__init__.py":
            continue
        text = file.read_text(encoding="utf-8")
        for item in parse(text).body:
            if isinstance(item, (ast.FunctionDef, ast.ClassDef)):
                if item.name in found:
                    raise K2TError(f"internal: helper {item.name} is defined twice")
                start = min([item.lineno, *(d.lineno for d in item.decorator_list)])
                source = "\n".join(text.splitlines()[start - 1 : item.end_lineno])
                found[item.name] = _Helper(source, names_in(item), f"k2t_core.helpers.{file.name[:-3]}")
    return found


def helper_names() -> frozenset[str]:
    """Names that a generated class must not have."""
    return frozenset(helper_sources())


def names_in(tree: ast.AST) -> frozenset[str]:
    """The names that code reads or assigns; attributes and keywords are none."""
    return frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def helpers_for(names: Set[str]) -> str:
    """The helpers among ``names``, and those they use, in a fixed order."""
    sources = helper_sources()
    needed: set[str] = set()
    queue = [name for name in sources if name in names]
    while queue:
        name = queue.pop()
        if name not in needed:
            needed.add(name)
            queue += [n for n in sources[name].mentions if n in sources]
    return "\n\n\n".join(helper.source for name, helper in sources.items() if name in needed)
