"""Training or inference."""

from __future__ import annotations

import pytest
import torch

from k2t_core.inspector.lessons.inference import inference_mode


@pytest.mark.parametrize("layer", ["Dropout", "BatchNormalization"])
def test_a_fresh_module_trains(layer):
    experiment = inference_mode(layer, seed=0)
    assert experiment.right.agrees and not experiment.wrong.agrees


def test_the_generator_of_the_process_is_left_alone():
    before = torch.random.get_rng_state()
    inference_mode("Dropout", seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
