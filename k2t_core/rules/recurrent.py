"""Recurrent layers, cells and Bidirectional. Source: keras/src/layers/rnn/ and keras/src/backend/tensorflow/rnn.py.

torch's own modules where they compute the same; else a cell that model.py carries, run step by step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from k2t_core.graph import Layer, Node
from k2t_core.layout import Layout, channels_first, identity
from k2t_core.rules.activations import apply_activation
from k2t_core.rules.common import compact, ntuple, same_pads
from k2t_core.rules.registry import (
    INERT_OPTIONS,
    LAST,
    OUT,
    SELF,
    Alternative,
    Call,
    Expression,
    Gates,
    Mapping,
    Module,
    Slot,
    Unconvertible,
    Weight,
    rule,
)
from k2t_core.transforms import Fill, Permute, ReorderBlocks, Take, Transform

LSTM_GATES = Alternative(
    "gates i, c, f, o",
    "the kernel's blocks read as input, cell, forget, output",
    "only where the weights were written in that order, as TensorFlow 1's BasicLSTMCell did",
)
GRU_GATES = Alternative(
    "gates r, z, h",
    "the kernel's blocks read as reset, update, new, without re-ordering",
    "only where the weights came from torch and were never re-ordered; Keras stores z, r, h",
)
# keras/src/layers/rnn/lstm.py, the splits of z; torch.nn.LSTM, W_ii|W_if|W_ig|W_io: its g is Keras's c.
LSTM = Gates(
    ("i", "f", "c", "o"),
    ("i", "f", "g", "o"),
    {"i": "input", "f": "forget", "c": "cell", "g": "cell", "o": "output"},
)
# keras/src/layers/rnn/gru.py; torch.nn.GRU.
GRU = Gates(("z", "r", "h"), ("r", "z", "n"), {"z": "update", "r": "reset", "h": "new", "n": "new"})
WIDTHS = ("input_size", "hidden_size")
TANH, SIGMOID = "torch.tanh", "torch.sigmoid"


# --- cells -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """A recurrent cell as Keras configures it. ``prefix``: of its variables' names within the layer of the call."""

    kind: str  # LSTM, GRU, RNN
    features: int
    units: int
    bias: bool
    activation: str
    recurrent_activation: str
    reset_after: bool
    names: dict[str, str]  # kernel, recurrent_kernel, bias → variable name within the layer of the call
    choice: str | None

    @property
    def torch(self) -> tuple[str, dict[str, Any]] | None:
        """torch's module for this cell with the arguments that matter, None where there is none."""
        if self.kind == "RNN":
            nonlinearity = {TANH: {}, "F.relu": {"nonlinearity": "relu"}}.get(self.activation)
            return None if nonlinearity is None else ("nn.RNN", nonlinearity)
        exact = self.activation == TANH and self.recurrent_activation == SIGMOID and self.reset_after
        return (f"nn.{self.kind}", {}) if exact else None

    @property
    def states(self) -> int:
        return 2 if self.kind == "LSTM" else 1

    @property
    def gates(self) -> tuple[Transform, ...]:
        """How the gates, along axis 0, come into torch's order."""
        if self.kind == "LSTM":
            return (
                (ReorderBlocks(0, (0, 2, 1, 3), "i, c, f, o", "i, f, g, o"),) if self.choice == LSTM_GATES.name else ()
            )
        if self.kind == "GRU":
            return () if self.choice == GRU_GATES.name else (ReorderBlocks(0, (1, 0, 2), "z, r, h", "r, z, n"),)
        return ()

    def biases(self) -> tuple[tuple[str | None, tuple[Transform, ...]], tuple[str | None, tuple[Transform, ...]]]:
        """(source, steps) of the input's bias and of the state's."""
        if self.kind == "GRU" and self.reset_after:
            return (self.names["bias"], (Take(0, 0), *self.gates)), (self.names["bias"], (Take(0, 1), *self.gates))
        size = self.units * {"LSTM": 4, "GRU": 3, "RNN": 1}[self.kind]
        return (self.names["bias"], self.gates), (None, (Fill((size,), 0.0),))

    def torch_weights(self, suffix: str) -> tuple[Weight, ...]:
        """Entries of nn.LSTM, nn.GRU and nn.RNN; suffix: ``_l0``, ``_l0_reverse``."""
        weights = [
            Weight(f"weight_ih{suffix}", self.names["kernel"], (Permute((1, 0)), *self.gates)),
            Weight(f"weight_hh{suffix}", self.names["recurrent_kernel"], (Permute((1, 0)), *self.gates)),
        ]
        if self.bias:
            weights += [Weight(f"bias_{key}{suffix}", *entry) for key, entry in zip(("ih", "hh"), self.biases())]
        return tuple(weights)

    def module(self) -> Module:
        """The cell that model.py carries."""
        args: dict[str, Any] = {"input_size": self.features, "hidden_size": self.units}
        if self.activation != TANH:
            args["activation"] = Expression(self.activation)
        if self.kind != "RNN" and self.recurrent_activation != SIGMOID:
            args["recurrent_activation"] = Expression(self.recurrent_activation)
        args["bias"] = self.bias
        if self.kind == "GRU":
            args["reset_after"] = self.reset_after
        return Module(f"{self.kind}Cell", args, 2)

    def weights(self) -> tuple[Weight, ...]:
        """Entries of the cell that model.py carries."""
        weights = [
            Weight("input.weight", self.names["kernel"], (Permute((1, 0)), *self.gates)),
            Weight("recurrent.weight", self.names["recurrent_kernel"], (Permute((1, 0)), *self.gates)),
        ]
        if self.bias:
            of_input, of_state = self.biases()
            weights.append(Weight("input.bias", *of_input))
            if self.kind == "GRU" and self.reset_after:
                weights.append(Weight("recurrent.bias", *of_state))
        return tuple(weights)


