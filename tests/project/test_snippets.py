"""What is checked of PyTorch code as a person types."""

from __future__ import annotations

import pytest


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
    found = square.check_snippet("square1", code)
    assert words in found.problem and (found.line, found.column) == (line, column) and found.verdict is None


def test_a_snippet_is_run_alone_and_not_put_in_force(square):
    assert square.check_snippet("square1", "torch.tanh(x @ w['kernel'] + w['bias'])").verdict.passed
    assert not square.check_snippet("square1", "torch.tanh(x)").verdict.passed
    assert "RuntimeError" in square.check_snippet("square1", "x @ w['kernel'][:3]").problem
    assert not square.recipe.overrides
