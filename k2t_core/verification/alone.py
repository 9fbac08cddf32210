"""One layer by itself: what it computes under a recipe, on Keras's own input, without the rest of the model.

A probe runs Keras once; after that a candidate mapping is planned, written and compared in a few hundredths of a
second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from k2t_core.difference import Difference, Rounding, layer_passes
from k2t_core.emit.conversion import weight_arrays
from k2t_core.emit.module import compile_module
from k2t_core.emit.source import write_source
from k2t_core.errors import RAISED, K2TError, named
from k2t_core.graph import Graph, Node, Tensor
from k2t_core.keras_side import running
from k2t_core.keras_side.traced import Traced
from k2t_core.layout import Layout
from k2t_core.planning.plan import Plan
from k2t_core.planning.planner import plan
from k2t_core.recipe import Recipe
from k2t_core.tensors import default_dtype, to_array, to_tensor
from k2t_core.transforms import is_float
from k2t_core.verification.check import Case
from k2t_core.verification.checks import LAYER_CHECKS

if TYPE_CHECKING:
    import torch


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

    def judge(self, recipe: Recipe) -> Verdict:
        """What the layer computes under ``recipe``. Raises K2TError where it cannot be converted so or does not run."""
        planned = self.plan(recipe)
        source = write_source(planned).text
        verdicts: list[Verdict] = []
        values: tuple[np.ndarray, ...] = ()
        for case in (Case(self.inputs, self.expected), *self.closer):
            got, exact = self._run(planned, source, case), self._run_in_float64(planned, source, case)
            values = values or tuple(got)  # of Keras's own input, which comes first
            for index, (want, have) in enumerate(zip(case.expected, got)):
                difference = Difference.of(want, have)
                rounding = None
                if exact is not None and is_float(want.dtype) and want.shape == have.shape:
                    rounding = Rounding.of(want, have, exact[index])
                verdicts.append(Verdict(difference, layer_passes(difference, rounding, want.dtype)))
        odd = ((want.shape, have.shape) for want, have in zip(self.expected, values) if want.shape != have.shape)
        shapes = next((f"it gives {have}, Keras {want}" for want, have in odd), "")
        largest = max((v.difference for v in verdicts), key=lambda d: d.relative)
        return Verdict(largest, all(v.passed for v in verdicts), values, shapes)

    def outputs(self, recipe: Recipe) -> list[np.ndarray]:
        """The layer's outputs under ``recipe``, in Keras's layout. Raises K2TError as `judge` does."""
        planned = self.plan(recipe)
        return self._run(planned, write_source(planned).text, Case(self.inputs, self.expected))

    def _run_in_float64(self, planned: Plan, source: str, case: Case) -> list[np.ndarray] | None:
        """None where code that insists on a dtype does not run in float64."""
        state, tensors = self._given(planned, case)
        try:
            outputs = _called(planned, source, state, tensors, double=True)
        except RAISED:
            return None
        return self._in_keras_order(planned, outputs, case)

    def _run(self, planned: Plan, source: str, case: Case) -> list[np.ndarray]:
        state, tensors = self._given(planned, case)
        try:
            outputs = _called(planned, source, state, tensors)
        except RAISED as error:  # an override can be anything
            raise K2TError(f"layer {self.node.layer.path!r}: {named(error)}") from error
        return self._in_keras_order(planned, outputs, case)

    def _given(self, planned: Plan, case: Case) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        """The state_dict of the layer's own module, and what it is called on."""

        def value(path: str) -> np.ndarray:
            return self.traced.value(path) * (path not in case.zeroed)

        state = {key: to_tensor(array) for key, array in weight_arrays(planned, value).items()}
        layouts = planned.root.input_layouts
        return state, [to_tensor(layout.to_torch(a), copy=True) for layout, a in zip(layouts, case.inputs)]

    def _in_keras_order(self, planned: Plan, outputs: Any, case: Case) -> list[np.ndarray]:
        """Raises K2TError where the outputs are other tensors than Keras's, or none."""
        import torch

        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        layer = self.node.layer.path
        for want, y in zip(case.expected, outputs):
            if not isinstance(y, torch.Tensor) or y.dim() != want.ndim:
                what = f"a tensor of shape {tuple(y.shape)}" if isinstance(y, torch.Tensor) else f"a {type(y).__name__}"
                raise K2TError(f"layer {layer!r}: gives {what}, where Keras gives {want.shape}")
        if len(outputs) != len(case.expected):
            raise K2TError(f"layer {layer!r}: gives {len(outputs)} tensors, where Keras gives {len(case.expected)}")
        return [layout.to_keras(to_array(y)) for layout, y in zip(planned.root.output_layouts, outputs)]


def _called(
    planned: Plan, source: str, state: dict[str, torch.Tensor], tensors: list[torch.Tensor], double: bool = False
) -> Any:
    """What the layer's own module returns, in float64 where that is asked for; raises whatever its code does."""
    import torch

    def wide(x: torch.Tensor) -> torch.Tensor:
        return x.double() if double and x.is_floating_point() else x

    with default_dtype(torch.float64 if double else None), torch.no_grad():
        model = compile_module(source, double)[planned.root.class_name]().eval()
        model.load_state_dict({key: wide(v) for key, v in state.items()})
        return model(*map(wide, tensors))


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
