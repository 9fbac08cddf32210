"""How the constructor of a torch module is written."""

from __future__ import annotations

import importlib
import inspect
from functools import cache
from typing import Any

from k2t_core.errors import K2TError
from k2t_core.planning.blocks import Block, BlockModule, Parameter, is_width
from k2t_core.planning.helper_sources import helper_sources
from k2t_core.rules import slots
from k2t_core.rules.registry import Expression, Module

REQUIRED = object()


def changed_arguments(block: Block) -> dict[str, Any]:
    """The parameters of a block's constructor and their defaults: torch's own for the argument they are handed to."""
    found: dict[str, Any] = {}
    for module in block.modules:
        defaults = (
            {}
            if module is None
            else changed_arguments(module.block)
            if isinstance(module, BlockModule)
            else _defaults(module.cls)
        )
        for key, value in module.args.items() if module is not None else ():
            if isinstance(value, Parameter):
                found.setdefault(value.name, defaults.get(key, REQUIRED))
    arguments = {name: found.get(name, REQUIRED) for name in block.parameters}
    return dict(sorted(arguments.items(), key=lambda item: item[1] is not REQUIRED))


def module_source(module: Module) -> str:
    """``nn.Conv2d(3, 64, kernel_size=7, stride=2)``: arguments that equal torch's defaults are left out."""
    defaults, positional, arguments = _defaults(module.cls), module.positional, module.args
    if isinstance(module, BlockModule):
        known = changed_arguments(module.block)
        arguments = {name: module.args[name] for name in known}
        defaults = {name: default for name, default in known.items() if default is not REQUIRED}
        # What comes first and says how wide: ConvBlock(64, 128, stride=2).
        positional = next((k for k, name in enumerate(known) if name in defaults or not is_width(name)), len(known))
    parts = []
    for index, (name, value) in enumerate(arguments.items()):
        if index < positional:
            parts.append(literal(value))
        elif (
            name not in defaults
            or defaults[name] != value
            or isinstance(value, bool) != isinstance(defaults[name], bool)
        ):
            if not name.isidentifier():
                raise K2TError(f"internal: {name[:80]!r} is no name of an argument")
            parts.append(f"{name}={literal(value)}")
    cast = ""
    if module.dtype not in (None, "float32"):
        if "dtype" in defaults:
            parts.append(f"dtype=torch.{module.dtype}")
        else:
            cast = f".to(torch.{module.dtype})"
    return f"{module.cls}({', '.join(parts)}){cast}"


def literal(value: Any) -> str:
    """Python source of an argument: of plain data, or of a `Module`, which is its constructor."""
    return slots.literal(value, _spelled)


def _spelled(value: Any) -> str | None:
    if isinstance(value, Module):
        return module_source(value)
    if isinstance(value, Parameter):
        return value.name
    return value.text if isinstance(value, Expression) else None


@cache
def _defaults(cls: str) -> dict[str, Any]:
    if cls.startswith("nn."):
        from torch import nn

        constructor = getattr(nn, cls[3:])
    else:
        if cls not in helper_sources():
            return {}  # the class of a nested model takes no arguments
        constructor = getattr(importlib.import_module(helper_sources()[cls].module), cls)
    return {p.name: p.default for p in inspect.signature(constructor).parameters.values() if p.default is not p.empty}
