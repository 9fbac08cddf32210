"""The gates of a GRU, and where it resets."""

from __future__ import annotations

from k2t_core.inspector.lessons.gru import gru_reset


def test_gru_gates_and_reset():
    assert gru_reset(3, 2, 4, 0, reset_after=True).right.agrees
    assert not gru_reset(3, 2, 4, 0, reset_after=True).wrong.agrees
    assert gru_reset(3, 2, 4, 0, reset_after=True, reordered=True).wrong.agrees
    before = gru_reset(3, 2, 4, 0, reset_after=False, reordered=True)
    assert before.right.agrees and not before.wrong.agrees
