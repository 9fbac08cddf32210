"""keras.ops in functional models, from Python operators (``x * 2``) and from explicit calls.

Source: keras/src/ops/{numpy,nn,core,math,linalg}.py for shapes and dtypes, keras/src/backend/tensorflow/ for the values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from k2t_core.graph import Layer
from k2t_core.layout import Layout, identity
from k2t_core.rules.broadcasting import Builder, Operands, align, cast, constant, is_float, is_scalar, number, promoted, shape_of, torch_dtype, write_array
from k2t_core.rules.merging import BIAS_ADD, static_bias
from k2t_core.rules.registry import ANY, LAST, Call, Mapping, Slot, rule
from k2t_core.rules.reshaping import indexed, reshaped, transposed


def ops(*names: str, **options: Any):
    """`rule` for keras.ops classes."""
    return rule(*(f"ops.{name}" for name in names), **options)


def _name(call: Call) -> str:
    return call.layer.kind.removeprefix("ops.")


def _result(call: Call) -> str:
    return call.outputs[0].dtype


def _literal(call: Call, value: Any, what: str) -> str:
    """Source of a number among the operation's options."""
    if isinstance(value, (np.ndarray, np.generic)) and np.size(value) == 1:
        value = np.asarray(value).item()
    call.refuse(not is_scalar(value), f"its {what} is a {type(value).__name__}; k2t converts a single number there")
    return number(value)


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
}


def _elementwise(call: Call, x: Slot, expression: str, why: str = "") -> Mapping:
    name = _name(call)
    return Mapping(expression, gives=(x.layout,), why=why or "Element by element.", keras=f"{name}(x)", torch=expression.replace(str(x), "x"))


@ops(*FLOAT_FUNCTIONS, *ROUNDING, *FLOAT_ONLY, *SAME, *TO_BOOL, demand=ANY, flat="pass")
def unary(call: Call) -> Mapping:
    x, name = call.x, _name(call)
    torch_dtype(x.dtype)
    source = str(x)
    if name in FLOAT_FUNCTIONS and not is_float(x.dtype) and _result(call) != "float32" or name in ROUNDING and not is_float(x.dtype):
        source = cast(source, _result(call))
    call.refuse(name in FLOAT_ONLY and not is_float(x.dtype), f"it is applied to {x.dtype}; cast to a float dtype first")
    call.refuse(name in SAME and x.dtype == "bool", "it is applied to bool; cast to a number first")
    return _elementwise(call, x, {**FLOAT_FUNCTIONS, **ROUNDING, **FLOAT_ONLY, **SAME, **TO_BOOL}[name].format(x=source))


@ops("Absolute", "Abs", "Square", "LogicalNot", demand=ANY, flat="pass")
def unary_of_any_dtype(call: Call) -> Mapping:
    x, name = call.x, _name(call)
    if name == "LogicalNot":
        return _elementwise(call, x, f"~{x}" if x.dtype == "bool" else f"torch.logical_not({x})")
    if name == "Square":
        return _elementwise(call, x, f"torch.square({cast(str(x), 'int32') if x.dtype == 'bool' else x})")
    return _elementwise(call, x, str(x) if x.dtype in ("bool", "uint8") else f"torch.abs({x})")


@ops("Round", demand=ANY, flat="pass")
def round_(call: Call) -> Mapping:
    """Half to even. With decimals: scaled up, rounded, scaled down, as TensorFlow's backend does."""
    x, decimals = call.x, call.option("decimals")
    if not is_float(x.dtype):
        call.refuse(decimals < 0, "it rounds integers to tens; cast to a float dtype first")
        return _elementwise(call, x, str(x), "Integers are round already.")
    if decimals == 0:
        return _elementwise(call, x, f"torch.round({x})")
    factor = number(math.pow(10, decimals))
    return _elementwise(call, x, f"torch.round({x} * {factor}) / {factor}")


@ops("LeakyRelu", "Elu", "Celu", "Gelu", "SoftShrink", "HardShrink", "Threshold", "Squareplus", "SparsePlus", demand=ANY, flat="pass")
def activation_with_options(call: Call) -> Mapping:
    x, name = call.x, _name(call)
    call.refuse(not is_float(x.dtype), f"it is applied to {x.dtype}; cast to a float dtype first")

    def option(key: str) -> str:
        return _literal(call, call.option(key), key)

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
    return _elementwise(call, x, expression, "keras.ops.gelu is the tanh approximation by default." if name == "Gelu" else "")


@ops("Cast", "ConvertToTensor", "Array", "SaturateCast", demand=ANY, flat="pass")
def cast_(call: Call) -> Mapping:
    x, target = call.x, _result(call)
    call.option("dtype")
    call.option("sparse", None)
    call.option("ragged", None)
    call.refuse(
        _name(call) == "SaturateCast" and not (is_float(x.dtype) and is_float(target)) and x.dtype != target,
        "it saturates integers; use keras.ops.clip and keras.ops.cast",
    )
    torch_dtype(x.dtype)
    return _elementwise(call, x, str(x) if x.dtype == target else cast(str(x), target), "A cast." if x.dtype != target else "The dtype stays.")


@ops("StopGradient", "Copy", demand=ANY, flat="pass")
def identity_(call: Call) -> Mapping:
    x = call.x
    return _elementwise(call, x, f"{x}.detach()" if _name(call) == "StopGradient" else str(x))


@ops("ZerosLike", "OnesLike", "FullLike", demand=ANY, flat="pass")
def filled_like(call: Call) -> Mapping:
    x, name = call.x, _name(call)
    call.option("dtype")
    target = _result(call)
    kind = "" if target == x.dtype else f", dtype={torch_dtype(target)}"
    if name == "FullLike":
        value = call.argument("fill_value")
        call.refuse(not is_scalar(value), "its fill_value is not a Python number")
        return _elementwise(call, x, f"torch.full_like({x}, {number(value)}{kind})")
    return _elementwise(call, x, f"torch.{'zeros' if name == 'ZerosLike' else 'ones'}_like({x}{kind})")


