"""Operations that index, join and rearrange: ``keras.ops`` on tensors of the model.

Long because it is a row of short rules, one an operation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from k2t_core.layout import Layout, identity
from k2t_core.rules.broadcasting import Builder, Operands, align, cast, constant, is_float, torch_dtype, write_array
from k2t_core.rules.ops_common import axes_of, name_of, ops, option_literal, result_dtype, torch_axes
from k2t_core.rules.ops_elementwise import elementwise
from k2t_core.rules.registry import ANY, LAST, Call, Mapping, Slot
from k2t_core.rules.reshaping import indexed, reshaped, transposed
from k2t_core.rules.slots import formula


@ops("GetItem", demand=ANY, range="moved")
def get_item(call: Call) -> Mapping:
    x, key = call.argument("x"), call.argument("key")
    call.refuse(not isinstance(x, Slot), "it indexes a constant with a tensor; use keras.ops.take")
    key = list(key) if isinstance(key, (tuple, list)) else [key]
    call.refuse(sum(item is Ellipsis for item in key) > 1, "its key has more than one ellipsis")
    items = [_index(call, item) for item in key]
    used = sum(item is not None and item is not Ellipsis for item in items)
    fill = [slice(None)] * (x.rank - used)
    at = next((i for i, item in enumerate(items) if item is Ellipsis), None)
    items = [*items, *fill] if at is None else [*items[:at], *fill, *items[at + 1 :]]
    text = ", ".join("…" if k is Ellipsis else "None" if k is None else _key_text(k) for k in key)
    return indexed(call, x, items, f"x[{text}]")


def _key_text(item: Any) -> str:
    if isinstance(item, slice):
        return ":".join("" if v is None else str(v) for v in (item.start, item.stop)) + (
            f":{item.step}" if item.step is not None else ""
        )
    return str(item)


def _index(call: Call, item: Any) -> Any:
    if item is None or item is Ellipsis:
        return item
    if isinstance(item, slice):
        parts = [item.start, item.stop, item.step]
        call.refuse(
            any(v is not None and not isinstance(v, (int, np.integer)) for v in parts),
            "it slices with a tensor; slice with numbers",
        )
        return slice(*(None if v is None else int(v) for v in parts))
    if isinstance(item, (np.ndarray, np.generic)) and item.ndim == 0:
        item = item.item()
    call.refuse(
        isinstance(item, bool) or not isinstance(item, int),
        f"its index is a {'tensor' if isinstance(item, Slot) else type(item).__name__}; use keras.ops.take",
    )
    return item


@ops("Slice", demand=ANY)
def slice_(call: Call) -> Mapping:
    x, start, sizes = call.argument("inputs"), call.argument("start_indices"), call.option("shape")
    call.refuse(
        isinstance(start, Slot) or any(isinstance(s, Slot) for s in start), "its start is a tensor; slice with numbers"
    )
    start = [int(s) for s in start]
    items: list[int | slice | None] = [slice(s, None if n == -1 else s + int(n)) for s, n in zip(start, sizes)]
    return indexed(call, x, items, f"slice(x, {tuple(start)}, {tuple(sizes)})")


@ops("ExpandDims", demand=None)
def expand_dims(call: Call) -> Mapping:
    x, axis = call.x, call.option("axis")
    rank = len(call.outputs[0].shape)
    new = {int(a) % rank for a in (axis if isinstance(axis, (list, tuple)) else [axis])}
    return indexed(call, x, [None if i in new else slice(None) for i in range(rank)], f"expand_dims(x, {axis})")


@ops("Squeeze", demand=None)
def squeeze(call: Call) -> Mapping:
    x = call.x
    axis = call.option("axis")
    if axis is None:
        axes = [i for i, n in enumerate(x.shape) if n == 1]
        if not axes:
            return elementwise(call, x, str(x), "No axis of size 1.")
    else:
        axes = axes_of(call, x.rank)
    expression = f"{x}.squeeze({torch_axes(x.layout, axes)})"
    return Mapping(
        expression,
        wants=(x.layout,),
        gives=(x.layout.drop(set(axes)),),
        why="Axes of size 1 go.",
        keras=f"squeeze(x, {axis})",
        torch=formula(expression),
    )


@ops("Reshape", demand=None, range="moved")
def reshape(call: Call) -> Mapping:
    x, shape = call.x, call.option("newshape")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    call.refuse(
        not all(isinstance(n, (int, np.integer)) for n in shape), "its new shape holds an unknown size; write −1 for it"
    )
    target = call.outputs[0].shape
    before, after = ([n for n in side[1:] if n is not None] for side in (x.shape, target))
    fixed = len(before) + len(after) == len(x.shape[1:]) + len(target[1:])
    same_rest = fixed and math.prod(before) == math.prod(after)
    return reshaped(
        call, x, target, keeps_batch=bool(x.shape) and bool(target) and x.shape[0] == target[0] and same_rest
    )


@ops("Ravel", demand=LAST)
def ravel(call: Call) -> Mapping:
    x = call.x
    return Mapping(
        f"{x}.flatten()", wants=(identity(x.rank),), why="Keras's order of axes.", keras="ravel(x)", torch="x.flatten()"
    )


@ops("Transpose", "Swapaxes", "Moveaxis", demand=None)
def transpose(call: Call) -> Mapping:
    x, name = call.x, name_of(call)
    order = list(range(x.rank))
    if name == "Transpose":
        axes = call.option("axes")
        order = order[::-1] if axes is None else [int(a) % x.rank for a in axes]
    elif name == "Swapaxes":
        a, b = call.option("axis1") % x.rank, call.option("axis2") % x.rank
        order[a], order[b] = order[b], order[a]
    else:
        sources, targets = ([int(a) % x.rank for a in call.option(key)] for key in ("source", "destination"))
        order = [a for a in order if a not in sources]
        for target, source in sorted(zip(targets, sources)):
            order.insert(target, source)
    return transposed(call, x, tuple(order))


def _slots(call: Call, key: str) -> list[Slot]:
    values = call.argument(key)
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    call.refuse(
        not all(isinstance(v, Slot) for v in values),
        "one of its inputs is a constant; add it as a layer's weight or broadcast it first",
    )
    return values


@ops("Concatenate", "Hstack", "Vstack", demand=ANY)
def concatenate(call: Call) -> Mapping:
    operands = align(call, _slots(call, "xs"))
    axis = {"Hstack": 1, "Vstack": 0}.get(name_of(call))
    call.refuse(
        axis is not None and operands.layout.rank < 2, "its inputs have a single axis; use keras.ops.concatenate"
    )
    axis = call.option("axis") if axis is None else axis
    dim = operands.layout.axis(axis)
    return Mapping(
        f"torch.cat([{', '.join(_same_dtype(operands, result_dtype(call)))}], dim={dim})",
        wants=operands.wants,
        gives=(operands.layout,),
        why=f"Keras's axis {axis} is torch's axis {dim}.",
        keras=f"{name_of(call).lower()}(xs{f', axis={axis}' if name_of(call) == 'Concatenate' else ''})",
        torch=f"torch.cat(xs, dim={dim})",
    )


def _same_dtype(operands: Operands, result: str) -> list[str]:
    torch_dtype(result)
    return [
        text if value.dtype == result else cast(text, result) for value, text in zip(operands.values, operands.texts)
    ]


@ops("Stack", demand=None)
def stack(call: Call) -> Mapping:
    operands = align(call, _slots(call, "x"))
    rank = len(call.outputs[0].shape)
    axis = call.option("axis") % rank
    order = [a if a < axis else a + 1 for a in operands.layout.perm]
    wanted = call.wanted[0] if call.wanted else None
    gives = next(
        (g for g in (wanted, identity(rank)) if g is not None and [a for a in g.perm if a != axis] == order),
        Layout((*order, axis)),
    )
    dim = gives.axis(axis)
    return Mapping(
        f"torch.stack([{', '.join(_same_dtype(operands, result_dtype(call)))}], dim={dim})",
        wants=operands.wants,
        gives=(gives,),
        why=f"The new axis is Keras's {axis}, torch's {dim}.",
        keras=f"stack(x, axis={axis})",
        torch=f"torch.stack(x, dim={dim})",
    )


@ops("Split", "ArraySplit", demand=ANY)
def split(call: Call) -> Mapping:
    x, parts, axis = call.x, call.option("indices_or_sections"), call.option("axis")
    dim, count = x.layout.axis(axis), len(call.outputs)
    if isinstance(parts, int):
        even = x.shape[axis] is not None and x.shape[axis] % parts == 0
        expression = f"{x}.chunk({parts}, dim={dim})" if even else f"{x}.tensor_split({parts}, dim={dim})"
    else:
        parts = [int(p) for p in parts]
        call.refuse(
            any(p < 0 for p in parts) or parts != sorted(parts), "its split indices are negative or out of order"
        )
        expression = f"{x}.tensor_split({tuple(parts)}, dim={dim})"
    return Mapping(
        str(x) if count == 1 else expression,
        gives=(x.layout,) * count,
        why=f"Keras's axis {axis} is torch's axis {dim}.",
        keras=f"split(x, {parts}, axis={axis})",
        torch=formula(expression),
    )


@ops("Unstack", demand=None)
def unstack(call: Call) -> Mapping:
    x, axis = call.x, call.option("axis") % call.x.rank
    call.option("num")  # must equal the size of the axis
    dim, count = x.layout.axis(axis), len(call.outputs)
    expression = f"{x}.squeeze({dim})" if count == 1 else f"{x}.unbind({dim})"
    return Mapping(
        expression,
        gives=(x.layout.drop({axis}),) * count,
        why=f"Keras's axis {axis} is torch's axis {dim}.",
        keras=f"unstack(x, axis={axis})",
        torch=f"x.unbind({dim})",
    )


@ops("Repeat", demand=ANY)
def repeat(call: Call) -> Mapping:
    x, repeats, axis = call.x, call.option("repeats"), call.option("axis")
    counts = [int(n) for n in np.ravel(repeats)]
    times = str(counts[0]) if len(counts) == 1 else f"torch.tensor({counts}, device={x}.device)"
    if axis is None:
        return Mapping(
            f"{x}.flatten().repeat_interleave({times})",
            wants=(identity(x.rank),),
            keras=f"repeat(x, {counts})",
            torch="x.flatten().repeat_interleave(n)",
        )
    return elementwise(
        call,
        x,
        f"{x}.repeat_interleave({times}, dim={x.layout.axis(axis)})",
        f"Keras's axis {axis} is torch's axis {x.layout.axis(axis)}.",
    )


@ops("Tile", demand=ANY)
def tile(call: Call) -> Mapping:
    x, repeats = call.x, call.option("repeats")
    repeats = [int(n) for n in np.ravel(repeats)]
    repeats = [1] * (x.rank - len(repeats)) + repeats
    layout = x.layout if len(repeats) == x.rank else identity(x.rank)
    order = layout.perm if len(repeats) == x.rank else range(len(repeats))
    sizes = ", ".join(str(repeats[axis]) for axis in order)
    gives = layout if len(repeats) == x.rank else identity(len(repeats))
    return Mapping(
        f"{x}.repeat({sizes})",
        wants=(layout,),
        gives=(gives,),
        why="Once for each axis, in torch's order.",
        keras=f"tile(x, {repeats})",
        torch=f"x.repeat({sizes})",
    )


@ops("Flip", "Fliplr", "Flipud", demand=ANY)
def flip(call: Call) -> Mapping:
    x = call.x
    axes = {"Fliplr": [1], "Flipud": [0]}.get(name_of(call)) or axes_of(call, x.rank)
    dims = sorted(x.layout.axis(axis) for axis in axes)
    return elementwise(call, x, f"{x}.flip({', '.join(map(str, dims))})", "The same axes, as torch numbers them.")


@ops("Roll", demand=ANY)
def roll(call: Call) -> Mapping:
    x, shift, axis = call.x, call.option("shift"), call.option("axis")
    shift = shift if isinstance(shift, int) else tuple(int(s) for s in shift)
    if axis is None:
        wants = identity(x.rank)
        return Mapping(
            f"torch.roll({x}, {shift})",
            wants=(wants,),
            why="Through the flattened tensor in Keras's order.",
            keras=f"roll(x, {shift})",
            torch=f"torch.roll(x, {shift})",
        )
    dims = x.layout.axis(axis) if isinstance(axis, int) else tuple(x.layout.axis(a) for a in axis)
    call.refuse(
        isinstance(shift, int) != isinstance(dims, int), "it has several axes for one shift, or the other way round"
    )
    return elementwise(call, x, f"torch.roll({x}, {shift}, {dims})", "The same axes, as torch numbers them.")


@ops("BroadcastTo", demand=LAST)
def broadcast_to(call: Call) -> Mapping:
    x, shape = call.x, tuple(call.option("shape"))
    call.refuse(not all(isinstance(n, (int, np.integer)) for n in shape), "its shape holds an unknown size")
    sizes = ", ".join(map(str, shape))
    return Mapping(
        f"{x}.expand({sizes})", wants=(identity(x.rank),), keras=f"broadcast_to(x, {shape})", torch=f"x.expand({sizes})"
    )


@ops("Pad", demand=ANY)
def pad(call: Call) -> Mapping:
    """F.pad takes its pairs last torch axis first. Its "reflect" wants floats and one or two axes in front that are not
    padded."""
    x, widths, mode = call.x, call.option("pad_width"), call.option("mode")
    call.refuse(
        mode not in ("constant", "reflect", "symmetric"),
        f"its mode is {mode!r}; k2t converts constant, reflect and symmetric padding",
    )
    value = call.argument("constant_values")
    widths = [tuple(int(n) for n in pair) for pair in widths]
    widths = widths * x.rank if len(widths) == 1 else widths
    widths = [pair * 2 if len(pair) == 1 else pair for pair in widths]
    pairs = [widths[axis] for axis in x.layout.perm]
    while pairs and pairs[0] == (0, 0):
        pairs.pop(0)
    if not pairs:
        return elementwise(call, x, str(x), "Nothing to pad.")
    pairs = [(0, 0)] * (x.rank - 2 - len(pairs)) + pairs if mode == "reflect" else pairs
    flat = ", ".join(str(n) for pair in reversed(pairs) for n in pair)
    if mode == "reflect" and is_float(x.dtype) and len(pairs) <= 3 and len(pairs) < x.rank:
        return elementwise(call, x, f'F.pad({x}, ({flat}), mode="reflect")', "torch takes the pairs last axis first.")
    if mode != "constant":
        torch_dtype(x.dtype)
        return elementwise(
            call,
            x,
            f"mirror_pad({x}, ({flat}){', edge=True' if mode == 'symmetric' else ''})",
            "F.pad has no symmetric padding, and reflects floats only, along the last axes.",
        )
    fill = "" if value is None else f", value={option_literal(call, value, 'constant_values')}"
    return elementwise(call, x, f"F.pad({x}, ({flat}){fill})", "torch takes the pairs last axis first.")


@ops("Tril", "Triu", demand=LAST)
def triangle(call: Call) -> Mapping:
    x, k, name = call.x, call.option("k"), name_of(call).lower()
    expression = f"torch.{name}({x}{f', diagonal={k}' if k else ''})"
    return Mapping(
        expression,
        wants=(identity(x.rank),),
        why="Of the last two Keras axes.",
        keras=f"{name}(x, k={k})",
        torch=formula(expression),
    )


@ops("OneHot", demand=None)
def one_hot(call: Call) -> Mapping:
    """Zeros for an index out of range, as tf.one_hot; torch's F.one_hot raises there."""
    x, classes, axis = call.x, call.option("num_classes"), call.option("axis")
    call.option("dtype")
    call.refuse(bool(call.option("sparse")), "it makes a sparse tensor; use sparse=False")
    result = result_dtype(call)
    parts = [
        str(x),
        str(classes),
        *([f"dim={axis}"] if axis != -1 else []),
        *([f"dtype={torch_dtype(result)}"] if result != "float32" else []),
    ]
    return Mapping(
        f"one_hot({', '.join(parts)})",
        wants=(identity(x.rank),),
        why="An index out of range gives zeros, as in Keras.",
        keras=f"one_hot(x, {classes}, axis={axis})",
        torch=f"one_hot(x, {classes})",
    )


