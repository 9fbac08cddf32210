"""Two epsilons."""

from __future__ import annotations

from k2t_core.inspector.lessons.epsilon import batch_norm_epsilon


def test_batch_norm_epsilon_matters_for_small_variances():
    small, large = batch_norm_epsilon(1e-3, 0), batch_norm_epsilon(1e4, 0)
    assert small.right.agrees and large.right.agrees
    assert small.wrong.difference.relative > 100 * large.wrong.difference.relative
