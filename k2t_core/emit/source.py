"""Plan → Python source, as a PyTorch engineer would write it, and the map from its statements to Keras's layers."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from k2t_core.errors import K2TError
from k2t_core.layout import Layout, permute_expression
from k2t_core.planning import RESERVED, Plan, PlannedNode, PlannedScope
from k2t_core.rules.registry import SELF, Module

LINE_LENGTH = 120
_SLOT = re.compile(r"⟦(\d+)⟧")
_OUT = re.compile(r"⟦out(\d+)⟧")


@dataclass(frozen=True)
class Tap:
    """Where a Keras tensor lives in the generated file: after statement ``statement`` of a class's forward, in ``variable``."""

    class_name: str
    statement: int
    variable: str
    tensor: str
    layer: str
    layout: Layout


@dataclass(frozen=True)
class Code:
    """The text of model.py and its taps."""

    text: str
    taps: tuple[Tap, ...]

    def lines_of(self, layer: str) -> list[int]:
        """1-based line numbers of the forward statements that compute a layer's outputs."""
        positions = statement_lines(self.text)
        return sorted({line for tap in self.taps if tap.layer == layer for line in positions.get((tap.class_name, tap.statement), ())})


def write_source(plan: Plan) -> Code:
    """The source of model.py. The same plan gives the same text."""
    bodies, taps = [], []
    for scope in plan.root.scopes():
        body, found = _class(scope)
        bodies.append(body)
        taps += found
    code = "\n\n\n".join(bodies)
    helper_code = _helpers(code)
    imports = ["from pathlib import Path", "", "import torch"]
    if "F." in code or "F." in helper_code:
        imports.append("import torch.nn.functional as F")
    imports += ["from safetensors.torch import load_file", "from torch import nn"]
    if "math." in code or "math." in helper_code:
        imports.insert(0, "import math")
    root = plan.root.class_name
    text = "\n".join(
        [
            f'"""{root}, converted from the Keras model {plan.source.name} by k2t."""',
            "",
            *imports,
            "\n",
            *([helper_code, "\n"] if helper_code else []),
            code,
            "\n",
            "def load_model(weights=None) -> nn.Module:",
            '    """The model in eval mode, with the weights of ``weights`` (default: model.safetensors beside this file)."""',
            f"    model = {root}()",
            '    model.load_state_dict(load_file(weights or Path(__file__).with_name("model.safetensors")))',
            "    return model.eval()",
            "",
        ]
    )
    if not re.search(r"\btorch\.", code + helper_code):
        text = text.replace("import torch\n", "", 1)
    return Code(format_source(text), tuple(taps))


def _class(scope: PlannedScope) -> tuple[str, list[Tap]]:
    init, seen = [], set()
    for planned in scope.nodes:
        if planned.attr and planned.attr not in seen:
            seen.add(planned.attr)
            init.append(f"        self.{planned.attr} = {module_source(planned.mapping.module)}")
            init += [f"        {line.replace(SELF, 'self.' + planned.attr)}" for line in planned.mapping.init]
    parameters, body, taps, result = _forward(scope)
    doc = _docstring(scope, parameters, result)
    lines = [f"class {scope.class_name}(nn.Module):", f'    """{doc}"""', ""]
    if init:
        lines += ["    def __init__(self):", "        super().__init__()", *init, ""]
    lines += [f"    def forward(self, {', '.join(parameters)}):", *(f"        {line}" for line in body)]
    return "\n".join(lines), taps


def _docstring(scope: PlannedScope, parameters: list[str], result: list[str]) -> str:
    def describe(names: Iterable[str], tensors: Iterable[str]) -> str:
        return ", ".join(f"{name} {_shape(scope, t)}" for name, t in zip(names, tensors))

    outputs = " and ".join(_shape(scope, t) for t in scope.graph.outputs)
    return f"{describe(parameters, scope.graph.inputs)} → {outputs}."


def _shape(scope: PlannedScope, tensor: str) -> str:
    shape = scope.layouts[tensor].shape(scope.graph.tensors[tensor].shape)
    dims = ["N" if i == 0 and d is None else "?" if d is None else str(d) for i, d in enumerate(shape)]
    return f"({', '.join(dims)}{',' if len(dims) == 1 else ''})"


