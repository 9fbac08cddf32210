"""Whole models of Keras 2, rebuilt in Keras 3: names, nested and shared layers, nests of inputs and outputs."""

import pytest

import k2t_core as k2t
from tests.keras_side.keras2.models import MODELS, VECTOR, L, both, randomised, tf_keras


@pytest.mark.parametrize("name", list(MODELS))
def test_models(name, tmp_path):
    # tf_keras cannot read the archives that it writes of a layer that is used inside and outside of a nested model.
    formats = ["h5"] if name in ("nested", "MobileNetV2") else ["h5", "keras"]
    for format in formats:
        out = both(MODELS[name](), tmp_path / f"model.{format}")
        assert "permute" not in (out / "model.py").read_text() or name not in ("sequential", "MobileNetV2")


def test_the_same_file_gives_the_same_bytes(tmp_path):
    x = tf_keras.Input(VECTOR)
    randomised(tf_keras.Model(x, L.Dense(3)(x * 2.0 + 1.0) - 1.0)).save(tmp_path / "model.h5")
    written = []
    for _ in range(2):
        k2t.convert(tmp_path / "model.h5", tmp_path / "out")
        written.append(
            [
                (tmp_path / "out" / name).read_bytes()
                for name in ("model.py", "model.safetensors", "manifest.json", "recipe.json")
            ]
        )
    assert written[0] == written[1]