@ops("Take", demand=None)
def take(call: Call) -> Mapping:
    """``indices`` replace the axis; negative ones count from the end."""
    x, indices, axis = call.argument("x"), call.argument("indices"), call.option("axis")
    call.refuse(not isinstance(x, Slot), "it takes from a constant; use an Embedding layer")
    if isinstance(indices, (list, tuple)):
        call.refuse(any(isinstance(i, Slot) for i in indices), "its indices are a list of tensors; stack them first")
        indices = np.asarray(indices)
    build = Builder(call)
    if isinstance(indices, Slot):
        index, rank = cast(str(indices), "int64") if indices.dtype != "int64" else str(indices), indices.rank
    else:
        array = np.asarray(constant(indices)).astype("int64")
        rank = array.ndim
        index = str(int(array)) if rank == 0 else write_array(array, x, build)
    wants = tuple(identity(slot.rank) for slot in call.inputs)
    if axis is None:
        expression, gives = f"{x}.flatten()[{index}]", identity(rank)
    else:
        expression = f"{x}[{':, ' * (axis % x.rank)}{index}]"
        gives = identity(x.rank - 1 + rank)
    return Mapping(
        expression,
        wants=wants,
        gives=(gives,),
        keras=f"take(x, indices, axis={axis})",
        torch="x[…, indices]",
        module=build.module,
        weights=build.weights,
    )


