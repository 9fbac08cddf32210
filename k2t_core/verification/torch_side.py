"""The written module as the verification runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from k2t_core.emit.manifest import Manifest
from k2t_core.emit.module import load_module
from k2t_core.errors import RAISED, OutputError, named, one_line
from k2t_core.keras_side import running
from k2t_core.keras_side.traced import Traced
from k2t_core.layout import Layout
from k2t_core.tensors import to_array, to_tensor, torch_to_itself
from k2t_core.verification.taps import TappedModel

if TYPE_CHECKING:
    import torch


class _Enough(Exception):
    """The tensor that was wanted is there."""


@dataclass(eq=False)
class TorchSide:
    """The folder's module, three times: as a user loads it, with taps, and with taps in float64.

    exact: None from where it turns out not to run in float64.
    """

    folder: Path
    manifest: Manifest
    module: torch.nn.Module
    tapped: TappedModel
    exact: TappedModel | None

    @classmethod
    @torch_to_itself
    def load(cls, folder: Path, manifest: Manifest, state: dict[str, np.ndarray] | None = None) -> TorchSide:
        """``state``: the torch state_dict as numpy arrays, None for the one in the folder."""
        module = load_module(folder)
        if state is not None:
            _load_state(module, {k: to_tensor(v) for k, v in state.items()}, folder)
        tapped = TappedModel(folder, manifest)
        exact = TappedModel(folder, manifest, double=True)
        tensors = module.state_dict()
        _load_state(tapped.model, tensors, folder, shared=True)
        _load_state(exact.model, {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}, folder)
        return cls(folder, manifest, module, tapped, exact)

    def inputs(self, arrays: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """The batch as the module takes it, in memory of its own: forward() may work in place."""
        return [to_tensor(side.to_torch(a), copy=True) for a, side in zip(arrays, self.manifest.inputs)]

    def outputs(self, inputs: Sequence[torch.Tensor]) -> tuple[Any, ...]:
        """What the module gives, whatever that is. Raises OutputError where its forward() raises."""
        import torch

        with torch.no_grad():
            (given,) = self.guard(lambda: (self.module(*(x.clone() for x in inputs)),))
        return tuple(given) if isinstance(given, (tuple, list)) and len(given) != 1 else (given,)

    def alone(
        self, traced: Traced, arrays: Sequence[np.ndarray], scope: str, values: Mapping[str, np.ndarray], tensor: str
    ) -> np.ndarray:
        """What the layer that gives ``tensor`` makes of ``values``; both in Keras's layout.

        values: by the ids of its input tensors, scope: where these are (see `running.source`).

        Raises OutputError where forward() raises or the tensor is not computed any more.
        """
        batch, given = list(arrays), {}
        for t, value in values.items():
            place, name = running.source(traced.graph, scope, t)
            if place == "" and name in traced.graph.inputs:
                batch[traced.graph.inputs.index(name)] = value
            else:
                given[place + name] = value
        found: list[np.ndarray] = []

        def observe(key: str, layer: str, layout: Layout, value: torch.Tensor) -> torch.Tensor:
            if key == tensor:
                found.append(layout.to_keras(to_array(value)))
                raise _Enough
            return to_tensor(layout.to_torch(given[key]), copy=True).to(value.dtype) if key in given else value

        def run() -> Any:
            try:
                return self.tapped.run(self.inputs(batch), observe)
            except _Enough:
                return ()

        self.guard(run)
        if not found:
            raise OutputError(f"{self.folder / 'model.py'}: does not compute {tensor!r} any more")
        return found[0]

    @torch_to_itself
    def guard(self, run: Callable[[], Any], what: str = "forward()") -> tuple[Any, ...]:
        """What ``run`` returns, as a tuple. Raises OutputError, which names ``what``, for anything it raises."""
        try:
            outputs = run()
        except RAISED as error:  # hand-edited or overridden code can raise anything
            raise OutputError(f"{self.folder / 'model.py'}: {what} raises {named(error, 300)}") from error
        return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


def _load_state(
    module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], folder: Path, shared: bool = False
) -> None:
    """``shared``: the module holds the tensors themselves and no copies."""
    try:
        module.load_state_dict(tensors, assign=shared)
    except RuntimeError as error:
        raise OutputError(
            f"{folder / 'model.py'}: its state_dict differs from the manifest: {one_line(error, 300)}"
        ) from error


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
