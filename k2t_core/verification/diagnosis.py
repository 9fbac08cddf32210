"""Why a layer differs: try the known causes on that layer alone and rank them by how far the error falls."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from k2t_core.errors import K2TError
from k2t_core.recipe import Override, Recipe
from k2t_core.tracing import Traced
from k2t_core.transforms import Permute, chain_shape
from k2t_core.verification.alone import Probe, probe
from k2t_core.verification.report import Cause

# What people leave at a framework's default: values seen in Keras and in torch.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "eps": (1e-3, 1e-5, 1e-6, 1e-7, 1e-12),
    "negative_slope": (0.2, 0.3, 0.01),
    "alpha": (1.0,),
    "approximate": ("none", "tanh"),
    "count_include_pad": (True, False),
    "nonlinearity": ("tanh", "relu"),
}
PERMUTATIONS = 24  # at most, of one weight


def diagnose(traced: Traced, recipe: Recipe, layer: str, arrays: Sequence[np.ndarray], say: Callable[[float, str], None] = lambda share, text: None) -> list[Cause]:
    """Changes that bring the layer nearer to Keras, best first; empty where none of the known causes does.

    arrays: a batch of model inputs in Keras's layout. Raises K2TError where the layer cannot be looked at alone.
    """
    patient = probe(traced, layer, arrays)
    before = patient.judge(recipe)
    if before.passed:
        return []
    tried = list(candidates(patient, recipe))
    found = []
    for index, (text, changed) in enumerate(tried):
        say(index / len(tried), f"Trying: {text}")
        try:
            after = patient.judge(changed)
        except K2TError:  # an impossible change explains nothing
            continue
        if after.difference.relative < before.difference.relative / 2:
            found.append(Cause(layer, text, changed, before.difference, after.difference, after.passed))
    return sorted(found, key=lambda cause: (not cause.explains, cause.after.relative))


def candidates(patient: Probe, recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Other readings of a layer: (what is changed, the recipe with the change), each differing from ``recipe`` in one decision about the layer."""
    path = patient.node.layer.path
    own = recipe.of(path)
    for override in own:
        yield f"without your override: {override.describe()}", recipe.without(recipe.overrides.index(override))
    if any(o.kind == "snippet" for o in own):
        return
    planned = patient.plan(recipe).root.nodes[0]
    mapping = planned.mapping
    if mapping is None:
        return
    for alternative in mapping.alternatives:
        if alternative.name != planned.choice:
            yield f"{alternative.name}: {alternative.meaning}", recipe.with_override(Override(path, "alternative", alternative.name, "found by k2t's diagnosis"))
    for weight in mapping.weights:
        variable = patient.node.layer.variable(weight.source) if weight.source else None
        if variable is None or len(variable.shape) < 2:
            continue
        shape = chain_shape(weight.steps, variable.shape)
        current = next((tuple(step.axes) for step in weight.steps if isinstance(step, Permute)), tuple(range(len(shape))))
        for axes in itertools.islice(itertools.permutations(range(len(variable.shape))), PERMUTATIONS):
            if len(axes) == len(shape) and axes != current:
                override = Override(path, "permutation", {"key": weight.key, "axes": list(axes)}, "found by k2t's diagnosis")
                yield f"{weight.key} transposed by {axes}", recipe.with_override(override)
    for name, value in (mapping.module.args if mapping.module else {}).items():
        for other in ARGUMENTS.get(name, ()):
            if other != value:
                yield f"{name}={other!r} instead of {value!r}", recipe.with_override(_argument(own, path, name, other))


def _argument(own: Sequence[Override], path: str, name: str, value: Any) -> Override:
    """The layer's arguments override with one more argument in it."""
    before = next((o.value for o in own if o.kind == "arguments"), {})
    return Override(path, "arguments", {**before, name: value}, "found by k2t's diagnosis")
