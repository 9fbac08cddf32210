"""What opening a layer comes to: a function of what arrives and of what the layer holds."""

import keras
import numpy as np
from keras import layers

from k2t_core.keras_side.calls import bind, symbolic_call
from k2t_core.keras_side.internals import set_mask
from k2t_core.keras_side.opened import is_variable
from k2t_core.keras_side.opening import open_layer


class Gain(layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones", name="gain")
        self.inner = layers.Dense(2, name="inner")

    def call(self, x, mask=None):
        return self.inner(x * self.gain), keras.ops.cast(mask, "float32")


def test_its_function_gives_what_the_layer_gives():
    layer = Gain(name="outer")
    x, mask = keras.Input((4, 3)), keras.Input((4,), dtype="bool")
    set_mask(x, mask)
    layer(x)
    one, outputs = open_layer(
        layer, (x,), {}, lambda op, a, k: symbolic_call(op, a, k) if op is not layer else None, bind
    )
    assert {type(node.operation).__name__ for node in one.nodes()} == {"Multiply", "Dense", "Cast"}
    assert [s.name for _, s in one.sources] == ["gain"] and one.sources[0][1].variable is layer.gain
    assert one.names[id(layer.inner)] == "inner" and len(outputs) == 2
    value = keras.ops.ones((2, 4, 3))
    arguments = {"x": value, "mask": keras.ops.ones((2, 4), "bool")}
    set_mask(value, arguments["mask"])
    layer.gain.assign([1, 2, 3])
    result = one.function(one.values(keras.tree.flatten(arguments)))
    want = np.array([1.0, 2, 3]) @ np.asarray(layer.inner.kernel)
    assert np.allclose(result[0], np.broadcast_to(want, (2, 4, 2)), atol=1e-6) and np.all(np.asarray(result[1]) == 1)


def test_variables():
    assert is_variable(keras.Variable(1.0)) and not is_variable(np.ones(2)) and not is_variable(keras.Input((2,)))
