"""Embeddings and Masking. Source: keras/src/layers/core/embedding.py, reversible_embedding.py, masking.py.

The masks themselves are operations of their own in the graph: the tracer records what compute_mask runs.
"""

from __future__ import annotations

from typing import Any

from k2t_core.graph import Node
from k2t_core.layout import identity
from k2t_core.rules.registry import SELF, Call, Mapping, Module, Slot, Weight, rule
from k2t_core.transforms import Permute

ZERO = "mask_zero only makes a mask: row 0 is an ordinary row in Keras, so padding_idx would be wrong."


def indices(x: Slot) -> str:
    """Integer indices for nn.Embedding; Keras casts what is neither int32 nor int64 to int32."""
    return str(x) if x.dtype in ("int32", "int64") else f"{x}.int()"


def _rows(node: Node) -> int | None:
    return None if node.arguments.get("reverse") else int(node.layer.config["input_dim"])


@rule("Embedding", widths=("embedding_dim",), rows=_rows)
def embedding(call: Call) -> Mapping:
    """Rows of a table. An index out of range raises in torch; Keras on TensorFlow counts negative ones from the end."""
    x = call.x
    mask_zero = call.option("mask_zero")
    return Mapping(
        forward=f"{SELF}({indices(x)})",
        module=Module(
            "nn.Embedding", {"num_embeddings": call.option("input_dim"), "embedding_dim": call.option("output_dim")}, 2
        ),
        weights=(Weight("weight", "embeddings"),),
        wants=(identity(x.rank),),
        why="The same table of rows." + (f" {ZERO}" if mask_zero else ""),
        keras="embeddings[inputs]",
        torch="weight[inputs]",
    )


@rule("ReversibleEmbedding", widths=("embedding_dim",), rows=_rows)
def reversible_embedding(call: Call) -> Mapping:
    """Indices to vectors, or with reverse=True vectors to logits by the same table (tied) or by one of its own."""
    x, reverse = call.x, bool(call.argument("reverse", False))
    tied, soft_cap, reverse_dtype = (
        call.option("tie_weights"),
        call.option("logit_soft_cap"),
        call.option("reverse_dtype"),
    )
    mask_zero = call.option("mask_zero")
    size = {"num_embeddings": call.option("input_dim"), "embedding_dim": call.option("output_dim")}
    module, weights = Module("nn.Embedding", size, 2), [Weight("weight", "embeddings")]
    if not tied:
        module = Module("UntiedEmbedding", size, 2)
        weights.append(Weight("reverse_weight", "reverse_embeddings", (Permute((1, 0)),)))
    table = f"{SELF}.{'weight' if tied else 'reverse_weight'}"
    common: dict[str, Any] = {"module": module, "weights": tuple(weights), "wants": (identity(x.rank),)}
    if not reverse:
        why = "The same table of rows" + (
            ", which the layer's reverse calls use too." if tied else "; reverse calls have a table of their own."
        )
        return Mapping(
            f"{SELF}({indices(x)})",
            why=f"{why} {ZERO}" if mask_zero else why,
            keras="embeddings[inputs]",
            torch="weight[inputs]",
            **common,
        )
    vectors = str(x)
    if reverse_dtype is not None and reverse_dtype != x.dtype:
        # Keras's symbolic output has the compute dtype, its real one reverse_dtype: what follows could not be trusted.
        followed = call.graph.consumers()[call.outputs[0].id]
        call.refuse(
            bool(followed),
            f"its reverse_dtype {reverse_dtype!r} is not the dtype of its input, {x.dtype}; leave it out, "
            "and cast the input before this call",
        )
        vectors, table = f"{x}.to(torch.{reverse_dtype})", f"{table}.to(torch.{reverse_dtype})"
    logits = f"F.linear({vectors}, {table})"
    return Mapping(
        f"{float(soft_cap)} * torch.tanh({logits} / {float(soft_cap)})" if soft_cap is not None else logits,
        why="Logits by the rows of the embedding table." if tied else "Logits by a table of its own.",
        keras="inputs · embeddingsᵀ" if tied else "inputs · reverse_embeddings",
        torch="inputs · weightᵀ" if tied else "inputs · reverse_weightᵀ",
        **common,
    )


@rule("Masking")
def masking(call: Call) -> Mapping:
    """A step whose features all equal mask_value becomes zeros; the mask is an operation of its own."""
    x, value = call.x, call.option("mask_value")
    call.refuse(not isinstance(value, (int, float)), "its mask_value is not a single number; give it as one")
    return Mapping(
        f"torch.where(({x} != {value}).any(dim=-1, keepdim=True), {x}, 0)",
        wants=(identity(x.rank),),
        why="Steps whose features all equal mask_value become zeros. Layers that read the mask get it as an argument.",
        keras="where(any(x ≠ mask_value), x, 0)",
        torch="the same",
    )
