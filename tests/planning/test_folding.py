"""Repeated structure becomes block classes that compute the same and are verified layer by layer."""

from __future__ import annotations

import keras
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise
from tests.harness import check


def residual_network(stages=((8, 4), (12, 4)), size=8):
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    for s, (filters, count) in enumerate(stages):
        for b in range(count):
            name = f"stage{s + 1}_block{b + 1}"
            stride = 2 if b == 0 and s else 1
            y = layers.Conv2D(filters, 3, strides=stride, padding="same", name=f"{name}_1_conv")(x)
            y = layers.BatchNormalization(name=f"{name}_1_bn")(y)
            y = layers.Activation("relu", name=f"{name}_1_relu")(y)
            y = layers.Conv2D(filters, 3, padding="same", name=f"{name}_2_conv")(y)
            if b == 0 and s:
                x = layers.Conv2D(filters, 1, strides=stride, name=f"{name}_0_conv")(x)
            x = layers.Activation("relu", name=f"{name}_out")(layers.Add(name=f"{name}_add")([x, y]))
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)), name="resnet")


def test_blocks_are_folded_and_agree():
    conversion, module = check(residual_network())
    text = conversion.code.text
    assert text.count("class ") == 2 and "for _ in range(" in text
    assert module.stage1_block[2].conv1.weight.shape == (8, 8, 3, 3)
    assert ".permute" not in text and len(text.splitlines()) < 90


def test_every_layer_in_a_block_is_verified_alone(tmp_path):
    model = residual_network()
    randomise(model)
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model)
    assert report.passed, report.verdict
    names = {layer.layer for layer in report.layers}
    assert {layer.name for layer in model.layers if not isinstance(layer, layers.InputLayer)} <= names


def test_a_wrong_layer_inside_a_block_is_named(tmp_path):
    model = residual_network()
    randomise(model)
    k2t.convert(model, tmp_path, [k2t.Override("stage2_block3_1_bn", "arguments", {"eps": 0.1})])
    assert k2t.verify(tmp_path, model).first_divergence == "stage2_block3_1_bn"


def test_a_small_model_keeps_its_layers_names():
    conversion, module = check(residual_network(stages=((8, 2),)))
    assert "class " in conversion.code.text and hasattr(module, "stage1_block1_1_conv")


def squeeze_and_excite_network(widths=(8, 12, 16), count=2):
    x = inputs = keras.Input((8, 8, 3))
    for s, filters in enumerate(widths):
        x = layers.Conv2D(filters, 1, name=f"stage{s}_widen")(x)
        for b in range(count):
            name = f"stage{s}_block{b}"
            y = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"{name}_conv")(x)
            z = layers.Reshape((1, 1, filters))(layers.GlobalAveragePooling2D()(y))
            z = layers.Conv2D(4, 1, activation="relu", name=f"{name}_reduce")(z)
            z = layers.Conv2D(filters, 1, activation="sigmoid", name=f"{name}_expand")(z)
            x = layers.Add()([x, layers.Multiply()([y, z])])
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)), name="se")


def test_blocks_with_channel_attention_fold_across_widths_and_keep_short_names():
    conversion, module = check(squeeze_and_excite_network())
    text = conversion.code.text
    assert text.count("class ") == 2 and "[:, :, None, None]" in text
    assert module.stage2_block[1].reduce.weight.shape == (4, 16, 1, 1)  # though Keras alone names the Add between them


def branches(x, filters, names):
    def convolution(x, filters, size):
        name = f"{names}_{next(counter)}"
        x = layers.Conv2D(filters, size, padding="same", use_bias=False, name=f"{name}_conv")(x)
        return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))

    counter = iter(range(9))
    a, b = convolution(x, filters, 1), convolution(convolution(x, filters, 1), filters, 3)
    c = convolution(convolution(convolution(x, 4, 1), 4, (1, 3)), filters, (3, 1))
    d = convolution(layers.AveragePooling2D(3, 1, padding="same", name=f"{names}_pool")(x), filters, 1)
    return layers.Concatenate(name=f"{names}_merge")([a, b, c, d])


