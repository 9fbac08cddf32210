"""Average pooling at the border."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.inspector.lessons.pooling import average_pooling


@pytest.mark.parametrize("window", [3, 5])
def test_average_pooling_differs_at_the_border_only(window):
    experiment = average_pooling(9, window, seed=0)
    assert experiment.right.agrees and not experiment.wrong.agrees
    inside = slice(window // 2, -(window // 2))
    assert np.allclose(experiment.wrong.output[..., inside], experiment.keras[..., inside], atol=1e-5)
    assert experiment.pictures["divided by"][0, 0] == window // 2 + 1
