"""Preprocessing layers against Keras on TensorFlow."""

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.emit.source import write_source
from tests.harness import check, check_layer, functional


def before_convolution(layer, shape=(6, 5, 3)):
    """The layer between two convolutions, where its constants must follow the channels-first layout."""
    x = keras.Input(shape)
    conversion, _ = check(keras.Model(x, layers.Conv2D(2, 1)(layer(layers.Conv2D(shape[-1], 1)(x)))))
    assert "permute" not in conversion.code.text


def refused(layer, *shapes, match, dtype="float32", **call):
    with pytest.raises(k2t.UnsupportedError, match=match):
        k2t.plan(functional(layer, *shapes, dtype=dtype, **call)).raise_for_problems()


# --- Rescaling --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scale, offset",
    [
        (1 / 255, 0.0),
        (1 / 127.5, -1),
        (2.0, 0.5),
        (1, 3),
        (-0.5, 0.0),
        (0.3, [0.1, -0.2, 0.3]),
        ([0.5, 2, 3], 0.0),
        ([0.5, 2, 3], [1, 2, 3]),
        (np.array([0.5, 2, 3]), -1),
        (np.float32(0.7), np.float64(0.1)),
        ([[1], [2], [3], [4], [5]], 0.5),
    ],
)
def test_rescaling(scale, offset):
    check_layer(layers.Rescaling(scale, offset), (6, 5, 3))
    before_convolution(layers.Rescaling(scale, offset))
    check_layer(layers.Rescaling(scale, offset), (6, 5, 3), dtype="uint8")


def test_rescaling_is_written_as_people_write_it():
    for layer, text in (
        (layers.Rescaling(1 / 255), "x / 255\n"),
        (layers.Rescaling(1 / 127.5, -1), "x / 127.5 - 1\n"),
        (layers.Rescaling(0.017, 2.5), "x * 0.017 + 2.5\n"),
    ):
        assert f"x = {text}" in write_source(k2t.plan(functional(layer, (4,)))).text


def test_rescaling_of_a_flattened_image():
    x = keras.Input((6, 5, 2))
    y = layers.Flatten()(layers.Conv2D(2, 3)(x))
    y = layers.Rescaling(list(np.linspace(0.5, 2, 24)), list(np.linspace(-1, 1, 24)))(y)
    check(keras.Model(x, layers.Dense(3)(y)))


@pytest.mark.parametrize("policy, tolerance", [("mixed_float16", 1e-3), ("mixed_bfloat16", 1e-2), ("float64", 1e-7)])
@pytest.mark.parametrize("scale", [1 / 255, [0.3, 0.1, 2.0]])
def test_rescaling_dtype(policy, tolerance, scale):
    check_layer(layers.Rescaling(scale, 0.1, dtype=policy), (4, 3), tolerance=tolerance)


# --- Normalization ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-1, 1, 3, None, (1, 2, 3), [-1, 1], (2, -1), -2])
@pytest.mark.parametrize("invert", [False, True])
def test_adapted_normalization(axis, invert):
    data = np.random.default_rng(0).normal(3, 2, (20, 6, 5, 3)).astype("float32")

    def adapted():
        layer = layers.Normalization(axis=axis, invert=invert)
        layer.adapt(data)
        return layer

    check(functional(adapted(), (6, 5, 3)), randomised=False)
    check_layer(adapted(), (6, 5, 3))
    before_convolution(adapted())


@pytest.mark.parametrize(
    "axis, mean, variance",
    [
        (-1, 0.5, 4.0),
        (-1, [0.1, 0.2, 0.3], [1.0, 2.0, 3.0]),
        (1, list(range(6)), list(range(1, 7))),
        (None, 0.3, 2.0),
        ((1, 3), np.ones((6, 3)) * [1, 2, 3], np.arange(1.0, 19).reshape(6, 3)),
        ((1, 3), [1.0, 2, 3], [3.0, 2, 1]),
        ((1, 3), np.arange(6.0)[:, None], np.arange(1.0, 7)[:, None]),
    ],
)
@pytest.mark.parametrize("invert", [False, True])
def test_given_normalization(axis, mean, variance, invert):
    check_layer(layers.Normalization(axis=axis, mean=mean, variance=variance, invert=invert), (6, 5, 3))
    before_convolution(layers.Normalization(axis=axis, mean=mean, variance=variance, invert=invert))
    check_layer(layers.Normalization(axis=axis, mean=mean, variance=variance, invert=invert), (6, 5, 3), dtype="int32")


def test_normalization_of_a_constant_feature():
    """The divisor is at least 1e-7."""
    check_layer(layers.Normalization(mean=[1.0, 2.0], variance=[0.0, 1e-20]), (2,))


def test_normalization_of_a_flattened_image():
    x = keras.Input((6, 5, 2))
    check(keras.Model(x, layers.Dense(3)(layers.Normalization()(layers.Flatten()(layers.Conv2D(2, 3)(x))))))


