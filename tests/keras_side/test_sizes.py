"""What would not fit is refused before it is allocated."""

from __future__ import annotations

import json

import keras
import pytest
from keras import layers

import k2t_core as k2t
from tests.keras_side.files import layer_config, refused, rewritten


def test_absurd_weights_are_refused_before_they_are_allocated(example, tmp_path):
    def widen(config):
        layer_config(config, "hidden")["units"] = 10**11
        for item in config["config"]["layers"]:
            item.pop("build_config", None)

    path = rewritten(example("dense"), tmp_path / "huge.keras", widen)
    refused(path, "absurd shape", "hidden/kernel")


def test_absurd_tensors_are_refused(tmp_path):
    x = inputs = keras.Input((64, 64, 3), name="image")
    model = keras.Model(
        inputs, layers.GlobalMaxPooling2D(name="pool")(layers.UpSampling2D(2, name="up")(x)), name="wide"
    )
    model.save(tmp_path / "wide.keras")
    path = rewritten(
        tmp_path / "wide.keras",
        tmp_path / "absurd.keras",
        lambda config: layer_config(config, "up").update(size=[10**6, 10**6]),
    )
    refused(path, "absurd shape", "layer 'up'")


@pytest.mark.parametrize(
    "build",
    [
        lambda x: layers.LSTM(2, unroll=True, name="long")(x),
        lambda x: layers.Bidirectional(layers.GRU(2, unroll=True), name="long")(x),
        lambda x: layers.TimeDistributed(layers.Dense(2), name="long")(x),
    ],
    ids=["unrolled", "within a wrapper", "TimeDistributed"],
)
def test_a_loop_of_pythons_is_no_longer_than_anybody_waits(build, tmp_path):
    x = keras.Input((3, 4), name="x")
    inner = keras.Model(x, build(x))
    y = keras.Input((3, 4), name="y")
    for name, model in (("flat", inner), ("nested", keras.Model(y, inner(y)))):
        model.save(tmp_path / f"{name}.keras")

        def lengthen(config):
            text = json.dumps(config).replace("[null, 3, 4]", "[null, 10000000, 4]")
            config.clear()
            config.update(json.loads(text))

        path = rewritten(tmp_path / f"{name}.keras", tmp_path / f"{name} long.keras", lengthen)
        refused(path, "'long' goes through 10,000,000 steps one by one")


def test_a_loop_of_tensorflows_may_be_long(tmp_path):
    x = keras.Input((10**6, 1))
    keras.Model(x, layers.LSTM(2)(x)).save(tmp_path / "long.keras")
    assert k2t.load(tmp_path / "long.keras").model is not None