@ops("TakeAlongAxis", demand=LAST)
def take_along_axis(call: Call) -> Mapping:
    x, indices, axis = call.argument("x"), call.argument("indices"), call.option("axis")
    call.refuse(
        not (isinstance(x, Slot) and isinstance(indices, Slot)),
        "its indices or its tensor are a constant; use keras.ops.take",
    )
    call.refuse(axis is None, "it takes from the flattened tensor; flatten it first")
    return Mapping(
        f"take_along_dim({x}, {indices}, dim={axis % x.rank})",
        wants=(identity(x.rank), identity(indices.rank)),
        why="Negative indices count from the end, which torch.take_along_dim does not know.",
        keras=f"take_along_axis(x, indices, axis={axis})",
        torch=f"take_along_dim(x, indices, dim={axis})",
    )


@ops("SliceUpdate", demand=LAST)
def slice_update(call: Call) -> Mapping:
    """A copy with a part replaced, from fixed places on."""
    x, update, starts = call.argument("inputs"), call.argument("updates"), call.argument("start_indices")
    call.refuse(not isinstance(x, Slot) or not isinstance(update, Slot), "one of its tensors is a constant")
    call.refuse(
        not all(isinstance(n, (int, np.integer)) for n in np.ravel(starts).tolist()),
        "it starts where a tensor says; use keras.ops.where",
    )
    return Mapping(
        f"slice_update({x}, {update}, {[int(n) for n in np.ravel(starts)]})",
        wants=tuple(identity(slot.rank) for slot in call.inputs),
        gives=(identity(x.rank),),
        why="In Keras's order of axes.",
        keras="slice_update(x, starts, update)",
        torch="x[starts : …] = update",
    )
