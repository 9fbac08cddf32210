"""Attention rules against Keras on TensorFlow."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

from k2t_core.errors import UnsupportedError
from k2t_core.recipe import Override
from tests.harness import check, convert_and_run, relative_difference


def model_of(layer, *shapes, masks=(), dtype="float32", **call):
    """A model of one attention call on query, value and perhaps key; ``masks``: (name, shape, dtype) of further
    inputs."""
    inputs = [keras.Input(shape, dtype=dtype, name=name) for shape, name in zip(shapes, ("query", "value", "key"))]
    more = [keras.Input(shape, batch_size=batch, dtype=kind, name=name) for name, batch, shape, kind in masks]
    outputs = layer(*(inputs if len(inputs) > 1 else inputs * 2), **{m.name: m for m in more}, **call)
    return keras.Model([*inputs, *more], outputs)


def mha(num_heads=2, key_dim=3, **options):
    return layers.MultiHeadAttention(num_heads, key_dim, **options)


@pytest.mark.parametrize("num_heads, key_dim", [(1, 1), (1, 5), (2, 3), (4, 2)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_self_attention(num_heads, key_dim, use_bias):
    check(model_of(mha(num_heads, key_dim, use_bias=use_bias), (5, 6)))


@pytest.mark.parametrize("value_dim", [None, 3, 4])
@pytest.mark.parametrize("output_shape", [None, 6, 7, (2, 5), (2, 1, 3)])
def test_value_dim_and_output_shape(value_dim, output_shape):
    check(model_of(mha(value_dim=value_dim, output_shape=output_shape), (5, 6), (4, 7)))


@pytest.mark.parametrize(
    "shapes",
    [
        ((5, 6), (4, 6)),
        ((5, 6), (4, 7), (4, 3)),
        ((4, 6), (4, 7), (4, 6)),
        ((None, 6), (None, 7)),
        ((1, 6), (1, 7)),
        ((1, 6), (5, 7)),
        ((5, 1), (1, 1)),
    ],
)
@pytest.mark.parametrize("causal", [False, True])
def test_cross_attention(shapes, causal):
    """The call order is query, value, key."""
    check(model_of(mha(), *shapes, use_causal_mask=causal))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("window", [None, 1, 2])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scores", [False, True])
def test_options_together(dropout, gate, window, causal, scores):
    layer = mha(dropout=dropout, use_gate=gate, sliding_window=window, value_dim=4)
    check(model_of(layer, (5, 6), (5, 7), use_causal_mask=causal, return_attention_scores=scores))


MASKS = {
    "(T, S)": (5, (4,)),
    "(B, T, S)": (None, (5, 4)),
    "(1, T, S)": (1, (5, 4)),
    "(B, 1, S)": (None, (1, 4)),
    "(B, T, 1)": (None, (5, 1)),
    "(B, N, T, S)": (None, (2, 5, 4)),
    "(B, 1, T, S)": (None, (1, 5, 4)),
    "(B, 1, 1, S)": (None, (1, 1, 4)),
}


def masked(model, density=0.5, seed=1):
    """Inputs for a model with masks: some queries may attend to nothing."""
    rng = np.random.default_rng(seed)
    arrays = []
    for x in model.inputs:
        shape = tuple(3 if n is None else n for n in x.shape)
        if x.dtype == "float32" and "mask" not in x.name:
            arrays.append(rng.standard_normal(shape).astype("float32"))
        else:
            allowed = rng.random(shape) < density
            if len(shape) > 2 or shape[0] != 3:
                allowed[..., 0, :] = allowed.shape[-2] == 1
            arrays.append(np.where(allowed, 2, 0).astype(x.dtype))
    return arrays


@pytest.mark.parametrize("shape", MASKS)
@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
@pytest.mark.parametrize("dropout, scores", [(0.0, False), (0.1, False), (0.0, True)])
def test_attention_mask(shape, dtype, dropout, scores):
    model = model_of(
        mha(dropout=dropout),
        (5, 6),
        (4, 6),
        masks=[("attention_mask", *MASKS[shape], dtype)],
        return_attention_scores=scores,
    )
    check(model, masked(model))


@pytest.mark.parametrize("shape", MASKS)
@pytest.mark.parametrize("causal, window", [(True, None), (False, 2), (True, 3)])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_attention_mask_with_causal_and_window(shape, causal, window, dropout):
    layer = mha(dropout=dropout, sliding_window=window)
    model = model_of(layer, (5, 6), (4, 6), masks=[("attention_mask", *MASKS[shape], "bool")], use_causal_mask=causal)
    check(model, masked(model))


@pytest.mark.parametrize("dropout, scores", [(0.0, False), (0.1, False), (0.0, True)])
@pytest.mark.parametrize(
    "names",
    [
        ["query_mask"],
        ["value_mask"],
        ["key_mask"],
        ["query_mask", "value_mask"],
        ["query_mask", "value_mask", "key_mask"],
    ],
)
def test_padding_masks_given_as_arguments(names, dropout, scores):
    """query_mask counts only where the query carries it (multi_head_attention.py reads it from the tensor)."""
    masks = [(name, None, (5 if name == "query_mask" else 4,), "bool") for name in names]
    model = model_of(mha(dropout=dropout), (5, 6), (4, 6), (4, 7), masks=masks, return_attention_scores=scores)
    check(model, masked(model))


def tokens_model(attend, length=6, **embedding):
    """Two sequences of tokens, the second of which has another length; 0 is padding."""
    x, y = keras.Input((length,), dtype="int32", name="x"), keras.Input((4,), dtype="int32", name="y")
    a, b = layers.Embedding(9, 6, mask_zero=True)(x), layers.Embedding(9, 6, mask_zero=True)(y)
    return keras.Model([x, y], attend(a, b))


TOKENS = [
    np.array([[3, 1, 4, 1, 0, 0], [5, 0, 2, 6, 5, 3], [0, 0, 0, 0, 0, 0]], "int32"),
    np.array([[2, 7, 1, 0], [0, 0, 0, 0], [8, 2, 8, 0]], "int32"),
]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout, scores", [(0.0, False), (0.1, False), (0.0, True)])
@pytest.mark.parametrize("kind", ["self", "cross", "value first", "with key", "keywords"])
def test_masks_of_embeddings(kind, dropout, scores, causal):
    options = {"return_attention_scores": scores, "use_causal_mask": causal}
    layer = mha(dropout=dropout)
    calls = {
        "self": lambda a, b: layer(a, a, **options),
        "cross": lambda a, b: layer(a, b, **options),
        "value first": lambda a, b: layer(b, a, **options),
        "with key": lambda a, b: layer(a, b, layers.Dense(5)(b), **options),
        "keywords": lambda a, b: layer(query=a, value=b, **options),
    }
    check(tokens_model(calls[kind]), TOKENS)


def test_mask_after_attention():
    """The query's mask goes on with the output; the inputs lose theirs once MultiHeadAttention has seen them."""

    def attend(a, b):
        x = mha()(a, b)
        return (
            layers.GlobalAveragePooling1D()(x),
            layers.GlobalAveragePooling1D()(a),
            layers.GlobalAveragePooling1D()(b),
        )

    check(tokens_model(attend), [np.maximum(t, [[1] + [0] * (t.shape[1] - 1)]) for t in TOKENS])