@pytest.mark.parametrize("policy, tolerance", [("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2), ("float64", 1e-7)])
def test_normalization_dtype(policy, tolerance):
    check_layer(layers.Normalization(dtype=policy), (4, 3), tolerance=tolerance)
    check_layer(
        layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.5, 2.5, 3.5], dtype=policy), (4, 3), tolerance=tolerance
    )


@pytest.mark.parametrize("shape", [(4,), (5, 4), (None, 4), (2, 3, 4, 5)])
def test_normalization_rank(shape):
    check_layer(layers.Normalization(), shape)


# --- Discretization, CategoryEncoding ---------------------------------------------------------------------------

BOUNDARIES = [-1.0, 0.1, 0.5, 2.0]


def on_boundaries(shape):
    """Values on, just below and just above each boundary, and far away."""
    edges = [
        v for b in np.float32(BOUNDARIES) for v in (b, np.nextafter(b, np.float32(9)), np.nextafter(b, np.float32(-9)))
    ] + [-1e9, 1e9, 0.0]
    return np.resize(np.array(edges, "float32"), (3, *shape))


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("shape", [(5,), (1,)])
def test_discretization(mode, shape):
    check_layer(layers.Discretization(BOUNDARIES, output_mode=mode), shape, arrays=[on_boundaries(shape)])
    check_layer(layers.Discretization([1, 3], output_mode=mode), shape, dtype="int32")


@pytest.mark.parametrize(
    "mode, shape", [("int", (4, 5, 3)), ("one_hot", (4, 3)), ("one_hot", (4, 1)), ("int", ()), ("one_hot", ())]
)
def test_discretization_of_other_ranks(mode, shape):
    check_layer(layers.Discretization(BOUNDARIES, output_mode=mode), shape, arrays=[on_boundaries(shape)])


def test_discretization_between_layers_and_adapted():
    layer = layers.Discretization(num_bins=4)
    layer.adapt(np.random.default_rng(0).normal(size=(100, 1)).astype("float32"))
    check_layer(layer, (7,))
    x = keras.Input((6, 5, 3))
    conversion, _ = check(keras.Model(x, layers.Discretization(BOUNDARIES)(layers.Conv2D(4, 3)(x))))
    assert "x.permute" not in conversion.code.text


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8"])
def test_discretization_input_dtype(dtype):
    check_layer(layers.Discretization([0.5, 1.0, 2.5]), (6,), dtype=dtype)


def test_discretization_refusals():
    refused(layers.Discretization(BOUNDARIES, output_mode="count", sparse=True), (4,), match="sparse")
    refused(layers.Discretization(BOUNDARIES, output_mode="count"), (4, 3), match="reshape its input")


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("shape", [(4,), (1,), (None,)])
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_category_encoding(mode, shape, dtype):
    x = np.random.default_rng(0).integers(0, 6, (3, shape[0] or 7)).astype(dtype)
    check_layer(layers.CategoryEncoding(6, output_mode=mode), shape, dtype=dtype, arrays=[x])


@pytest.mark.parametrize("shape", [(), (4, 3), (4, 1), (2, 3, 4)])
def test_one_hot_of_other_ranks(shape):
    check_layer(layers.CategoryEncoding(6, output_mode="one_hot"), shape, dtype="int32")


def test_category_encoding_out_of_range():
    x = np.array([[0, 5, 6, 100], [1, 1, 7, 2]], "int32")
    for mode in ("one_hot", "multi_hot", "count"):
        check_layer(layers.CategoryEncoding(6, output_mode=mode), (4,), dtype="int32", arrays=[x])


@pytest.mark.parametrize("policy", ["float64", "float16", "int32", "int64"])
@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
def test_category_encoding_dtype(policy, mode):
    if policy == "float16" and mode != "one_hot":
        pytest.skip("TensorFlow's bincount has no float16")
    check_layer(layers.CategoryEncoding(6, output_mode=mode, dtype=policy), (4,), dtype="int32")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_count_weights(dtype):
    x, w = keras.Input((4,), dtype="int32"), keras.Input((4,), dtype=dtype)
    check(keras.Model([x, w], layers.CategoryEncoding(6, output_mode="count")(x, count_weights=w)))


def test_category_encoding_refusals():
    refused(layers.CategoryEncoding(6, output_mode="count"), (4, 3), match="reshape its input", dtype="int32")
    refused(layers.CategoryEncoding(6, dtype="mixed_float16"), (4,), match="mixed", dtype="int32")


TOKENS = np.array([[12, 3, 7, -5], [0, 99, 8, 3], [-1, -2, -3, 1000]], "int64")


@pytest.mark.parametrize("unknown", [1, 2, 3])
@pytest.mark.parametrize("mask", [None, 0, 99])
@pytest.mark.parametrize("vocabulary", [[12, 3, 7], [5], [-5, 12, 1000, 3]])
def test_integer_lookup(unknown, mask, vocabulary):
    check_layer(
        layers.IntegerLookup(vocabulary=vocabulary, num_oov_indices=unknown, mask_token=mask),
        (4,),
        dtype="int64",
        arrays=[TOKENS],
    )
    check_layer(
        layers.IntegerLookup(vocabulary=vocabulary, num_oov_indices=unknown, mask_token=mask, invert=True),
        (4,),
        dtype="int64",
        arrays=[TOKENS],
    )


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_adapted_integer_lookup(dtype):
    layer = layers.IntegerLookup()
    layer.adapt(np.array([3, 3, 12, 7, 7, 7]))
    check_layer(layer, (4,), dtype=dtype, arrays=[TOKENS.astype(dtype)])


def test_integer_lookup_without_unknown_tokens():
    check_layer(
        layers.IntegerLookup(vocabulary=[12, 3, 7], num_oov_indices=0),
        (3,),
        dtype="int64",
        arrays=[np.array([[3, 7, 12], [12, 12, 3]])],
    )


def test_integer_lookup_refusals():
    refused(
        layers.IntegerLookup(vocabulary=[3, 4], output_mode="multi_hot"), (4,), match="CategoryEncoding", dtype="int64"
    )
    refused(
        layers.IntegerLookup(vocabulary=[3, 4], num_oov_indices=2, oov_method="farmhash"),
        (4,),
        match="farmhash",
        dtype="int64",
    )


def test_an_adapted_lookup_survives_saving(tmp_path):
    layer = layers.IntegerLookup()
    layer.adapt(np.array([3, 3, 12, 7, 7, 7]))
    functional(layer, (4,), dtype="int64").save(tmp_path / "lookup.keras")
    assert k2t.convert(tmp_path / "lookup.keras", tmp_path / "out").plan.root.nodes[0].node.layer.config[
        "vocabulary"
    ] == [7, 3, 12]


# --- the work of a data pipeline ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer, dtype",
    [
        (layers.StringLookup(vocabulary=["a", "b"]), "string"),
        (layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=3), "string"),
        (layers.Hashing(5), "string"),
    ],
)
def test_refused_by_name(layer, dtype):
    refused(layer, (1,), match=f"{type(layer).__name__}.*data pipeline", dtype=dtype)


