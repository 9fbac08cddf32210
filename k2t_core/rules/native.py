"""Operations of TensorFlow that keras.ops has not, and what computes the same in torch.

Definitions: tensorflow/core/api_def/base_api. All in Keras's order of axes.
"""

from __future__ import annotations

from collections.abc import Callable

from k2t_core.layout import identity
from k2t_core.rules.registry import ANY, LAST, Call, Mapping, Slot, rule

# Element by element; several operands broadcast as in NumPy.
ELEMENTWISE = {
    "Lgamma": "torch.lgamma({0})",
    "Digamma": "torch.digamma({0})",
    "BesselI0": "torch.special.i0({0})",
    "BesselI0e": "torch.special.i0e({0})",
    "BesselI1": "torch.special.i1({0})",
    "BesselI1e": "torch.special.i1e({0})",
    "BesselJ0": "torch.special.bessel_j0({0})",
    "BesselJ1": "torch.special.bessel_j1({0})",
    "Erfinv": "torch.erfinv({0})",
    "Ndtri": "torch.special.ndtri({0})",
    "Invert": "~{0}",
    "Igamma": "torch.special.gammainc({0}, {1})",
    "Igammac": "torch.special.gammaincc({0}, {1})",
    "Zeta": "torch.special.zeta({0}, {1})",
    "Xlogy": "torch.xlogy({0}, {1})",
    "Xlog1py": "torch.special.xlog1py({0}, {1})",
    "Xdivy": "torch.where({0} == 0, torch.zeros_like({0}), {0} / {1})",
    "MulNoNan": "torch.where({1} == 0, torch.zeros_like({1}), {0} * {1})",
    "DivNoNan": "torch.where({1} == 0, torch.zeros_like({1}), {0} / {1})",
    "NextAfter": "torch.nextafter({0}, {1})",
    "BitwiseAnd": "{0} & {1}",
    "BitwiseOr": "{0} | {1}",
    "BitwiseXor": "{0} ^ {1}",
    "LeftShift": "{0} << {1}",
    "RightShift": "{0} >> {1}",
    "TruncateDiv": 'torch.div({0}, {1}, rounding_mode="trunc")',
    "TruncateMod": "torch.fmod({0}, {1})",
    "Mod": "torch.fmod({0}, {1})",
}
# Of matrices along the last two axes, and others that are one expression.
WHOLE = {
    "Cholesky": "torch.linalg.cholesky({0})",
    "MatrixInverse": "torch.linalg.inv({0})",
    "MatrixDeterminant": "torch.linalg.det({0})",
    "LogMatrixDeterminant": "torch.linalg.slogdet({0})",
    "MatrixSolve": "torch.linalg.solve({0}, {1})",
    "Cross": "torch.linalg.cross({0}, {1})",
    "RGBToHSV": "rgb_to_hsv({0})",
    "HSVToRGB": "hsv_to_rgb({0})",
    "GatherNd": "gather_nd({0}, {1})",
    "TensorScatterUpdate": "{0}.index_put(tuple({1}.long().unbind(-1)), {2})",
    "TensorScatterAdd": "{0}.index_put(tuple({1}.long().unbind(-1)), {2}, accumulate=True)",
    "TensorScatterSub": "{0}.index_put(tuple({1}.long().unbind(-1)), -{2}, accumulate=True)",
    "LowerBound": "torch.searchsorted({0}, {1}, out_int32=True)",
    "UpperBound": "torch.searchsorted({0}, {1}, right=True, out_int32=True)",
}


def _triangular(call: Call, x: list[Slot]) -> str:
    lower, adjoint = call.option("lower"), call.option("adjoint")
    matrix = f"{x[0]}.mT" if adjoint else str(x[0])
    return f"torch.linalg.solve_triangular({matrix}, {x[1]}, upper={lower == adjoint})"


def _embedded(call: Call, x: list[Slot]) -> str:
    offset = call.option("numbers")[1]
    return f"torch.diag_embed({x[0]}, {offset})" if offset else f"torch.diag_embed({x[0]})"


def _diagonal(call: Call, x: list[Slot]) -> str:
    offset = call.option("numbers")[1]
    return f"torch.diagonal({x[0]}, {offset}, -2, -1)" if offset else f"torch.diagonal({x[0]}, dim1=-2, dim2=-1)"


def _set_diagonal(call: Call, x: list[Slot]) -> str:
    return f"torch.diagonal_scatter({x[0]}, {x[1]}, {call.option('numbers')[2]}, -2, -1)"


