"""Slots: the names in a rule's code that the emitter fills in. No other module knows how they are spelled.

Code of a `Mapping` is Python, an expression or statements, in which a slot stands for an input tensor (``slot(0)``,
what ``str(call.x)`` gives), for the layer's own module (``SELF``) or for an output (``OUT.format(0)``). A slot is an
identifier, so that the code is parsed as it stands; what is filled in goes to the places of the names in the text, and
the rest of the text stays as its rule wrote it.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from k2t_core.errors import K2TError, OverrideError
from k2t_core.parsing import parse

SELF = "__k2t_self__"  # the layer's module in the generated forward
OUT = "__k2t_out{}__"  # output k, for rules that write statements of their own
_SLOT = re.compile(r"__k2t_(?:(?P<self>self)|out(?P<out>\d+)|(?P<input>\d+))__")

# Function of torch → its parameters after the input, in torch's order: calls give them by position or by name, or leave
# them out. None is a tensor or a shape, which no override sets.
PARAMETERS: dict[str, tuple[str | None, ...]] = {
    "celu": ("alpha",),
    "elu": ("alpha",),
    "gelu": ("approximate",),
    "hardshrink": ("lambd",),
    "layer_norm": (None, None, None, "eps"),
    "leaky_relu": ("negative_slope",),
    "softshrink": ("lambd",),
    "threshold": ("threshold", "value"),
}
NUMBERS = {"math.inf": math.inf, "-math.inf": -math.inf, "math.nan": math.nan}  # floats that have no digits
FUNCTIONAL = ("F", "nn.functional", "torch.nn.functional", "torch")  # where they are


def slot(index: int) -> str:
    """What stands for input tensor ``index`` in a rule's code."""
    return f"__k2t_{index}__"


def is_slot(code: str | tuple[str, ...]) -> bool:
    """Whether the code is an input tensor and nothing else: its layer does nothing."""
    found = _SLOT.fullmatch(code) if isinstance(code, str) else None
    return found is not None and found["input"] is not None


def has_slots(code: str) -> bool:
    """Whether an expression depends on the call: that of a plain number does not."""
    return any(_SLOT.fullmatch(node.id) for node in _names(_parsed(code)))


def fill(
    code: str, operands: Sequence[str] | None = None, self_: str | None = None, outs: Sequence[str] | None = None
) -> str:
    """The code with expressions in the places of its slots; slots of a kind for which nothing is given stay.

    An operand that binds less tightly than a call comes in parentheses. Raises K2TError where the code is no Python, or
    names a tensor that its call does not have.
    """

    def filled(name: str) -> str | None:
        found = _SLOT.fullmatch(name)
        if found is None:
            return None
        if found["self"]:
            return self_
        given, index = (operands, found["input"]) if found["input"] else (outs, found["out"])
        if given is None:
            return None
        if int(index) >= len(given):
            raise K2TError(f"internal: {formula(code)!r} names tensor {index} of {len(given)}")
        return _primary(given[int(index)]) if found["input"] else given[int(index)]

    return _renamed(code, _names(_parsed(code)), filled)


def formula(code: str | tuple[str, ...]) -> str:
    """The code for people: its inputs are x, x1, …, its outputs y, y1, …, its module is ``self``."""
    if not isinstance(code, str):
        return "; ".join(map(formula, code))

    def spelled(name: str) -> str | None:
        found = _SLOT.fullmatch(name)
        if found is None:
            return None
        letter, index = ("x", found["input"]) if found["input"] else ("y", found["out"])
        return found["self"] or letter + index.removeprefix("0")

    return _renamed(code, _names(_parsed(code)), spelled)


def with_slots(code: str, names: Mapping[str, str]) -> str:
    """A user's expression with slots for names that are free in it: the ``x`` of a ``lambda x`` stays.

    Raises K2TError where the place of a name cannot be told (in an f-string, before Python 3.12).
    """
    return _renamed(code, dict.fromkeys(_free(_parsed(code))), names.get)


def operand(code: str) -> str:
    """The expression such that a method can be called on it: in parentheses unless it is a call, or an input itself."""
    return code if is_slot(code) or _is_closed(code, ast.Call) else f"({code})"


def keywords(code: str) -> dict[str, list[Any]]:
    """Each argument in an expression or statement that is a literal and has a name → its values, in order.

    None stands for one of `PARAMETERS` that its call leaves out.
    """
    found: dict[str, list[Any]] = {}
    for call in _calls(_parsed(code)):
        named = _arguments(call)
        for name, node in named.items():
            try:
                value = NUMBERS[text] if (text := ast.unparse(node)) in NUMBERS else ast.literal_eval(node)
            except ValueError:  # a tensor or an expression
                continue
            found.setdefault(name, []).append(value)
        for parameter in _parameters(call):
            if parameter is not None and parameter not in named:
                found.setdefault(parameter, []).append(None)
    return found


def number(value: float) -> str:
    """Python source of a float: short, and by the standard library's name where it has no digits."""
    return next((name for name, known in NUMBERS.items() if repr(known) == repr(value)), repr(value))


