"""Operations that reduce, sort or normalise along axes: ``keras.ops`` on tensors of the model."""

from __future__ import annotations

import numpy as np

from k2t_core.graph import Layer
from k2t_core.layout import identity
from k2t_core.rules.broadcasting import cast, is_float, torch_dtype
from k2t_core.rules.ops_common import axes_of, name_of, ops, option_literal, result_dtype, torch_axes
from k2t_core.rules.ops_elementwise import elementwise
from k2t_core.rules.registry import ANY, Call, Mapping, Slot
from k2t_core.rules.slots import formula


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


@ops("Mean", demand=_reduction_demand, role="mean")
@ops(*(name for name in REDUCTIONS if name != "Mean"), demand=_reduction_demand)
def reduction(call: Call) -> Mapping:
    x, name, result = call.x, name_of(call), result_dtype(call)
    torch_dtype(x.dtype), torch_dtype(result)
    call.refuse(
        name == "Average" and call.argument("weights") is not None, "it has weights; write it as a product and a sum"
    )
    axes = axes_of(call, x.rank)
    keepdims = name not in ("Average", "CountNonzero") and call.option("keepdims")
    everything = len(axes) == x.rank and not keepdims
    dims = torch_axes(x.layout, axes)
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
        initial = option_literal(call, call.option("initial"), "initial")
        call.refuse(not is_float(x.dtype) and "." in initial, "it reduces integers with a fractional initial value")
        suffix = f".clamp({'min' if name == 'Max' else 'max'}={initial})"
    if name == "Prod":
        call.refuse(
            call.option("dtype") not in (None, x.dtype),
            "it has a dtype, which Keras on TensorFlow ignores; cast before it",
        )
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
        torch=formula(expression),
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
        torch=formula(expression),
    )


def _norm(call: Call, x: Slot, axes: list[int], arguments: list[str], keepdims: bool) -> str:
    order = call.option("ord")
    call.refuse(
        len(axes) > 2 or len(axes) == 2 and order not in (None, "fro"), "it is a matrix norm other than Frobenius's"
    )
    call.refuse(not is_float(x.dtype), f"it is applied to {x.dtype}; cast to a float dtype first")
    if order not in (None, "fro", 2):
        arguments = [f"ord={option_literal(call, order, 'ord')}", *arguments]
    return f"torch.linalg.vector_norm({', '.join([str(x), *arguments, *(['keepdim=True'] if keepdims else [])])})"


@ops("Argmax", "Argmin", demand=_reduction_demand)
def arg_extremum(call: Call) -> Mapping:
    """The first of equal entries, as int32. (Keras ranks −0.0 below 0.0, torch takes them for equal.)"""
    x, method = call.x, name_of(call).lower()
    axis, keepdims = call.option("axis"), call.option("keepdims")
    call.refuse(x.dtype == "bool", "it is applied to bool; cast to a number first")
    if axis is None:
        wants = x.layout if x.layout.same_memory(identity(x.rank), x.shape) else identity(x.rank)
        expression = f"{x}.{method}().int()" + (f".reshape({', '.join('1' * x.rank)})" if keepdims else "")
        return Mapping(
            expression,
            wants=(wants,),
            why="The position counts through Keras's order of axes.",
            keras=f"{method}(x)",
            torch=f"x.{method}()",
        )
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
    function = {"Softmax": "F.softmax", "LogSoftmax": "F.log_softmax"}[name_of(call)]
    if axis is None:
        return elementwise(
            call, x, f"{function}({x}.flatten(), dim=0).view_as({x})", "Over the whole tensor, the batch included."
        )
    call.refuse(not isinstance(axis, int), "it normalises over several axes; reshape them into one")
    dim = x.layout.axis(axis)
    return elementwise(
        call,
        x,
        f"{function}({x}, dim={-1 if dim == x.rank - 1 else dim})",
        f"Keras's axis {axis} is torch's axis {dim}.",
    )


