"""Helpers for attention against keras.layers and keras.ops: inference, masks of every shape, queries that see nothing.

Keras's kernels are (features, heads, size), torch's Linear has (heads · size, features).
"""

import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import layers, ops

from k2t_core.helpers.attention import (
    AdditiveAttention,
    ConcatAttention,
    DotAttention,
    EinsumAttention,
    GatedMultiHeadAttention,
    GroupedQueryAttention,
    MaskedMultiHeadAttention,
    MultiHeadAttention,
    ScoredGroupedQueryAttention,
    causal_mask,
    masked_attention,
    sliding_window_mask,
)
from tests.helpers.comparing import close, coins, load, numbers, randomised, variables

T, S = 5, 7  # steps of the queries, and of the keys and values
QUERY, VALUE, KEY = numbers(3, T, 6), numbers(3, S, 4, seed=1), numbers(3, S, 8, seed=2)


def mask_of(*shape):
    """Random, with a query that may attend to nothing and one that may attend to all."""
    mask = coins(*shape, seed=3)
    mask[0, ..., 1, :] = False
    mask[1, ..., 2, :] = True
    return mask


def tensors(*arrays):
    return [None if a is None else torch.from_numpy(a) for a in arrays]


def projected(module, layer):
    """The module with the layer's random weights."""
    found = variables(randomised(layer))
    entries = {}
    for name in ("query", "key", "value", "gate"):
        if f"{name}/kernel" in found:
            kernel = found[f"{name}/kernel"]
            entries[f"{name}__weight"] = kernel.reshape(kernel.shape[0], -1).T
        if f"{name}/bias" in found:
            entries[f"{name}__bias"] = found[f"{name}/bias"].reshape(-1)
    kernel = found["attention_output/kernel"]
    entries["output__weight"] = kernel.reshape(kernel.shape[0] * kernel.shape[1], -1).T
    if "attention_output/bias" in found:
        entries["output__bias"] = found["attention_output/bias"].reshape(-1)
    return load(module, **entries)


# --- the functions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("shape", [(3, 2, T, S), (3, 1, T, S), (1, 1, T, S)])
def test_masked_attention(scale, shape):
    """A query that may attend to nothing gets the mean of all values."""
    q, k, v = (numbers(3, n, 2, 4, seed=seed) for seed, n in enumerate((T, S, S)))
    mask = np.broadcast_to(mask_of(3, 1, T, S)[: shape[0]], shape).copy()
    expected = ops.dot_product_attention(q, k, v, mask=mask, scale=scale)
    actual = masked_attention(*(x.transpose(1, 2) for x in tensors(q, k, v)), torch.from_numpy(mask), scale=scale)
    close(actual.transpose(1, 2), expected)
    close(actual[0, :, 1], v[0].mean(0))


@pytest.mark.parametrize("is_causal", [False, True])
def test_masked_attention_without_a_mask(is_causal):
    q, k, v = (numbers(3, n, 2, 4, seed=seed) for seed, n in enumerate((T, S, S)))
    actual = masked_attention(*(x.transpose(1, 2) for x in tensors(q, k, v)), is_causal=is_causal)
    close(actual.transpose(1, 2), ops.dot_product_attention(q, k, v, is_causal=is_causal))


def test_masked_attention_where_empty_is_zero():
    """As Keras's layers compute it that add up scores themselves: Softmax with a mask."""
    q, k, v = (numbers(3, n, 2, 4, seed=seed) for seed, n in enumerate((T, S, S)))
    mask = mask_of(3, 2, T, S)
    scores = layers.Softmax()(ops.einsum("btnd,bsnd->bnts", q, k) / 2, mask=mask)
    actual = masked_attention(
        *(x.transpose(1, 2) for x in tensors(q, k, v)), torch.from_numpy(mask), empty_is_zero=True
    )
    close(actual, ops.einsum("bnts,bsnd->bntd", scores, v))
    assert not actual[0, :, 1].any()


@pytest.mark.parametrize("steps", [(T, S), (S, T), (1, 3), (4, 4)])
def test_causal_mask(steps):
    """Where a Keras layer with use_causal_mask has scores."""
    query, value = numbers(1, steps[0], 6), numbers(1, steps[1], 4)
    layer = layers.MultiHeadAttention(1, 3)
    _, scores = layer(query, value, use_causal_mask=True, return_attention_scores=True)
    close(causal_mask(*tensors(query, value)), np.asarray(scores)[0, 0] > 0)
    close(causal_mask(*tensors(query, value)), tf.linalg.band_part(np.ones(steps, bool), -1, 0))


