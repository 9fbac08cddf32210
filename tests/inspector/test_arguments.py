"""Constructor arguments as fields: every choice that is offered is one that torch takes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from k2t_core.inspector.arguments import CHOICES, Argument, arguments

BUILD = {
    "nn.GELU": lambda **options: nn.GELU(**options)(torch.zeros(1, 2)),
    "nn.RNN": lambda **options: nn.RNN(2, 2, **options),
    "nn.Upsample": lambda mode: nn.Upsample(scale_factor=2, mode=mode)(
        torch.zeros(1, 1, *[2] * {"linear": 1, "trilinear": 3}.get(mode, 2))
    ),
}


@pytest.mark.parametrize(
    ("module", "name", "choice"),
    [(module, name, choice) for (module, name), choices in CHOICES.items() for choice in choices],
)
def test_torch_takes_every_choice(module, name, choice):
    BUILD[module](**{name: choice})


def test_what_k2t_gives_comes_first_then_torchs_own_defaults():
    found = arguments("nn.Conv2d", {"in_channels": 3, "out_channels": 8, "kernel_size": (3, 3), "padding": 1})
    assert [argument.name for argument in found if argument.given] == [
        "in_channels",
        "out_channels",
        "kernel_size",
        "padding",
    ]
    others = {argument.name: argument for argument in found if not argument.given}
    assert others["padding_mode"] == Argument(
        "padding_mode", "zeros", ("zeros", "reflect", "replicate", "circular"), False
    )
    assert others["bias"].value is True and "device" not in others and "dtype" not in others


def test_what_cannot_be_written_down_is_no_field():
    assert [argument.name for argument in arguments("Recurrence", {"cell": object(), "steps": [1, 2]})] == ["steps"]
