"""What blocks and what is in them are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

from k2t_core.names import unused
from k2t_core.planning.names import common_beginning, common_prefix, normal
from k2t_core.planning.patterns import MIN_PATTERN, Unit
from k2t_core.rules.registry import known

ACTIVATIONS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "silu": "SiLU",
    "swish": "SiLU",
    "gelu": "GELU",
    "hard_swish": "HardSwish",
    "hard_silu": "HardSwish",
    "elu": "ELU",
    "leaky_relu": "LeakyReLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
}


def title(first: Sequence[Unit]) -> str:
    """The class name of a block, from what its first run is made of."""
    roles = {role for unit in first for role in unit.roles}
    inside = {t for unit in first for t in unit.outputs}
    if "attention" in roles:
        return "TransformerBlock"
    if "add" in roles:
        adds = [unit for unit in first if "add" in unit.roles and isinstance(unit.part, int)]
        return (
            "ResidualBlock"
            if not adds or any(t not in inside for unit in adds for t in unit.inputs)
            else "ProjectionBlock"
        )
    if "concatenate" in roles:
        return "ConcatBlock"
    if "multiply" in roles:
        return (
            "SqueezeExcite"
            if roles & {"global pooling", "mean"} and len(first) <= 2 * MIN_PATTERN and first[-1].roles == {"multiply"}
            else "GatedBlock"
        )
    convolves = "convolution" in roles
    if convolves and roles & {"pooling", "global pooling"}:
        return "DownBlock"
    return "ConvBlock" if convolves else "Block"


def chain_title(first: Sequence[Unit], activation: Mapping[str, Any] | None) -> str:
    """The class name of a layer with its normalisation and, where there is one, an activation of this config."""
    called = known(next(iter(first[0].kinds))).called
    name = (called or ("Conv" if "convolution" in first[0].roles else "Linear")) + "BN"
    if activation is None:
        return name
    if "activation" in activation:
        return name + ACTIVATIONS.get(str(activation["activation"]), "Act")
    return name + next(iter(first[2].kinds))


def inner_names(units: Sequence[Unit], reserved: Set[str]) -> list[str]:
    """Names inside a block: what the layers' names have in common goes.

    ``1_conv`` becomes ``conv1``, ``conv2d_7`` ``conv2d``.
    """
    common = common_beginning([unit.name for unit in units if unit.module is not None] or [unit.name for unit in units])
    result: list[str] = []
    for unit in units:
        short = normal(unit.name.removeprefix(common)).strip("_") or "layer"
        if not common:
            short = re.sub(r"_\d+$", "", short)
        match = re.fullmatch(r"(\d+)_(.+)", short)
        if match:
            short = f"{match[2]}{match[1]}"
        if short[0].isdigit():
            short = f"layer{short}"
        result.append(unused(short, reserved | set(result)))
    return result


def together(units: Sequence[Unit]) -> str:
    """A name for a block from its layers' names: what they begin with where that says something, else the first's."""
    names = [unit.name for unit in units if unit.module is not None] or [unit.name for unit in units]
    prefix = common_prefix(names)
    return prefix if re.search(r"[^\W\d]{2,}\d*$", prefix) and len(names) > 1 else names[0]
