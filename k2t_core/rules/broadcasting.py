"""Bringing the inputs of one call to a common layout, as NumPy broadcasts them in Keras's axis order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from k2t_core.graph import Shape
from k2t_core.layout import Layout, identity
from k2t_core.rules.registry import SELF, Call, Module, Slot, Unconvertible, Weight
from k2t_core.transforms import Constant

CASTS = {
    "float32": ".float()",
    "float64": ".double()",
    "float16": ".half()",
    "bfloat16": ".bfloat16()",
    "int64": ".long()",
    "int32": ".int()",
    "bool": ".bool()",
}
TORCH_DTYPES = {*CASTS, "int8", "int16", "uint8"}
# An array of more elements becomes a buffer of the module, a smaller one is written into the source.
LARGEST_LITERAL = 16


def torch_dtype(name: str) -> str:
    """``torch.int32``; raises Unconvertible for dtypes in which torch cannot compute (unsigned 16…64 bit, complex,
    string)."""
    if name not in TORCH_DTYPES:
        raise Unconvertible(
            f"it works on {name}, which torch has no arithmetic for; cast to another dtype in the Keras model"
        )
    return f"torch.{name}"


def cast(expression: str, dtype: str) -> str:
    """The expression as another dtype, in torch's short form where there is one."""
    name = torch_dtype(dtype)
    return expression + CASTS.get(dtype, f".to({name})")


def is_float(dtype: str) -> bool:
    return "float" in dtype


def is_scalar(value: Any) -> bool:
    """A plain Python number: weakly typed in Keras as in torch."""
    return isinstance(value, (bool, int, float)) and not isinstance(value, np.generic)


def shape_of(value: Any) -> Shape:
    return value.shape if isinstance(value, Slot) else np.shape(value)


def constant(value: Any) -> Any:
    """A call argument as a Slot, a Python number or a NumPy array; raises Unconvertible for anything else."""
    if isinstance(value, Slot) or is_scalar(value):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        torch_dtype(str(array.dtype))
        return array
    raise Unconvertible(f"it is called with a {type(value).__name__}, where k2t expects a tensor, a number or an array")


@dataclass
class Operands:
    """What `align` found: the code of each value, all in ``layout``; ``wants`` is a layout for every Slot of the
    call."""

    values: list[Any]
    texts: list[str]
    layout: Layout
    wants: tuple[Layout, ...]
    module: Module | None = None
    weights: tuple[Weight, ...] = ()

    @property
    def buffer(self) -> dict[str, Any]:
        """The Mapping fields of a large constant."""
        return {"module": self.module, "weights": self.weights}


@dataclass
class Builder:
    call: Call
    wants: dict[int, Layout] = field(default_factory=dict)
    module: Module | None = None
    weights: tuple[Weight, ...] = ()


def align(call: Call, values: Sequence[Any], layout: Layout | None = None, batch_first: bool = False) -> Operands:
    """Bring Slots, numbers and arrays to one layout for a broadcasting operation.

    Lower ranks get their missing axes in front, as NumPy does, or after the batch axis with ``batch_first``
    (keras/src/layers/merging/base_merge.py). ``layout``: the layout to use; default: the one that moves the least data.
    """
    values = [constant(v) for v in values]
    rank = max(len(shape_of(v)) for v in values)
    full = [v for v in values if isinstance(v, Slot) and v.rank == rank]
    if layout is None:
        layout = common_layout(call, full, rank)
    build = Builder(call)
    texts = []
    for value in values:
        if isinstance(value, Slot):
            texts.append(_slot_text(value, layout, batch_first, build))
        elif is_scalar(value):
            texts.append(number(value))
        else:
            texts.append(_array_text(value, layout, values, build))
    wants = tuple(build.wants.get(slot.index, slot.layout) for slot in call.inputs)
    return Operands(values, texts, layout, wants, build.module, build.weights)


def common_layout(call: Call, slots: Sequence[Slot], rank: int) -> Layout:
    """The layout that needs the fewest permutes; among equals the one that the consumers want, then a non-identity
    one."""
    layouts = list(dict.fromkeys(slot.layout for slot in slots))
    if len(layouts) == 1:
        return layouts[0]
    if not layouts:
        return identity(rank)
    wanted = call.wanted[0] if call.wanted else None

    def cost(layout: Layout) -> tuple[int, bool, bool]:
        moved = sum(not slot.layout.same_memory(layout, slot.shape) for slot in slots)
        return moved, layout != wanted, layout.is_identity

    return min(layouts, key=cost)


