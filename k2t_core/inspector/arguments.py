"""The constructor arguments of a torch module as fields: what each takes, and torch's own defaults."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What torch accepts where its annotation says no more than ``str``: torch/nn/modules/{activation,rnn,upsampling}.py.
CHOICES = {
    ("nn.GELU", "approximate"): ("none", "tanh"),
    ("nn.RNN", "nonlinearity"): ("tanh", "relu"),
    ("nn.Upsample", "mode"): ("nearest", "linear", "bilinear", "bicubic", "trilinear", "nearest-exact"),
}
_ELSEWHERE = ("device", "dtype")  # where and in what precision: the planner's own affair


@dataclass(frozen=True)
class Argument:
    """A constructor argument. choices: all that torch takes, where they are few. given: whether the mapping sets it."""

    name: str
    value: Any
    choices: tuple[Any, ...] = ()
    given: bool = True


def arguments(module: str, given: Mapping[str, Any]) -> list[Argument]:
    """Those that the mapping gives to ``module`` (``"nn.Conv2d"``), then torch's others; only what is plain data."""
    constructor = _constructor(module)
    annotations = _annotations(constructor)
    others = {
        p.name: p.default
        for p in (inspect.signature(constructor).parameters.values() if constructor is not None else ())
        if p.default is not p.empty and p.name not in given and p.name not in _ELSEWHERE and not p.name.startswith("_")
    }
    found = []
    for name, value in {**given, **others}.items():
        choices = CHOICES.get((module, name)) or _literals(annotations.get(name))
        if is_plain(value):
            found.append(Argument(name, value, choices if value in choices else (), name in given))
    return found


def is_plain(value: Any) -> bool:
    """Whether a value can be written in a recipe: numbers, texts, switches, None, and lists of them."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _constructor(module: str) -> Any:
    if module.startswith("nn."):
        from torch import nn

        return getattr(nn, module[3:])
    return None  # a helper in the file takes what the mapping gives it


def _annotations(constructor: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(constructor.__init__) if constructor is not None else {}
    except NameError:  # torch imports some names for type checkers only
        return {}


def _literals(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()
