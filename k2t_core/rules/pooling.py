"""Pooling. Source: keras/src/layers/pooling/ and backend/tensorflow/nn.py."""

from __future__ import annotations

import numpy as np

from k2t_core.rules.broadcasting import cast, is_float
from k2t_core.rules.common import compact, fixed, ntuple, same_pads, spatial_axes
from k2t_core.rules.convolution import image_input
from k2t_core.rules.registry import (
    SELF,
    Alternative,
    Call,
    Mapping,
    Module,
    Slot,
    demand_channels_first,
    image_layout,
    rule,
)

BORDER = Alternative(
    "count the border",
    "divide by the window's size everywhere, padding counted as zeros",
    "only for weights trained in torch, whose AvgPool counts the padding; "
    "TensorFlow divides by the pixels inside the image",
)


@rule(
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "ops.MaxPool",
    "ops.AveragePool",
    demand=demand_channels_first,
    role="pooling",
)
def pooling(call: Call) -> Mapping:
    """TensorFlow's SAME as torch's ``padding`` with ``ceil_mode``, which adds a window at the end where pixels are
    left.

    Both pad a maximum with −∞ and, with count_include_pad=False, divide an average by the pixels inside the image.
    """
    average, rank = (
        "Average" in call.layer.kind,
        call.x.rank - 2 if call.layer.kind.startswith("ops.") else int(call.layer.kind[-2]),
    )
    image_input(call, rank)
    layout = image_layout(call)
    kernel = ntuple(call.option("pool_size"), rank)
    stride = kernel if call.option("strides") is None else ntuple(call.option("strides"), rank)
    padding = str(call.option("padding")).lower()
    call.refuse(padding not in ("same", "valid"), f"its padding {padding!r} is not known to k2t")
    args = {
        "kernel_size": compact(kernel),
        "stride": None if stride == kernel else compact(stride),
        "padding": 0,
        "ceil_mode": False,
    }
    if average:
        args["count_include_pad"] = True
    # torch has no 3D average of half precision on CPUs.
    half = average and rank == 3 and call.x.dtype in ("float16", "bfloat16")
    x = cast(str(call.x), "float32") if half else str(call.x)
    expression, why, may_pad = f"{SELF}({x})", "The same windows.", padding == "same" and max(kernel) > 1
    if may_pad:
        pads = same_pads(_sizes(call, layout, kernel, stride), kernel, stride, (1,) * rank)
        # torch's 3D average wants an image at least as large as the window.
        small = (
            average
            and rank == 3
            and any((n := call.x.shape[axis]) is None or n < k for axis, k in zip(spatial_axes(layout), kernel))
        )
        if pads is None or small:
            window = f"{kernel}, {stride}"
            padded = f"same_padding({x}, {window}, {(1,) * rank}, value=-math.inf)"
            expression = f"same_average({SELF}, {x}, {window})" if average else f"{SELF}({padded})"
            why = "The image is smaller than the window or of free size, so SAME is computed at run time."
            call.refuse(
                call.choice == BORDER.name, "counting the border needs an image of known size, as large as the window"
            )
        elif any(map(any, pads)):
            # With stride 1 torch makes no extra window at the end: pad one more on both sides and drop the first.
            drops = [int(before != after and s == 1) for (before, after), s in zip(pads, stride)]
            args["padding"] = compact([after if drop else before for (before, after), drop in zip(pads, drops)])
            args["ceil_mode"] = any(before != after and not drop for (before, after), drop in zip(pads, drops))
            if average:
                args["count_include_pad"] = call.choice == BORDER.name
            if any(drops):
                expression += f"[:, :, {', '.join('1:' if drop else ':' for drop in drops)}]"
            why = (
                "SAME: torch's padding, and ceil_mode where TensorFlow pads the end only."
                if args["ceil_mode"]
                else "SAME pads both sides."
            )
            why += " An average counts the pixels inside the image." if average else ""
    return Mapping(
        forward=cast(expression, call.x.dtype) if half else expression,
        module=Module(f"nn.{'Avg' if average else 'Max'}Pool{rank}d", args, 1),
        wants=(layout,),
        gives=(layout,),
        why=why,
        keras=f"{'average' if average else 'max'}_pool(x, pool_size, strides, padding)",
        torch="the same, channels first",
        alternatives=(BORDER,) if average and may_pad else (),
    )


