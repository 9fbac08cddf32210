"""Break it: the fault is one that shapes hide, in the layer that the verification names first."""

from __future__ import annotations

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.errors import K2TError
from k2t_core.exercise import REASONS, exercise


@pytest.mark.parametrize(("name", "seed"), [("convnet", 0), ("convnet", 1), ("shared", 2)])
def test_the_broken_layer_diverges_first(example, name, seed):
    plan = k2t.plan(example(name))
    found = exercise(plan, seed)
    assert not found.report.passed and found.report.first_divergence == found.layer
    assert found.layer in found.choices and len(found.choices) > 1
    assert found.fault in found.reasons and len(set(found.reasons)) == REASONS
    again = exercise(plan, seed)
    assert (again.recipe, again.reasons) == (found.recipe, found.reasons)


def test_a_model_without_anything_to_break_says_so():
    x = keras.Input((3,))
    with pytest.raises(K2TError, match="no layer of this model can be read wrongly"):
        exercise(k2t.plan(keras.Model(x, layers.ReLU()(x))), 0)
