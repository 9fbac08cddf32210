"""Merging layers against Keras on TensorFlow.

Batches of 3 and other sizes of at least 4: keras.ops.add takes an operand with one long axis for a bias where sizes
coincide (keras/src/backend/tensorflow/numpy.py), and then adds it along another axis than NumPy.
"""

import keras
import numpy as np
import pytest
from keras import layers

from k2t_core.errors import UnsupportedError
from k2t_core.planning.planner import plan
from tests.harness import check

BINARY = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]


def merged(layer, *shapes, dtype="float32"):
    inputs = [keras.Input(shape, dtype=dtype, name=f"input_{i}") for i, shape in enumerate(shapes)]
    return keras.Model(inputs, layer(inputs))


def moves(conversion) -> bool:
    text = conversion.code.text
    return ".permute" in text or ".transpose" in text


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize(
    "shapes",
    [
        ((5,), (5,)),
        ((4, 5), (4, 5)),
        ((5, 5, 5), (5, 5, 5)),
        ((5, 5, 5), (5,)),
        ((5,), (5, 5, 5)),
        ((5, 5), (5, 5, 5)),
        ((5, 5, 5), (1, 1, 5)),
        ((5, 1, 5), (1, 5, 1)),
        ((None, 5), (None, 5)),
    ],
)
def test_pairs(kind, shapes):
    check(merged(getattr(layers, kind)(), *shapes))


@pytest.mark.parametrize("kind", ["Add", "Multiply", "Average", "Maximum", "Minimum"])
def test_three_inputs_of_three_ranks(kind):
    check(merged(getattr(layers, kind)(), (5, 5), (5,), (5, 5, 5)))


@pytest.mark.parametrize("kind", ["Add", "Multiply", "Average"])
def test_integers(kind):
    check(merged(getattr(layers, kind)(), (5, 4), (5, 4), dtype="int32"))


@pytest.mark.parametrize("kind", BINARY)
def test_residual_branch_moves_nothing(kind):
    x = keras.Input((5, 5, 5))
    y = layers.Conv2D(5, 3, padding="same")(x)
    z = getattr(layers, kind)()([x, y])
    conversion, _ = check(keras.Model(x, layers.Dense(4)(layers.Flatten()(layers.Conv2D(5, 3)(z)))))
    assert not moves(conversion)


@pytest.mark.parametrize("reshape", [(1, 1, 5), None])
def test_squeeze_and_excite_moves_nothing(reshape):
    x = keras.Input((5, 5, 5))
    y = layers.Conv2D(5, 3, padding="same")(x)
    s = layers.Dense(5, activation="sigmoid")(keras.ops.mean(y, axis=(1, 2)))
    if reshape:
        s = layers.Reshape(reshape)(s)
    conversion, _ = check(keras.Model(x, layers.Conv2D(4, 3)(layers.Multiply()([y, s]))))
    assert not moves(conversion)


@pytest.mark.parametrize("first", [True, False])
def test_inputs_in_different_layouts(first):
    """A Dense branch holds Keras's order, a Conv branch channels first: one of them moves, and the right axes meet."""
    x = keras.Input((5, 5, 5))
    pair = [layers.Conv2D(5, 3, padding="same")(x), layers.Dense(5)(x)]
    z = layers.Add()(pair if first else pair[::-1])
    check(keras.Model(x, layers.Dense(4)(layers.Flatten()(z))))
    check(keras.Model(x, layers.Conv2D(4, 3)(z)))


@pytest.mark.parametrize("axis", [-1, 1, 2, 3, -2])
def test_concatenate_axis_in_a_conv_net(axis):
    x = keras.Input((5, 5, 5))
    y = layers.Conv2D(5, 3, padding="same")(x)
    z = layers.Concatenate(axis=axis)([x, y, y])
    conversion, _ = check(keras.Model(x, layers.Dense(4)(layers.Flatten()(layers.Conv2D(4, 3)(z)))))
    assert not moves(conversion)
    check(keras.Model(x, z))