def _sizes(call: Call, layout, kernel, stride) -> list[int | None]:
    """The image's sizes; where one is free but every size pads the start alike, a size that pads the end most."""
    sizes = [call.x.shape[axis] for axis in spatial_axes(layout)]
    return [s + 1 if n is None and max(k - s, 0) // 2 == (k - 1) // 2 else n for n, k, s in zip(sizes, kernel, stride)]


@rule(
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    demand=demand_channels_first,
    role="global pooling",
)
@rule("GlobalAveragePooling1D", "GlobalMaxPooling1D", role="global pooling")
def global_pooling(call: Call) -> Mapping:
    """A reduction over space: it needs no particular order of axes, so it never moves data."""
    x, kind = call.x, call.layer.kind
    first = call.option("data_format") == "channels_first"
    keep = call.option("keepdims")
    space = range(2, x.rank) if first else range(1, x.rank - 1)
    axes = sorted(x.layout.axis(axis) for axis in space)
    dim = str(axes[0] if len(axes) == 1 else tuple(axes)) + (", keepdim=True" if keep else "")
    mask = call.argument("mask")
    name = "mean" if "Average" in kind else "amax"
    wants = [x.layout]
    if isinstance(mask, Slot):
        call.refuse(mask.rank != 2, f"its mask has {mask.rank} axes, where k2t expects (batch, steps)")
        expression, why = f"masked_mean({x}, {mask}, dim={dim})", "The mean of the steps that are not masked."
        wants = [slot.layout for slot in call.inputs]
    else:
        source = cast(str(x), call.outputs[0].dtype) if name == "mean" and not is_float(x.dtype) else str(x)
        expression, why = f"{source}.{name}(dim={dim})", f"The {'mean' if name == 'mean' else 'maximum'} over space."
    return Mapping(
        expression,
        wants=tuple(wants),
        gives=(x.layout,) if keep else (),
        why=why,
        keras=f"{'mean' if name == 'mean' else 'max'}(x, axis={list(space)})",
        torch=f"{name}(x, dim={dim})",
    )


@rule(
    *(f"Adaptive{mode}Pooling{rank}D" for mode in ("Average", "Max") for rank in (1, 2, 3)),
    demand=demand_channels_first,
    role="pooling",
)
def adaptive_pooling(call: Call) -> Mapping:
    """torch's windows, ⌊i·n/o⌋ to ⌈(i+1)·n/o⌉, where Keras's two pool sizes can make them all."""
    average, rank = "Average" in call.layer.kind, int(call.layer.kind[-2])
    image_input(call, rank)
    layout = image_layout(call)
    outputs = ntuple(call.option("output_size"), rank)
    sizes = fixed(
        [call.x.shape[axis] for axis in spatial_axes(layout)],
        "its input's size is not known, which Keras on TensorFlow needs, too; give the model's Input its size",
    )
    for n, o in zip(sizes, outputs):
        call.refuse(
            not average and -(-n // o) + 1 > n,
            f"Keras on TensorFlow ends in a division by zero for it (a window of {n} + 1 on {n}); use global pooling",
        )
        call.refuse(
            not windows_agree(n, o),
            f"Keras's windows from {n} to {o} are not the adaptive ones of torch; "
            f"choose an output size that divides {n}",
        )
    return Mapping(
        forward=f"{SELF}({call.x})",
        module=Module(f"nn.Adaptive{'Avg' if average else 'Max'}Pool{rank}d", {"output_size": compact(outputs)}, 1),
        wants=(layout,),
        gives=(layout,),
        why="The same windows: ⌊i·n/o⌋ to ⌈(i+1)·n/o⌉.",
        keras=f"adaptive_{'average' if average else 'max'}_pool(x, output_size)",
        torch="the same, channels first",
    )


def windows_agree(n: int, o: int) -> bool:
    """Whether Keras's gather from two pools (backend/tensorflow/nn.py:_compute_static_gather_indices) hits torch's
    windows.

    It computes in float32 and knows windows of ⌈n/o⌉ and one more.
    """
    small = -(-n // o)
    index, size, count = np.arange(o, dtype=np.float32), np.float32(n), np.float32(o)
    starts = np.minimum(np.floor(index * size / count).astype(int), n - 1)
    ends = np.minimum(np.ceil((index + 1) * size / count).astype(int), n)
    lengths = np.where(ends - starts == small + 1, small + 1, small)
    exact = np.arange(o)
    return bool(np.array_equal(starts, exact * n // o) and np.array_equal(starts + lengths, -(-(exact + 1) * n // o)))
