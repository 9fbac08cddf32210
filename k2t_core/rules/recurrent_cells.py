"""Recurrent cells as Keras configures them, and their counterparts. Source: keras/src/layers/rnn/."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from k2t_core.graph import Layer, Node
from k2t_core.layout import Layout, identity
from k2t_core.rules.activations import apply_activation
from k2t_core.rules.common import refuse_unread
from k2t_core.rules.registry import (
    Alternative,
    Call,
    Expression,
    Gates,
    Module,
    Unconvertible,
    Weight,
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
TANH, SIGMOID = "torch.tanh", "torch.sigmoid"


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


def part_of(call: Call, layer: Layer) -> Call:
    """A call that reads the options of a layer within the layer."""
    mine, its = (part.policy for part in (call.layer, layer))
    call.refuse(
        mine != its, f"its inner layer {layer.name!r} has the dtype policy {its} and itself {mine}; give both the same"
    )
    return Call(Node(call.node.id, layer, {}, ()), call.graph, ())


def cells_of(call: Call, layer: Layer, prefix: str) -> tuple[Cell, ...]:
    """The cells of an RNN layer's ``cell``, those of stacks in stacks included."""
    part = part_of(call, layer)
    if layer.kind == "StackedRNNCells":
        count = len(part.option("cells"))
        refuse_unread(part.layer, part.unread_options())
        call.refuse(
            len(layer.children) < count, "a cell of its stack is no Keras layer; write it as one of Keras's cells"
        )
        return tuple(
            cell for name, child in layer.children.items() for cell in cells_of(call, child, f"{prefix}{name}/")
        )
    if layer.kind not in ("LSTMCell", "GRUCell", "SimpleRNNCell"):
        raise Unconvertible(
            f"its cell {layer.kind} is not one of Keras's own cells; use LSTMCell, GRUCell or SimpleRNNCell, "
            "or override the layer with a snippet"
        )
    cell = read_cell(part, prefix, call.choice)
    refuse_unread(part.layer, part.unread_options())
    return (cell,)
