"""Activation names and activation layers against Keras on TensorFlow."""

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.activations import ALL_OBJECTS_DICT

import k2t_core as k2t
from k2t_core.rules.activations import ALIASES, EXPRESSIONS, KERAS2_HARD_SIGMOID
from tests.harness import check, check_layer, convert_and_run, functional

WITHOUT_ARGUMENTS = sorted(set(ALL_OBJECTS_DICT) - {"threshold"})  # Keras itself cannot call threshold by name
NORMALISING = ("softmax", "log_softmax", "sparsemax")


def wide(shape):
    """From tiny to large, both signs, and the places where formulas change pieces."""
    edges = [
        0.0,
        -0.5,
        0.5,
        -1.0,
        1.0,
        -3.0,
        3.0,
        6.0,
        -6.0,
        19.9,
        20.0,
        20.1,
        -20.1,
        88.0,
        -88.0,
        1e-6,
        -1e-6,
        500.0,
        -500.0,
    ]
    rng = np.random.default_rng(1)
    array = rng.standard_normal(shape) * np.exp(rng.uniform(-6, 4, shape))
    array.flat[: len(edges)] = edges
    return array.astype("float32")


def test_every_name_is_known():
    of_keras_2 = {KERAS2_HARD_SIGMOID, ALIASES[KERAS2_HARD_SIGMOID]}
    assert set(ALL_OBJECTS_DICT) - {"threshold"} == (set(EXPRESSIONS) | set(ALIASES)) - of_keras_2


@pytest.mark.parametrize("name", WITHOUT_ARGUMENTS)
def test_each_element_over_a_wide_range(name):
    """Relative to each element, not to the largest: a wrong tail of one function must not hide behind a large x."""
    x = wide((4, 8, 16))
    if name in ("exponential",):
        x = x.clip(-80, 80)
    _, _, (want,), (got,) = convert_and_run(functional(layers.Activation(name), (8, 16)), [x])
    assert want.shape == got.shape
    # tanh, erf and the square root of both libraries differ by an ulp or two; where x · (1 + erf(x)) or x + √(x² + 4)
    # cancels,
    # an ulp of x is all that is left
    scale = np.maximum(1, np.abs(x)) if got.shape == x.shape and name not in NORMALISING else 1
    assert (np.abs(got - want) <= 3e-6 * np.abs(want) + (3e-6 if name in NORMALISING else 5e-7) * scale).all()


@pytest.mark.parametrize(
    "name", ["softmax", "sparsemax", "log_softmax", "glu", "leaky_relu", "sparse_sigmoid", "squareplus", "sparse_plus"]
)
def test_on_a_convolution(name):
    x = keras.Input((6, 5, 3))
    conversion, _ = check(keras.Model(x, layers.Conv2D(4, 3, activation=name)(x)))
    if name != "glu":
        y = layers.Conv2D(2, 1)(layers.Activation(name)(layers.Conv2D(4, 3)(x)))
        conversion, _ = check(keras.Model(x, y))
        assert "permute" not in conversion.code.text.split("def forward")[1].replace("return x.permute(0, 2, 3, 1)", "")


@pytest.mark.parametrize("name", ["relu", "softmax", "sparsemax", "tanh"])
def test_after_flatten_the_order_is_absorbed(name):
    x = keras.Input((6, 5, 3))
    y = layers.Dense(3)(layers.Activation(name)(layers.Flatten()(layers.Conv2D(4, 3)(x))))
    conversion, _ = check(keras.Model(x, y))
    assert "permute" not in conversion.code.text


def test_gelu_has_the_tanh_approximation_as_an_alternative():
    model = functional(layers.Activation("gelu", name="act"), (16,))
    recipe = {"k2t_recipe": 1, "overrides": [{"layer": "act", "kind": "alternative", "value": "tanh approximation"}]}
    x = [wide((4, 16))]
    _, _, (want,), (got,) = convert_and_run(model, x, recipe)
    assert 1e-5 < np.abs(want - got).max() < 1e-2
    assert np.abs(got - np.asarray(keras.ops.gelu(x[0], approximate=True))).max() < 1e-4


