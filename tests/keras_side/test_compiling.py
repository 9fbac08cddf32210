"""Keras without CPU kernels for channels first: the reference is compiled by XLA, and the numbers stay.

Which of the two this process has depends on its processor. Here both are made to happen: in a process of its own with
TensorFlow's own switch, and beside that with a fake that refuses what TensorFlow's own kernels refuse, in their words.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers, ops
from tensorflow.python.ops import gen_nn_ops

import k2t_core as k2t
from k2t_core.keras_side import compiling, running
from k2t_core.keras_side.loading import load
from k2t_core.keras_side.tracing import trace
from tests.harness import functional, sample

FIRST = {"data_format": "channels_first"}
# Everything that convolves, by name: (layer, shape of an input with channels first).
LAYERS = {
    "Conv1D": (lambda: layers.Conv1D(4, 3, padding="same", **FIRST), (3, 8)),
    "Conv1D causal": (lambda: layers.Conv1D(4, 3, padding="causal", dilation_rate=2, **FIRST), (3, 8)),
    "Conv2D": (lambda: layers.Conv2D(4, 3, strides=2, activation="relu", **FIRST), (3, 9, 8)),
    "Conv2D dilated": (lambda: layers.Conv2D(4, 3, dilation_rate=2, padding="same", **FIRST), (3, 9, 8)),
    "Conv2D groups": (lambda: layers.Conv2D(4, 3, groups=2, **FIRST), (2, 9, 8)),
    "Conv3D": (lambda: layers.Conv3D(4, 2, **FIRST), (3, 5, 4, 6)),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(4, 3, strides=2, **FIRST), (3, 8)),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same", **FIRST), (3, 5, 6)),
    "Conv2DTranspose dilated": (lambda: layers.Conv2DTranspose(4, 2, dilation_rate=2, **FIRST), (3, 5, 6)),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(4, 2, strides=2, **FIRST), (3, 3, 4, 5)),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(3, depth_multiplier=2, **FIRST), (3, 9)),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3, padding="same", **FIRST), (3, 9, 8)),
    "SeparableConv1D": (lambda: layers.SeparableConv1D(4, 3, **FIRST), (3, 9)),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(4, 3, **FIRST), (3, 9, 8)),
    "ConvLSTM1D": (lambda: layers.ConvLSTM1D(4, 2, return_sequences=True, **FIRST), (3, 2, 6)),
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(2, 2, **FIRST), (3, 2, 5, 6)),
    "MaxPooling2D": (lambda: layers.MaxPooling2D(2, **FIRST), (3, 8, 6)),
    "AveragePooling2D": (lambda: layers.AveragePooling2D(3, padding="same", **FIRST), (3, 8, 6)),
    "STFTSpectrogram": (lambda: layers.STFTSpectrogram(frame_length=32, frame_step=16, **FIRST), (1, 200)),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Conv2D(2, 3, **FIRST)), (2, 3, 6, 7)),
}
NCHW = {"NCHW", "NCDHW", "NCW"}


@pytest.fixture
def no_kernels(monkeypatch):
    """TensorFlow's convolutions refuse channels first, as their kernels do without oneDNN: eagerly, not in a graph."""

    def refusing(original):
        def operation(*args, data_format="NHWC", **kwargs):
            if tf.executing_eagerly() and data_format in NCHW:
                words = (
                    f"The {original.__name__} op currently only supports the NHWC tensor format on the CPU. "
                    f"The op was given the format: {data_format}"
                )
                raise tf.errors.UnimplementedError(None, None, words)
            return original(*args, data_format=data_format, **kwargs)

        return operation

    for name in ("conv2d", "conv3d", "depthwise_conv2d_native", "conv2d_backprop_input", "conv3d_backprop_input_v2"):
        monkeypatch.setattr(gen_nn_ops, name, refusing(getattr(gen_nn_ops, name)))
    probe = compiling.kernels_take_channels_first
    probe.cache_clear()  # what it finds under the fake is not what the processor has
    yield
    probe.cache_clear()


