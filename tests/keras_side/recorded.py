"""Layers of a user's own that call TensorFlow: what tests of recording share."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tests.harness import check


class Own(layers.Layer):
    """call() is a function of tensors."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, *tensors):
        return self.function(*tensors)

    def get_config(self):
        """Of a function there is no config: what is read of the model does without."""
        return {"name": self.name}


def of_graph(function, shapes, dtype="float32"):
    """The types of operation that TensorFlow makes of a function, in the functions that it calls too."""
    specs = [tf.TensorSpec((None, *shape), dtype) for shape in shapes]
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    inner = {node.op for defined in graph.as_graph_def().library.function for node in defined.node_def}
    return inner | {op.type for op in graph.get_operations()}


def agrees(kind, function, shapes, dtype="float32", tolerance=2e-5):
    """A layer of this function, in which the operation ``kind`` is, converted and run on two batches of two sizes."""
    assert kind in of_graph(function, shapes, dtype), "the case is of another operation"
    inputs = [keras.Input(shape, dtype=dtype) for shape in shapes]
    model = keras.Model(inputs, Own(function, name="own")(*inputs))
    check(model, tolerance=tolerance)
    rng = np.random.default_rng(1)
    arrays = [
        rng.normal(size=(5, *shape)).astype(dtype) if dtype == "float32" else rng.integers(0, 5, (5, *shape), dtype)
        for shape in shapes
    ]
    check(model, arrays, tolerance=tolerance)
