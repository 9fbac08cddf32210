"""Recurrent layers and Bidirectional. Source: keras/src/layers/rnn/."""

from __future__ import annotations

from collections.abc import Sequence

from k2t_core.graph import Layer
from k2t_core.layout import identity
from k2t_core.rules.common import refuse_unread
from k2t_core.rules.recurrent_cells import (
    GRU,
    GRU_GATES,
    LSTM,
    LSTM_GATES,
    Cell,
    cells_of,
    part_of,
    read_cell,
)
from k2t_core.rules.recurrent_directions import Direction, operands, read_direction, state_lines, used_outputs
from k2t_core.rules.registry import (
    LAST,
    OUT,
    SELF,
    Alternative,
    Call,
    Mapping,
    Module,
    Unconvertible,
    rule,
)

WIDTHS = ("input_size", "hidden_size")


WHY_CELLS = {
    "LSTM": (
        "Gates: Keras i, f, c, o; torch i, f, g, o, the same order. torch has two biases: Keras's is the first, "
        "the second is zero."
    ),
    "GRU": "Gates: Keras z, r, h; torch r, z, n. The two rows of Keras's bias are torch's two biases.",
    "RNN": "torch has two biases: Keras's is the first, the second is zero.",
}
FORMULAS = {
    "LSTM": ("c = f·c + i·activation(…); h = o·activation(c)", "c = f·c + i·g; h = o·tanh(c)"),
    "GRU": ("h = z·h + (1 − z)·activation(…)", "h = z·h + (1 − z)·n"),
    "RNN": ("h = activation(x·kernel + bias + h·recurrent_kernel)", "h = tanh(W_ih·x + b_ih + W_hh·h + b_hh)"),
}


def _why(directions: Sequence[Direction], mask: str | None) -> str:
    first = directions[0]
    if all(d.torch for d in directions):
        why = WHY_CELLS[first.cells[0].kind]
    elif (
        first.loop is None and len(first.cells) == 1 and first.cells[0].kind == "GRU" and not first.cells[0].reset_after
    ):
        why = (
            "reset_after=False puts the reset gate before the recurrent product; torch has no such module, "
            "so model.py carries the cell."
        )
    elif first.loop is None and len(first.cells) > 1:
        why = "torch's modules stack layers of one kind and size; model.py carries the cells."
    else:
        why = "torch's module has fixed activations; model.py carries the cell."
    if any(d.backwards for d in directions) and len(directions) == 1:
        why += " go_backwards reads the sequence from its end and returns the outputs in that order."
    if mask is not None:
        why += " A masked step keeps the state; its output repeats the one before it" + (
            ", here zero." if first.zero_masked else "."
        )
    return why


def _alternatives(cells: Sequence[Cell]) -> tuple[Alternative, ...]:
    kinds = {cell.kind for cell in cells}
    return tuple(a for kind, a in (("LSTM", LSTM_GATES), ("GRU", GRU_GATES)) if kind in kinds)


def _single(call: Call, direction: Direction) -> Mapping:
    """The mapping of a layer that runs in one direction over (N, T, C)."""
    x, mask, states = operands(call)
    lines, last = direction.run(SELF, x, mask, states, OUT.format(0))
    if direction.state:
        if not used_outputs(call)[0]:
            lines = lines[:1]  # the states are all that is read
        lines += state_lines(call, 1, last)
    keras, torch = FORMULAS[direction.cells[0].kind]
    return Mapping(
        tuple(lines),
        direction.module(),
        direction.weights(),
        wants=tuple(identity(slot.rank) for slot in call.inputs),
        why=_why([direction], mask),
        keras=keras,
        torch=torch,
        alternatives=_alternatives(direction.cells),
    )


@rule("LSTM", demand=LAST, over_time=True, gates=LSTM, widths=WIDTHS)
@rule("GRU", demand=LAST, over_time=True, gates=GRU, widths=WIDTHS)
@rule("SimpleRNN", demand=LAST, over_time=True, widths=WIDTHS)
def recurrent(call: Call) -> Mapping:
    """nn.LSTM, nn.GRU and nn.RNN where their fixed activations are the layer's; dropout acts in training only."""
    return _single(call, read_direction(call, (read_cell(call, "", call.choice),)))


@rule("RNN", demand=LAST, over_time=True, widths=WIDTHS)
def rnn(call: Call) -> Mapping:
    """A layer around a cell, or around a stack of cells, which torch's num_layers does where all are alike."""
    return _single(call, read_direction(call, _rnn_cells(call, call.layer, "")))


def _rnn_cells(call: Call, layer: Layer, prefix: str) -> tuple[Cell, ...]:
    if "cell" not in layer.children:
        raise Unconvertible(
            "its cell is no Keras layer; use LSTMCell, GRUCell or SimpleRNNCell, or override the layer with a snippet"
        )
    return cells_of(call, layer.children["cell"], f"{prefix}cell/")


def _inner_direction(call: Call, name: str) -> Direction:
    """forward_layer or backward_layer of a Bidirectional."""
    layer = call.layer.children[name]
    part = part_of(call, layer)
    prefix = f"{name}/"
    if layer.kind in ("LSTM", "GRU", "SimpleRNN"):
        cells: tuple[Cell, ...] = (read_cell(part, prefix, call.choice),)
    elif layer.kind == "RNN":
        cells = _rnn_cells(call, layer, prefix)
    else:
        raise Unconvertible(f"it wraps a {layer.kind}; k2t converts Bidirectional around LSTM, GRU, SimpleRNN and RNN")
    direction = read_direction(part, cells)
    refuse_unread(part.layer, part.unread_options())
    return direction