@ops("Normalize", demand=ANY)
def normalize(call: Call) -> Mapping:
    """x / max(‖x‖, ε); Keras's ε is 1e-7 by default."""
    x, order, epsilon = call.x, call.option("order"), call.option("epsilon")
    axis = call.option("axis")
    call.refuse(not isinstance(axis, int), "it normalises over several axes; reshape them into one")
    call.refuse(not is_float(x.dtype), f"it is applied to {x.dtype}; cast to a float dtype first")
    parts = [f"p={order}"] if order != 2 else []
    dim = x.layout.axis(axis)
    parts += [f"dim={dim}", f"eps={option_literal(call, 1e-7 if epsilon is None else epsilon, 'epsilon')}"]
    return elementwise(
        call, x, f"F.normalize({', '.join([str(x), *parts])})", f"Keras's axis {axis} is torch's axis {dim}."
    )


@ops("Glu", demand=ANY)
def glu(call: Call) -> Mapping:
    x = call.x
    return elementwise(call, x, f"F.glu({x}, dim={x.layout.axis(call.option('axis'))})")


@ops("Cumsum", "Cumprod", demand=ANY)
def cumulative(call: Call) -> Mapping:
    x, axis, method = call.x, call.option("axis"), name_of(call).lower()
    call.option("dtype")
    result = result_dtype(call)
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
    return elementwise(call, x, f"{x}.{method}({dim}{kind})", f"Keras's axis {axis} is torch's axis {dim}.")


@ops("Diff", demand=ANY)
def diff(call: Call) -> Mapping:
    x = call.x
    n, dim = call.option("n"), x.layout.axis(call.option("axis"))
    return elementwise(call, x, f"torch.diff({x}, {f'n={n}, ' if n != 1 else ''}dim={dim})")


@ops("Sort", "Argsort", demand=ANY)
def sort(call: Call) -> Mapping:
    x, axis = call.x, call.option("axis")
    call.refuse(axis is None, "it sorts the flattened tensor; flatten it first")
    dim = x.layout.axis(axis)
    if name_of(call) == "Sort":
        return elementwise(call, x, f"{x}.sort(dim={dim}).values")
    return elementwise(
        call, x, f"{x}.argsort(dim={dim}, stable=True).int()", "Equal entries keep their order; Keras gives int32."
    )


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


@ops("Quantile", "Percentile", "Median", "Nanquantile", "Nanpercentile", "Nanmedian", demand=None)
def quantile(call: Call) -> Mapping:
    """What a share of the entries lies below, between entries by ``method``. Source: keras/src/ops/numpy.py."""
    x, name, result = call.x, name_of(call), result_dtype(call)
    share = 0.5 if name.endswith("edian") else call.argument("q")
    call.refuse(isinstance(share, Slot), "its share is a tensor of the model; give a number")
    share = np.asarray(share, "float64") / (100 if name.endswith("ercentile") else 1)
    method = "linear" if name.endswith("edian") else call.option("method")
    call.refuse(
        name == "Quantile" and method != "linear", "Keras leaves out its method in a model; use keras.ops.percentile"
    )
    call.refuse(result not in ("float32", "float64"), f"it is computed in {result}; cast to float32 first")
    axes, keepdims = axes_of(call, x.rank), call.option("keepdims")
    call.refuse(1 < len(axes) < x.rank, "it is along several axes; reshape them into one")
    call.refuse(keepdims and len(axes) == x.rank > 1, "it is along all axes and keeps them; reshape the result")
    layout = x.layout if share.ndim == 0 else identity(x.rank)
    arguments = [str(x) if x.dtype == result else cast(str(x), result)]
    arguments.append(repr(share.item()) if share.ndim == 0 else f"{arguments[0]}.new_tensor({share.tolist()})")
    arguments += [f"dim={layout.axis(axes[0])}"] if len(axes) < x.rank or x.rank == 1 else []
    arguments += ["keepdim=True"] if keepdims else []
    arguments += [f'interpolation="{method}"'] if method != "linear" else []
    function = "nanquantile" if name.startswith("Nan") else "quantile"
    rest = layout if keepdims else layout.drop(set(axes))
    return Mapping(
        f"torch.{function}({', '.join(arguments)})",
        wants=(layout,),
        gives=(rest if share.ndim == 0 else identity(len(call.outputs[0].shape)),),
        why="Shares of one side by the same definition.",
        keras=f"{name.lower()}(x, q)",
        torch=f"torch.{function}(x, q)",
    )