@ops("Clip", demand=ANY, flat="pass")
def clip(call: Call) -> Mapping:
    x = call.x
    low, high = (_literal(call, call.option(key), key) for key in ("x_min", "x_max"))
    call.refuse(_float(low) > _float(high), "its x_min is above its x_max")
    source = cast(str(x), "int32") if x.dtype == "bool" else str(x)
    call.refuse(not is_float(x.dtype) and ("." in low + high or "e" in low + high), "it clips integers to fractions; cast to a float dtype first")
    return _elementwise(call, x, f"{source}.clamp({low}, {high})")


def _float(text: str) -> float:
    return float(text.removeprefix("-math.").removeprefix("math.")) * (-1 if text.startswith("-math.") else 1)


@ops("NanToNum", demand=ANY, flat="pass")
def nan_to_num(call: Call) -> Mapping:
    x = call.x
    options = {"nan": call.option("nan"), "posinf": call.option("posinf"), "neginf": call.option("neginf")}
    if not is_float(x.dtype):
        return _elementwise(call, x, str(x), "Integers are finite.")
    parts = [f"{key}={_literal(call, value, key)}" for key, value in options.items() if value is not None and (key, value) != ("nan", 0.0)]
    return _elementwise(call, x, f"torch.nan_to_num({', '.join([str(x), *parts])})")


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


def _mapping(call: Call, operands: Operands, expression: str, formula: str) -> Mapping:
    ranks = {len(shape_of(v)) for v in operands.values}
    why = "Element by element." if len(ranks) == 1 else "Broadcast as Keras does, along the axes where torch holds them."
    return Mapping(expression, wants=operands.wants, gives=(operands.layout,), why=why, keras=formula, torch=formula, **operands.buffer)


def _pair(call: Call) -> tuple[Any, Any]:
    return call.argument("x1"), call.argument("x2")


@ops(*ARITHMETIC, demand=ANY, flat="pass")
def arithmetic(call: Call) -> Mapping:
    name, result = _name(call), _result(call)
    operands = align(call, _pair(call))
    x, y = operands.values
    call.refuse(name == "Add" and static_bias(shape_of(x), shape_of(y)), BIAS_ADD)
    call.refuse(name in TENSORS_ONLY and (is_scalar(x) or is_scalar(y)), "one of its arguments is a Python number; use an array or a tensor")
    if name == "Mod":
        # Keras makes a strongly typed float32 or int32 of a number here, so the declared dtype of a smaller one is not what comes out.
        small = [v.dtype for v in (x, y) if not is_scalar(v) and str(v.dtype) not in ("float32", "float64", "int32", "int64", "bool")]
        call.refuse(bool(small) and (is_scalar(x) or is_scalar(y)), f"it takes {''.join(map(str, small[:1]))} modulo a number; cast to float32 or int32 first")
    call.refuse(result == "bool", "it computes with bool; cast to a number first")
    if name in ("Divide", "TrueDivide") and result == "float32" and not any(is_float(str(v.dtype)) for v in (x, y) if not is_scalar(v)):
        a, b = operands.texts  # torch divides integers into float32, too
    else:
        a, b = promoted(operands, result)
    if name in ("Maximum", "Minimum"):
        bound = "min" if name == "Maximum" else "max"
        for value, text, other in ((y, b, a), (x, a, b)):
            if not isinstance(value, Slot) and not text.startswith(("torch.", "⟦")):
                return _mapping(call, operands, f"{other}.clamp({bound}={text})", f"{name.lower()}(x, {text})")
    if name == "FloorDivide" and is_float(result):
        # torch's // on floats follows Python and takes the remainder exactly; TensorFlow's is floor(a / b).
        return _mapping(call, operands, f"torch.floor({a} / {b})", "floor(a / b)")
    if name == "Power" and a.startswith("-"):
        a = f"({a})"
    template = ARITHMETIC[name]
    return _mapping(call, operands, template.format(a=a, b=b), template.format(a="a", b="b"))


@ops(*COMPARISONS, demand=ANY, flat="pass")
def comparison(call: Call) -> Mapping:
    operands = align(call, _pair(call))
    sign = COMPARISONS[_name(call)]
    texts = []
    floats = {str(v.dtype) for v in operands.values if not is_scalar(v)}
    for value, text in zip(operands.values, operands.texts):
        if isinstance(value, float) and floats - {"float32"}:
            # Keras compares with the float32 nearest to a number, in the wider of both dtypes.
            text = number(float(np.float32(value)))
        elif not is_scalar(value) and str(value.dtype) in ("float16", "bfloat16") and any(isinstance(v, float) for v in operands.values):
            text = cast(text, "float32")
        texts.append(text)
    return _mapping(call, operands, f"{texts[0]} {sign} {texts[1]}", f"a {sign} b")


@ops(*LOGIC, demand=ANY, flat="pass")
def logic(call: Call) -> Mapping:
    operands = align(call, _pair(call))
    sign = LOGIC[_name(call)]
    texts = []
    for value, text in zip(operands.values, operands.texts):
        if is_scalar(value) or np.size(value) == 1 and not isinstance(value, Slot):
            text = repr(bool(value))
        elif str(value.dtype) != "bool":
            text = cast(text, "bool")
        texts.append(text)
    return _mapping(call, operands, f"{texts[0]} {sign} {texts[1]}", f"a {sign} b")