def function(identifier: Any, layout: Layout) -> str:
    """A Keras activation as a function: ``F.relu``, or a lambda."""
    expression = apply_activation(identifier, "x", layout)
    plain = re.fullmatch(r"((?:torch|F)\.\w+)\(x\)", expression)
    return plain[1] if plain else f"lambda x: {expression}"


def read_cell(options: Call, prefix: str, choice: str | None) -> Cell:
    """The cell of LSTM, GRU, SimpleRNN (their options are their cell's) or of a cell class."""
    kind = options.layer.kind.removesuffix("Cell").removeprefix("Simple")
    units, bias = options.option("units"), options.option("use_bias")
    kernel = options.variable("kernel")
    names = {
        key: prefix + options.variable(key).name for key in ("kernel", "recurrent_kernel", *(["bias"] if bias else []))
    }
    for name in ("dropout", "recurrent_dropout"):
        options.option(name)  # act in training only
    return Cell(
        kind,
        kernel.shape[0],
        units,
        bias,
        function(options.option("activation"), identity(2)),
        function(options.option("recurrent_activation"), identity(2)) if kind != "RNN" else SIGMOID,
        options.option("reset_after") if kind == "GRU" else True,
        names,
        choice,
    )


def _part(call: Call, layer: Layer) -> Call:
    """A call that reads the options of a layer within the layer."""
    mine, its = (part.policy for part in (call.layer, layer))
    call.refuse(
        mine != its, f"its inner layer {layer.name!r} has the dtype policy {its} and itself {mine}; give both the same"
    )
    return Call(Node(call.node.id, layer, {}, ()), call.graph, ())


def _all_read(part: Call) -> None:
    unread = [name for name in part.layer.config if name not in part.read_options | INERT_OPTIONS]
    if unread:
        raise Unconvertible(
            f"the option {', '.join(unread)} of its {part.layer.kind} is not known to k2t; "
            "a newer Keras may have added it, so update k2t"
        )


def _cells(call: Call, layer: Layer, prefix: str) -> tuple[Cell, ...]:
    """The cells of an RNN layer's ``cell``, those of stacks in stacks included."""
    part = _part(call, layer)
    if layer.kind == "StackedRNNCells":
        count = len(part.option("cells"))
        _all_read(part)
        call.refuse(
            len(layer.children) < count, "a cell of its stack is no Keras layer; write it as one of Keras's cells"
        )
        return tuple(cell for name, child in layer.children.items() for cell in _cells(call, child, f"{prefix}{name}/"))
    if layer.kind not in ("LSTMCell", "GRUCell", "SimpleRNNCell"):
        raise Unconvertible(
            f"its cell {layer.kind} is not one of Keras's own cells; use LSTMCell, GRUCell or SimpleRNNCell, "
            "or override the layer with a snippet"
        )
    cell = read_cell(part, prefix, call.choice)
    _all_read(part)
    return (cell,)


