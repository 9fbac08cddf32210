"""Import the model.py that was written, the way a user would, and nothing else."""

from __future__ import annotations

import ast
import importlib.util
import itertools
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import SafetensorError

from k2t_core.errors import RAISED, OutputError, named, one_line
from k2t_core.parsing import parse
from k2t_core.tensors import torch_to_itself

_count = itertools.count()  # of the whole process: two imports never share a name


class _Reading(SourceFileLoader):
    """It leaves no __pycache__ in a folder of the user's."""

    def set_data(self, *_: Any, **__: Any) -> None:
        """Write nothing: what Python would write here is bytecode."""


def import_model(folder: str | Path) -> ModuleType:
    """The module object of ``folder/model.py``, under a name of its own.

    Raises OutputError where it does not import.
    """
    path = Path(folder) / "model.py"
    if not path.is_file():
        raise OutputError(f"{path}: no such file; run `k2t convert MODEL -o {folder}` first")
    name = f"k2t_generated_{next(_count)}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Reading(name, str(path)))
    assert spec is not None and spec.loader is not None  # it is given
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except RAISED as error:  # a hand-edited file can raise anything
        raise does_not_import(path, error) from error
    return module


def does_not_import(path: Path, error: BaseException) -> OutputError:
    """What to raise where running a model.py raises anything."""
    return OutputError(f"{path}: does not import: {named(error)}")


@torch_to_itself
def load_module(folder: str | Path) -> Any:
    """``load_model()`` of the folder's model.py: the nn.Module with its weights, in eval mode."""
    import torch

    module = import_model(folder)
    if not hasattr(module, "load_model"):
        raise OutputError(f"{Path(folder) / 'model.py'}: has no load_model()")
    weights = Path(folder) / "model.safetensors"
    try:
        loaded = module.load_model()
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{weights}: cannot be read ({one_line(error)}); convert the model again") from error
    except RAISED as error:  # missing or extra keys, a constructor that raises
        text = one_line(error, 300)
        culprit = "model.safetensors does not fit: " if "state_dict" in text else ""
        raise OutputError(f"{Path(folder) / 'model.py'}: load_model() fails: {culprit}{text}") from error
    if not isinstance(loaded, torch.nn.Module):
        raise OutputError(
            f"{Path(folder) / 'model.py'}: load_model() returns a {type(loaded).__name__}, not a torch.nn.Module"
        )
    return loaded


class Double(ast.NodeTransformer):
    """The same code with every floating-point dtype that it names widened to float64."""

    METHODS = {"float": "double", "half": "double", "bfloat16": "double"}

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if (
            isinstance(node.value, ast.Name)
            and node.value.id == "torch"
            and node.attr in ("float16", "bfloat16", "float32")
        ):
            node.attr = "float64"
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if node.value in ("float16", "bfloat16", "float32"):
            node.value = "float64"
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in self.METHODS and not node.args:
            node.func.attr = self.METHODS[node.func.attr]
        return node


def compile_module(source: str, double: bool = False) -> dict[str, Any]:
    """The namespace of a generated file's text; ``double``: with every floating-point dtype widened to float64."""
    tree = parse(source)
    module = ModuleType("k2t_generated")
    exec(
        compile(ast.fix_missing_locations(Double().visit(tree) if double else tree), "model.py", "exec"),
        module.__dict__,
    )
    return module.__dict__
