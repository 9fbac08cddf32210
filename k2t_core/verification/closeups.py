"""Comparisons of single layers that show what ordinary numbers hide.

An activation that flattens (softmax, sigmoid, tanh) hides an error before it; the epsilon of a normalisation hides behind the
spread of its input.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from k2t_core.difference import Difference
from k2t_core.emit.manifest import Variable
from k2t_core.graph import Node
from k2t_core.keras_side import remembering, running
from k2t_core.keras_side.tracing import Traced
from k2t_core.tensors import to_array, torch_to_itself
from k2t_core.verification.report import LayerResult

# A normalisation is compared on its input times this as well: its epsilon, which ordinary numbers hide, is most of the result.
SMALL = 1e-3
EPSILON_TOLERANCE = 1e-4
NORMALISATIONS = ("LayerNormalization", "GroupNormalization", "RMSNormalization", "BatchNormalization")

Values = Callable[[str, Node], Mapping[str, np.ndarray]]  # Keras's inputs to a call


def of_normalisations(
    traced: Traced,
    places: Mapping[tuple[str, Node], str],
    module: Any,
    exact: Any | None,
    given: Mapping[str, Any],
    values: Values,
) -> Iterator[tuple[str, LayerResult]]:
    """(tensor, result) of each normalisation where its epsilon decides: on a thousandth of its input, a batch normalisation with variances of 0.

    places: (scope, call) → path of its torch module in ``module`` and in ``exact``, the same in float64; given: tensor → what
    the module was called on for it. A module whose input is not Keras's, apart from layout, is not compared (a hand-edited file).
    """
    modules, doubles = dict(module.named_modules()), dict(exact.named_modules()) if exact is not None else {}
    for (scope, node), path in places.items():
        x, tensor = values(scope, node)[node.inputs[0]], scope + node.outputs[0]
        batch_norm = node.layer.kind == "BatchNormalization"
        if (
            tensor not in given
            or x.dtype != np.float32
            or x.size != given[tensor].numel()
            or batch_norm
            and not hasattr(modules[path], "running_var")
        ):
            continue
        difference = _close(traced, scope, node, values, modules[path], given[tensor])
        if difference.relative > EPSILON_TOLERANCE and path in doubles:
            # Where the input has no spread at all, a result is nothing but Keras's rounding: float64 tells.
            difference = min(
                difference,
                _close(traced, scope, node, values, doubles[path], given[tensor].double(), double=True),
                key=lambda d: d.relative,
            )
        name = "without variance" if batch_norm else "of a thousandth"
        yield (
            tensor,
            LayerResult(
                f"{tensor} {name}", node.layer.path, None, difference, difference.relative <= EPSILON_TOLERANCE
            ),
        )


@torch_to_itself
def _close(
    traced: Traced, scope: str, node: Node, values: Values, module: Any, given: Any, double: bool = False
) -> Difference:
    import torch

    want = expected(traced, scope, node, values(scope, node), double)
    with torch.no_grad():
        if node.layer.kind == "BatchNormalization":
            module = copy.deepcopy(module)
            module.running_var.zero_()
            got = module(given)
        else:
            got = module(given * SMALL)
    if want is None:
        return Difference(float("inf"), float("inf"), float("inf"), 0.0)
    # The module's own layout need not be the tensor's: in order of size the same values meet all the same.
    return Difference.of(np.sort(want.ravel()), np.sort(to_array(got).ravel().astype(want.dtype)))


@remembering.remembered
@remembering.holding_the_model
def expected(
    traced: Traced, scope: str, node: Node, inputs: Mapping[str, np.ndarray], double: bool
) -> np.ndarray | None:
    """What Keras makes of a thousandth of a normalisation's inputs, or of them without variance; None where there is no float64."""
    run = running.in_float64 if double else running.call
    if node.layer.kind == "BatchNormalization":
        with _no_variance(running.live(traced, scope, node)):
            found = run(traced, scope, node, inputs)
    else:
        first = node.inputs[0]
        found = run(traced, scope, node, {**inputs, first: inputs[first] * np.float32(SMALL)})
    return None if found is None else found[0]


@contextmanager
def _no_variance(layer: Any) -> Iterator[None]:
    """A BatchNormalization with every moving variance 0; the values come back at the end."""
    before = np.asarray(layer.moving_variance)
    try:
        layer.moving_variance.assign(np.zeros_like(before))
        yield
    finally:
        layer.moving_variance.assign(before)


def normalisations(traced: Traced, variables: Mapping[str, Variable], wanted: set[str]) -> dict[tuple[str, Node], str]:
    """(scope, call) → path of its torch module, of the normalisations whose output is in ``wanted``. variables: the manifest's."""
    places = {variable.layer: key.rpartition(".")[0] for key, variable in variables.items()}
    return {
        (scope, node): places[node.layer.path]
        for scope, _, node in traced.graph.walk()
        if node.layer.kind in NORMALISATIONS and node.layer.path in places and scope + node.outputs[0] in wanted
    }
