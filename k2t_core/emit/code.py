"""The written source as data: its taps, and which of its statements and lines belong to which Keras layer."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from k2t_core.layout import Flat, Layout
from k2t_core.parsing import parse


@dataclass(frozen=True)
class Tap:
    """Where a Keras tensor lives in the running module: in ``variable`` after statement ``statement`` of forward.

    module: path of the nn.Module instance ("" for the model itself), of class ``class_name``.
    """

    module: str
    class_name: str
    statement: int
    variable: str
    tensor: str
    layer: str
    permutation: tuple[int, ...] | None  # of the tensor's axes, None where Keras and torch agree
    flat: Flat | None = None  # how torch runs through a last axis that was flattened

    @classmethod
    def of(
        cls, module: str, class_name: str, statement: int, variable: str, tensor: str, layer: str, layout: Layout
    ) -> Tap:
        permutation = None if layout.perm == tuple(range(layout.rank)) else layout.perm
        return cls(module, class_name, statement, variable, tensor, layer, permutation, layout.flat)

    def layout(self, rank: int) -> Layout:
        """The layout of the tensor, whose rank is known when it is met."""
        return Layout(self.permutation or tuple(range(rank)), self.flat)

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "module": self.module,
            "class": self.class_name,
            "statement": self.statement,
            "variable": self.variable,
            "tensor": self.tensor,
            "layer": self.layer,
            "permutation": None if self.permutation is None else list(self.permutation),
        }
        if self.flat is not None:
            data["flat"] = {"shape": list(self.flat.shape), "permutation": list(self.flat.perm)}
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Tap:
        permutation, flat = data["permutation"], data.get("flat")
        return cls(
            data["module"],
            data["class"],
            data["statement"],
            data["variable"],
            data["tensor"],
            data["layer"],
            None if permutation is None else tuple(permutation),
            Flat(tuple(flat["shape"]), tuple(flat["permutation"])) if flat else None,
        )


@dataclass(frozen=True)
class Code:
    """The text of model.py and its taps."""

    text: str
    taps: tuple[Tap, ...]


def forwards(tree: ast.Module) -> Iterator[tuple[ast.ClassDef, ast.FunctionDef]]:
    """The classes of a module that have a forward(), with it."""
    for item in tree.body:
        if isinstance(item, ast.ClassDef):
            for function in item.body:
                if isinstance(function, ast.FunctionDef) and function.name == "forward":
                    yield item, function


def statements(function: ast.FunctionDef) -> list[ast.stmt]:
    """The statements of a function as taps number them: its docstring is none."""
    return [s for s in function.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]


def forward_hashes(source: str) -> dict[str, str]:
    """Class name → hash of what its forward() assigns, statement by statement.

    Taps hold as long as that is unchanged, whatever else was edited: a changed expression is then named by its layer.
    """
    return {item.name: forward_hash(function) for item, function in forwards(parse(source))}


def forward_hash(function: ast.FunctionDef) -> str:
    """Hash of the names that a function assigns, statement by statement."""
    steps = []
    for statement in statements(function):
        targets = getattr(statement, "targets", None)
        steps.append(" ".join(map(ast.unparse, targets)) if targets else type(statement).__name__)
    return hashlib.sha256("\n".join(steps).encode()).hexdigest()[:16]


def lines_by_layer(code: Code) -> dict[str, list[int]]:
    """Layer path → 1-based lines: the statements of forward that compute it and the constructors that they use."""
    tree = parse(code.text)
    steps = {item.name: statements(function) for item, function in forwards(tree)}
    constructors = _constructors(tree)
    kept: dict[str, set[str]] = {}  # the variables of each class that hold a Keras tensor
    for tap in code.taps:
        kept.setdefault(tap.class_name, set()).add(tap.variable)
    found: dict[str, set[int]] = {}
    for tap in code.taps:
        statement, before = steps[tap.class_name][tap.statement], steps[tap.class_name][: tap.statement]
        lines = found.setdefault(tap.layer, set())
        for part in (statement, *_leading_to(statement, before, kept[tap.class_name])):
            lines.update(_lines(part))
            for node in ast.walk(part):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                    lines.update(constructors.get((tap.class_name, node.attr), ()))
    return {layer: sorted(lines) for layer, lines in found.items()}


def layers_by_line(code: Code) -> dict[int, list[str]]:
    """1-based line → the layers it computes: several where a block class stands for repeated layers."""
    found: dict[int, list[str]] = {}
    for layer, lines in lines_by_layer(code).items():
        for line in lines:
            found.setdefault(line, []).append(layer)
    return found


def _leading_to(statement: ast.stmt, before: Sequence[ast.stmt], kept: set[str]) -> list[ast.stmt]:
    """The statements directly before that compute what ``statement`` uses and no Keras tensor.

    ``_, (hidden, _) = self.lstm(x)`` before ``x = hidden[0]``.
    """
    found, needed = [], _names(statement, ast.Load)
    for earlier in reversed(before):
        given = _names(earlier, ast.Store) - {"_"}
        if given & kept or not given & needed:
            break
        found.append(earlier)
        needed |= _names(earlier, ast.Load)
    return found


def _names(statement: ast.stmt, context: type) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def _constructors(tree: ast.Module) -> dict[tuple[str, str], range]:
    """(class, attribute of self) → the lines of ``__init__`` on which it is assigned."""
    return {
        (item.name, statement.targets[0].attr): _lines(statement)
        for item in tree.body
        if isinstance(item, ast.ClassDef)
        for function in item.body
        if isinstance(function, ast.FunctionDef) and function.name == "__init__"
        for statement in function.body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Attribute)
    }


def _lines(statement: ast.stmt) -> range:
    assert statement.end_lineno is not None  # of parsed code
    return range(statement.lineno, statement.end_lineno + 1)