class Block(keras.Layer):
    """A layer of a user's own, which k2t opens."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv = layers.Conv2D(4, 3, padding="same", **FIRST, name="conv")

    def call(self, x):
        return ops.relu(self.conv(x)) + ops.mean(x, axis=1, keepdims=True)


class Whole(keras.Model):
    """A subclassed model."""

    def __init__(self, **options):
        super().__init__(**options)
        self.block = Block(name="block")
        self.head = layers.Dense(3, name="head")

    def call(self, x):
        return self.head(ops.mean(self.block(x), axis=(2, 3)))

    def get_config(self):
        return {}


def _network() -> keras.Model:
    x = keras.Input((3, 12, 10), name="image")
    inner = keras.Sequential(
        [
            keras.Input((3, 12, 10)),
            layers.Conv2D(4, 3, padding="same", use_bias=False, **FIRST, name="stem"),
            layers.BatchNormalization(axis=1),
        ],
        name="inner",
    )
    y = Block(name="block")(inner(x))
    return keras.Model(x, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D(**FIRST)(y)), name="network")


def _subclassed() -> keras.Model:
    model = Whole()
    model(keras.Input((3, 12, 10)))
    return model


@pytest.mark.parametrize("name", LAYERS)
def test_every_convolution_is_converted_and_agrees_without_kernels(name, no_kernels, tmp_path):
    make, shape = LAYERS[name]
    keras.utils.set_random_seed(1)
    model = functional(make(), shape)
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, edge_cases=False)
    assert report.passed, report.verdict


@pytest.mark.parametrize("build", [_network, _subclassed], ids=["functional", "subclassed"])
def test_whole_models_single_layers_and_copies_run(build, no_kernels, tmp_path):
    """Nested, opened and subclassed: with random weights, gradients, edge cases and the layers alone."""
    keras.utils.set_random_seed(1)
    model = build()
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, training=True, search=1)
    assert report.passed, report.verdict
    expected = {"conv", "stem"} if build is _network else {"conv"}
    told = {layer.rsplit("/", 1)[-1] for layer in report.compiled}
    assert told == expected | {"the gradients of the whole model"}
    assert "Keras ran compiled by XLA in '" in report.verdict
    assert report.to_json()["compiled"] == list(report.compiled)
    assert "no kernel on this processor" in report.execution


def test_a_layer_under_a_snippet_is_compiled_whole(no_kernels, tmp_path):
    """Closed by the recipe: what k2t does not look into."""
    keras.utils.set_random_seed(1)
    x = keras.Input((3, 6, 6))
    model = keras.Model(x, layers.Dense(2, name="head")(Block(name="block")(x)))
    code = (
        "F.relu(F.conv2d(x, w['conv_kernel'].permute(3, 2, 0, 1), w['conv_bias'], padding=1)) + x.mean(1, keepdim=True)"
    )
    k2t.convert(model, tmp_path / "out", [k2t.Override("block", "snippet", code)])
    report = k2t.verify(tmp_path / "out", model, weights="model")
    assert report.passed, report.verdict
    assert report.compiled == ("block",)
    k2t.convert(model, tmp_path / "wrong", [k2t.Override("block", "snippet", code.replace("x.mean", "0 * x.mean"))])
    report = k2t.verify(tmp_path / "wrong", model, weights="model")
    assert report.first_divergence == "block"


def test_masks_arrive_and_leave():
    """What is compiled reads the masks of its arguments and gives those of its results, as Keras's own call does."""

    class Lacking(keras.Layer):
        def __init__(self):
            super().__init__()
            self.supports_masking = True

        def call(self, x, mask=None):
            if tf.executing_eagerly():
                raise tf.errors.UnimplementedError(None, None, "only supports the NHWC tensor format on the CPU")
            return x * ops.cast(mask[..., None], x.dtype)

    tokens = np.array([[3, 1, 0], [2, 0, 0]])
    x = layers.Embedding(5, 4, mask_zero=True)(tokens)
    y = compiling.run(Lacking(), (x,), {})
    assert np.array_equal(y._keras_mask, tokens != 0)
    assert np.array_equal(np.asarray(y) == 0, np.asarray(x) * (tokens != 0)[..., None] == 0)


