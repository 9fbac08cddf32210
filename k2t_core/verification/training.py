"""Whether the converted model can be trained on: gradients agree, and BatchNorm's statistics move alike.

Gradients are those of sum(outputs · r) with the same random r on both sides, in inference mode, so that dropout draws
nothing. The gradient of a weight goes through the weight's own transform: all of those that are compared re-order
elements and nothing else, so that a gradient travels as the weight does.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from k2t_core.difference import Difference
from k2t_core.errors import OutputError
from k2t_core.graph import Node
from k2t_core.keras_side import memory, running
from k2t_core.keras_side.tracing import Traced
from k2t_core.tensors import to_array, to_tensor, torch_to_itself
from k2t_core.transforms import apply_chain
from k2t_core.verification.report import TrainingResult
from k2t_core.verification.torch_side import TorchSide, arriving

# Max|torch − keras| / max|keras| of a gradient: it passes each layer twice, and sums over the batch in another order.
GRADIENT_TOLERANCE = 1e-3
DROPPING = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
)
DRAWS, MOST_ROWS = 4000, 512  # numbers that a dropout layer should draw, with no more samples than that
DROPOUT_BYTES = 1 << 28  # nor with more than that in the layers
REORDERING = {"permute", "reshape", "reorder gates", "reorder flatten", "take"}


@torch_to_itself
def training_results(
    written: TorchSide, traced: Traced, arrays: Sequence[np.ndarray], seed: int
) -> list[TrainingResult]:
    """Gradients by inputs and weights, the moving averages of every BatchNormalization after a step in training mode, and what
    dropout and noise do there to ones.
    """
    return (
        _gradients(written, traced, arrays, seed)
        + _moving_averages(written, traced, arrays)
        + _dropouts(written, traced, arrays, seed)
    )


def _gradients(written: TorchSide, traced: Traced, arrays: Sequence[np.ndarray], seed: int) -> list[TrainingResult]:
    import torch

    rng = np.random.default_rng([seed, 2])
    manifest = written.manifest
    outputs = running.predict(traced, arrays)
    chosen = [k for k, y in enumerate(outputs) if y.dtype.kind == "f"]
    factors = {k: rng.standard_normal(outputs[k].shape).astype(outputs[k].dtype) for k in chosen}
    if not chosen:
        return []
    by_input, by_variable = running.gradients(traced, arrays, factors)
    inputs = written.inputs(arrays)
    for x in inputs:
        if x.is_floating_point():
            x.requires_grad_(True)
    module = written.module
    module.zero_grad()
    got = written.guard(lambda: module(*(x.clone() for x in inputs)))
    factors = {k: to_tensor(manifest.outputs[k].to_torch(f)) for k, f in factors.items()}
    if any(got[k].shape != f.shape for k, f in factors.items()):
        return []  # which the comparison of the outputs has told
    total = sum((got[k] * f).sum() for k, f in factors.items())
    if not total.requires_grad:
        return []
    try:
        written.guard(total.backward, "backward()")
    except OutputError as error:
        return [TrainingResult("gradients", str(error), None, Difference(*[float("inf")] * 3, 0.0), False)]
    results = []
    for side, x, want in zip(manifest.inputs, inputs, by_input):
        if want is not None and x.grad is not None:
            have = to_array(x.grad)
            results.append(
                _judge(
                    "gradient by input",
                    side.name,
                    None,
                    want,
                    side.to_keras(have),
                )
            )
    parameters = dict(module.named_parameters())
    fed: dict[str, list[str]] = {}
    for key, variable in manifest.variables.items():
        if variable.source:
            fed.setdefault(variable.source, []).append(key)
    for key, variable in manifest.variables.items():
        want = by_variable.get(variable.source) if variable.source else None
        kinds = {step.name for step in variable.steps}
        several = variable.source and len(fed[variable.source]) > 1 and "take" not in kinds
        if want is None or key not in parameters or kinds - REORDERING or several:
            continue
        gradient = parameters[key].grad
        have = to_array(gradient) if gradient is not None else np.zeros(tuple(parameters[key].shape), want.dtype)
        results.append(
            _judge(
                "gradient by weight",
                key,
                variable.layer,
                apply_chain(variable.steps, want),
                have,
            )
        )
    module.zero_grad()
    with torch.no_grad():
        for x in inputs:
            x.grad = None
    return results


def _judge(what: str, name: str, layer: str | None, want: np.ndarray, have: np.ndarray) -> TrainingResult:
    difference = Difference.of(want, have)
    # A gradient that vanishes on one side and is rounding on the other says nothing.
    passed = difference.relative <= GRADIENT_TOLERANCE or difference.max_abs <= 1e-6
    return TrainingResult(what, name, layer, difference, bool(passed))


def _moving_averages(written: TorchSide, traced: Traced, arrays: Sequence[np.ndarray]) -> list[TrainingResult]:
    """One step in training mode of every unmasked BatchNormalization, on Keras's own input to it."""
    import torch

    layers = {
        scope + node.id: (scope, node)
        for scope, _, node in traced.graph.walk()
        if node.layer.kind == "BatchNormalization" and "mask" not in node.arguments
    }
    modules = dict(written.module.named_modules())
    places = {
        variable.layer: key.removesuffix(".running_mean")
        for key, variable in written.manifest.variables.items()
        if key.endswith(".running_mean")
    }
    with torch.no_grad(), arriving(written.module, set(places.values())) as seen:
        written.guard(lambda: written.module(*written.inputs(arrays)))
    results, done = [], set()
    for _, node in layers.values():
        path = places.get(node.layer.path)
        if path not in seen or node.layer.path in done:
            continue
        done.add(node.layer.path)
        module = copy.deepcopy(modules[path])
        means, variances = to_array(module.running_mean).copy(), to_array(module.running_var).copy()
        mean, variance, count = _statistics(seen[path])
        with torch.no_grad():
            module.train()(seen[path])
        # keras/src/layers/normalization/batch_normalization.py: moving = moving · momentum + batch · (1 − momentum)
        learns = node.layer.config.get("trainable", True)
        momentum = float(node.layer.config["momentum"]) if learns else 1.0
        where = (node.layer.path, node.layer.path)
        results.append(
            _judge(
                "moving mean after a training step",
                *where,
                (means * momentum + mean * (1 - momentum)).astype(means.dtype),
                to_array(module.running_mean),
            )
        )
        if count > 1:
            # torch keeps the unbiased variance, which is count / (count − 1) of Keras's: no more than that is let pass.
            unbiased = variance * count / (count - 1)
            results.append(
                _judge(
                    "moving variance after a training step",
                    *where,
                    (variances * momentum + unbiased * (1 - momentum)).astype(variances.dtype),
                    to_array(module.running_var),
                )
            )
    return results


