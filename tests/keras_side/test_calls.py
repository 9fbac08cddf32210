"""What a call receives: its arguments by name, with the masks that Keras attaches to tensors."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers

from k2t_core.errors import UnsupportedError
from k2t_core.graph import Ref
from k2t_core.keras_side.calls import (
    bind,
    bound_arguments,
    call_behind,
    replaced,
    symbolic_call,
    tensors_in,
    with_refs,
)
from k2t_core.keras_side.internals import mask_of


def masked(shape=(5,)):
    return layers.Embedding(9, 4, mask_zero=True)(keras.Input(shape, dtype="int32"))


def test_a_layer_is_given_the_mask_of_its_input():
    x = masked()
    call = symbolic_call(layers.LSTM(3), (x,), {})
    assert call.arguments["sequences"] is x and call.arguments["mask"] is mask_of(x)
    assert call.outputs[0].shape == (None, 3) and call.result is call.outputs[0]


def test_the_layer_is_left_without_what_listened():
    layer = layers.Dense(3)
    before = set(vars(layer))
    symbolic_call(layer, (keras.Input((4,)),), {})
    assert "symbolic_call" not in set(vars(layer)) - before


def test_merging_layers_that_compute_with_masks_are_given_them():
    x, y = masked(), masked()
    assert symbolic_call(layers.Maximum(), ([x, y],), {}).arguments["masks"] == [mask_of(x), mask_of(y)]
    assert "masks" not in symbolic_call(layers.Average(), ([x, y],), {}).arguments


def test_time_distributed_keeps_the_mask_from_a_layer_that_takes_none():
    x = masked((5, 3))
    assert "mask" not in symbolic_call(layers.TimeDistributed(layers.Flatten()), (x,), {}).arguments


def test_an_operation_has_its_arguments_by_name():
    x = keras.Input((4, 3))
    operation = type(call_behind(keras.ops.mean(x, axis=1)).operation)
    call = symbolic_call(operation(axis=1), (x,), {})
    assert call.arguments == {"x": x} and call.outputs[0].shape == (None, 3)


def test_the_call_behind_a_tensor():
    x = keras.Input((4,))
    y = layers.Dense(3, name="dense")(x)
    call = call_behind(y)
    assert call.operation.name == "dense" and call.arguments == {"inputs": x} and call.outputs == [y]
    with pytest.raises(UnsupportedError, match="does not come from the model's inputs"):
        call_behind(keras.KerasTensor((None, 2)))


@pytest.mark.parametrize("given", [None, False])
def test_training_that_inference_overrides_is_no_argument(given):
    x = keras.Input((4,))
    assert bind(layers.Dropout(0.5), (x,), {"training": given}) == {"inputs": x}
    assert bind(layers.Dropout(0.5), (x,), {"training": True}) == {"inputs": x, "training": True}


def test_a_default_of_true_and_lists_of_nothing_are_no_arguments_either():
    def call(x, masks=None, training=True, **others):
        pass

    arguments = bound_arguments(inspect.signature(call), (1, [None, None]), {"training": True, "scale": 2})
    assert arguments == {"x": 1, "scale": 2}


def test_nests_of_arguments():
    x, y = keras.Input((4,), name="x"), keras.Input((4,), name="y")
    nest = {"inputs": [x, (y, 3)], "key": (slice(x, None), "name"), "table": keras.ops.ones((2,))}
    assert list(tensors_in(nest)) == [x, y, x]
    assert replaced(nest, {}) is nest
    other = replaced(nest, {id(x): y})
    assert list(tensors_in(other)) == [y, y, y] and other["key"][0] == slice(y, None)
    plain = with_refs(nest, {id(x): "x", id(y): "y"})
    assert plain["inputs"] == [Ref("x"), (Ref("y"), 3)] and plain["key"] == (slice(Ref("x"), None), "name")
    assert isinstance(plain["table"], np.ndarray) and plain["table"].tolist() == [1, 1]