def test_each_form_of_a_call_is_compiled_once():
    traces = []

    class Lacking(keras.Operation):
        def call(self, x, factor=1):
            if tf.executing_eagerly():
                raise tf.errors.UnimplementedError(None, None, "NHWC only")
            traces.append(factor)
            return x * factor

    operation, compiled, x = Lacking(), {}, tf.ones((2, 3))
    for factor in (2, 3, 2, 3):
        assert float(compiling.run(operation, (x,), {"factor": factor}, compiled)[0, 0]) == factor
    assert traces == [2, 3]
    compiling.run(operation, (tf.ones((4, 3)),), {"factor": 2}, compiled)
    assert traces == [2, 3, 2]


def test_a_refusal_of_the_numbers_is_not_compiled_away():
    """XLA would clamp a token beyond the vocabulary in silence."""
    with pytest.raises(tf.errors.InvalidArgumentError, match="not in"):
        compiling.run(layers.Embedding(5, 2), (np.array([[7]]),), {})
    with pytest.raises(tf.errors.InvalidArgumentError):
        compiling.run(ops.matmul, (tf.ones((2, 3)), tf.ones((2, 3))), {})


def test_where_xla_fails_too_the_first_refusal_stands():
    def neither(x):
        if tf.executing_eagerly():
            raise tf.errors.UnimplementedError(None, None, "only NHWC")
        return tf.strings.upper(tf.strings.as_string(x))

    with pytest.raises(tf.errors.UnimplementedError, match="only NHWC") as refusal:
        compiling.run(neither, (tf.ones(2),), {})
    assert refusal.value.__cause__ is not None


def test_a_file_of_keras_2_runs(no_kernels, tmp_path):
    tf_keras.utils.set_random_seed(1)
    x = tf_keras.Input((3, 9, 8))
    y = tf_keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first", **FIRST)(x)
    y = tf_keras.layers.Conv2DTranspose(2, 3, strides=2, **FIRST)(y)
    tf_keras.Model(x, tf_keras.layers.GlobalAveragePooling2D(**FIRST)(y)).save(tmp_path / "old.h5")
    k2t.convert(tmp_path / "old.h5", tmp_path / "out")
    report = k2t.verify(tmp_path / "out", tmp_path / "old.h5")
    assert report.passed, report.verdict
    assert report.compiled == ("first",), "tf_keras itself transposes around its other convolution"
    assert report.reference["package"] == "tf_keras"


def test_a_token_beyond_the_vocabulary_stays_refused_in_a_model_of_keras_2(no_kernels, tmp_path):
    """Compiled whole, XLA would clamp it: only the layers without a kernel are."""
    tf_keras.utils.set_random_seed(1)
    tokens = tf_keras.Input((6,), dtype="int32")
    y = tf_keras.layers.Reshape((1, 6, 4))(tf_keras.layers.Embedding(10, 4)(tokens))
    inner = tf_keras.Sequential([tf_keras.Input((1, 6, 4)), tf_keras.layers.Conv2D(3, 2, **FIRST)])
    tf_keras.Model(tokens, inner(y)).save(tmp_path / "old.h5")
    traced = trace(load(tmp_path / "old.h5"))
    good, bad = np.arange(6)[None], np.full((1, 6), 99)
    first = running.predict(traced, [good])
    for _ in range(2):
        with pytest.raises(k2t.InputError, match="not in"):
            running.predict(traced, [bad])
        assert np.array_equal(running.predict(traced, [good])[0], first[0])


