"""The written module where it runs: three times, with one set of weights; whatever its code raises is one line."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from keras import layers

import k2t_core as k2t
from k2t_core.emit.manifest import Manifest
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification.module_process import ModuleProcess, arriving

BATCH = [np.random.default_rng(0).standard_normal((2, 6, 5, 3)).astype("float32")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conv")
    x = keras.Input((6, 5, 3))
    y = layers.Conv2D(4, 3, name="conv")(x)
    model = keras.Model(x, layers.Conv2D(2, 1, name="head")(layers.BatchNormalization(name="norm")(y)))
    randomise(model)
    k2t.convert(model, folder)
    return folder


def loaded(folder, state=None):
    process = ModuleProcess()
    process.load(str(folder), Manifest.read(folder).text, state)
    return process


def test_the_three_modules_share_their_weights_and_one_is_float64(folder):
    manifest = Manifest.read(folder)
    state = {key: np.ones(variable.torch_shape, "float32") for key, variable in manifest.variables.items()}
    process = loaded(folder, state)
    assert all((v == 1).all() for v in process.module.state_dict().values())
    assert process.tapped.model.conv.weight.data_ptr() == process.module.conv.weight.data_ptr()
    assert process.exact.model.conv.weight.dtype == torch.float64


def test_a_batch_is_left_alone_and_layers_are_seen_as_they_were(folder):
    process = loaded(folder)
    (before,), _ = process.outputs(BATCH)
    process.module.register_forward_pre_hook(lambda module, args: args[0].zero_())
    (zeroed,), _ = process.outputs(BATCH)
    assert BATCH[0].any() and not np.array_equal(before, zeroed)


@pytest.mark.parametrize("error", [ValueError("no\nway"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_code_raises_is_an_output_error_of_one_line(error, folder):
    def run():
        raise error

    with pytest.raises(k2t.OutputError, match=rf"model.py: backward\(\) raises {type(error).__name__}") as caught:
        loaded(folder).guard(run, "backward()")
    assert "\n" not in str(caught.value)


def test_a_single_value_is_a_tuple_too(folder):
    process = loaded(folder)
    assert process.guard(lambda: 3) == (3,) and process.guard(lambda: [1, 2]) == (1, 2)


def test_what_a_module_is_called_on_is_seen_while_one_looks(folder):
    module, x = loaded(folder).module, torch.ones(2, 3, 6, 5)
    with arriving(module, {"conv", "no such module"}) as seen:
        module(x)
        assert list(seen) == ["conv"] and torch.equal(seen["conv"], x)
    seen.clear()
    module(x)
    assert seen == {}, "the hooks are gone"


def test_a_step_in_training_mode_leaves_the_module_as_it_is(folder):
    process = loaded(folder)
    before = {key: value.clone() for key, value in process.module.state_dict().items()}
    step = process.training_step(BATCH, ["norm", "nowhere"])
    assert set(step) == {"norm"} and step["norm"]["count"] == 2 * 4 * 3
    assert not np.array_equal(step["norm"]["before"][0], step["norm"]["after"][0])
    assert all(torch.equal(value, before[key]) for key, value in process.module.state_dict().items())


def test_buffers_are_zero_for_a_moment(folder):
    process = loaded(folder)
    ones = np.ones((2, 4, 3, 4), "float32")
    process.stretch(BATCH, {"norm": ones}, ["norm"], {"norm": "norm"})
    (count, as_it_is), (_, without) = (process.again("norm", 1.0, zeroed, False) for zeroed in ([], ["running_var"]))
    assert count == ones.size and not np.array_equal(as_it_is, without)
    assert process.tapped.model.norm.running_var.any()


def test_another_dtype_where_the_code_insists_on_one(folder):
    process = loaded(folder)
    process.exact.model.register_forward_pre_hook(lambda module, args: args[0].nothing)
    assert process.exact_outputs(BATCH).startswith("AttributeError") and process.exact is None
