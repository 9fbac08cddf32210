"""ConvLSTM1D, 2D and 3D. Source: keras/src/layers/rnn/conv_lstm.py."""

from __future__ import annotations

from typing import Any

from k2t_core.layout import Layout, channels_first, identity
from k2t_core.rules.common import compact, ntuple, same_pads
from k2t_core.rules.recurrent_cells import LSTM, LSTM_GATES, SIGMOID, TANH, function
from k2t_core.rules.recurrent_directions import operands, read_direction, state_lines, used_outputs
from k2t_core.rules.registry import (
    OUT,
    SELF,
    Call,
    Expression,
    Mapping,
    Module,
    Unconvertible,
    Weight,
    rule,
)
from k2t_core.transforms import Permute, ReorderBlocks


def _with_time(layout: Layout) -> Layout:
    """The layout of a sequence from that of one step."""
    return Layout((0, 1, *(axis + 1 for axis in layout.perm[1:])))


@rule(
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    over_time=True,
    gates=LSTM,
    role="convolution",
    widths=("in_channels", "out_channels"),
)
def conv_lstm(call: Call) -> Mapping:
    """An LSTM whose products are convolutions; the recurrent one is SAME with stride 1 and no dilation. All channels
    first."""
    rank = int(call.layer.kind[-2])
    step = identity(rank + 2) if call.option("data_format") == "channels_first" else channels_first(rank + 2)
    kernel, stride, dilation = (ntuple(call.option(name), rank) for name in ("kernel_size", "strides", "dilation_rate"))
    filters, bias, padding = call.option("filters"), call.option("use_bias"), call.option("padding")
    for name in ("dropout", "recurrent_dropout"):
        call.option(name)  # act in training only
    features = call.variable("kernel").shape[-2]
    conv = f"nn.Conv{rank}d"
    args = {
        "in_channels": features,
        "out_channels": 4 * filters,
        "kernel_size": compact(kernel),
        "stride": compact(stride),
        "padding": 0,
        "dilation": compact(dilation),
        "bias": bias,
    }
    of_input, key = Module(conv, args, 2), "input"
    if padding == "same":
        sizes = [call.x.shape[axis] for axis in _with_time(step).perm[3:]]
        pads = same_pads(sizes, kernel, stride, dilation)
        if pads is None:
            raise Unconvertible("its strides and padding need fixed sizes in space")
        if all(before == after for before, after in pads):
            of_input = Module(conv, {**args, "padding": compact([before for before, _ in pads])}, 2)
        else:
            around = tuple(p for pair in reversed(pads) for p in pair)
            of_input, key = (
                Module(
                    "nn.Sequential", {"pad": Module(f"nn.ZeroPad{rank}d", {"padding": around}, 1), "conv": of_input}, 2
                ),
                "input.1",
            )
    else:
        call.refuse(padding != "valid", f"its padding {padding!r} is not known to k2t")
    recurrent = Module(
        conv,
        {
            "in_channels": filters,
            "out_channels": 4 * filters,
            "kernel_size": compact(kernel),
            "padding": "same",
            "bias": False,
        },
        2,
    )
    cell: dict[str, Any] = {"input": of_input, "recurrent": recurrent}
    activation, gate = function(call.option("activation"), step), function(call.option("recurrent_activation"), step)
    if activation != TANH:
        cell["activation"] = Expression(activation)
    if gate != SIGMOID:
        cell["recurrent_activation"] = Expression(gate)
    gates = (ReorderBlocks(0, (0, 2, 1, 3), "i, c, f, o", "i, f, g, o"),) if call.choice == LSTM_GATES.name else ()
    steps = (Permute((rank + 1, rank, *range(rank))), *gates)
    weights = [Weight(f"{key}.weight", "kernel", steps), Weight("recurrent.weight", "recurrent_kernel", steps)]
    if bias:
        weights.append(Weight(f"{key}.bias", "bias", gates))
    direction = read_direction(call, (), (Module("ConvLSTMCell", cell, 2), tuple(weights), 2))
    x, mask, states = operands(call)
    lines, last = direction.run(SELF, x, mask, states, OUT.format(0))
    if direction.state:
        lines = (lines if used_outputs(call)[0] else lines[:1]) + state_lines(call, 1, last)
    layouts = {rank + 2: step, rank + 3: _with_time(step)}
    return Mapping(
        tuple(lines),
        direction.module(),
        direction.weights(),
        wants=tuple(
            layouts.get(slot.rank, identity(slot.rank))
            if slot.dtype != "bool" and slot is not call.argument("mask")
            else identity(slot.rank)
            for slot in call.inputs
        ),
        gives=tuple(layouts[len(y.shape)] for y in call.outputs),
        why="torch has no convolutional LSTM; model.py carries the cell. Gates i, f, c, o along the channels."
        + (" A masked step keeps the state; its output repeats the one before it." if mask is not None else ""),
        keras="i, f, o = recurrent_activation(conv(x) + conv(h)); c = f·c + i·activation(…); h = o·activation(c)",
        torch="the same, channels first",
        alternatives=(LSTM_GATES,),
    )
