"""Convolution rules against Keras on TensorFlow."""

import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import layers, ops

from k2t_core.emit.source import write_source
from k2t_core.errors import UnsupportedError
from k2t_core.keras_side.compiling import outputs
from k2t_core.planning.planner import plan
from k2t_core.recipe import Override
from tests.harness import check, check_layer, functional

SHAPES = {1: (9, 3), 2: (9, 8, 3), 3: (5, 6, 7, 3)}
CONVS = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
TRANSPOSED = {1: layers.Conv1DTranspose, 2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
DEPTHWISE = {1: layers.DepthwiseConv1D, 2: layers.DepthwiseConv2D}
SEPARABLE = {1: layers.SeparableConv1D, 2: layers.SeparableConv2D}


def first(shape):
    """A channels-last shape as channels-first."""
    return (shape[-1], *shape[:-1])


def text_of(layer, shape):
    return write_source(plan(functional(layer, shape))).text


# --- Conv1D, Conv2D, Conv3D -------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [8, 9])
def test_conv2d_padding(padding, stride, size):
    check_layer(layers.Conv2D(4, 3, strides=stride, padding=padding, activation="relu"), (size, size + 1, 3))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": 2},
        {"dilation_rate": 2},
        {"use_bias": False},
        {"kernel_size": 2},
        {"kernel_size": 1, "strides": 2},
        {"activation": "softmax"},
    ],
)
def test_convolution(rank, padding, options):
    check_layer(CONVS[rank](**{"filters": 5, "kernel_size": 3, "padding": padding, **options}), SHAPES[rank])


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_causal(stride, kernel, data_format):
    shape = (9, 4) if data_format == "channels_last" else (4, 9)
    check_layer(
        layers.Conv1D(6, kernel, strides=stride, padding="causal", data_format=data_format, activation="softmax"), shape
    )
    check_layer(layers.Conv1D(6, kernel, dilation_rate=2, padding="causal", data_format=data_format), shape)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_groups(rank, padding):
    shape = (*SHAPES[rank][:-1], 6)
    check_layer(CONVS[rank](4, 3, padding=padding, groups=2), shape)
    check_layer(CONVS[rank](12, 2, strides=2, padding=padding, groups=6), shape)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_channels_first(rank, padding, stride):
    check_layer(
        CONVS[rank](10, 3, strides=stride, padding=padding, data_format="channels_first", activation="softmax"),
        first(SHAPES[rank]),
    )


def test_channels_first_needs_no_permute():
    assert "permute" not in text_of(layers.Conv2D(5, 3, data_format="channels_first"), (3, 8, 9))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(4, 3, strides=2, padding="same"),
        layers.Conv2D(4, (3, 1), strides=(1, 2), padding="same"),
        layers.Conv2D(4, 1, strides=2, padding="same"),
    ],
)
@pytest.mark.parametrize("size", [7, 8])
def test_free_sizes(layer, size):
    x = np.random.default_rng(0).standard_normal((2, size, size + 1, 3)).astype("float32")
    conversion, _ = check(functional(type(layer).from_config(layer.get_config()), (None, None, 3)), [x])
    assert ("same_padding(" in conversion.code.text) == (layer.kernel_size == (3, 3))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 1), (2, 1, 1)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_sizes_of_one(shape, stride):
    check_layer(layers.Conv2D(2, (3, 2), strides=stride, padding="same"), shape)
    check_layer(layers.Conv2D(2, 1, strides=stride), shape)


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16", "bfloat16", "float64"])
@pytest.mark.parametrize("cls", [layers.Conv2D, layers.Conv2DTranspose, layers.SeparableConv2D])
def test_dtype_policies(dtype, cls):
    check_layer(
        cls(4, 3, strides=2, padding="same", dtype=dtype), (8, 9, 3), tolerance=1e-5 if dtype == "float64" else 2e-2
    )


