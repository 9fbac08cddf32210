"""A Dense kernel, and its transpose."""

from __future__ import annotations

import pytest

from k2t_core.inspector.lessons.dense import dense_kernel


@pytest.mark.parametrize(("inputs", "units", "outcome"), [(4, 3, "error"), (3, 3, "all"), (1, 1, "same")])
def test_dense_kernel_raises_only_where_the_shapes_tell(inputs, units, outcome):
    experiment = dense_kernel(inputs, units, seed=0)
    assert experiment.right.agrees and experiment.outcome == outcome
    assert (experiment.wrong.error is not None) == (outcome == "error")
