"""The layers of Keras 2, each against tf_keras."""

import pytest

from tests.keras_side.keras2.models import LAYERS, both, functional


@pytest.mark.parametrize("name", list(LAYERS))
def test_layers(name, tmp_path):
    shape, build = LAYERS[name]
    both(functional([shape], build), tmp_path / f"model.{'h5' if len(name) % 2 else 'keras'}")
