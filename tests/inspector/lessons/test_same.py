"""Padding "same"."""

from __future__ import annotations

import pytest

from k2t_core.inspector.lessons.same import same_padding


@pytest.mark.parametrize(("size", "kernel", "stride"), [(6, 3, 2), (8, 5, 2), (7, 3, 3), (5, 3, 1), (9, 2, 1)])
def test_same_padding(size, kernel, stride):
    experiment = same_padding(size, kernel, stride, seed=0)
    assert experiment.right.agrees
    alike = experiment.pictures["torch pads"].tolist() == experiment.pictures["keras pads"].tolist()
    assert experiment.wrong.agrees == alike
