"""Attention. Source: keras/src/layers/attention/ and dot_product_attention in keras/src/backend/tensorflow/nn.py.

Long because the layers share how masks are combined and projections read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from k2t_core.layout import Layout, identity
from k2t_core.rules.broadcasting import cast
from k2t_core.rules.registry import LAST, OUT, SELF, Alternative, Call, Mapping, Module, Slot, Weight, rule
from k2t_core.transforms import Constant, Permute, Reshape, Transform

# Letters of the queries' and the keys' axes in an einsum.
TARGETS, SOURCES = "tuvw", "spqr"

# Arguments of the helper classes, left out where they have these values.
OPTIONAL = {
    "value_dim": None,
    "out_size": None,
    "key_size": None,
    "bias": True,
    "dropout": 0.0,
    "axes": 1,
    "gate": False,
}

WHY = (
    "Keras keeps an axis of heads in its kernels, (D, heads, size); torch's Linear has them in its rows, "
    "head after head."
)

TRANSPOSED_HEADS = Alternative(
    "heads transposed",
    "read the query, key and value kernels as (D, H, N), head size before heads",
    "never for a Keras file: a known mistake that keeps every shape right; "
    "choose it to see what it does to the numbers",
)


def _projection(call: Call, key: str, name: str, use_bias: bool) -> list[Weight]:
    """Kernel (D, N, H) → (N·H, D), bias (N, H) → (N·H,)."""
    d, n, h = call.variable(f"{name}/kernel").shape
    kernel: tuple[Transform, ...] = (Reshape((d, n, h), (d, n * h)), Permute((1, 0)))
    bias: tuple[Transform, ...] = (Reshape((n, h), (n * h,)),)
    if call.choice == TRANSPOSED_HEADS.name:
        kernel = (Permute((0, 2, 1)), Reshape((d, h, n), (d, n * h)), Permute((1, 0)))
        bias = (Permute((1, 0)), Reshape((h, n), (n * h,)))
    return [
        Weight(f"{key}.weight", f"{name}/kernel", kernel),
        *([Weight(f"{key}.bias", f"{name}/bias", bias)] if use_bias else []),
    ]


def _output(call: Call, use_bias: bool) -> list[Weight]:
    """Kernel (N, H, O…) → (O, N·H), bias (O…) → (O,)."""
    shape = call.variable("attention_output/kernel").shape
    n, h, *rest = shape
    flat = math.prod(rest)
    weights = [Weight("output.weight", "attention_output/kernel", (Reshape(shape, (n * h, flat)), Permute((1, 0))))]
    if use_bias:
        weights.append(
            Weight("output.bias", "attention_output/bias", (Reshape(tuple(rest), (flat,)),) if len(rest) > 1 else ())
        )
    return weights


def _projections(call: Call, use_bias: bool, gate: bool) -> list[Weight]:
    names = ["query", "key", "value", *(["gate"] if gate else [])]
    return [w for name in names for w in _projection(call, name, name, use_bias)] + _output(call, use_bias)


@dataclass(frozen=True)
class _Mask:
    """Who may attend to whom: an expression that broadcasts to the scores, or None; ``causal``: that, and nothing
    else."""

    text: str | None
    causal: bool = False
    init: tuple[str, ...] = ()
    weights: tuple[Weight, ...] = ()


def _inputs(call: Call) -> tuple[Slot, Slot, Slot | None]:
    """Query, value and key; Keras's order puts the value before the key."""
    found = tuple(call.argument(name) for name in ("query", "value", "key"))
    call.refuse(
        any(x is not None and not isinstance(x, Slot) for x in found),
        "its query, value or key is a constant; make it an input or the weight of a layer",
    )
    call.refuse(
        call.option("flash_attention", None) is True,
        "Keras's TensorFlow backend has no flash attention, so there is nothing to compare with; "
        "set flash_attention=None",
    )
    return found


def _bool(mask: Slot) -> str:
    return str(mask) if mask.dtype == "bool" else cast(str(mask), "bool")


