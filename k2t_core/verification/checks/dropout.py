"""Dropout and noise in training mode, on ones: both sides draw otherwise, so what is compared is the law.

How much is set to 0 (or, of noise, mean and deviation), within what chance allows of the number of draws; what is left
of a 1; and whether draws are shared along the same axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from k2t_core.difference import Difference
from k2t_core.errors import OutputError
from k2t_core.graph import Node
from k2t_core.keras_side import memory, running
from k2t_core.rules import registry
from k2t_core.verification.check import Trial
from k2t_core.verification.report import TrainingResult

DRAWS, MOST_ROWS = 4000, 512  # numbers that a dropout layer should draw, with no more samples than that
DROPOUT_BYTES = 1 << 28  # nor with more than that in the layers


def dropouts(trial: Trial) -> list[TrainingResult]:
    """Of each layer that draws: "share set to 0 in training", "mean of the noise in training" and so on."""
    traced = trial.traced
    nodes = {
        scope + node.outputs[0]: (scope, node)
        for scope, _, node in traced.graph.walk()
        if registry.known(node.layer.kind).draws and node.layer.config.get("rate", node.layer.config.get("stddev", 1))
    }
    if not nodes:
        return []
    found = _of_ones(trial, nodes)
    shapes = {scope + node.outputs[0]: g.tensors[node.outputs[0]].shape for scope, g, node in traced.graph.walk()}
    results = []
    for tensor, (scope, node) in nodes.items():
        if tensor in found:
            got, want = found[tensor].shape, shapes[tensor]
            if len(got) != len(want) or any(n not in (None, m) for n, m in zip(want[1:], got[1:])):
                raise OutputError(
                    f"{trial.written.folder / 'model.py'}: in training mode layer {node.layer.path!r} gives {got}, "
                    f"in Keras {want}"
                )
            ones = np.ones(found[tensor].shape, found[tensor].dtype)
            live = running.live(traced, scope, node)
            # A copy: the layer's own draws go on from where they are, whatever the seed.
            drawing = type(live).from_config({**live.get_config(), "seed": trial.seed})
            drawn = np.asarray(drawing(ones, training=True))
            results += _same_law(node, drawn, found[tensor])
    return results


def _of_ones(trial: Trial, nodes: dict[str, tuple[str, Node]]) -> dict[str, np.ndarray]:
    """What the module makes of ones in training mode, by tensor, on as many samples as chance needs.

    nodes: tensor → (scope, call) of the layers that are given ones.
    """
    written, graph, arrays = trial.written, trial.traced.graph, trial.arrays
    per_sample = min(
        _draws(node, within.tensors[node.outputs[0]].shape)
        for _, within, node in graph.walk()
        if registry.known(node.layer.kind).draws
    )
    fit = DROPOUT_BYTES // max(memory.total(graph, 1), 1)
    rows = max(min(MOST_ROWS, -(-DRAWS // per_sample), fit), len(arrays[0]), 2)
    many = [np.resize(a, (rows if len(a) == len(arrays[0]) else len(a), *a.shape[1:])) for a in arrays]
    wanted = {"".join(running.source(graph, scope, node.inputs[0])) for scope, node in nodes.values()}
    return written.in_training(many, wanted, [name in wanted for name in graph.inputs], set(nodes), trial.seed)


def _draws(node: Node, shape: Sequence[int | None]) -> int:
    """How many numbers a dropout or noise layer draws for a sample; a free dimension counts as 1."""
    sizes = [n or 1 for n in shape]
    if registry.known(node.layer.kind).draws == "channels":
        return sizes[-1]
    noise = node.layer.config.get("noise_shape") or [None] * len(sizes)
    return math.prod(own if drawn is None else drawn for own, drawn in zip(sizes[1:], noise[1:]))


def _same_law(node: Node, want: np.ndarray, got: np.ndarray) -> list[TrainingResult]:
    """Two samples of what becomes of ones, compared."""
    path = node.layer.path
    draws = want.shape[0] * _draws(node, want.shape)

    def result(what: str, a: float, b: float, allowed: float) -> TrainingResult:
        difference = Difference(abs(a - b), abs(a - b), abs(a - b) / max(abs(a), 1e-12), abs(a))
        return TrainingResult(f"{what} in training", path, path, difference, abs(a - b) <= allowed)

    def spread(x: np.ndarray) -> float:
        """How much of what is drawn for the channels of a sample differs along its other axes."""
        first = tuple(slice(None) if axis in (0, x.ndim - 1) else slice(1) for axis in range(x.ndim))
        return float(np.mean(x != x[first]))

    if registry.known(node.layer.kind).draws == "noise":
        deviation = max(float(want.std()), 1e-12)
        chance = 6 * math.sqrt(2 / draws)
        return [
            result("mean of the noise", float(want.mean()), float(got.mean()), chance * deviation),
            result("deviation of the noise", deviation, float(got.std()), chance * deviation),
        ]
    share = float((want == 0).mean())
    chance = 6 * math.sqrt(2 * max(share * (1 - share), 1 / draws) / draws)
    found = [result("share set to 0", share, float((got == 0).mean()), chance)]
    if (want != 0).any() and (got != 0).any():
        found.append(result("what is left of a 1", float(want[want != 0].mean()), float(got[got != 0].mean()), 1e-5))
    if want.ndim > 2:
        chance = 6 * math.sqrt(2 * 0.25 / draws) if spread(want) else 0.0
        found.append(result("draws that differ along the inner axes", spread(want), spread(got), chance))
    return found
