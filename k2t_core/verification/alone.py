"""One layer by itself: what it computes under a recipe, on Keras's own input, without the rest of the model.

A probe runs Keras once; after that a candidate mapping is planned, written and compared in a fraction of a second. A
snippet may be part of it, so it runs in a process of its own (`emit.sandbox`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from k2t_core.difference import Difference, Rounding, layer_passes
from k2t_core.emit.conversion import weight_arrays
from k2t_core.emit.sandbox import Sandbox, expect
from k2t_core.emit.source import write_source
from k2t_core.errors import K2TError, OutputError, one_line
from k2t_core.graph import Graph, Node, Tensor
from k2t_core.keras_side import running
from k2t_core.keras_side.traced import Traced
from k2t_core.layout import Layout
from k2t_core.planning.plan import Plan
from k2t_core.planning.planner import plan
from k2t_core.recipe import Recipe
from k2t_core.transforms import is_float
from k2t_core.verification.check import Case
from k2t_core.verification.checks import LAYER_CHECKS

GUEST = expect("k2t_core.verification.layer_process:LayerProcess")


@dataclass(frozen=True, eq=False)
class Verdict:
    """A layer's outputs under one recipe: the largest difference among them, and whether all agree.

    values: what torch computed, in Keras's order of axes. shapes: how an output's shape differs, in words; mostly
    empty.
    """

    difference: Difference
    passed: bool
    values: tuple[np.ndarray, ...] = ()
    shapes: str = ""


@dataclass(frozen=True, eq=False)
class Probe:
    """A call of a layer with what Keras gave it and what Keras made of it."""

    traced: Traced  # its graph is this one call
    node: Node
    inputs: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]
    arriving: tuple[Layout, ...]  # the layouts of the inputs in the whole model
    closer: tuple[Case, ...] = ()  # where what ordinary numbers hide is seen: `LayerCheck.cases`

    def plan(self, recipe: Recipe) -> Plan:
        """The layer's own plan. Raises OverrideError for an override that is impossible."""
        return plan(self.traced, Recipe(tuple(recipe.of(self.node.layer.path))), arriving=self.arriving)

    def sandbox(self) -> Sandbox:
        """A process for several recipes in turn. Whoever judges code of a user's own takes one for each."""
        return Sandbox(f"layer {self.node.layer.path!r}", GUEST)

    def judge(self, recipe: Recipe, sandbox: Sandbox | None = None) -> Verdict:
        """What the layer computes under ``recipe``. Raises K2TError where it cannot be converted so or does not run.

        sandbox: where it runs; None: in one of its own.
        """
        planned, verdicts = self.plan(recipe), []
        cases = (Case(self.inputs, self.expected), *self.closer)
        found = self._run(planned, cases, sandbox)
        for case, (got, exact) in zip(cases, found):
            for index, (want, have) in enumerate(zip(case.expected, got)):
                difference = Difference.of(want, have)
                rounding = None
                if exact is not None and is_float(want.dtype) and want.shape == have.shape:
                    rounding = Rounding.of(want, have, exact[index])
                verdicts.append(Verdict(difference, layer_passes(difference, rounding, want.dtype)))
        values = tuple(found[0][0])  # of Keras's own input, which comes first
        odd = ((want.shape, have.shape) for want, have in zip(self.expected, values) if want.shape != have.shape)
        shapes = next((f"it gives {have}, Keras {want}" for want, have in odd), "")
        largest = max((v.difference for v in verdicts), key=lambda d: d.relative)
        return Verdict(largest, all(v.passed for v in verdicts), values, shapes)

    def outputs(self, recipe: Recipe, sandbox: Sandbox | None = None) -> list[np.ndarray]:
        """The layer's outputs under ``recipe``, in Keras's layout. Raises K2TError as `judge` does."""
        ((got, _),) = self._run(self.plan(recipe), (Case(self.inputs, self.expected),), sandbox)
        return got

    def _run(
        self, planned: Plan, cases: Sequence[Case], sandbox: Sandbox | None
    ) -> list[tuple[list[np.ndarray], list[np.ndarray] | None]]:
        """The outputs in each case, and in float64, None where code that insists on a dtype does not run so."""
        layer = f"layer {self.node.layer.path!r}"
        given = [
            (
                [layout.to_torch(array) for layout, array in zip(planned.root.input_layouts, case.inputs)],
                self._changed(planned, case),
            )
            for case in cases
        ]
        text, state = write_source(planned).text, weight_arrays(planned)
        with nullcontext(sandbox) if sandbox is not None else self.sandbox() as runner:
            found = runner.call("run", text, planned.root.class_name, state, given)
        if (
            not isinstance(found, list)
            or len(found) != len(cases)
            or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in found)
        ):
            raise OutputError(f"{layer}: the process that runs it gives what is no answer to k2t")
        return [
            (
                self._in_keras_order(planned, got, case),
                None if exact is None else self._in_keras_order(planned, exact, case),
            )
            for case, (got, exact) in zip(cases, found)
        ]

    def _changed(self, planned: Plan, case: Case) -> dict[str, np.ndarray]:
        """The entries of the state_dict that are others in this case."""
        if not case.zeroed:
            return {}
        keys = {weight.key for weight in planned.weights if weight.source in case.zeroed}
        arrays = weight_arrays(planned, lambda path: self.traced.value(path) * (path not in case.zeroed))
        return {key: array for key, array in arrays.items() if key in keys}

    def _in_keras_order(self, planned: Plan, outputs: Any, case: Case) -> list[np.ndarray]:
        """Raises K2TError where the outputs are other tensors than Keras's, or none."""
        layer = self.node.layer.path
        if not isinstance(outputs, list):
            raise OutputError(f"layer {layer!r}: the process that runs it gives what is no answer to k2t")
        for want, y in zip(case.expected, outputs):
            if not isinstance(y, np.ndarray) or y.ndim != want.ndim:
                what = f"a tensor of shape {y.shape}" if isinstance(y, np.ndarray) else f"a {one_line(y)}"
                raise K2TError(f"layer {layer!r}: gives {what}, where Keras gives {want.shape}")
        if len(outputs) != len(case.expected):
            raise K2TError(f"layer {layer!r}: gives {len(outputs)} tensors, where Keras gives {len(case.expected)}")
        return [layout.to_keras(y) for layout, y in zip(planned.root.output_layouts, outputs)]


