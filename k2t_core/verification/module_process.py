"""The written module where it runs: what `torch_side` calls in the sandbox.

model.py has run in this process and may have patched anything here. So it judges nothing: it computes, and gives what
came out, tensors as arrays.

Long because all that is asked of the three modules is asked of the one process that holds them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from k2t_core.emit.manifest import Manifest
from k2t_core.emit.module import load_module
from k2t_core.emit.sandbox import Guest
from k2t_core.errors import RAISED, OutputError, named, one_line
from k2t_core.layout import Layout
from k2t_core.progress import Cancelled
from k2t_core.tensors import to_array, to_tensor, torch_to_itself
from k2t_core.verification.taps import TappedModel

Arrays = Sequence[np.ndarray]  # a batch, in Keras's layout


class _Enough(Exception):
    """The tensor that was wanted is there."""


class ModuleProcess(Guest):
    """The folder's module, three times: as a user loads it, with taps, and with taps in float64.

    exact: None from where it turns out not to run in float64.
    """

    def __init__(self) -> None:
        self.folder = Path()
        self.manifest: Manifest
        self.module: torch.nn.Module
        self.tapped: TappedModel
        self.exact: TappedModel | None = None
        self._watched: dict[str, str] = {}  # tensor → path of the module that gives it
        self._arrived: dict[str, torch.Tensor] = {}  # the same → what that was called on last
        self._to_derive: tuple[list[torch.Tensor], list[torch.Tensor]] | None = None  # inputs and outputs

    @torch_to_itself
    def load(self, folder: str, manifest: str, state: dict[str, np.ndarray] | None) -> list[str]:
        """Load the folder's module; its classes whose forward() is as k2t wrote it.

        manifest: its text. state: a state_dict in the place of the one in the folder.
        """
        self.folder, self.manifest = Path(folder), Manifest.from_json(json.loads(manifest))
        for name in ("module", "tapped", "exact"):  # of other weights: let go before more memory is taken
            self.__dict__.pop(name, None)
        self._arrived, self._to_derive = {}, None
        self.module = load_module(self.folder)
        if state is not None:
            self._fill(self.module, {k: to_tensor(v) for k, v in state.items()})
        self.tapped = TappedModel(self.folder, self.manifest)
        self.exact = TappedModel(self.folder, self.manifest, double=True)
        tensors = self.module.state_dict()
        self._fill(self.tapped.model, tensors, shared=True)
        self._fill(self.exact.model, {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()})
        return sorted(self.tapped.classes)

    def outputs(self, arrays: Arrays) -> tuple[list[Any], bool]:
        """What the module gives, of what is no tensor the type; whether it is in training mode."""
        inputs = self._inputs(arrays)
        with torch.no_grad():
            (given,) = self.guard(lambda: (self.module(*(x.clone() for x in inputs)),))
        given = tuple(given) if isinstance(given, (tuple, list)) and len(given) != 1 else (given,)
        found = self.guard(lambda: [to_array(y) if isinstance(y, torch.Tensor) else type(y).__name__ for y in given])
        return list(found), bool(self.module.training)

    def exact_outputs(self, arrays: Arrays) -> list[np.ndarray] | str:
        """The outputs of the float64 run; where there is none, why, and there is none from here on."""
        assert self.exact is not None
        try:
            return [to_array(y) for y in self.exact.run(self._inputs(arrays), _as_it_is)]
        except RAISED as error:  # code that insists on a dtype
            self.exact = None
            return named(error, 160)

    def shapes(self, arrays: Arrays) -> list[tuple[str, str, tuple[int, ...]]]:
        """(tensor, layer path, shape in Keras's layout) of each tensor, as far as forward() gets."""
        found: list[tuple[str, str, tuple[int, ...]]] = []

        def look(tensor: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
            found.append((tensor, layer, tuple(value.shape[layout.axis(axis)] for axis in range(value.dim()))))
            return value

        try:
            self.tapped.run(self._inputs(arrays), look)
        except RAISED:  # it raises: that is why it is run
            pass
        return found

    def stretch(
        self, arrays: Arrays, keras: dict[str, np.ndarray], wanted: list[str], watched: dict[str, str]
    ) -> tuple[dict[str, np.ndarray], ...]:
        """Some layers: on torch's own inputs, alone on Keras's, alone in float64; the last two before the flattening
        function that a statement ends with, too.

        keras: Keras's tensors, wanted: those of them that are compared, watched: tensor → path of the module whose
        input is kept for `again`.
        """
        inputs, compared = self._inputs(arrays), set(wanted)
        cumulative: dict[str, np.ndarray] = {}

        def observe(tensor: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
            if tensor in compared and tensor in keras:  # a copy: what comes after may work in place
                cumulative[tensor] = layout.to_keras(np.array(to_array(value), order="K"))
            return value

        self.guard(lambda: self.tapped.run(inputs, observe))
        self._watched = {tensor: path for tensor, path in watched.items() if tensor in cumulative}
        with arriving(self.tapped.model, set(self._watched.values())) as latest:
            alone = _Alone(keras, compared, self._watched, latest)
            self.guard(lambda: self.tapped.run(inputs, alone, alone.look_before))
        self._arrived = alone.arrived
        in_float64, exact = _Alone(keras, compared), self.exact
        if exact is not None:
            self.guard(lambda: exact.run(inputs, in_float64, in_float64.look_before))
        return cumulative, alone.found, in_float64.found, alone.before, in_float64.before

    def again(self, tensor: str, scale: float, zeroed: list[str], double: bool) -> tuple[int, np.ndarray] | None:
        """What the module that gives a watched tensor makes of what it was called on alone, times ``scale``, with the
        buffers ``zeroed`` all 0; and how many numbers that was. None where there is nothing of the kind.
        """
        model, given = self.exact if double else self.tapped, self._arrived.get(tensor)
        module: Any = dict(model.model.named_modules()).get(self._watched.get(tensor, "")) if model else None
        if module is None or given is None or not all(hasattr(module, name) for name in zeroed):
            return None
        if zeroed:
            module = copy.deepcopy(module)
            for name in zeroed:
                getattr(module, name).zero_()
        x = given.double() if double else given
        with torch.no_grad():
            (got,) = self.guard(lambda: (to_array(module(x if scale == 1 else x * scale)),))
        return given.numel(), got

    def alone(self, arrays: Arrays, given: dict[str, np.ndarray], tensor: str) -> np.ndarray:
        """A tensor, with the tensors ``given`` in the places of those that are computed; both in Keras's layout."""
        found: list[np.ndarray] = []

        def observe(key: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
            if key == tensor:
                found.append(layout.to_keras(to_array(value)))
                raise _Enough
            return to_tensor(layout.to_torch(given[key]), copy=True).to(value.dtype) if key in given else value

        def run() -> Any:
            try:
                return self.tapped.run(self._inputs(arrays), observe)
            except _Enough:
                return ()

        self.guard(run)
        if not found:
            raise OutputError(f"{self.folder / 'model.py'}: does not compute {tensor!r} any more")
        return found[0]

    def forward(self, arrays: Arrays, derived: bool) -> tuple[list[np.ndarray], bool]:
        """The outputs, and whether they can be derived by anything; derived: they are to be, by `backward`."""
        inputs = self._inputs(arrays)
        for x in inputs:
            if x.is_floating_point():
                x.requires_grad_(derived)
        self.module.zero_grad()
        got = list(self.guard(lambda: self.module(*(x.clone() for x in inputs))))
        self._to_derive = (inputs, got) if derived else None
        found = self.guard(lambda: ([to_array(y) for y in got],))[0]
        return found, any(y.requires_grad for y in got)

    def backward(
        self, factors: dict[int, np.ndarray], weights: bool
    ) -> tuple[list[np.ndarray | None], dict[str, np.ndarray | None]] | None:
        """Gradients of Σ outputs[k] · factors[k] of the last `forward`, in torch's layout: by each input, by each
        parameter. None where the sum depends on nothing. weights: whether those of the parameters are wanted.
        """
        assert self._to_derive is not None
        (inputs, got), self._to_derive = self._to_derive, None
        total: Any = sum((got[k] * to_tensor(factor)).sum() for k, factor in factors.items())
        if not total.requires_grad:
            return None
        self.guard(total.backward, "backward()")
        by_input = [None if x.grad is None else to_array(x.grad) for x in inputs]
        by_weight = {
            key: None if parameter.grad is None else to_array(parameter.grad)
            for key, parameter in (self.module.named_parameters() if weights else ())
        }
        self.module.zero_grad()
        return by_input, by_weight

    def training_step(self, arrays: Arrays, paths: list[str]) -> dict[str, dict[str, Any]]:
        """Of each batch normalisation among the modules at ``paths`` that forward() comes to: its statistics, those of
        what reaches it, and what it has after one call on that in training mode.
        """
        modules: dict[str, Any] = dict(self.module.named_modules())
        with torch.no_grad(), arriving(self.module, set(paths)) as seen:
            self.guard(lambda: self.module(*self._inputs(arrays)))

        def step(path: str) -> dict[str, Any]:
            module, x = copy.deepcopy(modules[path]), seen[path]
            before = _statistics_of(module)
            dims = [axis for axis in range(x.dim()) if axis != 1]
            values = x.double()
            with torch.no_grad():
                module.train()(x)
            return {
                "before": before,
                "batch": (to_array(values.mean(dim=dims)), to_array(values.var(dim=dims, unbiased=False))),
                "count": x.numel() // x.shape[1],
                "after": _statistics_of(module),
            }

        (found,) = self.guard(lambda: ({path: step(path) for path in paths if path in seen},))
        return found

    def in_training(
        self, arrays: Arrays, ones: list[str], ones_inputs: list[bool], wanted: list[str], seed: int
    ) -> dict[str, np.ndarray]:
        """The tensors ``wanted`` in training mode, with ones in the place of the tensors and of the inputs said."""
        found: dict[str, np.ndarray] = {}

        def observe(tensor: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
            if tensor in wanted:
                found[tensor] = layout.to_keras(to_array(value))
            return torch.ones_like(value) if tensor in ones else value

        inputs = [torch.ones_like(x) if one else x for x, one in zip(self._inputs(arrays), ones_inputs)]
        self.tapped.model.train()
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.guard(lambda: self.tapped.run(inputs, observe))
        finally:
            self.tapped.model.eval()
        return found

    @torch_to_itself
    def guard(self, run: Callable[[], Any], what: str = "forward()") -> tuple[Any, ...]:
        """What ``run`` returns, as a tuple. Raises OutputError, which names ``what``, for anything it raises."""
        try:
            outputs = run()
        except Cancelled:
            raise
        except BaseException as error:  # hand-edited or overridden code can raise anything
            raise OutputError(f"{self.folder / 'model.py'}: {what} raises {named(error, 300)}") from error
        return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)

    def _inputs(self, arrays: Arrays) -> list[torch.Tensor]:
        """The batch as the module takes it, in memory of its own: forward() may work in place."""
        return [to_tensor(side.to_torch(a), copy=True) for a, side in zip(arrays, self.manifest.inputs)]

    def _fill(self, module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], shared: bool = False) -> None:
        """``shared``: the module holds the tensors themselves and no copies."""
        try:
            module.load_state_dict(tensors, assign=shared)
        except RuntimeError as error:
            raise OutputError(
                f"{self.folder / 'model.py'}: its state_dict differs from the manifest: {one_line(error, 300)}"
            ) from error


class _Alone:
    """An observer that keeps each layer's own result and puts Keras's in its place, so that it is looked at alone."""

    def __init__(
        self,
        keras: Mapping[str, np.ndarray],
        wanted: set[str],
        modules: Mapping[str, str] | None = None,
        latest: Mapping[str, torch.Tensor] | None = None,
    ):
        """modules: tensor → path of the module to watch; latest: that path → what the module was called on last."""
        self.keras, self.wanted = keras, wanted
        self.modules = {} if modules is None else modules
        self.latest = {} if latest is None else latest  # it fills while the module runs
        self.found: dict[str, np.ndarray] = {}
        self.before: dict[str, np.ndarray] = {}
        self.arrived: dict[str, torch.Tensor] = {}

    def __call__(self, tensor: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
        if tensor not in self.keras:
            return value
        if tensor in self.wanted:
            self.found[tensor] = layout.to_keras(to_array(value))
        if self.modules.get(tensor) in self.latest:
            self.arrived[tensor] = self.latest[self.modules[tensor]]
        return to_tensor(layout.to_torch(self.keras[tensor]), copy=True).to(value.dtype)

    def look_before(self, tensor: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
        if tensor in self.wanted and tensor in self.keras:
            self.before[tensor] = layout.to_keras(to_array(value))
        return value


@contextmanager
def arriving(model: torch.nn.Module, paths: set[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Module path → the last thing it was called on, of the modules at ``paths``; it fills while the model runs."""
    modules = dict(model.named_modules())
    found: dict[str, torch.Tensor] = {}

    def keep(path: str) -> Callable[[torch.nn.Module, tuple], None]:
        def hook(module: torch.nn.Module, args: tuple) -> None:  # what a hook returns would replace the arguments
            found[path] = args[0]

        return hook

    handles = [modules[path].register_forward_pre_hook(keep(path)) for path in paths if path in modules]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _as_it_is(tensor: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
    return value


def _statistics_of(module: Any) -> tuple[np.ndarray, np.ndarray]:
    """Copies of a batch normalisation's mean and variance."""
    return to_array(module.running_mean).copy(), to_array(module.running_var).copy()
