"""A layer by itself where it runs."""

from __future__ import annotations

import numpy as np
import pytest

from k2t_core.errors import K2TError
from k2t_core.verification.layer_process import LayerProcess

SOURCE = """
import torch
from torch import nn


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return RETURNED
"""
X, STATE = np.arange(3, dtype="float32"), {"weight": np.full(3, 2, "float32")}


def run(returned: str, changed=None):
    ((got, exact),) = LayerProcess().run(SOURCE.replace("RETURNED", returned), "Layer", STATE, [([X], changed or {})])
    return got, exact


def test_in_both_precisions():
    (got,), (exact,) = run("x * self.weight")
    assert got.tolist() == exact.tolist() == [0, 2, 4] and (got.dtype, exact.dtype) == (np.float32, np.float64)


def test_with_other_weights_in_a_case():
    assert run("x * self.weight", {"weight": np.zeros(3, "float32")})[0][0].tolist() == [0, 0, 0]


def test_what_is_no_tensor_is_told_by_its_type():
    assert run("(x, 3)")[0][1] == "int"


def test_code_that_insists_on_a_dtype_and_code_that_raises():
    assert run("x if x.element_size() == 4 else x.nothing")[1] is None
    with pytest.raises(K2TError, match="^RuntimeError: "):
        run("x @ x[:2]")
