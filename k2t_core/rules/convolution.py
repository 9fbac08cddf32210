"""Convolutions. Source: keras/src/layers/convolutional/ and backend/tensorflow/nn.py.

Long because the kinds of convolution share their padding, their input and their bias.
"""

from __future__ import annotations

from k2t_core.layout import Layout
from k2t_core.rules.activations import apply_activation
from k2t_core.rules.broadcasting import Builder, constant, shape_of, write_array
from k2t_core.rules.common import compact, ntuple, pad_expression, same_pads, spatial_axes
from k2t_core.rules.registry import (
    SELF,
    Alternative,
    Call,
    Mapping,
    Module,
    Slot,
    Weight,
    demand_channels_first,
    image_layout,
    rule,
)
from k2t_core.transforms import Permute, Reshape

WIDTHS = ("in_channels", "out_channels", "groups")
DEPTHWISE = ("channels", "multiplier")

SYMMETRIC = Alternative(
    "symmetric padding",
    "pad both sides alike, as torch's padding= does",
    "only where TensorFlow's SAME happens to be symmetric; elsewhere the result is shifted by a pixel",
)
OTHER_SIDE = Alternative(
    "padding on the other side",
    "the odd pixel before the image and not after it; causal padding after the sequence",
    "only for weights that were trained with such padding; TensorFlow puts the larger half after",
)
SHIFTED = Alternative(
    "torch's padding and output_padding",
    "pad both sides alike and let output_padding add the rest on the right, "
    "as Keras's own torch backend did until 2026",
    "only for weights that were trained in torch; against TensorFlow the result is shifted by a pixel "
    "(keras-team/keras#22876)",
)