@ops("Where", demand=ANY)
def where(call: Call) -> Mapping:
    condition, x, y = call.argument("condition"), call.argument("x1"), call.argument("x2")
    call.refuse(x is None or y is None, "it has no x1 and x2: the size of its result depends on the data")
    if not isinstance(condition, Slot):
        condition = np.asarray(constant(condition)).astype("bool")
        call.refuse(condition.size == 1, "its condition is a single constant; write the branch it chooses")
    operands = align(call, [condition, x, y])
    values = Operands(operands.values[1:], operands.texts[1:], operands.layout, operands.wants)
    result = _result(call)
    test = operands.texts[0] if condition.dtype == "bool" else cast(operands.texts[0], "bool")
    if any(isinstance(v, Slot) for v in values.values):
        a, b = promoted(values, result)
        expression = f"torch.where({test}, {a}, {b})"
    else:
        expression = f"torch.where({test}, {values.texts[0]}, {values.texts[1]})"
        if result != "float32" or not all(isinstance(v, float) for v in values.values):
            expression = cast(expression, result)
    return _mapping(call, operands, expression, "where(condition, a, b)")


# --- reductions ------------------------------------------------------------------------------------------------


def _axes(call: Call, rank: int, key: str = "axis") -> list[int]:
    """The Keras axes of an ``axis`` option: an int, a sequence, or None for all."""
    value = call.option(key)
    if value is None:
        return list(range(rank))
    axes = [value] if isinstance(value, (int, np.integer)) else list(value)
    call.refuse(not axes, "its axis is empty")
    return sorted(int(axis) % rank for axis in axes)


def _torch_axes(layout: Layout, axes: Sequence[int]) -> str:
    dims = sorted(layout.axis(axis) for axis in axes)
    return str(dims[0]) if len(dims) == 1 else f"({', '.join(map(str, dims))})"


def _reduction_demand(layer: Layer) -> str | None:
    return ANY if layer.config.get("keepdims") else None


REDUCTIONS = {
    "Mean": "mean",
    "Average": "mean",
    "Sum": "sum",
    "Max": "amax",
    "Amax": "amax",
    "Min": "amin",
    "Amin": "amin",
    "Prod": "prod",
    "Var": "var",
    "Std": "std",
    "Any": "any",
    "All": "all",
    "CountNonzero": "count_nonzero",
    "Logsumexp": "logsumexp",
    "Norm": "norm",
}


@ops(*REDUCTIONS, demand=_reduction_demand)
def reduction(call: Call) -> Mapping:
    x, name, result = call.x, _name(call), _result(call)
    torch_dtype(x.dtype), torch_dtype(result)
    call.refuse(name == "Average" and call.argument("weights") is not None, "it has weights; write it as a product and a sum")
    axes = _axes(call, x.rank)
    keepdims = name not in ("Average", "CountNonzero") and call.option("keepdims")
    everything = len(axes) == x.rank and not keepdims
    dims = _torch_axes(x.layout, axes)
    arguments = ([] if everything else [f"dim={dims}"]) + (["keepdim=True"] if keepdims else [])
    method, source, suffix = REDUCTIONS[name], str(x), ""
    if name in ("Mean", "Average", "Var", "Std") and not is_float(x.dtype):
        source = cast(source, result)
    elif name in ("Any", "All") and x.dtype != "bool":
        source = cast(source, "bool")
    elif name in ("Max", "Amax", "Min", "Amin") and x.dtype == "bool":
        call.refuse(call.option("initial", None) is not None, "it reduces bool with an initial value")
        method = {"amax": "any", "amin": "all"}[method]
    elif name == "Sum" and not is_float(x.dtype):
        arguments.append(f"dtype={torch_dtype(result)}")
    if name in ("Var", "Std"):
        arguments.append("correction=0")
    if name in ("Max", "Min") and call.option("initial") is not None:
        initial = _literal(call, call.option("initial"), "initial")
        call.refuse(not is_float(x.dtype) and "." in initial, "it reduces integers with a fractional initial value")
        suffix = f".clamp({'min' if name == 'Max' else 'max'}={initial})"
    if name == "Prod":
        call.refuse(call.option("dtype") not in (None, x.dtype), "it has a dtype, which Keras on TensorFlow ignores; cast before it")
        kind = "" if is_float(x.dtype) else f", dtype={torch_dtype(result)}"
        order = sorted((x.layout.axis(axis) for axis in axes), reverse=True)
        chain = "".join(f".prod({dim}{', keepdim=True' if keepdims else ''}{kind})" for dim in order)
        expression = f"{source}{chain}"
    elif name == "Norm":
        expression = _norm(call, x, axes, [] if everything else [f"dim={dims}"], keepdims)
    elif name == "Logsumexp":
        call.refuse(not is_float(x.dtype), f"it is applied to {x.dtype}; cast to a float dtype first")
        arguments = [f"dim={dims if not everything else tuple(range(x.rank))}"] + (["keepdim=True"] if keepdims else [])
        expression = f"torch.logsumexp({', '.join([source, *arguments])})"
    elif name == "CountNonzero":
        expression = f"torch.count_nonzero({', '.join([source, *arguments])}).int()"
    else:
        expression = f"{source}.{method}({', '.join(arguments)}){suffix}"
    gives = x.layout if keepdims else x.layout.drop(set(axes))
    return Mapping(
        expression,
        wants=(x.layout,),
        gives=(gives,),
        why=f"Keras reduces axis {', '.join(map(str, axes))}, which torch holds as {dims.strip('()')}."
        + (" Divided by n, not n − 1." if name in ("Var", "Std") else ""),
        keras=f"{name.lower()}(x, axis={call.layer.config.get('axis')})",
        torch=expression.replace(str(x), "x"),
    )


