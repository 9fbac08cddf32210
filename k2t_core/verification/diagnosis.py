"""Why a layer differs: try the known causes on that layer alone and rank them by how far the error falls."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from k2t_core.difference import LAYER_TOLERANCE, Difference
from k2t_core.errors import K2TError
from k2t_core.graph import Layer
from k2t_core.keras_side.traced import Traced
from k2t_core.progress import Progress, silent
from k2t_core.recipe import Override, Recipe
from k2t_core.rules import registry
from k2t_core.rules.registry import Mapping
from k2t_core.rules.slots import keywords
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


def diagnose(
    traced: Traced,
    recipe: Recipe,
    layer: str,
    arrays: Sequence[np.ndarray],
    say: Progress = silent,
    actual: Callable[[Probe], np.ndarray] | None = None,
) -> list[Cause]:
    """Changes that bring the layer nearer to Keras, best first; empty where none of the known causes does.

    arrays: a batch of model inputs in Keras's layout. actual: what the written module gives as the layer's first output
    on Keras's own input; where the layer as k2t writes it is right, the files were changed since, and the known cause
    that gives the same is what was changed. Raises K2TError where the layer cannot be looked at alone.
    """
    patient = probe(traced, layer, arrays)
    before = patient.judge(recipe)
    if before.passed:
        return _by_hand(patient, recipe, before.difference, actual(patient), say) if actual is not None else []
    found = []
    with patient.sandbox() as sandbox:
        for text, changed in _trying(patient, recipe, say):
            try:
                after = patient.judge(changed, sandbox)
            except K2TError:  # an impossible change explains nothing
                continue
            if after.difference.relative < before.difference.relative / 2:
                found.append(Cause(layer, text, changed, before.difference, after.difference, after.passed))
    return sorted(found, key=lambda cause: (not cause.explains, cause.after.relative))


def _by_hand(patient: Probe, recipe: Recipe, right: Difference, actual: np.ndarray, say: Progress) -> list[Cause]:
    """The changes under which the layer gives what the changed files give; the cure is to convert once more."""
    wrong = Difference.of(patient.expected[0], actual)
    if wrong.relative <= LAYER_TOLERANCE:
        return []
    found = []
    with patient.sandbox() as sandbox:
        for text, changed in _trying(patient, recipe, say):
            try:
                near = Difference.of(actual, patient.outputs(changed, sandbox)[0])
            except K2TError:
                continue
            if near.relative <= min(LAYER_TOLERANCE, wrong.relative / 10):
                words = f"convert again: the files were changed by hand since, and give what this would: {text}"
                cause = Cause(patient.node.layer.path, words, recipe, wrong, right, True)
                found.append((near.relative, cause))
    return [cause for _, cause in sorted(found, key=lambda pair: pair[0])]


def _trying(patient: Probe, recipe: Recipe, say: Progress) -> Iterator[tuple[str, Recipe]]:
    """The `candidates`, each told before it is tried."""
    tried = list(candidates(patient, recipe))
    for index, (text, changed) in enumerate(tried):
        say(index / len(tried), f"Trying: {text}")
        yield text, changed


def candidates(patient: Probe, recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Other readings of a layer: (what is changed, the recipe with the change).

    Each differs from ``recipe`` in one decision about the layer.
    """
    path = patient.node.layer.path
    own = recipe.of(path)
    for override in own:
        yield f"without your override: {override.describe()}", recipe.without(recipe.overrides.index(override))
    if any(o.kind == "snippet" for o in own):
        return
    planned = patient.plan(recipe).root.nodes[0]
    if planned.mapping is None:
        return
    rank = max((len(t.shape) for t in patient.traced.graph.tensors.values()), default=0)
    reading = _Reading(patient.node.layer, planned.mapping, planned.choice, rank)
    arguments: dict[str, Any] = next((o.value for o in own if o.kind == "arguments"), {})
    for cause in CAUSES:
        for text, kind, value in cause(reading):
            changed = {**arguments, **value} if kind == "arguments" else value
            yield text, recipe.with_override(Override(path, kind, changed, "found by k2t's diagnosis"))


@dataclass(frozen=True)
class _Reading:
    """How a layer is read: its mapping, and which of the alternatives that is."""

    layer: Layer
    mapping: Mapping
    choice: str | None
    rank: int  # the most axes of a tensor that it takes or gives


_Changes = Iterator[tuple[str, str, Any]]  # (in words, kind of the override, its value)


def _alternatives(reading: _Reading) -> _Changes:
    for alternative in reading.mapping.alternatives:
        if alternative.name != reading.choice:
            yield f"{alternative.name}: {alternative.meaning}", "alternative", alternative.name


def _permutations(reading: _Reading) -> _Changes:
    for weight in reading.mapping.weights:
        variable = reading.layer.variable(weight.source) if weight.source else None
        if variable is None or len(variable.shape) < 2:
            continue
        shape = chain_shape(weight.steps, variable.shape)
        permutes = (tuple(step.axes) for step in weight.steps if isinstance(step, Permute))
        current = next(permutes, tuple(range(len(shape))))
        for axes in itertools.islice(itertools.permutations(range(len(variable.shape))), PERMUTATIONS):
            if len(axes) == len(shape) and axes != current:
                value = {"key": weight.key, "axes": list(axes)}
                yield f"{weight.key} transposed by {axes}", "permutation", value


def _swapped_weights(reading: _Reading) -> _Changes:
    sources = [(w, reading.layer.variable(w.source)) for w in reading.mapping.weights if w.source]
    for (a, one), (b, other) in itertools.combinations(sources, 2):
        if one is None or other is None or one is other:
            continue
        if one.shape == other.shape and a.steps == b.steps:
            text = f"{a.key} from {other.name} and {b.key} from {one.name}, swapped"
            yield text, "weights", {a.key: other.name, b.key: one.name}


def _gate_orders(reading: _Reading) -> _Changes:
    gates = registry.gates_of(reading.layer)
    count = len(gates.keras) if gates is not None else 0
    for order in itertools.permutations(range(count)):
        if order != tuple(range(count)):
            yield f"gates in the order {order}", "gates", list(order)


def _module_arguments(reading: _Reading) -> _Changes:
    for name, value in (reading.mapping.module.args if reading.mapping.module else {}).items():
        for option in ARGUMENTS.get(name, ()):
            if option != value:
                yield f"{name}={option!r} instead of {value!r}", "arguments", {name: option}


def _keywords(reading: _Reading) -> _Changes:
    """Of the functions that forward() calls."""
    mapping, rank = reading.mapping, reading.rank
    for text in [mapping.forward] if isinstance(mapping.forward, str) else mapping.forward:
        for name, values in keywords(text).items():
            taken = {v % rank for v in values if isinstance(v, int)} if name == "dim" and rank else set()
            for option in range(rank) if name == "dim" else ARGUMENTS.get(name, ()):
                if option not in values and option not in taken:
                    words = f"{name}={option!r} instead of {', '.join(map(repr, values))}"
                    yield words, "arguments", {name: option}


# The known causes, in the order in which they are tried.
CAUSES: tuple[Callable[[_Reading], _Changes], ...] = (
    _alternatives,
    _permutations,
    _swapped_weights,
    _gate_orders,
    _module_arguments,
    _keywords,
)
