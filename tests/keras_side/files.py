"""Model files that are not as they should be: what the tests of this room share."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise


def refused(path, *words: str, error: type = k2t.ModelFileError, **options) -> str:
    """Loading must raise ``error`` with one line that names the file and holds ``words``."""
    with pytest.raises(error) as caught:
        k2t.load(path, **options)
    message = str(caught.value)
    assert "\n" not in message and "\x1b" not in message and len(message) < 1000
    assert Path(path).name in message
    for word in words:
        assert word in message
    return message


def rewritten(source: Path, target: Path, change=None, extra: dict[str, bytes] | None = None) -> Path:
    """A copy of a .keras archive with its config changed in place by ``change`` and files added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json" and change is not None:
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            new.writestr(name, data)
        for name, data in (extra or {}).items():
            new.writestr(name, data)
    return target


def layer_config(config: dict, name: str) -> dict:
    return next(item["config"] for item in config["config"]["layers"] if item["config"]["name"] == name)


def small_model(*hidden):
    x = inputs = keras.Input((4,), name="features")
    for layer in hidden:
        x = layer(x)
    model = keras.Model(inputs, layers.Dense(2, name="last")(x), name="small")
    randomise(model)
    return model


def lambda_model(path: Path) -> Path:
    small_model(layers.Dense(3, name="first"), layers.Lambda(lambda t: t * 2.0 + 1.0, name="double")).save(path)
    return path