@ops("Moments", demand=_reduction_demand)
def moments(call: Call) -> Mapping:
    """The mean, and the variance around it, divided by n. In float16 Keras computes in float32 and clips."""
    x, axes, keepdims = call.x, call.option("axes"), call.option("keepdims")
    call.refuse(bool(call.option("synchronized")), "it is synchronized over replicas")
    call.refuse(x.dtype not in ("float32", "float64"), f"it is applied to {x.dtype}; cast to float32 first")
    axes = sorted(int(a) % x.rank for a in np.ravel(axes))
    dims = tuple(sorted(x.layout.axis(axis) for axis in axes))
    expression = f"torch.var_mean({x}, dim={dims}, correction=0{', keepdim=True' if keepdims else ''})[::-1]"
    return Mapping(
        expression,
        wants=(x.layout,),
        gives=(x.layout if keepdims else x.layout.drop(set(axes)),) * 2,
        why="Divided by n, not n − 1; torch gives the variance first.",
        keras=f"moments(x, axes={axes})",
        torch=expression.replace(str(x), "x"),
    )


def _norm(call: Call, x: Slot, axes: list[int], arguments: list[str], keepdims: bool) -> str:
    order = call.option("ord")
    call.refuse(len(axes) > 2 or len(axes) == 2 and order not in (None, "fro"), "it is a matrix norm other than Frobenius's")
    call.refuse(not is_float(x.dtype), f"it is applied to {x.dtype}; cast to a float dtype first")
    if order not in (None, "fro", 2):
        arguments = [f"ord={_literal(call, order, 'ord')}", *arguments]
    return f"torch.linalg.vector_norm({', '.join([str(x), *arguments, *(['keepdim=True'] if keepdims else [])])})"


@ops("Argmax", "Argmin", demand=_reduction_demand)
def arg_extremum(call: Call) -> Mapping:
    """The first of equal entries, as int32. (Keras ranks −0.0 below 0.0, torch takes them for equal.)"""
    x, method = call.x, _name(call).lower()
    axis, keepdims = call.option("axis"), call.option("keepdims")
    call.refuse(x.dtype == "bool", "it is applied to bool; cast to a number first")
    if axis is None:
        wants = x.layout if x.layout.same_memory(identity(x.rank), x.shape) else identity(x.rank)
        expression = f"{x}.{method}().int()" + (f".reshape({', '.join('1' * x.rank)})" if keepdims else "")
        return Mapping(expression, wants=(wants,), why="The position counts through Keras's order of axes.", keras=f"{method}(x)", torch=f"x.{method}()")
    axis = (axis[0] if isinstance(axis, (list, tuple)) else axis) % x.rank
    dim = x.layout.axis(axis)
    return Mapping(
        f"{x}.{method}(dim={dim}{', keepdim=True' if keepdims else ''}).int()",
        gives=(x.layout if keepdims else x.layout.drop({axis}),),
        why=f"Keras's axis {axis} is torch's axis {dim}; Keras gives int32.",
        keras=f"{method}(x, axis={axis})",
        torch=f"x.{method}(dim={dim}).int()",
    )


@ops("Softmax", "LogSoftmax", demand=ANY)
def softmax(call: Call) -> Mapping:
    x, axis = call.x, call.option("axis")
    function = {"Softmax": "F.softmax", "LogSoftmax": "F.log_softmax"}[_name(call)]
    if axis is None:
        return _elementwise(call, x, f"{function}({x}.flatten(), dim=0).view_as({x})", "Over the whole tensor, the batch included.")
    call.refuse(not isinstance(axis, int), "it normalises over several axes; reshape them into one")
    dim = x.layout.axis(axis)
    return _elementwise(call, x, f"{function}({x}, dim={-1 if dim == x.rank - 1 else dim})", f"Keras's axis {axis} is torch's axis {dim}.")


@ops("Normalize", demand=ANY)
def normalize(call: Call) -> Mapping:
    """x / max(‖x‖, ε); Keras's ε is 1e-7 by default."""
    x, order, epsilon = call.x, call.option("order"), call.option("epsilon")
    axis = call.option("axis")
    call.refuse(not isinstance(axis, int), "it normalises over several axes; reshape them into one")
    call.refuse(not is_float(x.dtype), f"it is applied to {x.dtype}; cast to a float dtype first")
    parts = [f"p={order}"] if order != 2 else []
    dim = x.layout.axis(axis)
    parts += [f"dim={dim}", f"eps={_literal(call, 1e-7 if epsilon is None else epsilon, 'epsilon')}"]
    return _elementwise(call, x, f"F.normalize({', '.join([str(x), *parts])})", f"Keras's axis {axis} is torch's axis {dim}.")


@ops("Glu", demand=ANY)
def glu(call: Call) -> Mapping:
    x = call.x
    return _elementwise(call, x, f"F.glu({x}, dim={x.layout.axis(call.option('axis'))})")


@ops("Cumsum", "Cumprod", demand=ANY)
def cumulative(call: Call) -> Mapping:
    x, axis, method = call.x, call.option("axis"), _name(call).lower()
    call.option("dtype")
    result = _result(call)
    kind = f", dtype={torch_dtype(result)}" if result != x.dtype or not is_float(result) else ""
    if axis is None:
        return Mapping(
            f"{x}.flatten().{method}(0{kind})",
            wants=(identity(x.rank),),
            why="Over the whole tensor in Keras's order.",
            keras=f"{method}(x)",
            torch=f"x.flatten().{method}(0)",
        )
    dim = x.layout.axis(axis)
    return _elementwise(call, x, f"{x}.{method}({dim}{kind})", f"Keras's axis {axis} is torch's axis {dim}.")


