"""Activation names and activation layers.

Keras's formulas: keras/src/activations/activations.py, keras/src/layers/activations/ and
keras/src/backend/tensorflow/nn.py.

Long because the table of names and the layers of the same functions share how each is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from k2t_core.layout import Layout
from k2t_core.rules.broadcasting import align
from k2t_core.rules.registry import (
    ANY,
    INERT_OPTIONS,
    SELF,
    Alternative,
    Call,
    Mapping,
    Module,
    Slot,
    Unconvertible,
    Weight,
    rule,
)
from k2t_core.rules.slots import formula, operand
from k2t_core.transforms import Permute, Reshape, Transform

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
    "glu": "F.glu({x}, dim={axis})",
    "squareplus": "squareplus({x})",
    "sparse_plus": "sparse_plus({x})",
    "sparse_sigmoid": "((({x}) + 1) / 2).clamp(0, 1)",
    "sparsemax": "sparsemax({x}, dim={axis})",
    "keras2_hard_sigmoid": "(0.2 * {operand} + 0.5).clamp(0, 1)",
}
# The name under which k2t registers Keras 2's hard_sigmoid in Keras 3, which has another one.
KERAS2_HARD_SIGMOID = "k2t>keras2_hard_sigmoid"
ALIASES = {"swish": "silu", "hard_swish": "hard_silu", KERAS2_HARD_SIGMOID: "keras2_hard_sigmoid"}

TANH_GELU = Alternative(
    "tanh approximation",
    'F.gelu(x, approximate="tanh")',
    "where the network was trained with the approximation, as GPT-2 was; Keras's name gelu means the exact one",
)
TORCH_SLOPE = Alternative(
    "torch's slope 0.01",
    "F.leaky_relu with its default slope",
    "only where the Keras layer was given negative_slope=0.01; Keras's default is 0.3",
)

Option = Callable[[str], Any]


def activation_name(identifier: Any) -> str:
    """The name of a serialized activation. Raises Unconvertible for a function that Keras does not own."""
    if identifier is None:
        return "linear"
    if isinstance(identifier, str):
        name = identifier
    elif isinstance(identifier, dict):
        registered = identifier.get("registered_name")
        if (
            "class_name" not in identifier
            or registered not in (None, "function")
            and not str(identifier.get("module", "")).startswith("keras")
        ):
            raise Unconvertible(
                f"its activation {registered or 'lambda'!r} is a custom function; "
                "replace it by a layer or override this one with a snippet"
            )
        config = identifier.get("config")
        name = config if isinstance(config, str) else str(identifier.get("class_name"))
    else:
        name = getattr(identifier, "__name__", type(identifier).__name__)
    return ALIASES.get(name, name)


def knows_activation(name: str) -> bool:
    """Whether there is an expression for Keras's function of this name."""
    return ALIASES.get(name, name) in EXPRESSIONS


def apply_activation(identifier: Any, expression: str, layout: Layout) -> str:
    """The expression with a Keras activation around it, its axis carried to the layout.

    identifier: a name, None, or what Keras writes for a layer that is used as an activation.
    """
    name = activation_name(identifier)
    if name in EXPRESSIONS:
        return EXPRESSIONS[name].format(x=expression, operand=operand(expression), axis=_axis(layout, -1))
    if isinstance(identifier, dict) and name in LAYER_EXPRESSIONS:
        config = identifier["config"]
        read: set[str] = set()

        def option(key: str) -> Any:
            read.add(key)
            if key not in config:
                raise Unconvertible(
                    f"its activation {name} has no option {key!r} in the file; "
                    "save the model again with a current Keras"
                )
            return config[key]

        result = LAYER_EXPRESSIONS[name](expression, option, layout)
        unread = sorted(set(config) - read - INERT_OPTIONS)
        if unread:
            raise Unconvertible(
                f"its activation {name} has the option {', '.join(unread)}, which k2t does not know; "
                "update k2t or override the layer with a snippet"
            )
        return result
    raise Unconvertible(
        f"its activation {name!r} is not known to k2t; make it a layer of its own, "
        "or override this layer with a snippet"
    )


