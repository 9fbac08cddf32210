"""The axes of a convolution kernel."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.inspector.lessons.kernel import convolution_kernel


@pytest.mark.parametrize(("kernel", "channels"), [(2, 1), (3, 2)])
def test_reversed_kernel_axes_are_wrong(kernel, channels):
    experiment = convolution_kernel(kernel, channels, seed=0)
    assert experiment.right.agrees and not experiment.wrong.agrees
    assert np.array_equal(experiment.pictures["keras kernel"], experiment.pictures["right kernel"])
    assert np.array_equal(experiment.pictures["keras kernel"].T, experiment.pictures["wrong kernel"])


def test_a_kernel_of_one_pixel_has_no_axes_to_confuse():
    assert convolution_kernel(1, 2, seed=0).wrong.agrees