@ops("Diff", demand=ANY)
def diff(call: Call) -> Mapping:
    x = call.x
    n, dim = call.option("n"), x.layout.axis(call.option("axis"))
    return _elementwise(call, x, f"torch.diff({x}, {f'n={n}, ' if n != 1 else ''}dim={dim})")


@ops("Sort", "Argsort", demand=ANY)
def sort(call: Call) -> Mapping:
    x, axis = call.x, call.option("axis")
    call.refuse(axis is None, "it sorts the flattened tensor; flatten it first")
    dim = x.layout.axis(axis)
    if _name(call) == "Sort":
        return _elementwise(call, x, f"{x}.sort(dim={dim}).values")
    return _elementwise(call, x, f"{x}.argsort(dim={dim}, stable=True).int()", "Equal entries keep their order; Keras gives int32.")


@ops("TopK", demand=ANY)
def top_k(call: Call) -> Mapping:
    x = call.x
    call.option("sorted")  # False leaves the order open, so the sorted one will do
    return Mapping(
        f"top_k({x}, {call.option('k')}, dim={x.layout.axis(-1)})",
        gives=(x.layout, x.layout),
        why="The last Keras axis; among equals the first comes first, indices are int32.",
        keras="top_k(x, k)",
        torch="top_k(x, k, dim)",
    )


# --- shapes ----------------------------------------------------------------------------------------------------


@ops("GetItem", demand=ANY)
def get_item(call: Call) -> Mapping:
    x, key = call.argument("x"), call.argument("key")
    call.refuse(not isinstance(x, Slot), "it indexes a constant with a tensor; use keras.ops.take")
    key = list(key) if isinstance(key, (tuple, list)) else [key]
    call.refuse(sum(item is Ellipsis for item in key) > 1, "its key has more than one ellipsis")
    items = [_index(call, item) for item in key]
    used = sum(item is not None and item is not Ellipsis for item in items)
    fill = [slice(None)] * (x.rank - used)
    at = next((i for i, item in enumerate(items) if item is Ellipsis), None)
    items = [*items, *fill] if at is None else [*items[:at], *fill, *items[at + 1 :]]
    text = ", ".join("…" if k is Ellipsis else "None" if k is None else _key_text(k) for k in key)
    return indexed(call, x, items, f"x[{text}]")


def _key_text(item: Any) -> str:
    if isinstance(item, slice):
        return ":".join("" if v is None else str(v) for v in (item.start, item.stop)) + (f":{item.step}" if item.step is not None else "")
    return str(item)


def _index(call: Call, item: Any) -> Any:
    if item is None or item is Ellipsis:
        return item
    if isinstance(item, slice):
        parts = [item.start, item.stop, item.step]
        call.refuse(any(v is not None and not isinstance(v, (int, np.integer)) for v in parts), "it slices with a tensor; slice with numbers")
        return slice(*(None if v is None else int(v) for v in parts))
    if isinstance(item, (np.ndarray, np.generic)) and item.ndim == 0:
        item = item.item()
    call.refuse(
        isinstance(item, bool) or not isinstance(item, int), f"its index is a {'tensor' if isinstance(item, Slot) else type(item).__name__}; use keras.ops.take"
    )
    return item


@ops("Slice", demand=ANY)
def slice_(call: Call) -> Mapping:
    x, start, sizes = call.argument("inputs"), call.argument("start_indices"), call.option("shape")
    call.refuse(isinstance(start, Slot) or any(isinstance(s, Slot) for s in start), "its start is a tensor; slice with numbers")
    start = [int(s) for s in start]
    items = [slice(s, None if n == -1 else s + int(n)) for s, n in zip(start, sizes)]
    return indexed(call, x, items, f"slice(x, {tuple(start)}, {tuple(sizes)})")


@ops("ExpandDims", demand=None)
def expand_dims(call: Call) -> Mapping:
    x, axis = call.x, call.option("axis")
    rank = len(call.outputs[0].shape)
    new = {int(a) % rank for a in (axis if isinstance(axis, (list, tuple)) else [axis])}
    return indexed(call, x, [None if i in new else slice(None) for i in range(rank)], f"expand_dims(x, {axis})")


@ops("Squeeze", demand=None)
def squeeze(call: Call) -> Mapping:
    x = call.x
    axis = call.option("axis")
    if axis is None:
        axes = [i for i, n in enumerate(x.shape) if n == 1]
        if not axes:
            return _elementwise(call, x, str(x), "No axis of size 1.")
    else:
        axes = _axes(call, x.rank)
    expression = f"{x}.squeeze({_torch_axes(x.layout, axes)})"
    return Mapping(
        expression,
        wants=(x.layout,),
        gives=(x.layout.drop(set(axes)),),
        why="Axes of size 1 go.",
        keras=f"squeeze(x, {axis})",
        torch=expression.replace(str(x), "x"),
    )


@ops("Reshape", demand=None)
def reshape(call: Call) -> Mapping:
    x, shape = call.x, call.option("newshape")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    call.refuse(not all(isinstance(n, (int, np.integer)) for n in shape), "its new shape holds an unknown size; write −1 for it")
    target = call.outputs[0].shape
    rest = [*x.shape[1:], *target[1:]]
    same_rest = None not in rest and math.prod(x.shape[1:]) == math.prod(target[1:])
    return reshaped(call, x, target, keeps_batch=bool(x.shape) and bool(target) and x.shape[0] == target[0] and same_rest)


@ops("Ravel", demand=LAST)
def ravel(call: Call) -> Mapping:
    x = call.x
    return Mapping(f"{x}.flatten()", wants=(identity(x.rank),), why="Keras's order of axes.", keras="ravel(x)", torch="x.flatten()")