@pytest.mark.parametrize(
    "array",
    [np.tril(np.ones((5, 5), bool)), np.array([[1, 0, 2, 0, 1]] * 5, "float32"), np.ones((1, 2, 5, 5), "int32")],
)
def test_constant_attention_mask(array):
    x = keras.Input((5, 6))
    check(keras.Model(x, mha()(x, x, attention_mask=array)))


@pytest.mark.parametrize("axes", [None, 1, 2, (1,), (2,), (1, 2), (2, 1), (-2,), (-3, -2)])
@pytest.mark.parametrize("dropout, gate", [(0.0, False), (0.1, True)])
def test_attention_axes(axes, dropout, gate):
    layer = mha(attention_axes=axes, dropout=dropout, use_gate=gate, value_dim=4, output_shape=(2, 3) if gate else None)
    check(model_of(layer, (3, 4, 6), (3, 4, 5)))


@pytest.mark.parametrize("axes", [None, (2, 3), (1, 3)])
def test_attention_axes_5d(axes):
    """TensorFlow's softmax on the CPU has no sixth axis, so that Keras cannot compute (1,) or (3,)."""
    check(model_of(mha(attention_axes=axes), (2, 3, 4, 6)))


@pytest.mark.parametrize(
    "axes, batch, shape",
    [
        ((2,), None, (4, 5)),
        ((2,), None, (3, 4, 5)),
        ((2,), None, (3, 2, 4, 5)),
        ((2,), 4, (5,)),
        ((1, 2), 3, (4, 3, 5)),
        ((1, 2), None, (3, 4, 3, 5)),
        ((1, 2), None, (2, 3, 4, 3, 5)),
    ],
)
def test_attention_mask_over_axes(axes, batch, shape):
    model = model_of(mha(attention_axes=axes), (3, 4, 6), (3, 5, 6), masks=[("attention_mask", batch, shape, "bool")])
    check(model, masked(model))


