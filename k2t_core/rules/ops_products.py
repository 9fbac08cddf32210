"""Products and Fourier transforms: ``keras.ops`` on tensors of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from k2t_core.layout import identity
from k2t_core.rules.broadcasting import Builder, cast, constant, is_float, is_scalar, shape_of, torch_dtype, write_array
from k2t_core.rules.ops_common import name_of, ops, result_dtype
from k2t_core.rules.ops_elementwise import pair
from k2t_core.rules.registry import LAST, Call, Mapping, Slot


@ops("FFT", "FFT2", "IFFT2", "RFFT", "IRFFT", demand=LAST)
def fourier(call: Call) -> Mapping:
    """Over the last Keras axis, or the last two; a spectrum is a pair, real and imaginary."""
    name = name_of(call)
    parts = [call.x] if name == "RFFT" else list(call.argument("x"))
    call.refuse(
        not all(isinstance(part, Slot) for part in parts),
        "a part of its input is a constant; make it a tensor, as by zeros_like(x)",
    )
    call.refuse(
        any(part.dtype not in ("float32", "float64") for part in parts),
        "its input is neither float32 nor float64; cast it",
    )
    length = call.option("fft_length") if name in ("RFFT", "IRFFT") else None
    more = ", axes=2" if name == "FFT2" else f", {length}" if length is not None else ""
    text = f"{name.lower().rstrip('2')}({', '.join(map(str, parts))}{more})"
    if name == "IRFFT":
        text = f"torch.fft.irfft(torch.complex({', '.join(map(str, parts))}){more})"
    return Mapping(
        text,
        wants=tuple(identity(slot.rank) for slot in call.inputs),
        gives=tuple(identity(len(y.shape)) for y in call.outputs),
        why="Along the last Keras axes.",
        keras=f"{name.lower()}(x)",
        torch=f"torch.fft.{ {'FFT': 'fftn', 'FFT2': 'fftn', 'IFFT2': 'ifft2'}.get(name, name.lower()) }(x)",
    )


def _product(call: Call, values: Sequence[Any]) -> tuple[list[str], Builder, str]:
    """Operands of a matrix product in Keras's order and one dtype; integers as float32, as Keras multiplies them."""
    build = Builder(call)
    values = [constant(v) for v in values]
    like = next(v for v in values if isinstance(v, Slot))
    result = result_dtype(call)
    torch_dtype(result)
    compute = result if is_float(result) else "float32"
    texts = []
    for value in values:
        call.refuse(is_scalar(value), "one of its arguments is a number")
        text = (
            str(value)
            if isinstance(value, Slot)
            else write_array(value if str(value.dtype) == compute else value.astype(compute), like, build)
        )
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
    name = name_of(call)
    values = pair(call)
    (a, b), build, back = _product(call, values)
    rank_b = len(shape_of(values[1]))
    if name == "Outer":
        return _product_mapping(call, f"torch.outer({a}.flatten(), {b}.flatten()){back}", build, "outer(a, b)")
    if name == "Tensordot":
        axes = call.option("axes")
        if not isinstance(axes, int):
            axes = tuple([int(i) for i in np.ravel(side)] for side in axes)
        return _product_mapping(
            call, f"torch.tensordot({a}, {b}, dims={axes}){back}", build, f"tensordot(a, b, {axes})"
        )
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
    return _product_mapping(
        call, f'torch.einsum("{subscripts}", {", ".join(texts)}){back}', build, f"einsum({subscripts})"
    )