@ops("Transpose", "Swapaxes", "Moveaxis", demand=None)
def transpose(call: Call) -> Mapping:
    x, name = call.x, _name(call)
    order = list(range(x.rank))
    if name == "Transpose":
        axes = call.option("axes")
        order = order[::-1] if axes is None else [int(a) % x.rank for a in axes]
    elif name == "Swapaxes":
        a, b = call.option("axis1") % x.rank, call.option("axis2") % x.rank
        order[a], order[b] = order[b], order[a]
    else:
        sources, targets = ([int(a) % x.rank for a in call.option(key)] for key in ("source", "destination"))
        order = [a for a in order if a not in sources]
        for target, source in sorted(zip(targets, sources)):
            order.insert(target, source)
    return transposed(call, x, tuple(order))


def _slots(call: Call, key: str) -> list[Slot]:
    values = call.argument(key)
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    call.refuse(not all(isinstance(v, Slot) for v in values), "one of its inputs is a constant; add it as a layer's weight or broadcast it first")
    return values


@ops("Concatenate", "Hstack", "Vstack", demand=ANY)
def concatenate(call: Call) -> Mapping:
    operands = align(call, _slots(call, "xs"))
    axis = {"Hstack": 1, "Vstack": 0}.get(_name(call))
    call.refuse(axis is not None and operands.layout.rank < 2, "its inputs have a single axis; use keras.ops.concatenate")
    axis = call.option("axis") if axis is None else axis
    dim = operands.layout.axis(axis)
    return Mapping(
        f"torch.cat([{', '.join(_same_dtype(operands, _result(call)))}], dim={dim})",
        wants=operands.wants,
        gives=(operands.layout,),
        why=f"Keras's axis {axis} is torch's axis {dim}.",
        keras=f"{_name(call).lower()}(xs{f', axis={axis}' if _name(call) == 'Concatenate' else ''})",
        torch=f"torch.cat(xs, dim={dim})",
    )


def _same_dtype(operands: Operands, result: str) -> list[str]:
    torch_dtype(result)
    return [text if value.dtype == result else cast(text, result) for value, text in zip(operands.values, operands.texts)]


@ops("Stack", demand=None)
def stack(call: Call) -> Mapping:
    operands = align(call, _slots(call, "x"))
    rank = len(call.outputs[0].shape)
    axis = call.option("axis") % rank
    order = [a if a < axis else a + 1 for a in operands.layout.perm]
    wanted = call.wanted[0] if call.wanted else None
    gives = next((g for g in (wanted, identity(rank)) if g is not None and [a for a in g.perm if a != axis] == order), Layout((*order, axis)))
    dim = gives.axis(axis)
    return Mapping(
        f"torch.stack([{', '.join(_same_dtype(operands, _result(call)))}], dim={dim})",
        wants=operands.wants,
        gives=(gives,),
        why=f"The new axis is Keras's {axis}, torch's {dim}.",
        keras=f"stack(x, axis={axis})",
        torch=f"torch.stack(x, dim={dim})",
    )


@ops("Split", "ArraySplit", demand=ANY)
def split(call: Call) -> Mapping:
    x, parts, axis = call.x, call.option("indices_or_sections"), call.option("axis")
    dim, count = x.layout.axis(axis), len(call.outputs)
    if isinstance(parts, int):
        even = x.shape[axis] is not None and x.shape[axis] % parts == 0
        expression = f"{x}.chunk({parts}, dim={dim})" if even else f"{x}.tensor_split({parts}, dim={dim})"
    else:
        parts = [int(p) for p in parts]
        call.refuse(any(p < 0 for p in parts) or parts != sorted(parts), "its split indices are negative or out of order")
        expression = f"{x}.tensor_split({tuple(parts)}, dim={dim})"
    return Mapping(
        str(x) if count == 1 else expression,
        gives=(x.layout,) * count,
        why=f"Keras's axis {axis} is torch's axis {dim}.",
        keras=f"split(x, {parts}, axis={axis})",
        torch=expression.replace(str(x), "x"),
    )


@ops("Unstack", demand=None)
def unstack(call: Call) -> Mapping:
    x, axis = call.x, call.option("axis") % call.x.rank
    call.option("num")  # must equal the size of the axis
    dim, count = x.layout.axis(axis), len(call.outputs)
    expression = f"{x}.squeeze({dim})" if count == 1 else f"{x}.unbind({dim})"
    return Mapping(
        expression,
        gives=(x.layout.drop({axis}),) * count,
        why=f"Keras's axis {axis} is torch's axis {dim}.",
        keras=f"unstack(x, axis={axis})",
        torch=f"x.unbind({dim})",
    )


@ops("Repeat", demand=ANY)
def repeat(call: Call) -> Mapping:
    x, repeats, axis = call.x, call.option("repeats"), call.option("axis")
    counts = [int(n) for n in np.ravel(repeats)]
    times = str(counts[0]) if len(counts) == 1 else f"torch.tensor({counts}, device={x}.device)"
    if axis is None:
        return Mapping(
            f"{x}.flatten().repeat_interleave({times})", wants=(identity(x.rank),), keras=f"repeat(x, {counts})", torch="x.flatten().repeat_interleave(n)"
        )
    return _elementwise(call, x, f"{x}.repeat_interleave({times}, dim={x.layout.axis(axis)})", f"Keras's axis {axis} is torch's axis {x.layout.axis(axis)}.")


@ops("Tile", demand=ANY)
def tile(call: Call) -> Mapping:
    x, repeats = call.x, call.option("repeats")
    repeats = [int(n) for n in np.ravel(repeats)]
    repeats = [1] * (x.rank - len(repeats)) + repeats
    layout = x.layout if len(repeats) == x.rank else identity(x.rank)
    order = layout.perm if len(repeats) == x.rank else range(len(repeats))
    sizes = ", ".join(str(repeats[axis]) for axis in order)
    gives = layout if len(repeats) == x.rank else identity(len(repeats))
    return Mapping(
        f"{x}.repeat({sizes})",
        wants=(layout,),
        gives=(gives,),
        why="Once for each axis, in torch's order.",
        keras=f"tile(x, {repeats})",
        torch=f"x.repeat({sizes})",
    )


