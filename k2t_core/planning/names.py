"""Python names for modules, classes, parameters and tensors, each given once."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from typing import Protocol

from k2t_core.planning.helper_sources import helper_sources

# Names that generated code uses for itself.
RESERVED = set(
    "self nn F torch math Path load_file load_model hidden cell states both forward_out backward_out forward_states"
    " backward_states _".split()
) | set(keyword.kwlist)
# Attributes of nn.Module that a submodule must not hide.
MODULE_ATTRIBUTES = set(
    "forward train eval training type half float double to cpu cuda apply modules parameters buffers children "
    "state_dict requires_grad_ compile share_memory register_buffer dump_patches call_super_init zero_grad "
    "add_module bfloat16 ipu xpu mtia to_empty extra_repr named_parameters named_modules named_children "
    "named_buffers get_parameter get_buffer get_submodule set_submodule get_extra_state set_extra_state "
    "load_state_dict T_destination register_module register_parameter".split()
)


class UniqueNames:
    """Python identifiers from layer names, each given once."""

    def __init__(self, reserved: set[str]):
        self.reserved = frozenset(reserved)
        self.taken = set(reserved)

    def new(self, name: str) -> str:
        base = re.sub(r"\W", "_", name)
        base = f"layer_{base}" if not base or base[0].isdigit() or base.startswith("__") else base
        result, k = base, 2
        if result in self.taken:
            result = f"{base}_layer" if base in self.reserved else f"{base}_{k}"
        while result in self.taken:
            result, k = f"{base}_{k}", k + 1
        self.taken.add(result)
        return result


class Names(Protocol):
    """Names of a scope's modules: ``new`` gives a free one near the one asked for, never one of ``reserved``."""

    reserved: frozenset[str]
    taken: set[str]

    def new(self, name: str) -> str: ...


def common_beginning(names: Iterable[str]) -> str:
    """The common beginning of several names, up to an underscore."""
    first, last = min(names), max(names)
    return first[: first.rfind("_", 0, _alike_up_to(first, last)) + 1]


def common_prefix(names: Iterable[str]) -> str:
    first, last = min(names), max(names)
    return re.sub(r"\W", "_", first[: _alike_up_to(first, last)]).strip("_")


def _alike_up_to(first: str, last: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))


def free_name(key: str, taken: Iterable[str]) -> str:
    name, k = key, 2
    while name in taken:
        name, k = f"{key}_{k}", k + 1
    return name


def snake_case(name: str) -> str:
    """ConvBNReLU → conv_bn_relu."""
    return re.sub(
        r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})",
        "_",
        name.replace("ReLU", "Relu").replace("SiLU", "Silu").replace("BN", "Bn"),
    ).lower()


def unique_identifiers(labels: Iterable[str]) -> list[str]:
    names: list[str] = []
    for label in labels:
        names.append(identifier(label, set(names)))
    return names


def identifier(label: str, taken: set[str]) -> str:
    base = re.sub(r"\W", "_", label)
    base = f"x_{base}" if base[0].isdigit() else base
    base = f"{base}_out" if base in RESERVED or base in helper_sources() else base
    name, k = base, 2
    while name in taken:
        name, k = f"{base}_{k}", k + 1
    return name
