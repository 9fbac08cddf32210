"""A Python file of the user's own, with rules and custom Keras classes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from k2t_core.errors import RAISED, K2TError, named


def load_rules(path: str | Path) -> None:
    """Import a Python file that registers rules (``from k2t_core import rule``) and custom Keras classes.

    It is imported once, under its own name, so that its classes have the kind ``file_name.ClassName``. The module, its
    rules and its classes stay in sys.modules and in the registries of k2t and Keras as long as the process lives.

    Raises K2TError where it is missing, fails, or hides another module.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise K2TError(f"rules {path}: no such file")
    known = sys.modules.get(path.stem)
    if known is not None:
        if getattr(known, "__file__", None) == str(path):
            return
        raise K2TError(f"rules {path}: a module called {path.stem!r} is loaded already; rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise K2TError(f"rules {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except RAISED as error:  # the user's own code can raise anything
        del sys.modules[path.stem]
        raise K2TError(f"rules {path.name}: {named(error, 300)}") from error