@ops("Flip", "Fliplr", "Flipud", demand=ANY)
def flip(call: Call) -> Mapping:
    x = call.x
    axes = {"Fliplr": [1], "Flipud": [0]}.get(_name(call)) or _axes(call, x.rank)
    dims = sorted(x.layout.axis(axis) for axis in axes)
    return _elementwise(call, x, f"{x}.flip({', '.join(map(str, dims))})", "The same axes, as torch numbers them.")


@ops("Roll", demand=ANY)
def roll(call: Call) -> Mapping:
    x, shift, axis = call.x, call.option("shift"), call.option("axis")
    shift = shift if isinstance(shift, int) else tuple(int(s) for s in shift)
    if axis is None:
        wants = identity(x.rank)
        return Mapping(
            f"torch.roll({x}, {shift})",
            wants=(wants,),
            why="Through the flattened tensor in Keras's order.",
            keras=f"roll(x, {shift})",
            torch=f"torch.roll(x, {shift})",
        )
    dims = x.layout.axis(axis) if isinstance(axis, int) else tuple(x.layout.axis(a) for a in axis)
    call.refuse(isinstance(shift, int) != isinstance(dims, int), "it has several axes for one shift, or the other way round")
    return _elementwise(call, x, f"torch.roll({x}, {shift}, {dims})", "The same axes, as torch numbers them.")


@ops("BroadcastTo", demand=LAST)
def broadcast_to(call: Call) -> Mapping:
    x, shape = call.x, tuple(call.option("shape"))
    call.refuse(not all(isinstance(n, (int, np.integer)) for n in shape), "its shape holds an unknown size")
    sizes = ", ".join(map(str, shape))
    return Mapping(f"{x}.expand({sizes})", wants=(identity(x.rank),), keras=f"broadcast_to(x, {shape})", torch=f"x.expand({sizes})")


@ops("Pad", demand=ANY)
def pad(call: Call) -> Mapping:
    """F.pad takes its pairs last torch axis first. Its "reflect" wants floats and one or two axes in front that are not padded."""
    x, widths, mode = call.x, call.option("pad_width"), call.option("mode")
    call.refuse(mode not in ("constant", "reflect", "symmetric"), f"its mode is {mode!r}; k2t converts constant, reflect and symmetric padding")
    value = call.argument("constant_values")
    widths = [tuple(int(n) for n in pair) for pair in widths]
    widths = widths * x.rank if len(widths) == 1 else widths
    widths = [pair * 2 if len(pair) == 1 else pair for pair in widths]
    pairs = [widths[axis] for axis in x.layout.perm]
    while pairs and pairs[0] == (0, 0):
        pairs.pop(0)
    if not pairs:
        return _elementwise(call, x, str(x), "Nothing to pad.")
    pairs = [(0, 0)] * (x.rank - 2 - len(pairs)) + pairs if mode == "reflect" else pairs
    flat = ", ".join(str(n) for pair in reversed(pairs) for n in pair)
    if mode == "reflect" and is_float(x.dtype) and len(pairs) <= 3 and len(pairs) < x.rank:
        return _elementwise(call, x, f'F.pad({x}, ({flat}), mode="reflect")', "torch takes the pairs last axis first.")
    if mode != "constant":
        torch_dtype(x.dtype)
        return _elementwise(call, x, f"mirror_pad({x}, ({flat}){', edge=True' if mode == 'symmetric' else ''})", "F.pad has no symmetric padding, and reflects floats only, along the last axes.")
    fill = "" if value is None else f", value={_literal(call, value, 'constant_values')}"
    return _elementwise(call, x, f"F.pad({x}, ({flat}){fill})", "torch takes the pairs last axis first.")


@ops("FFT", "FFT2", "RFFT", demand=LAST)
def fourier(call: Call) -> Mapping:
    """Over the last Keras axis, or the last two; a spectrum is a pair, real and imaginary."""
    name = _name(call)
    parts = [call.x] if name == "RFFT" else list(call.argument("x"))
    call.refuse(not all(isinstance(part, Slot) for part in parts), "a part of its input is a constant; make it a tensor, as by zeros_like(x)")
    call.refuse(any(part.dtype not in ("float32", "float64") for part in parts), "its input is neither float32 nor float64; cast it")
    length = call.option("fft_length") if name == "RFFT" else None
    more = ", axes=2" if name == "FFT2" else f", {length}" if length is not None else ""
    return Mapping(
        f"{'rfft' if name == 'RFFT' else 'fft'}({', '.join(map(str, parts))}{more})",
        wants=tuple(identity(slot.rank) for slot in call.inputs),
        gives=tuple(identity(len(y.shape)) for y in call.outputs),
        why="Along the last Keras axes.",
        keras=f"{name.lower()}(x)",
        torch=f"torch.fft.{'rfft' if name == 'RFFT' else 'fftn'}(x)",
    )


@ops("Tril", "Triu", demand=LAST)
def triangle(call: Call) -> Mapping:
    x, k, name = call.x, call.option("k"), _name(call).lower()
    expression = f"torch.{name}({x}{f', diagonal={k}' if k else ''})"
    return Mapping(expression, wants=(identity(x.rank),), why="Of the last two Keras axes.", keras=f"{name}(x, k={k})", torch=expression.replace(str(x), "x"))


