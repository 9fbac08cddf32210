"""What Keras gave is kept while it is asked for; one thread at a time uses a live model."""

from __future__ import annotations

import threading

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.copying import randomised_copy
from k2t_core.keras_side.reading import read
from k2t_core.keras_side.remembering import holding_the_model, refusing_bad_batches, remembered, remembering


@pytest.fixture
def counted():
    calls = []

    @remembered
    def function(*arguments):
        calls.append(arguments)
        return object()

    return function, calls


def test_nothing_is_kept_without_being_asked(counted):
    function, calls = counted
    assert function(1) is not function(1) and len(calls) == 2


def test_the_same_arguments_are_computed_once(counted):
    function, calls = counted
    array = np.arange(3.0)
    with remembering():
        first = function(array, {"a": [array]}, {"x"}, "word", None)
        assert function(array.copy(), {"a": [array.copy()]}, {"x"}, "word", None) is first
        assert function(array + 1, {"a": [array]}, {"x"}, "word", None) is not first
        assert function(array.astype("float32"), {"a": [array]}, {"x"}, "word", None) is not first
        assert len(calls) == 3
    assert function(array, {"a": [array]}, {"x"}, "word", None) is not first


def test_objects_are_told_apart_by_who_they_are(counted):
    function, calls = counted
    with remembering():
        found = {id(function(object())) for _ in range(20)}  # each is let go at once: no id may come again
    assert len(found) == 20


def test_another_thread_does_not_remember(counted):
    function, calls = counted
    with remembering():
        first = function(1)
        others = []
        thread = threading.Thread(target=lambda: others.append(function(1)))
        thread.start()
        thread.join()
        assert others[0] is not first and function(1) is first


def test_one_thread_at_a_time_holds_the_model():
    x = keras.Input((4,))
    traced = read(keras.Model(x, layers.Dense(3)(x)))
    inside, free = threading.Event(), threading.Event()

    @holding_the_model
    def slow(traced):
        inside.set()
        free.wait(10)

    thread = threading.Thread(target=slow, args=(traced,))
    thread.start()
    inside.wait(10)
    assert not traced.source.lock.acquire(blocking=False)
    free.set()
    thread.join()
    assert traced.source.lock.acquire(blocking=False)
    traced.source.lock.release()


def test_what_keras_refuses_is_said_in_one_line():
    @refusing_bad_batches
    def refuse():
        raise ValueError("\x1b[1mtoo small\x1b[0m\n{{node x}} for a kernel\nArguments received by Layer.call(): …")

    with pytest.raises(k2t.InputError, match="^Keras itself refuses this batch: too small for a kernel; give inputs"):
        refuse()


@pytest.mark.parametrize("error", [IndexError("list index out of range"), TypeError("no"), SystemExit("stop")])
def test_whatever_a_model_raises_is_a_refusal(error):
    @refusing_bad_batches
    def refuse():
        raise error

    with pytest.raises(k2t.InputError, match="^Keras itself refuses this batch: "):
        refuse()


def test_a_fault_of_k2ts_own_is_none():
    with pytest.raises(AttributeError):
        refusing_bad_batches(randomised_copy)(None, 0)
    with pytest.raises(k2t.OutputError):
        refusing_bad_batches(raising)()


def raising():
    raise k2t.OutputError("said already")
