"""Layers that networks of keras.applications bring along. Source: keras/src/applications/."""

from __future__ import annotations

from k2t_core.rules.broadcasting import align
from k2t_core.rules.registry import ANY, INERT, SELF, Call, Mapping, Module, Slot, Weight, rule
from k2t_core.transforms import Reshape


@rule("keras.src.applications.convnext.LayerScale", demand=ANY)
def layer_scale(call: Call) -> Mapping:
    """x · gamma, gamma along Keras's last axis."""
    x = call.x
    call.option("init_values")  # replaced by the stored gamma
    count = int(call.option("projection_dim"))
    call.refuse(
        x.shape[-1] != count, f"its input has {x.shape[-1]} channels and its projection_dim is {count}; make them equal"
    )
    last = x.layout.axis(-1)
    shape = (count, *(1,) * (x.rank - 1 - last))
    steps = () if shape == (count,) else (Reshape((count,), shape),)
    module = Module("LayerScale", {"shape": shape}, 1)
    return Mapping(
        f"{SELF}({x})",
        module,
        (Weight("gamma", call.layer.variables[0].name, steps),),
        gives=(x.layout,),
        why="One factor for each channel.",
        keras="x · gamma",
        torch="x · gamma",
    )


@rule("keras.src.applications.convnext.StochasticDepth", demand=ANY)
def stochastic_depth(call: Call) -> Mapping:
    """Identity in inference; in training whole samples are set to 0 and the others divided by 1 − rate."""
    x = call.x
    module = Module(
        "SharedDropout",
        {"p": float(call.option("drop_path_rate")), "shape": tuple(None if axis == 0 else 1 for axis in x.layout.perm)},
        2,
    )
    why = "In inference it passes its input through; in training both drop whole samples."
    return Mapping(
        f"{SELF}({x})", module, gives=(x.layout,), status=INERT, why=why, keras="x in inference", torch="x in eval mode"
    )


@rule("keras.src.applications.inception_resnet_v2.CustomScaleLayer", demand=ANY)
def custom_scale(call: Call) -> Mapping:
    """The residual, scaled, is added to the shortcut."""
    inputs = list(call.argument("inputs"))
    call.refuse(
        len(inputs) != 2 or not all(isinstance(x, Slot) for x in inputs),
        "it adds two tensors; call it with a list of two",
    )
    call.refuse(inputs[0].shape != inputs[1].shape, "its two inputs have different shapes; make them equal")
    operands = align(call, inputs)
    shortcut, residual = operands.texts
    scale = float(call.option("scale"))
    expression = f"{shortcut} + {residual} * {scale!r}"
    return Mapping(
        expression,
        wants=operands.wants,
        gives=(operands.layout,),
        why="The same factor.",
        keras=f"x + y · {scale:g}",
        torch=f"x + y * {scale:g}",
    )