def _response(call: Call, x: list[Slot]) -> str:
    """torch divides alpha by the count of neighbours."""
    radius, bias, alpha, beta = (call.option(name) for name in ("depth_radius", "bias", "alpha", "beta"))
    size = 2 * radius + 1
    options = f"{size}, alpha={round(alpha * size, 8)!r}, beta={round(beta, 8)!r}, k={round(bias, 8)!r}"
    return f"F.local_response_norm({x[0]}.movedim(-1, 1), {options}).movedim(1, -1)"


def _singular(call: Call, x: list[Slot]) -> str:
    return f"torch.linalg.svdvals({x[0]})"


def _eigen(call: Call, x: list[Slot]) -> str:
    return f"torch.linalg.eigvalsh({x[0]})"


def _qr(call: Call, x: list[Slot]) -> str:
    return f'torch.linalg.qr({x[0]}, mode="{"complete" if call.option("full_matrices") else "reduced"}")'


def _bucketize(call: Call, x: list[Slot]) -> str:
    limits = ", ".join(repr(float(limit)) for limit in call.option("boundaries"))
    return f"torch.bucketize({x[0]}, torch.tensor([{limits}], device={x[0]}.device), right=True, out_int32=True)"


def _log_sums(call: Call, x: list[Slot]) -> str:
    return f"torch.logcumsumexp({x[0]}, {call.option('numbers')[1]})"


def _scatter(call: Call, x: list[Slot]) -> str:
    shape = call.option("numbers")[2]
    return f"scatter_nd({x[0]}, {x[1]}, {tuple(shape)})"


def _in_top(call: Call, x: list[Slot]) -> str:
    return f"in_top_k({x[1]}, {x[0]}, {call.option('numbers')[2]})"


def _hue(call: Call, x: list[Slot]) -> str:
    return f"adjust_hue({x[0]}, {call.option('numbers')[1]!r})"


def _saturation(call: Call, x: list[Slot]) -> str:
    return f"adjust_saturation({x[0]}, {call.option('numbers')[1]!r})"


def _contrast(call: Call, x: list[Slot]) -> str:
    return f"adjust_contrast({x[0]}, {call.option('numbers')[1]!r})"


def _reverse_sequence(call: Call, x: list[Slot]) -> str:
    return f"reverse_sequence({x[0]}, {x[1]}, {call.option('seq_dim')}, {call.option('batch_dim')})"


def _histogram(call: Call, x: list[Slot]) -> str:
    (low, high), count = call.option("numbers")[1], call.option("numbers")[2]
    return f"histogram_fixed_width({x[0]}, {low!r}, {high!r}, {count})"


def _transposed(call: Call, x: list[Slot]) -> str:
    """The whole transposed convolution, of which TensorFlow cuts what the padding took."""
    _, height, width, _ = call.option("numbers")[0]
    size, kernel = call.inputs[1].shape[1:3], call.inputs[0].shape[:2]
    stride = call.option("strides")[1:3]
    call.refuse(None in size, "its size of space is free; use keras.layers.Conv2DTranspose")
    before = [
        max((n - 1) * s + k - out, 0) // 2 if call.option("padding") == "SAME" else 0
        for n, s, k, out in zip(size, stride, kernel, (height, width))
    ]
    return f"conv2d_transpose({x[1]}, {x[0]}, {(height, width)}, {tuple(stride)}, {tuple(before)})"


def _segments(how: str) -> Callable[[Call, list[Slot]], str]:
    return lambda call, x: f'unsorted_segments({x[0]}, {x[1]}, {call.option("numbers")[2]}, "{how}")'


