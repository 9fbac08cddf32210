"""TensorFlow's operations in a functional graph of Keras 2 (``x + 1``, ``tf.concat``), by Keras 3's.

Each entry has TensorFlow's parameter names (tensorflow/python/ops/*.py), so that calls by keyword bind as they do
there. What else `may_run` is recorded as TensorFlow runs it (`running`). All others are refused before the file is
opened: a file names the function that is to run.

Long because it is a table: an entry for each operation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def _unary(operation: str) -> Callable[..., Any]:
    def run(x: Any, name: Any = None) -> Any:
        return _ops(operation)(x)

    return run


def _features(operation: str) -> Callable[..., Any]:
    """As `_unary`, where TensorFlow calls the argument ``features``."""

    def run(features: Any, name: Any = None) -> Any:
        return _ops(operation)(features)

    return run


def _binary(operation: str) -> Callable[..., Any]:
    def run(x: Any, y: Any, name: Any = None) -> Any:
        return _ops(operation)(x, y)

    return run


def _reduction(operation: str) -> Callable[..., Any]:
    def run(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None) -> Any:
        return _ops(operation)(input_tensor, axis=_axes(axis), keepdims=keepdims)

    return run


def _along(operation: str) -> Callable[..., Any]:
    def run(input: Any, axis: Any = None, output_type: Any = "int64", name: Any = None) -> Any:
        from keras import ops

        return ops.cast(_ops(operation)(input, axis=0 if axis is None else axis), _dtype(output_type))

    return run


def _ops(name: str) -> Callable[..., Any]:
    from keras import ops

    return getattr(ops, name)


def _axes(axis: Any) -> Any:
    return tuple(int(a) for a in axis) if isinstance(axis, (list, tuple)) else axis


def _dtype(dtype: Any) -> str:
    import tensorflow as tf

    return tf.as_dtype(dtype).name


def _concat(values: Any, axis: int, name: Any = None) -> Any:
    return _ops("concatenate")(list(values), axis=axis)


def _stack(values: Any, axis: int = 0, name: Any = None) -> Any:
    return _ops("stack")(list(values), axis=axis)


def _unstack(value: Any, num: Any = None, axis: int = 0, name: Any = None) -> Any:
    return _ops("unstack")(value, num=num, axis=axis)


def _split(value: Any, num_or_size_splits: Any, axis: int = 0, num: Any = None, name: Any = None) -> Any:
    if isinstance(num_or_size_splits, int):
        return _ops("split")(value, num_or_size_splits, axis=axis)
    ends = [sum(num_or_size_splits[: k + 1]) for k in range(len(num_or_size_splits) - 1)]
    return _ops("split")(value, ends, axis=axis)


def _reshape(tensor: Any, shape: Any, name: Any = None) -> Any:
    return _ops("reshape")(tensor, tuple(shape))


def _transpose(a: Any, perm: Any = None, conjugate: bool = False, name: Any = "transpose") -> Any:
    return _ops("transpose")(a, axes=None if perm is None else tuple(perm))


def _expand_dims(input: Any, axis: int, name: Any = None) -> Any:
    return _ops("expand_dims")(input, axis)


def _squeeze(input: Any, axis: Any = None, name: Any = None) -> Any:
    return _ops("squeeze")(input, axis=_axes(axis) or None)


def _tile(input: Any, multiples: Any, name: Any = None) -> Any:
    return _ops("tile")(input, tuple(multiples))


def _cast(x: Any, dtype: Any, name: Any = None) -> Any:
    return _ops("cast")(x, _dtype(dtype))


def _softmax(logits: Any, axis: Any = -1, name: Any = None) -> Any:
    return _ops("softmax")(logits, axis=-1 if axis is None else axis)


def _log_softmax(logits: Any, axis: Any = -1, name: Any = None) -> Any:
    return _ops("log_softmax")(logits, axis=-1 if axis is None else axis)


def _leaky_relu(features: Any, alpha: float = 0.2, name: Any = None) -> Any:
    return _ops("leaky_relu")(features, negative_slope=alpha)


def _gelu(features: Any, approximate: bool = False, name: Any = None) -> Any:
    return _ops("gelu")(features, approximate=approximate)


def _silu(features: Any, beta: float = 1.0) -> Any:
    return _ops("silu")(features) if beta == 1 else features * _ops("sigmoid")(beta * features)


def _clip(t: Any, clip_value_min: Any, clip_value_max: Any, name: Any = None) -> Any:
    return _ops("clip")(t, clip_value_min, clip_value_max)


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, name: Any = None) -> Any:
    def turned(x: Any, turn: bool) -> Any:
        return _ops("swapaxes")(x, -1, -2) if turn else x

    return _ops("matmul")(turned(a, transpose_a), turned(b, transpose_b))


def _add_n(inputs: Any, name: Any = None) -> Any:
    total = inputs[0]
    for x in inputs[1:]:
        total = total + x
    return total


def _pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0, name: Any = None) -> Any:
    mode = mode.lower()
    widths = [tuple(int(n) for n in pair) for pair in paddings]
    return _ops("pad")(tensor, widths, mode=mode, constant_values=constant_values if mode == "constant" else None)


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, name: Any = None) -> Any:
    ops = _ops
    return x * ops("rsqrt")(ops("maximum")(ops("sum")(ops("square")(x), axis=_axes(axis), keepdims=True), epsilon))


def _gather(
    params: Any, indices: Any, validate_indices: Any = None, axis: Any = None, batch_dims: int = 0, name: Any = None
) -> Any:
    if batch_dims:
        raise NotImplementedError("with batch_dims")
    return _ops("take")(params, indices, axis=0 if axis is None else axis)


def _one_hot(
    indices: Any,
    depth: int,
    on_value: Any = None,
    off_value: Any = None,
    axis: Any = None,
    dtype: Any = None,
    name: Any = None,
) -> Any:
    if on_value is not None or off_value is not None:
        raise NotImplementedError("with on_value or off_value")
    return _ops("one_hot")(indices, depth, axis=-1 if axis is None else axis, dtype=_dtype(dtype or "float32"))


def _depth_to_space(input: Any, block_size: int, data_format: str = "NHWC", name: Any = None) -> Any:
    return _ops("depth_to_space")(input, block_size, data_format=_format(data_format))


def _space_to_depth(input: Any, block_size: int, data_format: str = "NHWC", name: Any = None) -> Any:
    return _ops("space_to_depth")(input, block_size, data_format=_format(data_format))


def _format(data_format: str) -> str:
    return {"NHWC": "channels_last", "NCHW": "channels_first"}[data_format]


def _resize(
    images: Any,
    size: Any,
    method: str = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
    name: Any = None,
) -> Any:
    if preserve_aspect_ratio:
        raise NotImplementedError("with preserve_aspect_ratio")
    from keras import ops

    return ops.image.resize(
        images, tuple(size), interpolation=str(method), antialias=antialias, data_format="channels_last"
    )


def _getitem(tensor: Any, slice_spec: Any, var: Any = None) -> Any:
    return tensor[_slices(slice_spec)]


def _slices(spec: Any) -> Any:
    """What a file stores of ``x[1:, 0]``: a slice as a dictionary of start, stop and step."""
    if isinstance(spec, dict):
        return slice(spec["start"], spec["stop"], spec["step"])
    return tuple(_slices(one) for one in spec) if isinstance(spec, (list, tuple)) else spec


def _where(condition: Any, x: Any = None, y: Any = None, name: Any = None) -> Any:
    if x is None or y is None:
        raise NotImplementedError("without x and y, which gives indices,")
    return _ops("where")(condition, x, y)


def _identity(input: Any, name: Any = None) -> Any:
    return _ops("stop_gradient")(input)


def _cumsum(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False, name: Any = None) -> Any:
    if exclusive or reverse:
        raise NotImplementedError("with exclusive or reverse")
    return _ops("cumsum")(x, axis=axis)


def _broadcast_to(input: Any, shape: Any, name: Any = None) -> Any:
    return _ops("broadcast_to")(input, tuple(shape))


def _norm(tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: Any = None, name: Any = None) -> Any:
    if ord not in ("euclidean", 2):
        raise NotImplementedError(f"of order {ord}")
    return _ops("sqrt")(_ops("sum")(_ops("square")(tensor), axis=_axes(axis), keepdims=bool(keepdims)))


def _reverse(tensor: Any, axis: Any, name: Any = None) -> Any:
    return _ops("flip")(tensor, axis=_axes(axis))


# Functions of TensorFlow that compute with tensors and do nothing else: all of these namespaces but what draws random
# numbers, reads, writes or runs code, and a few of the outermost.
SPACES = re.compile(r"(compat\.v1\.)?(math|nn|linalg|signal|image|bitwise)(\.special)?\.[a-z0-9_]+")
NOT_PURE = re.compile(r"random|decode|encode|draw|jpeg|png|sampl|dropout|candidate|_rnn|raw_rnn|cell|py_|print|file")
OUTERMOST = set(
    """argsort batch_to_space boolean_mask broadcast_static_shape clip_by_norm clip_by_global_norm cumsum einsum
    ensure_shape eye fill gather_nd guarantee_const histogram_fixed_width identity_n linspace meshgrid
    ones range rank required_space_to_batch_paddings reverse_sequence scatter_nd searchsorted
    sequence_mask shape shape_n size slice sort space_to_batch strided_slice tensor_scatter_nd_add
    tensor_scatter_nd_max tensor_scatter_nd_min tensor_scatter_nd_sub tensor_scatter_nd_update tensordot
    truncatediv truncatemod unravel_index zeros realdiv floordiv""".split()
)


def may_run(symbol: str) -> bool:
    """Whether a file may name this function of TensorFlow."""
    plain = symbol.removeprefix("compat.v1.")
    known = symbol in OPERATIONS or plain in OPERATIONS or plain in OUTERMOST
    return known or bool(SPACES.fullmatch(symbol) and not NOT_PURE.search(symbol))


# By the name that tf_keras writes into a file: TensorFlow's canonical one.
OPERATIONS: dict[str, Callable[..., Any]] = {
    "__operators__.add": _binary("add"),
    "__operators__.getitem": _getitem,
    **{
        f"math.{name}": _binary(name)
        for name in (
            "add",
            "subtract",
            "multiply",
            "maximum",
            "minimum",
            "greater",
            "greater_equal",
            "less",
            "less_equal",
            "equal",
            "not_equal",
            "logical_and",
            "logical_or",
        )
    },
    "math.truediv": _binary("true_divide"),
    "math.divide": _binary("true_divide"),
    "math.floordiv": _binary("floor_divide"),
    "math.floormod": _binary("mod"),
    "math.pow": _binary("power"),
    "math.squared_difference": lambda x, y, name=None: _ops("square")(x - y),
    **{
        f"math.{name}": _unary(name)
        for name in (
            "abs",
            "sqrt",
            "square",
            "exp",
            "log",
            "sin",
            "cos",
            "tan",
            "tanh",
            "sigmoid",
            "negative",
            "sign",
            "floor",
            "ceil",
            "round",
        )
    },
    **{
        f"math.{name}": _unary(name)
        for name in ("rsqrt", "reciprocal", "erf", "log1p", "expm1", "logical_not", "log_sigmoid")
    },
    "math.asin": _unary("arcsin"),
    "math.acos": _unary("arccos"),
    "math.atan": _unary("arctan"),
    "math.softplus": _features("softplus"),
    **{f"nn.{name}": _features(name) for name in ("relu", "relu6", "elu", "selu", "softsign")},
    "nn.leaky_relu": _leaky_relu,
    "nn.gelu": _gelu,
    "nn.silu": _silu,
    "nn.softmax": _softmax,
    "nn.log_softmax": _log_softmax,
    **{
        f"math.reduce_{name}": _reduction(name)
        for name in ("mean", "sum", "max", "min", "prod", "logsumexp", "all", "any", "std")
    },
    "math.reduce_variance": _reduction("var"),
    "math.argmax": _along("argmax"),
    "math.argmin": _along("argmin"),
    "math.add_n": _add_n,
    "math.cumsum": _cumsum,
    "math.l2_normalize": _l2_normalize,
    "linalg.matmul": _matmul,
    "norm": _norm,
    "concat": _concat,
    "stack": _stack,
    "unstack": _unstack,
    "split": _split,
    "reshape": _reshape,
    "transpose": _transpose,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "tile": _tile,
    "repeat": lambda input, repeats, axis=None, name=None: _ops("repeat")(input, repeats, axis=axis),
    "roll": lambda input, shift, axis, name=None: _ops("roll")(input, shift, axis=axis),
    "reverse": _reverse,
    "pad": _pad,
    "broadcast_to": _broadcast_to,
    "gather": _gather,
    "where": _where,
    "one_hot": _one_hot,
    "cast": _cast,
    "clip_by_value": _clip,
    "identity": _identity,
    "stop_gradient": _identity,
    "zeros_like": lambda input, dtype=None, name=None, layout=None: _ops("zeros_like")(
        input, dtype=dtype and _dtype(dtype)
    ),
    "ones_like": lambda input, dtype=None, name=None, layout=None: _ops("ones_like")(
        input, dtype=dtype and _dtype(dtype)
    ),
    "nn.depth_to_space": _depth_to_space,
    "nn.space_to_depth": _space_to_depth,
    "image.resize": _resize,
    # What some of the above call inside, which then is what the file holds; their parameters have another order.
    "compat.v1.floor_div": _binary("floor_divide"),
    "compat.v1.gather": lambda params, indices, validate_indices=None, name=None, axis=None, batch_dims=0: _gather(
        params, indices, None, axis, batch_dims
    ),
    "compat.v1.norm": lambda tensor, ord="euclidean", axis=None, keepdims=None, name=None, keep_dims=None: _norm(
        tensor, ord, axis, keepdims or keep_dims
    ),
    "compat.v1.pad": lambda tensor, paddings, mode="CONSTANT", name=None, constant_values=0: _pad(
        tensor, paddings, mode, constant_values
    ),
    "compat.v1.squeeze": lambda input, axis=None, name=None, squeeze_dims=None: _squeeze(
        input, squeeze_dims if axis is None else axis
    ),
    "compat.v1.transpose": lambda a, perm=None, name="transpose", conjugate=False: _transpose(a, perm),
}