def probe(traced: Traced, layer: str, arrays: Sequence[np.ndarray], whole: Plan | None = None) -> Probe:
    """The first call of the layer at path ``layer``, on what reaches it from the model inputs ``arrays`` in Keras.

    whole: the plan of the model, where there is one already.

    Raises K2TError where the model has no such layer, or it is a nested model as a whole.
    """
    calls = (found for found in traced.graph.walk() if found[2].layer.path == layer and found[2].layer.graph is None)
    scope, graph, node = next(calls, (None, None, None))
    if scope is None or graph is None or node is None:
        raise K2TError(f"layer {layer!r}: not a layer of this model that can be looked at alone")
    given = tuple(dict.fromkeys(node.inputs))
    needed = {"".join(running.source(traced.graph, scope, t)) for t in given}
    record = running.tensors(traced, arrays, needed | {scope + t for t in node.outputs})
    if any(scope + t not in record for t in node.outputs):
        raise K2TError(f"layer {layer!r}: a weight by itself, which computes nothing: look at the layers that use it")
    inputs = running.arguments(traced, scope, node, arrays, record)
    # The batch size of a call by itself is free, whatever the graph says.
    tensors = {t: Tensor(t, graph.tensors[t].shape, graph.tensors[t].dtype) for t in (*given, *node.outputs)}
    alone = Graph(node.layer.name, given, node.outputs, (node,), tensors, given, node.outputs)
    planned = next(p for _, _, _, p in (whole or plan(traced)).root.walk() if p.node is node)
    layouts = dict(zip(node.inputs, planned.inputs))
    return Probe(
        replace(traced, graph=alone),
        node,
        tuple(inputs.values()),
        tuple(record[scope + t] for t in node.outputs),
        tuple(layouts[t] for t in given),
        tuple(case for check in LAYER_CHECKS for case in check.cases(traced, scope, node, inputs)),
    )
