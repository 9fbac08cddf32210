"""The style that pyproject.toml states holds for all of the code: ruff's rules and format, and mypy's types."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ("k2t_core", "pages", "tests", "benchmarks", "examples", "docs", "app.py")
LONG = 320  # lines from which on a module says why it is one


def findings(*command: str) -> str:
    """What a tool of this environment prints about the repository; nothing where it has no complaint."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=500)
    return f"\n{done.stdout}{done.stderr}" if done.returncode else ""


def test_ruff_has_nothing_to_say():
    assert not (found := findings("ruff", "check", "--no-cache", "--output-format", "concise", *CODE)), found


def test_ruff_would_format_nothing_otherwise():
    assert not (found := findings("ruff", "format", "--no-cache", "--check", *CODE)), found


def test_a_long_module_says_why_it_is_one():
    paths = [*ROOT.glob("k2t_core/**/*.py"), *ROOT.glob("pages/**/*.py")]
    silent = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if "node_modules" not in path.parts and len(text.splitlines()) > LONG:
            silent += [] if "Long because" in (ast.get_docstring(ast.parse(text)) or "") else [str(path)]
    assert silent == []


def test_mypy_finds_no_error():
    """In the package, which is what pyproject.toml names; its cache is left in .mypy_cache."""
    assert not (found := findings("mypy", "--no-error-summary")), found