def test_blocks_are_built_of_blocks(tmp_path):
    x = inputs = keras.Input((8, 8, 3))
    for k, filters in enumerate((4, 5, 6)):
        x = branches(x, filters, f"mixed{k}")
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name="inception")
    conversion, module = check(model)
    text = conversion.code.text
    assert "class ConvBNReLU(nn.Module)" in text and "ConvBNReLU(4, 4, kernel_size=(1, 3), padding=(0, 1))" in text
    assert "kernel_size=1, stride=1" not in text and len(text.splitlines()) < 80
    report = k2t.verify(tmp_path, model) if k2t.convert(model, tmp_path) else None
    assert report.passed, report.verdict
    assert {layer.name for layer in model.layers[1:]} <= {layer.layer for layer in report.layers}


def test_decoder_blocks_take_the_memory_as_well():
    memory, x = keras.Input((5, 8), name="memory"), keras.Input((4, 8), name="target")
    outputs = layers.Dense(8)(memory)
    y = layers.Dense(8)(x)
    for _ in range(4):
        y = layers.LayerNormalization()(y + layers.MultiHeadAttention(2, 4)(y, y, use_causal_mask=True))
        y = layers.LayerNormalization()(y + layers.MultiHeadAttention(2, 4)(y, outputs))
        y = layers.LayerNormalization()(y + layers.Dense(8)(layers.Dense(16, "relu")(y)))
    conversion, _ = check(keras.Model([memory, x], layers.Dense(3)(y)))
    text = conversion.code.text
    assert "Used 4 times" in text and text.count("TransformerBlock()") == 4
    assert "memory = " not in text and "target = " not in text, "an input keeps its name to itself"


def test_two_encoder_blocks_fold():
    x = inputs = keras.Input((5, 8))
    for k in range(2):
        y = layers.MultiHeadAttention(2, 4, name=f"block{k}_attention")(x, x)
        x = layers.LayerNormalization(name=f"block{k}_norm1")(x + layers.Dropout(0.1, name=f"block{k}_dropout")(y))
        y = layers.Dense(8, name=f"block{k}_contract")(layers.Dense(16, "gelu", name=f"block{k}_expand")(x))
        x = layers.LayerNormalization(name=f"block{k}_norm2")(x + layers.Dropout(0.0)(y))
    conversion, module = check(keras.Model(inputs, layers.Dense(3)(x)))
    assert "nn.Sequential(TransformerBlock(), TransformerBlock())" in conversion.code.text
    assert "Dropout(0.0)" not in conversion.code.text and module.block[1].norm2.weight.shape == (8,)


def frozen_parameters(model):
    conversion, module = check(model)
    return conversion.code.text, {name for name, parameter in module.named_parameters() if not parameter.requires_grad}


def test_frozen_layers_are_frozen():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="frozen", trainable=False)(x)
    x = layers.BatchNormalization(trainable=False)(x)
    text, frozen = frozen_parameters(keras.Model(inputs, layers.Dense(2, name="head")(layers.Flatten()(x))))
    assert frozen == {"frozen.weight", "frozen.bias"} and text.count("requires_grad_(False)") == 1


def test_frozen_blocks_share_their_class_with_others():
    model = residual_network()
    for layer in model.layers:
        layer.trainable = isinstance(layer, layers.BatchNormalization) or not layer.name.startswith(
            ("stem", "stage1", "stage2_block1_0", "stage2_block1_1_conv")
        )
    text, frozen = frozen_parameters(model)
    assert "trainable=False in Keras" in text and text.count("class ") == 2
    assert (
        {name for name in frozen if name.startswith("stage1")}
        and "stem.weight" in frozen
        and "head.weight" not in frozen
    )
    assert sum(name.startswith("stage2") for name in frozen) == 4


def test_a_frozen_backbone_is_one_line():
    backbone = residual_network(stages=((8, 1),))
    backbone.trainable = False
    x = keras.Input((8, 8, 3))
    text, frozen = frozen_parameters(keras.Model(x, layers.Dense(2, name="head")(backbone(x))))
    assert text.count("requires_grad_(False)") == 1 and "self.requires_grad_(False)" in text
    assert "head.weight" not in frozen and any(name.endswith("stem.weight") for name in frozen)
