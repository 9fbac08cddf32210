"""Normalisation layers against Keras on TensorFlow."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

import k2t_core as k2t
from k2t_core.emit.source import write_source
from tests.harness import check, check_layer, convert_and_run, functional

SHAPES = [(7,), (5, 7), (6, 5, 3), (4, 3, 5, 2), (2, 3, 4, 2, 3)]


def between_convolutions(layer):
    """Convolution, the layer, convolution: where a needless permute would show. Returns the lines of forward."""
    x = keras.Input((6, 5, 3))
    conversion, module = check(keras.Model(x, layers.Conv2D(2, 3)(layer(layers.Conv2D(4, 2)(x)))))
    return conversion.code.text.split("def forward")[1].split("def load_model")[0], module


# --- BatchNormalization ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_normalization(shape):
    _, module = check_layer(layers.BatchNormalization(name="norm"), shape)
    assert (
        type(module.norm)
        is {
            1: torch.nn.BatchNorm1d,
            2: torch.nn.BatchNorm1d,
            3: torch.nn.BatchNorm2d,
            4: torch.nn.BatchNorm3d,
            5: torch.nn.BatchNorm1d,
        }[len(shape)]
    )


@pytest.mark.parametrize("axis", [-1, 1, 2, 3, -2, -3])
@pytest.mark.parametrize("shape", [(6, 5, 3), (1, 5, 1)])
def test_batch_normalization_axis(axis, shape):
    check_layer(layers.BatchNormalization(axis=axis), shape)
    if shape == (6, 5, 3):
        between_convolutions(layers.BatchNormalization(axis=axis))


@pytest.mark.parametrize(
    "axis, shape", [(1, (5, 7)), (2, (5, 7)), (1, (4, 3, 5, 2)), (2, (4, 3, 5, 2)), (2, (2, 3, 4, 2, 3))]
)
def test_batch_normalization_axis_of_other_ranks(axis, shape):
    check_layer(layers.BatchNormalization(axis=axis), shape)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 0.1])
def test_batch_normalization_options(scale, center, epsilon):
    layer = layers.BatchNormalization(scale=scale, center=center, epsilon=epsilon, momentum=0.9, name="norm")
    forward, module = between_convolutions(layer)
    assert "permute" not in forward
    norm = module.norm
    assert (norm.eps, norm.momentum) == (epsilon, 0.1)
    trainable = {name for name, p in norm.named_parameters() if p.requires_grad}
    assert trainable == {name for name, there in (("weight", scale), ("bias", center)) if there}
    check_layer(layers.BatchNormalization(scale=scale, center=center, epsilon=epsilon), (6, 5, 3))


@pytest.mark.parametrize("shape", [(None, 3), (None, None, 3), (None, 5, 3)])
def test_batch_normalization_in_free_space(shape):
    check_layer(layers.BatchNormalization(), shape)


@pytest.mark.parametrize("momentum", [0.99, 0.8, 0.0])
def test_running_mean_in_training(momentum):
    """The mean moves as in Keras; torch moves the variance by the unbiased estimate, n / (n − 1) times Keras's."""
    layer = layers.BatchNormalization(momentum=momentum, name="norm")
    model = functional(layer, (3, 2, 4))
    x = np.random.default_rng(0).normal(1.0, 2.0, (5, 3, 2, 4)).astype("float32")
    _, module, _, _ = convert_and_run(model, [x])
    before = np.asarray(layer.moving_variance)
    want = np.asarray(model(x, training=True))
    layout = convert_and_run(model, [x], randomised=False)[0].plan.root.input_layouts[0]
    module.train()
    got = module(torch.from_numpy(layout.to_torch(x)))
    np.testing.assert_allclose(module.norm.running_mean, layer.moving_mean, rtol=1e-5, atol=1e-6)
    step = (np.asarray(layer.moving_variance) - before * momentum) * (30 / 29)
    np.testing.assert_allclose(module.norm.running_var, before * momentum + step, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.detach().permute(0, 2, 3, 1), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale, center", [(True, True), (False, True), (False, False)])
def test_a_frozen_layer_uses_its_statistics_in_training_too(scale, center):
    layer = layers.BatchNormalization(scale=scale, center=center, name="norm")
    layer.trainable = False
    for shape in SHAPES:
        check_layer(type(layer).from_config({**layer.get_config(), "name": "fresh"}), shape)
    model = functional(layer, (6, 5, 3))
    conversion, module = check(model)
    x = torch.randn(2, *conversion.plan.root.input_layouts[0].shape((None, 6, 5, 3))[1:])
    still = module(x)
    module.train()
    assert torch.equal(module(x), still)
    assert not list(module.norm.parameters())
    recipe = {"k2t_recipe": 1, "overrides": [{"layer": "norm", "kind": "alternative", "value": "trainable"}]}
    _, module = check(model, recipe=recipe)
    assert type(module.norm) is torch.nn.BatchNorm2d


def test_batch_normalization_ignores_a_mask_in_inference():
    x = keras.Input((6,), dtype="int32")
    y = layers.Embedding(9, 4, mask_zero=True)(x) if k2t.rules.registry.find("Embedding") else None
    if y is None:
        pytest.skip("needs the Embedding rule")
    check(keras.Model(x, layers.BatchNormalization()(y)))


def test_batch_normalization_takes_a_mask_argument():
    x, mask = keras.Input((6, 4)), keras.Input((6,), dtype="bool")
    check(keras.Model([x, mask], layers.BatchNormalization()(x, mask=mask)))


def test_renorm_is_refused():
    with pytest.raises(k2t.UnsupportedError, match="renorm"):
        k2t.plan(functional(layers.BatchNormalization(renorm=True), (4,))).raise_for_problems()


def test_the_epsilon_of_torch_is_an_override():
    model = functional(layers.BatchNormalization(name="norm", epsilon=0.1), (4,))
    recipe = {"k2t_recipe": 1, "overrides": [{"layer": "norm", "kind": "arguments", "value": {"eps": 1e-5}}]}
    _, module, (want,), (got,) = convert_and_run(model, recipe=recipe)
    assert module.norm.eps == 1e-5 and not np.allclose(want, got)


@pytest.mark.parametrize(
    "layer", [layers.BatchNormalization, layers.LayerNormalization, layers.UnitNormalization, layers.RMSNormalization]
)
def test_after_flatten_the_order_is_absorbed(layer):
    x = keras.Input((6, 5, 3))
    y = layers.Dense(3)(layer()(layers.Flatten()(layers.Conv2D(4, 3)(x))))
    conversion, _ = check(keras.Model(x, y))
    assert "permute" not in conversion.code.text


def test_a_layer_shared_by_two_calls():
    norm, conv = layers.BatchNormalization(), layers.Conv2D(3, 3, padding="same")
    x = keras.Input((6, 5, 3))
    check(keras.Model(x, layers.Conv2D(2, 1)(norm(conv(norm(conv(x)))))))


# --- LayerNormalization ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_normalization(shape):
    _, module = check_layer(layers.LayerNormalization(name="norm"), shape)
    assert type(module.norm) is torch.nn.LayerNorm


AXES = [
    -1,
    1,
    2,
    3,
    -2,
    [1],
    [3],
    [2, 3],
    [1, 3],
    [3, 1],
    [1, 2],
    [1, 2, 3],
    [-1, -2],
    [-1, 1],
    [1, -1],
    [-1, -2, -3],
    [2, -1],
]


@pytest.mark.parametrize("axis", AXES)
def test_layer_normalization_axis(axis):
    check_layer(layers.LayerNormalization(axis=axis), (6, 5, 3))
    between_convolutions(layers.LayerNormalization(axis=axis))


@pytest.mark.parametrize("axis", [-1, 1, [1, 3], [1, 2, 3]])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_layer_normalization_options(axis, scale, center):
    layer = layers.LayerNormalization(axis=axis, scale=scale, center=center, epsilon=1e-2, name="norm")
    _, module = between_convolutions(layer)
    trainable = {name for name, p in module.norm.named_parameters() if p.requires_grad}
    assert trainable == {name for name, there in (("weight", scale), ("bias", center)) if there}


def test_layer_normalization_over_a_whole_image_needs_no_permute():
    forward, _ = between_convolutions(layers.LayerNormalization(axis=[1, 2, 3]))
    assert "permute" not in forward


def test_layer_normalization_over_channels_as_in_convnext():
    """Between convolution and Dense it runs in Keras's order: one permute in, one out."""
    x = keras.Input((6, 5, 3))
    y = (
        layers.DepthwiseConv2D(3, padding="same")(x)
        if k2t.rules.registry.find("DepthwiseConv2D")
        else layers.Conv2D(3, 3, padding="same")(x)
    )
    y = layers.Dense(3)(layers.Dense(8, activation="gelu")(layers.LayerNormalization()(y)))
    conversion, _ = check(keras.Model(x, layers.Conv2D(2, 1)(layers.Add()([x, y]))))
    assert conversion.code.text.count("permute") == 2


@pytest.mark.parametrize("axis", [1, [1, 2], -2])
@pytest.mark.parametrize("options", [{"scale": False, "center": False}])
def test_layer_normalization_over_free_axes(axis, options):
    check_layer(layers.LayerNormalization(axis=axis, **options), (None, None, 3))


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")
@pytest.mark.parametrize("axis", [-1, 1, [1, 3], [-1, 1], [1, 2, 3]])
def test_rms_scaling(axis):
    check_layer(layers.LayerNormalization(axis=axis, rms_scaling=True, epsilon=0.1), (6, 5, 3))
    between_convolutions(layers.LayerNormalization(axis=axis, rms_scaling=True))


# --- GroupNormalization, RMSNormalization, UnitNormalization ------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2, 3, 6, -1])
@pytest.mark.parametrize("axis", [-1, 1, 2, 3, -2])
def test_group_normalization(groups, axis):
    check_layer(layers.GroupNormalization(groups=groups, axis=axis, epsilon=0.01), (6, 6, 6))


@pytest.mark.parametrize(
    "groups, shape",
    [
        (2, (6,)),
        (1, (6,)),
        (3, (5, 6)),
        (-1, (5, 6)),
        (2, (3, 2, 4, 6)),
        (-1, (3, 2, 4, 6)),
        (3, (None, None, 6)),
        (3, (None, 6)),
        (2, (2, 2, 3, 2, 4)),
    ],
)
def test_group_normalization_rank(groups, shape):
    check_layer(layers.GroupNormalization(groups=groups), shape)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_group_normalization_between_convolutions(scale, center):
    forward, module = between_convolutions(layers.GroupNormalization(groups=2, scale=scale, center=center, name="norm"))
    assert "permute" not in forward
    trainable = {name for name, p in module.norm.named_parameters() if p.requires_grad}
    assert trainable == {name for name, there in (("weight", scale), ("bias", center)) if there}


def test_group_normalization_of_single_elements_is_refused():
    with pytest.raises(k2t.UnsupportedError, match="single element"):
        k2t.plan(functional(layers.GroupNormalization(groups=-1), (4,))).raise_for_problems()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_rms_normalization(shape, epsilon):
    _, module = check_layer(layers.RMSNormalization(epsilon=epsilon, name="norm"), shape)
    assert type(module.norm) is torch.nn.RMSNorm


@pytest.mark.parametrize(
    "axis, shape",
    [
        (3, (6, 5, 3)),
        ([2, 3], (6, 5, 3)),
        ([-1, -2], (6, 5, 3)),
        ([1, 2, 3], (6, 5, 3)),
        (1, (4, 4, 4)),
        ([1, 2], (4, 4, 4)),
        (-2, (4, 4, 4)),
        ([-1, 1], (4, 4, 4)),
        (1, (1, 5)),
    ],
)
def test_rms_normalization_axis(axis, shape):
    check_layer(layers.RMSNormalization(axis=axis), shape)
    x = keras.Input((*shape[:-1], 2) if len(shape) == 3 else shape)
    if len(shape) == 3:
        check(keras.Model(x, layers.Conv2D(2, 1)(layers.RMSNormalization(axis=axis)(layers.Conv2D(shape[-1], 1)(x)))))


@pytest.mark.parametrize("axis", [-1, 1, 2, [1], [1, 2], [1, 2, 3], [-1, 1], 3])
def test_unit_normalization(axis):
    check_layer(layers.UnitNormalization(axis=axis), (6, 5, 3))
    forward, _ = between_convolutions(layers.UnitNormalization(axis=axis))
    assert "permute" not in forward


def test_unit_normalization_of_zeros_and_of_tiny_vectors():
    x = np.array([[0, 0, 0], [1e-13, 0, 0], [3e-7, 4e-7, 0], [1e10, 2e10, 0]], dtype="float32")
    _, _, (want,), (got,) = convert_and_run(functional(layers.UnitNormalization(), (3,)), [x])
    np.testing.assert_allclose(got, want, rtol=1e-6)


# --- dtype policies ----------------------------------------------------------------------------------------------

LAYERS = {
    "batch": layers.BatchNormalization,
    "layer": layers.LayerNormalization,
    "group": lambda **k: layers.GroupNormalization(groups=2, **k),
    "rms": layers.RMSNormalization,
    "unit": layers.UnitNormalization,
    "layer without weights": lambda **k: layers.LayerNormalization(center=False, scale=False, **k),
    "frozen": lambda **k: layers.BatchNormalization(trainable=False, **k),
}


@pytest.mark.parametrize(
    "policy, tolerance",
    [("mixed_float16", 1e-3), ("float16", 1e-3), ("mixed_bfloat16", 1e-2), ("bfloat16", 1e-2), ("float64", 1e-12)],
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("kind", LAYERS)
def test_dtype_policy(kind, policy, tolerance, dtype):
    if policy == "float64" and dtype != "float64" and kind not in ("batch", "frozen", "rms", "unit"):
        tolerance = 1e-6  # these take their input as it comes, and compute in float32
    check_layer(
        LAYERS[kind](dtype=policy),
        (5, 4),
        dtype=dtype,
        tolerance=max(tolerance, 1e-3) if dtype == "float16" else tolerance,
    )


@pytest.mark.parametrize("kind", ["batch", "layer", "group", "rms"])
def test_half_precision_computes_in_float32(kind):
    """Values whose squares overflow float16: Keras normalises them in float32."""
    x = np.random.default_rng(0).normal(0, 3e3, (3, 5, 4)).astype("float16")
    check_layer(LAYERS[kind](dtype="mixed_float16"), (5, 4), dtype="float16", arrays=[x], tolerance=2e-3)


def test_integer_input():
    check_layer(layers.BatchNormalization(), (5, 4), dtype="int32")
    for kind in ("layer", "group", "rms", "unit"):
        with pytest.raises(k2t.UnsupportedError, match="int32"):
            k2t.plan(functional(LAYERS[kind](), (5, 4), dtype="int32")).raise_for_problems()


def test_epsilon_of_every_layer_is_written():
    for layer in (layers.BatchNormalization(), layers.LayerNormalization(), layers.GroupNormalization(2)):
        text = write_source(k2t.plan(functional(layer, (4, 4)))).text
        assert "eps=0.001" in text


def test_efficientnet():
    model = keras.applications.EfficientNetB0(weights=None, input_shape=(64, 64, 3))
    check(model)
