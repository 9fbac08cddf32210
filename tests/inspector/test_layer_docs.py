"""The Keras call reads back as the layer it stands for; documentation comes from the installed packages."""

from __future__ import annotations

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.emit.code import lines_by_layer
from k2t_core.emit.source import write_source
from k2t_core.inspector.layer_docs import constructor, documentation_of_keras, documentation_of_torch, keras_call
from k2t_core.project.bundled import examples
from k2t_core.rules.registry import INERT_OPTIONS


def nodes(plan):
    return [planned.node for _, _, _, planned in plan.root.walk()]


def config(layer):
    """What of a config says what the layer computes, wrapped layers included."""
    found = {name: value for name, value in layer.get_config().items() if name == "name" or name not in INERT_OPTIONS}
    found.update(
        {name: value[0] for name, value in found.items() if isinstance(value, list) and len(value) == 1}
    )  # an axis, after the layer is built
    for name in ("layer", "backward_layer", "cell"):
        if name in found:
            found[name] = config(
                getattr(
                    layer,
                    {"layer": "forward_layer" if isinstance(layer, layers.Bidirectional) else "layer"}.get(name, name),
                )
            )
    return found


@pytest.mark.parametrize("name", sorted(examples().EXAMPLES))
def test_the_call_in_keras_makes_the_same_layer(example, name):
    plan = k2t.plan(example(name))
    live = {layer.name: layer for layer in plan.source.model._flatten_layers()}
    for node in nodes(plan):
        if node.layer.graph is None and not node.layer.kind.startswith("ops."):
            made = eval(constructor(node.layer), {"layers": layers})
            assert config(made) == config(live[node.layer.name]), constructor(node.layer)


def test_calls_are_written_as_a_person_would():
    keras.utils.clear_session()  # Keras counts the names that it gives, over all tests
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(image)
    x = layers.TimeDistributed(layers.Dense(2, name="inner"), name="each row")(x)
    y = keras.ops.add(x, 1)
    plan = k2t.plan(keras.Model(image, layers.Concatenate(name="both")([x, y])))
    assert [keras_call(node) for node in nodes(plan)] == [
        "conv = layers.Conv2D(4, kernel_size=(3, 3), padding='same', activation='relu', name='conv')(image)",
        "each_row = layers.TimeDistributed(layers.Dense(2, name='inner'), name='each row')(conv)",
        "add = ops.add(each_row, 1)",
        "both = layers.Concatenate(name='both')([each_row, add])",
    ]


def test_documentation_of_both_sides(example):
    plan = k2t.plan(example("text_classifier"))
    code = write_source(plan)
    by_layer = lines_by_layer(code)
    for node in nodes(plan):
        said = documentation_of_keras(node.layer)
        assert said.name.startswith(("keras.layers.", "keras.ops.")) and len(said.text) > 40
        for entry in documentation_of_torch(code.text, by_layer.get(node.layer.path, [])):
            assert entry.text
    names = [entry.name for entry in documentation_of_torch(code.text, by_layer["bidirectional"])]
    assert names[0] == "torch.nn.LSTM" and "masked_bidirectional_rnn" in names  # a helper of the file itself