@pytest.mark.parametrize("steps", [(T, S), (S, T), (4, 4)])
@pytest.mark.parametrize("window", [1, 2, 3, 9])
def test_sliding_window_mask(steps, window):
    """As a Keras layer with sliding_window counts: both ways, less than ``window`` apart."""
    query, value = numbers(1, steps[0], 6), numbers(1, steps[1], 4)
    layer = layers.MultiHeadAttention(1, 3, sliding_window=window)
    _, scores = layer(query, value, return_attention_scores=True)
    close(sliding_window_mask(*tensors(query, value), window), np.asarray(scores)[0, 0] > 0)


# --- several heads ---------------------------------------------------------------------------------------------

# Arguments of Keras's layer beside heads and key_dim; of the helper, beside the sizes of query and value and those two.
OPTIONS = [
    ({}, {}),
    ({"value_dim": 5}, {"value_dim": 5}),
    ({"output_shape": 9}, {"out_size": 9}),
    ({"use_bias": False}, {"bias": False}),
]


@pytest.mark.parametrize("options, arguments", OPTIONS)
@pytest.mark.parametrize("is_causal", [False, True])
def test_multi_head_attention(options, arguments, is_causal):
    layer = layers.MultiHeadAttention(2, 3, **options)
    layer.build(QUERY.shape, VALUE.shape)
    module = projected(MultiHeadAttention(6, 4, 2, 3, **arguments), layer)
    close(module(*tensors(QUERY, VALUE), is_causal=is_causal), layer(QUERY, VALUE, use_causal_mask=is_causal))


@pytest.mark.parametrize("cls", [MultiHeadAttention, MaskedMultiHeadAttention])
def test_a_key_of_its_own(cls):
    """Keras's order puts the value before the key; they have sizes of their own."""
    layer = layers.MultiHeadAttention(2, 3)
    layer.build(QUERY.shape, VALUE.shape, KEY.shape)
    module = projected(cls(6, 4, 2, 3, key_size=8), layer)
    close(module(*tensors(QUERY, VALUE, KEY)), layer(QUERY, VALUE, KEY))


def test_multi_head_attention_projects_by_head():
    """(N, steps, heads, size), for modules that build on it."""
    layer = layers.MultiHeadAttention(2, 3)
    layer.build(QUERY.shape, VALUE.shape)
    module = projected(MultiHeadAttention(6, 4, 2, 3), layer)
    found = variables(layer)
    for name, actual, x in zip(
        ("query", "key", "value"), module.project(*tensors(QUERY, VALUE)), (QUERY, VALUE, VALUE)
    ):
        close(actual, tf.einsum("btd,dnh->btnh", x, found[f"{name}/kernel"]) + found[f"{name}/bias"])


@pytest.mark.parametrize("shape", [(3, 2, T, S), (3, 1, T, S), (1, 1, T, S), None])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    "cls, options", [(MaskedMultiHeadAttention, {}), (GatedMultiHeadAttention, {"use_gate": True})]
)
def test_masked_multi_head_attention(shape, dropout, cls, options):
    """A query that may attend to nothing gets the mean of all values; with dropout 0, in inference too."""
    layer = layers.MultiHeadAttention(2, 3, dropout=dropout, **options)
    layer.build(QUERY.shape, VALUE.shape)
    module = projected(cls(6, 4, 2, 3, dropout=dropout), layer)
    mask = None if shape is None else np.broadcast_to(mask_of(3, 1, T, S)[: shape[0]], shape).copy()
    close(module(*tensors(QUERY, VALUE), mask=tensors(mask)[0]), layer(QUERY, VALUE, attention_mask=mask))


@pytest.mark.parametrize(
    "cls, options", [(MaskedMultiHeadAttention, {}), (GatedMultiHeadAttention, {"use_gate": True})]
)
def test_masked_multi_head_attention_that_is_causal(cls, options):
    layer = layers.MultiHeadAttention(2, 3, **options)
    layer.build(QUERY.shape, VALUE.shape)
    module = projected(cls(6, 4, 2, 3), layer)
    close(module(*tensors(QUERY, VALUE), is_causal=True), layer(QUERY, VALUE, use_causal_mask=True))


@pytest.mark.parametrize("options, arguments", OPTIONS)
def test_gated_multi_head_attention(options, arguments):
    """The gate is as wide as the values of all heads, which need not be as wide as the keys."""
    layer = layers.MultiHeadAttention(2, 3, use_gate=True, **options)
    layer.build(QUERY.shape, VALUE.shape)
    close(
        projected(GatedMultiHeadAttention(6, 4, 2, 3, **arguments), layer)(*tensors(QUERY, VALUE)), layer(QUERY, VALUE)
    )


