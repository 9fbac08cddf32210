"""Pooling rules against Keras on TensorFlow."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from k2t_core.errors import UnsupportedError
from k2t_core.planning.planner import plan
from k2t_core.recipe import Override
from tests.harness import check, check_layer, functional

SHAPES = {1: (9, 3), 2: (9, 8, 3), 3: (5, 6, 4, 3)}
POOLS = {(mode, rank): getattr(layers, f"{mode}Pooling{rank}D") for mode in ("Max", "Average") for rank in (1, 2, 3)}
GLOBAL = {
    (mode, rank): getattr(layers, f"Global{mode}Pooling{rank}D") for mode in ("Max", "Average") for rank in (1, 2, 3)
}
ADAPTIVE = {
    (mode, rank): getattr(layers, f"Adaptive{mode}Pooling{rank}D") for mode in ("Max", "Average") for rank in (1, 2, 3)
}


def first(shape):
    """A channels-last shape as channels-first."""
    return (shape[-1], *shape[:-1])


def images(*shape, low=False):
    """A batch; ``low``: all far below zero, so that padding with zeros would show."""
    return [np.random.default_rng(0).standard_normal((2, *shape)).astype("float32") - 10 * low]


@pytest.mark.parametrize("mode", ["Max", "Average"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pool_size": 3},
        {"pool_size": 3, "strides": 2},
        {"pool_size": 3, "strides": 1},
        {"pool_size": 2, "strides": 3},
        {"pool_size": 1, "strides": 2},
    ],
)
def test_pooling(mode, rank, padding, options):
    check_layer(
        POOLS[mode, rank](**{"pool_size": 2, "padding": padding, **options}),
        SHAPES[rank],
        arrays=images(*SHAPES[rank], low=True),
    )


@pytest.mark.parametrize("mode", ["Max", "Average"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_same_of_every_size(mode, kernel, stride, size):
    conversion, _ = check_layer(
        POOLS[mode, 1](kernel, strides=stride, padding="same"), (size, 2), arrays=images(size, 2, low=True)
    )
    assert "same_" not in conversion.code.text


@pytest.mark.parametrize("mode", ["Max", "Average"])
def test_axes_that_differ(mode):
    check_layer(POOLS[mode, 2]((2, 3), strides=(1, 2), padding="same"), (8, 8, 3), arrays=images(8, 8, 3, low=True))
    check_layer(POOLS[mode, 2]((4, 3), strides=(1, 1), padding="same"), (8, 7, 3), arrays=images(8, 7, 3, low=True))
    check_layer(
        POOLS[mode, 3]((2, 3, 1), strides=(1, 2, 2), padding="same"), (4, 5, 6, 2), arrays=images(4, 5, 6, 2, low=True)
    )


@pytest.mark.parametrize("mode", ["Max", "Average"])
@pytest.mark.parametrize("kernel, stride", [(2, 2), (3, 2), (3, 3), (4, 2), (2, 1), (3, 1), (2, 3)])
@pytest.mark.parametrize("size", [6, 7, 8])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_free_sizes(mode, kernel, stride, size, padding):
    conversion, _ = check(
        functional(POOLS[mode, 2](kernel, strides=stride, padding=padding), (None, None, 3)),
        images(size, size + 1, 3, low=True),
    )
    if (kernel, stride) == (2, 2):
        assert "same_" not in conversion.code.text


@pytest.mark.parametrize("mode", ["Max", "Average"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_channels_first(mode, rank, padding):
    conversion, _ = check_layer(
        POOLS[mode, rank](2, padding=padding, data_format="channels_first"), first(SHAPES[rank])
    )
    assert "permute" not in conversion.code.text and "transpose" not in conversion.code.text


@pytest.mark.parametrize("mode", ["Max", "Average"])
def test_sizes_of_one(mode):
    check_layer(POOLS[mode, 2](3, strides=2, padding="same"), (1, 5, 3))
    check_layer(POOLS[mode, 2](2, strides=1, padding="same"), (5, 1, 3))


@pytest.mark.parametrize("mode", ["Max", "Average"])
@pytest.mark.parametrize("shape", [(1, 5, 3, 2), (1, 1, 1, 2), (None, None, None, 2)])
def test_images_smaller_than_the_window(mode, shape):
    check(functional(POOLS[mode, 3](4, strides=3, padding="same"), shape), images(*(n or 2 for n in shape), low=True))
    check(functional(POOLS[mode, 3](2, padding="same"), shape), images(*(n or 1 for n in shape), low=True))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("mode", ["Max", "Average"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_dtype_policies(dtype, mode, rank):
    tolerance = 1e-5 if dtype == "float64" else 2e-2
    if rank < 3 or dtype == "bfloat16":  # Keras on TensorFlow has no others
        check_layer(POOLS[mode, rank](2, dtype=dtype), SHAPES[rank], tolerance=tolerance)
    check_layer(GLOBAL[mode, rank](dtype=dtype), SHAPES[rank], tolerance=tolerance)


def test_counting_the_border_is_an_alternative_that_differs():
    model = functional(layers.AveragePooling2D(3, strides=2, padding="same", name="pool"), (9, 9, 3))
    (alternative,) = plan(model).root.nodes[-1].mapping.alternatives
    with pytest.raises(AssertionError, match="relative difference"):
        check(model, recipe=[Override("pool", "alternative", alternative.name)])


def test_integers_are_refused():
    with pytest.raises(UnsupportedError, match="int32"):
        plan(functional(layers.MaxPooling2D(), (8, 8, 3), dtype="int32")).raise_for_problems()


# --- Global -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["Max", "Average"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_global_pooling(mode, rank, keepdims, data_format):
    shape = SHAPES[rank] if data_format == "channels_last" else first(SHAPES[rank])
    conversion, _ = check_layer(GLOBAL[mode, rank](keepdims=keepdims, data_format=data_format), shape)
    assert "permute" not in conversion.code.text and "transpose" not in conversion.code.text


@pytest.mark.parametrize("mode", ["Max", "Average"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("keepdims", [False, True])
def test_global_pooling_after_a_convolution(mode, rank, keepdims):
    x = keras.Input(SHAPES[rank])
    y = GLOBAL[mode, rank](keepdims=keepdims)(getattr(layers, f"Conv{rank}D")(4, 2)(x))
    conversion, _ = check(keras.Model(x, layers.Dense(2)(y)))
    assert keepdims or "permute" not in conversion.code.text


def test_global_pooling_of_a_sequence_moves_nothing():
    conversion, _ = check_layer(layers.GlobalAveragePooling1D(), (None, 4))
    assert "x.mean(dim=1)" in conversion.code.text


@pytest.mark.parametrize("mode", ["Max", "Average"])
def test_global_pooling_of_integers(mode):
    check_layer(GLOBAL[mode, 2](), (4, 5, 3), dtype="int32")


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("convolution", [False, True])
def test_global_average_of_masked_steps(keepdims, convolution):
    x = keras.Input((7, 4))
    y = layers.Masking()(x)
    if convolution:
        y = layers.Conv1D(4, 1)(y)  # drops the mask
        y = layers.Masking()(layers.Activation("relu")(y))
    model = keras.Model(x, layers.GlobalAveragePooling1D(keepdims=keepdims)(y))
    data = np.random.default_rng(0).standard_normal((3, 7, 4)).astype("float32")
    data[0, 3:] = data[1, :2] = 0
    check(model, [data])


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_global_average_with_a_mask_in_the_call(data_format):
    x, mask = keras.Input((7, 4)), keras.Input((7 if data_format == "channels_last" else 4,), dtype="bool")
    check(keras.Model([x, mask], layers.GlobalAveragePooling1D(data_format=data_format)(x, mask=mask)))


# --- Adaptive ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["Max", "Average"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_adaptive_pooling(mode, rank, data_format):
    shape = (8, 6, 4)[:rank]
    shape = (*shape, 3) if data_format == "channels_last" else (3, *shape)
    check_layer(ADAPTIVE[mode, rank](2, data_format=data_format), shape)
    if mode == "Average":
        check_layer(ADAPTIVE[mode, rank](1, data_format=data_format), shape)
    else:
        with pytest.raises(UnsupportedError, match="division by zero"):
            plan(functional(ADAPTIVE[mode, rank](1, data_format=data_format), shape)).raise_for_problems()


@pytest.mark.parametrize("mode", ["Max", "Average"])
@pytest.mark.parametrize("size", range(1, 13))
@pytest.mark.parametrize("output", [1, 2, 3, 5, 7])
def test_adaptive_windows_agree_or_are_refused(mode, size, output):
    model = functional(ADAPTIVE[mode, 1](output), (size, 2))
    planned = plan(model)
    if planned.problems:
        assert "not the adaptive ones" in planned.problems[0] or "division by zero" in planned.problems[0]
    else:
        check(model, images(size, 2))


@settings(max_examples=25)
@given(st.sampled_from(["Max", "Average"]), st.integers(1, 3), st.data())
def test_any_pooling(mode, rank, data):
    draw = data.draw
    sizes, kernel, strides = (tuple(draw(st.integers(1, top)) for _ in range(rank)) for top in (9, 5, 4))
    padding = draw(st.sampled_from(["valid", "same"]))
    if padding == "valid":
        sizes = tuple(max(n, k) for n, k in zip(sizes, kernel))
    data_format = draw(st.sampled_from(["channels_last", "channels_first"]))
    free = draw(st.booleans())
    shape = (*sizes, 2) if data_format == "channels_last" else (2, *sizes)
    declared = tuple(None if free and n != 2 else n for n in shape)
    layer = POOLS[mode, rank](
        kernel, strides=draw(st.sampled_from([None, strides])), padding=padding, data_format=data_format
    )
    check(functional(layer, declared), images(*shape, low=True))


@pytest.mark.parametrize("name", ["max_pool", "average_pool"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("shape", [(9, 3), (9, 8, 3), (5, 6, 7, 2)])
def test_pooling_operations(name, padding, shape):
    x = keras.Input(shape)
    check(keras.Model(x, getattr(keras.ops, name)(x, 3, strides=2, padding=padding)))
