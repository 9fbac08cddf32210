"""Dense and what stands next to it. Source: keras/src/layers/core/."""

from __future__ import annotations

import math
from typing import Any

from k2t_core.layout import identity
from k2t_core.rules.activations import apply_activation
from k2t_core.rules.registry import ANY, LAST, OUT, SELF, Call, Mapping, Module, Unconvertible, Weight, rule
from k2t_core.transforms import Permute, ReorderFlatten, Reshape, Transform


@rule("Dense", demand=LAST, flat="absorb", role="dense", widths=("in_features", "out_features"))
def dense(call: Call) -> Mapping:
    """Kernel (in, out) → weight (out, in). Works on the last Keras axis, whatever the rank."""
    units, use_bias = call.option("units"), call.option("use_bias")
    x = call.argument("inputs")
    flat = x.layout.flat
    layout = x.layout if flat else identity(x.rank)
    kernel = call.variable("kernel")
    steps: tuple[Transform, ...] = (Permute((1, 0)),)
    why = "Keras stores the kernel (in, out), torch (out, in)."
    if flat:
        steps = (ReorderFlatten(0, flat.shape, flat.perm), *steps)
        why += " Its rows are re-ordered because torch flattens channels first."
    weights = [Weight("weight", "kernel", steps)] + ([Weight("bias", "bias")] if use_bias else [])
    return Mapping(
        forward=apply_activation(call.option("activation"), f"{SELF}({x})", identity(x.rank)),
        module=Module("nn.Linear", {"in_features": kernel.shape[0], "out_features": units, "bias": use_bias}, 2),
        weights=tuple(weights),
        wants=(layout,),
        gives=(identity(x.rank),),
        why=why,
        keras="activation(x · kernel + bias)",
        torch="activation(x · weightᵀ + bias)",
    )


@rule("EinsumDense", demand=LAST, role="dense", widths=("in_features", "out_features"))
def einsum_dense(call: Call) -> Mapping:
    """nn.Linear where the equation contracts the last axes into new last ones, as in attention; else torch.einsum."""
    call.refuse(
        call.option("gptq_unpacked_column_size", None) is not None,
        "it is quantised; convert the model as it was before",
    )
    x, equation = call.x, call.option("equation").replace(" ", "")
    call.option("output_shape"), call.option("bias_axes")  # seen in the shapes of kernel and bias
    kernel = call.variable("kernel")
    bias = call.layer.variable("bias")
    rank = len(call.outputs[0].shape)
    operands, output = equation.split("->")
    input_, weight = operands.split(",")
    sizes = dict(zip(weight, kernel.shape))
    contracted = [letter for letter in input_ if letter in sizes]
    new = [letter for letter in output if letter in sizes]
    kept = input_[: len(input_) - len(contracted)]
    common: dict[str, Any] = {
        "wants": (identity(x.rank),),
        "gives": (identity(rank),),
        "keras": f"activation(einsum({equation!r}, x, kernel) + bias)",
    }
    new_shape = tuple(sizes[letter] for letter in new)
    linear = (
        input_ == kept + "".join(contracted)
        and output == kept + "".join(new)
        and sorted(weight) == sorted(contracted + new)
        and contracted
        and new
        and (bias is None or bias.shape == new_shape)
    )
    if linear:
        inputs, outputs = math.prod(sizes[letter] for letter in contracted), math.prod(new_shape)
        axes = tuple(weight.index(letter) for letter in new + contracted)
        steps: list[Transform] = [Permute(axes)] if axes != tuple(range(len(axes))) else []
        if len(axes) > 2:
            steps.append(Reshape(tuple(kernel.shape[a] for a in axes), (outputs, inputs)))
        weights = [Weight("weight", "kernel", tuple(steps))]
        if bias is not None:
            weights.append(Weight("bias", "bias", (Reshape(bias.shape, (outputs,)),) if len(new) > 1 else ()))
        expression = f"{SELF}({f'{x}.flatten(-{len(contracted)})' if len(contracted) > 1 else x})"
        if len(new) > 1:
            expression += f".unflatten(-1, {new_shape})"
        return Mapping(
            apply_activation(call.option("activation"), expression, identity(rank)),
            Module("nn.Linear", {"in_features": inputs, "out_features": outputs, "bias": bias is not None}, 2),
            tuple(weights),
            why=f"{equation} is a linear layer on the last axes.",
            torch="activation(x · weightᵀ + bias)",
            **common,
        )
    module = Module(
        "EinsumDense",
        {"equation": equation, "weight_shape": kernel.shape, "bias_shape": bias.shape if bias is not None else None},
        2,
    )
    return Mapping(
        apply_activation(call.option("activation"), f"{SELF}({x})", identity(rank)),
        module,
        (Weight("weight", "kernel"), *([Weight("bias", "bias")] if bias is not None else [])),
        why=f"{equation} is no plain linear layer, so torch.einsum computes it with Keras's own kernel.",
        torch=f"activation(torch.einsum({equation!r}, x, weight) + bias)",
        **common,
    )


@rule("Identity", demand=ANY, flat="pass", range="kept")
def identity_layer(call: Call) -> Mapping:
    """Nothing; also on a structure of tensors."""
    call.argument("inputs"), call.argument("mask")
    count = len(call.outputs)
    layouts = tuple(slot.layout for slot in call.inputs)
    forward = (
        str(call.inputs[0])
        if count == 1
        else tuple(f"{OUT.format(k)} = {slot}" for k, slot in enumerate(call.inputs[:count]))
    )
    return Mapping(forward, gives=layouts[:count], why="It passes its input through.", keras="x", torch="x")


@rule("Lambda")
def lambda_layer(call: Call) -> Mapping:
    """Python code cannot be translated; a snippet can take its place."""
    function = call.option("function", None)
    name = getattr(function, "__name__", None) or (function.get("config") if isinstance(function, dict) else None)
    what = f"the function {name!r}" if isinstance(name, str) and name != "<lambda>" else "Python code of its own"
    raise Unconvertible(
        f"it runs {what}, which k2t does not translate; override it with a PyTorch snippet over x on the "
        "Mapping page (or in the recipe), or write it with "
        f"keras.ops{call.layer.note and f' (it could not be opened: {call.layer.note})'}"
    )
