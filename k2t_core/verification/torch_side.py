"""The written module as the verification runs it: in a process of its own, that is asked and not believed.

What the other side (`module_process`) gives is data of any form, because model.py has run there: each answer is looked
at before it is used, and one that does not have its form is an OutputError like any other fault of model.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from k2t_core.emit.manifest import Manifest
from k2t_core.emit.sandbox import Sandbox, expect
from k2t_core.errors import OutputError, one_line
from k2t_core.keras_side import running
from k2t_core.keras_side.traced import Traced
from k2t_core.processes.limits import InForce

GUEST = expect("k2t_core.verification.module_process:ModuleProcess")
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Computed:
    """What the module computes in some layers, by tensor, in Keras's layout.

    cumulative: on torch's own inputs, alone: on Keras's, exact: the same in float64; before, exact_before: as the last
    two, ahead of the flattening function that a statement ends with.
    """

    cumulative: Arrays
    alone: Arrays
    exact: Arrays
    before: Arrays
    exact_before: Arrays


@dataclass(frozen=True, eq=False)
class Step:
    """A batch normalisation's mean and variance, those of a batch of ``count`` values, and its own after one step."""

    mean: np.ndarray
    variance: np.ndarray
    batch_mean: np.ndarray
    batch_variance: np.ndarray
    mean_after: np.ndarray
    variance_after: np.ndarray
    count: int