def _statistics(x: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean, biased variance and number of values of each channel."""
    dims = [axis for axis in range(x.dim()) if axis != 1]
    values = x.double()
    return to_array(values.mean(dim=dims)), to_array(values.var(dim=dims, unbiased=False)), x.numel() // x.shape[1]


def _dropouts(written: TorchSide, traced: Traced, arrays: Sequence[np.ndarray], seed: int) -> list[TrainingResult]:
    """Dropout and noise in training mode, on ones: both sides draw otherwise, so what is compared is the law.

    How much is set to 0 (or, of noise, mean and deviation), within what chance allows of the number of draws; what is left of a
    1; and whether draws are shared along the same axes.
    """
    import keras
    import torch

    nodes = {
        scope + node.outputs[0]: (scope, node)
        for scope, _, node in traced.graph.walk()
        if node.layer.kind in DROPPING and node.layer.config.get("rate", node.layer.config.get("stddev", 1))
    }
    if not nodes:
        return []
    per_sample = min(
        _draws(node, graph.tensors[node.outputs[0]].shape)
        for _, graph, node in traced.graph.walk()
        if node.layer.kind in DROPPING
    )
    fit = DROPOUT_BYTES // max(memory.total(traced.graph, 1), 1)
    rows = max(min(MOST_ROWS, -(-DRAWS // per_sample), fit), len(arrays[0]), 2)
    many = [np.resize(a, (rows if len(a) == len(arrays[0]) else len(a), *a.shape[1:])) for a in arrays]
    wanted = {"".join(running.source(traced.graph, scope, node.inputs[0])) for scope, node in nodes.values()}
    found: dict[str, np.ndarray] = {}

    def observe(tensor: str, layer: str, layout: Any, value: Any) -> Any:
        if tensor in nodes:
            found[tensor] = layout.to_keras(to_array(value))
        return torch.ones_like(value) if tensor in wanted else value

    inputs = [torch.ones_like(x) if name in wanted else x for name, x in zip(traced.graph.inputs, written.inputs(many))]
    torch.manual_seed(seed)
    written.tapped.model.train()
    try:
        written.guard(lambda: written.tapped.run(inputs, observe))
    finally:
        written.tapped.model.eval()
    keras.utils.set_random_seed(seed)
    results = []
    for tensor, (scope, node) in nodes.items():
        if tensor not in found:
            continue
        with traced.source.lock:
            want = np.asarray(
                running.live(traced, scope, node)(np.ones(found[tensor].shape, found[tensor].dtype), training=True)
            )
        results += _same_law(node, want, found[tensor])
    return results


def _draws(node: Node, shape: Sequence[int | None]) -> int:
    """How many numbers a dropout or noise layer draws for a sample; a free dimension counts as 1."""
    shape = [n or 1 for n in shape]
    if node.layer.kind.startswith("Spatial"):
        return shape[-1]
    noise = node.layer.config.get("noise_shape") or [None] * len(shape)
    return int(np.prod([own if drawn is None else drawn for own, drawn in zip(shape[1:], noise[1:])], initial=1))


def _same_law(node: Node, want: np.ndarray, got: np.ndarray) -> list[TrainingResult]:
    """Two samples of what becomes of ones, compared."""
    path, kind = node.layer.path, node.layer.kind
    draws = want.shape[0] * _draws(node, want.shape)

    def result(what: str, a: float, b: float, allowed: float) -> TrainingResult:
        difference = Difference(abs(a - b), abs(a - b), abs(a - b) / max(abs(a), 1e-12), abs(a))
        return TrainingResult(f"{what} in training", path, path, difference, abs(a - b) <= allowed)

    def spread(x: np.ndarray) -> float:
        """How much of what is drawn for the channels of a sample differs along its other axes."""
        return float(
            np.mean(x != x[tuple(slice(None) if axis in (0, x.ndim - 1) else slice(1) for axis in range(x.ndim))])
        )

    if kind in ("GaussianNoise", "GaussianDropout", "AlphaDropout"):
        deviation = max(float(want.std()), 1e-12)
        chance = 6 * np.sqrt(2 / draws)
        return [
            result("mean of the noise", float(want.mean()), float(got.mean()), chance * deviation),
            result("deviation of the noise", deviation, float(got.std()), chance * deviation),
        ]
    share = float((want == 0).mean())
    chance = 6 * np.sqrt(2 * max(share * (1 - share), 1 / draws) / draws)
    found = [result("share set to 0", share, float((got == 0).mean()), chance)]
    if (want != 0).any() and (got != 0).any():
        found.append(result("what is left of a 1", float(want[want != 0].mean()), float(got[got != 0].mean()), 1e-5))
    if want.ndim > 2:
        found.append(
            result(
                "draws that differ along the inner axes",
                spread(want),
                spread(got),
                6 * np.sqrt(2 * 0.25 / draws) if spread(want) else 0.0,
            )
        )
    return found
