"""See inside the written module: model.py's own statements, with a tap after each that computes a Keras tensor.

The file is parsed and every tap of the manifest becomes one call inserted after its statement; nothing else changes. A
tap may also *replace* the value by Keras's own, so that every layer is judged alone, on the input Keras gave it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from k2t_core.errors import OutputError
from k2t_core.layout import Flat, Layout

TAP = "__k2t_tap__"
# (tensor key, layer path, layout, torch value) → the value to go on with
Observer = Callable[[str, str, Layout, Any], Any]


def is_untouched(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether model.py is the file that k2t wrote: taps name its statements by number."""
    return hashlib.sha256((folder / "model.py").read_bytes()).hexdigest() == manifest["source_sha256"]


class TappedModel:
    """The generated module with taps. ``run`` calls it with an observer."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]):
        self.manifest = manifest
        self.taps = {(tap["module"], tap["statement"], tap["variable"]): tap for tap in manifest["taps"]}
        places: dict[tuple[str, int], list[str]] = {}
        for tap in manifest["taps"]:
            variables = places.setdefault((tap["class"], tap["statement"]), [])
            if tap["variable"] not in variables:
                variables.append(tap["variable"])
        self.namespace = _compile(folder / "model.py", places)
        self.namespace[TAP] = self._tap
        if manifest["class"] not in self.namespace:
            raise OutputError(f"{folder / 'manifest.json'}: damaged: model.py has no class {manifest['class']!r}; convert the model again")
        self.model = self.namespace[manifest["class"]]().eval()
        self.paths = {id(module): name for name, module in self.model.named_modules(remove_duplicate=True)}
        self.observer: Observer | None = None
        self.counts: dict[tuple[str, int, str], int] = {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Load a state_dict, all keys required."""
        try:
            self.model.load_state_dict(dict(state), strict=True)
        except RuntimeError as error:
            raise OutputError(f"model.safetensors does not fit model.py: {' '.join(str(error).split())[:300]}") from error

    def run(self, inputs: list[Any], observer: Observer) -> tuple[Any, ...]:
        """The outputs for torch inputs; ``observer`` sees every tapped tensor in order of computation."""
        import torch

        self.observer, self.counts = observer, {}
        try:
            with torch.no_grad():
                outputs = self.model(*inputs)
        finally:
            self.observer = None
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def _tap(self, module: Any, statement: int, variable: str, value: Any) -> Any:
        key = (self.paths[id(module)], statement, variable)
        occurrence = self.counts.get(key, 0)
        self.counts[key] = occurrence + 1
        scopes = self.manifest["scopes"][key[0]]
        tap = self.taps[key]
        layout = tap_layout(tap, value.dim())
        return self.observer(scopes[occurrence] + tap["tensor"], tap["layer"], layout, value)


def tap_layout(tap: Mapping[str, Any], rank: int) -> Layout:
    perm = tuple(tap["permutation"] or range(rank))
    flat = tap.get("flat")
    return Layout(perm, Flat(tuple(flat["shape"]), tuple(flat["permutation"])) if flat else None)


def _compile(path: Path, places: Mapping[tuple[str, int], list[str]]) -> dict[str, Any]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for item in tree.body:
        if not isinstance(item, ast.ClassDef):
            continue
        for function in item.body:
            if not isinstance(function, ast.FunctionDef) or function.name != "forward":
                continue
            body, index = [], 0
            for statement in function.body:
                body.append(statement)
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    continue  # the docstring
                for name in places.get((item.name, index), ()):
                    body += ast.parse(f"{name} = {TAP}(self, {index}, {name!r}, {name})").body
                index += 1
            function.body = body
    module = ModuleType(f"tapped_{path.parent.name}")
    module.__file__ = str(path)
    exec(compile(ast.fix_missing_locations(tree), str(path), "exec"), module.__dict__)
    return module.__dict__
