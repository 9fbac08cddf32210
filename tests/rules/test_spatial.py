"""Padding, cropping, upsampling, resizing and augmentation against Keras on TensorFlow."""

import inspect

import keras
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import layers
from keras.src.layers.preprocessing.image_preprocessing.base_image_preprocessing_layer import (
    BaseImagePreprocessingLayer,
)

from k2t_core.errors import UnsupportedError
from k2t_core.planning.planner import plan
from k2t_core.rules.registry import INERT
from k2t_core.rules.spatial import CASTING, KEEPING
from tests.harness import check, check_layer, functional

FORMATS = ["channels_last", "channels_first"]


def shaped(shape, data_format):
    """A channels-last shape in the given order."""
    return shape if data_format == "channels_last" else (shape[-1], *shape[:-1])


def refused(layer, shape, match, dtype="float32"):
    with pytest.raises(UnsupportedError, match=match):
        plan(functional(layer, shape, dtype=dtype)).raise_for_problems()


def between_convolutions(layer, shape=(6, 7, 3)):
    x = keras.Input(shape)
    convolution = getattr(layers, f"Conv{len(shape) - 1}D")
    conversion, _ = check(keras.Model(x, convolution(2, 2)(layer(convolution(4, 2)(x)))))
    assert "permute" not in conversion.code.text and "transpose(" not in conversion.code.text
    return conversion.code.text


# --- padding and cropping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 2, (1, 2), (0, 3)])
@pytest.mark.parametrize("data_format", FORMATS)
def test_zero_padding_1d(padding, data_format):
    check_layer(layers.ZeroPadding1D(padding, data_format=data_format), (5, 3))
    check_layer(
        layers.ZeroPadding1D(padding, data_format=data_format),
        (None, 3) if data_format == "channels_last" else (3, None),
    )


@pytest.mark.parametrize("padding", [0, 2, (1, 2), ((1, 2), (0, 3)), ((0, 0), (2, 1))])
@pytest.mark.parametrize("data_format", FORMATS)
def test_zero_padding_2d(padding, data_format):
    check_layer(layers.ZeroPadding2D(padding, data_format=data_format), (5, 4, 3))


@pytest.mark.parametrize("padding", [1, (1, 0, 2), ((1, 2), (0, 3), (0, 1))])
@pytest.mark.parametrize("data_format", FORMATS)
def test_zero_padding_3d(padding, data_format):
    check_layer(layers.ZeroPadding3D(padding, data_format=data_format), (3, 4, 5, 2))


@pytest.mark.parametrize("cropping", [0, 1, (1, 2), (2, 0)])
def test_cropping_1d(cropping):
    check_layer(layers.Cropping1D(cropping), (6, 3))
    check_layer(layers.Cropping1D(cropping), (None, 3))


@pytest.mark.parametrize("cropping", [0, 1, (1, 2), ((1, 2), (0, 1)), ((0, 1), (2, 0)), ((2, 0), (1, 0))])
@pytest.mark.parametrize("data_format", FORMATS)
def test_cropping_2d(cropping, data_format):
    check_layer(layers.Cropping2D(cropping, data_format=data_format), shaped((6, 7, 3), data_format))


@pytest.mark.parametrize("cropping", [1, (1, 0, 1), ((1, 2), (0, 1), (1, 0))])
@pytest.mark.parametrize("data_format", FORMATS)
def test_cropping_3d(cropping, data_format):
    check_layer(layers.Cropping3D(cropping, data_format=data_format), shaped((6, 5, 4, 3), data_format))


def test_padding_and_cropping_between_convolutions_move_nothing():
    assert "F.pad(x, (0, 1, 0, 1))" in between_convolutions(layers.ZeroPadding2D(((0, 1), (0, 1))))
    assert "x[:, :, 1:-1, 2:]" in between_convolutions(layers.Cropping2D(((1, 1), (2, 0))))
    between_convolutions(layers.ZeroPadding1D(2), (6, 3))
    between_convolutions(layers.Cropping3D(1), (6, 6, 6, 3))


def test_padding_of_integers():
    check_layer(layers.ZeroPadding2D(1), (4, 5, 3), dtype="int32")
    check_layer(layers.Cropping2D(1), (4, 5, 3), dtype="int32")


# --- upsampling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 41, 49])
def test_upsampling_1d(size):
    check_layer(layers.UpSampling1D(size), (7, 3))
    check_layer(layers.UpSampling1D(size), (None, 3))
    between_convolutions(layers.UpSampling1D(size), (6, 3))