def test_hashed_crossing_is_refused_by_name():
    inputs = [keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")]
    model = keras.Model(inputs, layers.HashedCrossing(5)(inputs))
    with pytest.raises(k2t.UnsupportedError, match="HashedCrossing.*data pipeline"):
        k2t.plan(model).raise_for_problems()


# --- sound -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["log", "magnitude", "psd", "real", "imag", "angle", "stft"])
@pytest.mark.parametrize("expand_dims", [False, True])
@pytest.mark.parametrize(
    "shape, data_format",
    [((40, 1), "channels_last"), ((37, 2), "channels_last"), ((1, 40), "channels_first"), ((2, 37), "channels_first")],
)
def test_stft_spectrogram(mode, expand_dims, shape, data_format):
    layer = layers.STFTSpectrogram(
        mode=mode, window=None, frame_length=8, frame_step=3, expand_dims=expand_dims, data_format=data_format
    )
    check(functional(layer, shape), tolerance=1e-4, randomised=mode != "angle")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "same"},
        {"padding": "same", "frame_step": 7},
        {"fft_length": 16},
        {"window": "hamming", "periodic": True, "scaling": "spectrum"},
        {"scaling": None, "window": None},
    ],
)
def test_stft_spectrogram_options(options):
    """Keras needs scipy for windows by name; the window is in the kernel, so any does."""
    if isinstance(options.setdefault("window", None), str):
        pytest.importorskip("scipy")
    check(functional(layers.STFTSpectrogram(frame_length=8, **options), (41, 2)), randomised=False)
    check(
        functional(layers.STFTSpectrogram(frame_length=8, **options), (None, 1)),
        [np.random.default_rng(0).normal(size=(2, 33, 1)).astype("float32")],
    )


def test_stft_spectrogram_before_a_convolution():
    x = keras.Input((40, 1))
    y = layers.Conv2D(2, 3)(layers.STFTSpectrogram(frame_length=8, window=None, expand_dims=True)(x))
    conversion, _ = check(keras.Model(x, y), randomised=False)
    assert "permute" not in conversion.code.text


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"power_to_db": False},
        {"mag_exp": 1.0, "top_db": 20.0},
        {"window": "hamming", "sequence_length": 48},
        {"sequence_length": 33, "window": "hann"},
        {"window": None},
        {"window": list(np.linspace(0.1, 1, 64))},
        {"min_freq": 100.0, "max_freq": 3000.0, "sampling_rate": 8000, "ref_power": 2.0, "min_power": 1e-3},
    ],
)
@pytest.mark.parametrize("shape", [(200,), (None,)])
def test_mel_spectrogram(options, shape):
    layer = layers.MelSpectrogram(fft_length=64, sequence_stride=20, num_mel_bins=8, **options)
    check(functional(layer, shape), [np.random.default_rng(0).normal(size=(3, 200)).astype("float32")], tolerance=2e-5)


@pytest.mark.parametrize("policy, tolerance", [("mixed_float16", 1e-3), ("mixed_bfloat16", 1e-2)])
def test_mel_spectrogram_dtype(policy, tolerance):
    check_layer(
        layers.MelSpectrogram(fft_length=64, sequence_stride=20, num_mel_bins=8, dtype=policy),
        (200,),
        tolerance=tolerance,
    )
