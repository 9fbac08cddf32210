"""Batches suit the inputs that they are drawn for."""

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.batches import DISTRIBUTIONS, edge_batches, implied_batch, random_batch
from k2t_core.keras_side.randomise import randomise
from k2t_core.keras_side.reading import read
from k2t_core.keras_side.tracing import trace

L = layers


def model_of(*stack, shape=(8, 8, 3), **options):
    model = keras.Sequential([keras.Input(shape, name="image", **options), *stack])
    randomise(model)
    return model


def test_random_batches_suit_the_inputs(example):
    graph = trace(k2t.load(example("text_classifier"))).graph
    (tokens,) = random_batch(graph, batch=64, seed=1)
    assert tokens.dtype == np.int32 and tokens.min() == 0 and tokens.max() < 2000
    assert (tokens[:, -1] == 0).any() and (tokens[:, 0] != 0).any(), "padding at the end, so that masks are tested"
    assert np.array_equal(tokens, random_batch(graph, batch=64, seed=1)[0])
    (pixels,) = random_batch(trace(k2t.load(example("convnet"))).graph, batch=2, distribution="image")
    assert (
        pixels.shape == (2, 28, 28, 3)
        and pixels.min() >= 0
        and pixels.max() <= 255
        and np.array_equal(pixels, pixels.round())
    )


@pytest.mark.parametrize("nested", [True, False])
def test_tokens_at_every_step_come_from_the_vocabulary(nested, tmp_path):
    tokens = keras.Input((5, 6), dtype="int32")
    embedding = layers.Embedding(4, 3, mask_zero=True)
    x = layers.TimeDistributed(
        keras.Sequential([keras.Input((6,), dtype="int32"), embedding, layers.GlobalAveragePooling1D()])
        if nested
        else embedding
    )(tokens)
    model = keras.Model(tokens, layers.Dense(2)(x))
    (drawn,) = random_batch(trace(k2t.load(model)).graph, batch=16)
    assert set(np.unique(drawn)) == {0, 1, 2, 3}
    k2t.convert(model, tmp_path)
    assert k2t.verify(tmp_path, model).passed


def test_places_in_a_table_that_is_read_backwards_too_stay_within_it(tmp_path):
    tokens = keras.Input((5,), dtype="int32")
    table = layers.ReversibleEmbedding(4, 3)
    model = keras.Model(tokens, table(layers.Dense(3)(table(tokens)), reverse=True))
    k2t.convert(model, tmp_path)
    assert k2t.verify(tmp_path, model).passed
    vectors = keras.Input((5, 3))
    reverse = layers.ReversibleEmbedding(4, 3)
    reverse.build((None, 5))
    (drawn,) = random_batch(read(keras.Model(vectors, reverse(vectors, reverse=True))).graph, batch=16)
    assert drawn.min() < 0 and drawn.dtype == np.float32  # these are no places


def test_tokens_that_share_a_table_by_offsets_stay_within_it(tmp_path):
    tokens = keras.Input((4,), dtype="int32")
    model = keras.Model(tokens, layers.Embedding(8, 3)(tokens + np.array([0, 2, 4, 6], "int32")))
    k2t.convert(model, tmp_path)
    assert k2t.verify(tmp_path, model).passed


@pytest.mark.parametrize("distribution", list(DISTRIBUTIONS))
def test_distributions_are_reproducible(distribution):
    graph = read(model_of(L.Conv2D(2, 3))).graph
    (array,) = random_batch(graph, 3, 5, distribution)
    assert array.shape == (3, 8, 8, 3) and array.dtype == np.float32
    assert np.array_equal(array, random_batch(graph, 3, 5, distribution)[0])
    assert np.array_equal(array, random_batch(graph, 3, 6, distribution)[0]) == (distribution in ("zeros", "ones"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch": 0}, "the batch size is 0"),
        ({"seed": -1}, "the seed is -1"),
        ({"distribution": "noise"}, "unknown input distribution 'noise'"),
    ],
)
def test_what_is_no_batch(given, words):
    with pytest.raises(k2t.InputError, match=words):
        random_batch(read(model_of(L.Conv2D(2, 3))).graph, **given)


def test_strings_are_left_to_the_data_pipeline():
    x = keras.Input((1,), dtype="string", name="word")
    graph = read(keras.Model(x, L.StringLookup(vocabulary=["a"])(x))).graph
    with pytest.raises(k2t.InputError, match="input 'word' takes strings"):
        random_batch(graph)