@rule("Bidirectional", demand=LAST, over_time=True, widths=WIDTHS)
def bidirectional(call: Call) -> Mapping:
    """torch's bidirectional=True where both directions are alike, else two modules. The states are forward's, then
    backward's."""
    forward, backward = _inner_direction(call, "forward_layer"), _inner_direction(call, "backward_layer")
    mode = call.option("merge_mode")
    x, mask, states = operands(call)
    call.refuse(
        forward.state and forward.count != backward.count,
        "its two layers have different numbers of states, which Keras itself counts wrong in its outputs; "
        "give both the same class, or return_state=False",
    )
    one = (
        forward.torch is not None
        and forward.torch == backward.torch
        and len(forward.cells) == len(backward.cells) == 1
        and (forward.cells[0].units, forward.cells[0].bias) == (backward.cells[0].units, backward.cells[0].bias)
        and forward.zero_masked == backward.zero_masked
        and (forward.backwards, backward.backwards) == (False, True)
        and not (mask is not None and backward.unroll and backward.zero_masked)
    )
    if one:
        module = forward.module(bidirectional=True)
        weights = (*forward.weights(), *backward.weights(reverse="_reverse"))
        lines, last = _both_at_once(forward, x, mask, states, mode)
    else:
        module = Module(
            "nn.ModuleDict", {"modules": {"forward_layer": forward.module(), "backward_layer": backward.module()}}, 1
        )
        weights = (*forward.weights("forward_layer."), *backward.weights("backward_layer."))
        half = len(states) // 2
        lines, ahead = forward.run(f'{SELF}["forward_layer"]', x, mask, states[:half], "forward_out", "forward_states")
        more, behind = backward.run(
            f'{SELF}["backward_layer"]', x, mask, states[half:], "backward_out", "backward_states"
        )
        last = ahead + behind
        lines += more + [_merged("forward_out", "backward_out.flip(1)" if backward.sequences else "backward_out", mode)]
    if forward.state:
        lines += state_lines(call, 2 if mode is None else 1, last)
    keras, torch = FORMULAS[forward.cells[0].kind]
    return Mapping(
        tuple(lines),
        module,
        weights,
        wants=tuple(identity(slot.rank) for slot in call.inputs),
        why=f"One pass from each end, merged by {mode or 'nothing: two outputs'}. " + _why([forward, backward], mask),
        keras=keras,
        torch=torch,
        alternatives=_alternatives((*forward.cells, *backward.cells)),
    )


def _merged(forward: str, backward: str, mode: str | None) -> str:
    """The statement that merges the two directions."""
    if mode is None:
        return f"{OUT.format(0)}, {OUT.format(1)} = {forward}, {backward}"
    merged = {
        "concat": f"torch.cat(({forward}, {backward}), dim=-1)",
        "sum": f"{forward} + {backward}",
        "mul": f"{forward} * {backward}",
        "ave": f"({forward} + {backward}) / 2",
    }[mode]
    return f"{OUT.format(0)} = {merged}"


def _both_at_once(
    direction: Direction, x: str, mask: str | None, states: Sequence[str], mode: str | None
) -> tuple[list[str], list[str]]:
    """Statements for a module with bidirectional=True, and the last states."""
    units, out = direction.cells[0].units, OUT.format(0)
    arguments = [x] if mask is None else [SELF, x, mask]
    if states:
        count = direction.count
        stacks = [f"torch.stack(({states[k]}, {states[k + count]}))" for k in range(count)]
        arguments.append(f"({', '.join(stacks)})" if direction.lstm else stacks[0])
    target, parts = ("(hidden, cell)", ["hidden", "cell"]) if direction.lstm else ("hidden", ["hidden"])
    last = [f"{part}[{k}]" for k in range(2) for part in parts]
    if mask is None and not direction.sequences:
        keep = target if direction.state or not direction.lstm else "(hidden, _)"
        return [f"_, {keep} = {SELF}({', '.join(arguments)})", _merged("hidden[0]", "hidden[1]", mode)], last
    whole = out if direction.sequences and mode == "concat" else "both"
    if mask is None:
        lines = [f"{whole}, {target if direction.state else '_'} = {SELF}({', '.join(arguments)})"]
    elif direction.state:
        lines = [f"{whole}, {target} = packed_rnn({', '.join(arguments)})"]
    else:
        lines = [f"{whole} = masked_bidirectional_rnn({', '.join(arguments)})"]
    if mask is not None and direction.zero_masked:
        if len(lines) == 1 and not direction.state:
            lines = [f"{lines[0]} * {mask}.unsqueeze(-1)"]
        else:
            lines.append(f"{whole} = {whole} * {mask}.unsqueeze(-1)")
    if whole == out:
        return lines, last
    if direction.sequences:
        merged = {
            None: f"{out}, {OUT.format(1)} = both.chunk(2, dim=-1)",
            "sum": f"{out} = both.unflatten(-1, (2, {units})).sum(-2)",
            "ave": f"{out} = both.unflatten(-1, (2, {units})).mean(-2)",
            "mul": f"{out} = both.unflatten(-1, (2, {units})).prod(-2)",
        }[mode]
        return [*lines, merged], last
    return [*lines, _merged(f"both[:, -1, :{units}]", f"both[:, 0, {units}:]", mode)], last
