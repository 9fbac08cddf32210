"""Momentum upside down."""

from __future__ import annotations

from k2t_core.inspector.lessons.momentum import batch_norm_momentum


def test_batch_norm_momentum_is_the_complement():
    experiment = batch_norm_momentum(3, 0)
    assert experiment.right.agrees and not experiment.wrong.agrees