def _mask(call: Call, query: Slot, value: Slot, axes: tuple[int, ...], threshold: bool = False) -> _Mask:
    """All masks of a call in one: `_compute_attention_mask` and the axes that `_masked_softmax` inserts.

    threshold: an attention mask of numbers that comes alone is True above 0.5, not wherever it is not 0.
    """
    given, causal, window = (
        call.argument("attention_mask"),
        call.argument("use_causal_mask", False),
        call.option("sliding_window", None),
    )
    padding = {name: call.argument(f"{name}_mask") for name in ("query", "value", "key")}
    call.refuse(not isinstance(causal, bool), "its use_causal_mask is not a plain True or False")
    call.refuse(
        any(m is not None and not isinstance(m, Slot) for m in padding.values()),
        "one of its query, value or key masks is a constant; pass attention_mask instead",
    )
    call.refuse(
        (causal or window is not None) and axes != (1,),
        "its causal or sliding-window mask counts along axis 1, which is not the axis it attends over; "
        "pass attention_mask instead",
    )
    if causal and given is None and window is None and not any(padding.values()):
        return _Mask(None, causal=True)
    terms: list[tuple[str, int]] = []  # in Keras's axes: code, rank
    init: tuple[str, ...] = ()
    weights: tuple[Weight, ...] = ()
    alone = not causal and window is None and not any(padding.values())
    if isinstance(given, Slot):
        terms.append(
            (f"({given} > 0.5)" if threshold and alone and given.dtype != "bool" else _bool(given), given.rank)
        )
    elif given is not None:
        array = np.asarray(given)
        array = array > 0.5 if threshold and alone and array.dtype != bool else array.astype(bool)
        terms.append((f"{SELF}.mask", array.ndim))
        init = (f'{SELF}.register_buffer("mask", torch.ones({", ".join(map(str, array.shape))}, dtype=torch.bool))',)
        weights = (Weight("mask", None, (Constant(array.tolist(), "bool"),)),)
    given_rank = terms[0][1] if terms else 0
    rank = query.rank + len(axes)  # of the scores
    call.refuse(
        bool(terms) and not 2 * len(axes) <= given_rank <= rank,
        f"its attention mask has {given_rank} axes, and its scores {rank}",
    )
    if any(padding.values()):
        fits = all(
            m is None or (m.rank == query.rank - 1 if axes == (query.rank - 2,) else m.rank == 2 and axes == (1,))
            for m in padding.values()
        )
        call.refuse(
            not fits, "the masks of its inputs do not lie along the axis it attends over; pass attention_mask instead"
        )
        # Keras would line up the batch of the padding masks with the heads of such a mask.
        call.refuse(
            given_rank == rank,
            "it has padding masks and an attention mask with an axis of heads, which Keras cannot combine; "
            "give the attention mask of shape (batch, T, S)",
        )
    if padding["query"] is not None:
        terms.append((f"{_bool(padding['query'])}.unsqueeze(-1)", padding["query"].rank + 1))
    sources = {m.tensor.id: m for m in (padding["value"], padding["key"]) if m is not None}
    terms += [(f"{_bool(m)}.unsqueeze(-2)", m.rank + 1) for m in sources.values()]
    if causal:
        terms.append((f"causal_mask({query}, {value})", 2))
    if window is not None:
        terms.append((f"sliding_window_mask({query}, {value}, {window})", 2))
    if not terms:
        return _Mask(None)
    text, own = " & ".join(t for t, _ in terms), max(r for _, r in terms)
    if 2 * len(axes) < own < rank:
        # Keras inserts the missing axes, that of the heads among them, before the axes of the queries.
        text, at, missing = f"({text})" if len(terms) > 1 else text, own - 2 * len(axes), rank - own
        text += f".unsqueeze({at})" if missing == 1 else f"[{', '.join([':'] * at + ['None'] * missing)}]"
    return _Mask(text, init=init, weights=weights)


def _call_text(query: Slot, value: Slot, key: Slot | None, mask: _Mask, einsum: bool) -> str:
    arguments = [str(query), str(value), *([str(key)] if key is not None and key.tensor.id != value.tensor.id else [])]
    if mask.causal:
        arguments.append(f"mask=causal_mask({query}, {value})" if einsum else "is_causal=True")
    elif mask.text is not None:
        arguments.append(f"mask={mask.text}")
    return f"{SELF}({', '.join(arguments)})"


def _equations(rank: int, axes: tuple[int, ...]) -> tuple[str, str]:
    """Einsums of keys and queries to scores, and of scores and values to outputs: `_build_attention_equation`."""
    others = iter("xyzw")
    place = {axis: k for k, axis in enumerate(axes)}
    names = ["b", *(None if axis in place else next(others) for axis in range(1, rank - 1)), "n", "d"]
    target = "".join(TARGETS[place[i]] if name is None else name for i, name in enumerate(names))
    source = "".join(SOURCES[place[i]] if name is None else name for i, name in enumerate(names))
    batch = "".join(name for name in names[:-1] if name is not None)
    scores = batch + TARGETS[: len(axes)] + SOURCES[: len(axes)]
    return f"{source},{target}->{scores}", f"{scores},{source}->{target}"


