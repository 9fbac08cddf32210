"""keras.ops in functional models, from Python operators (``x * 2``) and from explicit calls.

Source: keras/src/ops/{numpy,nn,core,math,linalg}.py for shapes and dtypes, keras/src/backend/tensorflow/ for the
values.

Long because it is a row of short rules, one an operation.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from k2t_core.graph import Node
from k2t_core.layout import identity
from k2t_core.rules.broadcasting import (
    Operands,
    align,
    cast,
    constant,
    is_float,
    is_scalar,
    number,
    promoted,
    shape_of,
    torch_dtype,
)
from k2t_core.rules.merging import BIAS_ADD, bias_axis, static_bias
from k2t_core.rules.ops_common import name_of, ops, option_literal, result_dtype
from k2t_core.rules.registry import ANY, Call, Mapping, Slot
from k2t_core.rules.slots import formula, has_slots

# --- one input, element by element -----------------------------------------------------------------------------

# Floats in, floats out; Keras turns integers into floats first, and so do these torch functions.
FLOAT_FUNCTIONS = {
    "Sqrt": "torch.sqrt({x})",
    "Exp": "torch.exp({x})",
    "Exp2": "torch.exp2({x})",
    "Expm1": "torch.expm1({x})",
    "Log": "torch.log({x})",
    "Log2": "torch.log2({x})",
    "Log10": "torch.log10({x})",
    "Log1p": "torch.log1p({x})",
    "Sin": "torch.sin({x})",
    "Cos": "torch.cos({x})",
    "Tan": "torch.tan({x})",
    "Sinh": "torch.sinh({x})",
    "Cosh": "torch.cosh({x})",
    "Tanh": "torch.tanh({x})",
    "Arcsin": "torch.asin({x})",
    "Arccos": "torch.acos({x})",
    "Arctan": "torch.atan({x})",
    "Arcsinh": "torch.asinh({x})",
    "Arccosh": "torch.acosh({x})",
    "Arctanh": "torch.atanh({x})",
    "Deg2rad": "torch.deg2rad({x})",
    "Rad2deg": "torch.rad2deg({x})",
    "I0": "torch.i0({x})",
}
# Keras gives floats for integers, these torch functions would not.
ROUNDING = {"Floor": "torch.floor({x})", "Ceil": "torch.ceil({x})"}
# Keras takes floats only.
FLOAT_ONLY = {
    "Rsqrt": "torch.rsqrt({x})",
    "Reciprocal": "1 / {x}",
    "Erf": "torch.erf({x})",
    "Erfc": "torch.erfc({x})",
    "Erfinv": "torch.erfinv({x})",
    "Sigmoid": "torch.sigmoid({x})",
    "Silu": "F.silu({x})",
    "Softplus": "F.softplus({x})",
    "Softsign": "F.softsign({x})",
    "LogSigmoid": "F.logsigmoid({x})",
    "HardSigmoid": "F.hardsigmoid({x})",
    "HardSilu": "F.hardswish({x})",
    "HardTanh": "F.hardtanh({x})",
    "TanhShrink": "F.tanhshrink({x})",
    "Selu": "F.selu({x})",
    "SparseSigmoid": "(({x} + 1) / 2).clamp(0, 1)",
}
# The dtype stays.
SAME = {"Negative": "-{x}", "Sign": "torch.sign({x})", "Relu": "F.relu({x})", "Relu6": "F.relu6({x})"}
TO_BOOL = {
    "Isnan": "torch.isnan({x})",
    "Isinf": "torch.isinf({x})",
    "Isfinite": "torch.isfinite({x})",
    "Isposinf": "torch.isposinf({x})",
    "Isneginf": "torch.isneginf({x})",
    "Signbit": "torch.signbit({x})",
}


def elementwise(call: Call, x: Slot, expression: str, why: str = "") -> Mapping:
    name = name_of(call)
    return Mapping(
        expression,
        gives=(x.layout,),
        why=why or "Element by element.",
        keras=f"{name}(x)",
        torch=formula(expression),
    )


@ops(*FLOAT_FUNCTIONS, *ROUNDING, *FLOAT_ONLY, *SAME, *TO_BOOL, demand=ANY, flat="pass")
def unary(call: Call) -> Mapping:
    x, name = call.x, name_of(call)
    torch_dtype(x.dtype)
    source = str(x)
    if (
        name in FLOAT_FUNCTIONS
        and not is_float(x.dtype)
        and result_dtype(call) != "float32"
        or name in ROUNDING
        and not is_float(x.dtype)
    ):
        source = cast(source, result_dtype(call))
    call.refuse(
        name in FLOAT_ONLY and not is_float(x.dtype), f"it is applied to {x.dtype}; cast to a float dtype first"
    )
    call.refuse(name in SAME and x.dtype == "bool", "it is applied to bool; cast to a number first")
    return elementwise(call, x, {**FLOAT_FUNCTIONS, **ROUNDING, **FLOAT_ONLY, **SAME, **TO_BOOL}[name].format(x=source))


@ops("Absolute", "Abs", "Square", "LogicalNot", demand=ANY, flat="pass")
def unary_of_any_dtype(call: Call) -> Mapping:
    x, name = call.x, name_of(call)
    if name == "LogicalNot":
        return elementwise(call, x, f"~{x}" if x.dtype == "bool" else f"torch.logical_not({x})")
    if name == "Square":
        return elementwise(call, x, f"torch.square({cast(str(x), 'int32') if x.dtype == 'bool' else x})")
    return elementwise(call, x, str(x) if x.dtype in ("bool", "uint8") else f"torch.abs({x})")


@ops("Round", demand=ANY, flat="pass")
def round_(call: Call) -> Mapping:
    """Half to even. With decimals: scaled up, rounded, scaled down, as TensorFlow's backend does."""
    x, decimals = call.x, call.option("decimals")
    if not is_float(x.dtype):
        call.refuse(decimals < 0, "it rounds integers to tens; cast to a float dtype first")
        return elementwise(call, x, str(x), "Integers are round already.")
    if decimals == 0:
        return elementwise(call, x, f"torch.round({x})")
    factor = number(math.pow(10, decimals))
    return elementwise(call, x, f"torch.round({x} * {factor}) / {factor}")