class TorchSide:
    """The folder's module. Every method raises OutputError where model.py does not do what it must.

    exact: whether there is a float64 run. classes: those whose forward() is as k2t wrote it.
    """

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder, self.manifest = folder, manifest
        self.exact, self.training, self.classes = False, False, frozenset[str]()
        self._sandbox = Sandbox(str(folder / "model.py"), GUEST, (str(folder),))

    def load(self, state: dict[str, np.ndarray] | None = None) -> Self:
        """Load the module. state: the torch state_dict as numpy arrays, None for the one in the folder."""
        found = self._sandbox.call("load", str(self.folder), self.manifest.text, state)
        self.classes = frozenset(self._list(found, str))
        self.exact = True
        return self

    @property
    def in_force(self) -> InForce:
        """The limits of the process in which model.py runs."""
        return self._sandbox.in_force

    def close(self) -> None:
        """End the process in which model.py runs."""
        self._sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def outputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray | str]:
        """What the module gives, in its own order of axes, of what is no tensor the type.

        arrays: a batch in Keras's layout, here and below.
        """
        given, training = self._pair(self._sandbox.call("outputs", list(arrays)))
        self.training = training is True
        return self._list(given, np.ndarray, str)

    def exact_outputs(self, arrays: Sequence[np.ndarray], count: int) -> list[np.ndarray] | str:
        """The ``count`` outputs in float64; where there are none, why, and there are none from here on."""
        found = self._sandbox.call("exact_outputs", list(arrays))
        if isinstance(found, list) and len(found) != count:
            found = f"it gives {len(found)} tensors there"
        if isinstance(found, str):
            self.exact = False
            return one_line(found)
        return self._list(found, np.ndarray)

    def shapes(self, arrays: Sequence[np.ndarray]) -> list[tuple[str, str, tuple[int, ...]]]:
        """(tensor, layer path, shape in Keras's layout) of each tensor, as far as forward() gets."""
        found = self._list(self._sandbox.call("shapes", list(arrays)), tuple)
        if not all(tuple(map(type, one)) == (str, str, tuple) for one in found):
            self._nonsense()
        return found

    def stretch(
        self,
        arrays: Sequence[np.ndarray],
        keras: Arrays,
        wanted: set[str],
        watched: Mapping[str, str],
    ) -> Computed:
        """The layers that give the tensors ``wanted``.

        keras: Keras's values of those and of what goes into their layers. watched: tensor → path of the module whose
        input is kept for `again`.
        """
        parts = self._sandbox.call("stretch", list(arrays), keras, sorted(wanted), dict(watched))
        if not isinstance(parts, tuple) or len(parts) != 5:
            self._nonsense()
        return Computed(*({t: a for t, a in self._named(part).items() if t in wanted and t in keras} for part in parts))

    def again(
        self, tensor: str, scale: float = 1.0, zeroed: Sequence[str] = (), double: bool = False
    ) -> tuple[int, np.ndarray] | None:
        """What the module that gives a watched tensor makes of what reached it, times ``scale``, and how many numbers
        that was; None where there is no such module.

        zeroed: buffers that it must have, and that are 0 for the moment. double: in float64.
        """
        found = self._sandbox.call("again", tensor, scale, list(zeroed), double)
        if found is None:
            return None
        count, array = self._pair(found)
        return count, self._array(array)

    def alone(
        self, traced: Traced, arrays: Sequence[np.ndarray], scope: str, values: Mapping[str, np.ndarray], tensor: str
    ) -> np.ndarray:
        """What the layer that gives ``tensor`` makes of ``values``; both in Keras's layout.

        values: by the ids of its input tensors, scope: where these are (see `running.source`).
        """
        batch, given = list(arrays), {}
        for t, value in values.items():
            place, name = running.source(traced.graph, scope, t)
            if place == "" and name in traced.graph.inputs:
                batch[traced.graph.inputs.index(name)] = value
            else:
                given[place + name] = value
        return self._array(self._sandbox.call("alone", batch, given, tensor))

    def forward(self, arrays: Sequence[np.ndarray], derived: bool) -> tuple[list[np.ndarray], bool]:
        """The outputs, and whether they depend on anything by which they are derived; derived: `backward` follows."""
        found, depends = self._pair(self._sandbox.call("forward", list(arrays), derived))
        if len(self._list(found, np.ndarray)) != len(self.manifest.outputs):
            self._nonsense()
        return found, depends is True

    def backward(
        self, factors: dict[int, np.ndarray], weights: bool = False
    ) -> tuple[list[np.ndarray | None], dict[str, np.ndarray | None]] | None:
        """Gradients of Σ outputs[k] · factors[k] of the last `forward`: by each input in Keras's layout and, where they
        are wanted, by each weight in torch's, None for what it does not depend on. None where it depends on nothing.

        factors: in Keras's layout, of the shapes that the outputs had.
        """
        sides = self.manifest.outputs
        factors = {k: sides[k].to_torch(factor) for k, factor in factors.items()}
        found = self._sandbox.call("backward", factors, weights)
        if found is None:
            return None
        by_input, by_weight = self._pair(found)
        if not isinstance(by_weight, dict) or not all(isinstance(key, str) for key in by_weight):
            self._nonsense()
        if len(self._list(by_input, np.ndarray, type(None))) != len(self.manifest.inputs):
            self._nonsense()
        moved = [None if g is None else side.to_keras(g) for g, side in zip(by_input, self.manifest.inputs)]
        return moved, dict(zip(by_weight, self._list(list(by_weight.values()), np.ndarray, type(None))))

    def training_step(self, arrays: Sequence[np.ndarray], paths: Sequence[str]) -> dict[str, Step]:
        """Of each batch normalisation at ``paths`` that forward() comes to, one step in training mode."""
        found = self._sandbox.call("training_step", list(arrays), list(paths))
        if not isinstance(found, dict):
            self._nonsense()
        return {path: self._step(found[path]) for path in paths if path in found}

    def in_training(
        self, arrays: Sequence[np.ndarray], ones: set[str], ones_inputs: Sequence[bool], wanted: set[str], seed: int
    ) -> Arrays:
        """The tensors ``wanted`` in training mode, with ones in the place of the tensors and of the inputs said."""
        found = self._sandbox.call("in_training", list(arrays), sorted(ones), list(ones_inputs), sorted(wanted), seed)
        return {tensor: array for tensor, array in self._named(found).items() if tensor in wanted}

    # --- the form of an answer ---

    def _step(self, found: Any) -> Step:
        if not isinstance(found, dict) or not isinstance(found.get("count"), int):
            self._nonsense()
        pairs = [self._pair(found.get(name)) for name in ("before", "batch", "after")]
        (a, b), (c, d), (e, f) = [(self._array(mean), self._array(variance)) for mean, variance in pairs]
        if len({array.shape for array in (a, b, c, d, e, f)}) != 1:
            self._nonsense()
        return Step(a, b, c, d, e, f, found["count"])

    def _pair(self, found: Any) -> tuple[Any, Any]:
        if not isinstance(found, tuple) or len(found) != 2:
            self._nonsense()
        return found

    def _array(self, found: Any) -> np.ndarray:
        return found if isinstance(found, np.ndarray) else self._nonsense()

    def _list(self, found: Any, *types: type) -> list[Any]:
        if not isinstance(found, list) or not all(isinstance(one, types) for one in found):
            self._nonsense()
        return found

    def _named(self, found: Any) -> Arrays:
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            self._nonsense()
        self._list(list(found.values()), np.ndarray)
        return found

    def _nonsense(self) -> NoReturn:
        raise OutputError(f"{self.folder / 'model.py'}: the process that runs it gives what is no answer to k2t")