@pytest.mark.parametrize("size", [1, 2, 3, (2, 3), (1, 4), 7, 41, 47, 49])
@pytest.mark.parametrize("data_format", FORMATS)
def test_upsampling_2d_nearest(size, data_format):
    check_layer(layers.UpSampling2D(size, data_format=data_format), shaped((4, 5, 3), data_format))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos3", "lanczos5"])
@pytest.mark.parametrize("size", [1, 2, 3, (2, 3), 4, 5])
@pytest.mark.parametrize("data_format", FORMATS)
def test_upsampling_2d(interpolation, size, data_format):
    check_layer(
        layers.UpSampling2D(size, interpolation=interpolation, data_format=data_format), shaped((5, 4, 3), data_format)
    )


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3"])
@pytest.mark.parametrize("size", [2, (3, 2)])
def test_upsampling_of_free_sizes(interpolation, size):
    check_layer(layers.UpSampling2D(size, interpolation=interpolation), (None, None, 3))


@pytest.mark.parametrize("size", [2, (1, 2, 3), 49])
@pytest.mark.parametrize("data_format", FORMATS)
def test_upsampling_3d(size, data_format):
    check_layer(layers.UpSampling3D(size, data_format=data_format), shaped((2, 3, 2, 2), data_format))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3"])
@pytest.mark.parametrize("size", [2, 3])
def test_upsampling_in_other_dtypes(dtype, interpolation, size):
    x = keras.Input((4, 5, 3))
    y = layers.UpSampling2D(size, interpolation=interpolation, dtype=dtype)(x)
    if interpolation != "nearest":
        with pytest.raises(UnsupportedError, match="gives float32"):
            plan(keras.Model(x, y)).raise_for_problems()
    check(keras.Model(x, layers.Conv2D(2, 1, dtype=dtype)(y)), tolerance=1e-5 if dtype == "float64" else 2e-2)


def test_upsampling_of_integers():
    check_layer(layers.UpSampling2D(2), (4, 5, 3), dtype="int32")
    refused(layers.UpSampling2D(2, interpolation="bilinear"), (4, 5, 3), "int32", "int32")


def test_upsampling_reads_as_torch():
    assert "nn.Upsample(scale_factor=2)" in between_convolutions(layers.UpSampling2D(2))
    assert 'nn.Upsample(scale_factor=2, mode="bilinear")' in between_convolutions(
        layers.UpSampling2D(2, interpolation="bilinear")
    )


# --- resizing ---------------------------------------------------------------------------------------------------

