"""Repeated structure becomes block classes that compute the same and are verified layer by layer."""

import keras
from keras import layers

import k2t_core as k2t
from k2t_core.randomise import randomise
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
    text = conversion.plan.code.text
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
    assert "class " in conversion.plan.code.text and hasattr(module, "stage1_block1_1_conv")


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
    text = conversion.plan.code.text
    assert text.count("class ") == 2 and "[:, :, None, None]" in text
    assert module.stage2_block[1].reduce.weight.shape == (4, 16, 1, 1)  # though Keras alone names the Add between them
