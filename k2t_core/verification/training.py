"""Whether the converted model can be trained on: gradients agree, and BatchNorm's statistics move alike.

Gradients are those of sum(outputs · r) with the same random r on both sides, in inference mode, so that dropout draws
nothing. The gradient of a weight goes through the weight's own transform: all of those that are compared re-order
elements and nothing else, so that a gradient travels as the weight does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from k2t_core import reference
from k2t_core.tensors import to_array, to_tensor
from k2t_core.tracing import Traced
from k2t_core.transforms import apply_chain, from_json
from k2t_core.verification.compare import Written, arriving
from k2t_core.verification.report import Difference, TrainingResult

# Max|torch − keras| / max|keras| of a gradient: it passes each layer twice, and sums over the batch in another order.
GRADIENT_TOLERANCE = 1e-3
REORDERING = {"permute", "reshape", "reorder gates", "reorder flatten", "take"}


def training_results(written: Written, traced: Traced, arrays: Sequence[np.ndarray], seed: int, names: Mapping[str, str]) -> list[TrainingResult]:
    """Gradients by inputs and weights, and the moving averages of every BatchNormalization after a step in training mode.

    names: the path of each of ``traced``'s variables in the model that was converted.
    """
    return _gradients(written, traced, arrays, seed, names) + _moving_averages(written, traced, arrays)


def _gradients(written: Written, traced: Traced, arrays: Sequence[np.ndarray], seed: int, names: Mapping[str, str]) -> list[TrainingResult]:
    import torch

    rng = np.random.default_rng([seed, 2])
    manifest = written.manifest
    outputs = reference.predict(traced, arrays)
    chosen = [k for k, y in enumerate(outputs) if y.dtype.kind == "f"]
    factors = {k: rng.standard_normal(outputs[k].shape).astype(outputs[k].dtype) for k in chosen}
    if not chosen:
        return []
    by_input, by_variable = reference.gradients(traced, arrays, factors)
    by_variable = {names.get(path, path): gradient for path, gradient in by_variable.items()}
    inputs = written.inputs(arrays)
    for x in inputs:
        if x.is_floating_point():
            x.requires_grad_(True)
    module = written.module
    module.zero_grad()
    got = written.guard(lambda: module(*inputs))
    total = sum((got[k] * to_tensor(_forward(factors[k], manifest["outputs"][k]["permutation"]))).sum() for k in chosen)
    if not total.requires_grad:
        return []
    total.backward()
    results = []
    for side, x, want in zip(manifest["inputs"], inputs, by_input):
        if want is not None and x.grad is not None:
            have = to_array(x.grad)
            results.append(_judge("gradient by input", side["name"], None, want, have.transpose(np.argsort(side["permutation"])) if side["permutation"] else have))
    parameters = dict(module.named_parameters())
    fed: dict[str, list[str]] = {}
    for key, entry in manifest["variables"].items():
        for path in entry["keras"]:
            fed.setdefault(path, []).append(key)
    for key, entry in manifest["variables"].items():
        want = by_variable.get(entry["keras"][0]) if entry["keras"] else None
        kinds = {step["name"] for step in entry["steps"]}
        several = entry["keras"] and len(fed[entry["keras"][0]]) > 1 and "take" not in kinds
        if want is None or key not in parameters or kinds - REORDERING or several:
            continue
        gradient = parameters[key].grad
        have = to_array(gradient) if gradient is not None else np.zeros(tuple(parameters[key].shape), want.dtype)
        results.append(_judge("gradient by weight", key, entry["layer"], apply_chain([from_json(step) for step in entry["steps"]], want), have))
    module.zero_grad()
    with torch.no_grad():
        for x in inputs:
            x.grad = None
    return results


def _forward(array: np.ndarray, permutation: list[int] | None) -> np.ndarray:
    return array.transpose(permutation) if permutation else array


def _judge(what: str, name: str, layer: str | None, want: np.ndarray, have: np.ndarray) -> TrainingResult:
    difference = Difference.of(want, have)
    # A gradient that vanishes on one side and is rounding on the other says nothing.
    passed = difference.relative <= GRADIENT_TOLERANCE or difference.max_abs <= 1e-6
    return TrainingResult(what, name, layer, difference, bool(passed))


def _moving_averages(written: Written, traced: Traced, arrays: Sequence[np.ndarray]) -> list[TrainingResult]:
    """One step in training mode of every unmasked BatchNormalization, on Keras's own input to it."""
    import torch

    layers = {scope + node.id: (scope, node) for scope, _, node in traced.graph.walk() if node.layer.kind == "BatchNormalization" and "mask" not in node.arguments}
    modules = dict(written.module.named_modules())
    places = {entry["layer"]: key.removesuffix(".running_mean") for key, entry in written.manifest["variables"].items() if key.endswith(".running_mean")}
    with torch.no_grad(), arriving(written.module, set(places.values())) as seen:
        written.guard(lambda: written.module(*written.inputs(arrays)))
    results, done = [], set()
    for _, node in layers.values():
        path = places.get(node.layer.path)
        if path not in seen or node.layer.path in done:
            continue
        done.add(node.layer.path)
        module = copy.deepcopy(modules[path])
        before = to_array(module.running_mean).copy()
        batch = _channel_mean(seen[path])
        with torch.no_grad():
            module.train()(seen[path])
        # keras/src/layers/normalization/batch_normalization.py: moving = moving · momentum + batch · (1 − momentum)
        momentum = float(node.layer.config["momentum"])
        want = before * momentum + batch * (1 - momentum) if node.layer.config.get("trainable", True) else before
        results.append(_judge("moving mean after a training step", node.layer.path, node.layer.path, want.astype(before.dtype), to_array(module.running_mean)))
    return results


def _channel_mean(x: Any) -> np.ndarray:
    return to_array(x.double().mean(dim=[axis for axis in range(x.dim()) if axis != 1]))