# --- fewer keys than queries ------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads, shared", [(4, 2), (6, 3), (4, 1), (3, 3)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gate", [True, False])
def test_grouped_query_attention(heads, shared, bias, gate):
    layer = layers.GroupQueryAttention(3, heads, shared, use_bias=bias, use_gate=gate)
    layer.build(QUERY.shape, VALUE.shape, KEY.shape)
    module = projected(GroupedQueryAttention(6, 4, heads, shared, 3, key_size=8, bias=bias, gate=gate), layer)
    close(module(*tensors(QUERY, VALUE, KEY)), layer(QUERY, VALUE, KEY))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("is_causal", [False, True])
def test_masked_grouped_query_attention(dropout, is_causal):
    layer = layers.GroupQueryAttention(3, 4, 2, dropout=dropout)
    layer.build(QUERY.shape, VALUE.shape)
    module = projected(GroupedQueryAttention(6, 4, 4, 2, 3, dropout=dropout), layer)
    mask = None if is_causal else mask_of(3, T, S)
    own = None if is_causal else torch.from_numpy(mask).unsqueeze(1)
    actual = module(*tensors(QUERY, VALUE), mask=own, is_causal=is_causal)
    close(actual, layer(QUERY, VALUE, attention_mask=mask, use_causal_mask=is_causal))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("gate", [False, True])
def test_scored_grouped_query_attention(masked, gate):
    layer = layers.GroupQueryAttention(3, 4, 2, use_gate=gate)
    layer.build(QUERY.shape, VALUE.shape)
    module = projected(ScoredGroupedQueryAttention(6, 4, 4, 2, 3, gate=gate), layer)
    mask = mask_of(3, T, S) if masked else None
    expected = layer(QUERY, VALUE, attention_mask=mask, return_attention_scores=True)
    own = torch.from_numpy(mask).unsqueeze(1) if masked else None
    for actual, wanted in zip(module(*tensors(QUERY, VALUE), mask=own), expected):
        close(actual, wanted)


# --- any axes --------------------------------------------------------------------------------------------------

EQUATIONS = ("bsnd,btnd->bnts", "bnts,bsnd->btnd")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_einsum_attention_gives_scores(masked, gate, dropout):
    layer = layers.MultiHeadAttention(2, 3, use_gate=gate, dropout=dropout)
    layer.build(QUERY.shape, VALUE.shape)
    module = projected(EinsumAttention(6, 4, 2, 3, dropout=dropout, equations=EQUATIONS, gate=gate), layer)
    mask = mask_of(3, T, S) if masked else None
    expected = layer(QUERY, VALUE, attention_mask=mask, return_attention_scores=True)
    own = torch.from_numpy(mask).unsqueeze(1) if masked else None
    for actual, wanted in zip(module(*tensors(QUERY, VALUE), mask=own), expected):
        close(actual, wanted)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "axes, equations, shape",
    [
        ((1, 2), ("bspnd,btund->bntusp", "bntusp,bspnd->btund"), (2, 3, 4)),
        ((1,), ("bsxnd,btxnd->bxnts", "bxnts,bsxnd->btxnd"), (2, 4)),
        ((2,), ("bxsnd,bxtnd->bxnts", "bxnts,bxsnd->bxtnd"), (4, 2)),
    ],
)
def test_einsum_attention_over_axes(masked, axes, equations, shape):
    """Over rows, over columns, over both together."""
    query = numbers(2, 3, 4, 6)
    value = numbers(2, *{(1, 2): (2, 5), (1,): (5, 4), (2,): (3, 5)}[axes], 4, seed=1)
    layer = layers.MultiHeadAttention(2, 3, attention_axes=axes)
    layer.build(query.shape, value.shape)
    module = projected(EinsumAttention(6, 4, 2, 3, equations=equations, axes=len(axes)), layer)
    mask = None
    if masked:  # (N, heads of all, query axes, key axes), or with the axis that is left in front
        sizes = {(1, 2): (3, 4, 2, 5), (1,): (4, 1, 3, 5), (2,): (3, 1, 4, 5)}[axes]
        mask = coins(2, *sizes, seed=4) if len(axes) == 1 else coins(2, 1, *sizes, seed=4)
    actual, _ = module(*tensors(query, value), mask=tensors(mask)[0])
    close(actual, layer(query, value, attention_mask=mask))


# --- without projections ---------------------------------------------------------------------------------------


