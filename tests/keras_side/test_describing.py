"""A live layer as data: its kind, path, config, children and variables."""

import keras
import numpy as np
import pytest
from keras import layers

from k2t_core.errors import UnsupportedError
from k2t_core.keras_side.describing import Describer, kind_of, name_inside
from k2t_core.keras_side.internals import operation_behind
from k2t_core.keras_side.loading import load
from k2t_core.keras_side.opened import StandIn
from k2t_core.keras_side.sized_operations import Size, sized
from k2t_core.keras_side.tracing import trace  # what a wrapper's model is described by


def described(layer, label="label", prefix="", **options):
    return Describer(lambda functional, name, prefix: trace(load(functional)).graph).layer(
        layer, label, prefix, **options
    )


def built(layer, shape):
    layer(np.ones((1, *shape), "float32"))
    return layer


def test_kinds():
    x = keras.Input((4,))
    assert kind_of(layers.Dense(2)) == "Dense"
    assert kind_of(operation_behind(keras.ops.mean(x))) == "ops.Mean"
    assert kind_of(operation_behind(keras.activations.relu(x))) == "activations.ReLU"
    assert kind_of(operation_behind(sized("Tile", (Size.of(x, 0), 1), (None, 4), "float32", x))) == "k2t.SizedTile"

    class Dense(layers.Layer):
        pass

    assert kind_of(Dense()) == f"{__name__}.test_kinds.<locals>.Dense"  # never taken for Keras's


def test_a_layer_has_its_config_and_variables():
    layer = described(built(layers.Dense(2, activation="relu", name="dense"), (3,)), "dense", "encoder/")
    assert (layer.path, layer.name, layer.kind) == ("encoder/dense", "dense", "Dense")
    assert layer.config["activation"] == "relu"
    assert [(v.name, v.path, v.shape, v.trainable) for v in layer.variables] == [
        ("kernel", "dense/kernel", (3, 2), True),
        ("bias", "dense/bias", (2,), True),
    ]


def test_an_operation_has_what_it_was_made_with():
    operation = operation_behind(keras.ops.mean(keras.Input((4, 3)), axis=1, keepdims=True))
    assert described(operation).config == {"axis": [1], "keepdims": True}


def test_what_a_wrapper_holds_is_its_child():
    layer = built(layers.Bidirectional(layers.GRU(2, name="gru", return_sequences=True), name="both"), (5, 3))
    found = described(layer, "both")
    assert list(found.children) == ["forward_layer", "backward_layer"]
    assert "layer" not in found.config and found.variables == ()
    assert found.children["forward_layer"].path == "both/forward_gru"
    cells = layers.RNN(layers.StackedRNNCells([layers.GRUCell(2), layers.LSTMCell(2)]))
    inner = described(built(cells, (5, 3))).children["cell"]
    assert [(name, child.kind) for name, child in inner.children.items()] == [
        ("cell_0", "GRUCell"),
        ("cell_1", "LSTMCell"),
    ]


def test_a_model_in_a_wrapper_is_a_graph():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="inside")], name="model")
    child = described(built(layers.TimeDistributed(model), (5, 3)), "steps").children["layer"]
    assert (child.path, child.kind) == ("steps/model", "Model")
    assert [node.id for node in child.graph.nodes] == ["inside"]


def test_variables_without_a_name_and_those_of_one_path_are_told_apart():
    class Two(layers.Layer):
        def build(self, shape):
            self.a, self.b = self.add_weight(shape=(1,)), self.add_weight(shape=(2,))
            self.c, self.d = self.add_weight(shape=(1,), name="same"), self.add_weight(shape=(2,), name="same")

        def call(self, x):
            return x

    layer = described(built(Two(name="two"), (3,)))
    assert [v.path for v in layer.variables] == ["two/variable", "two/variable_1", "two/same", "two/same~1"]


def test_a_variable_of_an_opened_layer():
    dense = built(layers.Dense(2, name="dense"), (3,))
    layer = described(StandIn("bias", dense, variable=dense.bias), "bias", "dense/")
    assert layer.kind == "Variable" and layer.config == {"trainable": True} and layer.variables[0].path == "dense/bias"
    assert described(StandIn("", dense, value=np.ones(2))).kind == "Constant"


def test_one_layer_in_two_scopes_is_refused():
    describer = Describer(lambda *_: None)
    dense = built(layers.Dense(2, name="dense"), (3,))
    describer.layer(dense, "dense", "")
    describer.layer(dense, "dense", "")
    with pytest.raises(UnsupportedError, match="'dense' is shared between 'the model' and 'inner/'"):
        describer.layer(dense, "dense", "inner/")


def test_names_inside():
    dense = layers.Dense(2)
    assert name_inside(dense, {id(dense): "project"}) == "project"
    assert name_inside(dense, {}) == name_inside(layers.Dense(2), {}) == "dense"  # without the number
    assert name_inside(layers.Dense(2, name="mine"), {}) == "mine"
    assert name_inside(StandIn("gain", dense), {}) == "gain"
    assert name_inside(StandIn("", dense), {}) == "dense_input"


def test_labels():
    describer = Describer(lambda *_: None)
    dense, cast = layers.Dense(2, name="mine"), operation_behind(keras.ops.not_equal(keras.Input((4,)), 0))
    assert describer.label(dense, {id(dense)}) == "mine"
    assert describer.label(cast, set()) == "not_equal"
    describer.inside[id(dense)] = ("block", "project")
    assert describer.label(dense, set()) == "block_project"
