"""The written module, asked in its own process: what it gives, and that what is no answer is an error."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.emit.manifest import Manifest
from k2t_core.keras_side import running
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification.torch_side import TorchSide

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
    with TorchSide(folder, Manifest.read(folder)) as side:
        yield side.load()


def test_outputs_are_in_the_modules_own_order(conv, written):
    _, traced = conv
    (y,) = written.outputs(BATCH)
    assert np.allclose(written.manifest.outputs[0].to_keras(y), np.asarray(traced.source.model(BATCH[0])), atol=1e-5)
    (exact,) = written.exact_outputs(BATCH, 1)
    assert exact.dtype == np.float64 and np.allclose(y, exact, atol=1e-5) and not written.training
    assert written.classes == {written.manifest.class_name}


def test_a_state_dict_of_ones_own(conv, written):
    state = {key: np.zeros(variable.torch_shape, "float32") for key, variable in written.manifest.variables.items()}
    (y,) = written.load(state).outputs(BATCH)
    assert not y.any()
    (y,) = written.load().outputs(BATCH)
    assert y.any()


def test_weights_of_another_shape_are_refused(written):
    state = {key: np.ones((7, 7), "float32") for key in written.manifest.variables}
    with pytest.raises(k2t.OutputError, match="model.py: its state_dict differs from the manifest"):
        written.load(state)


def test_one_layer_on_values_of_ones_own(conv, written):
    _, traced = conv
    values = np.linspace(-2, 2, 2 * 4 * 3 * 4, dtype="float32").reshape(2, 4, 3, 4)
    got = written.alone(traced, BATCH, "", {"conv": values}, "leaky")
    assert np.allclose(got, np.where(values < 0, 0.1 * values, values), atol=1e-6), "in Keras's layout"
    first = written.alone(traced, BATCH, "", {traced.graph.inputs[0]: np.zeros_like(BATCH[0])}, "conv")
    assert np.allclose(first, np.asarray(traced.source.model.get_layer("conv").bias), atol=1e-6)
    with pytest.raises(k2t.OutputError, match="does not compute 'nobody' any more"):
        written.alone(traced, BATCH, "", {"conv": values}, "nobody")


def test_layers_and_one_of_them_again(conv, written):
    _, traced = conv
    keras = running.tensors(traced, BATCH, {"conv", "leaky", "head"})
    found = written.stretch(BATCH, keras, {"conv", "leaky"}, {"conv": "conv", "leaky": "nowhere"})
    assert set(found.cumulative) == set(found.alone) == set(found.exact) == {"conv", "leaky"} and not found.before
    for part in (found.cumulative, found.alone, found.exact):
        assert np.allclose(part["leaky"], keras["leaky"], atol=1e-5)
    assert found.exact["leaky"].dtype == np.float64
    count, twice = written.again("conv", scale=2.0)
    layer = traced.source.model.get_layer("conv")
    assert count == BATCH[0].size
    assert np.allclose(twice.transpose(0, 2, 3, 1), np.asarray(layer(2 * BATCH[0])), atol=1e-4)
    assert written.again("conv", double=True)[1].dtype == np.float64
    assert written.again("leaky") is None and written.again("conv", zeroed=("running_var",)) is None


def test_gradients(conv, written):
    _, traced = conv
    outputs, depends = written.forward(BATCH, derived=True)
    assert depends and len(outputs) == 1
    factors = {0: np.ones(written.manifest.outputs[0].to_keras(outputs[0]).shape, "float32")}
    (by_input,), by_weight = written.backward(factors, weights=True)
    (want,), by_variable = running.gradients(traced, BATCH, factors)
    assert np.allclose(by_input, want, atol=1e-4), "in Keras's layout"
    assert np.allclose(by_weight["head.bias"], by_variable["head/bias"], atol=1e-4)


def test_shapes_as_far_as_it_gets(written):
    assert [(tensor, shape) for tensor, _, shape in written.shapes(BATCH)] == [
        ("conv", (2, 4, 3, 4)),
        ("leaky", (2, 4, 3, 4)),
        ("head", (2, 4, 3, 2)),
    ]


LIES = {
    "outputs": [None, 3, [], (1, 2, 3), (["x", 1], True), ({}, True)],
    "exact_outputs": [None, {}, ["x"], [1]],
    "stretch": [None, [], ({},) * 4, ({1: np.ones(1)},) * 5, ({"conv": 1},) * 5, ([],) * 5],
    "shapes": [None, [1], [("a", "b")], [("a", 1, ())], [["a", "b", ()]]],
    "again": [1, (1,), (1, None)],
    "alone": [None, [1.0]],
    "forward": [None, ([], True), ([1], True), ({}, True)],
    "backward": [1, ([], {}), ([1], {}), ([None], []), ([None], {1: None}), ([None], {"a": 1})],
    "training_step": [1, {"conv": None}, {"conv": {"count": 1}}, {"conv": {"count": "1"}}],
    "in_training": [None, {"conv": 3}],
}
ASKED = {
    "outputs": lambda side: side.outputs(BATCH),
    "exact_outputs": lambda side: side.exact_outputs(BATCH, 1),
    "stretch": lambda side: side.stretch(BATCH, {"conv": BATCH[0]}, {"conv"}, {}),
    "shapes": lambda side: side.shapes(BATCH),
    "again": lambda side: side.again("conv"),
    "alone": lambda side: side.alone(None, BATCH, "", {}, "conv"),
    "forward": lambda side: side.forward(BATCH, True),
    "backward": lambda side: side.backward({}),
    "training_step": lambda side: side.training_step(BATCH, ["conv"]),
    "in_training": lambda side: side.in_training(BATCH, set(), [False], {"conv"}, 0),
}


@pytest.mark.parametrize("method", LIES)
def test_what_is_no_answer_is_an_error(method, conv, tmp_path):
    """A model.py that speaks in the name of the process it runs in."""
    folder = Path(shutil.copytree(conv[0], tmp_path / "out"))
    text = (folder / "model.py").read_text()
    (folder / "model.py").write_text(
        f"""{text}
import numpy as np
from k2t_core.verification.module_process import ModuleProcess

lies = iter({LIES[method]!r})
ModuleProcess.{method} = lambda *_, **__: next(lies)
""".replace("array(", "np.array(")
    )
    with TorchSide(folder, Manifest.read(folder)) as side:
        side.load()
        for lie in LIES[method]:
            with pytest.raises(k2t.OutputError, match="model.py: the process that runs it gives what is no answer"):
                print(lie, ASKED[method](side))


def test_fewer_outputs_in_float64_are_none(written, monkeypatch):
    assert written.exact_outputs(BATCH, 2) == "it gives 1 tensors there" and not written.exact
