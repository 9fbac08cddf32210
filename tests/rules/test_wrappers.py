"""TimeDistributed and SpectralNormalization against Keras."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

import k2t_core as k2t
from k2t_core.errors import UnsupportedError
from k2t_core.keras_side.randomise import randomise
from tests.harness import check, check_layer


def text(conversion) -> str:
    return conversion.code.text


def cnn(name="cnn"):
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(2),
        ],
        name=name,
    )


@pytest.mark.parametrize("steps", [1, 4, None])
@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda: layers.Dense(3), (4,)),
        (lambda: layers.Dense(3, activation="softmax"), (5, 4)),
        (lambda: layers.Dense(3, use_bias=False), (4,)),
        (lambda: layers.Activation("relu"), (4,)),
        (lambda: layers.Activation("softmax"), (3, 4)),
        (lambda: layers.Softmax(), (4,)),
        (lambda: layers.LeakyReLU(), (2, 4)),
        (lambda: layers.Conv1D(3, 2), (5, 2)),
        (lambda: layers.Conv2D(3, 2, padding="same", activation="relu"), (5, 4, 2)),
        (lambda: layers.Conv2D(3, 2, strides=2, padding="same"), (5, 4, 2)),
        (lambda: layers.Conv2D(3, 2, dilation_rate=2), (5, 4, 2)),
        (lambda: layers.MaxPooling2D(), (5, 4, 2)),
        (lambda: layers.AveragePooling1D(2), (6, 2)),
        (lambda: layers.GlobalAveragePooling2D(), (5, 4, 2)),
        (lambda: layers.Flatten(), (2, 3, 2)),
        (lambda: layers.Reshape((6, 2)), (3, 4)),
        (lambda: layers.BatchNormalization(), (5, 4, 2)),
        (lambda: layers.LayerNormalization(), (5, 2)),
        (lambda: layers.LSTM(3), (5, 2)),
        (lambda: layers.LSTM(3, return_sequences=True), (5, 2)),
        (lambda: layers.GRU(3, reset_after=False), (5, 2)),
        (lambda: layers.Bidirectional(layers.SimpleRNN(3)), (5, 2)),
        (lambda: layers.TimeDistributed(layers.Dense(3)), (5, 2)),
        (lambda: layers.TimeDistributed(layers.Conv1D(3, 2)), (5, 4, 2)),
        (cnn, (6, 6, 3)),
    ],
)
def test_time_distributed(make, shape, steps):
    check_layer(layers.TimeDistributed(make(), name="each"), (steps, *shape))


def test_a_dense_layer_needs_no_folding():
    conversion, _ = check_layer(layers.TimeDistributed(layers.Dense(3), name="each"), (5, 4))
    assert "x = self.each(x)" in text(conversion)


@pytest.mark.parametrize("steps", [4, None])
def test_an_embedding_of_each_step(steps):
    check_layer(layers.TimeDistributed(layers.Embedding(6, 3)), (steps, 5), dtype="int32")


def test_a_dropout_of_each_step():
    check_layer(layers.TimeDistributed(layers.Dropout(0.5)), (4, 3))


def test_a_mask_passes_by_a_layer_that_reads_none():
    x = keras.Input((None,), dtype="int32")
    y = layers.TimeDistributed(layers.Dense(3))(layers.Embedding(6, 4, mask_zero=True)(x))
    check(keras.Model(x, layers.LSTM(3)(y)), [np.array([[1, 0, 2, 0], [3, 4, 5, 1]], "int32")])


def test_a_mask_that_no_layer_reads_is_not_computed():
    x = keras.Input((4,), dtype="int32")
    conversion, _ = check(
        keras.Model(x, layers.TimeDistributed(layers.Dense(3))(layers.Embedding(6, 4, mask_zero=True)(x)))
    )
    assert "!= 0" not in text(conversion)


def test_batch_normalization_ignores_the_mask_in_inference():
    x = keras.Input((4,), dtype="int32")
    y = layers.TimeDistributed(layers.BatchNormalization())(layers.Embedding(6, 4, mask_zero=True)(x))
    check(keras.Model(x, layers.LSTM(3)(y)), [np.array([[1, 0, 2, 0], [3, 4, 5, 1]], "int32")])


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.LSTM(3),
        lambda: layers.GRU(3, return_sequences=True),
        lambda: layers.Bidirectional(layers.LSTM(2)),
        lambda: layers.GlobalAveragePooling1D(),
    ],
)
def test_a_mask_within_each_step(make):
    x, keep = keras.Input((4, 5, 2)), keras.Input((4, 5), dtype="bool")
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((3, 4, 5, 2)).astype("float32"), rng.random((3, 4, 5)) < 0.6]
    arrays[1][..., 2] = True
    check(keras.Model([x, keep], layers.TimeDistributed(make())(x, mask=keep)), arrays)


def test_a_mask_for_a_whole_model_is_refused():
    x = keras.Input((4,), dtype="int32")
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model = keras.Model(x, layers.TimeDistributed(inner)(layers.Embedding(6, 3, mask_zero=True)(x)))
    with pytest.raises(UnsupportedError, match="mask"):
        check(model)


def test_a_shared_wrapper_around_a_model():
    a, b = keras.Input((4, 6, 6, 3)), keras.Input((2, 6, 6, 3))
    each = layers.TimeDistributed(cnn(), name="each")
    conversion, _ = check(keras.Model([a, b], layers.Concatenate(axis=1)([each(a), each(b)])))
    assert text(conversion).count("self.each = ") == 1


def test_channels_first_runs_through_wrapped_layers():
    x = keras.Input((4, 8, 8, 3))
    y = layers.TimeDistributed(layers.Conv2D(4, 3))(x)
    y = layers.TimeDistributed(layers.MaxPooling2D())(layers.ReLU()(y))
    y = layers.TimeDistributed(layers.Flatten())(y)
    conversion, _ = check(keras.Model(x, layers.LSTM(3)(y)))
    assert text(conversion).count("permute") <= 2, text(conversion)


@pytest.mark.parametrize(
    "make, shape",
    [(cnn, (4, 6, 6, 3)), (lambda: layers.LSTM(3), (4, 5, 2)), (lambda: layers.Conv2D(3, 2), (4, 6, 6, 3))],
)
def test_wrapped_layers_verify_and_export(make, shape, tmp_path):
    x = keras.Input(shape)
    model = keras.Model(x, layers.Dense(2)(layers.TimeDistributed(make())(x)))
    randomise(model)
    k2t.convert(model, tmp_path)
    assert k2t.verify(tmp_path, model).passed
    _, module = check(model)
    layout = k2t.plan(model).root.input_layouts[0]
    inputs = (torch.randn(2, *layout.shape((2, *shape))[1:]),)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(module, inputs).module()(*inputs), module(*inputs))


def test_a_wrapped_layer_without_a_rule_is_opened():
    class Mine(layers.Layer):
        def call(self, x):
            return x * 2

        def compute_output_shape(self, shape):
            return shape

    check_layer(layers.TimeDistributed(Mine()), (4, 3))


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda: layers.Dense(3, activation="relu"), (4,)),
        (lambda: layers.Conv2D(3, 2, padding="same"), (5, 6, 2)),
        (lambda: layers.Conv1D(3, 2), (5, 2)),
        (lambda: layers.Conv2DTranspose(3, 2), (4, 5, 2)),
    ],
)
def test_spectral_normalization(make, shape):
    check_layer(layers.SpectralNormalization(make(), power_iterations=2, name="normalised"), shape)


def test_spectral_normalization_leaves_no_trace():
    conversion, module = check_layer(layers.SpectralNormalization(layers.Conv2D(3, 2), name="conv"), (5, 5, 2))
    assert set(module.state_dict()) == {"conv.weight", "conv.bias"}


def test_spectral_normalization_of_an_embedding_is_refused():
    """Keras casts its vectors to integers there."""
    with pytest.raises(UnsupportedError, match="float"):
        check_layer(layers.SpectralNormalization(layers.Embedding(5, 3)), (4,), dtype="int32")


@pytest.mark.parametrize("make", [cnn, lambda: layers.LSTM(3, return_state=False)], ids=["model", "LSTM"])
def test_a_wrapper_in_a_wrapper(make):
    shape = (6, 6, 3) if make is cnn else (5, 2)
    check_layer(layers.TimeDistributed(layers.TimeDistributed(make())), (2, 3, *shape))


def test_a_shared_wrapper_has_one_module():
    wrapper, a, b = layers.TimeDistributed(cnn()), keras.Input((3, 6, 6, 3)), keras.Input((4, 6, 6, 3))
    conversion, _ = check(keras.Model([a, b], [wrapper(a), wrapper(b)]))
    assert text(conversion).count("self.time_distributed") == 3 and text(conversion).count("class Cnn(") == 1