@ops(
    "LeakyRelu",
    "Elu",
    "Celu",
    "Gelu",
    "SoftShrink",
    "HardShrink",
    "Threshold",
    "Squareplus",
    "SparsePlus",
    demand=ANY,
    flat="pass",
)
def activation_with_options(call: Call) -> Mapping:
    x, name = call.x, name_of(call)
    call.refuse(not is_float(x.dtype), f"it is applied to {x.dtype}; cast to a float dtype first")

    def option(key: str) -> str:
        return option_literal(call, call.option(key), key)

    if name == "LeakyRelu":
        expression = f"F.leaky_relu({x}, {option('negative_slope')})"
    elif name in ("Elu", "Celu"):
        alpha = option("alpha")
        expression = f"F.{name.lower()}({x})" if float(alpha) == 1 else f"F.{name.lower()}({x}, {alpha})"
    elif name == "Gelu":
        expression = f'F.gelu({x}, approximate="tanh")' if call.option("approximate") else f"F.gelu({x})"
    elif name in ("SoftShrink", "HardShrink"):
        expression = f"F.{name.lower()}({x}, {option('threshold')})"
    elif name == "Threshold":
        expression = f"F.threshold({x}, {option('threshold')}, {option('default_value')})"
    elif name == "Squareplus":
        expression = f"({x} + torch.sqrt(torch.square({x}) + {option('b')})) / 2"
    else:
        expression = f"torch.where({x} < 1, torch.square({x}.clamp(min=-1) + 1) / 4, {x})"
    return elementwise(
        call, x, expression, "keras.ops.gelu is the tanh approximation by default." if name == "Gelu" else ""
    )