def plain(module, layer, mask=None, query_mask=None, causal=False):
    """Both results of a module and of keras.layers.Attention or AdditiveAttention, on inputs of one size."""
    query, value, key = numbers(3, T, 4), numbers(3, S, 6, seed=1), numbers(3, S, 4, seed=2)
    layer.build([query.shape, value.shape, key.shape])
    found = {
        {"concat_score_weight": "weight"}.get(v.name, v.name): np.array(v)
        for v in (randomised(layer) if layer.variables else layer).variables
        if "float" in str(v.dtype)
    }
    load(module, **found)
    masks = [query_mask, mask] if query_mask is not None or mask is not None else None
    expected = layer(
        [query, value, key], mask=masks, return_attention_scores=True, use_causal_mask=causal, training=False
    )
    own = None if mask is None else torch.from_numpy(mask).unsqueeze(1)
    if causal:
        causal_only = causal_mask(*tensors(query, value))
        own = causal_only if own is None else own & causal_only
    for actual, wanted in zip(module(*tensors(query, value, key), own, tensors(query_mask)[0]), expected):
        close(actual, wanted)


PADDING = coins(3, S, seed=5)
PADDING[1] = False  # of a sample nothing is left
MODULES = [
    (lambda: DotAttention(), lambda: layers.Attention()),
    (lambda: DotAttention(scale=True), lambda: layers.Attention(use_scale=True)),
    (lambda: DotAttention(dropout=0.3), lambda: layers.Attention(dropout=0.3)),
    (lambda: ConcatAttention(), lambda: layers.Attention(score_mode="concat")),
    (lambda: ConcatAttention(scale=True), lambda: layers.Attention(score_mode="concat", use_scale=True)),
    (lambda: AdditiveAttention(), lambda: layers.AdditiveAttention(use_scale=False)),
    (lambda: AdditiveAttention(4), lambda: layers.AdditiveAttention()),
]
NAMES = ["dot", "dot-scale", "dot-dropout", "concat", "concat-scale", "additive", "additive-scale"]


@pytest.mark.parametrize("helper, keras_layer", MODULES, ids=NAMES)
@pytest.mark.parametrize("mask", [None, PADDING], ids=["all", "padded"])
@pytest.mark.parametrize("query_mask", [None, coins(3, T, seed=6)], ids=["", "queries"])
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
def test_attention_without_projections(helper, keras_layer, mask, query_mask, causal):
    """Masked scores are lowered, not removed: where nothing is left, the softmax is that of all scores."""
    plain(helper(), keras_layer(), mask, query_mask, causal)


def test_dot_attention_in_half_precision():
    """What is masked is lowered by float16's largest number."""
    query, value = numbers(2, T, 4, dtype="float16"), numbers(2, S, 4, seed=1, dtype="float16")
    mask = coins(2, S, seed=2)
    mask[0] = False
    expected = layers.Attention(dtype="float16")([query, value], mask=[None, mask])
    actual, _ = DotAttention()(*tensors(query, value), mask=torch.from_numpy(mask).unsqueeze(1))
    close(actual, expected, 2e-3)


def test_the_key_is_the_value_where_none_is_given():
    query, value = numbers(3, T, 4), numbers(3, S, 4, seed=1)
    actual, _ = DotAttention().eval()(*tensors(query, value))
    close(actual, layers.Attention()([query, value]))


@pytest.mark.parametrize(
    "module", [MultiHeadAttention(6, 4, 2, 3, dropout=0.9), DotAttention(dropout=0.9)], ids=["heads", "dot"]
)
def test_dropout_acts_in_training(module):
    torch.manual_seed(0)
    inputs = tensors(numbers(3, T, 6), numbers(3, S, 4 if isinstance(module, MultiHeadAttention) else 6))

    def run(training):
        y = module.train(training)(*inputs)
        return (y[0] if isinstance(y, tuple) else y).detach()

    assert not torch.allclose(run(True), run(False))
    close(run(False), run(False), 0)


@pytest.mark.parametrize(
    "module",
    [MultiHeadAttention(6, 4, 2, 3), GroupedQueryAttention(6, 4, 4, 2, 3), AdditiveAttention(), ConcatAttention()],
    ids=lambda module: type(module).__name__,
)
def test_no_dropout_by_default(module):
    inputs = tensors(numbers(3, T, 6), numbers(3, S, 6 if isinstance(module, DotAttention) else 4))
    found = [module.train(training)(*inputs) for training in (True, False)]
    training, inference = (y[0] if isinstance(y, tuple) else y for y in found)
    close(training, inference.detach())
