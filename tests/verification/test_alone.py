"""A layer by itself: what it computes under a recipe, on Keras's own input."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.batches import random_batch
from k2t_core.verification.alone import probe
from tests.verification.test_diagnosis import network

L = layers


@pytest.fixture(scope="module")
def traced():
    return k2t.trace(k2t.load(network()))


@pytest.mark.parametrize("layer", ["conv", "norm", "head/flatten", "head/square6", "square"])
def test_each_layer_alone_agrees(traced, layer):
    verdict = probe(traced, layer, random_batch(traced.graph)).judge(k2t.Recipe())
    assert verdict.passed and verdict.difference.relative < 1e-5


def test_no_such_layer(traced):
    with pytest.raises(k2t.K2TError, match="'nobody'"):
        probe(traced, "nobody", random_batch(traced.graph))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x.flatten()", r"gives a tensor of shape \(8,\), where Keras gives \(2, 4\)"),
        ("3", "gives a int"),
        ("(x, x)", "gives 2 tensors"),
    ],
)
def test_a_reading_of_another_structure_is_refused_in_words(code, words):
    x = keras.Input((4,))
    patient = probe(
        k2t.trace(k2t.load(keras.Model(x, L.Activation("tanh", name="layer")(x)))),
        "layer",
        [np.ones((2, 4), "float32")],
    )
    with pytest.raises(k2t.K2TError, match=words):
        patient.judge(k2t.Recipe((k2t.Override("layer", "snippet", code),)))


def test_a_snippet_may_be_written_for_a_layer_alone(traced):
    arrays = random_batch(traced.graph)
    patient = probe(traced, "norm", arrays)
    kept = k2t.Recipe((k2t.Override("norm", "snippet", "x * 0 + 1"),))
    verdict = patient.judge(kept)
    assert not verdict.passed and (verdict.values[0] == 1).all() and verdict.shapes == ""
    assert np.array_equal(patient.outputs(kept)[0], verdict.values[0])
    assert patient.expected[0].shape == verdict.values[0].shape, "Keras's order of axes"


def test_a_normalisation_alone_is_judged_where_its_epsilon_decides(traced):
    patient = probe(traced, "norm", random_batch(traced.graph))
    (closer,) = patient.closer
    assert closer.zeroed == {"norm/moving_variance"}
    nearly = k2t.Recipe((k2t.Override("norm", "arguments", {"eps": 1.02e-3}),))
    assert not patient.judge(nearly).passed, "on ordinary numbers nothing is seen of it"
    assert probe(traced, "conv", random_batch(traced.graph)).closer == ()


def test_code_that_raises_is_refused_and_one_that_insists_on_float32_is_judged_without_a_float64_run(traced):
    patient = probe(traced, "square", random_batch(traced.graph))
    with pytest.raises(k2t.K2TError, match="layer 'square': RuntimeError"):
        patient.judge(k2t.Recipe((k2t.Override("square", "snippet", "x @ x"),)))
    single = k2t.Recipe((k2t.Override("square", "snippet", "x * 2 if x.element_size() == 4 else x.nothing"),))
    assert not patient.judge(single).passed
