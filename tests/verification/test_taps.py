"""See inside the written module: every Keras tensor, in order, and what is put in its place."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from keras import layers

import k2t_core as k2t
from k2t_core.emit.manifest import Manifest
from k2t_core.keras_side.randomise import randomise
from k2t_core.verification.taps import TappedModel, is_untouched


@pytest.fixture
def folder(tmp_path):
    """A nested model that is called twice, with a softmax at the end."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, activation="tanh", name="dense")], name="inner")
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(3, activation="softmax", name="head")(inner(inner(x))))
    randomise(model)
    k2t.convert(model, tmp_path)
    return tmp_path


def tapped(folder, double: bool = False) -> TappedModel:
    from safetensors.torch import load_file

    model = TappedModel(folder, Manifest.read(folder), double)
    model.model.load_state_dict(load_file(folder / "model.safetensors"))
    return model


def seen(model: TappedModel, x: torch.Tensor, change=lambda tensor, value: value):
    found, before = {}, {}

    def observe(tensor, layer, layout, value):
        found[tensor] = value
        return change(tensor, value)

    def look(tensor, layer, layout, value):
        before[tensor] = value
        return value

    (y,) = model.run([x], observe, look)
    return found, before, y


def test_every_call_of_a_shared_model_has_a_tensor_of_its_own(folder):
    found, before, y = seen(tapped(folder), torch.ones(2, 4))
    assert [name for name in found if name.endswith("/dense")] == ["inner/dense", "inner#2/dense"]
    assert torch.equal(found["head"], y)
    assert set(before) == {"inner/dense", "inner#2/dense", "head"}, "ahead of tanh and softmax"
    assert torch.allclose(torch.softmax(before["head"], -1), y)


def test_what_the_observer_returns_is_gone_on_with(folder):
    _, _, y = seen(tapped(folder), torch.ones(2, 4))
    _, _, zeroed = seen(tapped(folder), torch.ones(2, 4), lambda t, v: v * 0 if t == "inner#2/dense" else v)
    assert not torch.equal(y, zeroed) and torch.equal(zeroed[0], zeroed[1])


def test_the_float64_module_widens_its_inputs_and_leaves_torchs_default_alone(folder):
    x = torch.ones(2, 4)
    found, _, y = seen(tapped(folder, double=True), x)
    assert {v.dtype for v in found.values()} == {torch.float64} == {y.dtype}
    assert x.dtype == torch.float32 == torch.get_default_dtype()


def test_a_forward_that_works_in_place_leaves_its_inputs_alone(folder):
    text = (folder / "model.py").read_text()
    (folder / "model.py").write_text(text.replace("return x", "x.zero_()\n        return x"))
    x = torch.ones(2, 4)
    tapped(folder).run([x], lambda tensor, layer, layout, value: value)
    assert (x == 1).all()


def test_a_forward_that_was_changed_has_no_taps(folder):
    assert is_untouched(folder, Manifest.read(folder))
    text = (folder / "model.py").read_text()
    assert "self.head(x)" in text
    (folder / "model.py").write_text(text.replace("self.head(x)", "self.head(x + 1)"))
    assert not is_untouched(folder, Manifest.read(folder))
    found, _, _ = seen(tapped(folder), torch.ones(2, 4))
    assert "inner/dense" in found, "the nested model's forward is as it was"


@pytest.mark.parametrize("content", ["class class", "raise SystemExit(2)", "\udcff"])
def test_a_file_that_does_not_import_is_refused(content, folder):
    (folder / "model.py").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(k2t.OutputError, match="model.py: does not import"):
        TappedModel(folder, Manifest.read(folder))


def test_a_file_without_the_class_is_refused(folder):
    (folder / "model.py").write_text("x = 1\n")
    with pytest.raises(k2t.OutputError, match="damaged: model.py has no class"):
        TappedModel(folder, Manifest.read(folder))


def test_layouts_bring_values_back_to_keras(tmp_path):
    x = keras.Input((6, 5, 3))
    model = keras.Model(x, layers.Flatten(name="flat")(layers.Conv2D(4, 3, name="conv")(x)))
    randomise(model)
    k2t.convert(model, tmp_path)
    batch = np.random.default_rng(0).standard_normal((2, 6, 5, 3)).astype("float32")
    got = {}

    def observe(tensor, layer, layout, value):
        got[tensor] = layout.to_keras(value.numpy())
        return value

    tapped(tmp_path).run([torch.from_numpy(batch.transpose(0, 3, 1, 2).copy())], observe)
    assert np.allclose(got["conv"], np.asarray(model.get_layer("conv")(batch)), atol=1e-5)
    assert np.allclose(got["flat"], np.asarray(model(batch)), atol=1e-5), "flat in Keras's order too"