MODES = ["nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5"]
SIZES = [
    ((7, 9), (14, 27)),
    ((8, 6), (3, 4)),
    ((5, 7), (9, 4)),
    ((6, 6), (6, 5)),
    ((1, 1), (4, 3)),
    ((9, 2), (1, 1)),
    ((6, 7), (6, 7)),
    ((11, 13), (17, 19)),
    ((40, 3), (7, 11)),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("before, after", SIZES)
def test_resizing(mode, antialias, before, after):
    check_layer(layers.Resizing(*after, interpolation=mode, antialias=antialias), (*before, 3))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos3"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("before", [(2, 1), (3, 4), (None, 1)])
@pytest.mark.parametrize("height", [1, 4, 6])
def test_resizing_to_a_width_of_one(mode, antialias, before, height):
    check_layer(layers.Resizing(height, 1, interpolation=mode, antialias=antialias), (*before, 3))
    check_layer(layers.UpSampling2D((height, 1), interpolation=mode), (*before, 3))


@pytest.mark.parametrize("mode", ["nearest", "bicubic"])
@pytest.mark.parametrize("before", [28, 31, 49, 100, 224])
@pytest.mark.parametrize("after", [7, 32, 49, 96, 150, 299])
def test_resizing_of_large_images(mode, before, after):
    check_layer(layers.Resizing(after, 2, interpolation=mode), (before, 2, 2))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("antialias", [False, True])
def test_resizing_of_free_sizes(mode, antialias):
    x = np.random.default_rng(0).standard_normal((2, 9, 5, 3)).astype("float32")
    check(functional(layers.Resizing(6, 8, interpolation=mode, antialias=antialias), (None, None, 3)), [x])


@pytest.mark.parametrize("mode", MODES)
def test_resizing_channels_first(mode):
    check_layer(layers.Resizing(6, 8, interpolation=mode, data_format="channels_first"), (3, 9, 5))


@pytest.mark.parametrize("aspect", ["crop_to_aspect_ratio", "pad_to_aspect_ratio"])
@pytest.mark.parametrize("before, after", [*SIZES, ((7, 20), (5, 5)), ((20, 7), (5, 5)), ((9, 9), (4, 8))])
@pytest.mark.parametrize("fill_value", [0.0, 3.5])
def test_resizing_keeps_the_aspect_ratio(aspect, before, after, fill_value):
    check_layer(layers.Resizing(*after, fill_value=fill_value, **{aspect: True}), (*before, 3))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("antialias", [False, True])
def test_resizing_in_other_dtypes(dtype, mode, antialias):
    check_layer(
        layers.Resizing(6, 8, interpolation=mode, antialias=antialias, dtype=dtype),
        (9, 5, 3),
        tolerance=1e-5 if dtype == "float64" else 2e-2,
    )


def test_resizing_refuses_by_name():
    refused(layers.Resizing(4, 4), (8, 8, 3), "rounded integers", "uint8")
    refused(layers.Resizing(4, 4, crop_to_aspect_ratio=True), (None, None, 3), "free size")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("data_format", FORMATS)
def test_ops_resize(mode, data_format):
    x = keras.Input(shaped((6, 7, 3), data_format))
    check(keras.Model(x, keras.ops.image.resize(x, (9, 4), interpolation=mode, data_format=data_format)))


@pytest.mark.parametrize("name", ["depth_to_space", "space_to_depth"])
@pytest.mark.parametrize("data_format", FORMATS)
def test_depth_and_space(name, data_format):
    x = keras.Input(shaped((4, 6, 8), data_format))
    check(keras.Model(x, getattr(keras.ops, name)(x, 2, data_format=data_format)))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    "options",
    [
        {"size": 2},
        {"size": (3, 2)},
        {"size": 3, "strides": 2},
        {"size": 3, "strides": 1, "dilation_rate": 2},
        {"size": (2, 3), "strides": 3},
    ],
)
@pytest.mark.parametrize("data_format", FORMATS)
def test_extract_patches(options, padding, data_format):
    x = keras.Input(shaped((9, 8, 3), data_format))
    check(keras.Model(x, keras.ops.image.extract_patches(x, padding=padding, data_format=data_format, **options)))


@pytest.mark.parametrize("target", [(4, 4), (5, 3), (8, 7), (1, 1), (12, 5), (9, 14), (16, 16)])
@pytest.mark.parametrize("data_format", FORMATS)
def test_center_crop(target, data_format):
    check_layer(layers.CenterCrop(*target, data_format=data_format), shaped((8, 7, 3), data_format))


def test_center_crop_of_free_size_is_refused():
    refused(layers.CenterCrop(4, 4), (None, None, 3), "free size")


# --- augmentation -----------------------------------------------------------------------------------------------

ARGUMENTS = {
    "RandomRotation": {"factor": 0.1},
    "RandomZoom": {"height_factor": 0.1},
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
    "RandomContrast": {"factor": 0.1},
    "MaxNumBoundingBoxes": {"max_number": 3},
    "RandomBrightness": {"factor": 0.1},
    "RandomSharpness": {"factor": 0.1},
    "RandomPosterization": {"factor": 4},
    "RandomColorDegeneration": {"factor": 0.2},
    "RandomHue": {"factor": 0.1},
    "RandomSaturation": {"factor": 0.1},
}


@pytest.mark.parametrize("name", CASTING + KEEPING)
def test_augmentation_is_inert(name):
    layer = getattr(layers, name)(**ARGUMENTS.get(name, {}))
    conversion, _ = check_layer(layer, (6, 6, 3))
    assert conversion.plan.root.nodes[-1].mapping.status == INERT


def test_every_augmentation_layer_is_known():
    """A layer that a newer Keras adds must get a decision here."""
    base = BaseImagePreprocessingLayer
    every = {n for n, c in inspect.getmembers(layers, inspect.isclass) if issubclass(c, base)}
    acting = {"AutoContrast", "CenterCrop", "Resizing", "RandomCrop"}
    without_rule = {"ContrastLimitedAdaptiveHistogramEqualization", "Equalization"}
    assert every == acting | without_rule | set(CASTING) | set(KEEPING)


@pytest.mark.parametrize("name", ["RandomFlip", "RandomZoom", "CutMix", "Solarization"])
def test_augmentation_of_integers(name):
    check_layer(getattr(layers, name)(**ARGUMENTS.get(name, {})), (6, 6, 3), dtype="uint8")


def test_augmentation_that_declares_another_dtype_is_refused():
    refused(layers.RandomBrightness(0.1), (6, 6, 3), "uint8", "uint8")


