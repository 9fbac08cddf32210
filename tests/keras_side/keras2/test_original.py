"""A file of Keras 2 from the door to the verdict, against tf_keras itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import k2t_core as k2t
from k2t_core.errors import K2TError, UnsupportedError
from tests.keras_side.keras2.models import IMAGE, SEQUENCE, VECTOR, L, both, randomised, sequential, tf, tf_keras

DATA = Path(__file__).parents[1] / "data"


def test_a_wrong_weight_is_found_in_its_layer(tmp_path):
    from safetensors.torch import load_file, save_file

    both(sequential(), tmp_path / "model.h5")
    weights = tmp_path / "model-out" / "model.safetensors"
    state = load_file(weights)
    key = next(key for key in state if "conv" in key and state[key].ndim == 4)
    state[key] = state[key].flip(-1)
    save_file(state, weights, metadata={"format": "pt"})
    report = k2t.verify(tmp_path / "model-out", tmp_path / "model.h5", weights="model")
    assert not report.passed and "conv" in report.first_divergence


def test_the_verdict_is_by_the_original(tmp_path, monkeypatch):
    """Were Keras 3 to compute a layer in another way, it would be refused by name, and no verdict would pass."""
    import keras

    from k2t_core.keras_side.keras2 import layers

    x = tf_keras.Input(VECTOR)
    randomised(tf_keras.Model(x, L.Dense(3, name="last")(L.Dense(4, activation="hard_sigmoid", name="gate")(x)))).save(
        tmp_path / "model.h5"
    )
    k2t.convert(tmp_path / "model.h5", tmp_path / "out")
    monkeypatch.setattr(layers, "hard_sigmoid", lambda: keras.activations.hard_sigmoid)
    with pytest.raises(UnsupportedError, match="layer 'gate': Keras 3 computes something else"):
        k2t.convert(tmp_path / "model.h5", tmp_path / "other")
    assert not (tmp_path / "other").exists()
    report = k2t.verify(tmp_path / "out", tmp_path / "model.h5")
    assert not report.passed and report.first_divergence == "gate"
    assert all(output.passed for output in report.outputs)  # those are tf_keras's own


class Own(L.Layer):
    def call(self, x):
        return x + 1


REFUSED = {
    "a Lambda": (VECTOR, lambda x: L.Lambda(lambda y: y + 1, name="code")(x), "layer 'code' is a Lambda of Keras 2"),
    "a class of one's own": (VECTOR, lambda x: Own(name="mine")(x), "layer 'mine' names 'Own'"),
    "stateful": (None, lambda x: L.LSTM(3, stateful=True, name="kept")(x), "layer 'kept' is stateful"),
    "renorm": (
        IMAGE,
        lambda x: tf_keras.layers.BatchNormalization(renorm=True, name="norm")(x),
        "layer 'norm'.*renorm",
    ),
    "an operation": (IMAGE, lambda x: tf.io.encode_base64(tf.strings.as_string(x)), "tf.(io.encode|strings.as_string)"),
    "training": (
        VECTOR,
        lambda x: L.Dropout(0.5, name="always")(x, training=True),
        "layer 'always' is called with training=True",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_refused_by_name(name, tmp_path):
    shape, build, words = REFUSED[name]
    x = tf_keras.Input(shape) if shape else tf_keras.Input(batch_shape=(2, *SEQUENCE))
    tf_keras.Model(x, build(x)).save(tmp_path / "model.h5")
    with pytest.raises(K2TError, match=words):
        k2t.convert(tmp_path / "model.h5", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_operations_that_a_file_names_are_not_run(tmp_path):
    """A file may name any function of TensorFlow, such as one that writes files."""
    import json

    import h5py

    x = tf_keras.Input(VECTOR)
    tf_keras.Model(x, x + 1.0).save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        config = json.loads(file.attrs["model_config"])
        layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "TFOpLambda")
        layer["config"]["function"] = "io.write_file"
        layer["inbound_nodes"] = [[str(tmp_path / "written"), 0, 0, {}]]
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(UnsupportedError, match="tf.io.write_file"):
        k2t.plan(tmp_path / "model.h5")
    assert not (tmp_path / "written").exists()


def test_an_absurd_size_is_refused_before_it_is_allocated(tmp_path):
    import json

    import h5py

    tf_keras.Sequential([L.Input(VECTOR), L.Dense(4, name="wide")]).save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][-1]["config"]["units"] = 10**11
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(K2TError, match="absurd shape"):
        k2t.plan(tmp_path / "model.h5")


def test_without_tf_keras_it_says_what_to_install():
    """In a process of its own, in which tf_keras cannot be imported."""
    code = (
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'tf_keras' else real(name, *a)\n"
        "from k2t_core.cli import main; import sys; sys.argv = ['k2t', 'inspect', sys.argv[1]]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(DATA / "keras2.h5")], capture_output=True, text=True)
    assert done.returncode == 2
    assert "written by Keras 2.21" in done.stderr and "pip install --no-deps tf_keras==" in done.stderr.replace(
        "\n", " "
    )


def test_on_the_command_line(tmp_path):
    """Fresh processes: hard_sigmoid is registered where it is needed; a file of Keras 2 is converted and verified."""
    source = DATA / "keras2.keras"
    for arguments in (
        ["convert", str(source), "-o", str(tmp_path / "out")],
        ["verify", str(tmp_path / "out"), "--against", str(source)],
    ):
        done = subprocess.run([sys.executable, "-m", "k2t_core.cli", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "(0.2 * self.gate(x) + 0.5).clamp(0, 1)" in (tmp_path / "out" / "model.py").read_text()


def test_a_model_that_takes_no_random_numbers_is_planned_and_compared_with_inputs_of_ones_own(tmp_path):
    x = tf_keras.Input((6,), dtype="int32")
    randomised(tf_keras.Model(x, L.Dense(2)(L.Flatten()(L.Embedding(4, 3)(x - 100))))).save(tmp_path / "model.h5")
    k2t.convert(tmp_path / "model.h5", tmp_path / "out")
    tokens = np.random.default_rng(0).integers(100, 104, (5, 6)).astype("int32")
    report = k2t.verify(tmp_path / "out", tmp_path / "model.h5", inputs=tokens, edge_cases=False)
    assert report.passed and report.reference["package"] == "tf_keras"


def test_a_refusal_from_within_a_layer_keeps_its_words(tmp_path):
    """tf_keras builds some variables in call(), and writes lines of its own around what is raised there."""
    x = tf_keras.Input((3, 4), name="x")
    tf_keras.Model(x, tf_keras.layers.MultiHeadAttention(2, 3, name="attend")(x, x)).save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace('"num_heads": 2', '"num_heads": 100000000')
    with pytest.raises(k2t.ModelFileError, match=r"^m\.h5: an absurd shape: [^\n]*$"):
        k2t.load(tmp_path / "m.h5")


def test_a_layer_that_would_be_unrolled_for_hours(tmp_path):
    x = tf_keras.Input((7, 4), name="x")
    tf_keras.Model(x, tf_keras.layers.SimpleRNN(2, unroll=True)(x)).save(tmp_path / "m.h5")
    assert k2t.load(tmp_path / "m.h5").model is not None
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace("[null, 7, 4]", "[null, 7000000, 4]")
    with pytest.raises(k2t.ModelFileError, match="unroll=True with 7,000,000 steps"):
        k2t.load(tmp_path / "m.h5")