@rule("MultiHeadAttention", demand=LAST, role="attention", widths=("query_size", "value_size"))
def multi_head_attention(call: Call) -> Mapping:
    """Projections become nn.Linear; the softmax is torch's scaled_dot_product_attention wherever that is exact."""
    query, value, key = _inputs(call)
    heads, key_dim, value_dim, dropout, use_bias = (
        call.option(name) for name in ("num_heads", "key_dim", "value_dim", "dropout", "use_bias")
    )
    gate, output_shape = call.option("use_gate", False), call.option("output_shape", None)
    axes = call.option("attention_axes", None)
    rank = query.rank
    call.refuse(
        rank < 3 or value.rank != rank,
        f"its query has {rank} axes and its value {value.rank}; both need the same number, 3 or more",
    )
    axes = tuple(range(1, rank - 1)) if axes is None else tuple(a if a >= 0 else rank + a for a in axes)
    call.refuse(
        not axes or not all(1 <= a <= rank - 2 for a in axes),
        f"it attends over axes {axes}, which are not all between the batch and the features",
    )
    scores = bool(call.argument("return_attention_scores", False))
    call.refuse(
        scores and rank != 3,
        f"it returns the attention scores of inputs with {rank} axes, whose shape Keras declares wrongly; "
        "take its output only",
    )
    einsum = scores or rank != 3
    mask = _mask(call, query, value, axes)
    d_query, d_value, d_key = (call.variable(f"{name}/kernel").shape[0] for name in ("query", "value", "key"))
    size = math.prod(call.variable("attention_output/kernel").shape[2:])
    args: dict[str, Any] = {
        "query_size": d_query,
        "value_size": d_value,
        "heads": heads,
        "key_dim": key_dim,
        "value_dim": None if value_dim in (None, key_dim) else value_dim,
        "out_size": None if size == d_query else size,
        "key_size": None if d_key == d_value else d_key,
        "bias": use_bias,
        "dropout": dropout,
    }
    if einsum:
        args |= {"equations": _equations(rank, axes), "axes": len(axes), "gate": gate}
    calls = [node.arguments for node in call.graph.nodes if node.layer is call.layer]
    masked = call.option("sliding_window", None) is not None or any(
        name.endswith("_mask") and name != "use_causal_mask" for arguments in calls for name in arguments
    )
    plain = "MaskedMultiHeadAttention" if masked else "MultiHeadAttention"
    cls = "EinsumAttention" if einsum else "GatedMultiHeadAttention" if gate else plain
    text = _call_text(query, value, key, mask, einsum)
    unflatten = f".unflatten(-1, {tuple(output_shape)})" if output_shape is not None and len(output_shape) > 1 else ""
    forward: str | tuple[str, ...] = f"{text}{'[0]' if einsum and not scores else ''}{unflatten}"
    if scores and unflatten:
        forward = (f"{OUT.format(0)}, {OUT.format(1)} = {text}", f"{OUT.format(0)} = {OUT.format(0)}{unflatten}")
    return Mapping(
        forward=forward,
        module=Module(cls, {name: value for name, value in args.items() if OPTIONAL.get(name, ...) != value}, 2),
        weights=(*_projections(call, use_bias, gate), *mask.weights),
        wants=tuple(identity(slot.rank) for slot in call.inputs),
        init=mask.init,
        why=WHY + _about_masks(mask, einsum or dropout > 0),
        keras="softmax(q kᵀ / √key_dim) v, projected; q, k, v = einsum(x, kernel (D, N, H)) + bias",
        torch="the same; q, k, v = Linear(x) split into heads",
        alternatives=(TRANSPOSED_HEADS,),
    )


def _about_masks(mask: _Mask, zero: bool) -> str:
    return (
        ""
        if mask.text is None
        else (
            f" A query that may attend to nothing gets {'0' if zero else 'the mean of all values'}, "
            f"as in Keras with {'these' if zero else 'this'} options."
        )
    )


