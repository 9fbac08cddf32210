"""A layer by itself where it runs: what `alone` calls in the sandbox. A recipe's snippet may be in the code."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from k2t_core.emit.module import compile_module
from k2t_core.emit.sandbox import Guest
from k2t_core.errors import RAISED, K2TError, named
from k2t_core.tensors import default_dtype, to_array, to_tensor

Outputs = list[Any]  # arrays, and of what is no tensor the type


class LayerProcess(Guest):
    def run(
        self,
        source: str,
        class_name: str,
        state: dict[str, np.ndarray],
        cases: list[tuple[list[np.ndarray], dict[str, np.ndarray]]],
    ) -> list[tuple[Outputs, Outputs | None]]:
        """What the module of a file's text gives in each case, and in float64, None where it does not run so.

        cases: (inputs in its own order of axes, entries of the state_dict that are others there). Raises K2TError for
        whatever it raises.
        """
        return [self._run(source, class_name, {**state, **changed}, inputs) for inputs, changed in cases]

    def _run(
        self, source: str, class_name: str, state: dict[str, np.ndarray], inputs: list[np.ndarray]
    ) -> tuple[Outputs, Outputs | None]:
        tensors = {key: to_tensor(array) for key, array in state.items()}
        try:
            got = _called(source, class_name, tensors, inputs)
        except RAISED as error:  # an override can be anything
            raise K2TError(named(error)) from error
        try:
            exact = _called(source, class_name, tensors, inputs, double=True)
        except RAISED:  # code that insists on a dtype
            exact = None
        return got, exact


def _called(
    source: str, class_name: str, state: dict[str, torch.Tensor], inputs: list[np.ndarray], double: bool = False
) -> Outputs:
    """What the module returns, in float64 where that is asked for; raises whatever its code does."""

    def wide(x: torch.Tensor) -> torch.Tensor:
        return x.double() if double and x.is_floating_point() else x

    with default_dtype(torch.float64 if double else None), torch.no_grad():
        model = compile_module(source, double)[class_name]().eval()
        model.load_state_dict({key: wide(v) for key, v in state.items()})
        given = model(*(wide(to_tensor(array, copy=True)) for array in inputs))
    given = given if isinstance(given, (tuple, list)) else (given,)
    return [to_array(y) if isinstance(y, torch.Tensor) else type(y).__name__ for y in given]
