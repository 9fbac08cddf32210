"""A copy of the Keras model with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from k2t_core.errors import RAISED, K2TError, one_line
from k2t_core.graph import Graph
from k2t_core.keras_side import compiling, internals
from k2t_core.keras_side.loading import Source
from k2t_core.keras_side.randomise import random_value, settle
from k2t_core.keras_side.remembering import remembered
from k2t_core.keras_side.traced import LiveScope, Traced
from k2t_core.keras_side.tracing import trace
from k2t_core.rules.registry import is_weight
from k2t_core.transforms import Transform, apply_chain


@remembered
def randomised_copy(traced: Traced, seed: int) -> Traced:
    """The model with every variable random, in a copy that Keras makes; the original is not touched.

    Of what Keras cannot copy, or copies into something else, such as layers whose config tells less than they are, it
    is the model itself, in which random numbers stand in the place of its own while it runs (`Traced.values`).
    """
    values = {
        path: random_value(path, tuple(variable.shape), str(variable.dtype), seed)
        for path, variable in traced.variables.items()
        if is_weight(path)
    }
    try:
        copy = _named_alike(_copied(traced, values), traced)
    except K2TError:
        layers = internals.flattened(traced.source.model)
        if traced.source.original is not None or any(map(internals.keeps_numbers, layers)):
            raise
        return replace(
            traced,
            source=replace(traced.source, compiled={}),
            values={path: internals.stand_in_variable(value) for path, value in values.items()},
            variants={},
        )
    for path, value in values.items():
        copy.variables[path].assign(value)
    settle(copy.source.model)
    return copy


def _copied(traced: Traced, values: Mapping[str, np.ndarray]) -> Traced:
    """The copy that Keras makes, its graph read anew. values: of the variables of the original, by path."""
    import keras

    try:
        with internals.safe_mode(False):  # code in the model, if any, was allowed when it was loaded
            original = traced.source.model
            if internals.functional(original) is not None:
                model = keras.models.clone_model(original)
            else:
                model = type(original).from_config(original.get_config())
                zeros = [
                    np.zeros([n or 1 for n in traced.graph.tensors[t].shape], traced.graph.tensors[t].dtype)
                    for t in traced.graph.inputs
                ]
                compiling.run(
                    model, (internals.packed_inputs(traced.scope.functional, zeros),), {}
                )  # makes its variables
    except RAISED as error:  # custom classes may not rebuild from their config
        raise K2TError(
            f"{traced.source.name}: Keras cannot copy the model to randomise its weights ({one_line(error)}); "
            "verify with weights='model'"
        ) from error
    source = traced.source
    paths = {id(variable): path for path, variable in traced.variables.items()}
    original = source.original and source.original.with_values(lambda variable: values.get(paths.get(id(variable), "")))
    return trace(Source(model, source.path, source.fingerprint, source.info, original=original), traced.closed)


def _named_alike(copy: Traced, original: Traced) -> Traced:
    """The copy with the original's names of layers, tensors and variables: Keras may count them up in a copy.

    Raises K2TError where it is not a copy of the same graph.
    """

    def scope(of: LiveScope, mine: Graph, its: Graph) -> LiveScope:
        pairs = list(zip(mine.nodes, its.nodes))
        if len(mine.nodes) != len(its.nodes) or any(
            a.layer.kind != b.layer.kind or len(a.outputs) != len(b.outputs) for a, b in pairs
        ):
            raise K2TError(f"{original.source.name}: its copy has other layers; verify with weights='model'")
        nodes = {a.id: b.id for a, b in pairs}
        tensors = dict(zip(mine.inputs, its.inputs)) | {x: y for a, b in pairs for x, y in zip(a.outputs, b.outputs)}
        nested = {
            id(live): scope(of.nested[id(live)], a.layer.graph, b.layer.graph)
            for a, b in pairs
            if a.layer.graph and b.layer.graph and id(live := of.operations[a.id]) in of.nested
        }
        return replace(
            of,
            graph=its,
            outputs={key: tensors.get(label, label) for key, label in of.outputs.items()},
            node_ids={key: nodes.get(name, name) for key, name in of.node_ids.items()},
            operations={nodes.get(name, name): operation for name, operation in of.operations.items()},
            nested=nested,
        )

    variables: dict[str, Any] = {}
    for (_, _, a), (_, _, b) in zip(copy.graph.walk(), original.graph.walk()):
        variables.update(
            (its.path, copy.variables[mine.path]) for mine, its in zip(a.layer.all_variables(), b.layer.all_variables())
        )
    if set(variables) != set(original.variables) or any(
        variables[path].shape != v.shape for path, v in original.variables.items()
    ):
        raise K2TError(f"{original.source.name}: its copy has other variables; verify with weights='model'")
    return replace(
        copy,
        graph=original.graph,
        scope=scope(copy.scope, copy.graph, original.graph),
        variables=variables,
        opened=original.opened,
        cuts=original.cuts,
        variants={},
    )


def randomised_entry(source: str | None, steps: Sequence[Transform], traced: Traced, seed: int) -> np.ndarray:
    """The state_dict entry that the variable at path ``source`` gives in a `randomised_copy`.

    None: no variable feeds it.
    """
    value = None
    if source is not None:
        variable = traced.variables[source]
        value = random_value(source, tuple(variable.shape), str(variable.dtype), seed)
    return apply_chain(steps, value)
