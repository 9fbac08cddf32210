"""Whether a rule takes a call of an operation, before anything is planned."""

import keras
import numpy as np
import pytest
from keras import ops

from k2t_core.keras_side.internals import operation_behind
from k2t_core.keras_side.trial import is_taken


@pytest.mark.parametrize(
    "function, taken",
    [
        (lambda x: ops.sum(x, axis=1), True),
        (lambda x: ops.matmul(x, np.ones((4, 2), "float32")), True),
        (lambda x: ops.sort(x, axis=None), False),
        (lambda x: ops.norm(x, ord="nuc", axis=(1, 2)), False),
        (lambda x: ops.kron(x, x), False),
    ],
)
def test_a_call_of_an_operation(function, taken):
    assert is_taken(operation_behind(function(keras.Input((5, 4))))) is taken


def test_one_that_was_not_called():
    from keras.src.ops.numpy import Kron, Sum

    assert is_taken(Sum(axis=1)) and not is_taken(Kron())