@ops("OneHot", demand=None)
def one_hot(call: Call) -> Mapping:
    """Zeros for an index out of range, as tf.one_hot; torch's F.one_hot raises there."""
    x, classes, axis = call.x, call.option("num_classes"), call.option("axis")
    call.option("dtype")
    call.refuse(bool(call.option("sparse")), "it makes a sparse tensor; use sparse=False")
    result = _result(call)
    parts = [str(x), str(classes), *([f"dim={axis}"] if axis != -1 else []), *([f"dtype={torch_dtype(result)}"] if result != "float32" else [])]
    return Mapping(
        f"one_hot({', '.join(parts)})",
        wants=(identity(x.rank),),
        why="An index out of range gives zeros, as in Keras.",
        keras=f"one_hot(x, {classes}, axis={axis})",
        torch=f"one_hot(x, {classes})",
    )


@ops("Take", demand=None)
def take(call: Call) -> Mapping:
    """``indices`` replace the axis; negative ones count from the end."""
    x, indices, axis = call.argument("x"), call.argument("indices"), call.option("axis")
    call.refuse(not isinstance(x, Slot), "it takes from a constant; use an Embedding layer")
    if isinstance(indices, (list, tuple)):
        call.refuse(any(isinstance(i, Slot) for i in indices), "its indices are a list of tensors; stack them first")
        indices = np.asarray(indices)
    build = Builder(call)
    if isinstance(indices, Slot):
        index, rank = cast(str(indices), "int64") if indices.dtype != "int64" else str(indices), indices.rank
    else:
        array = np.asarray(constant(indices)).astype("int64")
        rank = array.ndim
        index = str(int(array)) if rank == 0 else write_array(array, x, build)
    wants = tuple(identity(slot.rank) for slot in call.inputs)
    if axis is None:
        expression, gives = f"{x}.flatten()[{index}]", identity(rank)
    else:
        expression = f"{x}[{':, ' * (axis % x.rank)}{index}]"
        gives = identity(x.rank - 1 + rank)
    return Mapping(
        expression, wants=wants, gives=(gives,), keras=f"take(x, indices, axis={axis})", torch="x[…, indices]", module=build.module, weights=build.weights
    )


@ops("TakeAlongAxis", demand=LAST)
def take_along_axis(call: Call) -> Mapping:
    x, indices, axis = call.argument("x"), call.argument("indices"), call.option("axis")
    call.refuse(not (isinstance(x, Slot) and isinstance(indices, Slot)), "its indices or its tensor are a constant; use keras.ops.take")
    call.refuse(axis is None, "it takes from the flattened tensor; flatten it first")
    return Mapping(
        f"take_along_dim({x}, {indices}, dim={axis % x.rank})",
        wants=(identity(x.rank), identity(indices.rank)),
        why="Negative indices count from the end, which torch.take_along_dim does not know.",
        keras=f"take_along_axis(x, indices, axis={axis})",
        torch=f"take_along_dim(x, indices, dim={axis})",
    )


# --- products --------------------------------------------------------------------------------------------------


def _product(call: Call, values: Sequence[Any]) -> tuple[list[str], Builder, str]:
    """Operands of a matrix product in Keras's order and one dtype; integers as float32, as Keras multiplies them."""
    build = Builder(call)
    values = [constant(v) for v in values]
    like = next(v for v in values if isinstance(v, Slot))
    result = _result(call)
    torch_dtype(result)
    compute = result if is_float(result) else "float32"
    texts = []
    for value in values:
        call.refuse(is_scalar(value), "one of its arguments is a number")
        text = str(value) if isinstance(value, Slot) else write_array(value if str(value.dtype) == compute else value.astype(compute), like, build)
        texts.append(cast(text, compute) if isinstance(value, Slot) and value.dtype != compute else text)
    return texts, build, "" if compute == result else cast("", result)


def _product_mapping(call: Call, expression: str, build: Builder, formula: str) -> Mapping:
    rank = len(call.outputs[0].shape)
    wants = tuple(identity(slot.rank) for slot in call.inputs)
    return Mapping(
        expression,
        wants=wants,
        gives=(identity(rank),),
        why="In Keras's order of axes.",
        keras=formula,
        torch=formula,
        module=build.module,
        weights=build.weights,
    )


@ops("Matmul", "Dot", "Tensordot", "Outer", demand=LAST)
def matmul(call: Call) -> Mapping:
    name = _name(call)
    values = _pair(call)
    (a, b), build, back = _product(call, values)
    rank_b = len(shape_of(values[1]))
    if name == "Outer":
        return _product_mapping(call, f"torch.outer({a}.flatten(), {b}.flatten()){back}", build, "outer(a, b)")
    if name == "Tensordot":
        axes = call.option("axes")
        if not isinstance(axes, int):
            axes = tuple([int(i) for i in np.ravel(side)] for side in axes)
        return _product_mapping(call, f"torch.tensordot({a}, {b}, dims={axes}){back}", build, f"tensordot(a, b, {axes})")
    call.refuse(0 in (len(shape_of(values[0])), rank_b), "one of its arguments is a single number; multiply by it")
    if name == "Dot" and rank_b > 2:
        return _product_mapping(call, f"torch.tensordot({a}, {b}, dims=([-1], [-2])){back}", build, "dot(a, b)")
    if back:
        return _product_mapping(call, f"({a} @ {b}){back}", build, "a @ b")
    return _product_mapping(call, f"{a} @ {b}", build, "a @ b")


@ops("Einsum", demand=LAST)
def einsum(call: Call) -> Mapping:
    subscripts = call.option("subscripts").replace(" ", "")
    texts, build, back = _product(call, list(call.argument("operands")))
    return _product_mapping(call, f'torch.einsum("{subscripts}", {", ".join(texts)}){back}', build, f"einsum({subscripts})")