@pytest.mark.parametrize(
    "instance",
    [
        layers.LeakyReLU(),
        layers.LeakyReLU(negative_slope=0.1),
        layers.ReLU(6.0),
        layers.ReLU(2.5, 0.1, 0.3),
        layers.ELU(0.5),
        layers.Softmax(),
        layers.Softmax(axis=1),
        layers.ReLU(),
    ],
)
def test_layer_as_activation(instance):
    check_layer(layers.Conv2D(4, 3, activation=instance), (6, 5, 3))
    check_layer(layers.Dense(4, activation=instance), (5, 3))
    check_layer(layers.Activation(instance), (5, 3))


def test_a_function_of_a_users_own_is_opened():
    def triple(x):
        return 3 * keras.ops.tanh(x)

    makers = {
        "dense": (lambda f: layers.Dense(3, activation=f), (4,)),
        "convolution": (lambda f: layers.Conv2D(3, 2, activation=f), (5, 6, 2)),
        "separable": (lambda f: layers.SeparableConv1D(3, 2, activation=f), (5, 2)),
        "activation": (lambda f: layers.Activation(f), (5, 2)),
        "sequence": (lambda f: layers.LSTM(3, activation=f), (4, 2)),
        "gates": (lambda f: layers.GRU(3, recurrent_activation=f, return_sequences=True), (4, 2)),
        "both ways": (lambda f: layers.Bidirectional(layers.SimpleRNN(3, activation=f)), (4, 2)),
        "each step": (lambda f: layers.TimeDistributed(layers.Dense(3, activation=f)), (4, 2)),
    }
    for name, (make, shape) in makers.items():
        for function in (triple, lambda x: keras.ops.sigmoid(x) * 2):
            with keras.saving.custom_object_scope({"triple": triple}):
                layer = make(function) if name != "both ways" else make(triple)
            check(functional(layer, shape))
    with pytest.raises(k2t.UnsupportedError, match="odd"):
        k2t.plan(functional(layers.Dense(3, activation=layers.PReLU(), name="odd"), (4,))).raise_for_problems()


@pytest.mark.parametrize("max_value", [None, 6.0, 2.5, 0.0])
@pytest.mark.parametrize("negative_slope", [0.0, 0.2])
@pytest.mark.parametrize("threshold", [0.0, 1.0, 3.0])
def test_relu(max_value, negative_slope, threshold):
    x = wide((4, 3, 16))
    model = functional(layers.ReLU(max_value, negative_slope, threshold), (3, 16))
    _, _, (want,), (got,) = convert_and_run(model, [x])
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        layers.LeakyReLU(),
        layers.LeakyReLU(negative_slope=0.01),
        layers.LeakyReLU(negative_slope=0.0),
        layers.ELU(),
        layers.ELU(alpha=0.3),
        layers.ELU(alpha=2),
    ],
)
def test_leaky_relu_and_elu(layer):
    check_layer(layer, (5, 4), arrays=[wide((3, 5, 4)).clip(-30, 30)])


def test_leaky_relu_alternative():
    model = functional(layers.LeakyReLU(name="act"), (8,))
    recipe = {"k2t_recipe": 1, "overrides": [{"layer": "act", "kind": "alternative", "value": "torch's slope 0.01"}]}
    _, _, (want,), (got,) = convert_and_run(model, recipe=recipe)
    assert not np.allclose(want, got)