def literal(value: Any, own: Callable[[Any], str | None] = lambda value: None) -> str:
    """Python source of plain data, floats as `number` spells them. own: spells what is no data, within a nest too."""
    text = own(value)
    if text is not None:
        return text
    if isinstance(value, float):
        return number(value)
    if isinstance(value, tuple):
        return f"({', '.join(literal(v, own) for v in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(literal(v, own) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(k, own)}: {literal(v, own)}' for k, v in value.items())}}}"
    if isinstance(value, (bool, int, str, type(None))):
        return repr(value)
    if hasattr(value, "tolist"):
        return literal(value.tolist(), own)
    raise K2TError(f"internal: cannot write {type(value).__name__} into source")


def with_keyword(code: str, name: str, value: Any) -> str:
    """The code with ``name`` set to ``value`` in every call that has it, by position too; as it is where none has.

    Raises OverrideError where a call has its arguments from a sequence (``*sizes``), so that none can be told by place.
    """
    edits = []
    for call in _calls(_parsed(code)):
        at = _arguments(call).get(name)
        if at is not None:
            edits.append((*_span(code, at), literal(value)))
        elif name in _parameters(call):
            if _is_starred(call):
                raise OverrideError(f"which argument of {formula(code)} is {name!r} cannot be told: write it by name")
            end = _span(code, call)[1] - 1  # before its closing parenthesis
            edits.append((end, end, f"{', ' if call.args or call.keywords else ''}{name}={literal(value)}"))
    return _edited(code, edits)


def _parsed(code: str) -> ast.Module:
    try:
        return parse(code)
    except (SyntaxError, ValueError) as error:
        raise K2TError(f"internal: {code!r} is not valid Python: {error}") from error


def _names(tree: ast.AST) -> list[ast.Name]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Name)]


def _calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _parameters(call: ast.Call) -> tuple[str | None, ...]:
    """What `PARAMETERS` says of the function that is called; of a tensor's method of that name nothing."""
    if not isinstance(call.func, ast.Attribute) or ast.unparse(call.func.value) not in FUNCTIONAL:
        return ()
    return PARAMETERS.get(call.func.attr, ())


def _arguments(call: ast.Call) -> dict[str, ast.expr]:
    """The arguments of a call that have a name: keywords, and those that a known function takes by position."""
    known = () if _is_starred(call) else _parameters(call)
    placed = {name: value for name, value in zip(known, call.args[1:]) if name is not None}
    return {**placed, **{k.arg: k.value for k in call.keywords if k.arg is not None}}


def _is_starred(call: ast.Call) -> bool:
    return any(isinstance(argument, ast.Starred) for argument in call.args)


def _free(node: ast.AST, bound: frozenset[str] = frozenset()) -> Iterator[ast.Name]:
    """The names in an expression that no lambda and no comprehension around them binds, some of them twice."""
    if isinstance(node, ast.Name) and node.id not in bound:
        yield node
    inner, outside = bound, []  # parts that are read before the names are bound
    if isinstance(node, ast.Lambda):
        inner = bound | {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
        outside = [*node.args.defaults, *(default for default in node.args.kw_defaults if default is not None)]
    elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        inner = bound | {name.id for part in node.generators for name in _names(part.target)}
        outside = [node.generators[0].iter]
    for part in outside:
        yield from _free(part, bound)
    for child in ast.iter_child_nodes(node):
        yield from _free(child, inner)


def _renamed(code: str, names: Iterable[ast.Name], renamed: Callable[[str], str | None]) -> str:
    edits = []
    for node in names:
        text = renamed(node.id)
        if text is None:
            continue
        start, end = _span(code, node)
        if code.encode()[start:end].decode(errors="replace") != node.id:
            raise K2TError(f"{code!r}: take {node.id} out of the f-string")
        edits.append((start, end, text))
    return _edited(code, edits)


def _span(code: str, node: ast.expr) -> tuple[int, int]:
    """From which byte to which of the code in UTF-8 a node goes."""
    lines = code.encode().splitlines(keepends=True)
    assert node.end_lineno is not None and node.end_col_offset is not None  # of parsed code
    before = [sum(map(len, lines[: number - 1])) for number in (node.lineno, node.end_lineno)]
    return before[0] + node.col_offset, before[1] + node.end_col_offset


def _edited(code: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """The code with other text from one byte to another; edits do not overlap."""
    data = code.encode()
    for start, end, text in sorted(edits, reverse=True):
        data = data[:start] + text.encode() + data[end:]
    return data.decode()


def _is_closed(code: str, *kinds: type[ast.expr]) -> bool:
    """Whether an expression is one of these kinds, or in parentheses as a whole."""
    statement = _parsed(code).body[0]
    return isinstance(statement, ast.Expr) and (isinstance(statement.value, kinds) or statement.value.col_offset > 0)


def _primary(code: str) -> str:
    return code if _is_closed(code, ast.Name, ast.Attribute, ast.Subscript, ast.Call) else f"({code})"
