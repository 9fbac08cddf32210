"""A file in the older of the two formats, built once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from keras import layers

from tests.keras_side.files import small_model


@pytest.fixture(scope="session")
def h5(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("h5") / "model.h5"
    small_model(layers.Dense(3, "relu", name="first")).save(path)
    return path