@rule("GroupedQueryAttention", demand=LAST, role="attention", widths=("query_size", "value_size"))
def grouped_query_attention(call: Call) -> Mapping:
    """MultiHeadAttention with fewer key and value heads, each repeated."""
    query, value, key = _inputs(call)
    dim, heads, shared, dropout, use_bias = (
        call.option(name) for name in ("head_dim", "num_query_heads", "num_key_value_heads", "dropout", "use_bias")
    )
    gate = call.option("use_gate", False)
    call.refuse(query.rank != 3 or value.rank != 3, "its inputs are not of shape (batch, steps, features)")
    scores = bool(call.argument("return_attention_scores", False))
    mask = _mask(call, query, value, (1,), threshold=scores or dropout > 0)
    d_query, d_value, d_key = (call.variable(f"{name}/kernel").shape[0] for name in ("query", "value", "key"))
    args = {
        "query_size": d_query,
        "value_size": d_value,
        "heads": heads,
        "key_value_heads": shared,
        "head_dim": dim,
        "key_size": None if d_key == d_value else d_key,
        "bias": use_bias,
        "dropout": dropout,
        "gate": gate,
    }
    return Mapping(
        forward=_call_text(query, value, key, mask, scores),
        module=Module("ScoredGroupedQueryAttention" if scores else "GroupedQueryAttention", args, 2),
        weights=(*_projections(call, use_bias, gate), *mask.weights),
        wants=tuple(identity(slot.rank) for slot in call.inputs),
        init=mask.init,
        why=WHY
        + " Query head i reads key and value head i // (query heads / key heads)."
        + _about_masks(mask, scores or dropout > 0),
        keras="softmax(q repeat(k)ᵀ / √head_dim) repeat(v), projected",
        torch="the same; k and v repeated by repeat_interleave",
        alternatives=(TRANSPOSED_HEADS,),
    )


def _dot_module(call: Call, masks: list[Slot | None], scores: bool, causal: bool) -> tuple[Module | None, list[Weight]]:
    """The helper of Attention or AdditiveAttention; None where torch's own function computes the same."""
    use_scale, dropout = call.option("use_scale"), call.option("dropout")
    weights = [Weight("scale", "scale")] if use_scale else []
    args: dict[str, Any] = {"dropout": dropout} if dropout else {}
    if call.layer.kind == "AdditiveAttention":
        return Module(
            "AdditiveAttention",
            {"size": call.variable("scale").shape[0], **args} if use_scale else args,
            1 if use_scale else 0,
        ), weights
    args = {"scale": True, **args} if use_scale else args
    mode = call.option("score_mode")
    call.refuse(mode not in ("dot", "concat"), f"its score_mode {mode!r} is not known to k2t")
    if mode == "concat":
        return Module("ConcatAttention", args), [*weights, Weight("weight", "concat_score_weight")]
    # Without padding every query attends to something, and torch's fill of −∞ is as good as Keras's −10⁹.
    plain = not (use_scale or dropout or scores or any(masks)) and not (
        causal and any(slot.rank != 3 for slot in call.inputs)
    )
    return None if plain else Module("DotAttention", args), weights


@rule("Attention", demand=LAST, role="attention")
@rule("AdditiveAttention", demand=LAST, widths=("size",))
def attention(call: Call) -> Mapping:
    """Luong's and Bahdanau's attention: no projections, no 1/√d."""
    inputs, masks = call.argument("inputs"), list(call.argument("mask") or [None, None])
    call.refuse(
        not isinstance(inputs, list) or not all(isinstance(x, Slot) for x in inputs),
        "one of its inputs is a constant; make it an input or the weight of a layer",
    )
    query, value, key = (*inputs, None)[:3]
    scores, causal = bool(call.argument("return_attention_scores", False)), call.argument("use_causal_mask", False)
    call.refuse(not isinstance(causal, bool), "its use_causal_mask is not a plain True or False")
    call.refuse(
        any(m is not None and not isinstance(m, Slot) for m in masks),
        "one of its masks is a constant; pass it as an input",
    )
    query_mask, value_mask = masks[:2]  # Keras ignores a third
    rank = query.rank
    call.refuse(value.rank != rank or key is not None and key.rank != rank, "its inputs have different numbers of axes")
    call.refuse(
        (causal or query_mask is not None or value_mask is not None) and rank != 3,
        "it has a mask, and its inputs are not of shape (batch, steps, features)",
    )
    call.refuse(query_mask is not None and query_mask.rank != 2, "its query mask is not of shape (batch, steps)")
    call.refuse(
        value_mask is not None and value_mask.rank != 2 and (causal or value_mask.rank != 3),
        "its value mask is not of shape (batch, steps)",
    )
    module, weights = _dot_module(call, [query_mask, value_mask], scores, causal)
    terms = []
    if value_mask is not None:
        terms.append(f"{_bool(value_mask)}{'.unsqueeze(1)' if value_mask.rank == 2 else ''}")
    if causal:
        terms.append(f"causal_mask({query}, {value})")
    own_key = key if key is not None and key.tensor.id != value.tensor.id else None
    if module is None:
        forward = (
            f"F.scaled_dot_product_attention({query}, {own_key or value}, {value}, "
            f"{'is_causal=True, ' if causal else ''}scale=1.0)"
        )
    else:
        parts = [
            str(query),
            str(value),
            *([str(own_key)] if own_key else []),
            *([f"mask={' & '.join(terms)}"] if terms else []),
        ]
        parts += [f"query_mask={_bool(query_mask)}"] if query_mask is not None else []
        forward = f"{SELF}({', '.join(parts)}){'' if scores else '[0]'}"
    formula = {"AdditiveAttention": "Σ scale · tanh(q + k)", "ConcatAttention": "w · Σ tanh(scale · (q + k))"}.get(
        module.cls if module else "", "q kᵀ · scale"
    )
    return Mapping(
        forward=forward,
        module=module,
        weights=tuple(weights),
        wants=tuple(identity(slot.rank) for slot in call.inputs),
        why="No 1/√d here, unlike torch's default."
        + (" Masked scores are lowered by 10⁹ (65504 in float16) rather than removed." if terms else "")
        + (" The result is 0 where the query is masked." if query_mask is not None else ""),
        keras=f"softmax({formula}) v",
        torch="the same",
    )


