"""Weights of ones."""

from __future__ import annotations

from k2t_core.inspector.lessons.ones import transposed_kernel


def test_ones_hide_a_missing_transpose():
    hidden, seen = transposed_kernel(4, 0, ones=True), transposed_kernel(4, 0, ones=False)
    assert hidden.right.agrees and hidden.wrong.agrees
    assert seen.right.agrees and not seen.wrong.agrees
