"""The form of a check: what it is given and what it gives. Each module of `checks` holds one.

A check of single layers (`LayerCheck`) looks at what both sides computed in a stretch of layers, in every comparison; a
check of training is a function of a `Trial`. Their results carry their own names: the report, its JSON, the table of
the command line, the HTML page and the pages draw whatever is there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from k2t_core.difference import Difference, Rounding, layer_passes
from k2t_core.graph import Node
from k2t_core.keras_side import running
from k2t_core.keras_side.traced import Traced
from k2t_core.transforms import is_float
from k2t_core.verification.report import LayerResult, TrainingResult
from k2t_core.verification.torch_side import TorchSide

END_OF_RANGE = 1024  # a factor below the largest float32
# Max|torch − keras| / max|keras| of a gradient: it passes each layer twice, and sums over the batch in another order.
GRADIENT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Place:
    """Which output of which call a tensor is; scope: "" or ``"encoder/"``."""

    scope: str
    node: Node
    index: int


@dataclass(frozen=True, eq=False)
class Stretch:
    """Some layers that follow each other, as both sides computed them on one batch.

    Tensors go by scope and id (``"encoder/conv1"``). Values are in Keras's layout.
    """

    written: TorchSide
    traced: Traced
    arrays: Sequence[np.ndarray]  # the batch
    places: Mapping[str, Place]
    keras: Mapping[str, np.ndarray]  # of the layers and of what goes into them
    cumulative: Mapping[str, tuple[str, Difference]]  # tensor → layer path, difference on torch's own inputs
    alone: Mapping[str, np.ndarray]  # what torch makes of Keras's own inputs
    exact: Mapping[str, np.ndarray]  # the same in float64; empty where the module has no float64 run
    before: Mapping[str, np.ndarray]  # as ``alone``, ahead of the flattening function that a statement ends with
    exact_before: Mapping[str, np.ndarray]
    seen: Sequence[str] = ()  # tensors that a check watches: their modules can be run `again` (`TorchSide`)

    def inputs(self, place: Place) -> dict[str, np.ndarray]:
        """What Keras gives a call, by the ids of its input tensors."""
        return running.arguments(self.traced, place.scope, place.node, self.arrays, self.keras)


@dataclass(frozen=True, eq=False)
class Case:
    """What Keras gave a layer and what it made of it. zeroed: variables that are taken to be 0 in both."""

    inputs: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]
    zeroed: frozenset[str] = frozenset()


class LayerCheck(ABC):
    """One more look at single layers, for what the comparison of their outputs on ordinary numbers hides.

    settles: where it agrees, a difference behind it may be rounding on Keras's side alone (`layer_passes`).
    """

    settles = False

    @abstractmethod
    def run(self, stretch: Stretch) -> Iterator[tuple[str, LayerResult]]:
        """(tensor that it looks at, result). A result is named by the tensor, a space and what is looked at."""

    def watches(self, node: Node) -> bool:
        """Whether `run` runs the torch module of a call once more, on what reached it (`watched`)."""
        return False

    def watched(self, stretch: Stretch) -> Iterator[tuple[str, Place]]:
        """(tensor, its place) of what it `watches`: `TorchSide.again` runs the module that gives the tensor."""
        for tensor in stretch.seen:
            place = stretch.places[tensor]
            if self.watches(place.node):
                yield tensor, place

    def cases(self, traced: Traced, scope: str, node: Node, inputs: Mapping[str, np.ndarray]) -> tuple[Case, ...]:
        """The same look at a layer without its model, for `alone.probe`. inputs: Keras's own, by tensor."""
        return ()


@dataclass(frozen=True, eq=False)
class Trial:
    """Both sides and a batch to train on, for a check of training: a function from this to a list of TrainingResult."""

    written: TorchSide
    traced: Traced
    arrays: Sequence[np.ndarray]
    seed: int


def judged(
    result: LayerResult, want: np.ndarray, got: np.ndarray, exact: np.ndarray | None, settled: bool = False
) -> LayerResult:
    """The result with a layer's difference alone, and whether rounding explains it; settled: as in `layer_passes`."""
    if exact is not None and want.dtype == np.float32 and want.shape == got.shape == exact.shape:
        want, got, exact = in_range(exact, want, got, exact)
    isolated = Difference.of(want, got)
    rounding = None
    if exact is not None and is_float(want.dtype) and want.shape == got.shape:
        rounding = Rounding.of(want, got, exact)
    passed = layer_passes(isolated, rounding, want.dtype, settled)
    return replace(result, isolated=isolated, rounding=rounding, passed=passed)


def in_range(exact: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    """The arrays with 0 where the exact value is at the very end of float32's range.

    There one side overflows on its way to what the other still reaches.
    """
    end = ~(np.abs(exact) < np.finfo(np.float32).max / END_OF_RANGE) & ~np.isnan(exact)
    return [np.where(end, np.zeros((), x.dtype), x) for x in arrays] if end.any() else list(arrays)


def judged_in_training(what: str, name: str, layer: str | None, want: np.ndarray, have: np.ndarray) -> TrainingResult:
    """The result for a gradient, or a statistic, on both sides."""
    difference = Difference.of(want, have)
    # A gradient that vanishes on one side and is rounding on the other says nothing.
    passed = difference.relative <= GRADIENT_TOLERANCE or difference.max_abs <= 1e-6
    return TrainingResult(what, name, layer, difference, bool(passed))