def test_causal_over_axis_1_of_4d():
    check(model_of(mha(attention_axes=1), (4, 3, 6), use_causal_mask=True))
    check(model_of(mha(attention_axes=1, sliding_window=2), (4, 3, 6)))


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda: model_of(mha(attention_axes=2), (3, 4, 6), use_causal_mask=True), "axis 1"),
        (lambda: model_of(mha(), (3, 4, 6), use_causal_mask=True), "axis 1"),
        (lambda: model_of(mha(), (3, 4, 6), return_attention_scores=True), "declares wrongly"),
        (
            lambda: tokens_model(
                lambda a, b: mha()(a, a, attention_mask=keras.Variable(np.ones((1, 2, 6, 6), bool)).numpy())
            ),
            "heads",
        ),
    ],
)
def test_refused(make, reason):
    with pytest.raises(UnsupportedError, match=reason):
        convert_and_run(make())


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "bfloat16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("dropout, scores", [(0.0, False), (0.1, False), (0.0, True)])
def test_dtype_policies(policy, dropout, scores):
    """Half precision has its own large negative number, and Keras's softmax runs in float32 without scores."""
    layer = mha(dropout=dropout, dtype=policy)
    model = model_of(
        layer,
        (5, 6),
        (4, 6),
        masks=[("attention_mask", None, (5, 4), "bool")],
        return_attention_scores=scores,
        use_causal_mask=True,
    )
    tolerance = {"float16": 4e-3, "bfloat16": 3e-2, "float64": 1e-5}[policy.removeprefix("mixed_")]
    check(model, masked(model), tolerance)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("length", [1, 5])
def test_batch_and_dynamic_length(batch, length):
    model = model_of(mha(), (None, 6), use_causal_mask=True)
    rng = np.random.default_rng(0)
    check(model, [rng.standard_normal((batch, length, 6)).astype("float32")])


def test_shared_layer():
    x, y = keras.Input((5, 6)), keras.Input((4, 6))
    layer = mha()
    conversion, _ = check(keras.Model([x, y], [layer(x, y), layer(y, x), layer(x, x, use_causal_mask=True)]))
    assert conversion.code.text.count("= MultiHeadAttention(") == 1


def test_heads_transposed_is_a_known_mistake():
    model = model_of(mha(2, 3), (5, 6))
    recipe = [Override(model.layers[-1].name, "alternative", "heads transposed")]
    _, _, expected, actual = convert_and_run(model, recipe=recipe)
    assert expected[0].shape == actual[0].shape
    assert relative_difference(expected[0], actual[0]) > 0.01


def test_training_drops_attention_weights():
    _, module, _, _ = convert_and_run(model_of(mha(dropout=0.5), (5, 6)))
    x = torch.randn(2, 5, 6)
    assert torch.equal(module(x), module(x))
    module.train()
    assert not torch.equal(module(x), module(x))


