"""How far two arrays are apart."""

import numpy as np
import pytest

from k2t_core.difference import Difference, Rounding, apart, coarseness, rounding_unit, ulps

INF, NAN = float("inf"), float("nan")


def test_apart_with_infinities_and_nan():
    a = np.array([1.0, INF, -INF, INF, NAN, NAN, 2.0])
    b = np.array([3.0, INF, -INF, -INF, NAN, 1.0, INF])
    assert apart(a, b).tolist() == [2.0, 0.0, 0.0, INF, 0.0, INF, INF]


def test_difference_is_relative_to_the_largest_finite_keras_value():
    found = Difference.of(np.array([1.0, -4.0]), np.array([1.5, -4.0]))
    assert (found.max_abs, found.mean_abs, found.relative, found.keras_max) == (0.5, 0.25, 0.125, 4.0)
    assert Difference.of(np.zeros(2), np.ones(2)).relative == INF
    assert Difference.of(np.zeros(2), np.zeros(3)).max_abs == INF
    assert Difference.of(np.zeros(0), np.zeros(0)).relative == 0.0
    assert Difference.of(np.array([NAN, 1.0]), np.array([NAN, 1.0])).max_abs == 0.0


def test_rounding_tells_an_error_from_rounding():
    exact = np.linspace(1.0, 2.0, 50)
    near, wrong = exact.astype("float32"), (exact * 1.01).astype("float32")
    assert Rounding.of(near, near, exact).explains(np.dtype("float32"))
    assert not Rounding.of(wrong, near, exact).explains(np.dtype("float32"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_units_are_those_of_numpy(dtype):
    assert rounding_unit(np.dtype(dtype)) == np.finfo(dtype).eps
    one = np.ones(3, dtype)
    assert ulps(one, np.nextafter(one, one * 2)).tolist() == [1.0, 1.0, 1.0]
    assert ulps(-one, one)[0] == 2 * ulps(np.zeros(1, dtype), one[:1])[0]


def test_coarseness_scales_tolerances_of_float32():
    assert coarseness(np.dtype("float32")) == 1.0 and coarseness(np.dtype("float16")) == 1024.0


def test_an_imaginary_part_counts():
    real = np.ones(3, "float32")
    assert Difference.of(real, real + 1e-2j).relative == pytest.approx(1e-2)
    assert Difference.of(real, real.astype("complex64")).max_abs == 0


def test_tensorflow_takes_the_smallest_numbers_for_none():
    tiny = np.array([1e-40, -3e-39], "float32")
    assert Difference.of(np.zeros(2, "float32"), tiny).relative == 0.0
    assert Difference.of(np.zeros(2, "float32"), np.array([0.0, 2e-38], "float32")).relative == INF
    assert Difference.of(np.zeros(1), np.array([1e-300])).relative == INF
    assert Difference.of(np.zeros(1, "float16"), np.array([1e-7], "float16")).relative == INF
