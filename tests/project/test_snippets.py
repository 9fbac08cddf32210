"""PyTorch code that is not in force: read while it is typed, and run when a person asks for it."""

from __future__ import annotations

import pytest

from k2t_core.project import snippets


@pytest.mark.parametrize(
    ("code", "line", "column", "words"),
    [
        ("\n  torch.tanh(x", 2, 13, "never closed"),
        ("torch.add(\n  x,\n  y = = 1)", 3, 7, "Not one Python expression"),
        ("x = 1", 1, 3, "Not one Python expression"),
        ("x\0", 1, 1, "null bytes"),
    ],
)
def test_an_error_is_told_where_it_is(square, code, line, column, words):
    for found in (snippets.read(code), square.check_snippet("square1", code)):
        assert words in found.problem and (found.line, found.column) == (line, column) and found.verdict is None


@pytest.mark.parametrize(
    "code", ["{open}({canary}, 'w')", "[{open}({canary}, 'w') for _ in 'x']", "(lambda: {open}({canary}, 'w'))()"]
)
def test_what_is_typed_is_read_and_does_not_run(tmp_path, code):
    text = code.format(open="open", canary=repr(str(tmp_path / "ran")))
    assert snippets.read(text) == snippets.Check() and not (tmp_path / "ran").exists()


def test_what_python_cannot_read_is_told():
    for code in ("(" * 10_000 + ")" * 10_000, "-" * 100_000 + "1", "x" + ".a" * 100_000):
        assert snippets.read(code).problem


def test_a_snippet_is_run_alone_and_not_put_in_force(square):
    assert square.check_snippet("square1", "torch.tanh(x @ w['kernel'] + w['bias'])").verdict.passed
    assert not square.check_snippet("square1", "torch.tanh(x)").verdict.passed
    assert "RuntimeError" in square.check_snippet("square1", "x @ w['kernel'][:3]").problem
    assert not square.recipe.overrides
