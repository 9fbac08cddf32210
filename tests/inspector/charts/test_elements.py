"""The scatter of output elements."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.inspector.charts.elements import POINTS, sampled, scatter
from tests.inspector.reports import output, run


def test_a_scatter_is_a_sample_with_the_worst_element_in_it():
    keras = np.linspace(0, 1, 100_000)
    torch = keras.copy()
    torch[77] += 0.5
    a, b, beyond = sampled(run([output(keras, torch)]))
    assert len(a) <= POINTS and beyond.sum() == 1 and abs(a - b).max() == pytest.approx(0.5)
    assert len(scatter(run([output(keras, torch)])).data) == 3
    assert scatter(run([output([1], [1, 2])])).data


def test_what_is_not_finite_is_no_point():
    keras, torch, beyond = sampled(run([output([1, np.nan, 3], [1, 2, np.inf])]))
    assert (keras.tolist(), torch.tolist(), beyond.tolist()) == ([1], [1], [False])