# --- one direction ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Direction:
    """A recurrent layer in one direction. ``loop``: the cell that model.py carries and its weights, for layers of their
    own."""

    cells: tuple[Cell, ...]
    sequences: bool
    state: bool
    backwards: bool
    zero_masked: bool
    unroll: bool
    loop: tuple[Module, tuple[Weight, ...], int] | None = None  # cell, weights, number of states

    @property
    def torch(self) -> tuple[str, dict[str, Any]] | None:
        """torch's module, None where the layer has to be run step by step."""
        if self.loop is not None:
            return None
        first = self.cells[0]
        alike = all(
            (c.kind, c.units, c.bias, c.torch, c.features)
            == (first.kind, first.units, first.bias, first.torch, first.units)
            for c in self.cells[1:]
        )
        return first.torch if alike else None

    @property
    def lstm(self) -> bool:
        return self.loop is None and self.cells[0].kind == "LSTM"

    def module(self, **more: Any) -> Module:
        if self.torch is None:
            if self.loop is not None:
                cell = self.loop[0]
            else:
                cell = (
                    self.cells[0].module()
                    if len(self.cells) == 1
                    else Module("StackedCells", {"cells": [c.module() for c in self.cells]}, 1)
                )
            return Module("Recurrence", {"cell": cell}, 1)
        cls, extra = self.torch
        args = {"input_size": self.cells[0].features, "hidden_size": self.cells[0].units, **extra}
        if len(self.cells) > 1:
            args["num_layers"] = len(self.cells)
        if not self.cells[0].bias:
            args["bias"] = False
        return Module(cls, {**args, "batch_first": True, **more}, 2)

    def weights(self, prefix: str = "", reverse: str = "") -> tuple[Weight, ...]:
        if self.torch is not None:
            found = [w for k, cell in enumerate(self.cells) for w in cell.torch_weights(f"_l{k}{reverse}")]
        elif self.loop is not None:
            found = [replace(w, key=f"cell.{w.key}") for w in self.loop[1]]
        elif len(self.cells) == 1:
            found = [replace(w, key=f"cell.{w.key}") for w in self.cells[0].weights()]
        else:
            found = [
                replace(w, key=f"cell.cells.{k}.{w.key}") for k, cell in enumerate(self.cells) for w in cell.weights()
            ]
        return tuple(replace(w, key=prefix + w.key) for w in found)

    @property
    def count(self) -> int:
        """The number of state tensors, as Keras lists them: each cell's in turn."""
        return self.loop[2] if self.loop is not None else sum(c.states for c in self.cells)

    def initial(self, states: Sequence[str]) -> str:
        """The state argument from Keras's list of state tensors."""
        if self.torch is not None:
            hidden, carry = (states[::2], states[1::2]) if self.lstm else (states, ())
            stacks = [
                f"torch.stack(({', '.join(part)}))" if len(part) > 1 else f"{part[0]}.unsqueeze(0)"
                for part in (hidden, carry)
                if part
            ]
            return f"({', '.join(stacks)})" if self.lstm else stacks[0]
        if self.loop is not None or len(self.cells) == 1:
            return f"({', '.join(states)}{',' if len(states) == 1 else ''})"
        rest, parts = list(states), []
        for cell in self.cells:
            own, rest = rest[: cell.states], rest[cell.states :]
            parts.append(f"({', '.join(own)}{',' if len(own) == 1 else ''})")
        return f"({', '.join(parts)})"

    def last(self, name: str | None) -> tuple[str, list[str]]:
        """(where to put the last state, each of Keras's state tensors in it); name: of one variable for all of it."""
        if self.torch is not None:
            target = name or ("(hidden, cell)" if self.lstm else "hidden")
            parts = ([f"{name}[0]", f"{name}[1]"] if name else ["hidden", "cell"]) if self.lstm else [target]
            return target, [f"{part}[{k}]" for k in range(len(self.cells)) for part in parts]
        target = name or "states"
        if self.loop is not None or len(self.cells) == 1:
            return target, [f"{target}[{k}]" for k in range(self.count)]
        return target, [f"{target}[{i}][{k}]" for i, cell in enumerate(self.cells) for k in range(cell.states)]

    def run(
        self, module: str, x: str, mask: str | None, states: Sequence[str], out: str, name: str | None = None
    ) -> tuple[list[str], list[str]]:
        """(statements that leave the output in ``out``, the last states after them)."""
        if mask is not None and self.unroll and self.backwards and self.zero_masked and self.sequences:
            raise Unconvertible(
                "it is unrolled, goes backwards and zeroes masked steps: "
                "there Keras applies the mask the wrong way round; set unroll=False"
            )
        if self.backwards:
            x, mask = f"{x}.flip(1)", mask and f"{mask}.flip(1)"
        state = [self.initial(states)] if states else []
        target, last = self.last(name)
        keep = target if self.state else "_"
        if self.torch is None:
            arguments = (
                [x, *state]
                + ([f"mask={mask}"] if mask else [])
                + (["zero_masked=True"] if mask and self.zero_masked else [])
            )
            lines = [f"{out}, {keep} = {module}({', '.join(arguments)})"]
            return lines + ([] if self.sequences else [f"{out} = {out}[:, -1]"]), last
        if mask is None:
            if self.sequences:
                return [f"{out}, {keep} = {module}({', '.join([x, *state])})"], last
            keep = target if self.state or name or not self.lstm else "(hidden, _)"
            return [
                f"_, {keep} = {module}({', '.join([x, *state])})",
                f"{out} = {last[-2 if self.lstm else -1] if len(self.cells) > 1 else last[0]}",
            ], last
        arguments = ", ".join([module, x, mask, *state])
        zero = f" * {mask}{'.unsqueeze(-1)' if self.sequences else '[:, -1:]'}" if self.zero_masked else ""
        end = "" if self.sequences else "[:, -1]"
        if self.state:
            return [f"{out}, {keep} = packed_rnn({arguments})"] + (
                [f"{out} = {out}{end}{zero}"] if end or zero else []
            ), last
        return [f"{out} = masked_rnn({arguments}){end}{zero}"], last


