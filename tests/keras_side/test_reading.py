"""The one door: loaded, traced, and a file of Keras 2 compared with its original."""

from __future__ import annotations

import keras
import pytest

import k2t_core as k2t
from k2t_core.errors import ModelFileError, UnsupportedError
from k2t_core.keras_side.keras2 import layers
from k2t_core.keras_side.reading import read
from k2t_core.keras_side.traced import Traced


def small():
    x = keras.Input((4,), name="in")
    return keras.Model(x, keras.layers.Dense(3, name="last")(x))


def test_a_path_a_model_and_what_is_loaded(tmp_path):
    model = small()
    model.save(tmp_path / "model.keras")
    for given in (model, k2t.load(model), tmp_path / "model.keras", str(tmp_path / "model.keras")):
        traced = read(given)
        assert isinstance(traced, Traced)
        assert [node.id for node in traced.graph.nodes] == ["last"]
    assert read(traced) is traced


def test_what_cannot_be_loaded_or_traced(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        read(tmp_path / "absent.keras")
    with pytest.raises(UnsupportedError, match="whose input is not known"):
        read(keras.Sequential([keras.layers.Dense(2)]))


def old(path):
    """A file of Keras 2 with a hard_sigmoid, which is another function in Keras 3."""
    tf_keras = pytest.importorskip("tf_keras")
    x = tf_keras.Input((4,))
    gate = tf_keras.layers.Dense(4, activation="hard_sigmoid", kernel_initializer="ones", name="gate")(x)
    tf_keras.Model(x, tf_keras.layers.Dense(3, name="last")(gate)).save(path)
    return path


def test_a_file_of_keras_2_is_compared_once(tmp_path, monkeypatch):
    from k2t_core.keras_side.keras2.original import Original

    traced = read(old(tmp_path / "old.h5"))
    assert traced.source.original.checked

    def never(*_):
        raise AssertionError("a network ran")

    monkeypatch.setattr(Original, "check", never)
    monkeypatch.setattr(Original, "predict", never)
    monkeypatch.setattr(keras.Model, "__call__", never)
    assert read(traced) is traced
    k2t.plan(traced).raise_for_problems()


def test_what_keras_3_computes_otherwise_is_refused(tmp_path, monkeypatch):
    path = old(tmp_path / "old.h5")
    monkeypatch.setattr(layers, "hard_sigmoid", lambda: keras.activations.hard_sigmoid)
    for door in (read, k2t.plan, lambda given: k2t.merge(k2t.Recipe(), given)):
        with pytest.raises(UnsupportedError, match="layer 'gate': Keras 3 computes something else"):
            door(path)
    traced = read(path, compared=False)  # as a verification does, which compares with tf_keras itself
    assert [node.id for node in traced.graph.nodes] == ["gate", "last"]
    with pytest.raises(UnsupportedError, match="layer 'gate'"):
        k2t.plan(traced)


def test_a_model_that_takes_no_random_numbers_is_left_to_the_verification(tmp_path, monkeypatch):
    from k2t_core.errors import InputError
    from k2t_core.keras_side import reading

    def refuse(*_):
        raise InputError("Keras itself refuses this batch")

    path = old(tmp_path / "old.h5")
    monkeypatch.setattr(reading, "check_original", refuse)
    assert not read(path).source.original.checked
