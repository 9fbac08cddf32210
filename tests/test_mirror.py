"""tests/ has the rooms of k2t_core, and pages/: a module's tests lie in the file of its name, at the same place."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOMES = {ROOT / "k2t_core": "", ROOT / "pages": "pages"}  # and their folder in tests/
MODULES = sorted(
    Path(folder) / path.relative_to(home).with_suffix("")
    for home, folder in HOMES.items()
    for path in home.rglob("*.py")
    if path.name != "__init__.py" and "node_modules" not in path.parts
)
# What is owed. A module leaves the list with its test file: one that is listed and has it fails.
MISSING: frozenset[str] = frozenset()


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_has_its_test_file(module):
    file = ROOT / "tests" / module.parent / f"test_{module.name}.py"
    assert file.is_file() != (str(module) in MISSING), file.relative_to(ROOT)


def test_what_is_owed_are_modules():
    assert set(map(str, MODULES)) >= MISSING
