"""Helpers for dropout and noise against keras.layers: nothing in inference, Keras's law in training.

Both draw numbers of their own, so what is compared is what can be drawn, which elements share a draw, mean and
deviation.
"""

import numpy as np
import pytest
import torch
from keras import layers

from k2t_core.helpers.regularization import GaussianDropout, GaussianNoise, SharedAlphaDropout, SharedDropout
from tests.helpers.comparing import close, numbers

MANY = (400, 50, 8)
NOISE_SHAPES = [(None, 1, None), (None, None, 1), (1, 50, 8), (None, 1, 1), (None, None, None)]
# helper, Keras's layer, and the arguments that give noise
SHARED = [(SharedDropout, layers.Dropout), (SharedAlphaDropout, layers.AlphaDropout)]


@pytest.mark.parametrize(
    "module",
    [
        SharedDropout(0.4, (None, 1)),
        SharedAlphaDropout(0.4, (None, 1)),
        GaussianDropout(0.4),
        GaussianNoise(0.4),
    ],
    ids=lambda module: type(module).__name__,
)
def test_nothing_in_inference(module):
    x = torch.from_numpy(numbers(4, 5))
    close(module.eval()(x), x, 0)


@pytest.mark.parametrize("helper, keras_class", SHARED)
@pytest.mark.parametrize("shape", NOISE_SHAPES)
@pytest.mark.parametrize("p", [0.2, 0.7])
def test_shared_dropout(helper, keras_class, shape, p):
    """Of ones: the same two values, about as often, and alike along the axes of size 1."""
    torch.manual_seed(0)
    ones = np.ones(MANY, "float32")
    actual = helper(p, shape).train()(torch.from_numpy(ones)).numpy()
    expected = np.asarray(keras_class(p, noise_shape=shape, seed=0)(ones, training=True))
    close(np.unique(actual), np.unique(expected))
    kept = actual == actual.max()
    draws = np.prod([size if n is None else n for n, size in zip(shape, MANY)])
    assert abs(kept.mean() - (1 - p)) < 4 * (p * (1 - p) / draws) ** 0.5
    for axis, n in enumerate(shape):
        assert (actual == actual.take([0], axis)).all() == (n == 1)
        assert (expected == expected.take([0], axis)).all() == (n == 1)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_shared_dropout_scales_what_is_left(p):
    """Of any numbers: 0, or x / (1 − p)."""
    torch.manual_seed(0)
    x = numbers(6, 7)
    actual = SharedDropout(p, (None, None)).train()(torch.from_numpy(x)).numpy()
    close(actual, np.where(actual == 0, 0, x / (1 - p)).astype("float32"))


def test_shared_alpha_dropout_keeps_mean_and_variance():
    torch.manual_seed(0)
    x = numbers(*MANY)
    actual = SharedAlphaDropout(0.3, (None, None, None)).train()(torch.from_numpy(x)).numpy()
    expected = np.asarray(layers.AlphaDropout(0.3, noise_shape=(None, None, None), seed=0)(x, training=True))
    assert abs(actual.mean() - expected.mean()) < 0.02
    assert abs(actual.std() - expected.std()) < 0.02


@pytest.mark.parametrize(
    "helper, keras_class", [(GaussianDropout, layers.GaussianDropout), (GaussianNoise, layers.GaussianNoise)]
)
@pytest.mark.parametrize("amount", [0.1, 0.5])
@pytest.mark.parametrize("value", [1.0, 3.0])
def test_gaussian(helper, keras_class, amount, value):
    """Dropout's noise grows with x, the other's does not."""
    torch.manual_seed(0)
    x = np.full(MANY, value, "float32")
    actual = helper(amount).train()(torch.from_numpy(x)).numpy()
    expected = np.asarray(keras_class(amount, seed=0)(x, training=True))
    assert actual.std() == pytest.approx(expected.std(), rel=0.02)
    assert actual.mean() == pytest.approx(expected.mean(), abs=0.02 * value)
    assert actual.dtype == expected.dtype