@ops("View", demand=ANY, flat="pass")
def view(call: Call) -> Mapping:
    """The bits of each entry as another dtype of that size."""
    x, target = call.x, call.option("dtype")
    call.refuse(
        np.dtype(x.dtype).itemsize != np.dtype(target).itemsize,
        f"it reads {x.dtype} as {target}, of another size; write the bits it means with keras.ops",
    )
    return elementwise(call, x, f"{x}.view({torch_dtype(target)})", "The same bits.")


@ops("Cast", "ConvertToTensor", "Array", "SaturateCast", demand=ANY, flat="pass", range="kept")
def cast_(call: Call) -> Mapping:
    x, target = call.x, result_dtype(call)
    call.option("dtype")
    call.option("sparse", None)
    call.option("ragged", None)
    call.refuse(
        name_of(call) == "SaturateCast" and not (is_float(x.dtype) and is_float(target)) and x.dtype != target,
        "it saturates integers; use keras.ops.clip and keras.ops.cast",
    )
    torch_dtype(x.dtype)
    return elementwise(
        call,
        x,
        str(x) if x.dtype == target else cast(str(x), target),
        "A cast." if x.dtype != target else "The dtype stays.",
    )


@ops("StopGradient", "Copy", demand=ANY, flat="pass")
def identity_(call: Call) -> Mapping:
    x = call.x
    return elementwise(call, x, f"{x}.detach()" if name_of(call) == "StopGradient" else str(x))


@ops("ZerosLike", "OnesLike", "FullLike", demand=ANY, flat="pass")
def filled_like(call: Call) -> Mapping:
    x, name = call.x, name_of(call)
    call.option("dtype")
    target = result_dtype(call)
    kind = "" if target == x.dtype else f", dtype={torch_dtype(target)}"
    if name == "FullLike":
        value = call.argument("fill_value")
        call.refuse(not is_scalar(value), "its fill_value is not a Python number")
        return elementwise(call, x, f"torch.full_like({x}, {number(value)}{kind})")
    return elementwise(call, x, f"torch.{'zeros' if name == 'ZerosLike' else 'ones'}_like({x}{kind})")


@ops("Clip", demand=ANY, flat="pass")
def clip(call: Call) -> Mapping:
    x = call.x
    low, high = (option_literal(call, call.option(key), key) for key in ("x_min", "x_max"))
    call.refuse(_float(low) > _float(high), "its x_min is above its x_max")
    source = cast(str(x), "int32") if x.dtype == "bool" else str(x)
    call.refuse(
        not is_float(x.dtype) and ("." in low + high or "e" in low + high),
        "it clips integers to fractions; cast to a float dtype first",
    )
    return elementwise(call, x, f"{source}.clamp({low}, {high})")


def _float(text: str) -> float:
    return float(text.removeprefix("-math.").removeprefix("math.")) * (-1 if text.startswith("-math.") else 1)


@ops("NanToNum", demand=ANY, flat="pass")
def nan_to_num(call: Call) -> Mapping:
    x = call.x
    options = {"nan": call.option("nan"), "posinf": call.option("posinf"), "neginf": call.option("neginf")}
    if not is_float(x.dtype):
        return elementwise(call, x, str(x), "Integers are finite.")
    parts = [
        f"{key}={option_literal(call, value, key)}"
        for key, value in options.items()
        if value is not None and (key, value) != ("nan", 0.0)
    ]
    return elementwise(call, x, f"torch.nan_to_num({', '.join([str(x), *parts])})")


# --- two and more inputs, broadcast ----------------------------------------------------------------------------