def _forward(scope: PlannedScope) -> tuple[list[str], list[str], list[Tap], list[str]]:
    """Parameters, statements, taps and returned names of a class's forward."""
    graph = scope.graph
    last_use = {t: -1 for t in graph.tensors}
    for step, planned in enumerate(scope.nodes):
        for t in planned.node.inputs:
            last_use[t] = step
    for t in graph.outputs:
        last_use[t] = len(scope.nodes)
    names = _Locals(scope)
    parameters = names.parameters()
    statements: list[str] = []
    taps: list[Tap] = []
    for step, planned in enumerate(scope.nodes):
        node = planned.node
        operands = [_operand(names.of[t], layout, want, graph.tensors[t].shape) for t, layout, want in zip(node.inputs, planned.inputs, planned.wants)]
        forward = planned.mapping.forward
        lines = [forward] if isinstance(forward, str) else list(forward)
        used = {t for t in node.outputs if last_use[t] >= 0}
        lines = [_fill(line, operands, planned) for line in lines]
        if isinstance(forward, str) and len(node.outputs) == 1 and lines[0] in names.of.values():
            source = next(t for t, name in names.of.items() if name == lines[0] and t in node.inputs)
            last_use[source] = max(last_use[source], last_use[node.outputs[0]])
            names.of[node.outputs[0]] = lines[0]  # the layer does nothing in torch: no statement for it
            names.holder[lines[0]] = node.outputs[0]
            continue
        targets = [names.assign(t, planned, step, last_use) if t in used else "_" for t in node.outputs]
        if isinstance(forward, str):
            lines = [f"{', '.join(targets)} = {lines[0]}"]
        else:
            lines = [_OUT.sub(lambda m: targets[int(m[1])], line) for line in lines]
        statements += lines
        for t, target in zip(node.outputs, targets):
            if target != "_":
                taps.append(Tap(scope.class_name, len(statements) - 1, target, t, node.layer.path, scope.layouts[t]))
    result = [names.of[t] for t in graph.outputs]
    statements.append(f"return {', '.join(result)}")
    return parameters, statements, taps, result


def _operand(name: str, layout: Layout, want: Layout, shape: tuple) -> str:
    if layout.flat != want.flat:
        raise K2TError(f"internal: {name} is flattened in torch's order but its consumer wants Keras's")
    return permute_expression(name, layout, want, shape)


def _fill(line: str, operands: list[str], planned: PlannedNode) -> str:
    line = line.replace(SELF, f"self.{planned.attr}")
    return _SLOT.sub(lambda m: operands[int(m[1])], line)


class _Locals:
    """Local variable names: ``x`` flows along the main path, a branch that is kept gets its layer's name."""

    def __init__(self, scope: PlannedScope):
        self.scope = scope
        self.of: dict[str, str] = {}
        self.holder: dict[str, str] = {}

    def parameters(self) -> list[str]:
        graph = self.scope.graph
        if len(graph.inputs) == 1:
            names = ["x"]
        else:
            names = []
            for label in graph.input_names:
                names.append(_identifier(label, set(names)))
        for t, name in zip(graph.inputs, names):
            self._hold(t, name)
        return names

    def assign(self, tensor: str, planned: PlannedNode, step: int, last_use: dict[str, int]) -> str:
        """A name for a new tensor: that of its dying first input, else ``x`` if free, else the layer's."""
        free = [self.of[t] for t in planned.node.inputs if last_use[t] <= step and self.holder.get(self.of[t]) == t]
        if "x" in free or not self._alive("x", step, last_use):
            name = "x"
        elif free:
            name = free[0]
        else:
            busy = {name for name in self.holder if self._alive(name, step, last_use)}
            name = _identifier(planned.node.layer.name if len(planned.node.outputs) == 1 else tensor, busy | {"x"})
        self._hold(tensor, name)
        return name

    def _alive(self, name: str, step: int, last_use: dict[str, int]) -> bool:
        return name in self.holder and last_use[self.holder[name]] > step

    def _hold(self, tensor: str, name: str) -> None:
        self.of[tensor] = name
        self.holder[name] = tensor


def _identifier(label: str, taken: set[str]) -> str:
    base = re.sub(r"\W", "_", label)
    base = f"x_{base}" if base[0].isdigit() else base
    base = f"{base}_out" if base in RESERVED else base
    name, k = base, 2
    while name in taken:
        name, k = f"{base}_{k}", k + 1
    return name


