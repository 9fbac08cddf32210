"""Plan → Python source, as a PyTorch engineer would write it, and the map from its statements to Keras's layers.

Long because names, constructors and statements are written on one walk, which shares its imports and its names.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from k2t_core.emit.code import Code, Tap
from k2t_core.errors import K2TError
from k2t_core.layout import Layout, permute_expression, shape_text
from k2t_core.parsing import parse
from k2t_core.planning.blocks import Block, BlockModule, Use
from k2t_core.planning.constructors import REQUIRED, changed_arguments, literal, module_source
from k2t_core.planning.helper_sources import helpers_for, names_in
from k2t_core.planning.names import identifier, in_docstring, unique_identifiers
from k2t_core.planning.plan import Plan, PlannedNode, PlannedScope
from k2t_core.rules.registry import SELF, Expression, Module
from k2t_core.rules.slots import fill, slot

LINE_LENGTH = 120
MANY_PLACES = 6  # of a block's uses are listed at its class
# Name → the line that imports it.
STANDARD_LIBRARY = {"math": "import math", "Path": "from pathlib import Path"}
INSTALLED = {
    "torch": "import torch",
    "F": "import torch.nn.functional as F",
    "load_file": "from safetensors.torch import load_file",
    "nn": "from torch import nn",
}
LOAD_MODEL = '''
def load_model(weights=None) -> nn.Module:
    """The model in eval mode, with the weights of ``weights`` (default: model.safetensors beside this file)."""
    model = {root}()
    model.load_state_dict(load_file(weights or Path(__file__).with_name("model.safetensors")))
    return model.eval()
'''


def write_source(plan: Plan) -> Code:
    """The source of model.py. The same plan gives the same text.

    Raises UnsupportedError where the plan has problems.
    """
    plan.raise_for_problems()
    paths: dict[int, str] = {id(plan.root): ""}
    for _, prefix, _, planned in plan.root.walk():
        if planned.child is not None:
            paths.setdefault(id(planned.child), f"{prefix}{planned.attr}.")
    bodies, taps = [], []
    for scope in plan.root.scopes():
        found, scope_taps = _classes(scope, paths[id(scope)])
        bodies += found
        taps += scope_taps
    classes = "\n\n\n".join(bodies)
    root = plan.root.class_name
    code = "\n\n\n".join([helpers_for(_mentioned(classes)), classes, LOAD_MODEL.format(root=root)])
    title = f'"""{root}, converted from the Keras model {in_docstring(plan.source.name)} by k2t."""'
    return Code(format_source("\n".join([title, "", *_imports(_mentioned(code)), "\n", code])), tuple(taps))


def _mentioned(code: str) -> Set[str]:
    """The names that code mentions: what it needs of the helpers, and of imports."""
    try:
        return names_in(parse(code))
    except SyntaxError as error:
        raise K2TError(f"internal: the generated source is not valid Python: {error}") from error


def _imports(names: Set[str]) -> list[str]:
    """The lines that import what is among ``names``: the standard library, then what is installed."""
    return [
        *(line for name, line in STANDARD_LIBRARY.items() if name in names),
        "",
        *(line for name, line in INSTALLED.items() if name in names),
    ]


@dataclass(frozen=True)
class _Item:
    """One thing that forward does: a call, or a whole block."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arriving: tuple[Layout, ...]
    wants: tuple[Layout, ...]
    forward: str | tuple[str, ...]
    attr: str | None
    label: str
    layer: str | None  # None for a block: its own forward holds the taps

    @classmethod
    def of_block(cls, scope: PlannedScope, use: Use, attr: str | None, label: str) -> _Item:
        layouts = tuple(scope.layouts[t] for t in use.entries)
        call = f"{SELF}({', '.join(map(slot, range(len(use.entries))))})"
        return cls(use.entries, (use.exit,), layouts, layouts, call, attr, label, None)

    @classmethod
    def of(cls, planned: PlannedNode, attr: str | None, label: str) -> _Item:
        return cls(
            planned.node.inputs,
            planned.node.outputs,
            planned.inputs,
            planned.wants,
            planned.mapped.forward,
            attr,
            label,
            planned.node.layer.path,
        )


