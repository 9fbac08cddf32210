"""Operations of our own: shapes on symbolic tensors, values on real ones, and a kind for their rules."""

import keras
import numpy as np
import pytest

from k2t_core.keras_side.opened_operations import arange_like, begin_like, expand, reshape_like
from k2t_core.rules.registry import find

LIKE = np.zeros((5, 7), "float32")
X = np.arange(6, dtype="float32").reshape(1, 2, 3)
OPERATIONS = {
    "expand": (lambda: expand()((2, 3), 0), (X, LIKE), (None, 2, 3), np.broadcast_to(X, (5, 2, 3))),
    "reshape_like": (
        lambda: reshape_like()((None, 6), (0,)),
        (np.arange(30.0).reshape(10, 3), [LIKE]),
        (None, 6),
        np.arange(30.0).reshape(5, 6),
    ),
    "arange_like": (lambda: arange_like()(1, "int32"), (LIKE,), (None,), np.arange(7)),
    "begin_like": (
        lambda: begin_like()(1, 2, 0),
        (np.arange(18.0).reshape(2, 9), LIKE),
        (2, None),
        np.arange(18.0).reshape(2, 9)[:, 2:5],
    ),
}


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_shapes_and_values(name):
    make, arguments, shape, want = OPERATIONS[name]
    symbolic = keras.tree.map_structure(lambda a: keras.Input(batch_shape=a.shape, dtype=str(a.dtype)), arguments)
    assert make()(*symbolic).shape == shape
    assert np.array_equal(make()(*keras.tree.map_structure(keras.ops.convert_to_tensor, arguments)), want)


@pytest.mark.parametrize("make", [expand, reshape_like, arange_like, begin_like])
def test_each_has_a_rule(make):
    assert make() is make(), "one class a process"
    assert find(make().k2t_kind) is not None