def test_generated_source():
    conversion, module = check(model_of(mha(), (5, 6), use_causal_mask=True))
    text = conversion.code.text
    assert "= MultiHeadAttention(6, 6, heads=2, key_dim=3)" in text
    assert "(x, x, is_causal=True)" in text.replace("query", "x")
    torch.export.export(module, (torch.randn(2, 5, 6),))


# GroupedQueryAttention


def gqa(head_dim=3, query_heads=4, heads=2, **options):
    return layers.GroupQueryAttention(head_dim, query_heads, heads, **options)


@pytest.mark.parametrize("query_heads, heads", [(1, 1), (4, 1), (4, 2), (4, 4), (6, 2)])
@pytest.mark.parametrize(
    "shapes", [((5, 6),), ((5, 6), (4, 6)), ((5, 6), (4, 6), (4, 7)), ((None, 6), (None, 6)), ((1, 6), (1, 6))]
)
def test_grouped(query_heads, heads, shapes):
    check(model_of(gqa(3, query_heads, heads), *shapes))


@pytest.mark.parametrize("dropout, scores", [(0.0, False), (0.2, False), (0.0, True)])
@pytest.mark.parametrize("gate, bias", [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_grouped_options(dropout, scores, gate, bias, window, causal):
    layer = gqa(dropout=dropout, use_gate=gate, use_bias=bias, sliding_window=window)
    check(model_of(layer, (5, 6), (5, 6), use_causal_mask=causal, return_attention_scores=scores))


@pytest.mark.parametrize("shape", [name for name in MASKS if "N" not in name])
@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
@pytest.mark.parametrize(
    "dropout, scores, causal",
    [(0.0, False, False), (0.1, False, False), (0.0, True, False), (0.0, True, True), (0.0, False, True)],
)
def test_grouped_attention_mask(shape, dtype, dropout, scores, causal):
    model = model_of(
        gqa(dropout=dropout),
        (5, 6),
        (4, 6),
        masks=[("attention_mask", *MASKS[shape], dtype)],
        return_attention_scores=scores,
        use_causal_mask=causal,
    )
    check(model, masked(model))


def test_grouped_attention_mask_of_fractions():
    """0.3 attends where the mask is cast to bool, and does not where the softmax compares it with 0.5."""
    for scores in (False, True):
        model = model_of(
            gqa(), (5, 6), (4, 6), masks=[("attention_mask", None, (5, 4), "float32")], return_attention_scores=scores
        )
        arrays = masked(model)
        check(model, [*arrays[:2], np.random.default_rng(0).choice([0.0, 0.3, 0.7], (3, 5, 4)).astype("float32")])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout, scores", [(0.0, False), (0.1, False), (0.0, True)])
@pytest.mark.parametrize("kind", ["self", "cross", "with key", "keywords"])
def test_grouped_masks_of_embeddings(kind, dropout, scores, causal):
    options = {"return_attention_scores": scores, "use_causal_mask": causal}
    layer = gqa(dropout=dropout)
    calls = {
        "self": lambda a, b: layer(a, a, **options),
        "cross": lambda a, b: layer(a, b, **options),
        "with key": lambda a, b: layer(a, b, layers.Dense(5)(b), **options),
        "keywords": lambda a, b: layer(query=a, value=b, **options),
    }
    check(tokens_model(calls[kind]), TOKENS)


# Attention and AdditiveAttention


def listed(layer, *shapes, **call):
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, layer(inputs, **call))


DOT = [
    ("Attention", {}),
    ("Attention", {"use_scale": True}),
    ("Attention", {"score_mode": "concat"}),
    ("Attention", {"score_mode": "concat", "use_scale": True}),
    ("AdditiveAttention", {}),
    ("AdditiveAttention", {"use_scale": False}),
]
SEQUENCES = [
    ((5, 6), (4, 6)),
    ((5, 6), (4, 7), (4, 6)),
    ((None, 6), (None, 6)),
    ((1, 6), (2, 6)),
    ((1, 1), (3, 2), (3, 1)),
]


@pytest.mark.parametrize("kind, options", DOT)
@pytest.mark.parametrize("shapes", SEQUENCES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout, scores", [(0.0, False), (0.2, False), (0.0, True)])
def test_dot_and_additive(kind, options, shapes, causal, dropout, scores):
    layer = getattr(layers, kind)(dropout=dropout, **options)
    check(listed(layer, *shapes, use_causal_mask=causal, return_attention_scores=scores))


@pytest.mark.parametrize("kind, options", DOT)
def test_dot_and_additive_of_one_step(kind, options):
    check(listed(getattr(layers, kind)(**options), (1, 6), (1, 6)))


@pytest.mark.parametrize("kind, options", DOT)
def test_dot_and_additive_of_4d(kind, options):
    check(listed(getattr(layers, kind)(**options), (2, 5, 6), (2, 4, 6)))


@pytest.mark.parametrize("kind, options", DOT)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("which", ["both", "query", "value", "self", "key"])
def test_dot_and_additive_masks(kind, options, causal, scores, which):
    layer = getattr(layers, kind)(**options)
    x, y = keras.Input((6,), dtype="int32", name="x"), keras.Input((4,), dtype="int32", name="y")
    a, b = layers.Embedding(9, 6, mask_zero=True)(x), layers.Embedding(9, 6, mask_zero=True)(y)
    plain = layers.Embedding(9, 6)
    inputs = {
        "both": [a, b],
        "query": [a, plain(y)],
        "value": [plain(x), b],
        "self": [a, a],
        "key": [a, b, layers.Dense(6)(b)],
    }[which]
    check(keras.Model([x, y], layer(inputs, use_causal_mask=causal, return_attention_scores=scores)), TOKENS)


@pytest.mark.parametrize("shape", [(4,), (5, 4)])
@pytest.mark.parametrize("dtype", ["bool", "int32"])
def test_value_mask_given_as_argument(shape, dtype):
    query, value, mask = (
        keras.Input((5, 6), name="query"),
        keras.Input((4, 6), name="value"),
        keras.Input(shape, dtype=dtype, name="mask"),
    )
    model = keras.Model([query, value, mask], layers.Attention()([query, value], mask=[None, mask]))
    check(model, masked(model))


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("kind, options", DOT)
def test_dot_and_additive_dtypes(policy, kind, options):
    query, value = keras.Input((5, 6), dtype="float32", name="query"), keras.Input((4, 6), name="value")
    mask = keras.Input((4,), dtype="bool", name="mask")
    layer = getattr(layers, kind)(dtype=policy, **options)
    model = keras.Model([query, value, mask], layer([query, value], mask=[None, mask], return_attention_scores=True))
    arrays = masked(model)
    arrays[-1] = np.array([[True, False, True, True], [True, True, False, False], [False, True, True, True]])
    tolerance = {"float16": 4e-3, "bfloat16": 3e-2, "float64": 1e-5}[policy.removeprefix("mixed_")]
    check(model, arrays, tolerance)


def test_plain_attention_is_one_torch_call():
    conversion, module = check(listed(layers.Attention(), (5, 6), (4, 6)))
    assert "F.scaled_dot_product_attention(" in conversion.code.text
    assert not list(module.state_dict())


# keras.ops.dot_product_attention


@pytest.mark.parametrize("heads", [(1, 1), (4, 4), (4, 2)])
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}])
@pytest.mark.parametrize("with_mask", [False, True])
def test_dot_product_attention(heads, options, with_mask):
    query, key, value = (
        keras.Input((steps, n, size), name=name)
        for name, steps, n, size in (("query", 5, heads[0], 3), ("key", 4, heads[1], 3), ("value", 4, heads[1], 3))
    )
    mask = keras.Input((1, 5, 4), dtype="bool", name="mask")
    model = keras.Model(
        [query, key, value, mask] if with_mask else [query, key, value],
        keras.ops.dot_product_attention(query, key, value, mask=mask if with_mask else None, **options),
    )
    check(model, masked(model))