def _classes(scope: PlannedScope, path: str) -> tuple[list[str], list[Tap]]:
    """The class of a scope at module path ``path``, the block classes it uses before it, and the taps of all."""
    sources, taps = [], []
    blocks: dict[int, list[Use]] = {}
    for use in scope.instances:
        blocks.setdefault(id(use.block), []).append(use)
    for uses in blocks.values():
        sources.append(_block_class(scope, uses))
        for use in uses:
            taps += _block_body(scope, use, uses[0], f"{path}{use.attr}")[2]
    items: list[_Item] = []
    init: list[str] = []
    starts = {use.start: use for use in scope.uses}
    index, seen = 0, set[str]()
    while index < len(scope.nodes):
        start = starts.get(index)
        if start is None:
            planned = scope.nodes[index]
            items.append(_Item.of(planned, planned.attr, planned.node.layer.name))
            if planned.attr and planned.mapped.module is not None and planned.attr not in seen:
                seen.add(planned.attr)
                init += _constructor(planned.attr, planned.mapped.module, planned.mapped.init)
            index += 1
            continue
        home = start.attr.split(".")[0]
        group = [u for u in scope.uses if u.attr.split(".")[0] == home]
        init.append(f"self.{home} = {_instances(group)}")
        items.append(_Item.of_block(scope, replace(start, exit=group[-1].exit), home, home))
        index = group[-1].stop
    parameters = ["x"] if len(scope.graph.inputs) == 1 else unique_identifiers(scope.graph.input_names)
    lines, found = _forward(
        scope, items, parameters, scope.graph.inputs, scope.graph.outputs, path.rstrip("."), scope.class_name
    )
    sources.append(
        _class_source(scope.class_name, _docstring(scope, parameters), "", init + _frozen(scope), parameters, lines)
    )
    return sources, taps + found


def _block_class(scope: PlannedScope, uses: list[Use]) -> str:
    block = uses[0].block
    parameters, lines, _ = _block_body(scope, uses[0], uses[0], "")
    for use in uses[1:]:
        if _block_body(scope, use, uses[0], "")[:2] != (parameters, lines):
            raise K2TError(f"internal: block {block.class_name} reads differently at {use.attr} than at {uses[0].attr}")
    init = []
    for part, attr, module in zip(uses[0].parts, block.attrs, block.modules):
        if module is not None and attr is not None:
            init += _constructor(attr, module, scope.nodes[part].mapped.init if isinstance(part, int) else ())
    places = list(dict.fromkeys(use.attr.split(".")[0] for use in uses))
    where = ", ".join(places) if len(places) <= MANY_PLACES else f"{', '.join(places[:MANY_PLACES])} and others"
    arguments = "".join(
        f", {name}" if default is REQUIRED else f", {name}={literal(default)}"
        for name, default in changed_arguments(block).items()
    )
    return _class_source(block.class_name, f"Used {len(uses)} times: {where}.", arguments, init, parameters, lines)


def _block_body(scope: PlannedScope, use: Use, first: Use, path: str) -> tuple[list[str], list[str], list[Tap]]:
    """Parameters and statements of a block's forward, named as its first use says, and the taps of this use."""
    items = []
    for part, attr, label in zip(use.parts, use.block.attrs, use.block.labels):
        items.append(
            _Item.of(scope.nodes[part], attr, label)
            if isinstance(part, int)
            else _Item.of_block(scope, part, attr, label)
        )
    names = ["x"] + unique_identifiers(first.entries[1:])
    lines, taps = _forward(scope, items, names, use.entries, (use.exit,), path, use.block.class_name)
    return names, lines, taps


