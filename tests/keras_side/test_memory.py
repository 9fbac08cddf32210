"""How much memory a batch takes, and what is refused before it is computed."""

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side import memory
from k2t_core.keras_side.reading import read


@pytest.fixture
def graph():
    x = keras.Input((8,), name="in")
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="inside")], name="inner")
    return read(keras.Model(x, inner(layers.Dense(4, name="wide")(x)))).graph


def test_every_call_counts_what_it_gives_and_what_it_is_given(graph):
    found = list(memory.calls(graph, batch=10))
    assert found == [
        ({"wide": 10 * 4 * 4}, {"in": 10 * 8 * 4}),
        ({"inner/inside": 10 * 2 * 4}, {"wide": 160, f"inner/{graph.nodes[1].layer.graph.inputs[0]}": 160}),
        ({"inner": 80}, {"wide": 160}),
    ]
    assert memory.total(graph, 10) == 160 + 80 + 80
    assert memory.needs(graph, 20) == 2 * memory.needs(graph, 10)


def test_a_free_dimension_counts_as_some():
    assert memory.nbytes((None, None, 3), 2) == 4 * 2 * memory.FREE * 3


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(graph, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: memory.needs(graph, 7))
    memory.check_batch(graph, 7)
    with pytest.raises(k2t.InputError, match="give fewer samples, such as 7"):
        memory.check_batch(graph, 8)
    monkeypatch.setattr(memory, "available", lambda: 1)
    with pytest.raises(k2t.InputError, match="give a smaller batch"):
        memory.check_batch(graph, 1)


def test_where_the_system_does_not_say_nothing_is_refused(graph, monkeypatch, tmp_path):
    assert memory.available() is None or memory.available() > 2**20
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.check_batch(graph, 10**9)
    memory.check_file(tmp_path, 10**15)


def test_a_file_larger_than_memory_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "available", lambda: 2**30)
    memory.check_file(tmp_path / "fits.npy", 2**30)
    with pytest.raises(k2t.InputError, match="large.npy: holds 2.0 GiB, and 1.0 GiB of memory are free"):
        memory.check_file(tmp_path / "large.npy", 2**31)


def test_what_this_process_may_have_counts_as_well():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    free = memory.available()
    if free is None:
        pytest.skip("the system does not say")
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (2**40, hard))
        assert memory.available() is not None
        resource.setrlimit(resource.RLIMIT_DATA, (1, hard))
        assert memory.available() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def test_a_batch_of_a_fixed_size_is_as_large_as_it_says():
    assert memory.nbytes((100, 3), 2) == 4 * 100 * 3 and memory.nbytes((), 2) == 8