def _axis(layout: Layout, keras_axis: int) -> int:
    """A torch axis, written −1 where it is the last one, as people write it."""
    axis = layout.axis(keras_axis)
    return -1 if axis == layout.rank - 1 else axis


@rule("Activation", demand=ANY, flat="pass", role="activation")
def activation(call: Call) -> Mapping:
    """By name, or by a layer used as a function. On a flattened axis all but glu do the same in any order."""
    identifier = call.option("activation")
    name, x = activation_name(identifier), call.x
    call.refuse(
        x.layout.flat is not None and name == "glu",
        "it splits a flattened image in two halves; put a Reshape in between",
    )
    expression = apply_activation(identifier, str(x), x.layout)
    if name == "gelu" and call.choice == TANH_GELU.name:
        expression = f'F.gelu({x}, approximate="tanh")'
    return Mapping(
        expression,
        gives=(x.layout,),
        why=WHY.get(name, f"Activation {name!r}."),
        keras=f"{name}(x)",
        torch=formula(expression),
        alternatives=(TANH_GELU,) if name == "gelu" else (),
    )


WHY = {
    "gelu": "Keras's activation is the exact one, x·Φ(x); keras.ops.gelu and many papers use the tanh approximation.",
    "leaky_relu": "By name the slope is 0.2, in the layer LeakyReLU 0.3, in torch 0.01.",
    "hard_sigmoid": "Keras 3 and torch: relu6(x + 3) / 6. Keras 2 had clip(0.2·x + 0.5, 0, 1).",
    "keras2_hard_sigmoid": "Keras 2's hard_sigmoid, clip(0.2·x + 0.5, 0, 1). Keras 3 and torch have relu6(x + 3) / 6.",
    "sparsemax": "As Keras computes it: its threshold adds up all partial sums, not the last one only.",
}


# --- layers without weights ------------------------------------------------------------------------------------


def _relu(x: str, option: Option, layout: Layout) -> str:
    """ReLU.static_call in keras/src/activations/activations.py."""
    maximum, slope, threshold = option("max_value"), option("negative_slope"), option("threshold")
    if not threshold and not slope:
        if maximum is None:
            return f"F.relu({x})"
        return f"F.relu6({x})" if maximum == 6 else f"{operand(x)}.clamp(0, {float(maximum)})"
    if not threshold and maximum is None:
        return f"F.leaky_relu({x}, {float(slope)})"
    options = {"max_value": maximum, "negative_slope": slope or None, "threshold": threshold or None}
    given = (f", {name}={float(value)}" for name, value in options.items() if value is not None)
    return f"thresholded_relu({x}{''.join(given)})"


def _leaky_relu(x: str, option: Option, layout: Layout) -> str:
    return f"F.leaky_relu({x}, {float(option('negative_slope'))})"


def _elu(x: str, option: Option, layout: Layout) -> str:
    alpha = float(option("alpha"))
    return f"F.elu({x})" if alpha == 1 else f"F.elu({x}, {alpha})"


def _softmax(x: str, option: Option, layout: Layout) -> str:
    axes = option("axis")
    axes = [axes] if isinstance(axes, int) else list(axes)
    if len(axes) == 1:
        return f"F.softmax({x}, dim={_axis(layout, axes[0])})"
    return f"joint_softmax({x}, dim={tuple(sorted(layout.axis(axis) for axis in axes))})"


LAYER_EXPRESSIONS: dict[str, Callable[[str, Option, Layout], str]] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
}


@rule("ReLU", demand=ANY, flat="pass", role="activation")
@rule("activations.ReLU", demand=ANY, flat="pass")
def relu(call: Call) -> Mapping:
    """max_value, negative_slope and threshold together need a helper; alone they are torch functions."""
    x = call.x
    forward = _relu(str(x), call.option, x.layout)
    return Mapping(
        forward,
        gives=(x.layout,),
        why="Below the threshold: slope · (x − threshold); above: x, at most max_value. Only the part above is cut."
        if "thresholded" in forward
        else "Element by element.",
        keras="relu(x, max_value, negative_slope, threshold)",
        torch=formula(forward),
    )


