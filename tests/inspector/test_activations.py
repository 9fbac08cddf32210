"""Activations: a sample cut to what is drawn, the worst place found, and both frameworks' own numbers in it."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.inspector.activations import BARS, LINES, MAPS, MOST_PIXELS, activation, maps
from k2t_core.project.project import Project


def pair(shape, at, by=1.0):
    """Two batches that differ in one element, by ``by``."""
    keras = np.random.default_rng(0).standard_normal(shape).astype("float32")
    torch = keras.copy()
    torch[at] += by
    return keras, torch


@pytest.mark.parametrize(
    ("shape", "at", "kind", "worst"),
    [
        ((2, 6, 5, 4), (1, 3, 2, 3), MAPS, (0, 3)),
        ((2, 3, 6, 5, 4), (1, 2, 3, 2, 1), MAPS, (2, 1)),
        ((2, 7, 4), (1, 5, 2), LINES, (0, 2)),
        ((2, 9), (1, 4), BARS, (0, 4)),
        ((2,), (1,), BARS, (0, 0)),
    ],
)
def test_each_kind_finds_its_worst_place(shape, at, kind, worst):
    keras, torch = pair(shape, at)
    shown = activation(keras, torch, 1)
    assert (shown.kind, shown.worst) == (kind, worst)
    assert shown.largest(*worst) == pytest.approx(1, abs=1e-6)
    assert activation(keras, torch, 0).difference.max() == 0


def test_a_large_map_hides_no_difference():
    keras, torch = pair((1, 500, 301, 2), (0, 499, 300, 1))
    drawn = maps(activation(keras, torch, 0), 0, 1)
    assert max(drawn[0].shape) <= MOST_PIXELS and drawn[0].shape == drawn[2].shape
    assert np.array_equal(drawn[0], keras[0, :: drawn[3], :: drawn[3], 1])
    assert drawn[2][-1, -1] == pytest.approx(1, abs=1e-6) and (drawn[2] > 0).sum() == 1


def test_what_cannot_be_compared_is_left_out():
    assert activation(np.zeros((2, 3)), np.zeros((2, 4)), 0) is None
    assert activation(np.zeros((2, 0)), np.zeros((2, 0)), 0) is None
    keras, torch = np.array([[np.nan, 1, np.inf, 2]]), np.array([[np.nan, np.nan, np.inf, 2]])
    assert activation(keras, torch, 0).difference.tolist() == [0, np.inf, 0, 0]


def test_a_layer_of_a_project_shows_both_frameworks_numbers(example, tmp_path, monkeypatch):
    monkeypatch.setenv("K2T_HOME", str(tmp_path))
    project = Project.create()
    project.load(example("convnet"))
    (right,) = project.activations("conv", 1)
    assert right.kind == MAPS and right.shape == (28, 28, 32) and right.difference.max() < 1e-5
    assert np.array_equal(right.keras[0], project.engine.workbench.probe("conv", project.inputs).expected[0][1])
    project.override("conv", "permutation", {"key": "weight", "axes": [3, 2, 1, 0]})
    (wrong,) = project.activations("conv", 1)
    assert np.array_equal(wrong.keras, right.keras) and wrong.difference.max() > 0.1
