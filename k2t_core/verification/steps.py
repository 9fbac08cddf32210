"""At which time step a layer that runs over time begins to differ from Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from k2t_core.difference import LAYER_ROUNDINGS, apart, roundings
from k2t_core.graph import Node
from k2t_core.keras_side import running
from k2t_core.keras_side.traced import Traced
from k2t_core.rules import registry
from k2t_core.verification.report import TimeStep
from k2t_core.verification.torch_side import TorchSide

# Up to so many steps, every shorter sequence is run; of more, those that halving the sequence leads to.
EACH_STEP = 32


def diverging_steps(
    written: TorchSide, traced: Traced, arrays: Sequence[np.ndarray], tensor: str
) -> tuple[TimeStep, ...]:
    """The first step from which the layer that gives ``tensor`` differs, on Keras's own input.

    Empty where it does not run over time.
    Of an output with an axis of time each step is compared; of the last output alone, what shorter sequences lead to.
    Raises OutputError where the module does not run on a shorter sequence.
    """
    outputs = (
        (scope, node, index)
        for scope, _, node in traced.graph.walk()
        for index, t in enumerate(node.outputs)
        if scope + t == tensor
    )
    found = next(outputs, None)
    if found is None or not registry.known(found[1].layer.kind).over_time:
        return ()
    scope, node, index = found
    needed = {"".join(running.source(traced.graph, scope, t)) for t in node.inputs} | {tensor}
    record = running.tensors(traced, arrays, needed)
    given = running.arguments(traced, scope, node, arrays, record)
    layer = node.layer.children.get("forward_layer", node.layer)
    count, backwards = given[node.inputs[0]].shape[1], bool(layer.config.get("go_backwards"))
    limit = roundings(record[tensor].dtype, LAYER_ROUNDINGS, float(np.abs(record[tensor]).max(initial=0.0)))

    def differs(want: np.ndarray, got: np.ndarray) -> bool:
        return want.shape != got.shape or not apart(want, got).max(initial=0.0) <= limit

    def shorter(steps: int) -> bool:
        cut = {t: _cut(node, t, value, steps, backwards) for t, value in given.items()}
        return differs(running.call(traced, scope, node, cut)[index], written.alone(traced, arrays, scope, cut, tensor))

    if index > 0 or not layer.config.get("return_sequences", True):
        every = (k for k in range(1, count + 1) if shorter(k))
        first = next(every, None) if count <= EACH_STEP else _halving(shorter, count)
        return () if first is None else (TimeStep(first, count, backwards),)
    want, got = record[tensor], written.alone(traced, arrays, scope, given, tensor)
    if want.shape != got.shape:
        return ()
    if node.layer.config.get("merge_mode") == "concat":
        half = want.shape[-1] // 2
        parts = [
            ("forward", want[..., :half], got[..., :half]),
            ("backward", want[..., half:][:, ::-1], got[..., half:][:, ::-1]),
        ]
    else:
        parts = [("", want, got)]
    steps = []
    for part, a, b in parts:
        first = next((k for k in range(count) if differs(a[:, k], b[:, k])), None)
        if first is not None:
            steps.append(TimeStep(first + 1, count, backwards or part == "backward", part))
    return tuple(steps)


def _halving(shorter: Callable[[int], bool], count: int) -> int | None:
    """The shortest sequence that differs, where those longer than one that differs do too."""
    if not shorter(count):
        return None
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shorter(middle) else (middle, high)
    return high


def _cut(node: Node, tensor: str, value: np.ndarray, steps: int, backwards: bool) -> np.ndarray:
    """The first steps that a layer runs over, of its input and its mask; an initial state stays."""
    mask = node.arguments.get("mask")
    if tensor != node.inputs[0] and tensor != getattr(mask, "tensor", None):
        return value
    return value[:, value.shape[1] - steps :] if backwards else value[:, :steps]
