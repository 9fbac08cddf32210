"""BatchNorm's statistics move alike: one step in training mode, on what reaches the module in torch.

torch stores the unbiased variance, Keras the biased one; that factor is let pass and no more.
"""

from __future__ import annotations

from k2t_core.graph import Node
from k2t_core.rules import registry
from k2t_core.verification.check import Trial, judged_in_training
from k2t_core.verification.report import TrainingResult


def moving_averages(trial: Trial) -> list[TrainingResult]:
    """ "moving mean …" and "moving variance after a training step" of every unmasked BatchNormalization, by channel.

    A layer that is called more than once is looked at once; of a single number for each channel there is no variance.
    """
    written = trial.written
    nodes: dict[str, Node] = {}  # the first call of each layer
    for _, _, node in trial.traced.graph.walk():
        if registry.known(node.layer.kind).normalises == "batch" and "mask" not in node.arguments:
            nodes.setdefault(node.layer.path, node)
    places = {
        variable.layer: key.removesuffix(".running_mean")
        for key, variable in written.manifest.variables.items()
        if key.endswith(".running_mean")
    }
    steps = written.training_step(trial.arrays, [places[layer] for layer in nodes if layer in places])
    results = []
    for layer, node in nodes.items():
        step = steps.get(places.get(layer, ""))
        if step is None:
            continue
        # keras/src/layers/normalization/batch_normalization.py: moving = moving · momentum + batch · (1 − momentum)
        learns = node.layer.config.get("trainable", True)
        momentum = float(node.layer.config["momentum"]) if learns else 1.0
        moved = (step.mean * momentum + step.batch_mean * (1 - momentum)).astype(step.mean.dtype)
        what = "moving mean after a training step"
        results.append(judged_in_training(what, layer, layer, moved, step.mean_after))
        if step.count > 1:
            # torch keeps the unbiased variance, which is count / (count − 1) of Keras's: no more than that is let pass.
            unbiased = step.batch_variance * step.count / (step.count - 1)
            moved = (step.variance * momentum + unbiased * (1 - momentum)).astype(step.variance.dtype)
            what = "moving variance after a training step"
            results.append(judged_in_training(what, layer, layer, moved, step.variance_after))
    return results
