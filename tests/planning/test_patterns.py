"""Runs of calls that are alike are found with their places, and only where they can be cut out."""

from __future__ import annotations

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.planning.folding import fold
from k2t_core.planning.names import Names
from k2t_core.planning.patterns import Patterns, Unit, readers_of


def unit(index, kind="Dense", inputs=None):
    inputs = (f"t{index}",) if inputs is None else inputs
    return Unit(index, index, index + 1, inputs, (f"t{index + 1}",), kind, None, kind, frozenset({kind}), 2)


@pytest.fixture
def patterns():
    x = y = keras.Input((4,))
    for _ in range(2):
        y = layers.Dense(4)(y)
    return Patterns(k2t.trace(k2t.load(keras.Model(x, y))).graph)


def test_who_reads_what():
    assert readers_of([unit(0), unit(1, inputs=("t0", "t0")), unit(2, inputs=("t1", "t0"))]) == {
        "t0": [0, 1, 2],
        "t1": [2],
    }


def test_what_goes_into_a_run_and_what_comes_out(patterns):
    units = [unit(k) for k in range(4)]
    assert patterns.ends(units, 1, 3) == (("t1",), "t3")
    again = [*units, unit(4, inputs=("t4", "t2"))]  # reads from the middle of the run
    assert patterns.ends(again, 1, 3) == (("t1",), None)


def test_a_sequence_that_repeats_is_found_at_each_of_its_places(example):
    x = y = keras.Input((8, 8, 3))
    for _ in range(3):
        for _ in range(3):
            y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same")(y)))
        y = layers.MaxPooling2D(2, padding="same")(y)
    plan = k2t.plan(keras.Model(x, y))
    assert len(plan.root.instances) > 1 and len({id(use.block) for use in plan.root.uses}) == 1


def test_what_is_small_is_left_as_it_is(example):
    scope = k2t.plan(example("convnet")).root
    assert fold(scope.graph, scope.nodes, str, Names(set())) == ((), scope.nodes)