def test_layers_of_one_name_in_two_models_of_keras_2_are_both_compiled(no_kernels, tmp_path):
    x = tf_keras.Input((3, 8, 8))
    y = x
    for name in ("one", "two"):
        conv = tf_keras.layers.Conv2D(3, 3, name="conv", **FIRST)
        y = tf_keras.Sequential([tf_keras.Input(y.shape[1:]), conv], name=name)(y)
    tf_keras.Model(x, y).save(tmp_path / "old.h5")
    traced = trace(load(tmp_path / "old.h5"))
    assert running.predict(traced, [np.ones((2, 3, 8, 8), "float32")])[0].shape == (2, 3, 4, 4)


def test_gradients_without_a_kernel_are_told(no_kernels, monkeypatch):
    model = functional(layers.Conv2D(2, 3, **FIRST), (3, 6, 6))
    traced = trace(load(model))
    (x,) = sample(model)
    running.gradients(traced, [x], {0: np.ones((3, 2, 4, 4), "float32")})
    assert "the gradients of the whole model" in running.compiled_layers(traced)


def test_the_probe_decides_before_anything_is_tried(no_kernels, monkeypatch):
    """Where it says that there are no kernels, a model with channels first is not called as a whole."""
    model = functional(layers.Conv2D(2, 3, **FIRST), (3, 6, 6))
    traced = trace(load(model))
    monkeypatch.setattr(compiling, "kernels_take_channels_first", lambda: False)
    monkeypatch.setattr(type(model), "__call__", lambda *args, **kwargs: pytest.fail("the whole model was tried"))
    assert running.predict(traced, sample(model))[0].shape == (3, 2, 4, 4)


def test_operation_by_operation_where_there_are_kernels(tmp_path):
    model = functional(layers.Conv2D(4, 3), (9, 8, 3))
    k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, edge_cases=False)
    assert report.compiled == () and report.execution == "operation by operation"
    assert report.verdict.endswith("Keras ran operation by operation)")


# --- both ways in one process, switched by TensorFlow itself ---

BOTH = """
import json, sys
import numpy as np
from k2t_core.keras_side import compiling, running
from k2t_core.keras_side.loading import load
from k2t_core.keras_side.tracing import trace
from tests.harness import functional, sample, sample
from tests.keras_side.test_compiling import LAYERS
import keras
found = {"kernels": compiling.kernels_take_channels_first(), "differences": {}}
if found["kernels"] and sys.argv[1] == "compare":
    for name, (make, shape) in LAYERS.items():
        keras.utils.set_random_seed(1)
        model = functional(make(), shape)
        (x,) = sample(model)
        layer = model.layers[-1]
        a, b = np.asarray(layer(x, training=False)), np.asarray(compiling.Compiled(layer)((x,), {"training": False}))
        found["differences"][name] = float(np.abs(a - b).max() / np.abs(a).max())
print(json.dumps(found))
"""


def _with_onednn(switch: str, what: str) -> dict:
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": switch, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", BOTH, what], capture_output=True, text=True, timeout=300, env=environment, cwd=root
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_switch_takes_the_kernels_away():
    """What `.ci/run` relies on: TF_ENABLE_ONEDNN_OPTS=0 leaves TensorFlow's own kernels: channels last only."""
    if _with_onednn("0", "probe")["kernels"]:
        pytest.skip(
            "TF_ENABLE_ONEDNN_OPTS=0 does not switch the kernels off on this machine: "
            "only the fake shows what happens without"
        )


def test_both_ways_give_the_same_numbers():
    found = _with_onednn("1", "compare")
    if not found["kernels"]:
        pytest.skip(
            "TF_ENABLE_ONEDNN_OPTS=1 gives this machine no kernels for channels first: there is only the one way"
        )
    assert set(found["differences"]) == set(LAYERS)
    assert {name: d for name, d in found["differences"].items() if not d <= 1e-5} == {}


def test_the_probe_says_what_a_layer_meets():
    try:
        layers.Conv2D(4, 3, **FIRST)(np.ones((1, 3, 8, 8), "float32"))
        takes = True
    except tf.errors.OpError as error:
        assert compiling.lacks_kernel(error)
        takes = False
    assert compiling.kernels_take_channels_first() is takes
