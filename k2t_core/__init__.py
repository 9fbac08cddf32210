"""k2t: convert a Keras model to a readable PyTorch module and prove that both compute the same.

    import k2t_core as k2t
    result = k2t.convert("model.keras", "out/")
    report = k2t.verify("out/", "model.keras")
    k2t.plan("model.keras").table()

Importing this package loads neither TensorFlow nor torch. No package or module directly in it is called as one
of these functions: a submodule called ``convert`` would hide the function of that name once it is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2t_core.errors import (
    InputError,
    K2TError,
    ModelFileError,
    OutputError,
    OverrideError,
    UnsafeModelError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from k2t_core.emit.conversion import convert
    from k2t_core.inspector import lessons
    from k2t_core.keras_side.batches import random_batch
    from k2t_core.keras_side.cutting import cut
    from k2t_core.keras_side.input_files import read_inputs
    from k2t_core.keras_side.loading import load
    from k2t_core.keras_side.tracing import trace
    from k2t_core.keras_side.user_rules import load_rules
    from k2t_core.planning.planner import merge, plan
    from k2t_core.recipe import Override, Recipe, read_recipe
    from k2t_core.rules.registry import rule
    from k2t_core.verification import verify
    from k2t_core.verification.alone import probe

__version__ = "0.1.0"

_HOMES = {
    "convert": "k2t_core.emit.conversion",
    "load": "k2t_core.keras_side.loading",
    "plan": "k2t_core.planning.planner",
    "merge": "k2t_core.planning.planner",
    "trace": "k2t_core.keras_side.tracing",
    "verify": "k2t_core.verification",
    "rule": "k2t_core.rules.registry",
    "lessons": "k2t_core.inspector.lessons",  # the module itself
    "cut": "k2t_core.keras_side.cutting",
    "load_rules": "k2t_core.keras_side.user_rules",
    "probe": "k2t_core.verification.alone",
    "random_batch": "k2t_core.keras_side.batches",
    "read_inputs": "k2t_core.keras_side.input_files",
    "Override": "k2t_core.recipe",
    "Recipe": "k2t_core.recipe",
    "read_recipe": "k2t_core.recipe",
}

__all__ = [
    "InputError",
    "K2TError",
    "ModelFileError",
    "OutputError",
    "OverrideError",
    "UnsafeModelError",
    "UnsupportedError",
    *_HOMES,
]


def __getattr__(name: str):
    """Import the heavy parts only when they are asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'k2t_core' has no attribute {name!r}")
    import importlib

    home = importlib.import_module(_HOMES[name])
    return home if name == _HOMES[name].rsplit(".", 1)[-1] else getattr(home, name)