@pytest.mark.parametrize(
    "shapes, axis", [(((5,), (4,)), -1), (((5, 4), (5, 3)), 2), (((5, 4), (7, 4)), 1), (((None, 4), (None, 4)), 1)]
)
def test_concatenate_shapes(shapes, axis):
    check(merged(layers.Concatenate(axis=axis), *shapes))


def test_merge_of_one_tensor_with_itself():
    x = keras.Input((5, 5, 5))
    y = layers.Conv2D(5, 3)(x)
    check(keras.Model(x, layers.Add()([y, y])))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    "shapes, axes",
    [
        (((5,), (5,)), 1),
        (((5,), (5,)), -1),
        (((4, 5), (4, 5)), 2),
        (((4, 5), (4, 5)), 1),
        (((4, 5), (5, 4)), (1, 2)),
        (((4, 5), (5, 4)), (-1, -2)),
        (((5,), (4, 5)), (1, 2)),
        (((4, 5), (5,)), (2, 1)),
        (((4, 5, 6), (5, 7)), (2, 1)),
        (((4, 6, 5), (7, 5, 4)), (1, 3)),
    ],
)
def test_dot(shapes, axes, normalize):
    # Sums of products in another order: a few rounding errors of float32.
    check(merged(layers.Dot(axes, normalize=normalize), *shapes), tolerance=3e-5)


def test_dot_after_convolutions_moves_nothing_but_names():
    x = keras.Input((5, 5))
    y, z = (layers.Conv1D(5, 3, padding="same")(x) for _ in range(2))
    for axes in (1, 2, (1, 2), (2, 1)):
        conversion, _ = check(keras.Model(x, layers.Dot(axes)([y, z])), tolerance=3e-5)
        assert "torch.einsum" in conversion.code.text


@pytest.mark.parametrize("kind", ["Maximum", "Minimum", "Multiply", "Add"])
@pytest.mark.parametrize("masked", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("convolved", [False, True])
def test_masks(kind, masked, convolved):
    """Maximum, Minimum and Multiply read masks to compute values (base_merge.py, multiply.py)."""
    a, b = keras.Input((6,), dtype="int32", name="a"), keras.Input((6,), dtype="int32", name="b")
    x, y = (layers.Embedding(5, 4, mask_zero=m)(t) for m, t in zip(masked, (a, b)))
    z = getattr(layers, kind)()([x, y])
    if convolved:
        z = layers.Conv1D(4, 2)(z)
    check(keras.Model([a, b], z))


def test_three_masked_inputs():
    ids = [keras.Input((6,), dtype="int32", name=f"ids_{i}") for i in range(3)]
    for kind in ("Maximum", "Multiply"):
        check(keras.Model(ids, getattr(layers, kind)()([layers.Embedding(5, 4, mask_zero=True)(t) for t in ids])))


def test_mask_of_a_concatenation_reaches_a_masked_layer():
    ids = [keras.Input((6,), dtype="int32", name=f"ids_{i}") for i in range(2)]
    x = layers.Concatenate()([layers.Embedding(5, 4, mask_zero=True)(t) for t in ids])
    model = keras.Model(ids, layers.Multiply()([x, x]))
    check(model)


def test_masks_with_other_ranks_are_refused():
    ids, v = keras.Input((6,), dtype="int32"), keras.Input((4,))
    model = keras.Model([ids, v], layers.Multiply(name="times")([layers.Embedding(5, 4, mask_zero=True)(ids), v]))
    with pytest.raises(UnsupportedError, match="times"):
        plan(model).raise_for_problems()


def test_mixed_precision():
    x, y = keras.Input((5, 4)), keras.Input((5, 4))
    check(keras.Model([x, y], layers.Add(dtype="mixed_float16")([x, y])))


def test_what_keras_takes_for_a_bias_is_added_along_the_channels():
    x = keras.Input((5, 4, 5))
    check(keras.Model(x, keras.ops.add(x, np.arange(5, dtype="float32").reshape(5, 1, 1))))
