"""Helpers for preprocessing against keras.layers."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import layers

from k2t_core.helpers.preprocessing import (
    IntegerLookup,
    MelSpectrogram,
    ScaleAndShift,
    Standardize,
    STFTSpectrogram,
    Unstandardize,
)
from tests.helpers.comparing import close, first, last, load, numbers, variables


@pytest.mark.parametrize("scale", [0.5, [0.5, 2.0, 3.0]])
@pytest.mark.parametrize("offset", [-1.0, [0.1, 0.2, -0.3]])
def test_scale_and_shift(scale, offset):
    """Constants of an image with channels first: (3, 1, 1), or a single number."""
    x = numbers(2, 5, 4, 3)
    arrays = [np.array(v, "float32").reshape((3, 1, 1) if np.ndim(v) else ()) for v in (scale, offset)]
    module = ScaleAndShift(*(a.shape for a in arrays))
    load(module, scale=arrays[0], offset=arrays[1])
    close(last(module(first(x))), layers.Rescaling(scale, offset)(x))
    assert not list(module.parameters())


@pytest.mark.parametrize("helper, invert", [(Standardize, False), (Unstandardize, True)])
@pytest.mark.parametrize("variance", [[0.5, 2.0, 3.0], [0.5, 0.0, 3.0]])
def test_standardize(helper, invert, variance):
    """std is max(√variance, 1e-7), computed when the weights are written."""
    x, mean = numbers(2, 5, 4, 3), [0.1, -2.0, 3.0]
    layer = layers.Normalization(mean=mean, variance=variance, invert=invert)
    std = np.maximum(np.sqrt(np.float32(variance)), np.float32(1e-7))
    module = helper((3, 1, 1))
    load(module, mean=np.float32(mean).reshape(3, 1, 1), std=std.reshape(3, 1, 1))
    actual, expected = last(module(first(x))), np.asarray(layer(x))
    for channel in range(3):  # they differ by seven powers of ten
        close(actual[..., channel], expected[..., channel])
    assert not list(module.parameters())


TOKENS = np.array([[12, 3, 7, -5], [0, 99, 8, 3], [-1, -2, -3, 1000]], "int64")


@pytest.mark.parametrize("unknown", [1, 3])
@pytest.mark.parametrize("vocabulary", [[12, 3, 7], [5], [-5, 12, 1000, 3]])
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_integer_lookup(unknown, vocabulary, dtype):
    """An unknown token's place is its remainder by the number of places, never negative."""
    layer = layers.IntegerLookup(vocabulary=vocabulary, num_oov_indices=unknown)
    order = np.argsort(vocabulary)
    module = IntegerLookup(len(vocabulary), default=0, buckets=unknown)
    load(module, keys=np.array(vocabulary)[order], values=order + unknown)
    x = TOKENS.astype(dtype)
    close(module(torch.from_numpy(x)), layer(x))


def test_integer_lookup_backwards():
    vocabulary = [12, 3, 7]
    layer = layers.IntegerLookup(vocabulary=vocabulary, invert=True)
    module = load(IntegerLookup(3, default=-1), keys=np.array([1, 2, 3]), values=np.array(vocabulary))
    x = np.array([[0, 1, 2, 3, 4, -7]])
    close(module(torch.from_numpy(x)), layer(x))


@pytest.mark.parametrize("mode", ["log", "magnitude", "psd", "real", "imag", "angle", "stft"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("expand_dims", [False, True])
def test_stft_spectrogram(mode, padding, expand_dims):
    """The kernels of both convolutions are Keras's. Two channels, frames that do not fill the signal."""
    x = numbers(2, 50, 2)
    layer = layers.STFTSpectrogram(mode, 16, 6, 16, padding=padding, expand_dims=expand_dims)
    layer.build(x.shape)
    found = variables(layer)
    names = [name for name in ("real", "imag") if f"{name}_kernel" in found]
    module = STFTSpectrogram(9, 16, 6, mode, padding == "same", expand_dims)
    load(module, **{f"{name}__weight": found[f"{name}_kernel"].transpose(2, 1, 0) for name in names})
    actual, expected = last(module(first(x))), np.asarray(layer(x))
    if mode == "angle":  # −π and π are one angle
        actual, expected = (np.stack([np.cos(y), np.sin(y)]) for y in (actual, expected))
    close(actual, expected, 1e-4 if mode in ("log", "angle") else 1e-5)


@pytest.mark.parametrize("length", [32, 20, 21])
@pytest.mark.parametrize("db", [True, False])
@pytest.mark.parametrize("exponent, ref, top", [(2.0, 1.0, 80.0), (1.0, 0.5, 80.0), (2.0, 1.0, 10.0)])
def test_mel_spectrogram(length, db, exponent, ref, top):
    """``top_db`` cuts what is quieter by more than that; a window shorter than the transform stands in its middle."""
    x = numbers(2, 200)
    layer = layers.MelSpectrogram(
        fft_length=32,
        sequence_stride=8,
        sequence_length=length,
        sampling_rate=8000,
        num_mel_bins=7,
        min_freq=20,
        max_freq=3500,
        power_to_db=db,
        top_db=top,
        mag_exp=exponent,
        ref_power=ref,
    )
    module = MelSpectrogram(7, 32, 8, length, exponent, db, ref_power=ref, top_db=top)
    mel = np.asarray(layer.linear_to_mel_weight_matrix(7, 17, 8000, 20, 3500))
    load(module, window=tf.signal.hann_window(length).numpy(), mel=mel.T)
    close(module(torch.from_numpy(x)), layer(x))
