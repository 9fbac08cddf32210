"""What a trace comes to: how the graph maps to the live model."""

import keras
import numpy as np
from keras import layers

from k2t_core.keras_side.reading import read


def model():
    x = keras.Input((4,), name="in")
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="inside")], name="inner")
    return keras.Model(x, inner(layers.Dense(3, name="outside")(x)))


def test_a_scope_names_the_nodes_and_operations_of_keras():
    traced = read(model())
    scope = traced.scope
    node = scope.node("outside")
    assert node.operation is scope.operations["outside"] and scope.node_ids[id(node)] == "outside"
    assert scope.outputs[id(node), 0] == "outside"
    nested = scope.nested[id(scope.operations["inner"])]
    assert nested.node("inside").operation.name == "inside" and nested.graph is traced.graph.nodes[1].layer.graph


def test_values_are_those_of_the_moment():
    traced = read(model())
    (path,) = [path for path in traced.variables if path.endswith("outside/bias")]
    assert np.array_equal(traced.value(path), [0, 0, 0])
    traced.variables[path].assign([1, 2, 3])
    assert np.array_equal(traced.value(path), [1, 2, 3])
