"""A normalisation where its epsilon decides, which hides behind the spread of ordinary numbers.

On a thousandth of its input (``… of a thousandth``), a batch normalisation with variances of 0 (``… without
variance``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from k2t_core.difference import Difference
from k2t_core.graph import Node
from k2t_core.keras_side import remembering, running
from k2t_core.keras_side.traced import Traced
from k2t_core.rules import registry
from k2t_core.verification.check import Case, LayerCheck, Place, Stretch
from k2t_core.verification.report import LayerResult

# A normalisation is compared on its input times this as well: its epsilon is most of the result.
SMALL = 1e-3
EPSILON_TOLERANCE = 1e-4


class Epsilon(LayerCheck):
    def watches(self, node: Node) -> bool:
        return registry.known(node.layer.kind).normalises is not None

    def run(self, stretch: Stretch) -> Iterator[tuple[str, LayerResult]]:
        """A module whose input is not Keras's, apart from layout, is not compared (a hand-edited file)."""
        for tensor, place in self.watched(stretch):
            inputs = stretch.inputs(place)
            if inputs[place.node.inputs[0]].dtype != np.float32:
                continue
            difference = _close(stretch, tensor, place, inputs)
            if difference is None:
                continue
            if difference.relative > EPSILON_TOLERANCE and stretch.written.exact:
                # Where the input has no spread at all, a result is nothing but Keras's rounding: float64 tells.
                wide = _close(stretch, tensor, place, inputs, double=True)
                difference = min(difference, wide or difference, key=lambda d: d.relative)
            name = f"{tensor} {'without variance' if _is_batch_norm(place.node) else 'of a thousandth'}"
            passed = difference.relative <= EPSILON_TOLERANCE
            yield tensor, LayerResult(name, place.node.layer.path, None, difference, passed)

    def cases(self, traced: Traced, scope: str, node: Node, inputs: Mapping[str, np.ndarray]) -> tuple[Case, ...]:
        if not self.watches(node) or inputs[node.inputs[0]].dtype != np.float32:
            return ()
        expected = where_epsilon_decides(traced, scope, node, inputs, False)
        assert expected is not None  # but in float64 there always is one
        if not _is_batch_norm(node):
            return (Case(tuple(_small(node, inputs).values()), (expected,)),)
        variance = node.layer.variable("moving_variance")
        assert variance is not None
        return (Case(tuple(inputs.values()), (expected,), frozenset({variance.path})),)


def _is_batch_norm(node: Node) -> bool:
    return registry.known(node.layer.kind).normalises == "batch"


def _small(node: Node, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs, the first of them a thousandth of what it was."""
    return {t: x * np.float32(SMALL) if t == node.inputs[0] else x for t, x in inputs.items()}


def _close(
    stretch: Stretch, tensor: str, place: Place, inputs: Mapping[str, np.ndarray], double: bool = False
) -> Difference | None:
    """None where the module is no normalisation of what Keras normalises."""
    if _is_batch_norm(place.node):
        found = stretch.written.again(tensor, zeroed=("running_var",), double=double)
    else:
        found = stretch.written.again(tensor, scale=SMALL, double=double)
    if found is None or found[0] != inputs[place.node.inputs[0]].size:
        return None
    want, got = where_epsilon_decides(stretch.traced, place.scope, place.node, inputs, double), found[1]
    if want is None:
        return Difference(float("inf"), float("inf"), float("inf"), 0.0)
    # The module's own layout need not be the tensor's: in order of size the same values meet all the same.
    return Difference.of(np.sort(want.ravel()), np.sort(got.ravel().astype(want.dtype)))


@remembering.remembered
@remembering.holding_the_model
def where_epsilon_decides(
    traced: Traced, scope: str, node: Node, inputs: Mapping[str, np.ndarray], double: bool
) -> np.ndarray | None:
    """What Keras makes of a thousandth of a normalisation's inputs, or of them without variance.

    None where there is no float64 of the layer.
    """
    run = running.in_float64 if double else running.call
    if _is_batch_norm(node):
        with _no_variance(running.live(traced, scope, node)):
            found = run(traced, scope, node, inputs)
    else:
        found = run(traced, scope, node, _small(node, inputs))
    return None if found is None else found[0]


@contextmanager
def _no_variance(layer: Any) -> Iterator[None]:
    """A BatchNormalization with every moving variance 0; the values come back at the end.

    The variable's own value and not the layer's attribute (`internals.patched`): the copy in float64 takes it too.
    """
    before = np.asarray(layer.moving_variance)
    try:
        layer.moving_variance.assign(np.zeros_like(before))
        yield
    finally:
        layer.moving_variance.assign(before)