ARITHMETIC = {
    "Add": "{a} + {b}",
    "Subtract": "{a} - {b}",
    "Multiply": "{a} * {b}",
    "Divide": "{a} / {b}",
    "TrueDivide": "{a} / {b}",
    "DivideNoNan": "torch.where({b} == 0, 0, {a} / {b})",
    "FloorDivide": "{a} // {b}",
    "Mod": "{a} % {b}",
    "Power": "{a} ** {b}",
    "Maximum": "torch.maximum({a}, {b})",
    "Minimum": "torch.minimum({a}, {b})",
    "Arctan2": "torch.atan2({a}, {b})",
    "Logaddexp": "torch.logaddexp({a}, {b})",
    "Hypot": "torch.hypot({a}, {b})",
}
COMPARISONS = {"Equal": "==", "NotEqual": "!=", "Less": "<", "LessEqual": "<=", "Greater": ">", "GreaterEqual": ">="}
LOGIC = {"LogicalAnd": "&", "LogicalOr": "|", "LogicalXor": "^"}
TENSORS_ONLY = ("Arctan2", "Logaddexp", "Hypot", "DivideNoNan")


def broadcast_mapping(call: Call, operands: Operands, expression: str, formula: str) -> Mapping:
    ranks = {len(shape_of(v)) for v in operands.values}
    why = (
        "Element by element." if len(ranks) == 1 else "Broadcast as Keras does, along the axes where torch holds them."
    )
    return Mapping(
        expression,
        wants=operands.wants,
        gives=(operands.layout,),
        why=why,
        keras=formula,
        torch=formula,
        **operands.buffer,
    )


def pair(call: Call) -> tuple[Any, Any]:
    return call.argument("x1"), call.argument("x2")


def _constants(node: Node) -> list[float]:
    """The numbers among the arguments of a call, of an array the largest."""
    return [float(np.max(v)) for v in node.arguments.values() if isinstance(v, (int, float, np.ndarray)) and np.size(v)]


def _reciprocals(node: Node) -> list[float]:
    divisor = node.arguments.get("x2")
    return [1 / float(divisor)] if isinstance(divisor, (int, float)) and divisor else []


@ops("Add", demand=ANY, flat="pass", role="add", shifts=_constants)
@ops("Multiply", demand=ANY, flat="pass", factors=_constants)
@ops("Divide", "TrueDivide", demand=ANY, flat="pass", factors=_reciprocals)
@ops(*(name for name in ARITHMETIC if name not in ("Add", "Multiply", "Divide", "TrueDivide")), demand=ANY, flat="pass")
def arithmetic(call: Call) -> Mapping:
    name, result = name_of(call), result_dtype(call)
    x, y = map(constant, pair(call))
    taken_for_bias = name == "Add" and static_bias(shape_of(x), shape_of(y))
    operands = _with_bias(call, x, y) if taken_for_bias else align(call, [x, y])
    if name == "Mod":
        # Keras makes a strongly typed float32 or int32 of a number here, so the declared dtype of a smaller one is not
        # what comes out.
        small = [
            v.dtype
            for v in (x, y)
            if not is_scalar(v) and str(v.dtype) not in ("float32", "float64", "int32", "int64", "bool")
        ]
        call.refuse(
            bool(small) and (is_scalar(x) or is_scalar(y)),
            f"it takes {''.join(map(str, small[:1]))} modulo a number; cast to float32 or int32 first",
        )
    call.refuse(result == "bool", "it computes with bool; cast to a number first")
    if (
        name in ("Divide", "TrueDivide")
        and result == "float32"
        and not any(is_float(str(v.dtype)) for v in (x, y) if not is_scalar(v))
    ):
        a, b = operands.texts  # torch divides integers into float32, too
    else:
        a, b = promoted(operands, result)
    if name in TENSORS_ONLY:
        a, b = (text if has_slots(text) else f"torch.tensor({text}, dtype={torch_dtype(result)})" for text in (a, b))
    if name == "Subtract":  # torch subtracts no bool
        a, b = (
            cast(text, result) if isinstance(v, Slot) and v.dtype == "bool" and text == str(v) else text
            for v, text in zip((x, y), (a, b))
        )
    if name in ("Maximum", "Minimum"):
        bound = "min" if name == "Maximum" else "max"
        for value, text, other in ((y, b, a), (x, a, b)):
            if not isinstance(value, Slot) and not has_slots(text):
                return broadcast_mapping(call, operands, f"{other}.clamp({bound}={text})", f"{name.lower()}(x, {text})")
    if name == "FloorDivide" and is_float(result):
        # torch's // on floats follows Python and takes the remainder exactly; TensorFlow's is floor(a / b).
        return broadcast_mapping(call, operands, f"torch.floor({a} / {b})", "floor(a / b)")
    if name == "Power" and a.startswith("-"):
        a = f"({a})"
    template = ARITHMETIC[name]
    return broadcast_mapping(call, operands, template.format(a=a, b=b), template.format(a="a", b="b"))