def module_source(module: Module) -> str:
    """``nn.Conv2d(3, 64, kernel_size=7, stride=2)``: arguments that equal torch's defaults are left out."""
    defaults = _defaults(module.cls)
    parts = []
    for index, (name, value) in enumerate(module.args.items()):
        if index < module.positional:
            parts.append(literal(value))
        elif name not in defaults or defaults[name] != value or isinstance(value, bool) != isinstance(defaults[name], bool):
            parts.append(f"{name}={literal(value)}")
    if module.cls == "nn.ParameterDict":
        items = ", ".join(f"{name!r}: nn.Parameter(torch.empty({', '.join(map(str, shape))}))" for name, shape in module.args["parameters"].items())
        return f"nn.ParameterDict({{{items}}})"
    return f"{module.cls}({', '.join(parts)})"


def literal(value: Any) -> str:
    """Python source of a plain value: floats short, infinities as torch spells them; a `Module` as its constructor."""
    if isinstance(value, Module):
        return module_source(value)
    if isinstance(value, float):
        return {float("inf"): "math.inf", float("-inf"): "-math.inf"}.get(value, repr(value))
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, (bool, int, str, type(None))):
        return repr(value)
    if hasattr(value, "tolist"):
        return literal(value.tolist())
    raise K2TError(f"internal: cannot write {type(value).__name__} into source")


@cache
def _defaults(cls: str) -> dict[str, Any]:
    if cls.startswith("nn."):
        from torch import nn

        constructor = getattr(nn, cls[3:])
    else:
        if cls not in _helper_sources():
            return {}  # the class of a nested model takes no arguments
        constructor = getattr(importlib.import_module(_helper_sources()[cls].module), cls)
    return {p.name: p.default for p in inspect.signature(constructor).parameters.values() if p.default is not p.empty}


@dataclass(frozen=True)
class _Helper:
    source: str
    mentions: frozenset[str]
    module: str


@cache
def _helper_sources() -> dict[str, _Helper]:
    """Every helper, by name, read from the text of its module: torch is not imported for it."""
    found: dict[str, _Helper] = {}
    folder = resources.files("k2t_core.emit").joinpath("helpers")
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".py"):
            continue
        text = file.read_text(encoding="utf-8")
        for item in ast.parse(text).body:
            if isinstance(item, (ast.FunctionDef, ast.ClassDef)):
                if item.name in found:
                    raise K2TError(f"internal: helper {item.name} is defined twice")
                start = min([item.lineno, *(d.lineno for d in item.decorator_list)])
                source = "\n".join(text.splitlines()[start - 1 : item.end_lineno])
                mentions = frozenset(n.id for n in ast.walk(item) if isinstance(n, ast.Name))
                found[item.name] = _Helper(source, mentions, f"k2t_core.emit.helpers.{file.name[:-3]}")
    return found


def _helpers(code: str) -> str:
    """The helpers that ``code`` calls, and those they call, in a fixed order."""
    sources = _helper_sources()
    needed: set[str] = set()
    queue = [name for name in sources if re.search(rf"(?<![\w.]){name}\(", code)]
    while queue:
        name = queue.pop()
        if name not in needed:
            needed.add(name)
            queue += [n for n in sources[name].mentions if n in sources]
    return "\n\n\n".join(helper.source for name, helper in sources.items() if name in needed)


def format_source(text: str) -> str:
    """Formatted by ruff, so that long constructor calls wrap as people's editors wrap them."""
    from ruff import find_ruff_bin

    command = [find_ruff_bin(), "format", "--isolated", f"--line-length={LINE_LENGTH}", "--stdin-filename=model.py", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise K2TError(f"internal: the generated source is not valid Python: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def statement_lines(text: str) -> dict[tuple[str, int], range]:
    """(class, statement number in its forward) → the lines it spans, for a source text."""
    found = {}
    for item in ast.parse(text).body:
        if isinstance(item, ast.ClassDef):
            for function in item.body:
                if isinstance(function, ast.FunctionDef) and function.name == "forward":
                    body = [s for s in function.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
                    for index, statement in enumerate(body):
                        found[item.name, index] = range(statement.lineno, statement.end_lineno + 1)
    return found
