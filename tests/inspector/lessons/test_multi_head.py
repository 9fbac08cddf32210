"""Heads and masks of attention."""

from __future__ import annotations

import pytest

from k2t_core.inspector.lessons.multi_head import attention


@pytest.mark.parametrize(
    ("wrong", "heads", "key_dim", "outcome"),
    [
        ("heads", 2, 3, "all"),
        ("mask", 2, 3, "all"),
        ("heads", 1, 3, "same"),
        ("heads", 3, 1, "same"),
        ("mask", 1, 2, "all"),
    ],
)
def test_attention_heads_and_mask(wrong, heads, key_dim, outcome):
    experiment = attention(heads, key_dim, 4, seed=1, wrong=wrong)
    assert experiment.right.agrees and experiment.outcome == outcome