def _slot_text(slot: Slot, layout: Layout, batch_first: bool, build: Builder) -> str:
    rank = layout.rank
    if slot.rank == rank:
        if slot.layout != layout and slot.layout.same_memory(layout, slot.shape) and slot.shape.count(None) <= 1:
            return f"{slot}.reshape({', '.join('-1' if n is None else str(n) for n in layout.shape(slot.shape))})"
        build.wants[slot.index] = layout
        return str(slot)
    if slot.layout.flat:
        raise Unconvertible("it broadcasts a flattened image to more axes; put a Reshape in between")
    place = _places(slot.rank, rank, batch_first)
    build.wants[slot.index] = Layout(tuple(place.index(axis) for axis in layout.perm if axis in place))
    items = [":" if axis in place else "None" for axis in layout.perm]
    while items and items[0] == "None":
        items.pop(0)  # torch adds axes in front by itself
    return f"{slot}[{', '.join(items)}]" if "None" in items else str(slot)


def _places(rank: int, target: int, batch_first: bool) -> list[int]:
    """The axis of the result to which each axis of a lower-rank operand goes."""
    missing = target - rank
    return [0 if batch_first and axis == 0 else axis + missing for axis in range(rank)]


def number(value: float) -> str:
    """Source of a Python number."""
    if isinstance(value, float) and not math.isfinite(value):
        return {True: "math.inf", False: "-math.inf"}[value > 0] if math.isinf(value) else "math.nan"
    return repr(value)


def _array_text(array: np.ndarray, layout: Layout, values: Sequence[Any], build: Builder) -> str:
    slots = [v for v in values if isinstance(v, Slot)]
    if array.size == 1 and array.ndim <= max(slot.rank for slot in slots):
        wide = any(slot.dtype == "float64" for slot in slots)
        return number(_short(array.reshape(()), exact=wide))
    return write_array(_in_layout(array, layout, trim=any(slot.rank == layout.rank for slot in slots)), slots[0], build)


def write_array(array: np.ndarray, like: Slot, build: Builder) -> str:
    """A tensor literal on the device of ``like``, or a buffer where the array is large."""
    dtype = str(array.dtype)
    if array.size <= LARGEST_LITERAL and (array.dtype.kind != "f" or np.isfinite(array).all()):
        kind = "" if dtype in ("float32", "int64", "bool") else f"dtype={torch_dtype(dtype)}, "
        columns = array.ndim > 1 and 1 in array.shape
        text = f"torch.tensor({_nested(array.ravel() if columns else array)}, {kind}device={like}.device)"
        return f"{text}.reshape({', '.join(map(str, array.shape))})" if columns else text
    if build.module is not None:
        raise Unconvertible("it takes two large constants; add one of them in an operation of its own")
    build.module = Module("ConstantTensor", {"shape": list(array.shape), "dtype": dtype}, 1)
    build.weights = (Weight("value", None, (Constant(array.tolist(), dtype),)),)
    return f"{SELF}.value"


def _in_layout(array: np.ndarray, layout: Layout, trim: bool) -> np.ndarray:
    """An array that NumPy would broadcast against a Keras tensor, so that it broadcasts against the torch tensor."""
    full = array.reshape((1,) * (layout.rank - array.ndim) + array.shape)
    if layout.flat and full.shape[-1] > 1:
        full = layout.to_torch(full)
    else:
        full = full.transpose(layout.perm)
    while trim and full.ndim > 1 and full.shape[0] == 1:
        full = full[0]
    return full


def _short(value: np.ndarray, exact: bool = False) -> float:
    """A Python number that rounds to the array's element, the shortest one unless ``exact``.

    Of the largest of a dtype the shortest is larger still, and torch takes it for an overflow.
    """
    short = float(str(value[()])) if value.dtype.kind == "f" and not exact else value.item()
    return value.item() if value.dtype.kind == "f" and abs(short) > float(np.finfo(value.dtype).max) else short


def _nested(array: np.ndarray) -> str:
    if array.ndim == 0:
        return number(_short(array))
    return (
        f"[{', '.join(_nested(item) for item in array)}]"
        if array.ndim > 1
        else f"[{', '.join(number(_short(np.asarray(item))) for item in array)}]"
    )


def dtype_of(value: Any) -> str | None:
    """The dtype of a Slot or array, None for a weakly typed Python number."""
    return None if is_scalar(value) else str(value.dtype)


def promoted(operands: Operands, result: str) -> list[str]:
    """The operands' code with casts where torch's own promotion would not give ``result``.

    Keras promotes by JAX's lattice (keras/src/backend/common/dtypes.py). Between tensors torch agrees with it, except
    that it ranks tensors without axes below the others, and that bool with a Python int gives int64.
    """
    torch_dtype(result)
    tensors = [v for v in operands.values if isinstance(v, Slot) or isinstance(v, np.ndarray) and v.size > 1]
    top = max((len(shape_of(v)) for v in tensors), default=0)
    if any(dtype_of(v) == result and (len(shape_of(v)) > 0 or top == 0) for v in tensors):
        return list(operands.texts)
    return [
        cast(text, result) if any(v is t for t in tensors) and dtype_of(v) != result else text
        for v, text in zip(operands.values, operands.texts)
    ]
