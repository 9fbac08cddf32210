"""Operations on sizes that are free, such as the batch's: what an opened layer computes from the shapes of tensors.

A size is an int; ``("size", k, axis)``, of the k-th of the tensors that the call is given along, in Keras's order of
axes; or ``(operator, a, b)`` of two sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from k2t_core.layout import identity
from k2t_core.rules.broadcasting import torch_dtype
from k2t_core.rules.registry import LAST, Call, Mapping, Slot, rule

# Operators by how tightly they bind, as in Python.
BINDS = {"+": 1, "-": 1, "*": 2, "//": 2, "%": 2}


def size_text(size: Any, likes: Sequence[Slot], inside: int = 0) -> str:
    """A size as a Python expression: ``x.shape[1] * 2``. inside: how tightly the operator around it binds."""
    if not isinstance(size, (tuple, list)):
        return str(int(size))
    if size[0] == "size":
        like = likes[size[1]]
        return f"{like}.shape[{like.layout.axis(size[2])}]"
    operator, a, b = size
    if operator in ("max", "min"):
        return f"{operator}({size_text(a, likes)}, {size_text(b, likes)})"
    binds = BINDS[operator]
    text = f"{size_text(a, likes, binds)} {operator} {size_text(b, likes, binds + 1)}"
    return f"({text})" if binds < inside else text


def _texts(call: Call, likes: Sequence[Slot]) -> list[str]:
    return [size_text(size, likes) for size in call.option("sizes")]


def _likes(call: Call) -> list[Slot]:
    """The tensors whose sizes are read, in the layout in which they are."""
    return list(call.argument("likes") or ())


def _of_tensor(call: Call, text: str, why: str, keras: str, torch: str) -> Mapping:
    """The mapping of an operation on ``x`` in Keras's order of axes."""
    x = call.argument("x")
    return Mapping(
        text,
        wants=tuple(identity(slot.rank) if slot.index == x.index else slot.layout for slot in call.inputs),
        gives=(identity(len(call.outputs[0].shape)),),
        why=why,
        keras=keras,
        torch=torch,
    )


@rule("k2t.SizedReshape", demand=LAST)
def sized_reshape(call: Call) -> Mapping:
    """A reshape to computed sizes."""
    sizes = ", ".join(_texts(call, _likes(call)))
    text = f"{call.argument('x')}.reshape({sizes})"
    return _of_tensor(
        call, text, "In Keras's order of axes.", "reshape(x, (shape(x)[0], …))", "x.reshape(x.shape[0], …)"
    )


@rule("k2t.SizedBroadcast", demand=LAST)
def sized_broadcast(call: Call) -> Mapping:
    """A tensor repeated, without a copy, to computed sizes."""
    x, sizes = call.argument("x"), call.option("sizes")
    shape = (*[None] * (len(sizes) - x.rank), *x.shape)
    return _expanded(call, x, [-1 if here == size else size for here, size in zip(shape, sizes)])


@rule("k2t.SizedTile", demand=LAST)
def sized_tile(call: Call) -> Mapping:
    """A tensor repeated along its axes, as often as computed; without a copy where those have one entry."""
    x, repeats = call.argument("x"), call.option("sizes")
    if all(here == 1 or count == 1 for here, count in zip(x.shape, repeats, strict=True)):
        return _expanded(call, x, [-1 if count == 1 else count for count in repeats])
    text = f"{x}.repeat({', '.join(_texts(call, _likes(call)))})"
    return _of_tensor(call, text, "In Keras's order of axes.", "tile(x, repeats)", "x.repeat(repeats)")


def _expanded(call: Call, x: Slot, sizes: Sequence[Any]) -> Mapping:
    """x.expand, with -1 where a size stays."""
    text = f"{x}.expand({', '.join(size_text(size, _likes(call)) for size in sizes)})"
    return _of_tensor(call, text, "Without a copy.", "broadcast_to(x, shape)", "x.expand(shape)")


@rule("k2t.SizedSlice", demand=LAST)
def sized_slice(call: Call) -> Mapping:
    """A part of a tensor between computed bounds; None is the tensor's own."""
    likes = _likes(call)
    parts = []
    for start, stop, step in call.option("sizes"):
        bounds = ["" if bound is None else size_text(bound, likes) for bound in (start, stop)]
        parts.append(":".join(bounds) + (f":{step}" if step != 1 else ""))
    while parts and parts[-1] == ":":
        parts.pop()
    x = call.argument("x")
    text = f"{x}[{', '.join(parts)}]" if parts else str(x)
    return _of_tensor(call, text, "As many as computed.", "x[:n]", "x[:n]")


@rule("k2t.SizedTril", "k2t.SizedTriu", demand=LAST)
def sized_band(call: Call) -> Mapping:
    """A matrix up to so many diagonals above the main one, or below it."""
    (size,) = call.option("sizes")
    likes = _likes(call)
    upper = call.layer.kind.endswith("Tril")
    text = size_text(size, likes) if upper else f"-{size_text(size, likes, 3)}"
    name = "tril" if upper else "triu"
    return _of_tensor(call, f"{call.argument('x')}.{name}({text})", "As many as computed.", "band_part(x, …)", name)


@rule("k2t.SizedPad", demand=LAST)
def sized_pad(call: Call) -> Mapping:
    """A tensor with as many entries before and behind as computed; torch counts from the last axis."""
    likes, value = _likes(call), call.option("value")
    pads = [size_text(size, likes) for pair in reversed(call.option("sizes")) for size in pair]
    while len(pads) > 2 and pads[-2:] == ["0", "0"]:
        del pads[-2:]
    more = f", value={value!r}" if value else ""
    text = f"F.pad({call.argument('x')}, ({', '.join(pads)}){more})"
    return _of_tensor(call, text, "As many as computed.", "pad(x, pads)", "F.pad(x, pads)")


@rule("k2t.SizedArange")
def sized_arange(call: Call) -> Mapping:
    """Numbers from a computed start, up to a computed stop."""
    likes, dtype = _likes(call), torch_dtype(call.option("kind"))
    start, stop, step = call.option("sizes")
    bounds = [start, stop] if start != 0 or step != 1 else [stop]
    texts = [size_text(size, likes) for size in (*bounds, *([step] if step != 1 else []))]
    return _made(call, f"torch.arange({', '.join(texts)}, dtype={dtype}, device={likes[0]}.device)", "arange(n)")


@rule("k2t.SizedFull")
def sized_full(call: Call) -> Mapping:
    """One number, as often as computed sizes say."""
    likes, dtype, value = _likes(call), torch_dtype(call.option("kind")), call.option("value")
    sizes = _texts(call, likes)
    shape = f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
    return _made(call, f"torch.full({shape}, {value!r}, dtype={dtype}, device={likes[0]}.device)", "full(shape, value)")


@rule("k2t.SizedNumber")
def sized_number(call: Call) -> Mapping:
    """A size that is computed with as a number."""
    likes, dtype = _likes(call), torch_dtype(call.option("kind"))
    (size,) = _texts(call, likes)
    return _made(call, f"torch.full((), {size}, dtype={dtype}, device={likes[0]}.device)", "shape(x)[1]")


def _made(call: Call, text: str, keras: str) -> Mapping:
    return Mapping(
        text,
        wants=tuple(slot.layout for slot in call.inputs),
        gives=(identity(len(call.outputs[0].shape)),),
        why="Made from the sizes of a tensor.",
        keras=keras,
        torch=text.partition("(")[0],
    )
