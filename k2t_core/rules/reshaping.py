"""Flatten, Reshape, Permute and their like. Source: keras/src/layers/reshaping/.

Long because every reshape, permutation and index is told in the layout that arrives, by the same few functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from k2t_core.graph import Shape
from k2t_core.layout import Flat, Layout, channels_first, identity
from k2t_core.rules.registry import AMBIGUOUS, Alternative, Call, Mapping, Slot, Unconvertible, rule
from k2t_core.rules.slots import formula

PLAIN = Alternative(
    "plain flatten",
    "flatten in torch's own order (channels first) and leave the next kernel as it is",
    "only where the kernel that follows was trained on channels-first data",
)
PERMUTE = Alternative(
    "permute first",
    "bring the tensor into Keras's order at run time, then flatten; the next kernel stays as Keras stores it",
    "when another program must see the flattened features in Keras's order",
)


MEMORY = Alternative(
    "torch's own order",
    "reshape what torch holds in memory (channels first) as it is",
    "only where the layers that follow were trained on channels-first data",
)


@rule("Flatten", demand=None, flat="pass", range="moved")
def flatten(call: Call) -> Mapping:
    """Flattening H, W, C and C, H, W gives other orders. Where only Dense layers follow, their kernels absorb it."""
    x = call.argument("inputs")
    channels_first = call.option("data_format", "channels_last") == "channels_first"
    rank = x.rank
    if rank <= 2:
        forward = f"{x}" if rank == 2 else f"{x}.unsqueeze(-1)"
        return Mapping(forward, gives=(x.layout if rank == 2 else identity(2),), why="Nothing to flatten.")
    # The order in which Keras runs through the axes: its own, or channels last brought to the front of the rest.
    order = (0, *range(2, rank), 1) if channels_first else tuple(range(rank))
    target = Layout(order)
    common: dict[str, Any] = {"keras": "reshape(x, (batch, −1)), last axis fastest", "torch": "x.flatten(1)"}
    alternatives = (PLAIN, PERMUTE)
    if x.layout.same_memory(target, x.shape):
        return Mapping(
            f"{x}.flatten(1)",
            wants=(x.layout,),
            gives=(identity(2),),
            why="Both run through the elements in the same order.",
            **common,
        )
    if call.choice == PLAIN.name:
        return Mapping(
            f"{x}.flatten(1)",
            wants=(x.layout,),
            gives=(identity(2),),
            status=AMBIGUOUS,
            why="Plain flatten: the order differs from Keras's.",
            alternatives=alternatives,
            **common,
        )
    static = all(n is not None for n in x.shape[1:])
    if call.choice != PERMUTE.name and call.absorbs_flat and static and x.layout.perm[0] == 0:
        block = tuple(x.shape[axis] for axis in order[1:])
        perm = tuple(order[1:].index(axis) for axis in x.layout.perm[1:])
        flat = Flat(block, perm)
        return Mapping(
            f"{x}.flatten(1)",
            wants=(x.layout,),
            gives=(Layout((0, 1), flat),),
            status=AMBIGUOUS,
            why=(
                f"Keras flattens in the order {identity(rank)}, torch in {x.layout}; "
                "the Dense kernel that follows is re-ordered instead of the data."
            ),
            alternatives=alternatives,
            **common,
        )
    return Mapping(
        f"{x}.flatten(1)",
        wants=(target,),
        gives=(identity(2),),
        why="Brought into Keras's order first, because what follows needs it.",
        alternatives=alternatives,
        **common,
    )


@rule("Reshape", demand=None, range="moved")
def reshape_layer(call: Call) -> Mapping:
    """Keras's logical order; the batch axis stays."""
    x = call.argument("inputs")
    call.option("target_shape")  # resolved in the output's shape
    return reshaped(call, x, call.outputs[0].shape, keeps_batch=True)


