"""Layers that take a list of inputs. Source: keras/src/layers/merging/."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from k2t_core.graph import Graph, Ref
from k2t_core.layout import Layout, identity
from k2t_core.rules.broadcasting import align, common_layout, is_float
from k2t_core.rules.registry import ANY, Call, Mapping, Slot, rule

PAIRWISE = {
    "Add": "{} + {}",
    "Subtract": "{} - {}",
    "Multiply": "{} * {}",
    "Average": "{} + {}",
    "Maximum": "torch.maximum({}, {})",
    "Minimum": "torch.minimum({}, {})",
}
FORMULA = {
    "Add": "x + y",
    "Subtract": "x − y",
    "Multiply": "x · y",
    "Average": "(x + y) / 2",
    "Maximum": "max(x, y)",
    "Minimum": "min(x, y)",
}


def _inputs(call: Call) -> list[Slot]:
    inputs = list(call.argument("inputs"))
    call.refuse(not all(isinstance(x, Slot) for x in inputs), "one of its inputs is not a tensor")
    return inputs


def static_bias(left: tuple, right: tuple) -> bool:
    """Whether keras.ops.add adds ``right`` along another axis than NumPy.

    keras/src/backend/tensorflow/numpy.py hands an operand with a single axis longer than 1 to tf.nn.bias_add, which
    takes it for channels: last where the sizes fit, else axis 1.
    """
    big = [axis for axis, n in enumerate(right) if n is None or n > 1]
    if len(big) != 1 or right[big[0]] is None or len(left) < 2 or right[big[0]] not in (left[1], left[-1]):
        return False
    meant = big[0] + max(len(left), len(right)) - len(right)
    return len(right) > len(left) or meant != bias_axis(left, right)


def bias_axis(left: tuple, right: tuple) -> int:
    """The axis of ``left`` along which keras.ops.add adds what it takes for a bias."""
    return len(left) - 1 if left[-1] == max(right) else 1


def bias_of_one_sample(graph: Graph) -> str | None:
    """The first layer that is right for several samples, and of which Keras makes a `static_bias` where there is one
    sample."""
    for _, inner, node in graph.walk():
        if node.layer.kind == "ops.Add":
            values = [node.arguments["x1"], node.arguments["x2"]]
        elif node.layer.kind in ("Add", "Average"):
            values = node.arguments["inputs"]
        else:
            continue
        shapes = [inner.tensors[v.tensor].shape if isinstance(v, Ref) else np.shape(v) for v in values]
        if node.layer.kind != "ops.Add":
            shapes = [_expanded(shape, max(map(len, shapes))) for shape in shapes]
        first, *rest = [(1, *shape[1:]) if shape[:1] == (None,) else shape for shape in shapes]
        if any(static_bias(first, shape) for shape in rest):
            return node.layer.path
    return None


BIAS_ADD = (
    "Keras on TensorFlow adds its second input along another axis than NumPy broadcasting would (it takes it for "
    "a bias); broadcast that input to the full shape first"
)


@rule("Add", demand=ANY, role="add")
@rule("Subtract", "Average", demand=ANY)
@rule("Multiply", demand=ANY, role="multiply", takes_masks=True)
@rule("Maximum", "Minimum", demand=ANY, takes_masks=True)
def merge(call: Call) -> Mapping:
    """Elementwise over a list; lower ranks get their missing axes after the batch axis."""
    kind = call.layer.kind
    inputs = _inputs(call)
    masks = call.argument("masks")
    ranks = {x.rank for x in inputs}
    common: dict[str, Any] = {
        "keras": FORMULA[kind] + (", lower ranks expanded at axis 1" if len(ranks) > 1 else ""),
        "torch": FORMULA[kind],
    }
    if masks is not None and any(m is not None for m in masks):
        call.refuse(
            ranks != {3},
            "its inputs carry masks and are not all of shape (batch, steps, features); "
            "k2t converts masked merges of sequences only",
        )
        return _masked(call, inputs, list(masks), common)
    operands = align(call, inputs, batch_first=True)
    if kind in ("Add", "Average"):
        shapes = [_expanded(x.shape, max(ranks)) for x in inputs]
        call.refuse(any(static_bias(shapes[0], shape) for shape in shapes[1:]), BIAS_ADD)
    expression = reduce(PAIRWISE[kind].format, operands.texts)
    if kind == "Average":
        # TensorFlow divides int32 and int64 into float64.
        wide = any(x.dtype in ("int32", "int64") for x in inputs) and not any(is_float(x.dtype) for x in inputs)
        expression = f"({expression}){'.double()' if wide else ''} / {len(inputs)}"
    why = "Elementwise."
    if len(ranks) > 1:
        why = "Keras expands the lower rank right after the batch axis; so does this, in torch's order of axes."
    return Mapping(expression, wants=operands.wants, gives=(operands.layout,), why=why, **common)


def _expanded(shape: tuple, rank: int) -> tuple:
    return (*shape[:1], *(1,) * (rank - len(shape)), *shape[1:])


def _masked(call: Call, inputs: list[Slot], masks: list[Slot | None], common: dict[str, Any]) -> Mapping:
    """Multiply leaves masked steps out of the product; Maximum and Minimum take the other input there."""
    kind = call.layer.kind
    layout = common_layout(call, inputs, 3)
    call.refuse(any(m is not None and m.rank != 2 for m in masks), "one of its masks is not of shape (batch, steps)")
    operands = align(call, inputs, layout)
    texts = operands.texts
    steps = [None if m is None else f"{m}.unsqueeze({layout.axis(2)})" for m in masks]
    if kind == "Multiply":
        factors = [x if m is None else f"torch.where({m}, {x}, 1)" for x, m in zip(texts, steps)]
        product = " * ".join(factors)
        given = [m for m in steps if m is not None]
        if len(given) == len(steps):
            product = f"torch.where({' | '.join(given)}, {product}, 0)"
        expression = product
    else:
        # base_merge.py: where one side is masked the other one counts; a step masked on both sides keeps the later
        # input.
        current, known = texts[0], steps[0]
        for x, m in zip(texts[1:], steps[1:]):
            right = x if m is None else f"torch.where({m}, {x}, {current})"
            if known is not None:
                left = f"torch.where({known}, {current}, {right})"
            else:
                left = current
            known = f"{known} | {m}" if known is not None and m is not None else None
            current = PAIRWISE[kind].format(left, right)
        expression = current
    return Mapping(expression, wants=operands.wants, gives=(layout,), why="Masked steps do not take part.", **common)


@rule("Concatenate", demand=ANY, role="concatenate")
def concatenate(call: Call) -> Mapping:
    """The axis is Keras's; torch's is where the layout holds it."""
    inputs = _inputs(call)
    axis = call.option("axis")
    operands = align(call, inputs)
    dim = operands.layout.axis(axis)
    return Mapping(
        f"torch.cat([{', '.join(operands.texts)}], dim={dim})",
        wants=operands.wants,
        gives=(operands.layout,),
        why=f"Keras's axis {axis} is torch's axis {dim} in the order {operands.layout}.",
        keras=f"concatenate(inputs, axis={axis})",
        torch=f"torch.cat(inputs, dim={dim})",
    )


@rule("Dot", demand=None)
def dot(call: Call) -> Mapping:
    """Contract one axis of each input, the batch axis kept: batch_dot in keras/src/layers/merging/dot.py."""
    x, y = _inputs(call)
    axes = call.option("axes")
    a, b = (axes, axes) if isinstance(axes, int) else axes
    a, b = a % x.rank, b % y.rank
    left, right = str(x), str(y)
    if call.option("normalize"):
        left, right = (f"F.normalize({s}, dim={s.layout.axis(axis)}, eps=1e-7)" for s, axis in ((x, a), (y, b)))
    letters = iter("cdefghijklmnopqrstuvwxyz")
    names_x = ["n", *(next(letters) for _ in range(x.rank - 1))]
    names_y = ["n", *(next(letters) for _ in range(y.rank - 1))]
    names_x[a] = names_y[b] = "k"
    out = "n" + "".join(n for n in names_x[1:] + names_y[1:] if n != "k")
    spec = f"{_letters(names_x, x.layout)},{_letters(names_y, y.layout)}->{out}"
    expression = f'torch.einsum("{spec}", {left}, {right})'
    if x.rank == y.rank == 2:
        expression = f"({left} * {right}).sum(dim=1, keepdim=True)"
        if (x.layout, y.layout) != (identity(2), identity(2)):
            expression = f'torch.einsum("{spec}", {left}, {right}).unsqueeze(-1)'
    return Mapping(
        expression,
        wants=(x.layout, y.layout),
        gives=(identity(len(call.outputs[0].shape)),),
        why="Keras's batch dot as an einsum: the axis named k is summed over"
        + (", both inputs scaled to length 1 along it." if call.option("normalize") else "."),
        keras=f"batch_dot(x, y, axes=({a}, {b}))",
        torch=f"einsum {spec}",
    )


def _letters(names: list[str], layout: Layout) -> str:
    return "".join(names[axis] for axis in layout.perm)
