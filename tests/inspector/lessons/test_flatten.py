"""Flatten's order."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.inspector.lessons.flatten import flatten_order


@pytest.mark.parametrize("size", [(3, 2, 3), (2, 2, 2), (4, 5, 2)])
def test_flatten_order_right_and_wrong(size):
    experiment = flatten_order(*size, seed=1)
    assert experiment.right.agrees
    assert not experiment.wrong.agrees
    assert experiment.wrong.difference.relative > 0.01
    count = int(np.prod(size))
    assert experiment.pictures["keras order"].tolist() == list(range(count))
    assert sorted(experiment.pictures["torch order"]) == list(range(count))


def test_flatten_order_makes_no_difference_with_one_channel():
    experiment = flatten_order(3, 4, 1, seed=0)
    assert experiment.right.agrees and experiment.wrong.agrees