def test_bias_that_keras_adds_along_the_width_is_refused_where_it_is_no_plain_convolution():
    layer = layers.Conv2D(6, 3, data_format="channels_first", bias_initializer="uniform")
    model = functional(layer, (3, 8, 8))
    (bias,) = outputs(model, [np.zeros((1, 3, 8, 8), "float32")])
    assert np.array_equal(bias[0, 0, 0], layer.bias.numpy())  # Keras itself: along the width
    model = functional(layers.SeparableConv2D(6, 3, data_format="channels_first"), (3, 8, 8))
    with pytest.raises(UnsupportedError, match="along the width"):
        plan(model).raise_for_problems()
    check_layer(layers.Conv2D(6, 3, data_format="channels_first", use_bias=False), (3, 8, 8))
    check_layer(layers.Conv2D(6, 3), (8, 8, 3))
    check_layer(layers.Conv2D(1, 3, data_format="channels_first"), (3, 8, 3))


@pytest.mark.parametrize("cls", [layers.Conv2D, layers.Conv2DTranspose, layers.SeparableConv2D, layers.DepthwiseConv2D])
def test_symmetric_padding_is_an_alternative_that_differs(cls):
    first_argument = () if cls is layers.DepthwiseConv2D else (4,)
    model = functional(cls(*first_argument, 3, strides=2, padding="same", name="layer"), (8, 8, 3))
    name = plan(model).root.nodes[0].mapping.alternatives[0].name
    with pytest.raises(AssertionError, match="relative difference"):
        check(model, recipe=[Override("layer", "alternative", name)])


def test_shared_convolution():
    x = keras.Input((8, 8, 3))
    layer = layers.Conv2D(3, 3, padding="same")
    check(keras.Model(x, layer(layer(x))))


# --- Depthwise and separable ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": 2},
        {"dilation_rate": 2},
        {"strides": 2, "dilation_rate": 2},
        {"use_bias": False, "activation": "tanh"},
    ],
)
def test_depthwise(rank, padding, multiplier, options):
    check_layer(DEPTHWISE[rank](3, padding=padding, depth_multiplier=multiplier, **options), SHAPES[rank])


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": 2},
        {"dilation_rate": 2},
        {"strides": 2, "dilation_rate": 2},
        {"use_bias": False, "activation": "softmax"},
    ],
)
def test_separable(rank, padding, multiplier, options):
    check_layer(SEPARABLE[rank](5, 3, padding=padding, depth_multiplier=multiplier, **options), SHAPES[rank])


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_and_separable_channels_first(rank, padding, stride):
    shape = first(SHAPES[rank])
    check_layer(
        DEPTHWISE[rank](3, strides=stride, padding=padding, depth_multiplier=5, data_format="channels_first"), shape
    )
    check_layer(SEPARABLE[rank](11, 3, strides=stride, padding=padding, data_format="channels_first"), shape)


@pytest.mark.parametrize("size", [7, 8])
def test_depthwise_of_free_sizes(size):
    x = np.random.default_rng(0).standard_normal((2, size, size + 1, 3)).astype("float32")
    check(functional(layers.DepthwiseConv2D(3, strides=2, padding="same", dilation_rate=2), (None, None, 3)), [x])
    check(functional(layers.SeparableConv2D(4, 3, strides=2, padding="same"), (None, None, 3)), [x])


# --- Transposed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_transposed(padding, kernel, stride):
    check_layer(layers.Conv2DTranspose(4, kernel, strides=stride, padding=padding, activation="softmax"), (3, 4, 3))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("kernel, stride", [(2, 2), (3, 2), (3, 1), (2, 3), (4, 2)])
