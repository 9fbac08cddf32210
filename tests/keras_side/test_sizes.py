"""What would not fit is refused before it is allocated."""

from __future__ import annotations

import keras
from keras import layers

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
