"""What opening a layer leaves in the graph: variables, constants and operations of our own."""

from __future__ import annotations

import numpy as np

from k2t_core.layout import identity
from k2t_core.rules.broadcasting import torch_dtype
from k2t_core.rules.registry import LAST, SELF, Call, Expression, Mapping, Module, Weight, rule
from k2t_core.transforms import Constant


@rule("Variable")
def variable(call: Call) -> Mapping:
    """A weight that the call() of an opened layer uses itself."""
    (source,) = call.layer.variables
    module = Module(
        "nn.Parameter" if "float" in source.dtype else "nn.Buffer", {"data": _unfilled(source.shape, source.dtype)}, 1
    )
    return Mapping(
        SELF,
        module,
        (Weight("", source.name),),
        gives=(identity(len(source.shape)),),
        why="A weight that the layer's own code uses.",
        keras=f"self.{source.name}",
        torch=f"self.{source.name}",
    )


def _unfilled(shape: tuple[int, ...], dtype: str) -> Module:
    """A tensor that load_state_dict fills."""
    more = {} if dtype == "float32" else {"dtype": Expression(f"torch.{dtype}")}
    return Module("torch.empty", {"size": shape, **more}, 1)


@rule("Constant")
def constant(call: Call) -> Mapping:
    """Plain numbers that an opened layer calls another layer on, such as the positions of an embedding."""
    value = call.option("value")
    weights: tuple[Weight, ...] = ()
    if value.size > 1 and value.dtype.kind == "i" and np.array_equal(value.ravel(), np.arange(value.size)):
        numbers = f"torch.arange({value.size})" + (f".view{value.shape}" if value.ndim > 1 else "")
        buffer = Module("nn.Buffer", {"data": Expression(numbers), "persistent": False}, 1)
    else:
        dtype = value.dtype.name
        buffer, weights = (
            Module("nn.Buffer", {"data": _unfilled(value.shape, dtype)}, 1),
            (Weight("", None, (Constant(value.tolist(), dtype),)),),
        )
    return Mapping(
        SELF,
        buffer,
        weights,
        gives=(identity(value.ndim),),
        why="Numbers that the layer's own code makes.",
        keras="constant",
        torch="nn.Buffer",
    )


@rule("k2t.Expand", demand=LAST)
def expand(call: Call) -> Mapping:
    """What an opened layer repeats once for each sample, such as the token of a class."""
    x, like = call.argument("x"), call.argument("like")
    call.option("shape")
    axis = like.layout.axis(call.option("axis"))
    rest = ", ".join(["-1"] * (x.rank - 1))
    return Mapping(
        f"{x}.expand({like}.shape[{axis}], {rest})",
        wants=(identity(x.rank), like.layout),
        gives=(identity(x.rank),),
        why="Once for each sample, without a copy.",
        keras="broadcast_to(x, (batch, …))",
        torch="x.expand(batch, …)",
    )


@rule("k2t.ReshapeLike", demand=LAST)
def reshape_like(call: Call) -> Mapping:
    """A reshape in an opened layer that hands on sizes which are free, such as the batch's, and infers one more or
    reads several."""
    x, likes = call.argument("x"), list(call.argument("likes"))
    free = iter([f"{like}.shape[{like.layout.axis(axis)}]" for like, axis in zip(likes, call.option("axes"))])
    sizes = ", ".join(next(free) if n is None else str(n) for n in call.option("shape"))
    return Mapping(
        f"{x}.reshape({sizes})",
        wants=tuple(identity(slot.rank) if slot.index == x.index else slot.layout for slot in call.inputs),
        gives=(identity(len(call.outputs[0].shape)),),
        why="In Keras's order of axes.",
        keras="reshape(x, (batch, −1, …))",
        torch="x.reshape(batch, -1, …)",
    )


@rule("k2t.ArangeLike")
def arange_like(call: Call) -> Mapping:
    """The positions of a sequence whose length is free."""
    like, dtype = call.x, torch_dtype(call.option("kind"))
    count = f"{like}.shape[{like.layout.axis(call.option('axis'))}]"
    kind = "" if dtype == "torch.int64" else f"dtype={dtype}, "
    return Mapping(
        f"torch.arange({count}, {kind}device={like}.device)",
        wants=(like.layout,),
        gives=(identity(1),),
        why="One for each step.",
        keras="arange(steps)",
        torch="torch.arange(steps)",
    )


@rule("k2t.BeginLike", demand=LAST)
def begin_like(call: Call) -> Mapping:
    """The first entries of a table, as many as a sequence has steps."""
    x, like, start = call.argument("x"), call.argument("like"), call.option("start")
    axis, count = call.option("axis"), f"{like}.shape[{like.layout.axis(call.option('like_axis'))}]"
    return Mapping(
        f"{x}[{':, ' * axis}{'' if start is None else start}:{count}]",
        wants=tuple(identity(slot.rank) if slot.index == x.index else slot.layout for slot in call.inputs),
        gives=(identity(x.rank),),
        why="As many as there are steps.",
        keras="x[:steps]",
        torch="x[:steps]",
    )