WRITTEN: dict[str, Callable[[Call, list[Slot]], str]] = {
    "MatrixTriangularSolve": _triangular,
    "MatrixDiagV3": _embedded,
    "MatrixDiagPartV3": _diagonal,
    "MatrixSetDiagV3": _set_diagonal,
    "LRN": _response,
    "Svd": _singular,
    "SelfAdjointEigV2": _eigen,
    "Qr": _qr,
    "Bucketize": _bucketize,
    "CumulativeLogsumexp": _log_sums,
    "ScatterNd": _scatter,
    "InTopKV2": _in_top,
    "AdjustHue": _hue,
    "AdjustSaturation": _saturation,
    "AdjustContrastv2": _contrast,
    "ReverseSequence": _reverse_sequence,
    "HistogramFixedWidth": _histogram,
    "Conv2DBackpropInput": _transposed,
    "UnsortedSegmentSum": _segments("sum"),
    "UnsortedSegmentProd": _segments("prod"),
    "UnsortedSegmentMax": _segments("amax"),
    "UnsortedSegmentMin": _segments("amin"),
}
# The attributes that a rule reads.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "MatrixTriangularSolve": ("lower", "adjoint"),
    "LRN": ("depth_radius", "bias", "alpha", "beta"),
    "Qr": ("full_matrices",),
    "Bucketize": ("boundaries",),
    "ReverseSequence": ("seq_dim", "batch_dim"),
    "Conv2DBackpropInput": ("strides", "padding"),
}
# Inputs that are numbers and not tensors, by their place.
NUMBERS: dict[str, tuple[int, ...]] = {
    "MatrixDiagV3": (1, 2, 3, 4),
    "MatrixDiagPartV3": (1, 2),
    "MatrixSetDiagV3": (2,),
    "CumulativeLogsumexp": (1,),
    "ScatterNd": (2,),
    "InTopKV2": (2,),
    **dict.fromkeys(("AdjustHue", "AdjustSaturation", "AdjustContrastv2"), (1,)),
    "HistogramFixedWidth": (1, 2),
    "Conv2DBackpropInput": (0,),
    **dict.fromkeys(("UnsortedSegmentSum", "UnsortedSegmentProd", "UnsortedSegmentMax", "UnsortedSegmentMin"), (2,)),
}
# All of them, with the values of their attributes under which they are what is written here.
NATIVE: dict[str, dict[str, tuple]] = {
    **{name: {} for name in (*ELEMENTWISE, *WHOLE, *WRITTEN)},
    "MatrixInverse": {"adjoint": (False,)},
    "MatrixSolve": {"adjoint": (False,)},
    "Svd": {"compute_uv": (False,)},
    "SelfAdjointEigV2": {"compute_v": (False,)},
    "CumulativeLogsumexp": {"exclusive": (False,), "reverse": (False,)},
    "Conv2DBackpropInput": {
        "data_format": ("NHWC",),
        "padding": ("SAME", "VALID"),
        "dilations": ([1, 1, 1, 1],),
    },
}
# Of these only the first output is meant; the vectors, which are not asked for, are empty.
FIRST = ("Svd", "SelfAdjointEigV2")


@rule(*(f"k2t.{name}" for name in ELEMENTWISE), demand=ANY, flat="pass")
def elementwise(call: Call) -> Mapping:
    """Element by element: a single operand in whatever order torch has it."""
    tensors = list(call.argument("tensors"))
    name = call.layer.kind.removeprefix("k2t.")
    call.option("numbers")
    template = ELEMENTWISE[name]
    layout = tensors[0].layout if len(tensors) == 1 else identity(len(call.outputs[0].shape))
    wants = (layout,) if len(tensors) == 1 else tuple(identity(slot.rank) for slot in call.inputs)
    return Mapping(
        template.format(*tensors),
        wants=wants,
        gives=(layout,),
        why="Element by element.",
        keras=f"tf.raw_ops.{name}",
        torch=template.format("x", "y"),
    )


@rule(*(f"k2t.{name}" for name in (*WHOLE, *WRITTEN)), demand=LAST)
def whole(call: Call) -> Mapping:
    """In Keras's order of axes."""
    tensors = list(call.argument("tensors"))
    name = call.layer.kind.removeprefix("k2t.")
    _check(call, name)
    text = WHOLE[name].format(*tensors) if name in WHOLE else WRITTEN[name](call, tensors)
    call.option("numbers")
    return Mapping(
        text,
        wants=tuple(identity(slot.rank) for slot in call.inputs),
        gives=tuple(identity(len(y.shape)) for y in call.outputs),
        why="In Keras's order of axes.",
        keras=f"tf.raw_ops.{name}",
        torch=text.partition("(")[0],
    )


def _check(call: Call, name: str) -> None:
    """Refuse numbers under which an operation is another one than is written here."""
    numbers = call.option("numbers")
    if name == "MatrixDiagV3":
        call.refuse(
            isinstance(numbers[1], list) or numbers[2] != -1 or numbers[3] != -1 or numbers[4] != 0,
            "it makes a matrix of several diagonals, or not of the least size; write it with keras.ops.pad",
        )
    if name in ("MatrixDiagPartV3", "MatrixSetDiagV3"):
        offset = numbers[1 if name == "MatrixDiagPartV3" else 2]
        call.refuse(isinstance(offset, list), "it takes several diagonals; take them one by one")
