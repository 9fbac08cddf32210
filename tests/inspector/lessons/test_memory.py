"""Memory formats."""

from __future__ import annotations

import pytest

from k2t_core.inspector.lessons.memory import memory_format


@pytest.mark.parametrize(
    ("wrong", "size", "outcome"),
    [("reshape", (3, 4, 2), "all"), ("reshape", (3, 4, 1), "same"), ("declare", (3, 4, 2), "error")],
)
def test_a_memory_format_is_no_layout(wrong, size, outcome):
    experiment = memory_format(*size, seed=0, wrong=wrong)
    assert experiment.right.agrees and experiment.outcome == outcome
    assert sorted(experiment.pictures["channels_last"]) == experiment.pictures["contiguous"].tolist()
