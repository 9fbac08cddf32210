"""BatchNorm's statistics move alike: one step in training mode, on what reaches the module in torch.

torch stores the unbiased variance, Keras the biased one; that factor is let pass and no more.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from k2t_core.graph import Node
from k2t_core.rules import registry
from k2t_core.tensors import to_array, torch_to_itself
from k2t_core.verification.check import Trial, judged_in_training
from k2t_core.verification.report import TrainingResult
from k2t_core.verification.torch_side import arriving

if TYPE_CHECKING:
    import torch


@torch_to_itself
def moving_averages(trial: Trial) -> list[TrainingResult]:
    """ "moving mean …" and "moving variance after a training step" of every unmasked BatchNormalization, by channel.

    A layer that is called more than once is looked at once; of a single number for each channel there is no variance.
    """
    import torch

    written = trial.written
    nodes: dict[str, Node] = {}  # the first call of each layer
    for _, _, node in trial.traced.graph.walk():
        if registry.known(node.layer.kind).normalises == "batch" and "mask" not in node.arguments:
            nodes.setdefault(node.layer.path, node)
    modules = dict(written.module.named_modules())
    places = {
        variable.layer: key.removesuffix(".running_mean")
        for key, variable in written.manifest.variables.items()
        if key.endswith(".running_mean")
    }
    with torch.no_grad(), arriving(written.module, set(places.values())) as seen:
        written.guard(lambda: written.module(*written.inputs(trial.arrays)))
    results = []
    for layer, node in nodes.items():
        path = places.get(layer)
        if path is None or path not in seen:
            continue
        module: Any = copy.deepcopy(modules[path])
        means, variances = to_array(module.running_mean).copy(), to_array(module.running_var).copy()
        mean, variance, count = _statistics(seen[path])
        with torch.no_grad():
            module.train()(seen[path])
        # keras/src/layers/normalization/batch_normalization.py: moving = moving · momentum + batch · (1 − momentum)
        learns = node.layer.config.get("trainable", True)
        momentum = float(node.layer.config["momentum"]) if learns else 1.0
        moved = (means * momentum + mean * (1 - momentum)).astype(means.dtype)
        have = to_array(module.running_mean)
        results.append(judged_in_training("moving mean after a training step", layer, layer, moved, have))
        if count > 1:
            # torch keeps the unbiased variance, which is count / (count − 1) of Keras's: no more than that is let pass.
            unbiased = variance * count / (count - 1)
            moved = (variances * momentum + unbiased * (1 - momentum)).astype(variances.dtype)
            have = to_array(module.running_var)
            results.append(judged_in_training("moving variance after a training step", layer, layer, moved, have))
    return results


def _statistics(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean, biased variance and number of values of each channel."""
    dims = [axis for axis in range(x.dim()) if axis != 1]
    values = x.double()
    return to_array(values.mean(dim=dims)), to_array(values.var(dim=dims, unbiased=False)), x.numel() // x.shape[1]
