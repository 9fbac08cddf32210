"""While a layer is opened, a reshape and a repetition understand a free size; afterwards Keras is itself."""

import threading

import keras
import numpy as np
import pytest

from k2t_core.keras_side.free_sizes import any_key, free_sizes, symbolic_constant
from k2t_core.keras_side.internals import operation_behind
from k2t_core.keras_side.opened import CannotOpen

FUNCTIONS = ("shape", "reshape", "broadcast_to", "tile", "repeat", "arange")


def kinds(tensor):
    return getattr(type(operation_behind(tensor)), "k2t_kind", type(operation_behind(tensor)).__name__)


def test_keras_is_itself_afterwards():
    before = [getattr(keras.ops, name) for name in FUNCTIONS], vars(keras.random).copy(), keras.KerasTensor.__getitem__
    with pytest.raises(ZeroDivisionError), free_sizes(None, []), any_key():
        assert all(getattr(keras.ops, name) is not known for name, known in zip(FUNCTIONS, before[0]))
        raise ZeroDivisionError
    assert [getattr(keras.ops, name) for name in FUNCTIONS] == before[0]
    assert vars(keras.random) == before[1] and keras.KerasTensor.__getitem__ is before[2]


def test_a_reshape_infers_one_free_size_and_reads_two():
    x = keras.Input((None, 4))
    with free_sizes(None, []):
        batch, steps, width = keras.ops.shape(x)
        assert width == 4
        assert keras.ops.reshape(x, (batch, 8)).shape == (None, 8)
        both = keras.ops.reshape(x, (batch, steps, 2, 2))
    assert both.shape == (None, None, 2, 2) and kinds(both) == "k2t.ReshapeLike"


def test_repeating_as_often_as_the_batch():
    x, sources = keras.Input((4,)), []
    with free_sizes(None, sources):
        batch = keras.ops.shape(x)[0]
        token = np.ones((1, 3), "float32")
        found = [
            keras.ops.broadcast_to(token, (batch, 3)),
            keras.ops.tile(token, (batch, 1)),
            keras.ops.repeat(token, batch, axis=0),
        ]
        with pytest.raises(CannotOpen, match="not of size 1"):
            keras.ops.broadcast_to(np.ones((2, 3), "float32"), (batch, 3))
    assert [(y.shape, kinds(y)) for y in found] == [((None, 3), "k2t.Expand")] * 3
    assert np.array_equal(sources[0][1].value, token)


def test_positions_and_the_beginning_of_a_table():
    x, table = keras.Input((None, 4)), keras.Input(batch_shape=(9, 4))
    with free_sizes(None, []), any_key():
        steps = keras.ops.shape(x)[1]
        positions, first = keras.ops.arange(steps), table[:steps]
    assert (positions.shape, kinds(positions)) == ((None,), "k2t.ArangeLike")
    assert first.shape[1] == 4 and kinds(operation_behind(first)._inbound_nodes[0].input_tensors[0]) == "k2t.BeginLike"


def test_nothing_is_computed_with_a_free_size():
    x = keras.Input((4,))
    with free_sizes(None, []):
        batch = keras.ops.shape(x)[0]
        for compute in (lambda n: n * 2, lambda n: n + 1, lambda n: n > 3, bool):
            with pytest.raises(CannotOpen, match="computes with a size that is free"):
                compute(batch)
        with pytest.raises(CannotOpen, match="draws random numbers"):
            keras.random.normal((batch, 4))


def test_another_thread_sees_sizes_as_ever():
    x, seen = keras.Input((4,)), []
    with free_sizes(None, []):
        thread = threading.Thread(target=lambda: seen.append(keras.ops.shape(x)))
        thread.start()
        thread.join()
    assert seen == [(None, 4)]


def test_a_constant_becomes_a_source():
    sources = []
    x = symbolic_constant(np.arange(3), "owner", sources)
    assert x.shape == (3,) and sources[0][0] is x and sources[0][1].owner == "owner"
    for other in (x, 3, "word", keras.Variable(1.0)):
        assert symbolic_constant(other, "owner", sources) is other
    assert len(sources) == 1