def _with_bias(call: Call, x: Any, y: Any) -> Operands:
    """x, and what Keras takes for a bias of it, as a tensor that broadcasts along the axis it is added to."""
    shape = shape_of(x)
    call.refuse(len(shape_of(y)) > len(shape), BIAS_ADD)
    axis, count = bias_axis(shape, shape_of(y)), int(np.max(np.array(shape_of(y), dtype=int)))
    column = (count, *[1] * (len(shape) - 1 - axis))
    if not isinstance(y, Slot):
        return align(call, [x, np.reshape(y, column)])
    operands = align(call, [x])
    place = operands.layout.perm.index(axis)
    column = (count, *[1] * (len(shape) - 1 - place))
    wants = tuple(identity(y.rank) if slot.index == y.index else w for slot, w in zip(call.inputs, operands.wants))
    texts = [*operands.texts, f"{y}.reshape({', '.join(map(str, column))})"]
    return replace(operands, values=[x, y], texts=texts, wants=wants)


@ops(*COMPARISONS, demand=ANY, flat="pass")
def comparison(call: Call) -> Mapping:
    operands = align(call, pair(call))
    sign = COMPARISONS[name_of(call)]
    texts = []
    floats = {str(v.dtype) for v in operands.values if not is_scalar(v)}
    for value, text in zip(operands.values, operands.texts):
        if isinstance(value, float) and floats - {"float32"}:
            # Keras compares with the float32 nearest to a number, in the wider of both dtypes.
            text = number(float(np.float32(value)))
        elif (
            not is_scalar(value)
            and str(value.dtype) in ("float16", "bfloat16")
            and any(isinstance(v, float) for v in operands.values)
        ):
            text = cast(text, "float32")
        texts.append(text)
    return broadcast_mapping(call, operands, f"{texts[0]} {sign} {texts[1]}", f"a {sign} b")


@ops(*LOGIC, demand=ANY, flat="pass")
def logic(call: Call) -> Mapping:
    operands = align(call, pair(call))
    sign = LOGIC[name_of(call)]
    texts = []
    for value, text in zip(operands.values, operands.texts):
        if is_scalar(value) or np.size(value) == 1 and not isinstance(value, Slot):
            text = repr(bool(value))
        elif str(value.dtype) != "bool":
            text = cast(text, "bool")
        texts.append(text)
    return broadcast_mapping(call, operands, f"{texts[0]} {sign} {texts[1]}", f"a {sign} b")


@ops("Where", demand=ANY)
def where(call: Call) -> Mapping:
    condition, x, y = call.argument("condition"), call.argument("x1"), call.argument("x2")
    call.refuse(x is None or y is None, "it has no x1 and x2: the size of its result depends on the data")
    if not isinstance(condition, Slot):
        condition = np.asarray(constant(condition)).astype("bool")
        call.refuse(condition.size == 1, "its condition is a single constant; write the branch it chooses")
    operands = align(call, [condition, x, y])
    values = Operands(operands.values[1:], operands.texts[1:], operands.layout, operands.wants)
    result = result_dtype(call)
    test = operands.texts[0] if condition.dtype == "bool" else cast(operands.texts[0], "bool")
    if any(isinstance(v, Slot) for v in values.values):
        a, b = promoted(values, result)
        expression = f"torch.where({test}, {a}, {b})"
    else:
        expression = f"torch.where({test}, {values.texts[0]}, {values.texts[1]})"
        if result != "float32" or not all(isinstance(v, float) for v in values.values):
            expression = cast(expression, result)
    return broadcast_mapping(call, operands, expression, "where(condition, a, b)")
