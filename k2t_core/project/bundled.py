"""Where the app and the examples lie: beside the package in a checkout, inside it when installed from a wheel."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from k2t_core.errors import K2TError


def app_folder() -> Path:
    """The folder that holds app.py, pages/ and examples/. Raises K2TError where the installation lacks them."""
    package = Path(__file__).resolve().parent.parent
    # The wheel's own folder first: site-packages may hold another project's examples.
    for folder in (package / "_app", package.parent):
        if (folder / "examples" / "build.py").is_file():
            return folder
    raise K2TError(
        "the app and the examples are not part of this installation of k2t; install it again, or run it from a checkout"
    )


@cache
def examples() -> ModuleType:
    """The module examples/build.py: ``EXAMPLES`` (name → title, description) and ``build(name, folder) -> Path``."""
    spec = importlib.util.spec_from_file_location("k2t_examples", app_folder() / "examples" / "build.py")
    assert spec is not None and spec.loader is not None  # a Python file has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # of the process, as any imported module is: what it defines is found by its name
    spec.loader.exec_module(module)
    return module
