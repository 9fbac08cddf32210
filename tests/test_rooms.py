"""The rooms of k2t_core: each imports only rooms below it, and no module reaches into another one's private names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "k2t_core"
# From the doors down to the ground. A room may import those that stand behind it here, and itself.
ROOMS = (
    "cli",
    "serving",
    "__init__",
    "project",
    "inspector",
    "verification",
    "emit",
    "planning",
    "keras_side",
    "rules",
    "helpers",
    "components",
    "processes",
    "ground",
)
# One module each, beside the rooms. They import one another, and nothing else of k2t.
GROUND = {
    "graph",
    "layout",
    "transforms",
    "recipe",
    "difference",
    "tensors",
    "progress",
    "nests",
    "parsing",
    "names",
    "errors",
    "words",
    "permissions",
}


def modules() -> dict[str, Path]:
    """Dotted name → file, of every module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "node_modules" not in path.parts:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    if module == "k2t_core":
        return "__init__"
    first = module.split(".")[1]
    return "ground" if first in GROUND else first


def imports(path: Path, own: str) -> Iterator[tuple[str, str]]:
    """(module of k2t_core, name taken from it or "") for every import in a file.

    Wherever it stands: in functions and under TYPE_CHECKING too.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "k2t_core")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = own.split(".") if path.name == "__init__.py" else own.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            if base.split(".")[0] == "k2t_core":
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    yield (inner, "") if inner in MODULES else (base, alias.name)


ARROWS = {
    name: {module for module, _ in imports(path, name) if module in MODULES and module != name}
    for name, path in MODULES.items()
}


def test_every_room_is_known():
    assert {room(name) for name in MODULES} - set(ROOMS) == set()
    assert {name.split(".")[1] for name in MODULES if room(name) == "ground"} == GROUND


def test_no_room_imports_upwards():
    upward = [
        f"{name} imports {other}"
        for name, others in ARROWS.items()
        for other in others
        if ROOMS.index(room(other)) < ROOMS.index(room(name))
    ]
    assert upward == []


def test_no_circle_among_the_modules():
    """Not among the modules of a room either. A package's __init__ counts as one of them."""
    colour: dict[str, str] = {}
    circles = []

    def visit(name: str, way: tuple[str, ...]) -> None:
        colour[name] = "open"
        for other in sorted(ARROWS[name]):
            if colour.get(other) == "open":
                circles.append(" → ".join([*way[way.index(other) :], other]))
            elif other not in colour:
                visit(other, (*way, other))
        colour[name] = "done"

    for name in MODULES:
        if name not in colour:
            visit(name, (name,))
    assert circles == []


def test_streamlit_is_only_met_by_the_components_and_the_server():
    met = [
        name
        for name, path in MODULES.items()
        if room(name) not in ("components", "serving") and "streamlit" in _frameworks(path)
    ]
    assert met == []


def _frameworks(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_rules_and_the_ground_import_no_framework():
    """Rules are pure: what they know of Keras is the graph. Only tensors.py hands arrays to torch, when called."""
    met = {
        name: found
        for name, path in MODULES.items()
        if room(name) in ("rules", "ground")
        if (found := _frameworks(path) & {"keras", "tensorflow", "tf_keras", "torch", "streamlit"})
    }
    assert set(met) <= {"k2t_core.tensors"}, met


# --- private names ---


def _private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _defined(path: Path) -> set[str]:
    """Private functions, methods, classes, constants and attributes that a file defines."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("self", "cls")
        ):
            found.add(node.attr)
    return {name for name in found if _private(name)}


CODE = ("k2t_core", "pages", "tests", "benchmarks", "examples", "docs", "app.py")
FILES = sorted(
    path
    for name in CODE
    for path in ((ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / name])
    if "node_modules" not in path.parts and path.name != Path(__file__).name
)
INTERNALS = PACKAGE / "keras_side" / "internals.py"  # the private names there are Keras's: that is what it is for
OWN = {name: path for path in MODULES.values() for name in _defined(path)}


@pytest.mark.parametrize("folder", CODE)
def test_no_private_name_is_used_across_modules(folder):
    used = []
    for path in FILES:
        if path.relative_to(ROOT).parts[0] != folder:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = _defined(path)
        for node in ast.walk(tree):
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("k2t_core", "pages", "tests"):
                used += [f"{place}: {alias.name}" for alias in node.names if _private(alias.name)]
            elif (
                isinstance(node, ast.Attribute)
                and node.attr in OWN
                and node.attr not in own
                and _of_ours(node.value)
                and path != INTERNALS
            ):
                used.append(f"{place}: {ast.unparse(node)}")
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value.startswith("k2t_core.")
                and _private(node.value.rsplit(".", 1)[-1])
            ):
                used.append(f"{place}: {node.value}")
    assert used == []


def _of_ours(value: ast.expr) -> bool:
    return not (isinstance(value, ast.Name) and value.id in ("self", "cls"))
