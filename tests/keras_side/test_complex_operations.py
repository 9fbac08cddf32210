"""Complex numbers in a recorded graph, against TensorFlow."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

import k2t_core as k2t
from k2t_core.keras_side.complex_operations import COMPLEX, PARTWISE
from k2t_core.keras_side.tensorflow_operations import OPERATIONS
from tests.keras_side.recorded import Own, agrees


def number(x):
    return tf.complex(x, tf.sin(x))


def real(z):
    return tf.math.real(z) + 2 * tf.math.imag(z)


SHAPE = (6, 8)
CASES = {
    "Complex": [lambda x: real(tf.complex(x, x * 2))],
    "Real": [lambda x: tf.math.real(number(x))],
    "Imag": [lambda x: tf.math.imag(number(x))],
    "ComplexAbs": [lambda x: tf.abs(number(x))],
    "Angle": [lambda x: tf.math.angle(number(x))],
    "Conj": [lambda x: real(tf.math.conj(number(x)))],
    "Mul": [lambda x: real(number(x) * number(x[:, ::-1])), lambda x: real(number(x) * (1 + 2j))],
    "RealDiv": [lambda x: real(number(x) / (number(x[:, ::-1]) + 3))],
    "Square": [lambda x: real(tf.square(number(x)))],
    "Exp": [lambda x: real(tf.exp(number(x)))],
    "Cast": [lambda x: real(tf.cast(x, "complex64") * 1j), lambda x: tf.cast(number(x) * 2j, "float32")],
    "FFT": [lambda x: real(tf.signal.fft(number(x)))],
    "FFT2D": [lambda x: real(tf.signal.fft2d(number(x)))],
    "IFFT": [lambda x: real(tf.signal.ifft(number(x)))],
    "IFFT2D": [lambda x: real(tf.signal.ifft2d(number(x)))],
    "RFFT": [lambda x: real(tf.signal.rfft(x)), lambda x: real(tf.signal.rfft(x, [12]))],
    "RFFT2D": [lambda x: real(tf.signal.rfft2d(x))],
    "IRFFT": [lambda x: tf.signal.irfft(tf.signal.rfft(x) * (1 + 2j)), lambda x: tf.signal.irfft(number(x), [9])],
    # of those done to either part
    "AddV2": [lambda x: real(number(x) + number(x[:, :1]))],
    "Sub": [lambda x: real(number(x) - (1 + 1j))],
    "Neg": [lambda x: real(-number(x))],
    "Sum": [lambda x: real(tf.reduce_sum(number(x), 1))],
    "ConcatV2": [lambda x: real(tf.concat([number(x), number(x) * 2], 1))],
    "StridedSlice": [lambda x: real(number(x)[:, ::2, 1:])],
    "Reshape": [lambda x: real(tf.reshape(number(x), (-1, 12, 4)))],
    "Transpose": [lambda x: real(tf.transpose(number(x), (0, 2, 1)))],
    "Pack": [lambda x: real(tf.stack([number(x), number(x) * 2], 1))],
    "Split": [lambda x: real(tf.split(number(x), 2, 2)[1])],
    "GatherV2": [lambda x: real(tf.gather(number(x), [1, 0], axis=1))],
}
EACH = [(kind, function) for kind, functions in CASES.items() for function in functions]


def test_every_operation_of_complex_numbers_has_a_case():
    assert set(COMPLEX) <= set(CASES)
    assert PARTWISE <= set(OPERATIONS)


@pytest.mark.parametrize("kind, function", EACH, ids=[f"{kind}-{k}" for k, (kind, _) in enumerate(EACH)])
def test_it_is_what_tensorflow_computes(kind, function):
    agrees(kind, function, [SHAPE])


def test_spectrograms():
    agrees("RFFT", lambda x: tf.abs(tf.signal.stft(x, 8, 4)), [(24,)])
    agrees("RFFT", lambda x: tf.signal.inverse_stft(tf.signal.stft(x, 8, 4) * 1j, 8, 4), [(24,)])
    agrees("RFFT", lambda x: tf.signal.mfccs_from_log_mel_spectrograms(x), [(4, 24)])


@pytest.mark.parametrize(
    "function, words",
    [(lambda x: real(tf.linalg.eig(x[:, :, :6])[0]), "Eig on complex numbers"), (number, "gives complex numbers")],
)
def test_what_has_no_counterpart_is_refused(function, words):
    x = keras.Input(SHAPE)
    with pytest.raises(k2t.UnsupportedError, match=f"'own'.*{words}"):
        k2t.plan(keras.Model(x, Own(function, name="own")(x))).raise_for_problems()
