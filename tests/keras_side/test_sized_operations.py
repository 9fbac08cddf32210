"""Formulas of sizes: folded where they can be, plain data afterwards, the same numbers in Keras."""

from __future__ import annotations

import keras
import numpy as np

from k2t_core.keras_side.sized_operations import Size, larger, sized, smaller, written


def test_integers_stay_integers_and_what_changes_nothing_is_left_out():
    x = keras.Input((3, None))
    assert Size.of(x, 1) == 3
    n = Size.of(x, 2)
    assert n + 0 is n and 0 + n is n and n * 1 is n and 1 * n is n and n // 1 is n and n - 0 is n
    assert n - n == 0 and n * 0 == 0


def test_a_formula_is_plain_data():
    x, y = keras.Input((None,)), keras.Input((None,))
    n, m, likes = Size.of(x, 1), Size.of(y, 1), []
    formula = (n * 2 + m // 3 - 1) % 5
    assert written(formula, likes) == (
        "%", ("-", ("+", ("*", ("size", 0, 1), 2), ("//", ("size", 1, 1), 3)), 1), 5
    )  # fmt: skip
    assert likes[0] is x and likes[1] is y
    assert written(larger(n, 4), []) == ("max", ("size", 0, 1), 4) and smaller(3, 4) == 3


def test_it_is_computed_as_it_is_written():
    x = keras.Input((None, 4))
    n = Size.of(x, 1)
    made = [
        sized("Reshape", (n * 2, -1), (None, None), "float32", x),
        sized("Arange", (0, n + 1, 2), (None,), "int32", kind="int32"),
        sized("Full", (n, 2), (None, 2), "float32", kind="float32", value=1.5),
        sized("Number", (n - 1,), (), "float32", kind="float32"),
        sized("Slice", ((None, None, 1), (n // 2, None, 1), (None, None, 1)), (None, None, 4), "float32", x),
        sized("Tile", (1, n, 1), (None, None, 4), "float32", x),
    ]
    array = np.arange(40.0, dtype="float32").reshape(2, 5, 4)
    found = [np.asarray(y) for y in keras.Function(x, made)(array)]
    np.testing.assert_array_equal(found[0], array.reshape(10, -1))
    np.testing.assert_array_equal(found[1], np.arange(0, 6, 2))
    np.testing.assert_array_equal(found[2], np.full((5, 2), 1.5))
    np.testing.assert_array_equal(found[3], 4)
    np.testing.assert_array_equal(found[4], array[:, 2:])
    np.testing.assert_array_equal(found[5], np.tile(array, (1, 5, 1)))