def reshaped(call: Call, x: Slot, target: Shape, keeps_batch: bool) -> Mapping:
    """``keras.ops.reshape`` without moving data where the layout lets torch do it.

    Source and target axes fall into groups of equal size. As long as torch holds the axes of a group next to each
    other and in Keras's order, each group can be reshaped where it is. Axes of size 1 may stand anywhere.
    """
    source = x.shape
    groups = _groups(source, target, keeps_batch)
    layout = x.layout if _in_groups(x.layout, source, groups) else _before(call, x.rank, target, groups)
    moved = x.layout.perm != tuple(range(x.rank)) and len(source) != len(target) and None not in target[1:]
    alternatives = (MEMORY,) if moved and keeps_batch and not x.layout.same_memory(identity(x.rank), source) else ()
    if alternatives and call.choice == MEMORY.name:
        return Mapping(
            f"{x}.reshape(-1, {', '.join(map(str, target[1:]))})",
            wants=(x.layout,),
            gives=(identity(len(target)),),
            status=AMBIGUOUS,
            why="Reshaped in torch's memory: the order differs from Keras's.",
            keras=f"reshape(x, {_dims(target)})",
            torch=f"reshape to {_dims(target)}",
            alternatives=alternatives,
        )
    order = [axis for group in _ordered(layout, source, groups) for axis in group[1] if target[axis] != 1]
    gives = _placed(call, order, len(target))
    expression = _reshape_expression(x, layout, layout.shape(source), gives, gives.shape(target), groups)
    return Mapping(
        expression,
        wants=(layout,),
        gives=(gives,),
        why="Same order of elements."
        if layout == x.layout
        else "Brought into Keras's order first: reshaping runs through the elements in that order.",
        keras=f"reshape(x, {_dims(target)})",
        torch=f"reshape to {_dims(gives.shape(target))}, {gives}",
        alternatives=alternatives,
    )


def _groups(source: Shape, target: Shape, keeps_batch: bool) -> list[tuple[list[int], list[int]]]:
    """(source axes, target axes) that hold the same number of elements, in order, as fine as sizes tell."""
    start = 1 if keeps_batch else 0
    groups = [([0], [0])] if keeps_batch else []
    while start < min(len(source), len(target)) and source[start] is not None and source[start] == target[start]:
        groups.append(([start], [start]))
        start += 1
    end_s, end_t, tail = len(source), len(target), []
    while min(end_s, end_t) > start and source[end_s - 1] is not None and source[end_s - 1] == target[end_t - 1]:
        end_s, end_t = end_s - 1, end_t - 1
        tail.append(([end_s], [end_t]))
    middle = source[start:end_s], target[start:end_t]
    known = [[n for n in part if n] for part in middle]  # neither free nor 0
    if [len(part) for part in known] != [len(part) for part in middle]:
        groups.append((list(range(start, end_s)), list(range(start, end_t))))
    else:
        groups += [([start + a for a in left], [start + b for b in right]) for left, right in _split(*known)]
    return groups + tail[::-1]