def test_transposed_of_other_ranks(rank, padding, kernel, stride):
    check_layer(TRANSPOSED[rank](4, kernel, strides=stride, padding=padding), {1: (4, 3), 3: (3, 2, 4, 3)}[rank])


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("output_padding", [0, 1, 2, (0, 1), (1, 0)])
def test_output_padding(padding, kernel, stride, output_padding):
    wanted = (output_padding,) * 2 if isinstance(output_padding, int) else output_padding
    reached = [kernel % 2 + p for p in wanted] if padding == "same" else [p + 1 for p in wanted]
    if max(wanted) >= stride or not all(1 <= r <= stride for r in reached):
        pytest.skip("Keras on TensorFlow refuses it")
    check_layer(
        layers.Conv2DTranspose(4, kernel, strides=stride, padding=padding, output_padding=output_padding), (3, 4, 3)
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("kernel, dilation, output_padding", [(2, 2, None), (2, 3, None), (3, 2, 0)])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_dilated_transposed(rank, padding, kernel, dilation, output_padding, data_format):
    shape = (5, 4, 3)[:rank]
    shape = (*shape, 2) if data_format == "channels_last" else (2, *shape)
    check_layer(
        TRANSPOSED[rank](
            31, kernel, padding=padding, dilation_rate=dilation, output_padding=output_padding, data_format=data_format
        ),
        shape,
    )


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("kernel", [2, 3])
def test_transposed_with_free_sizes_and_no_bias(padding, kernel):
    check_layer(layers.Conv2DTranspose(4, kernel, strides=2, padding=padding, use_bias=False), (None, None, 3))


def test_transposed_without_slice_is_torchs_own():
    assert "[:, :" not in text_of(layers.Conv2DTranspose(4, 2, strides=2, padding="same"), (4, 4, 3))
    assert "[:, :, :-1, :-1]" in text_of(layers.Conv2DTranspose(4, 3, strides=2, padding="same"), (4, 4, 3))


# --- Properties -------------------------------------------------------------------------------------------------

PROPERTY = settings(max_examples=15)


@st.composite
def convolutions(draw):
    """(rank, channels-last shape, options) that Keras accepts."""
    rank = draw(st.integers(1, 3))
    sizes = tuple(draw(st.integers(1, 9)) for _ in range(rank))
    channels, groups = draw(st.sampled_from([(1, 1), (3, 1), (4, 2), (4, 4)]))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    strides, dilation = (1,) * rank, (1,) * rank
    if draw(st.booleans()):
        strides = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    else:
        dilation = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    padding = draw(st.sampled_from(["valid", "same"] + ["causal"] * (rank == 1)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    assume(padding != "valid" or all(n >= r for n, r in zip(sizes, reach)))
    # Keras computes these with TensorFlow's space_to_batch or XLA, which refuse a dilated kernel far larger than the
    # image.
    assume(max(dilation) == 1 or all(n >= r for n, r in zip(sizes, reach)))
    options = {
        "kernel_size": kernel,
        "strides": strides,
        "dilation_rate": dilation,
        "padding": padding,
        "use_bias": draw(st.booleans()),
    }
    return rank, (*sizes, channels), groups, options


@PROPERTY
@given(convolutions(), st.sampled_from(["channels_last", "channels_first"]))
def test_any_convolution(case, data_format):
    rank, shape, groups, options = case
    shape = shape if data_format == "channels_last" else first(shape)
    check_layer(CONVS[rank](12, groups=groups, data_format=data_format, **options), shape)


@PROPERTY
@given(st.integers(1, 3), st.data())
def test_any_transposed_convolution(rank, data):
    draw = data.draw
    sizes, kernel, strides = (tuple(draw(st.integers(1, top)) for _ in range(rank)) for top in (4, 5, 4))
    padding = draw(st.sampled_from(["valid", "same"]))
    extra = None
    if draw(st.booleans()):
        extra = tuple(draw(st.integers(0, s - 1)) for s in strides)
        assume(padding == "valid" or all(1 <= k % 2 + p <= s for k, s, p in zip(kernel, strides, extra)))
    data_format = draw(st.sampled_from(["channels_last", "channels_first"])) if rank < 3 else "channels_last"
    shape = (*sizes, 3) if data_format == "channels_last" else (3, *sizes)
    check_layer(
        TRANSPOSED[rank](31, kernel, strides=strides, padding=padding, output_padding=extra, data_format=data_format),
        shape,
    )


@PROPERTY
@given(st.integers(1, 2), st.data())
def test_any_depthwise_and_separable_convolution(rank, data):
    draw = data.draw
    sizes = tuple(draw(st.integers(1, 9)) for _ in range(rank))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    padding, stride = draw(st.sampled_from(["valid", "same"])), draw(st.integers(1, 3))
    assume(padding == "same" or all(n >= k for n, k in zip(sizes, kernel)))
    data_format = draw(st.sampled_from(["channels_last", "channels_first"]))
    shape = (*sizes, 5) if data_format == "channels_last" else (5, *sizes)
    options = {
        "strides": stride,
        "padding": padding,
        "depth_multiplier": draw(st.integers(2, 3)),
        "data_format": data_format,
    }
    check_layer(DEPTHWISE[rank](kernel, **options), shape)
    check_layer(SEPARABLE[rank](11, kernel, **options), shape)


def test_lora_that_was_not_merged_is_refused():
    layer = layers.Conv2D(4, 3)
    model = functional(layer, (6, 6, 3))
    layer.enable_lora(2)
    with pytest.raises(UnsupportedError, match="LoRA"):
        plan(model).raise_for_problems()


# --- keras.ops.conv with a kernel that is a tensor ---------------------------------------------------------------


def owning(function, shape):
    """A layer of a user's own that computes ``function(x, kernel)``."""

    class Own(layers.Layer):
        def build(self, _):
            self.k = self.add_weight(name="k", shape=shape)

        def call(self, x):
            return function(x, self.k)

    return Own(name="own")


OWN = {
    "stride": (lambda x, k: ops.conv(x, k, 2, "same"), (3, 3, 3, 4), (8, 9, 3)),
    "1d": (lambda x, k: ops.conv(x, k * 2, 1, "same", dilation_rate=2), (3, 3, 4), (8, 3)),
    "3d": (lambda x, k: ops.conv(x, k, (1, 2, 1)), (2, 2, 2, 3, 4), (5, 4, 6, 3)),
    "standardised": (
        lambda x, k: ops.conv(x, (k - ops.mean(k, (0, 1, 2), keepdims=True)) / ops.std(k, (0, 1, 2), keepdims=True)),
        (3, 3, 3, 4),
        (8, 9, 3),
    ),
    "depthwise": (lambda x, k: ops.depthwise_conv(x, k, 2, "same"), (3, 2, 3, 2), (8, 9, 3)),
    "depthwise 1d": (lambda x, k: ops.depthwise_conv(x, k, 1, "same"), (3, 3, 2), (8, 3)),
    "free size": (lambda x, k: ops.conv(x, k, 2, "same"), (3, 3, 3, 4), (None, None, 3)),
    "blur": (
        lambda x, k: ops.conv(
            ops.depthwise_conv(
                x, np.tile(np.float32([[1, 2, 1], [2, 5, 2], [1, 3, 1]])[:, :, None, None], (1, 1, 3, 1)), 2, "same"
            ),
            k,
        ),
        (1, 1, 3, 4),
        (8, 9, 3),
    ),
    "few numbers": (lambda x, k: ops.conv(x, np.float32([[[1, 2]], [[3, 5]]])) * k, (2,), (8, 1)),
}


@pytest.mark.parametrize("name", OWN)
def test_a_kernel_of_the_layers_own_code(name):
    function, kernel, shape = OWN[name]
    check_layer(owning(function, kernel), shape)


def test_a_convolution_of_a_users_own_stays_channels_first():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(2, 3)(owning(lambda x, k: ops.conv(x, k), (3, 3, 3, 4))(x))
    conversion, _ = check(keras.Model(x, y))
    assert "F.conv2d(x, y.permute(3, 2, 0, 1))" in conversion.code.text


@pytest.mark.parametrize(
    ("options", "width"),
    [({}, 7), ({"strides": 2}, 11), ({"padding": "same"}, 5), ({"dilation_rate": 2}, 9), ({"activation": "relu"}, 7)],
)
def test_a_bias_that_keras_adds_along_the_width(options, width):
    """Channels first, and as many channels as columns: Keras on TensorFlow takes the bias for that of the last axis."""
    layer = layers.Conv2D(5, 3, data_format="channels_first", **options)
    assert layer.compute_output_shape((None, 2, 12, width))[-1] == 5
    conversion, _ = check_layer(layer, (2, 12, width))
    assert "F.conv2d(" in conversion.code.text
