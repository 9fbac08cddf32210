"""The written module: as a user loads it, with taps, and in float64; one layer of it on values of one's own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from keras import layers

import k2t_core as k2t
from k2t_core.emit.manifest import Manifest
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification.torch_side import TorchSide, arriving

BATCH = [np.random.default_rng(0).standard_normal((2, 6, 5, 3)).astype("float32")]


@pytest.fixture(scope="module")
def conv(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conv")
    x = keras.Input((6, 5, 3))
    y = layers.Conv2D(4, 3, name="conv")(x)
    model = keras.Model(x, layers.Conv2D(2, 1, name="head")(layers.LeakyReLU(0.1, name="leaky")(y)))
    randomise(model)
    traced = k2t.trace(k2t.load(model))
    k2t.convert(traced, folder)
    return folder, traced


@pytest.fixture
def written(conv):
    folder, _ = conv
    return TorchSide.load(folder, Manifest.read(folder))


def test_inputs_are_in_the_modules_order_of_axes_and_in_memory_of_their_own(written):
    (x,) = written.inputs(BATCH)
    assert tuple(x.shape) == (2, 3, 6, 5)
    x.zero_()
    assert BATCH[0].any()


def test_outputs_are_a_tuple_in_the_modules_own_order(conv, written):
    _, traced = conv
    (y,) = written.outputs(written.inputs(BATCH))
    assert np.allclose(
        written.manifest.outputs[0].to_keras(y.numpy()), np.asarray(traced.source.model(BATCH[0])), atol=1e-5
    )


def test_the_three_modules_share_their_weights_and_one_is_float64(conv):
    folder, _ = conv
    manifest = Manifest.read(folder)
    state = {key: np.ones(variable.torch_shape, "float32") for key, variable in manifest.variables.items()}
    side = TorchSide.load(folder, manifest, state)
    assert all((v == 1).all() for v in side.module.state_dict().values())
    assert side.tapped.model.conv.weight.data_ptr() == side.module.conv.weight.data_ptr()
    assert side.exact.model.conv.weight.dtype == torch.float64


def test_weights_of_another_shape_are_refused(conv):
    folder, _ = conv
    manifest = Manifest.read(folder)
    state = {key: np.ones((7, 7), "float32") for key in manifest.variables}
    with pytest.raises(k2t.OutputError, match="its state_dict differs from the manifest"):
        TorchSide.load(folder, manifest, state)


def test_one_layer_on_values_of_ones_own(conv, written):
    _, traced = conv
    values = np.linspace(-2, 2, 2 * 4 * 3 * 4, dtype="float32").reshape(2, 4, 3, 4)
    got = written.alone(traced, BATCH, "", {"conv": values}, "leaky")
    assert np.allclose(got, np.where(values < 0, 0.1 * values, values), atol=1e-6), "in Keras's layout"
    first = written.alone(traced, BATCH, "", {traced.graph.inputs[0]: np.zeros_like(BATCH[0])}, "conv")
    assert np.allclose(first, np.asarray(traced.source.model.get_layer("conv").bias), atol=1e-6)
    with pytest.raises(k2t.OutputError, match="does not compute 'nobody' any more"):
        written.alone(traced, BATCH, "", {"conv": values}, "nobody")


@pytest.mark.parametrize("error", [ValueError("no\nway"), SystemExit(3)])
def test_whatever_code_raises_is_an_output_error_of_one_line(error, written):
    def run():
        raise error

    with pytest.raises(k2t.OutputError, match=rf"model.py: backward\(\) raises {type(error).__name__}") as caught:
        written.guard(run, "backward()")
    assert "\n" not in str(caught.value)


def test_a_single_value_is_a_tuple_too(written):
    assert written.guard(lambda: 3) == (3,) and written.guard(lambda: [1, 2]) == (1, 2)


def test_what_a_module_is_called_on_is_seen_while_one_looks(written):
    (x,) = written.inputs(BATCH)
    with arriving(written.module, {"conv", "no such module"}) as seen:
        written.outputs([x])
        assert list(seen) == ["conv"] and torch.equal(seen["conv"], x)
    seen.clear()
    written.outputs([x])
    assert seen == {}, "the hooks are gone"
