"""A layer as a person would write it in Keras, and what the installed frameworks' own documentation says of it."""

from __future__ import annotations

import ast
import inspect
import keyword
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from k2t_core.graph import Layer, Node, Ref
from k2t_core.nests import leaves
from k2t_core.parsing import parse
from k2t_core.rules.registry import INERT_OPTIONS

# Options that say nothing about what the layer computes, besides those that no rule reads.
_UNTOLD = INERT_OPTIONS - {"name"}
_MODULES = {"nn": "torch.nn", "F": "torch.nn.functional", "torch": "torch"}


@dataclass(frozen=True)
class Documentation:
    """What an installed package says of a name."""

    name: str
    text: str


def keras_call(node: Node) -> str:
    """The call in Keras: ``conv = layers.Conv2D(32, kernel_size=(3, 3), padding='same', name='conv')(image)``.

    Arguments that equal Keras's defaults are left out, and those that only matter before or during training.
    """
    layer = node.layer
    called = ", ".join(_arguments(node))
    given = ", ".join(dict.fromkeys(_identifier(t) for t in node.outputs))
    if layer.kind.startswith("ops."):
        return f"{given} = {_operation(layer.kind)}({called})"
    return f"{given} = {constructor(layer)}({called})"


def constructor(layer: Layer) -> str:
    """``layers.Dense(10, activation='softmax', name='classes')``; of a wrapper, with the layer it wraps."""
    if layer.graph is not None:
        return _identifier(layer.name)
    cls = _class(layer.kind)
    defaults = _defaults(cls) if cls is not None else {}
    told = {**_wrapped(layer, defaults), **_options(layer, defaults)}
    first = next((name for name, default in defaults.items() if default is inspect.Parameter.empty), None)
    name_of = f"layers.{layer.kind}" if cls is not None else layer.kind.rsplit(".", 1)[-1].rsplit(">", 1)[-1]
    return f"{name_of}({', '.join(text if name == first else f'{name}={text}' for name, text in told.items())})"


def _options(layer: Layer, defaults: Mapping[str, Any]) -> dict[str, str]:
    """The options that are no defaults and say what the layer computes, in the order of its constructor."""
    order = [*(name for name in defaults if name in layer.config), *(n for n in layer.config if n not in defaults)]
    told = {}
    for name in order:
        value = _plain(layer.config[name])
        if name in _UNTOLD or name in layer.children:
            continue
        if _same(defaults[name], value) if name in defaults else name != "name" and not value:
            continue
        told[name] = repr(value)
    return told


def _wrapped(layer: Layer, defaults: Mapping[str, Any]) -> dict[str, str]:
    """The layers that a wrapper's constructor takes, the last of them first."""
    told: dict[str, str] = {}
    for name, child in layer.children.items():
        if name == "forward_layer":  # Bidirectional prefixes its name, and makes the backward layer of it
            given = str(child.config.get("name", child.name)).removeprefix("forward_")
            name, child = "layer", replace(child, config={**child.config, "name": given})
        if name in defaults and name != "backward_layer":
            told = {name: constructor(child), **told}
    return told


def documentation_of_keras(layer: Layer) -> Documentation | None:
    """The docstring of the layer's class or operation; None for a nested model and a class that is not Keras's."""
    if layer.graph is not None:
        return None
    if layer.kind.startswith("ops."):
        name = _operation(layer.kind)
        return _documented(f"keras.{name}")
    return _documented(f"keras.layers.{layer.kind}") if _class(layer.kind) is not None else None


def documentation_of_torch(source: str, lines: Iterable[int]) -> list[Documentation]:
    """The docstrings of what the ``lines`` (from 1) of a generated file use: torch's, modules first, and helpers'."""
    tree, wanted = parse(source), set(lines)
    helpers = {
        item.name: text
        for item in tree.body
        if isinstance(item, (ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(item))
    }
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        if getattr(node, "lineno", None) not in wanted:
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in _MODULES:
            names[f"{_MODULES[node.value.id]}.{node.attr}"] = None
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in helpers:
            names[node.func.id] = None
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and not (isinstance(node.func.value, ast.Name) and node.func.value.id in (*_MODULES, "self"))
        ):
            names[f"torch.Tensor.{node.func.attr}"] = None
    found = [Documentation(name, helpers[name]) if name in helpers else _documented(name) for name in names]
    return sorted(
        (entry for entry in found if entry is not None), key=lambda entry: not re.match(r"torch\.nn\.[A-Z]", entry.name)
    )


def _documented(path: str) -> Documentation | None:
    """``keras.layers.Dense`` → its docstring, where the installed package has one."""
    import importlib

    package, *parts = path.split(".")
    found: Any = importlib.import_module(package)
    for part in parts:
        found = getattr(found, part, None)
    text = inspect.getdoc(found) if found is not None and (inspect.isclass(found) or callable(found)) else None
    return Documentation(path, text.strip()) if text else None


def _class(kind: str) -> Any:
    """The class of `keras.layers` of that name; None for any other."""
    import keras

    found = getattr(keras.layers, kind, None)
    return found if inspect.isclass(found) else None


def _defaults(cls: Any) -> dict[str, Any]:
    return {
        name: p.default
        for name, p in inspect.signature(cls).parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def _same(default: Any, value: Any) -> bool:
    """Whether a value from a config is a constructor's default: (2, 2) where that is 2, 'linear' where it is None."""
    if default == value or default is None and value in ("linear", "channels_last"):
        return True
    return (
        isinstance(value, tuple)
        and len(set(value)) == 1
        and (default == value[0] or isinstance(default, (list, tuple)) and tuple(default) == value)
    )


def _plain(value: Any) -> Any:
    """A value of a config as it is written in a call: lists become tuples, a serialised object its class."""
    if isinstance(value, Mapping):
        if set(value) >= {"class_name", "config"}:
            config = value["config"]
            return config if isinstance(config, str) else value["class_name"]
        return {name: _plain(item) for name, item in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _arguments(node: Node) -> list[str]:
    """The arguments of the call, the first tensors without their names, those that are None left out."""
    found, positional = [], True
    operation = node.layer.kind.startswith("ops.")
    for name, value in node.arguments.items():
        positional = positional and (_holds_tensor(value) or operation and value is not None)
        if value is None or name == "training" and value is False:
            continue
        text = _text(value)
        found.append(text if positional else f"{name}={text}")
    return found


def _holds_tensor(value: Any) -> bool:
    return any(isinstance(leaf, Ref) for leaf in leaves(value))


def _text(value: Any) -> str:
    if isinstance(value, Ref):
        return _identifier(value.tensor)
    if isinstance(value, (list, tuple)) and len(value) == 1 and _holds_tensor(value):
        return _text(value[0])
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]" if isinstance(value, list) or _holds_tensor(value) else repr(value)
    return repr(value)


def _identifier(tensor: str) -> str:
    """A tensor's or a layer's name as Python takes it: ``dense#2:0`` → ``dense_2_0``."""
    name = re.sub(r"\W", "_", tensor)
    return f"_{name}" if name[:1].isdigit() or keyword.iskeyword(name) or not name else name


def _operation(kind: str) -> str:
    """``ops.GetItem`` → ``ops.get_item``, as far as Keras has a function of that name."""
    import keras

    name = kind.removeprefix("ops.")
    found = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return f"ops.{found}" if hasattr(keras.ops, found) else f"ops.{name}"