def _split(source: Sequence[int], target: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """`_groups` of two shapes of equal product, all sizes known."""
    groups, a, b = [], 0, 0
    while a < len(source) and b < len(target):
        left, right = [a], [b]
        while math.prod(source[i] for i in left) != math.prod(target[i] for i in right):
            if math.prod(source[i] for i in left) < math.prod(target[i] for i in right):
                left.append(left[-1] + 1)
            else:
                right.append(right[-1] + 1)
        groups.append((left, right))
        a, b = left[-1] + 1, right[-1] + 1
    if a < len(source) or b < len(target):
        groups.append((list(range(a, len(source))), list(range(b, len(target)))))
    return groups


def _ordered(layout: Layout, source: Shape, groups: list) -> list:
    """The groups in the order in which torch holds them; those of size 1 last."""
    first = {}
    for index, (axes, _) in enumerate(groups):
        places = [layout.perm.index(axis) for axis in axes if source[axis] != 1]
        first[index] = min(places) if places else layout.rank
    return [groups[index] for index in sorted(first, key=first.__getitem__)]


def _in_groups(layout: Layout, source: Shape, groups: list) -> bool:
    """Whether torch holds each group's axes together and in Keras's order."""
    held = [axis for axis in layout.perm if source[axis] != 1]
    grouped = [axis for axes, _ in _ordered(layout, source, groups) for axis in axes if source[axis] != 1]
    return held == grouped


def _before(call: Call, rank: int, target: Shape, groups: list) -> Layout:
    """The layout from which a reshape gives what the consumers want; Keras's order where there is none."""
    wanted = call.wanted[0] if call.wanted else None
    if wanted is not None:
        inverse = sorted(
            groups,
            key=lambda group: min(
                (wanted.perm.index(axis) for axis in group[1] if target[axis] != 1), default=wanted.rank
            ),
        )
        if [axis for axis in wanted.perm if target[axis] != 1] == [
            axis for _, axes in inverse for axis in axes if target[axis] != 1
        ]:
            return Layout(tuple(axis for axes, _ in inverse for axis in axes))
    return identity(rank)


def _placed(call: Call, order: list[int], rank: int) -> Layout:
    """A layout in which the axes of ``order`` follow each other; the rest, of size 1, go where consumers want them."""
    wanted = call.wanted[0] if call.wanted else None
    if wanted is None and order == [0, rank - 1] and rank >= 4 and call.node.outputs[0] not in call.graph.outputs:
        wanted = channels_first(rank)  # one number a channel: it meets an image next
    for layout in (wanted, identity(rank)):
        if layout is not None and [axis for axis in layout.perm if axis in order] == order:
            return layout
    return Layout((*order, *(axis for axis in range(rank) if axis not in order)))


def _reshape_expression(x: Slot, layout: Layout, before: Shape, gives: Layout, after: Shape, groups: list) -> str:
    merged = [(left, right) for left, right in groups if (len(left), len(right)) != (1, 1)]
    if not merged and before == after:
        return str(x)
    if len(before) == 2 and len(after) > 2 and after[:2] == before and set(after[2:]) == {1}:
        return f"{x}[:, :{', None' * (len(after) - 2)}]"  # one number a channel, beside an image
    if len(merged) == 1 and len(merged[0][1]) == 1 and len(merged[0][0]) > 1:
        # One run of axes becomes one: the torch idiom, and it works with any number of unknown sizes.
        places = [layout.perm.index(axis) for axis in merged[0][0]]
        start, stop = places[0], places[-1]
        known = [n for i, n in enumerate(before) if not start <= i <= stop]
        if places == list(range(start, stop + 1)) and known == [n for i, n in enumerate(after) if i != start]:
            return f"{x}.flatten({start})" if stop == layout.rank - 1 else f"{x}.flatten({start}, {stop})"
    unknown = [i for i, n in enumerate(after) if n is None]
    if len(unknown) <= 1:
        return f"{x}.reshape({_dims(after) or '()'})"
    batch = gives.perm.index(0)  # Keras allows one unknown size besides the batch
    sizes = [
        f"{x}.shape[{layout.perm.index(0)}]" if i == batch else "-1" if n is None else str(n)
        for i, n in enumerate(after)
    ]
    return f"{x}.reshape({', '.join(sizes)})"


def _dims(shape: Shape) -> str:
    return ", ".join("-1" if n is None else str(n) for n in shape)


@rule("Permute", demand=None, range="moved")
def permute_layer(call: Call) -> Mapping:
    return transposed(call, call.argument("inputs"), (0, *call.option("dims")))


def transposed(call: Call, x: Slot, order: tuple[int, ...]) -> Mapping:
    """``keras.ops.transpose(x, order)``: mostly a matter of which axis is called what, so data moves only where
    consumers need it."""
    wanted = call.wanted[0] if call.wanted else None
    if call.node.outputs[0] in call.graph.outputs:
        wanted = identity(x.rank)
    gives = wanted or Layout(tuple(order.index(axis) for axis in x.layout.perm))
    wants = Layout(tuple(order[axis] for axis in gives.perm))
    if wants.same_memory(x.layout, x.shape) and x.shape.count(None) <= 1 and wants != x.layout:
        return Mapping(
            f"{x}.reshape({_dims(wants.shape(x.shape))})",
            wants=(x.layout,),
            gives=(gives,),
            why="Only axes of size 1 move.",
            keras=f"transpose(x, {order})",
            torch="x.reshape",
        )
    return Mapping(
        f"{x}",
        wants=(wants,),
        gives=(gives,),
        why="Only the names of the axes change: torch holds them in this order already."
        if wants == x.layout
        else "The data moves, because what follows needs this order.",
        keras=f"transpose(x, {order})",
        torch="x" if wants == x.layout else f"permute{x.layout.permutation_to(wants)}",
    )


@rule("RepeatVector", demand=None, range="moved")
def repeat_vector(call: Call) -> Mapping:
    x, n = call.argument("inputs"), call.option("n")
    gives = (call.wanted[0] if call.wanted else None) or identity(3)
    sizes = ", ".join(str(n) if axis == 1 else "-1" for axis in gives.perm)
    return Mapping(
        f"{x}.unsqueeze({gives.perm.index(1)}).expand({sizes})",
        wants=(identity(2),),
        gives=(gives,),
        keras=f"repeat x {n} times along a new axis 1",
        torch=f"x.unsqueeze({gives.perm.index(1)}).expand({sizes})",
    )


def indexed(call: Call, x: Slot, items: list[int | slice | None], keras: str) -> Mapping:
    """``x[items]`` in Keras's axis order: an int, slice or None (a new axis of size 1) each, ints and slices one for
    every axis."""
    axes = [i for i, item in enumerate(items) if item is not None]  # position in items of each Keras axis
    kept = [i for i in range(len(items)) if not isinstance(items[i], int)]
    out = {item: index for index, item in enumerate(kept)}  # position in items → output axis
    order = [out[axes[axis]] for axis in x.layout.perm if axes[axis] in out]
    gives = _placed(call, order, len(kept))
    before: dict[int, int] = {}  # output axis that moves data → new axes that stand before it
    new = 0
    for axis in gives.perm:
        if axis in order:
            before[axis], new = new, 0
        else:
            new += 1
    parts, flips = [], []
    for axis in x.layout.perm:
        item = items[axes[axis]]
        if isinstance(item, int):
            parts.append(str(item))
            continue
        assert item is not None  # the axes of x are ints and slices
        parts += ["None"] * before[out[axes[axis]]]
        text, flipped = _slice(item, x.shape[axis])
        if flipped:
            flips.append(gives.perm.index(out[axes[axis]]))
        parts.append(text)
    parts += ["None"] * new
    while parts and parts[-1] == ":":
        parts.pop()
    expression = f"{x}[{', '.join(parts)}]" if parts else str(x)
    if flips:
        expression += f".flip({', '.join(map(str, flips))})"
    return Mapping(
        expression,
        wants=(x.layout,),
        gives=(gives,),
        why="The same entries, in torch's order of axes.",
        keras=keras,
        torch=formula(expression),
    )


def _slice(item: slice, size: int | None) -> tuple[str, bool]:
    """Python source of a slice with a positive step, and whether its result is to be flipped: torch has no negative
    steps."""
    if item.step is None or item.step > 0:
        start, stop = ("" if v is None else str(v) for v in (item.start or None, item.stop))
        step = "" if item.step in (None, 1) else f":{item.step}"
        return f"{start}:{stop}{step}", False
    if size is None:
        if (item.start, item.stop, item.step) == (None, None, -1):
            return ":", True
        raise Unconvertible(
            "it slices backwards along an axis of unknown size; give the model's Input its size, "
            "or flip the tensor first"
        )
    positions = range(size)[item]
    if not positions:
        return "0:0", False
    first, end = positions[-1], positions[0] + 1
    text = f"{first or ''}:{'' if end == size else end}"
    return text + (f":{-item.step}" if item.step != -1 and len(positions) > 1 else ""), True
