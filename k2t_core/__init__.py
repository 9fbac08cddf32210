"""k2t: convert a Keras model to a readable PyTorch module and prove that both compute the same.

    import k2t_core as k2t
    result = k2t.convert("model.keras", "out/")
    report = k2t.verify("out/", "model.keras")
    k2t.plan("model.keras").table()

Importing this package loads neither TensorFlow nor torch. The modules are called loading, tracing, planning, conversion and
verification, because a submodule called ``convert`` would hide the function of that name once it is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2t_core.errors import InputError, K2TError, ModelFileError, OutputError, OverrideError, UnsafeModelError, UnsupportedError

if TYPE_CHECKING:
    from k2t_core.conversion import convert
    from k2t_core.loading import load
    from k2t_core.planning import merge, plan
    from k2t_core.recipe import Override, Recipe, read_recipe
    from k2t_core.rules.registry import rule
    from k2t_core.tracing import trace
    from k2t_core.verification import verify

__version__ = "0.1.0"

_HOMES = {
    "convert": "k2t_core.conversion",
    "load": "k2t_core.loading",
    "plan": "k2t_core.planning",
    "merge": "k2t_core.planning",
    "trace": "k2t_core.tracing",
    "verify": "k2t_core.verification",
    "rule": "k2t_core.rules.registry",
    "Override": "k2t_core.recipe",
    "Recipe": "k2t_core.recipe",
    "read_recipe": "k2t_core.recipe",
}

__all__ = ["InputError", "K2TError", "ModelFileError", "OutputError", "OverrideError", "UnsafeModelError", "UnsupportedError", *_HOMES]


def __getattr__(name: str):
    """Import the heavy parts only when they are asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'k2t_core' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
