"""Every helper that a model.py may carry is tested by name, in the test file of its module's name."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from k2t_core.planning.helper_sources import helper_sources

FOLDER = Path(__file__).parent


@cache
def names_used(module: str) -> frozenset[str]:
    """The names that the test functions of ``test_<module>.py`` use, by way of what the file itself defines too."""
    file = FOLDER / f"test_{module}.py"
    body = ast.parse(file.read_text(encoding="utf-8")).body if file.exists() else []
    defined: dict[str, ast.stmt] = {}
    for item in body:
        if isinstance(item, ast.FunctionDef):
            defined[item.name] = item
        elif isinstance(item, ast.Assign):
            defined |= {n.id: item for target in item.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    found: set[str] = set()
    queue = [name for name in defined if name.startswith("test_")]
    while queue:
        used = {node.id for node in ast.walk(defined[queue.pop()]) if isinstance(node, ast.Name)} - found
        found |= used
        queue += used & set(defined)
    return frozenset(found)


@pytest.mark.parametrize("name", sorted(helper_sources()))
def test_a_helper_has_its_test(name):
    module = helper_sources()[name].module.rsplit(".", 1)[-1]
    assert name in names_used(module), f"no test function of tests/helpers/test_{module}.py uses {name}"