def padded(call: Call, kernel, stride, dilation, layout) -> tuple[str, int | tuple[int, ...]]:
    """The input expression, padded where torch's own ``padding`` cannot do it, and torch's ``padding``."""
    padding = call.option("padding")
    x = str(call.x)
    if padding == "valid":
        return x, 0
    if padding == "causal":
        reach = dilation[0] * (kernel[0] - 1)
        causal = (reach, 0) if call.choice != OTHER_SIDE.name else (0, reach)
        return pad_expression(x, [causal]) if reach else x, 0
    call.refuse(padding != "same", f"its padding {padding!r} is not known to k2t")
    sizes = [call.x.shape[axis] for axis in spatial_axes(layout)]
    pads = same_pads(sizes, kernel, stride, dilation)
    if pads is None:
        return f"same_padding({x}, {kernel}, {stride}, {dilation})", 0
    if call.choice == SYMMETRIC.name:
        pads = [((before + after) // 2 + (before + after) % 2,) * 2 for before, after in pads]
    if all(before == after for before, after in pads):
        return x, compact([before for before, _ in pads])
    return pad_expression(x, pads if call.choice != OTHER_SIDE.name else [(after, before) for before, after in pads]), 0


def other_paddings(call: Call, x: str) -> tuple[Alternative, ...]:
    """What else the padding of a call may be; ``x``: its input as `padded` gives it."""
    return ((SYMMETRIC,) if call.layer.config["padding"] == "same" else ()) + (
        (OTHER_SIDE,) if x.startswith("F.pad(") else ()
    )


def image_input(call: Call, rank: int) -> None:
    """Refuse what torch's convolutions and pools cannot take."""
    call.refuse(
        call.x.rank != rank + 2,
        f"its input has {call.x.rank} axes, where k2t expects {rank + 2}; put a Reshape before and after it",
    )
    call.refuse("float" not in call.x.dtype, f"its input is {call.x.dtype}; give the model's Input a float dtype")


def bias_along_width(call: Call, filters: int) -> bool:
    """Whether Keras on TensorFlow adds a channels-first bias along the width.

    keras/src/backend/tensorflow/numpy.py:add takes any vector for a bias of the last axis where the sizes fit.
    """
    first = call.option("data_format") == "channels_first"
    return first and call.option("use_bias") and filters > 1 and call.outputs[0].shape[-1] == filters


def bias_on_channels(call: Call, filters: int) -> None:
    """Refuse the case of `bias_along_width`."""
    call.refuse(
        bias_along_width(call, filters),
        f"its output is {filters} wide and has {filters} channels in channels_first order, "
        "where Keras on TensorFlow adds the bias along the width; "
        "use channels_last or another number of filters",
    )


def _finish(
    call: Call, module: Module, weights: list[Weight], expression: str, layout, why: str, keras: str, alternatives=()
) -> Mapping:
    if call.option("use_bias"):
        weights.append(Weight("bias", "bias"))
    return Mapping(
        forward=apply_activation(call.option("activation"), expression, layout),
        module=module,
        weights=tuple(weights),
        wants=(layout,),
        gives=(layout,),
        why=why,
        keras=keras,
        torch="the same, channels first",
        alternatives=alternatives,
    )


def _same_note(call: Call, padding, kernel) -> str:
    asymmetric = call.layer.config["padding"] == "same" and padding == 0 and max(kernel) > 1
    return " SAME with this stride and size may pad one more at the end than at the start." if asymmetric else ""


@rule("Conv1D", "Conv2D", "Conv3D", demand=demand_channels_first, role="convolution", widths=WIDTHS)
def convolution(call: Call) -> Mapping:
    """Kernel (space…, in/groups, out) → (out, in/groups, space…)."""
    rank = call.option("rank", int(call.layer.kind[4]))
    image_input(call, rank)
    layout = image_layout(call)
    kernel, stride, dilation = (ntuple(call.option(name), rank) for name in ("kernel_size", "strides", "dilation_rate"))
    groups, filters = call.option("groups"), call.option("filters")
    x, padding = padded(call, kernel, stride, dilation, layout)
    expression, why = f"{SELF}({x})", "Kernel axes: Keras ends with (in, out), torch begins with (out, in)."
    if bias_along_width(call, filters):
        options = {"stride": (compact(stride), 1), "padding": (padding, 0), "dilation": (compact(dilation), 1)}
        options["groups"] = (groups, 1)
        told = "".join(f", {name}={value!r}" for name, (value, default) in options.items() if value != default)
        expression = f"F.conv{rank}d({x}, {SELF}.weight{told}) + {SELF}.bias"
        why += f" Its output is {filters} wide, and Keras on TensorFlow takes the {filters} biases for the width's."
    module = Module(
        f"nn.Conv{rank}d",
        {
            "in_channels": call.variable("kernel").shape[-2] * groups,
            "out_channels": filters,
            "kernel_size": compact(kernel),
            "stride": compact(stride),
            "padding": padding,
            "dilation": compact(dilation),
            "groups": groups,
            "bias": call.option("use_bias"),
        },
        2,
    )
    return _finish(
        call,
        module,
        [Weight("weight", "kernel", (Permute((rank + 1, rank, *range(rank))),))],
        expression,
        layout,
        why + _same_note(call, padding, kernel),
        "conv(x, kernel, strides, padding) + bias",
        other_paddings(call, x),
    )


@rule(
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    demand=demand_channels_first,
    role="convolution",
    widths=WIDTHS,
    kernel_axes={"kernel": DEPTHWISE},
)
def depthwise_convolution(call: Call) -> Mapping:
    """Kernel (space…, in, multiplier) → (in · multiplier, 1, space…): both run the multiplier fastest."""
    rank = call.option("rank", int(call.layer.kind[-2]))
    image_input(call, rank)
    layout = image_layout(call)
    kernel, stride, dilation = (ntuple(call.option(name), rank) for name in ("kernel_size", "strides", "dilation_rate"))
    channels, multiplier = call.variable("kernel").shape[-2], call.option("depth_multiplier")
    bias_on_channels(call, channels * multiplier)
    x, padding = padded(call, kernel, stride, dilation, layout)
    module = Module(
        f"nn.Conv{rank}d",
        {
            "in_channels": channels,
            "out_channels": channels * multiplier,
            "kernel_size": compact(kernel),
            "stride": compact(stride),
            "padding": padding,
            "dilation": compact(dilation),
            "groups": channels,
            "bias": call.option("use_bias"),
        },
        2,
    )
    return _finish(
        call,
        module,
        [Weight("weight", "kernel", _depthwise_steps(kernel, channels, multiplier))],
        f"{SELF}({x})",
        layout,
        "A convolution with a group for each channel; Keras's kernel ends with (channels, multiplier)."
        + _same_note(call, padding, kernel),
        "depthwise_conv(x, kernel) + bias",
        other_paddings(call, x),
    )


def _depthwise_steps(kernel: tuple[int, ...], channels: int, multiplier: int) -> tuple[Permute, Reshape]:
    rank = len(kernel)
    return Permute((rank, rank + 1, *range(rank))), Reshape(
        (channels, multiplier, *kernel), (channels * multiplier, 1, *kernel)
    )


@rule("ops.Conv", "ops.DepthwiseConv", demand=demand_channels_first, role="convolution", widths=WIDTHS)
def convolution_with_any_kernel(call: Call) -> Mapping:
    """keras.ops.conv: the kernel is a tensor, such as a weight that the layer's own code has normalised, or constant
    numbers."""
    depthwise = call.layer.kind == "ops.DepthwiseConv"
    kernel, rank = constant(call.argument("kernel")), call.x.rank - 2
    call.refuse(not 1 <= rank <= 3, f"its input has {call.x.rank} axes")
    image_input(call, rank)
    shape = shape_of(kernel)
    call.refuse(None in shape, "the size of its kernel is free")
    call.refuse(
        str(kernel.dtype) != call.x.dtype, f"its kernel is {kernel.dtype} and its input {call.x.dtype}; cast the kernel"
    )
    layout = image_layout(call)
    stride, dilation = (ntuple(call.option(name), rank) for name in ("strides", "dilation_rate"))
    x, padding = padded(call, shape[:rank], stride, dilation, layout)
    order = (rank, rank + 1, *range(rank)) if depthwise else (rank + 1, rank, *range(rank))
    build = Builder(call)
    if isinstance(kernel, Slot):
        weight = f"{kernel}.flatten(0, 1).unsqueeze(1)" if depthwise else str(kernel)
    else:
        array = kernel.transpose(order)
        weight = write_array(array.reshape(-1, 1, *shape[:rank]) if depthwise else array, call.x, build)
    groups = shape[-2] if depthwise else 1
    options = {
        "stride": (compact(stride), 1),
        "padding": (padding, 0),
        "dilation": (compact(dilation), 1),
        "groups": (groups, 1),
    }
    more = "".join(f", {name}={value}" for name, (value, usual) in options.items() if value != usual)
    return Mapping(
        f"F.conv{rank}d({x}, {weight}{more})",
        wants=tuple(layout if slot.index == call.x.index else Layout(order) for slot in call.inputs),
        gives=(layout,),
        why="Kernel axes: Keras ends with (channels, multiplier), torch begins with them, as one."
        if depthwise
        else "Kernel axes: Keras ends with (in, out), torch begins with (out, in).",
        keras=f"{'depthwise_conv' if depthwise else 'conv'}(x, kernel, strides, padding)",
        torch=f"F.conv{rank}d(x, kernel), channels first",
        module=build.module,
        weights=build.weights,
        alternatives=other_paddings(call, x),
    )


@rule(
    "SeparableConv1D",
    "SeparableConv2D",
    demand=demand_channels_first,
    role="convolution",
    called="SeparableConv",
    widths=WIDTHS,
    kernel_axes={"depthwise_kernel": DEPTHWISE},
)
def separable_convolution(call: Call) -> Mapping:
    """Stride, padding and dilation belong to the depthwise part, bias and activation to the pointwise part."""
    rank = call.option("rank", int(call.layer.kind[-2]))
    image_input(call, rank)
    layout = image_layout(call)
    kernel, stride, dilation = (ntuple(call.option(name), rank) for name in ("kernel_size", "strides", "dilation_rate"))
    filters, multiplier, use_bias = call.option("filters"), call.option("depth_multiplier"), call.option("use_bias")
    channels = call.variable("depthwise_kernel").shape[-2]
    bias_on_channels(call, filters)
    x, padding = padded(call, kernel, stride, dilation, layout)
    module = Module(
        f"SeparableConv{rank}d",
        {
            "in_channels": channels,
            "out_channels": filters,
            "kernel_size": compact(kernel),
            "stride": compact(stride),
            "padding": padding,
            "dilation": compact(dilation),
            "depth_multiplier": multiplier,
            "bias": use_bias,
        },
        2,
    )
    weights = [
        Weight("depthwise.weight", "depthwise_kernel", _depthwise_steps(kernel, channels, multiplier)),
        Weight("pointwise.weight", "pointwise_kernel", (Permute((rank + 1, rank, *range(rank))),)),
    ]
    if use_bias:
        weights.append(Weight("pointwise.bias", "bias"))
    return Mapping(
        forward=apply_activation(call.option("activation"), f"{SELF}({x})", layout),
        module=module,
        weights=tuple(weights),
        wants=(layout,),
        gives=(layout,),
        why="A depthwise convolution without bias, then a pointwise one." + _same_note(call, padding, kernel),
        keras="conv(depthwise_conv(x, depthwise_kernel), pointwise_kernel) + bias",
        torch="pointwise(depthwise(x))",
        alternatives=other_paddings(call, x),
    )


@rule(
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Conv3DTranspose",
    demand=demand_channels_first,
    role="convolution",
    called="ConvTranspose",
    widths=WIDTHS,
    kernel_axes={"kernel": ("out", "in")},
)
def transposed_convolution(call: Call) -> Mapping:
    """Kernel (space…, out, in) → (in, out, space…).

    TensorFlow computes the gradient of a convolution that maps the declared output size to the input size, so its
    padding is that convolution's SAME (tensorflow/core/framework/kernel_shape_util.cc): it crops the full result
    (n − 1)·stride + K to (n − 1)·stride + E, the smaller half before, or adds zeros at the end where E > K.
    """
    rank = call.option("rank", int(call.layer.kind[4]))
    image_input(call, rank)
    layout = image_layout(call)
    kernel, stride, dilation = (ntuple(call.option(name), rank) for name in ("kernel_size", "strides", "dilation_rate"))
    filters, padding, extra = call.option("filters"), call.option("padding"), call.option("output_padding")
    call.refuse(padding not in ("same", "valid"), f"its padding {padding!r} is not known to k2t")
    bias_on_channels(call, filters)
    extra = (None,) * rank if extra is None else ntuple(extra, rank)
    crops = [_transposed_crop(*axis, padding) for axis in zip(kernel, stride, dilation, extra)]
    pads, outputs, ends = [], [], []
    for (before, after), s, d in zip(crops, stride, dilation):
        more = before - after
        call.refuse(more >= max(s, d), f"its output_padding asks for {more} more than its stride {s} can reach")
        pads.append(before)
        outputs.append(max(more, 0))
        ends.append(max(-more, 0))
    expression = f"{SELF}({call.x})"
    if any(ends) and call.choice == SHIFTED.name:
        pads = [before + end for before, end in zip(pads, ends)]
        outputs, ends = [output + end for output, end in zip(outputs, ends)], [0] * rank
    if any(ends):
        expression += f"[:, :, {', '.join(f':-{end}' if end else ':' for end in ends)}]"
    module = Module(
        f"nn.ConvTranspose{rank}d",
        {
            "in_channels": call.variable("kernel").shape[-1],
            "out_channels": filters,
            "kernel_size": compact(kernel),
            "stride": compact(stride),
            "padding": compact(pads),
            "output_padding": compact(outputs),
            "bias": call.option("use_bias"),
            "dilation": compact(dilation),
        },
        2,
    )
    return _finish(
        call,
        module,
        [Weight("weight", "kernel", (Permute((rank + 1, rank, *range(rank))),))],
        expression,
        layout,
        "Kernel axes: Keras ends with (out, in), torch begins with (in, out)."
        + (" TensorFlow crops one more at the end than at the start." if any(ends) else ""),
        "conv_transpose(x, kernel, strides, padding) + bias",
        (SHIFTED,) if any(before != after and before + 1 == after for before, after in crops) else (),
    )


def _transposed_crop(k: int, s: int, d: int, extra: int | None, padding: str) -> tuple[int, int]:
    """What TensorFlow cuts from both ends of one axis of the full result; negative: zeros that it adds."""
    reach = (k - 1) * d + 1
    if padding == "valid":
        return 0, -(max(reach, s) - reach if extra is None else extra)
    total = reach - (s if extra is None else reach % 2 + extra)
    return (total // 2, total - total // 2) if total >= 0 else (0, total)
