"""Parts of a report, of known numbers."""

from __future__ import annotations

import numpy as np

from k2t_core.difference import Difference
from k2t_core.verification.report import LayerResult, OutputResult, Run


def output(keras, torch, name="y", dtype="float32"):
    keras, torch = np.asarray(keras, dtype), np.asarray(torch, dtype)
    difference = Difference.of(keras, torch)
    return OutputResult(name, keras.shape, torch.shape, difference, difference.relative <= 1e-4, keras, torch)


def layer(name, relative, passed=True):
    difference = Difference(relative, relative, relative, 1.0)
    return LayerResult(name, name, difference, difference, passed)


def run(outputs=(), layers=(), first=None, tolerance=1e-4):
    return Run("model", "normal", tuple(outputs), tuple(layers), first, tolerance)
