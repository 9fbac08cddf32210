"""Tensors of several layouts, numbers and arrays meet in one layout, as NumPy broadcasts them in Keras's order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from keras import ops

from k2t_core.graph import Graph, Layer, Node, Ref, Tensor
from k2t_core.layout import Flat, Layout, channels_first, identity
from k2t_core.rules.broadcasting import (
    LARGEST_LITERAL,
    TORCH_DTYPES,
    Builder,
    align,
    cast,
    common_layout,
    constant,
    is_float,
    is_scalar,
    number,
    promoted,
    shape_of,
    torch_dtype,
    write_array,
)
from k2t_core.rules.registry import SELF, Call, Unconvertible
from k2t_core.rules.slots import fill
from k2t_core.tensors import to_array
from tests.harness import check
from tests.rules.operations import model_of

IMAGE = channels_first(4)


def call_of(*inputs, wanted=None) -> Call:
    """A call of an operation on tensors, each as (shape, layout) or (shape, layout, dtype)."""
    tensors = {
        f"t{k}": Tensor(f"t{k}", shape, dtype[0] if dtype else "float32") for k, (shape, _, *dtype) in enumerate(inputs)
    }
    names = tuple(tensors)
    node = Node("add", Layer("add", "add", "ops.Add", {}), {name: Ref(name) for name in names}, names[:1])
    graph = Graph("test", names, names[:1], (node,), tensors)
    return Call(node, graph, [layout for _, layout, *_ in inputs], wanted=() if wanted is None else (wanted,))


def test_dtypes_that_torch_computes_in():
    for name in TORCH_DTYPES:
        assert isinstance(getattr(torch, torch_dtype(name).removeprefix("torch.")), torch.dtype)
    for name in ("uint32", "complex64", "string"):
        with pytest.raises(Unconvertible, match=f"it works on {name}"):
            torch_dtype(name)


@pytest.mark.parametrize("dtype", sorted(TORCH_DTYPES))
def test_a_cast_gives_the_dtype(dtype):
    got = eval(cast("x", dtype), {"x": torch.tensor([0, 1]), "torch": torch})
    assert got.dtype == getattr(torch, dtype)
    assert is_float(dtype) == got.dtype.is_floating_point


def test_plain_numbers_are_those_of_python():
    assert all(map(is_scalar, (1, 0.5, True))) and not any(map(is_scalar, (np.float64(1), np.ones(1), "1", None)))
    call = call_of(((2, 3), identity(2)))
    assert constant(call.x) is call.x and constant(2) == 2 and constant(np.float32(2)).shape == ()
    assert shape_of(call.x) == (2, 3) and shape_of(np.ones((4, 1))) == (4, 1) and shape_of(0.5) == ()
    with pytest.raises(Unconvertible, match="a NoneType"):
        constant(None)
    with pytest.raises(Unconvertible, match="uint64"):
        constant(np.ones(2, "uint64"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (-0.5, "-0.5"), (True, "True"), (np.inf, "math.inf"), (-np.inf, "-math.inf"), (np.nan, "math.nan")],
)
def test_how_a_number_is_written(value, text):
    assert number(float(value) if isinstance(value, float) else value) == text


# --- which layout ------------------------------------------------------------------------------------------------


def test_the_layout_that_moves_the_least():
    first, last = ((2, 5, 6, 3), IMAGE), ((2, 5, 6, 3), identity(4))
    call = call_of(first, last, first)
    assert common_layout(call, call.inputs, 4) == IMAGE
    call = call_of(first, last, last)
    assert common_layout(call, call.inputs, 4) == identity(4)
    assert common_layout(call, (), 3) == identity(3), "of numbers alone"


@pytest.mark.parametrize("wanted", [IMAGE, identity(4)])
def test_among_equals_what_is_wanted(wanted):
    call = call_of(((2, 5, 6, 3), IMAGE), ((2, 5, 6, 3), identity(4)), wanted=wanted)
    assert common_layout(call, call.inputs, 4) == wanted


def test_a_tensor_that_another_layout_does_not_move_is_reshaped():
    call = call_of(((None, 1, 1, 3), identity(4)), ((None, 5, 6, 3), IMAGE))
    found = align(call, call.inputs)
    assert found.layout == IMAGE and found.wants == (identity(4), IMAGE)
    assert found.texts == [f"{call.inputs[0]}.reshape(-1, 3, 1, 1)", str(call.inputs[1])]


# --- values ------------------------------------------------------------------------------------------------------

SHAPES = [(), (3,), (1,), (6, 3), (6, 1), (5, 6, 3), (5, 1, 1), (2, 5, 6, 3), (1, 1, 1, 3), (2, 1, 6, 1)]


@pytest.mark.parametrize(("shape", "layout"), itertools.product(SHAPES, [IMAGE, identity(4)]))
def test_an_array_and_a_tensor_add_up_as_in_numpy(shape, layout):
    rng = np.random.default_rng(0)
    x, array = rng.standard_normal((2, 5, 6, 3)), rng.standard_normal(shape).astype("float32")
    call = call_of(((None, 5, 6, 3), layout))
    found = align(call, [call.x, array])
    text = fill(" + ".join(found.texts), ["x"])
    value = None if found.module is None else found.weights[0].steps[0].apply(None)
    names = {"x": torch.as_tensor(layout.to_torch(x)), "torch": torch, "math": np}
    if value is not None:
        assert array.size > LARGEST_LITERAL
        text, names["value"] = text.replace(f"{SELF}.value", "value"), torch.as_tensor(value)
    got = eval(text, names)
    np.testing.assert_allclose(found.layout.to_keras(to_array(got)), x + array, atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "batch_first"),
    [([(2, 5, 6, 3), (6, 3)], False), ([(2, 5, 6, 3), (2, 3)], True), ([(5, 3), (3,)], False)],
)
def test_tensors_of_lower_rank_get_their_axes(shapes, batch_first):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    for layout in (identity(len(shapes[0])), channels_first(4) if len(shapes[0]) == 4 else identity(2)):
        call = call_of((shapes[0], layout), (shapes[1], identity(len(shapes[1]))))
        found = align(call, call.inputs, batch_first=batch_first)
        given = {f"x{k}": torch.as_tensor(w.to_torch(a)) for k, (w, a) in enumerate(zip(found.wants, arrays))}
        got = eval(fill(" + ".join(found.texts), ["x0", "x1"]), given)
        low = arrays[1][:, None, None, :] if batch_first else arrays[1]
        np.testing.assert_allclose(found.layout.to_keras(to_array(got)), arrays[0] + low)


def test_small_arrays_are_written_and_large_ones_are_a_buffer():
    call = call_of(((None, 40), identity(2)))
    build = Builder(call)
    assert write_array(np.float32([1, 2.5]), call.x, build) == f"torch.tensor([1.0, 2.5], device={call.x}.device)"
    assert write_array(np.int32([[1], [2]]), call.x, build) == (
        f"torch.tensor([1, 2], dtype=torch.int32, device={call.x}.device).reshape(2, 1)"
    )
    assert build.module is None
    assert write_array(np.arange(17.0, dtype="float32"), call.x, build) == f"{SELF}.value"
    assert build.module is not None and build.weights[0].source is None
    with pytest.raises(Unconvertible, match="two large constants"):
        write_array(np.arange(17.0), call.x, build)
    assert write_array(np.float32([np.inf, 0]), call.x, Builder(call)) == f"{SELF}.value", "infinities are no literals"


def test_a_number_is_short_unless_its_digits_are_seen():
    for dtype, text in (("float32", "0.1"), ("float64", "0.10000000149011612")):
        call = call_of(((None, 4), identity(2), dtype))
        assert align(call, [call.x, np.float32(0.1)]).texts[1] == text


# --- dtypes ------------------------------------------------------------------------------------------------------


def test_a_tensor_is_cast_only_where_torch_would_promote_otherwise():
    call = call_of(((2, 3), identity(2), "int32"), ((), identity(0), "float32"))
    operands = align(call, call.inputs)
    assert promoted(operands, "float32") == [f"{call.inputs[0]}.float()", str(call.inputs[1])]
    call = call_of(((2, 3), identity(2), "int32"), ((2, 3), identity(2), "float32"))
    assert promoted(align(call, call.inputs), "float32") == list(map(str, call.inputs))
    call = call_of(((2, 3), identity(2), "bool"))
    assert promoted(align(call, [call.x, 2]), "int32") == [f"{call.x}.int()", "2"]


@pytest.mark.parametrize("pair", [("int32", "float32"), ("bool", "int32"), ("uint8", "int8"), ("float16", "float32")])
@pytest.mark.parametrize("function", [ops.add, ops.multiply, ops.maximum])
def test_two_dtypes_give_that_of_keras(function, pair):
    shapes = ((4,), (4,))
    model = model_of(lambda x, y: function(ops.cast(x, pair[0]), ops.cast(y, pair[1])), *shapes, dtype="int32")
    check(model)


def test_a_flattened_image_is_not_broadcast_to_more_axes():
    flat = Layout((0, 1), Flat((2, 2, 3), (2, 0, 1)))
    call = call_of(((None, 12), flat), ((None, 5, 12), identity(3)))
    with pytest.raises(Unconvertible, match="put a Reshape in between"):
        align(call, call.inputs)
    array = np.arange(12.0, dtype="float32")
    found = align(call_of(((None, 12), flat)), [call.x, array])
    assert found.layout == flat
    numbers = eval(fill(found.texts[1], ["x"]), {"torch": torch, "x": torch.ones(1, 12)})
    np.testing.assert_array_equal(numbers, flat.to_torch(array[None])[0])
