"""Training or inference."""

from __future__ import annotations

import pytest

from k2t_core.inspector.lessons.inference import inference_mode


@pytest.mark.parametrize("layer", ["Dropout", "BatchNormalization"])
def test_a_fresh_module_trains(layer):
    experiment = inference_mode(layer, seed=0)
    assert experiment.right.agrees and not experiment.wrong.agrees