@rule("ops.DotProductAttention", demand=LAST)
def dot_product_attention(call: Call) -> Mapping:
    """keras.ops.dot_product_attention: (batch, steps, heads, size); torch has heads before steps."""
    query, key, value, bias, mask, scale = (
        call.argument(name) for name in ("query", "key", "value", "bias", "mask", "scale")
    )
    causal, flash = call.option("is_causal", False), call.option("flash_attention", None)
    call.refuse(
        call.option("attn_logits_soft_cap", None) is not None,
        "attn_logits_soft_cap exists on JAX only, so there is nothing to compare with",
    )
    call.refuse(
        bool(flash),
        "Keras's TensorFlow backend has no flash attention, so there is nothing to compare with; "
        "set flash_attention=None",
    )
    call.refuse(
        not all(isinstance(x, Slot) and x.rank == 4 for x in (query, key, value)),
        "its query, key and value are not tensors of shape (batch, steps, heads, size)",
    )
    call.refuse(
        bias is not None, "it adds a bias to the scores; write it as matmul, add, softmax, matmul with keras.ops"
    )
    call.refuse(
        mask is not None and not (isinstance(mask, Slot) and mask.rank == 4 and mask.dtype == "bool"),
        "its mask is not a bool tensor of 4 axes",
    )
    call.refuse(scale is not None and not isinstance(scale, (int, float)), "its scale is not a number")
    call.refuse(
        len({slot.dtype for slot in (query, key, value)}) > 1,
        "its query, key and value have different dtypes; cast them to one",
    )
    call.refuse(None in (query.shape[2], key.shape[2]), "its number of heads is not known")
    groups = query.shape[2] // key.shape[2]
    call.refuse(
        query.shape[2] % key.shape[2] != 0 or groups > 1 and key.shape[2] == 1,
        "Keras on TensorFlow cannot share these key heads among its query heads; repeat the heads first",
    )
    heads_first = Layout((0, 2, 1, 3))
    repeat = f".repeat_interleave({groups}, dim=1)" if groups > 1 else ""
    arguments = [str(query), f"{key}{repeat}", f"{value}{repeat}"]
    if mask is not None:
        arguments.append(
            f"{mask} & torch.ones({query}.shape[2], {key}.shape[2], dtype=torch.bool, device={mask}.device).tril()"
            if causal
            else str(mask)
        )
    elif causal:
        arguments.append("is_causal=True")
    if scale is not None:
        arguments.append(f"scale={float(scale)!r}")
    function = "F.scaled_dot_product_attention" if mask is None else "masked_attention"
    layouts = {slot.index: heads_first for slot in (query, key, value)}
    return Mapping(
        forward=f"{function}({', '.join(arguments)})",
        wants=tuple(layouts.get(slot.index, identity(slot.rank)) for slot in call.inputs),
        gives=(heads_first,),
        why="torch has the axis of heads before that of steps."
        + (" A query that may attend to nothing gets the mean of all values." if mask is not None else ""),
        keras="softmax(q kᵀ · scale) v",
        torch="the same",
    )
