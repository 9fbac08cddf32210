"""What opening a layer comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from k2t_core.keras_side.internals import calls_of, mask_of


class CannotOpen(Exception):
    """Why a layer stays closed."""


@dataclass(eq=False)
class StandIn:
    """A variable, or a constant, as the source of a symbolic tensor: for the graph, the operation behind it."""

    name: str  # the attribute that holds the variable
    owner: Any  # the live layer that holds the variable, or that makes the constant
    variable: Any = None
    value: np.ndarray | None = None


@dataclass(eq=False)
class Opened:
    """What call() came to.

    function: keras.Function over what is at ``places`` (leaf of the bound arguments, whether its mask is meant),
        then ``sources``.
    calls: the recorded calls of the layers inside.
    result: the nest that call() returned; its leaves are ``function.outputs``.
    names: live layer → the attribute that holds it.
    """

    function: Any
    places: list[tuple[int, bool]]
    sources: list[tuple[Any, StandIn]]  # (symbolic tensor, what it stands for)
    calls: list[Any]
    result: Any
    actual: dict[int, Any]  # id of a symbolic input of the function → the tensor that arrives
    names: dict[int, str]

    def nodes(self) -> list[Any]:
        """The calls inside, in order."""
        return calls_of(self.function)

    def values(self, leaves: Sequence[Any]) -> list[Any]:
        """The inputs of ``function`` in a run on values: ``leaves`` are those of the bound arguments."""
        import tensorflow as tf

        arriving = [mask_of(leaves[i]) if of_mask else leaves[i] for i, of_mask in self.places]
        # Of a variable its numbers: functions of Keras that look for `ndim` do not take the variable itself.
        return arriving + [
            tf.convert_to_tensor(s.variable.value) if s.variable is not None else s.value for _, s in self.sources
        ]


def is_variable(value: Any) -> bool:
    import keras

    return isinstance(value, keras.Variable)
