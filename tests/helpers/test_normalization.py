"""Helpers for normalisations against keras.layers."""

import pytest
import torch
from keras import layers

from k2t_core.helpers.normalization import AxisRMSNorm, FrozenBatchNorm, ScaleByDeviation
from tests.helpers.comparing import close, first, last, load, numbers, randomised, variables


@pytest.mark.parametrize("shape", [(6, 3), (2, 5, 3), (2, 4, 5, 3), (2, 2, 4, 5, 3)])
@pytest.mark.parametrize("eps", [1e-3, 0.5])
def test_frozen_batch_norm(shape, eps):
    """In training mode both use their stored statistics, and torch's module has nothing to learn."""
    x = numbers(*shape)
    layer = layers.BatchNormalization(epsilon=eps, trainable=False)
    layer.build(x.shape)
    found = variables(randomised(layer))
    module = FrozenBatchNorm(3, eps)
    load(
        module,
        weight=found["gamma"],
        bias=found["beta"],
        running_mean=found["moving_mean"],
        running_var=found["moving_variance"],
    )
    for training in (False, True):
        close(last(module.train(training)(first(x))), layer(x, training=training))
    assert not list(module.parameters())


@pytest.mark.parametrize("axis", [-1, (-2, -1), (1, 2, 3)])
@pytest.mark.parametrize("eps", [1e-3, 0.5])
def test_scale_by_deviation(axis, eps):
    x = 2 + numbers(2, 4, 5, 3)
    layer = layers.LayerNormalization(axis=axis, epsilon=eps, rms_scaling=True)
    layer.build(x.shape)
    gamma = variables(randomised(layer))["gamma"]
    module = load(ScaleByDeviation(gamma.shape, axis, eps), weight=gamma)
    close(module(torch.from_numpy(x)), layer(x))


@pytest.mark.parametrize(
    "axis, shape", [(-1, (2, 4, 3)), (1, (2, 3, 3)), ((0, 1), (3, 3, 3)), ((1, 2), (2, 4, 3)), (0, (3, 4, 3))]
)
@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_axis_rms_norm(axis, shape, eps):
    """Whatever the axis, the scale lines up with the last axes of x."""
    x = numbers(*shape)
    layer = layers.RMSNormalization(axis=axis, epsilon=eps)
    layer.build(x.shape)
    scale = variables(randomised(layer))["scale"]
    module = load(AxisRMSNorm(scale.shape, axis, eps), weight=scale)
    close(module(torch.from_numpy(x)), layer(x))


@pytest.mark.parametrize(
    "module, keras_class, options",
    [
        (FrozenBatchNorm(3), layers.BatchNormalization, {}),
        (ScaleByDeviation((3,), -1), layers.LayerNormalization, {"rms_scaling": True}),
        (AxisRMSNorm((3,), -1), layers.RMSNormalization, {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_by_default(module, keras_class, options):
    """Keras's epsilon, statistics and weights before anything is learned; the numbers are such that epsilon counts."""
    x = numbers(5, 3) / 100
    close(last(module.eval()(first(x))), keras_class(**options)(x))
