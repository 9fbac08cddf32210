"""TensorFlow's hashes of whole numbers, and the pieces of which they are made, against TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from k2t_core.helpers.hashing import (
    decimal_text,
    farm_hash_bucket,
    little_endian,
    modulo,
    rotate,
    shift_right,
    sip_hash_bucket,
)
from tests.helpers.comparing import close

EDGES = [0, 1, -1, 9, 10, -9, -10, 99, 100, 2**31, -(2**31), 2**63 - 1, -(2**63), -(2**63) + 1, 10**18, 10**18 - 1]
# Every length of text from 1 to 20, both signs: the hashes treat up to 3, 7, 16 and more bytes apart.
LENGTHS = [
    sign * int(n)
    for digits in range(1, 20)
    for n in np.random.default_rng(digits).integers(10 ** (digits - 1), min(10**digits, 2**63 - 1), 5)
    for sign in (1, -1)
]
NUMBERS = np.array(EDGES + LENGTHS + list(range(-120, 1200)), "int64")
BITS = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 50)
UNSIGNED = BITS.view("uint64")


def signed(unsigned) -> np.ndarray:
    return np.asarray(unsigned).view("int64")


def test_decimal_text():
    text, length = decimal_text(torch.from_numpy(NUMBERS))
    expected = tf.strings.as_string(NUMBERS)
    close(length, tf.cast(tf.strings.length(expected), tf.int64))
    padded = np.stack([np.frombuffer(word.ljust(24, b"\0"), "uint8") for word in expected.numpy()])
    close(text, padded.astype("int64"))


def test_decimal_text_of_more_axes():
    text, length = decimal_text(torch.tensor([[7, -20], [300, 0]]))
    assert text.shape == (2, 2, 24)
    assert length.tolist() == [[1, 3], [3, 1]]


@pytest.mark.parametrize("start, size", [(0, 8), (3, 8), (16, 8), (0, 4), (5, 4)])
def test_little_endian(start, size):
    text = np.random.default_rng(0).integers(0, 256, (5, 24))
    bytes_ = [row[start : start + size].astype("uint8").tobytes().ljust(8, b"\0") for row in text]
    expected = tf.io.decode_raw(bytes_, tf.int64)[:, 0]
    close(little_endian(torch.from_numpy(text), torch.full((5,), start), size), expected)


@pytest.mark.parametrize("bits", [1, 7, 32, 47, 63])
def test_shift_right(bits):
    expected = tf.bitwise.right_shift(tf.constant(UNSIGNED), tf.constant(bits, tf.uint64))
    close(shift_right(torch.from_numpy(BITS), bits), signed(expected))


@pytest.mark.parametrize("right", [1, 18, 32, 43, 63])
def test_rotate(right):
    low = tf.bitwise.right_shift(tf.constant(UNSIGNED), tf.constant(right, tf.uint64))
    high = tf.bitwise.left_shift(tf.constant(UNSIGNED), tf.constant(64 - right, tf.uint64))
    close(rotate(torch.from_numpy(BITS), right), signed(tf.bitwise.bitwise_or(low, high)))


@pytest.mark.parametrize("bins", [1, 2, 3, 10, 1000, 2**31 - 1, 2**40])
def test_modulo(bins):
    close(modulo(torch.from_numpy(BITS), bins), signed(UNSIGNED % np.uint64(bins)))


@pytest.mark.parametrize("bins", [1, 2, 3, 1000, 2**31 - 1, 2**40])
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_farm_hash_bucket(bins, dtype):
    x = NUMBERS[np.abs(NUMBERS.astype("float64")) < 2**31].astype(dtype) if dtype == "int32" else NUMBERS
    close(farm_hash_bucket(torch.from_numpy(x), bins), tf.strings.to_hash_bucket_fast(tf.strings.as_string(x), bins))


@pytest.mark.parametrize("bins", [1, 3, 1000, 2**31 - 1, 2**40])
@pytest.mark.parametrize("key", [(0, 0), (133, 137), (2**64 - 1, 2**63), (123456789012345678, 1)])
def test_sip_hash_bucket(bins, key):
    """With an axis more than a list of numbers has."""
    x = NUMBERS[: len(NUMBERS) // 10 * 10].reshape(-1, 10)
    expected = tf.raw_ops.StringToHashBucketStrong(
        input=tf.strings.as_string(x), num_buckets=bins, key=[k - 2**64 if k >= 2**63 else k for k in key]
    )
    close(sip_hash_bucket(torch.from_numpy(x), bins, key), expected)
