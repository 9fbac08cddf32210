"""A recurrent layer in one direction, run over its steps. Source: keras/src/backend/tensorflow/rnn.py.

torch's own modules where they compute the same; else a cell that model.py carries, run step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from k2t_core.nests import leaves
from k2t_core.rules.recurrent_cells import Cell
from k2t_core.rules.registry import (
    OUT,
    Call,
    Module,
    Slot,
    Unconvertible,
    Weight,
)


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
        given = ", ".join([module, x, mask, *state])
        zero = f" * {mask}{'.unsqueeze(-1)' if self.sequences else '[:, -1:]'}" if self.zero_masked else ""
        end = "" if self.sequences else "[:, -1]"
        if self.state:
            return [f"{out}, {keep} = packed_rnn({given})"] + (
                [f"{out} = {out}{end}{zero}"] if end or zero else []
            ), last
        return [f"{out} = masked_rnn({given}){end}{zero}"], last


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


def operands(call: Call) -> tuple[str, str | None, list[str]]:
    """(input, mask, initial states) as expressions."""
    x, mask, given = call.x, call.argument("mask"), call.argument("initial_state")
    call.refuse(mask is not None and not isinstance(mask, Slot), "its mask is not a tensor of the model")
    states = list(leaves(given)) if given is not None else []
    call.refuse(
        not all(isinstance(state, Slot) for state in states),
        "its initial_state holds constants; make them inputs of the model",
    )
    source = str(x) if "float" in x.dtype else f"{x}.to(torch.{call.outputs[0].dtype})"
    allowed = None if mask is None else str(mask) if mask.dtype == "bool" else f"{mask}.bool()"
    return source, allowed, [str(state) for state in states]


def used_outputs(call: Call) -> list[bool]:
    """For each output, whether anything reads it."""
    consumers = call.graph.consumers()
    return [bool(consumers[t.id]) or t.id in call.graph.outputs for t in call.outputs]


def state_lines(call: Call, first: int, states: Sequence[str]) -> list[str]:
    """Statements for the state outputs that something reads."""
    used = used_outputs(call)
    chosen = [(OUT.format(first + k), state) for k, state in enumerate(states) if used[first + k]]
    return [f"{', '.join(out for out, _ in chosen)} = {', '.join(state for _, state in chosen)}"] if chosen else []
