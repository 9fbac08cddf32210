"""Whether the converted model can be trained on: gradients agree, by inputs and by weights.

They are those of sum(outputs · r) with the same random r on both sides, in inference mode, so that dropout draws
nothing. The gradient of a weight goes through the weight's own transform: all of those that are compared re-order
elements and nothing else, so that a gradient travels as the weight does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from k2t_core.difference import Difference
from k2t_core.errors import OutputError
from k2t_core.keras_side import running
from k2t_core.transforms import apply_chain
from k2t_core.verification.check import Trial, judged_in_training
from k2t_core.verification.report import TrainingResult

REORDERING = {"permute", "reshape", "reorder gates", "reorder flatten", "take"}


def gradients(trial: Trial) -> list[TrainingResult]:
    """ "gradient by input" in Keras's layout of each input, "gradient by weight" in torch's of each weight."""
    written, traced, arrays = trial.written, trial.traced, trial.arrays
    rng = np.random.default_rng([trial.seed, 2])
    outputs = running.predict(traced, arrays)
    factors = {k: rng.standard_normal(y.shape).astype(y.dtype) for k, y in enumerate(outputs) if y.dtype.kind == "f"}
    if not factors:
        return []
    by_input, by_variable = running.gradients(traced, arrays, factors)
    sides = written.manifest.outputs
    got, _ = written.forward(arrays, derived=True)
    if any(sides[k].to_keras(got[k]).shape != f.shape for k, f in factors.items()):
        return []  # which the comparison of the outputs has told
    try:
        derived = written.backward(factors, weights=True)
    except OutputError as error:
        infinite = Difference(float("inf"), float("inf"), float("inf"), 0.0)
        return [TrainingResult("gradients", str(error), None, infinite, False)]
    if derived is None:
        return []
    results = []
    for side, want, have in zip(written.manifest.inputs, by_input, derived[0]):
        if want is not None and have is not None:
            results.append(judged_in_training("gradient by input", side.name, None, want, have))
    return [*results, *_by_weight(trial, by_variable, derived[1])]


def _by_weight(
    trial: Trial, by_variable: Mapping[str, np.ndarray], derived: Mapping[str, np.ndarray | None]
) -> Iterator[TrainingResult]:
    """derived: of each parameter of the module, None where the outputs do not depend on it."""
    variables = trial.written.manifest.variables
    fed: dict[str, list[str]] = {}
    for key, variable in variables.items():
        if variable.source:
            fed.setdefault(variable.source, []).append(key)
    for key, variable in variables.items():
        want = by_variable.get(variable.source) if variable.source else None
        kinds = {step.name for step in variable.steps}
        several = variable.source and len(fed[variable.source]) > 1 and "take" not in kinds
        if want is None or key not in derived or kinds - REORDERING or several:
            continue
        gradient = derived[key]
        have = gradient if gradient is not None else np.zeros(variable.torch_shape, want.dtype)
        moved = apply_chain(variable.steps, want)
        yield judged_in_training("gradient by weight", key, variable.layer, moved, have)