@pytest.mark.parametrize(
    "shape, shared",
    [
        ((7,), None),
        ((7,), [1]),
        ((5, 4), None),
        ((5, 4), [1]),
        ((5, 4), [2]),
        ((5, 4), [1, 2]),
        ((6, 5, 3), None),
        ((6, 5, 3), [1, 2]),
        ((6, 5, 3), [3]),
        ((6, 5, 3), [1]),
        ((6, 5, 1), [1, 2]),
    ],
)
def test_prelu(shape, shared):
    check_layer(layers.PReLU(shared_axes=shared), shape)
    if len(shape) == 3:
        x = keras.Input(shape)
        y = layers.Conv2D(2, 1)(layers.PReLU(shared_axes=shared)(layers.Conv2D(4, 3, padding="same")(x)))
        conversion, _ = check(keras.Model(x, y))
        if shared == [1, 2]:
            assert "nn.PReLU(" in conversion.code.text


def test_prelu_in_free_space_and_before_flatten():
    check_layer(layers.PReLU(shared_axes=[1, 2]), (None, None, 3))
    x = keras.Input((6, 5, 3))
    y = layers.Dense(2)(layers.PReLU()(layers.Flatten()(layers.PReLU()(layers.Conv2D(4, 3)(x)))))
    check(keras.Model(x, y))


@pytest.mark.parametrize("axis", [-1, 1, 2, 3, -2, [1, 2], [3], [-1, 1], (1, 2, 3)])
def test_softmax(axis):
    check_layer(layers.Softmax(axis=axis), (4, 5, 3))
    x = keras.Input((6, 5, 3))
    check(keras.Model(x, layers.Conv2D(2, 1)(layers.Softmax(axis=axis)(layers.Conv2D(4, 3)(x)))))


@pytest.mark.parametrize("axis", [-1, 1, [1, 2]])
@pytest.mark.parametrize("mask_shape, dtype", [((4, 5), "bool"), ((5,), "bool"), ((1, 5), "float32")])
def test_softmax_with_a_mask(axis, mask_shape, dtype):
    x, mask = keras.Input((4, 5)), keras.Input(mask_shape, dtype=dtype)
    model = keras.Model([x, mask], layers.Softmax(axis=axis)(x, mask=mask))
    rng = np.random.default_rng(0)
    # a rank-2 mask lines its batch axis up with axis 1 of the input, as NumPy does: hence as many rows as steps
    values = rng.random((4, *mask_shape)).astype("float32")
    values[1] = 0.0
    check(model, [rng.standard_normal((4, 4, 5)).astype("float32"), values > 0.5 if dtype == "bool" else values])


def test_softmax_behind_a_flattened_image():
    x = keras.Input((6, 5, 3))
    conversion, _ = check(keras.Model(x, layers.Dense(3)(layers.Softmax()(layers.Flatten()(layers.Conv2D(4, 3)(x))))))
    assert "permute" not in conversion.code.text


@pytest.mark.parametrize(
    "policy, tolerance", [("mixed_float16", 5e-3), ("mixed_bfloat16", 4e-2), ("float64", 1e-7)]
)  # TensorFlow keeps slopes as float32
@pytest.mark.parametrize("name", WITHOUT_ARGUMENTS)
def test_dtype_policy(name, policy, tolerance):
    check_layer(layers.Activation(name, dtype=policy), (5, 8), tolerance=tolerance)


@pytest.mark.parametrize(
    "policy, tolerance", [("mixed_float16", 5e-3), ("mixed_bfloat16", 4e-2), ("float64", 1e-7)]
)  # TensorFlow keeps slopes as float32
@pytest.mark.parametrize(
    "layer",
    [
        layers.ReLU(2.5, 0.1, 0.3),
        layers.ReLU(6.0),
        layers.LeakyReLU(),
        layers.ELU(0.5),
        layers.PReLU(),
        layers.PReLU(shared_axes=[1]),
        layers.Softmax(axis=[1, 2]),
    ],
)
def test_layer_dtype_policy(layer, policy, tolerance):
    check_layer(type(layer).from_config({**layer.get_config(), "dtype": policy}), (5, 8), tolerance=tolerance)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_masked_softmax_in_half_precision(policy):
    x, mask = keras.Input((4, 5)), keras.Input((4, 5), dtype="bool")
    check(keras.Model([x, mask], layers.Softmax(dtype=policy)(x, mask=mask)), tolerance=1e-2)