def test_random_crop():
    check_layer(layers.RandomCrop(6, 5), (6, 5, 3))
    refused(layers.RandomCrop(4, 4), (6, 5, 3), "CenterCrop")


@pytest.mark.parametrize("value_range", [(0, 255), (0, 1), (-1, 1)])
@pytest.mark.parametrize("data_format", FORMATS)
def test_auto_contrast(value_range, data_format):
    x = (
        np.random.default_rng(0).random((2, 5, 4, 3)).astype("float32") * 0.5 * (value_range[1] - value_range[0])
        + value_range[0]
    )
    x[0, :, :, 1] = 0.25 * value_range[1]
    check_layer(layers.AutoContrast(value_range=value_range, data_format=data_format), (5, 4, 3), arrays=[x])


@pytest.mark.parametrize("options", [{}, {"tile_grid_size": (2, 3)}, {"clip_limit": 0.0, "value_range": (0, 1)}])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("size", [8, 7])
def test_clahe_is_opened(data_format, options, size):
    shape = (size, 8, 3) if data_format == "channels_last" else (3, size, 8)
    x = np.random.default_rng(0).random((2, *shape)).astype("float32") * options.get("value_range", (0, 255))[1]
    layer = layers.ContrastLimitedAdaptiveHistogramEqualization(data_format=data_format, **options)
    check_layer(layer, shape, arrays=[x])


# --- Properties -------------------------------------------------------------------------------------------------

PROPERTY = settings(max_examples=25)
SIZE = st.integers(1, 12)


@PROPERTY
@given(
    st.tuples(SIZE, SIZE),
    st.tuples(SIZE, SIZE),
    st.sampled_from(MODES),
    st.booleans(),
    st.sampled_from(FORMATS),
    st.sampled_from(["", "crop", "pad"]),
)
def test_any_resizing(before, after, mode, antialias, data_format, aspect):
    assume(aspect != "pad" or min(after) > 2 and max(before) <= 2 * min(before))  # else nothing but padding may be left
    options = {f"{aspect}_to_aspect_ratio": True} if aspect else {}
    check_layer(
        layers.Resizing(*after, interpolation=mode, antialias=antialias, data_format=data_format, **options),
        shaped((*before, 3), data_format),
    )


@PROPERTY
@given(
    st.tuples(SIZE, SIZE),
    st.tuples(st.integers(1, 60), st.integers(1, 3)),
    st.sampled_from(MODES),
    st.sampled_from(FORMATS),
)
def test_any_upsampling(size, factors, mode, data_format):
    check_layer(
        layers.UpSampling2D(factors, interpolation=mode, data_format=data_format), shaped((*size, 2), data_format)
    )


@PROPERTY
@given(st.integers(1, 3), st.data())
def test_any_padding_and_cropping(rank, data):
    pairs = st.tuples(st.integers(0, 3), st.integers(0, 3))
    borders = data.draw(pairs) if rank == 1 else tuple(data.draw(pairs) for _ in range(rank))
    data_format = data.draw(st.sampled_from(FORMATS))
    shape = shaped((7, 8, 9)[:rank] + (2,), data_format)
    check_layer(getattr(layers, f"ZeroPadding{rank}D")(borders, data_format=data_format), shape)
    options = {} if rank == 1 else {"data_format": data_format}
    check_layer(getattr(layers, f"Cropping{rank}D")(borders, **options), shape if rank > 1 else (7, 2))


# --- the helpers in torch's own tools ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        layers.Resizing(5, 9, interpolation="bicubic"),
        layers.Resizing(5, 9, interpolation="lanczos3"),
        layers.Resizing(5, 9, interpolation="nearest"),
        layers.UpSampling2D(3, interpolation="bicubic"),
        layers.AutoContrast(),
        layers.AveragePooling2D(3, strides=2, padding="same"),
        layers.Conv2D(2, 3, strides=2, padding="same"),
    ],
)
@pytest.mark.parametrize("shape", [(7, 8, 3), (None, None, 3)])
def test_generated_code_exports_and_traces(layer, shape):
    _, module = check(
        functional(type(layer).from_config(layer.get_config()), shape),
        [np.random.default_rng(0).standard_normal((2, 7, 8, 3)).astype("float32")],
    )
    permuted = type(layer).__name__ != "AutoContrast"
    x = torch.randn(2, 3, 7, 8) if permuted else torch.randn(2, 7, 8, 3)
    want = module(x)
    assert torch.equal(torch.jit.trace(module, x)(x), want)
    assert torch.allclose(torch.export.export(module, (x,)).module()(x), want, atol=1e-6)