def test_edges_are_what_ordinary_numbers_do_not_show():
    x, ids = keras.Input((None, 3), name="x"), keras.Input((4,), dtype="int32", name="ids")
    graph = read(keras.Model([x, ids], [L.Dense(2)(x), L.Embedding(9, 2)(ids)])).graph
    found = dict(edge_batches(graph))
    assert list(found) == [
        "zeros, batch of 1",
        "tiny numbers (normal · 0.001), batch of 1",
        "large numbers (normal · 1000), batch of 1",
        "other sizes, batch of 1",
    ]
    zeros, tiny, large, other = found.values()
    assert not zeros[0].any() and not zeros[1].any()
    assert np.abs(tiny[0]).max() < 0.01 and np.abs(large[0]).max() > 100
    assert all(0 <= arrays[1].min() and arrays[1].max() < 9 for arrays in found.values())  # tokens stay tokens
    assert other[0].shape[1] != zeros[0].shape[1]


def test_float16_is_not_taken_beyond_its_range():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, dtype="float16")])
    assert any("normal · 8" in name for name, _ in edge_batches(read(model).graph))


def implied(model):
    traced = trace(k2t.load(model))
    return implied_batch(traced.graph, traced.value, 64)


def test_a_rescaling_means_pixels():
    why, (array,) = implied(model_of(L.Rescaling(1 / 127.5, offset=-1.0, name="scale"), L.Conv2D(2, 3)))
    assert array.min() == 0 and array.max() == 255 and np.array_equal(array, array.round())
    assert why == "pixels 0…255, as the Rescaling 'scale' multiplies by 0.007843"


def test_a_rescaling_of_each_channel_means_pixels(tmp_path):
    model = model_of(L.Rescaling(np.array([1 / 255, 1 / 127, 1 / 64], "float32"), name="scale"), L.Conv2D(2, 3))
    why, (array,) = implied(model)
    assert array.max() == 255 and why.endswith("the Rescaling 'scale' multiplies by 0.003922")
    k2t.convert(model, tmp_path)
    assert k2t.verify(tmp_path, model).passed


def test_what_divides_a_number_by_its_input_means_nothing():
    x = keras.Input((4, 4, 3))
    assert implied(keras.Model(x, L.Conv2D(2, 3)(1 / (keras.ops.abs(x) + 1)))) is None
    assert implied(keras.Model(x, L.Conv2D(2, 3)(0.001 / x))) is None


@pytest.mark.parametrize("between", [lambda: L.ZeroPadding2D(1), lambda: L.Cropping2D(1), lambda: L.Resizing(6, 6)])
def test_what_leaves_numbers_in_their_range_is_looked_through(between):
    why, (array,) = implied(model_of(between(), L.Rescaling(1 / 255), L.Conv2D(2, 3)))
    assert array.max() == 255 and "Rescaling" in why


def test_a_division_means_pixels_too():
    x = keras.Input((4, 4, 3))
    why, (array,) = implied(keras.Model(x, L.Conv2D(2, 3)(x / 255.0)))
    assert array.max() == 255 and "multiplies by 0.003922 first" in why


def test_a_normalization_means_its_own_statistics():
    layer = L.Normalization(name="norm")
    layer.adapt(np.random.default_rng(0).normal([100.0, -5.0, 0.0], [20.0, 1.0, 0.1], (2000, 3)).astype("float32"))
    x = keras.Input((3,))
    why, (array,) = implied(keras.Model(x, L.Dense(2)(layer(x))))
    assert np.allclose(array.mean(0), [100, -5, 0], atol=[10, 1, 0.1]) and np.allclose(
        array.std(0), [20, 1, 0.1], rtol=0.3
    )
    assert "the Normalization 'norm' expects" in why


def test_a_rescaling_within_a_nested_model():
    inner = model_of(L.Rescaling(1 / 255, name="scale"), L.Conv2D(2, 3))
    x = keras.Input((8, 8, 3))
    why, (array,) = implied(keras.Model(x, inner(x)))
    assert array.max() == 255 and "/scale'" in why


@pytest.mark.parametrize("first", [lambda: L.Rescaling(2.0), lambda: L.Conv2D(2, 3), lambda: L.BatchNormalization()])
def test_nothing_is_made_up_where_the_model_says_nothing(first):
    assert implied(model_of(first())) is None