def _frozen(scope: PlannedScope) -> list[str]:
    """Statements that freeze what is frozen in Keras (trainable=False); a nested model's class does so for its own."""
    frozen: dict[str, bool] = {}
    for planned in scope.nodes:
        if planned.attr and planned.child is None and planned.mapped.weights and not _only_buffers(planned):
            frozen[planned.attr] = planned.node.layer.config.get("trainable") is False
    if not any(frozen.values()):
        return []
    below = [
        planned
        for child in scope.scopes()[:-1]
        for planned in child.nodes
        if planned.child is None and planned.mapped.weights and not _only_buffers(planned)
    ]
    if all(frozen.values()) and all(planned.node.layer.config.get("trainable") is False for planned in below):
        return ["self.requires_grad_(False)  # trainable=False in Keras"]
    paths = [re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", f"self.{path}") for path in _whole(frozen)]
    if len(paths) <= 2:
        return [f"{path}.requires_grad_(False)  # trainable=False in Keras" for path in paths]
    return [f"for frozen in ({', '.join(paths)}):  # trainable=False in Keras", "    frozen.requires_grad_(False)"]


def _only_buffers(planned: PlannedNode) -> bool:
    return planned.mapped.module is None or not planned.mapped.module.learns


def _whole(frozen: dict[str, bool], depth: int = 1) -> list[str]:
    """The shortest module paths that hold frozen layers and no others."""
    groups: dict[str, dict[str, bool]] = {}
    for path, value in frozen.items():
        groups.setdefault(".".join(path.split(".")[:depth]), {})[path] = value
    found = []
    for path, group in groups.items():
        if all(group.values()):
            found.append(path)
        elif any(group.values()):
            found += _whole(group, depth + 1)
    return found


def _class_source(name: str, doc: str, arguments: str, init: list[str], parameters: list[str], body: list[str]) -> str:
    lines = [f"class {name}(nn.Module):", f'    """{doc}"""', ""]
    if init:
        lines += [
            f"    def __init__(self{arguments}):",
            "        super().__init__()",
            *(f"        {line}" for line in init),
            "",
        ]
    lines += [f"    def forward(self, {', '.join(parameters)}):", *(f"        {line}" for line in body)]
    return "\n".join(lines)


def _constructor(attr: str, module: Module, init: tuple[str, ...]) -> list[str]:
    return [f"self.{attr} = {module_source(module)}", *(fill(line, self_=f"self.{attr}") for line in init)]


def _instances(group: list[Use]) -> str:
    """The constructor of a block, or of the nn.Sequential of several; arithmetic series become a comprehension."""
    block = group[0].block
    if "." not in group[0].attr:
        return _instance(block, group[0].values)
    columns = list(zip(*(use.values for use in group)))
    if len(group) > 2 and all(_is_series(column) for column in columns):
        terms = [c[0] if c[0] == c[-1] else Expression(f"{literal(c[0])} + {c[1] - c[0]} * i") for c in columns]
        index = "i" if any(isinstance(term, Expression) for term in terms) else "_"
        return f"nn.Sequential(*({_instance(block, terms)} for {index} in range({len(group)})))"
    return f"nn.Sequential({', '.join(_instance(block, use.values) for use in group)})"


def _instance(block: Block, values: Sequence[Any]) -> str:
    return module_source(BlockModule(block.class_name, dict(zip(block.parameters, values)), block=block))


def _is_series(column: tuple[Any, ...]) -> bool:
    if all(value == column[0] for value in column):
        return True
    return all(type(value) is int for value in column) and len({b - a for a, b in zip(column, column[1:])}) == 1


def _docstring(scope: PlannedScope, parameters: list[str]) -> str:
    inputs = ", ".join(f"{name} {_shape(scope, t)}" for name, t in zip(parameters, scope.graph.inputs))
    return f"{inputs} → {' and '.join(_shape(scope, t) for t in scope.graph.outputs)}."


def _shape(scope: PlannedScope, tensor: str) -> str:
    return shape_text(scope.layouts[tensor].shape(scope.graph.tensors[tensor].shape))


def _forward(
    scope: PlannedScope,
    items: list[_Item],
    parameters: list[str],
    inputs: Sequence[str],
    outputs: Sequence[str],
    path: str,
    class_name: str,
) -> tuple[list[str], list[Tap]]:
    """The statements of a forward and the taps of one instance of its class."""
    shapes = {t: spec.shape for t, spec in scope.graph.tensors.items()}
    last_use = {t: -1 for t in shapes}
    for step, item in enumerate(items):
        for t in item.inputs:
            last_use[t] = step
    for t in outputs:
        last_use[t] = len(items)
    masks = {t for t, spec in scope.graph.tensors.items() if spec.dtype == "bool"}
    names = _Locals(inputs, parameters, last_use, masks)
    statements: list[str] = []
    taps: list[Tap] = []
    for step, item in enumerate(items):
        operands = [
            _operand(names.of[t], layout, want, shapes[t])
            for t, layout, want in zip(item.inputs, item.arriving, item.wants)
        ]
        code = [item.forward] if isinstance(item.forward, str) else item.forward
        single = isinstance(item.forward, str)
        lines = [fill(line, operands, f"self.{item.attr}") for line in code]
        if single and len(item.outputs) == 1 and lines[0] in {names.of[t] for t in item.inputs}:
            # The layer does nothing in torch: its output goes by its input's name, and no statement is written.
            names.alias(item.outputs[0], lines[0])
            continue
        targets = [names.assign(t, item, step) if last_use[t] >= 0 else "_" for t in item.outputs]
        if single:
            lines = [f"{', '.join(targets)} = {lines[0]}"]
        else:
            lines = [fill(line, outs=targets) for line in lines]
        statements += lines
        if item.layer is not None:
            taps += [
                Tap.of(path, class_name, len(statements) - 1, target, t, item.layer, scope.layouts[t])
                for t, target in zip(item.outputs, targets)
                if target != "_"
            ]
    statements.append(f"return {', '.join(names.of[t] for t in outputs)}")
    return statements, taps


def _operand(name: str, layout: Layout, want: Layout, shape: tuple) -> str:
    if layout.flat != want.flat:
        raise K2TError(f"internal: {name} is flattened in torch's order but its consumer wants Keras's")
    return permute_expression(name, layout, want, shape)


class _Locals:
    """Local variable names: ``x`` flows along the main path, ``y``, ``z`` and ``w`` along side branches.

    What is kept for long (a U-Net's skip connection) gets its layer's name, and a mask is called so. An input keeps its
    own name to itself.
    """

    LONG = 15  # statements
    FLOWING = ("x", "y", "z", "w")

    def __init__(self, inputs: Sequence[str], parameters: Sequence[str], last_use: dict[str, int], masks: Set[str]):
        self.last_use = last_use
        self.masks = masks
        self.of: dict[str, str] = {}
        self.holders: dict[str, set[str]] = {}  # the tensors that go by a name: a layer that does nothing adds one
        for t, name in zip(inputs, parameters):
            self._hold(t, name)

    def assign(self, tensor: str, item: _Item, step: int) -> str:
        """A name for a new tensor: that of its dying input, else the first free of x, y, z, w, else the layer's."""
        busy = {name for name in self.holders if self._alive(name, step)}
        dying = [self.of[t] for t in item.inputs if self.of[t] in self.FLOWING and self.of[t] not in busy]
        free = [name for name in self.FLOWING if name not in busy]
        if tensor in self.masks:
            name = identifier("mask", busy)
        elif len(item.outputs) > 1 or self.last_use[tensor] - step > self.LONG or not dying and not free:
            suffix = f"_{item.outputs.index(tensor)}" if len(item.outputs) > 1 else ""
            name = identifier(item.label + suffix, busy | {"x"})
        else:
            name = "x" if "x" in dying or free[:1] == ["x"] else (dying or free)[0]
        self._hold(tensor, name)
        return name

    def _alive(self, name: str, step: int) -> bool:
        return any(self.last_use[t] > step for t in self.holders.get(name, ()))

    def alias(self, tensor: str, name: str) -> None:
        """``tensor`` is what ``name`` holds already."""
        self.of[tensor] = name
        self.holders[name].add(tensor)

    def _hold(self, tensor: str, name: str) -> None:
        self.of[tensor] = name
        self.holders[name] = {tensor}


def format_source(text: str) -> str:
    """Formatted by ruff, so that long constructor calls wrap as people's editors wrap them."""
    from ruff import find_ruff_bin

    command = [
        find_ruff_bin(),
        "format",
        "--isolated",
        f"--line-length={LINE_LENGTH}",
        "--stdin-filename=model.py",
        "-",
    ]
    done = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise K2TError(f"internal: the generated source is not valid Python: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout
