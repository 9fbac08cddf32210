"""Activations of one name."""

from __future__ import annotations

import pytest

from k2t_core.inspector.lessons.activations import ACTIVATIONS, activation_default


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_defaults(name):
    experiment = activation_default(name, seed=0)
    assert experiment.right.agrees and not experiment.wrong.agrees