def read_direction(options: Call, cells: tuple[Cell, ...], loop=None) -> Direction:
    options.refuse(
        options.option("stateful"),
        "it is stateful: it keeps its state between calls, which a converted model does not; "
        "build it with stateful=False, return_state=True and an initial_state, and carry the state yourself",
    )
    return Direction(
        cells,
        bool(options.option("return_sequences")),
        bool(options.option("return_state")),
        bool(options.option("go_backwards")),
        bool(options.option("zero_output_for_mask")),
        bool(options.option("unroll")),
        loop,
    )


# --- layers ----------------------------------------------------------------------------------------------------


def _operands(call: Call) -> tuple[str, str | None, list[str]]:
    """(input, mask, initial states) as expressions."""
    x, mask, given = call.x, call.argument("mask"), call.argument("initial_state")
    call.refuse(mask is not None and not isinstance(mask, Slot), "its mask is not a tensor of the model")
    states = list(_flat(given)) if given is not None else []
    call.refuse(
        not all(isinstance(state, Slot) for state in states),
        "its initial_state holds constants; make them inputs of the model",
    )
    source = str(x) if "float" in x.dtype else f"{x}.to(torch.{call.outputs[0].dtype})"
    allowed = None if mask is None else str(mask) if mask.dtype == "bool" else f"{mask}.bool()"
    return source, allowed, [str(state) for state in states]


def _flat(value: Any):
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _used(call: Call) -> list[bool]:
    """For each output, whether anything reads it."""
    consumers = call.graph.consumers()
    return [bool(consumers[t.id]) or t.id in call.graph.outputs for t in call.outputs]


def _state_lines(call: Call, first: int, states: Sequence[str]) -> list[str]:
    """Statements for the state outputs that something reads."""
    used = _used(call)
    chosen = [(OUT.format(first + k), state) for k, state in enumerate(states) if used[first + k]]
    return [f"{', '.join(out for out, _ in chosen)} = {', '.join(state for _, state in chosen)}"] if chosen else []


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
    x, mask, states = _operands(call)
    lines, last = direction.run(SELF, x, mask, states, OUT.format(0))
    if direction.state:
        if not _used(call)[0]:
            lines = lines[:1]  # the states are all that is read
        lines += _state_lines(call, 1, last)
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
    return _cells(call, layer.children["cell"], f"{prefix}cell/")


def _inner_direction(call: Call, name: str) -> Direction:
    """forward_layer or backward_layer of a Bidirectional."""
    layer = call.layer.children[name]
    part = _part(call, layer)
    prefix = f"{name}/"
    if layer.kind in ("LSTM", "GRU", "SimpleRNN"):
        cells = (read_cell(part, prefix, call.choice),)
    elif layer.kind == "RNN":
        cells = _rnn_cells(call, layer, prefix)
    else:
        raise Unconvertible(f"it wraps a {layer.kind}; k2t converts Bidirectional around LSTM, GRU, SimpleRNN and RNN")
    direction = read_direction(part, cells)
    _all_read(part)
    return direction


@rule("Bidirectional", demand=LAST, over_time=True, widths=WIDTHS)
def bidirectional(call: Call) -> Mapping:
    """torch's bidirectional=True where both directions are alike, else two modules. The states are forward's, then
    backward's."""
    forward, backward = _inner_direction(call, "forward_layer"), _inner_direction(call, "backward_layer")
    mode = call.option("merge_mode")
    x, mask, states = _operands(call)
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
        lines += _state_lines(call, 2 if mode is None else 1, last)
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


# --- convolutional LSTM ----------------------------------------------------------------------------------------


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
        call.refuse(pads is None, "its strides and padding need fixed sizes in space")
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
    x, mask, states = _operands(call)
    lines, last = direction.run(SELF, x, mask, states, OUT.format(0))
    if direction.state:
        lines = (lines if _used(call)[0] else lines[:1]) + _state_lines(call, 1, last)
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
