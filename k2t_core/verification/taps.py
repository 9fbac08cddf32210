"""See inside the written module: model.py's own statements, with a tap after each that computes a Keras tensor.

The file is parsed and every tap of the manifest becomes one call inserted after its statement; nothing else changes. A
tap may also *replace* the value by Keras's own, so that every layer is judged alone, on the input Keras gave it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from k2t_core.emit.code import forward_hash, forwards, statements
from k2t_core.emit.manifest import Manifest
from k2t_core.emit.module import Double, does_not_import
from k2t_core.errors import RAISED, OutputError
from k2t_core.layout import Layout
from k2t_core.parsing import parse
from k2t_core.progress import check
from k2t_core.tensors import default_dtype, unfilled

if TYPE_CHECKING:
    import torch

TAP, BEFORE = "__k2t_tap__", "__k2t_before__"
# Functions that flatten what goes in, so that an error before them is seen small or not at all after them.
HIDING = {
    "softmax",
    "log_softmax",
    "sigmoid",
    "hardsigmoid",
    "logsigmoid",
    "tanh",
    "hardtanh",
    "softsign",
    "relu6",
    "sparsemax",
}
CASTS = {"to", "float", "half", "bfloat16", "double"}
# (tensor key, layer path, layout, torch value) → the value to go on with
Observer = Callable[[str, str, Layout, "torch.Tensor"], "torch.Tensor"]


def is_untouched(folder: Path, manifest: Manifest) -> bool:
    """Whether model.py is the file that k2t wrote: taps name its statements by number."""
    return hashlib.sha256((folder / "model.py").read_bytes()).hexdigest() == manifest.source_sha256


class TappedModel:
    """The generated module with taps. ``run`` calls it with an observer."""

    def __init__(self, folder: Path, manifest: Manifest, double: bool = False):
        import torch

        self.manifest = manifest
        self.taps = {(tap.module, tap.statement, tap.variable): tap for tap in manifest.taps}
        self.dtype = torch.float64 if double else None
        places: dict[tuple[str, int], list[str]] = {}
        for tap in manifest.taps:
            variables = places.setdefault((tap.class_name, tap.statement), [])
            if tap.variable not in variables:
                variables.append(tap.variable)
        self.namespace, self.classes = _compile(folder / "model.py", places, manifest.forwards, double)
        self.namespace |= {TAP: self._tap, BEFORE: self._before}
        if manifest.class_name not in self.namespace:
            raise OutputError(
                f"{folder / 'manifest.json'}: damaged: model.py has no class {manifest.class_name!r}; "
                "convert the model again"
            )
        with default_dtype(self.dtype), unfilled():
            self.model: torch.nn.Module = self.namespace[manifest.class_name]().eval()
        self.paths = {id(module): name for name, module in self.model.named_modules(remove_duplicate=True)}
        self.observer: Observer | None = None
        self.before: Observer | None = None
        self.counts: dict[tuple[str, int, str], int] = {}

    def run(
        self, inputs: Sequence[torch.Tensor], observer: Observer, before: Observer | None = None
    ) -> tuple[torch.Tensor, ...]:
        """The outputs for the inputs that the module takes.

        observer: sees every tapped tensor in order of computation; what it returns is gone on with. before: sees what a
        statement computes before the flattening function that it ends with (`HIDING`).
        """
        import torch

        self.observer, self.before, self.counts = observer, before, {}
        try:
            with torch.no_grad(), default_dtype(self.dtype):
                outputs = self.model(*map(self._own, inputs))
        finally:
            self.observer = self.before = None
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def _own(self, x: torch.Tensor) -> torch.Tensor:
        """An input in memory of its own, for a forward() that works in place; in float64 where the module is."""
        return x.clone() if self.dtype is None or not x.is_floating_point() else x.clone().to(self.dtype)

    def _tap(self, module: torch.nn.Module, statement: int, variable: str, value: Any) -> Any:
        check()
        found = self._place(module, statement, variable, value)
        self.counts[self.paths.get(id(module), ""), statement, variable] += 1
        return value if found is None or self.observer is None else self.observer(*found, value)

    def _before(self, module: torch.nn.Module, statement: int, variable: str, value: Any) -> Any:
        found = self._place(module, statement, variable, value)
        return value if found is None or self.before is None else self.before(*found, value)

    def _place(
        self, module: torch.nn.Module, statement: int, variable: str, value: Any
    ) -> tuple[str, str, Layout] | None:
        """(tensor key, layer path, layout) of what a statement computes, None where it is no tensor of Keras's.

        A file edited by hand may call its modules otherwise.
        """
        key = (self.paths.get(id(module), ""), statement, variable)
        occurrence = self.counts.setdefault(key, 0)
        scopes = self.manifest.scopes.get(key[0], ())
        tap = self.taps.get(key)
        if tap is None or occurrence >= len(scopes) or not hasattr(value, "dim"):
            return None
        return scopes[occurrence] + tap.tensor, tap.layer, tap.layout(value.dim())


def _compile(
    path: Path, places: Mapping[tuple[str, int], list[str]], hashes: Mapping[str, str], double: bool
) -> tuple[dict[str, Any], set[str]]:
    """The names that the tapped file defines, and the classes with taps: those whose forward() k2t wrote."""
    classes = set()
    try:
        tree = parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise does_not_import(path, error) from error
    for item, function in forwards(tree):
        if hashes.get(item.name) != forward_hash(function):
            continue
        classes.add(item.name)
        body: list[ast.stmt] = []
        for index, statement in enumerate(statements(function)):
            body.append(statement)
            for name in places.get((item.name, index), ()):
                _tap_before(statement, index, name)
                body += parse(f"{name} = {TAP}(self, {index}, {name!r}, {name})").body
        function.body = body
    if double:
        tree = Double().visit(tree)
    module = ModuleType(f"tapped_{path.parent.name}")
    module.__file__ = str(path)
    try:
        exec(compile(ast.fix_missing_locations(tree), str(path), "exec"), module.__dict__)
    except RAISED as error:  # a hand-edited file can raise anything
        raise does_not_import(path, error) from error
    return module.__dict__, classes


def _tap_before(statement: ast.stmt, index: int, name: str) -> None:
    """Put a tap around what goes into the flattening function that a statement ends with.

    ``F.softmax(TAP(self.dense(x)))``.
    """
    call: ast.expr | None = (
        statement.value if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name) else None
    )
    while isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in CASTS:
        call = call.func.value
    if not isinstance(call, ast.Call):
        return

    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if function in HIDING and call.args and not isinstance(call.args[0], ast.Name):
        call.args[0] = ast.Call(
            ast.Name(BEFORE, ast.Load()),
            [ast.Name("self", ast.Load()), ast.Constant(index), ast.Constant(name), call.args[0]],
            [],
        )
