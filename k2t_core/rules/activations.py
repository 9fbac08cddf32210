"""Activation names and activation layers.

Keras's formulas: keras/src/activations/activations.py and keras/src/backend/tensorflow/nn.py.
"""

from __future__ import annotations

from typing import Any

from k2t_core.layout import Layout
from k2t_core.rules.registry import ANY, EXACT, SELF, Alternative, Call, Mapping, Module, Unconvertible, Weight, rule

# name → expression over {x}; {axis} is the torch axis of Keras's last axis.
EXPRESSIONS = {
    "linear": "{x}",
    "relu": "F.relu({x})",
    "relu6": "F.relu6({x})",
    "sigmoid": "torch.sigmoid({x})",
    "hard_sigmoid": "F.hardsigmoid({x})",
    "tanh": "torch.tanh({x})",
    "hard_tanh": "F.hardtanh({x})",
    "softmax": "F.softmax({x}, dim={axis})",
    "log_softmax": "F.log_softmax({x}, dim={axis})",
    "softplus": "F.softplus({x})",
    "softsign": "F.softsign({x})",
    "elu": "F.elu({x})",
    "selu": "F.selu({x})",
    "celu": "F.celu({x})",
    "gelu": "F.gelu({x})",
    "silu": "F.silu({x})",
    "hard_silu": "F.hardswish({x})",
    "mish": "F.mish({x})",
    "exponential": "torch.exp({x})",
    "leaky_relu": "F.leaky_relu({x}, 0.2)",
    "log_sigmoid": "F.logsigmoid({x})",
    "hard_shrink": "F.hardshrink({x})",
    "soft_shrink": "F.softshrink({x})",
    "tanh_shrink": "F.tanhshrink({x})",
    "threshold": "F.threshold({x}, 0.0, 0.0)",
    "glu": "F.glu({x}, dim={axis})",
    "squareplus": "squareplus({x})",
    "sparse_plus": "sparse_plus({x})",
    "sparse_sigmoid": "((({x}) + 1) / 2).clamp(0, 1)",
    "sparsemax": "sparsemax({x}, dim={axis})",
}
ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}


def activation_name(identifier: Any) -> str:
    """The name of a serialized activation. Raises Unconvertible for a function that Keras does not own."""
    if identifier is None:
        return "linear"
    if isinstance(identifier, str):
        name = identifier
    elif isinstance(identifier, dict):
        if identifier.get("registered_name") not in (None, "function") and not str(identifier.get("module", "")).startswith("keras"):
            raise Unconvertible(f"its activation {identifier.get('registered_name')!r} is a custom function; replace it by a layer or override this one with a snippet")
        config = identifier.get("config")
        name = config if isinstance(config, str) else str(identifier.get("class_name"))
    else:
        name = getattr(identifier, "__name__", type(identifier).__name__)
    return ALIASES.get(name, name)


def apply_activation(identifier: Any, expression: str, layout: Layout) -> str:
    """The expression with a Keras activation around it, its axis carried to the layout."""
    name = activation_name(identifier)
    if name not in EXPRESSIONS:
        raise Unconvertible(f"its activation {name!r} is not known to k2t; override the layer with a snippet")
    return EXPRESSIONS[name].format(x=expression, axis=_axis(layout, -1))


def _axis(layout: Layout, keras_axis: int) -> int:
    """A torch axis, written −1 where it is the last one, as people write it."""
    axis = layout.axis(keras_axis)
    return -1 if axis == layout.rank - 1 else axis


@rule("Activation", demand=ANY, flat="pass")
def activation(call: Call) -> Mapping:
    identifier = call.option("activation")
    name = activation_name(identifier)
    call.refuse(call.layout().flat is not None and "{axis}" in EXPRESSIONS.get(name, ""), "it normalises over a flattened axis")
    return Mapping(
        forward=apply_activation(identifier, str(call.argument("inputs", call.argument("x"))), call.layout()),
        gives=(call.layout(),),
        why=f"activation {name!r}",
        keras=f"{name}(x)",
        torch=EXPRESSIONS.get(name, "").format(x="x", axis=-1),
    )
