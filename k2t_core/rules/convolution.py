"""Convolutions. Source: keras/src/layers/convolutional/ and backend/tensorflow/nn.py."""

from __future__ import annotations

from k2t_core.rules.activations import apply_activation
from k2t_core.rules.common import compact, ntuple, pad_expression, same_pads, spatial_axes
from k2t_core.rules.registry import SELF, Alternative, Call, Mapping, Module, Weight, demand_channels_first, image_layout, rule
from k2t_core.transforms import Permute

SYMMETRIC = Alternative("symmetric padding", "pad both sides alike, as torch's padding= does", "only where TensorFlow's SAME happens to be symmetric; elsewhere the result is shifted by a pixel")


def padded(call: Call, kernel, stride, dilation, layout) -> tuple[str, int | tuple[int, ...]]:
    """The input expression, padded where torch's own ``padding`` cannot do it, and torch's ``padding``."""
    padding = call.option("padding")
    rank = len(kernel)
    x = str(call.x)
    if padding == "valid":
        return x, 0
    if padding == "causal":
        return pad_expression(x, [(dilation[0] * (kernel[0] - 1), 0)]), 0
    call.refuse(padding != "same", f"its padding {padding!r} is not known to k2t")
    sizes = [call.x.shape[axis] for axis in spatial_axes(layout)]
    pads = same_pads(sizes, kernel, stride, dilation)
    if pads is None:
        return f"same_padding({x}, {kernel}, {stride}, {dilation})", 0
    if call.choice == SYMMETRIC.name:
        pads = [((before + after) // 2 + (before + after) % 2,) * 2 for before, after in pads]
    if all(before == after for before, after in pads):
        return x, compact([before for before, _ in pads]) if rank else 0
    return pad_expression(x, pads), 0


@rule("Conv1D", "Conv2D", "Conv3D", demand=demand_channels_first)
def convolution(call: Call) -> Mapping:
    """Kernel (space…, in/groups, out) → (out, in/groups, space…)."""
    rank = call.option("rank", int(call.layer.kind[4]))
    layout = image_layout(call)
    kernel, stride, dilation = (ntuple(call.option(name), rank) for name in ("kernel_size", "strides", "dilation_rate"))
    groups, filters, use_bias = call.option("groups"), call.option("filters"), call.option("use_bias")
    x, padding = padded(call, kernel, stride, dilation, layout)
    shape = call.variable("kernel").shape
    asymmetric = call.layer.config["padding"] == "same" and padding == 0 and max(kernel) > 1
    return Mapping(
        forward=apply_activation(call.option("activation"), f"{SELF}({x})", layout),
        module=Module(
            f"nn.Conv{rank}d",
            {
                "in_channels": shape[-2] * groups,
                "out_channels": filters,
                "kernel_size": compact(kernel),
                "stride": compact(stride),
                "padding": padding,
                "dilation": compact(dilation),
                "groups": groups,
                "bias": use_bias,
            },
            2,
        ),
        weights=(Weight("weight", "kernel", (Permute((rank + 1, rank, *range(rank))),)), *([Weight("bias", "bias")] if use_bias else [])),
        wants=(layout,),
        gives=(layout,),
        why="Kernel axes: Keras ends with (in, out), torch begins with (out, in)." + (" SAME with this stride and size pads one more on the right and bottom." if asymmetric else ""),
        keras="conv(x, kernel, strides, padding) + bias",
        torch="the same correlation, channels first",
        alternatives=(SYMMETRIC,) if call.layer.config["padding"] == "same" else (),
    )