@rule("LeakyReLU", demand=ANY, flat="pass", role="activation")
def leaky_relu(call: Call) -> Mapping:
    x = call.x
    forward = _leaky_relu(str(x), call.option, x.layout)
    if call.choice == TORCH_SLOPE.name:
        forward = f"F.leaky_relu({x})"
    return Mapping(
        forward,
        gives=(x.layout,),
        why="The layer's slope is 0.3 by default, the activation's 0.2, torch's 0.01.",
        keras="x if x > 0 else negative_slope · x",
        torch=formula(forward),
        alternatives=(TORCH_SLOPE,),
    )


@rule("ELU", demand=ANY, flat="pass", role="activation")
def elu(call: Call) -> Mapping:
    x = call.x
    forward = _elu(str(x), call.option, x.layout)
    return Mapping(
        forward,
        gives=(x.layout,),
        why="Element by element.",
        keras="x if x > 0 else alpha · (eˣ − 1)",
        torch=formula(forward),
    )


@rule("Softmax", demand=ANY, flat="pass")
def softmax(call: Call) -> Mapping:
    """With a mask: masked entries count as −10⁹ and are zero in the result, also where a whole row is masked."""
    x, mask = call.x, call.argument("mask")
    forward = _softmax(str(x), call.option, x.layout)
    common: dict[str, Any] = {"keras": f"softmax(x, axis={call.option('axis')})", "torch": formula(forward)}
    if mask is None:
        return Mapping(forward, gives=(x.layout,), why="The axis is carried to torch's order of axes.", **common)
    call.refuse(not isinstance(mask, Slot), "its mask is not a tensor of the model")
    operands = align(call, [x, mask], x.layout)
    axes = call.option("axis")
    dims = [x.layout.axis(axis) for axis in ([axes] if isinstance(axes, int) else axes)]
    allowed = operands.texts[1] if mask.dtype == "bool" else f"{operands.texts[1]} > 0.5"
    return Mapping(
        f"masked_softmax({operands.texts[0]}, {allowed}, dim={dims[0] if len(dims) == 1 else tuple(sorted(dims))})",
        wants=operands.wants,
        gives=(x.layout,),
        why="Masked entries are zero, also in a row that is masked altogether.",
        keras=common["keras"] + " where the mask is True, else 0",
        torch="masked_softmax(x, mask)",
    )


# --- PReLU -----------------------------------------------------------------------------------------------------


@rule("PReLU", demand=ANY, widths=("shape",))
def prelu(call: Call) -> Mapping:
    """alpha has the input's shape without the batch, 1 along shared axes. nn.PReLU has one slope for each channel, or
    one in all."""
    x = call.x
    call.option("shared_axes")  # seen in the shape of alpha
    shape = call.variable("alpha").shape
    layout = x.layout
    common: dict[str, Any] = {
        "gives": (layout,),
        "keras": "max(x, 0) − alpha · max(−x, 0)",
        "torch": "x if x > 0 else weight · x",
    }
    own = [axis for axis, n in enumerate(shape, start=1) if n != 1]  # axes along which the slope varies
    count = max(shape, default=1)
    steps: tuple[Transform, ...]
    if layout.perm[0] == 0 and (not own or len(own) == 1 and layout.axis(own[0]) == 1):
        steps = () if shape == (count,) else (Reshape(shape, (count,)),)
        return Mapping(
            f"{SELF}({x})",
            Module("nn.PReLU", {"num_parameters": count}),
            (Weight("weight", "alpha", steps),),
            why="One slope for each channel." if own else "One slope for all.",
            **common,
        )
    call.refuse(
        layout.perm[0] != 0,
        "its batch axis is not the first one in torch's order; put it after the layer that moves the batch axis",
    )
    steps = () if layout.is_identity else (Permute(tuple(axis - 1 for axis in layout.perm[1:])),)
    return Mapping(
        f"{SELF}({x})",
        Module("ElementwisePReLU", {"shape": tuple(shape[axis - 1] for axis in layout.perm[1:])}, 1),
        (Weight("weight", "alpha", steps),),
        why="The slope varies along more than the channels; nn.PReLU has one for each channel only.",
        **common,
    )
